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
use super::{EXIT_ENVIRONMENT, EXIT_INTERRUPTED, EXIT_USAGE, config, say};
use crate::broker::Broker;
use crate::embedded::{Opened, open, stop};
use crate::groups::start_groups;
use crate::ready::Ready;
use crate::server::{BoundListener, Server};
use crate::storage_threads::StorageThreads;

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
    start_logging();
    match serve(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { sentence, exit }) => {
            say(&format!("tidewheel: {sentence}"));
            ExitCode::from(exit)
        }
    }
}

fn start_logging() {
    use tracing_subscriber::EnvFilter;
    let filter =
        EnvFilter::try_from_env("TIDEWHEEL_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr)
        .init();
}

fn serve(arguments: &ServeArguments) -> Result<(), Failure> {
    let sources = arguments.settings.sources().map_err(usage)?;
    let config = BrokerConfig::load(&sources).map_err(usage)?;
    config
        .warnings
        .iter()
        .for_each(|warning| warn!("{warning}"));
    let Opened {
        bound,
        connections_max,
        broker,
    } = open(config).map_err(environment)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("tidewheel-worker")
        .max_blocking_threads(limits::BLOCKING_THREADS_MAX)
        .build()
        .map_err(environment)?;
    let threads = StorageThreads::start(&broker).map_err(environment)?;
    let served = runtime.block_on(serve_clients(
        arguments,
        bound,
        connections_max,
        &broker,
        threads,
    ));
    // What a cut connection left on the blocking pool finds its logs closed.
    runtime.shutdown_background();
    served?;
    info!("stopped cleanly");
    Ok(())
}

async fn serve_clients(
    arguments: &ServeArguments,
    bound: Vec<BoundListener>,
    connections_max: u32,
    broker: &Arc<Broker>,
    mut threads: StorageThreads,
) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(environment)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(environment)?;
    let listeners: Vec<String> = bound
        .iter()
        .map(|listener| format!("{}://{}", listener.name, listener.address))
        .collect();
    let bootstrap = broker.endpoint(0);
    let bootstrap = format!("{}:{}", bootstrap.host, bootstrap.port);
    start_groups(broker);
    let server = Server::start(bound, broker, connections_max).map_err(environment)?;
    let data_dir = broker
        .config()
        .log_dirs
        .first()
        .cloned()
        .unwrap_or_default();
    let ready = Ready::new(
        listeners,
        &std::path::absolute(&data_dir).unwrap_or(data_dir),
    );
    let port_file = arguments.port_file.as_deref();
    ready.announce(port_file).map_err(|error| match port_file {
        Some(path) => environment(format!("cannot announce in {}: {error}", path.display())),
        None => environment(format!("cannot write the ready line: {error}")),
    })?;
    say(&ready.banner(&bootstrap));

    let ended = tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        failure = threads.failed() => Err(environment(failure)),
    };
    info!("stopping");
    tokio::select! {
        closed = stop(server, threads, Arc::clone(broker)) => ended.and(closed.map_err(environment)),
        _ = interrupt.recv() => abandon(),
        _ = terminate.recv() => abandon(),
    }
}

/// Whoever asks twice does not want to wait: the process ends here, and the next start recovers.
fn abandon() -> ! {
    say("tidewheel: stopped without waiting; the next start checks the data");
    std::process::exit(EXIT_INTERRUPTED.into())
}
