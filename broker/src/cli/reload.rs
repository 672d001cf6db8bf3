//! SIGHUP: the settings are read again, and what a running broker can follow acts at once.

use std::io::{IsTerminal, stderr};
use std::sync::Arc;

use tidewheel_config::BrokerConfig;
use tokio::signal::unix::Signal;
use tracing::{error, info, warn};

use super::settings::SettingsArguments;
use crate::broker::{self, Broker, Followed};
use crate::service_manager;

/// Characters of a problem that the service manager is told.
const STATUS_LEN_MAX: usize = 300;

/// Why nothing can have changed.
const NO_FILE: &str = "there is no file of settings to be read again (--config): variables and arguments of a process stay \
     what they were when it was started";

/// Reads the settings again whenever somebody asks for it, as long as this is awaited. Where there is no file to be
/// read it ends when the terminal is closed in which the broker ran.
pub(super) async fn on_hangup(
    mut hangup: Signal,
    settings: &SettingsArguments,
    broker: &Arc<Broker>,
) {
    let had_terminal = stderr().is_terminal();
    loop {
        if hangup.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        // One that was closed is none any more.
        let is_closed = had_terminal && !stderr().is_terminal();
        if !settings.has_file() && is_closed {
            return;
        }
        service_manager::reloading();
        let followed = match read_again(settings).await {
            Ok(fresh) => {
                let followed = broker::follow(broker, fresh).await;
                followed.map_err(|error| vec![error.to_string()])
            }
            Err(problems) => Err(problems),
        };
        match followed {
            Ok(followed) => {
                tell(&followed);
                if !settings.has_file() {
                    warn!("{NO_FILE}");
                }
                service_manager::ready(service_manager::SERVING);
            }
            Err(problems) => service_manager::ready(&refused(&problems)),
        }
    }
}

/// Says that the settings stay as they are, and why; in one line for the service manager.
fn refused(problems: &[String]) -> String {
    for problem in problems {
        error!("not read again: {problem}");
    }
    let count = problems.len();
    error!(problems = count, "the settings stay as they are");
    let first = problems.first().map(String::as_str).unwrap_or_default();
    // The value in it may be long, and a line break would end it.
    let first: String = first.chars().take(STATUS_LEN_MAX).collect();
    let first = first.replace(char::is_control, " ");
    match count.saturating_sub(1) {
        0 => format!("serving clients with the settings from before: {first}"),
        more => format!("serving clients with the settings from before: {first} (and {more} more)"),
    }
}

/// The settings as they are given now.
///
/// # Errors
/// All that is wrong with them.
async fn read_again(settings: &SettingsArguments) -> Result<BrokerConfig, Vec<String>> {
    let settings = settings.clone();
    let read = tokio::task::spawn_blocking(move || settings.sources_again()).await;
    let stopping = |_| vec!["the broker is stopping".to_owned()];
    let sources = read.map_err(stopping)?.map_err(|sentence| vec![sentence])?;
    BrokerConfig::load(&sources).map_err(|errors| {
        let problems = errors.problems.iter().map(ToString::to_string);
        problems.chain(errors.hint().map(str::to_owned)).collect()
    })
}

fn tell(followed: &Followed) {
    let Followed {
        changed,
        pending,
        warnings,
    } = followed;
    warnings.iter().for_each(|warning| warn!("{warning}"));
    if !pending.is_empty() {
        let settings = pending.join(", ");
        warn!(%settings, "these settings act after a restart only");
    }
    let changed = changed.join(", ");
    info!(%changed, "the settings were read again");
}
