//! `tidewheel serve`: configuration, ports, data, then clients, in this order, so that a failure leaves
//! nothing half-started.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use tidewheel_config::{BrokerConfig, limits};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::settings::SettingsArguments;
use super::{EXIT_ENVIRONMENT, EXIT_INTERRUPTED, EXIT_USAGE, config, reload, say};
use crate::logging::Logging;
use crate::ready::Ready;
use crate::running::{Hooks, Running};
use crate::service_manager;

/// Options of `serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    #[command(flatten)]
    settings: SettingsArguments,
    /// Only check the configuration, as `config check` does.
    #[arg(long)]
    check: bool,
    /// When ready, write the ready line to this file too.
    #[arg(long, value_name = "PATH")]
    port_file: Option<PathBuf>,
}

/// Why the broker did not start or did not stop well, with the exit code it means.
struct Failure {
    sentence: String,
    exit: u8,
}

fn environment(error: impl std::fmt::Display) -> Failure {
    Failure {
        sentence: error.to_string(),
        exit: EXIT_ENVIRONMENT,
    }
}

fn usage(error: impl std::fmt::Display) -> Failure {
    Failure {
        sentence: error.to_string(),
        exit: EXIT_USAGE,
    }
}

pub(crate) fn run(arguments: &ServeArguments) -> ExitCode {
    if arguments.check {
        return config::check(&arguments.settings, config::Format::Text);
    }
    match serve(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { sentence, exit }) => {
            say(&format!("tidewheel: {sentence}"));
            ExitCode::from(exit)
        }
    }
}

fn serve(arguments: &ServeArguments) -> Result<(), Failure> {
    let sources = arguments.settings.sources().map_err(usage)?;
    let config = BrokerConfig::load(&sources).map_err(usage)?;
    let logging = Logging::start(config.log_format);
    config
        .warnings
        .iter()
        .for_each(|warning| warn!("{warning}"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("tidewheel-worker")
        .max_blocking_threads(limits::BLOCKING_THREADS_MAX)
        .build()
        .map_err(environment)?;
    let served = runtime.block_on(serve_clients(arguments, config, logging));
    // What a cut connection left on the blocking pool finds its logs closed.
    runtime.shutdown_background();
    served?;
    info!("stopped cleanly");
    Ok(())
}

async fn serve_clients(
    arguments: &ServeArguments,
    config: BrokerConfig,
    logging: Arc<Logging>,
) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(environment)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(environment)?;
    // As long as the runtime is there.
    let _living = service_manager::lives();
    // From here on it ends nothing; what is asked for during the start is done after it.
    let hangup = signal(SignalKind::hangup()).map_err(environment)?;
    let started = tokio::select! {
        started = Running::start(config, Some(logging), Hooks::default()) => started,
        // Nobody was served yet, and what the disk does cannot be cut short.
        _ = interrupt.recv() => abandon(),
        _ = terminate.recv() => abandon(),
    };
    let mut running = started.map_err(environment)?;
    announce(arguments, &running)?;
    service_manager::ready(service_manager::SERVING);

    let broker = Arc::clone(running.broker());
    let ended = tokio::select! {
        () = reload::on_hangup(hangup, &arguments.settings, &broker) => Ok(()),
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        failure = running.failed() => Err(environment(failure)),
    };
    drop(broker);
    info!("stopping");
    service_manager::stopping();
    tokio::select! {
        closed = running.stop() => ended.and(closed.map_err(environment)),
        _ = interrupt.recv() => abandon(),
        _ = terminate.recv() => abandon(),
    }
}

/// Says that the first client can be served: to programs and to people.
fn announce(arguments: &ServeArguments, running: &Running) -> Result<(), Failure> {
    let broker = running.broker();
    let data_dir = broker.config().log_dirs.first();
    let data_dir = data_dir.cloned().unwrap_or_default();
    let ready = Ready::new(
        running.listeners().to_vec(),
        running.admin_address(),
        &std::path::absolute(&data_dir).unwrap_or(data_dir),
    );
    let port_file = arguments.port_file.as_deref();
    ready.announce(port_file).map_err(|error| match port_file {
        Some(path) => environment(format!("cannot announce in {}: {error}", path.display())),
        None => environment(format!("cannot write the ready line: {error}")),
    })?;
    say(&ready.banner(&broker.endpoint(0).to_string()));
    Ok(())
}

/// Whoever asks twice does not want to wait: the process ends here, and the next start recovers.
fn abandon() -> ! {
    say("tidewheel: stopped without waiting; the next start checks the data");
    std::process::exit(EXIT_INTERRUPTED.into())
}
