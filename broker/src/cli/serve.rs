//! `tidewheel serve`: configuration, ports, data, then clients, in this order, so that a failure leaves
//! nothing half-started. `tidewheel dev` runs the same.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use tidewheel_config::{BrokerConfig, Sources, limits};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use super::dev::{Dev, Traces};
use super::outcome::Format;
use super::settings::SettingsArguments;
use super::{EXIT_ENVIRONMENT, EXIT_INTERRUPTED, EXIT_USAGE, config, reload, say};
use crate::broker::Broker;
use crate::logging::Logging;
use crate::ready::{self, Ready};
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

/// A broker that a command runs until it is told to stop.
pub(super) struct Service<'a> {
    pub(super) settings: SettingsArguments,
    pub(super) port_file: Option<&'a Path>,
    /// What `dev` does beside it.
    pub(super) dev: Option<Dev>,
}

/// Why the broker did not start or did not stop well, with the exit code it means.
pub(super) struct Failure {
    sentence: String,
    exit: u8,
}

pub(super) fn environment(error: impl std::fmt::Display) -> Failure {
    Failure {
        sentence: error.to_string(),
        exit: EXIT_ENVIRONMENT,
    }
}

pub(super) fn usage(error: impl std::fmt::Display) -> Failure {
    Failure {
        sentence: error.to_string(),
        exit: EXIT_USAGE,
    }
}

impl Failure {
    /// Says what happened.
    pub(super) fn tell(self) -> ExitCode {
        say(&format!("tidewheel: {}", self.sentence));
        ExitCode::from(self.exit)
    }
}

pub(crate) fn run(arguments: &ServeArguments) -> ExitCode {
    if arguments.check {
        return config::check(&arguments.settings, Format::Text);
    }
    let service = Service {
        settings: arguments.settings.clone(),
        port_file: arguments.port_file.as_deref(),
        dev: None,
    };
    service
        .serve()
        .map_or_else(Failure::tell, |()| ExitCode::SUCCESS)
}

impl Service<'_> {
    /// Serves clients until somebody stops it.
    pub(super) fn serve(mut self) -> Result<(), Failure> {
        let sources = self.settings.sources().map_err(usage)?;
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
        let served = runtime.block_on(self.serve_clients(config, sources, logging));
        // What a cut connection left on the blocking pool finds its logs closed.
        runtime.shutdown_background();
        served?;
        info!("stopped cleanly");
        Ok(())
    }

    async fn serve_clients(
        &mut self,
        mut config: BrokerConfig,
        sources: Sources,
        logging: Arc<Logging>,
    ) -> Result<(), Failure> {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(environment)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(environment)?;
        // As long as the runtime is there.
        let _living = service_manager::lives();
        // From here on it ends nothing; what is asked for during the start is done after it.
        let hangup = signal(SignalKind::hangup()).map_err(environment)?;
        if let Some(dev) = &mut self.dev {
            config = dev.prepare(self.port_file, config, sources)?;
        }
        let started = tokio::select! {
            started = Running::start(config, Some(logging), Hooks::default()) => started,
            // Nobody was served yet, and what the disk does cannot be cut short.
            _ = interrupt.recv() => self.abandon(),
            _ = terminate.recv() => self.abandon(),
        };
        let mut running = started.map_err(environment)?;
        if let Some(dev) = &self.dev {
            dev.make_topics(&running).await.map_err(environment)?;
        }
        self.announce(&running)?;
        service_manager::ready(service_manager::SERVING);

        let broker = Arc::clone(running.broker());
        let ended = tokio::select! {
            () = self.on_hangup(hangup, &broker) => Ok(()),
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
            failure = running.failed() => Err(environment(failure)),
        };
        drop(broker);
        info!("stopping");
        service_manager::stopping();
        tokio::select! {
            closed = running.stop() => ended.and(closed.map_err(environment)),
            _ = interrupt.recv() => self.abandon(),
            _ = terminate.recv() => self.abandon(),
        }
    }

    /// Resolves when SIGHUP ends the broker, as it always ends `dev`: its terminal is gone, or its test is.
    async fn on_hangup(&self, mut hangup: Signal, broker: &Arc<Broker>) {
        if self.dev.is_some() {
            hangup.recv().await;
        } else {
            reload::on_hangup(hangup, &self.settings, broker).await;
        }
    }

    /// Says that the first client can be served: to programs and to people.
    fn announce(&mut self, running: &Running) -> Result<(), Failure> {
        let ready = Ready::new(running);
        let line = ready.line().map_err(environment)?;
        if let Some(path) = self.port_file {
            let cannot = |error: io::Error| {
                environment(format!("cannot announce in {}: {error}", path.display()))
            };
            ready::write_port_file(path, &line).map_err(cannot)?;
        }
        let cannot =
            |error: io::Error| environment(format!("cannot write the ready line: {error}"));
        match &mut self.dev {
            None => {
                ready::print_line(&line).map_err(cannot)?;
                say(&ready.banner());
            }
            Some(dev) => {
                dev.announced(self.port_file, &line).map_err(cannot)?;
                say(&dev.banner(&ready));
            }
        }
        Ok(())
    }

    /// Whoever asks twice does not want to wait: the process ends here, and the next start recovers.
    fn abandon(&mut self) -> ! {
        let traces = self.dev.as_mut().map(Dev::leave_no_traces);
        let data = match traces.unwrap_or(Traces::Kept) {
            Traces::Kept => "the next start checks the data".to_owned(),
            Traces::Gone => "the data is gone".to_owned(),
            Traces::Left(dir) => format!("some of the data is still in {}", dir.display()),
        };
        say(&format!("tidewheel: stopped without waiting; {data}"));
        std::process::exit(EXIT_INTERRUPTED.into())
    }
}
