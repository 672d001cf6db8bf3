//! One row of the registry: what is known about one setting.

/// Whose setting it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The broker: file, environment, `--set`.
    Broker,
    /// One topic: CreateTopics and the topic's stored configuration.
    Topic,
    /// One consumer group: AlterConfigs.
    Group,
}

/// The type of a value; the numbers are those of Kafka's DescribeConfigs answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean = 1,
    /// Text.
    String = 2,
    /// 32-bit number.
    Int = 3,
    /// 16-bit number.
    Short = 4,
    /// 64-bit number.
    Long = 5,
    /// Floating-point number.
    Double = 6,
    /// Comma-separated texts.
    List = 7,
}

/// What the number counts, and so which suffixes a human may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nothing with a suffix.
    None,
    /// Bytes: `64MiB`.
    Bytes,
    /// Milliseconds: `7d`.
    Milliseconds,
    /// Minutes.
    Minutes,
    /// Hours.
    Hours,
}

/// Whether AlterConfigs may change the setting while the broker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateMode {
    /// Only by a restart.
    ReadOnly,
    /// For the whole cluster.
    ClusterWide,
}

/// What a value must satisfy beyond its type.
#[derive(Clone, Copy, Debug)]
pub enum Check {
    /// Nothing.
    Any,
    /// A number in `min..=max`.
    Range(i64, i64),
    /// A number other than 0: a negative one means "no limit".
    NotZero,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// Only the default acts; the text says why nothing else does yet.
    OnlyDefault(&'static str),
    /// Refused with the returned clause.
    Custom(fn(&str) -> Result<(), String>),
}

/// A broker setting that supplies the value of another setting, in that one's unit after
/// multiplication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// Name of the broker setting.
    pub name: &'static str,
    /// What its value is multiplied by.
    pub factor: i64,
}

/// One row of the registry.
#[derive(Clone, Copy, Debug)]
pub struct ConfigKey {
    /// Name as Kafka writes it, or with the prefix `tidewheel.` or `delay.`.
    pub name: &'static str,
    /// Whose setting it is.
    pub scope: Scope,
    /// Type of the value.
    pub config_type: ConfigType,
    /// Default as it would be written; `None` for "not set".
    pub default: Option<&'static str>,
    /// What the value must satisfy.
    pub check: Check,
    /// What the number counts.
    pub unit: Unit,
    /// When it may change.
    pub update: UpdateMode,
    /// Whether its value is a secret.
    pub sensitive: bool,
    /// First version that has it.
    pub since: &'static str,
    /// What it does, in sentences.
    pub doc: &'static str,
    /// Broker settings whose values count for this one, the strongest first. A broker setting
    /// that has any names itself too, in its rank.
    pub synonyms: &'static [Synonym],
}

impl ConfigKey {
    /// A broker row; `default` `""` is an empty text, see [`ConfigKey::unset`].
    pub(crate) const fn broker(
        name: &'static str,
        config_type: ConfigType,
        default: &'static str,
        doc: &'static str,
    ) -> ConfigKey {
        ConfigKey {
            name,
            scope: Scope::Broker,
            config_type,
            default: Some(default),
            check: Check::Any,
            unit: Unit::None,
            update: UpdateMode::ReadOnly,
            sensitive: false,
            since: "0.1",
            doc,
            synonyms: &[],
        }
    }

    /// A topic row.
    pub(crate) const fn topic(
        name: &'static str,
        config_type: ConfigType,
        default: &'static str,
        doc: &'static str,
    ) -> ConfigKey {
        let row = ConfigKey::broker(name, config_type, default, doc);
        ConfigKey {
            scope: Scope::Topic,
            update: UpdateMode::ClusterWide,
            ..row
        }
    }

    /// A row of a consumer group.
    pub(crate) const fn group(
        name: &'static str,
        config_type: ConfigType,
        default: &'static str,
        doc: &'static str,
    ) -> ConfigKey {
        let row = ConfigKey::topic(name, config_type, default, doc);
        ConfigKey {
            scope: Scope::Group,
            ..row
        }
    }

    /// Without a default.
    pub(crate) const fn unset(self) -> ConfigKey {
        ConfigKey {
            default: None,
            ..self
        }
    }

    pub(crate) const fn check(self, check: Check) -> ConfigKey {
        ConfigKey { check, ..self }
    }

    /// A number of at least `min`.
    pub(crate) const fn min(self, min: i64) -> ConfigKey {
        self.range(min, i64::MAX)
    }

    /// A number in `min..=max`.
    pub(crate) const fn range(self, min: i64, max: i64) -> ConfigKey {
        ConfigKey {
            check: Check::Range(min, max),
            ..self
        }
    }

    pub(crate) const fn unit(self, unit: Unit) -> ConfigKey {
        ConfigKey { unit, ..self }
    }

    /// Changeable while the broker runs.
    pub(crate) const fn dynamic(self) -> ConfigKey {
        ConfigKey {
            update: UpdateMode::ClusterWide,
            ..self
        }
    }

    pub(crate) const fn synonyms(self, synonyms: &'static [Synonym]) -> ConfigKey {
        ConfigKey { synonyms, ..self }
    }

    /// Name of the environment variable that sets this broker key.
    #[must_use]
    pub fn environment_name(&self) -> String {
        let own = self.name.strip_prefix("tidewheel.").unwrap_or(self.name);
        format!("TIDEWHEEL_{}", own.replace('.', "_").to_ascii_uppercase())
    }

    /// The values that are accepted, for people; empty where the type says everything.
    #[must_use]
    pub fn allowed(&self) -> String {
        match self.check {
            Check::Any | Check::Custom(_) => String::new(),
            Check::NotZero => "at least 1, or -1 for no limit".to_owned(),
            Check::Range(min, i64::MAX) => format!("at least {min}"),
            Check::Range(min, max) => format!("{min} to {max}"),
            Check::OneOf(values) => values.join(", "),
            Check::OnlyDefault(_) => format!("only {}", self.default.unwrap_or("unset")),
        }
    }
}
