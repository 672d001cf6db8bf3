//! What a figure depends on beside the broker: the machine, its settings, and which code ran.

use std::collections::BTreeMap;
use std::fs;

use serde::{Deserialize, Serialize};

use crate::values::Acks;

/// The machine and the program that measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Name and release of the kernel.
    pub kernel: String,
    /// The processor's model.
    pub cpu: String,
    /// Processors this process may use.
    pub cores_usable: usize,
    /// Memory of the machine in bytes.
    pub memory_bytes: u64,
    /// The machine's congestion control, which brokers on it have unless they choose another.
    pub congestion_control: String,
    /// The congestion control of the bench's own sockets.
    pub client_congestion_control: String,
    /// Load average over a minute when the run began.
    pub load_average: f64,
    /// Version of the bench.
    pub version: String,
    /// The commit it was built from.
    pub commit: String,
}

impl Environment {
    /// Looks around.
    #[must_use]
    pub fn read(client_congestion_control: Option<String>) -> Self {
        let uname = rustix::system::uname();
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let load = text("/proc/loadavg");
        Self {
            kernel: format!(
                "{} {}",
                uname.sysname().to_string_lossy(),
                uname.release().to_string_lossy()
            ),
            cpu: cpu_model(&text("/proc/cpuinfo")),
            cores_usable: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: crate::process::field(&text("/proc/meminfo"), "MemTotal:").unwrap_or(0)
                * 1024,
            congestion_control: text("/proc/sys/net/ipv4/tcp_congestion_control")
                .trim_end()
                .to_owned(),
            client_congestion_control: client_congestion_control.unwrap_or_default(),
            load_average: load
                .split_whitespace()
                .next()
                .and_then(|average| average.parse().ok())
                .unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: env!("TIDEWHEEL_COMMIT").to_owned(),
        }
    }
}

fn cpu_model(cpuinfo: &str) -> String {
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.and_then(|rest| rest.split_once(':'));
    model.map_or_else(
        || std::env::consts::ARCH.to_owned(),
        |(_, name)| name.trim().to_owned(),
    )
}

/// What an acknowledgement means. Figures of two classes are never compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// There is none: `acks=0`.
    Unacknowledged,
    /// The broker's page cache has the record: it survives the process, not a power cut.
    PageCache,
    /// The record is on the disk.
    Disk,
    /// The broker does not tell its settings.
    Unknown,
}

impl Durability {
    /// The class of an acknowledgement, from what the broker says about the topic.
    #[must_use]
    pub fn of(acks: Acks, settings: Option<&BTreeMap<String, String>>) -> Self {
        if acks == Acks::None {
            return Self::Unacknowledged;
        }
        let Some(settings) = settings else {
            return Self::Unknown;
        };
        let is = |name: &str, value: &str| settings.get(name).is_some_and(|is| is == value);
        // Kafka syncs every append under the partition's lock with this.
        let synced = is("flush.messages", "1");
        let waits = acks == Acks::All && is("tidewheel.ack.all", "disk");
        match synced || waits {
            true => Self::Disk,
            false => Self::PageCache,
        }
    }

    /// For people.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Unacknowledged => "none: acks=0",
            Self::PageCache => "page cache: acknowledged records survive kill -9, not a power cut",
            Self::Disk => "on disk: acknowledged records survive a power cut",
            Self::Unknown => "unknown: the broker does not tell its settings",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_follows_from_acks_and_the_topic() {
        let settings = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        let kafka = settings(&[("flush.messages", "9223372036854775807")]);
        let kafka_synced = settings(&[("flush.messages", "1")]);
        let disk = settings(&[("tidewheel.ack.all", "disk")]);
        let memory = settings(&[("tidewheel.ack.all", "memory")]);
        let class = |acks, settings| Durability::of(acks, Some(settings));
        assert_eq!(class(Acks::All, &kafka), Durability::PageCache);
        assert_eq!(class(Acks::Leader, &kafka_synced), Durability::Disk);
        assert_eq!(class(Acks::All, &disk), Durability::Disk);
        assert_eq!(class(Acks::Leader, &disk), Durability::PageCache);
        assert_eq!(class(Acks::All, &memory), Durability::PageCache);
        assert_eq!(class(Acks::None, &kafka_synced), Durability::Unacknowledged);
        assert_eq!(Durability::of(Acks::All, None), Durability::Unknown);
    }

    #[test]
    fn the_machine_is_described() {
        let here = Environment::read(Some("reno".to_owned()));
        assert!(here.kernel.starts_with("Linux "));
        assert!(here.cores_usable > 0 && here.memory_bytes > 0);
        assert!(!here.commit.is_empty());
    }
}
