//! `tidewheel config check|show|docs|convert`: looks at settings without starting anything; `get|set|unset` ask
//! running brokers.
//!
//! Exit codes: 0 all is well, 1 the output cannot be written or a broker refused, 2 usage or a file that cannot be
//! read, 3 there is no setting, topic or broker of that name, 4 no answer in time, 5 something is wrong with the
//! settings.

mod live;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Args, Subcommand};
use serde::Serialize;
use tidewheel_config::{
    BrokerConfig, ConfigErrors, Place, Sources, assignment, describe_broker, docs, to_toml,
};

use super::outcome::{
    EXIT_CHECK_FAILED, EXIT_NOT_FOUND, Failure, Format, exit_code, print_json, usage,
};
use super::say;
use super::settings::{SettingsArguments, environment, read};

/// Arguments of `tidewheel config`.
#[derive(Args, Debug)]
pub(crate) struct ConfigArguments {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say everything that is wrong with the settings, and which have no effect
    Check {
        #[command(flatten)]
        settings: SettingsArguments,
        /// Text for people, or one JSON object
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Show the settings that were given, as TOML
    Show {
        #[command(flatten)]
        settings: SettingsArguments,
        /// Show all settings that are in force, defaults too
        #[arg(long)]
        effective: bool,
        /// Show where each setting comes from
        #[arg(long)]
        origin: bool,
        /// TOML, or one JSON object per setting and line
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Show what is set on a running broker, a topic or a group, of this or any other Kafka cluster
    Get(live::GetArguments),
    /// Set something on a running broker, a topic or a group
    Set(live::SetArguments),
    /// Set something back to what lies behind it
    Unset(live::UnsetArguments),
    /// Explain settings; without a name, print the whole page
    Docs {
        /// Names of settings, of Apache Kafka's too
        names: Vec<String>,
        /// Print a TOML file with every setting in a comment
        #[arg(long, conflicts_with = "names")]
        example: bool,
    },
    /// Print TOML that means the same as a server.properties, or as the environment
    #[command(arg_required_else_help = true)]
    Convert {
        /// A file in Kafka's format if its name ends in .properties, else TOML
        file: Option<PathBuf>,
        /// Take the variables KAFKA_* and TIDEWHEEL_* of the environment, over what the file says
        #[arg(long)]
        env: bool,
        /// Whether an unknown setting is a mistake, or left out
        #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
        strict: bool,
    },
}

/// Runs the command on standard output.
pub(crate) fn run(arguments: &ConfigArguments) -> ExitCode {
    let done = match &arguments.command {
        ConfigCommand::Check { settings, format } => return check(settings, *format),
        ConfigCommand::Show {
            settings,
            effective,
            origin,
            format,
        } => show(settings, *effective, *origin, *format),
        ConfigCommand::Get(arguments) => live::get(arguments),
        ConfigCommand::Set(arguments) => live::set(arguments),
        ConfigCommand::Unset(arguments) => live::unset(arguments),
        ConfigCommand::Docs { names, example } => explain(names, *example),
        ConfigCommand::Convert { file, env, strict } => convert(file.as_ref(), *env, *strict),
    };
    exit_code(done)
}

/// Checks the settings and says what is to be said about them.
pub(crate) fn check(settings: &SettingsArguments, format: Format) -> ExitCode {
    exit_code(try_check(settings, format))
}

fn sources(settings: &SettingsArguments) -> Result<Sources, Failure> {
    settings.sources().map_err(|error| usage(&error))
}

fn wrong(errors: &ConfigErrors) -> Failure {
    say(&errors.to_string());
    Failure(EXIT_CHECK_FAILED)
}

/// One problem or warning in JSON.
#[derive(Serialize)]
struct Remark {
    /// `file:line:column`, `environment NAME` or `--set`; null where several places make it together.
    origin: Option<String>,
    message: String,
}

impl Remark {
    fn new(place: &Place, message: String) -> Remark {
        let origin = (*place != Place::Combination).then(|| place.to_string());
        Remark { origin, message }
    }
}

/// What `check` says in JSON.
#[derive(Serialize)]
struct Checked {
    ok: bool,
    problems: Vec<Remark>,
    warnings: Vec<Remark>,
}

fn try_check(settings: &SettingsArguments, format: Format) -> Result<(), Failure> {
    let checked = BrokerConfig::load(&sources(settings)?);
    let mut out = io::stdout().lock();
    match (format, checked) {
        (Format::Text, Ok(config)) => {
            let warnings = &config.warnings;
            warnings
                .iter()
                .for_each(|warning| say(&format!("warning: {warning}")));
            let count = match warnings.len() {
                0 => "nothing to remark".to_owned(),
                1 => "1 warning".to_owned(),
                count => format!("{count} warnings"),
            };
            writeln!(out, "the configuration is good: {count}")?;
            Ok(())
        }
        (Format::Text, Err(errors)) => {
            let warnings = errors.warnings.iter();
            warnings.for_each(|warning| say(&format!("warning: {warning}")));
            Err(wrong(&errors))
        }
        (Format::Json, checked) => {
            let (problems, warnings) = match checked {
                Ok(config) => (Vec::new(), config.warnings),
                Err(errors) => (errors.problems, errors.warnings),
            };
            let ok = problems.is_empty();
            let answer = Checked {
                ok,
                problems: problems
                    .iter()
                    .map(|problem| Remark::new(&problem.place, problem.error.to_string()))
                    .collect(),
                warnings: warnings
                    .iter()
                    .map(|warning| Remark::new(warning.place(), warning.sentence()))
                    .collect(),
            };
            print_json(&mut out, &answer)?;
            if ok {
                Ok(())
            } else {
                Err(Failure(EXIT_CHECK_FAILED))
            }
        }
    }
}

/// One setting in JSON.
#[derive(Serialize)]
struct Shown {
    name: &'static str,
    /// As DescribeConfigs reports it; null where it is not set or secret.
    value: Option<String>,
    origin: String,
}

fn show(
    settings: &SettingsArguments,
    effective: bool,
    origin: bool,
    format: Format,
) -> Result<(), Failure> {
    let config = BrokerConfig::load(&sources(settings)?).map_err(|errors| wrong(&errors))?;
    let mut out = io::stdout().lock();
    for entry in describe_broker(&config) {
        if config.place(entry.name).is_none() && !effective {
            continue;
        }
        let place = config.place(entry.acting_name());
        let place = place.map_or_else(|| "default".to_owned(), |place| place.to_string());
        if format == Format::Json {
            let shown = Shown {
                name: entry.name,
                value: entry.value,
                origin: place,
            };
            print_json(&mut out, &shown)?;
            continue;
        }
        let line = match &entry.value {
            Some(value) => assignment(entry.name, entry.config_type, value),
            None if entry.sensitive => format!("# \"{}\" is secret", entry.name),
            None => format!("# \"{}\" is not set", entry.name),
        };
        if origin {
            writeln!(out, "{line}  # {place}")?;
        } else {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

fn explain(names: &[String], example: bool) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if names.is_empty() {
        let page = if example {
            docs::example_toml()
        } else {
            docs::markdown()
        };
        out.write_all(page.as_bytes())?;
        return Ok(());
    }
    let mut done = Ok(());
    for (index, name) in names.iter().enumerate() {
        match docs::explain(name) {
            Ok(text) if index == 0 => write!(out, "{text}")?,
            Ok(text) => write!(out, "\n{text}")?,
            Err(error) => {
                say(&error.to_string());
                done = Err(Failure(EXIT_NOT_FOUND));
            }
        }
    }
    done
}

fn convert(file: Option<&PathBuf>, env: bool, strict: bool) -> Result<(), Failure> {
    let file = match file {
        Some(path) => Some(read(path).map_err(|error| usage(&error))?),
        None if env => None,
        None => return Err(usage("name a file, or give --env")),
    };
    let from = match (&file, env) {
        (Some(file), false) => file.name.clone(),
        (Some(file), true) => format!("{} and the environment", file.name),
        (None, _) => "the environment".to_owned(),
    };
    let sources = Sources {
        file,
        environment: if env { environment() } else { Vec::new() },
        lenient: !strict,
        ..Sources::default()
    };
    let config = BrokerConfig::load(&sources).map_err(|errors| wrong(&errors))?;
    let mut out = io::stdout().lock();
    // A name of several lines would end the comment.
    let from = from.replace(char::is_control, "?");
    write!(out, "# Converted from {from}.\n\n{}", to_toml(&config))?;
    Ok(())
}
