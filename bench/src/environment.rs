//! What a figure depends on beside the broker: the machine, its settings, and which code ran.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::client::Cluster;
use crate::process::is_on_this_host;
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
    /// The file system of the broker's logs, where they are on this host.
    #[serde(default)]
    pub broker_filesystem: String,
    /// The broker's settings that are not its defaults; secrets are empty.
    #[serde(default)]
    pub broker_settings: BTreeMap<String, String>,
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
            broker_filesystem: String::new(),
            broker_settings: BTreeMap::new(),
        }
    }

    /// Asks the broker for its settings, and looks where its logs lie. What it does not tell stays empty.
    pub(crate) async fn look_at_broker(&mut self, cluster: &mut Cluster) {
        self.broker_settings = cluster.broker_settings().await.unwrap_or_default();
        if !is_on_this_host(cluster.connection().address()) {
            return;
        }
        let dirs = cluster.log_dirs().await.unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let found = dirs.first().and_then(|dir| filesystem(&mounts, dir));
        self.broker_filesystem = found.unwrap_or_default();
    }

    /// A number that is the same for the same settings, apart from where the broker listens and stores.
    #[must_use]
    pub fn settings_digest(&self) -> String {
        // FNV-1a: it must be the same in every version of this program, and nobody attacks it.
        let mut hash: u64 = 0xCBF2_9CE4_8422_2325;
        let lasting = self.broker_settings.iter().filter(|(name, _)| {
            let place = ["listener", "log.dir", "node.id", "broker.id", "quorum"];
            !place.iter().any(|word| name.contains(word))
        });
        for (name, value) in lasting {
            for byte in format!("{name}={value}\n").bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
            }
        }
        format!("{hash:016x}")
    }
}

/// The kind of file system a path is on, from the text of `mountinfo`.
fn filesystem(mounts: &str, path: &str) -> Option<String> {
    let mounted = mounts.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let point = left.split_whitespace().nth(4)?;
        let kind = right.split_whitespace().next()?;
        let inside = Path::new(path).starts_with(point);
        inside.then_some((point.len(), kind))
    });
    // Of mounts at the same place the last one is seen.
    let (_, kind) = mounted.max_by_key(|(len, _)| *len)?;
    Some(kind.to_owned())
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

    /// In a word or two.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unacknowledged => "never",
            Self::PageCache => "page cache",
            Self::Disk => "on disk",
            Self::Unknown => "-",
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
    fn the_deepest_mount_is_the_one_a_path_is_on() {
        let mounts = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
                      40 22 0:35 / /tmp rw - tmpfs tmpfs rw\n\
                      41 22 0:36 / /tm rw - xfs /dev/sdb rw\n";
        assert_eq!(filesystem(mounts, "/tmp/data").as_deref(), Some("tmpfs"));
        assert_eq!(filesystem(mounts, "/var/lib").as_deref(), Some("ext4"));
        assert_eq!(filesystem("", "/var"), None);
    }

    #[test]
    fn the_digest_follows_settings_and_not_places() {
        let digest = |pairs: &[(&str, &str)]| {
            let settings = pairs.iter();
            let environment = Environment {
                broker_settings: settings
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
                ..Environment::default()
            };
            environment.settings_digest()
        };
        let plain = digest(&[("num.io.threads", "8"), ("listeners", "PLAINTEXT://a:1")]);
        assert_eq!(
            plain,
            digest(&[("num.io.threads", "8"), ("log.dirs", "/x")])
        );
        assert_ne!(plain, digest(&[("num.io.threads", "9")]));
    }

    #[test]
    fn the_machine_is_described() {
        let here = Environment::read(Some("reno".to_owned()));
        assert!(here.kernel.starts_with("Linux "));
        assert!(here.cores_usable > 0 && here.memory_bytes > 0);
        assert!(!here.commit.is_empty());
    }
}
