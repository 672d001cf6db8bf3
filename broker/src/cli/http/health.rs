//! `tidewheel health`: whether a broker serves clients, and what of it is not as it should be.

use std::io;
use std::time::Duration;

use axum::http::Method;
use clap::Args;
use serde_json::Value;

use super::client::Api;
use super::text::{self, printable};
use super::{Failure, Format, Target};
use crate::cli::outcome::print_json;
use crate::cli::say;

/// The time between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Arguments of `tidewheel health`.
#[derive(Args, Debug)]
pub(in crate::cli) struct HealthArguments {
    /// Look again each second, and tell what changes
    #[arg(short, long)]
    watch: bool,
    /// End with exit code 5 where clients are not served; with --watch, end as soon as they are
    #[arg(short, long)]
    exit_code: bool,
    #[command(flatten)]
    target: Target,
}

/// Looks once, or until somebody has seen enough.
pub(super) async fn run(arguments: &HealthArguments) -> Result<(), Failure> {
    let api = Api::new(&arguments.target)?;
    if !arguments.watch {
        let readiness = look(&api).await?;
        tell(&readiness, arguments.target.format)?;
        return match arguments.exit_code && !serves(&readiness) {
            true => Err(Failure::Unhealthy),
            false => Ok(()),
        };
    }
    let (mut told, mut said) = (Value::Null, String::new());
    loop {
        match look(&api).await {
            Ok(readiness) => {
                if readiness != told {
                    tell(&readiness, arguments.target.format)?;
                }
                if arguments.exit_code && serves(&readiness) {
                    return Ok(());
                }
                (told, said) = (readiness, String::new());
            }
            // It may not be there yet.
            Err(failure @ (Failure::Unreachable { .. } | Failure::TimedOut(_))) => {
                let sentence = failure.to_string();
                if sentence != said {
                    say(&printable(&format!("tidewheel: {sentence}")));
                }
                (told, said) = (Value::Null, sentence);
            }
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What the broker says of itself.
///
/// # Errors
/// Where it says nothing, or something else answers.
pub(super) async fn look(api: &Api) -> Result<Value, Failure> {
    let answer = api.ask(Method::GET, "/readyz", None).await?;
    match answer.json() {
        Ok(readiness) if readiness["checks"].is_array() => Ok(readiness),
        // What stands before the broker says so, as a proxy does while there is none behind it.
        _ if answer.status.is_server_error() => Err(Failure::Unreachable {
            url: "the broker".to_owned(),
            reason: format!("HTTP {}", answer.status.as_u16()),
        }),
        _ => Err(answer.failure()),
    }
}

fn serves(readiness: &Value) -> bool {
    matches!(readiness["status"].as_str(), Some("ok" | "degraded"))
}

fn tell(readiness: &Value, format: Format) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if format == Format::Json {
        return print_json(&mut out, readiness);
    }
    let word = |value: &Value| printable(value.as_str().unwrap_or_default());
    let checks = readiness["checks"].as_array().into_iter().flatten();
    let mut rows = vec![vec![
        "all".to_owned(),
        word(&readiness["status"]),
        word(&readiness["broker_state"]),
    ]];
    rows.extend(checks.map(|check| {
        vec![
            word(&check["name"]),
            word(&check["status"]),
            word(&check["detail"]),
        ]
    }));
    text::table(&mut out, &["CHECK", "STATUS", ""], &rows)
}
