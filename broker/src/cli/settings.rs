//! Where commands take the broker's settings from: options, a file and the environment.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args};
use tidewheel_config::{ConfigFile, Sources, limits};

/// Options that say what the settings are.
#[derive(Args, Clone, Debug)]
pub(crate) struct SettingsArguments {
    /// Read settings from a file: TOML, or Kafka's format where the name ends in .properties.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one setting; may be given several times and wins over the file and the environment.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Keep the data here (the same as --set log.dirs=DIR).
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How lines of the log look: auto, text, logfmt or json (the same as --set tidewheel.log.format=FORMAT).
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Go by what is set here only, not by what was set on brokers while they ran (the same as --set
    /// tidewheel.ignore.dynamic.config=true).
    #[arg(long)]
    ignore_dynamic_config: bool,
    /// Whether an unknown setting is a mistake, or only a warning.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    strict: bool,
    /// What the command itself says, `key=value`.
    #[arg(skip)]
    own: OwnSettings,
}

/// What a command says about settings beside the options that all commands have.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnSettings {
    /// Where nobody says otherwise.
    pub(super) defaults: Vec<String>,
    /// By options of its own: as strong as `--set`, which comes after them.
    pub(super) sets: Vec<String>,
}

impl SettingsArguments {
    /// The same, with what a command says.
    pub(super) fn with_own(&self, own: OwnSettings) -> Self {
        Self {
            own,
            ..self.clone()
        }
    }

    /// Everything that says something about settings, the environment of this process included.
    ///
    /// # Errors
    /// A sentence about the file, if it cannot be read.
    pub(crate) fn sources(&self) -> Result<Sources, String> {
        let file = match &self.config {
            Some(path) => Some(read(path)?),
            None => None,
        };
        let mut sets = self.own.sets.clone();
        sets.extend(self.sets.iter().cloned());
        if let Some(dir) = &self.data_dir {
            sets.push(format!("log.dirs={}", dir.display()));
        }
        if let Some(format) = &self.log_format {
            sets.push(format!("tidewheel.log.format={format}"));
        }
        if self.ignore_dynamic_config {
            sets.push("tidewheel.ignore.dynamic.config=true".to_owned());
        }
        Ok(Sources {
            defaults: self.own.defaults.clone(),
            file,
            environment: environment(),
            sets,
            lenient: !self.strict,
        })
    }
}

impl SettingsArguments {
    /// The same as they are now. What is no file has said what it had to say.
    ///
    /// # Errors
    /// A sentence about the file, if it cannot be read.
    pub(crate) fn sources_again(&self) -> Result<Sources, String> {
        let path = self.config.as_ref();
        if let Some(path) = path.filter(|path| path.exists() && !path.is_file()) {
            return Err(format!("{} is no file", path.display()));
        }
        self.sources()
    }

    /// Whether settings are read from a file.
    pub(crate) fn has_file(&self) -> bool {
        self.config.is_some()
    }
}

/// The environment of this process, as far as it is text.
pub(crate) fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Reads a configuration file.
///
/// # Errors
/// A sentence about why it cannot be read.
pub(crate) fn read(path: &Path) -> Result<ConfigFile, String> {
    let cannot = |error| format!("cannot read {}: {error}", path.display());
    let most = limits::CONFIG_FILE_BYTES_MAX as u64;
    let mut bytes = Vec::new();
    // One byte more than allowed, so that a longer one is noticed; also what is no file has an end.
    let file = File::open(path).map_err(cannot)?;
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    Ok(ConfigFile {
        name: path.display().to_string(),
        bytes,
    })
}
