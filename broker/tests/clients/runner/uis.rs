//! What web consoles and monitors ask of a broker, replayed by the client libraries that they use, and what they need of
//! the answers. Each program names the files in which the calls stand.

use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libtest_mimic::Trial;

use super::context::Context;
use super::install::Tool;
use super::matrix::{Client, jvm};
use super::process::{Report, run};
use super::{Fault, trial};

/// All calls of one of them, on a busy machine; they take some seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// A group comes to rest at once, and nothing else is there.
const SETTINGS: &[&str] = &["group.initial.rebalance.delay.ms=0"];

/// What a trial makes of what a program said.
type Judge = Box<dyn Fn(&Report) -> Result<(), Fault> + Send>;

/// A program that asks what some of them ask, on a broker of its own.
struct Asker {
    /// Of the program, for people.
    name: &'static str,
    library: Library,
    /// Page by page, or what is behind a button of one.
    cases: &'static [&'static str],
}

#[derive(Clone, Copy)]
enum Library {
    /// kafka-clients 3.9: the last with the call that replaces all settings.
    Java39(&'static str),
    FranzGo,
    Sarama,
}

const ASKERS: &[Asker] = &[
    Asker {
        name: "kafka-ui",
        library: Library::Java39("kafka-ui"),
        cases: &[
            "kafka-ui/version",
            "kafka-ui/features",
            "kafka-ui/not-offered",
            "kafka-ui/statistics",
            "kafka-ui/brokers",
            "kafka-ui/topic",
            "kafka-ui/create-topic",
            "kafka-ui/topic-settings",
            "kafka-ui/recreate-topic",
            "kafka-ui/messages",
            "kafka-ui/purge",
            "kafka-ui/reset-offsets",
            "kafka-ui/delete-group",
            "kafka-ui/delete-topic",
        ],
    },
    Asker {
        name: "akhq",
        library: Library::Java39("akhq"),
        cases: &[
            "akhq/nodes",
            "akhq/topics",
            "akhq/topic-data",
            "akhq/groups",
            "akhq/acls",
            "akhq/create-topic",
            "akhq/topic-settings",
            "akhq/node-settings",
            "akhq/empty-topic",
            "akhq/update-offsets",
            "akhq/delete-group",
            "akhq/delete-topic",
        ],
    },
    Asker {
        name: "kafdrop",
        library: Library::Java39("kafdrop"),
        cases: &[
            "kafdrop/cluster",
            "kafdrop/topic",
            "kafdrop/messages",
            "kafdrop/search",
            "kafdrop/consumer",
            "kafdrop/acls",
            "kafdrop/create-topic",
            "kafdrop/delete-topic",
        ],
    },
    Asker {
        name: "on-franz-go",
        library: Library::FranzGo,
        cases: &[
            "console/pages",
            "console/overview",
            "console/cluster",
            "console/topics",
            "console/topic",
            "console/topic-settings",
            "console/messages",
            "console/groups",
            "console/edit-group",
            "console/manage-topic",
            "kminion/admin-api",
            "kminion/offsets-topic",
            "otel/kafkametrics",
        ],
    },
    Asker {
        name: "on-sarama",
        library: Library::Sarama,
        cases: &[
            "kafka-exporter/topics",
            "kafka-exporter/groups",
            "burrow/offsets",
            "burrow/consumers",
        ],
    },
];

impl Library {
    fn tools(self) -> &'static [Tool] {
        match self {
            Self::Java39(_) => &[Tool::Java, Tool::OwnBroker],
            Self::FranzGo | Self::Sarama => &[Tool::Go, Tool::OwnBroker],
        }
    }

    fn command(self, context: &Context, address: &str) -> Result<Command, Fault> {
        let client = match self {
            Self::Java39(which) => {
                let mut java = jvm(&context.installs.java("3.9")?);
                java.args(["tidewheel.clients.Uis", address, which]);
                return Ok(java);
            }
            Self::FranzGo => Client::FranzGo,
            Self::Sarama => Client::Sarama,
        };
        let mut command = client.command(context, address, "ui")?;
        command.arg("uis");
        Ok(command)
    }
}

fn report(context: &Context, asker: &Asker) -> Result<Report, Fault> {
    let broker = context.new_broker_with(SETTINGS)?;
    let mut command = asker.library.command(context, broker.address())?;
    let _permit = context.permit();
    Ok(run(asker.name, &mut command, LIMIT))
}

/// `uis::UI/PAGE` and `uis::ASKER::all-cases-known`.
pub(crate) fn trials(context: &Arc<Context>) -> Vec<Trial> {
    ASKERS
        .iter()
        .flat_map(|asker| asker.trials(context))
        .collect()
}

impl Asker {
    fn trials(&'static self, context: &Arc<Context>) -> Vec<Trial> {
        let made: Arc<OnceLock<Result<Report, Fault>>> = Arc::default();
        let tools = self.library.tools();
        let one = |name: String, judge: Judge| {
            let made = Arc::clone(&made);
            trial(context, format!("uis::{name}"), tools, move |context| {
                judge(&made.get_or_init(|| report(context, self)).clone()?)
            })
        };
        let cases = self.cases.iter().map(|case| {
            let judge = move |report: &Report| report.result(case).map(|_| ());
            one((*case).to_owned(), Box::new(judge))
        });
        let known: Vec<String> = self.cases.iter().map(|case| (*case).to_owned()).collect();
        let all = one(
            format!("{}::all-cases-known", self.name),
            Box::new(move |report| report.only(&known)),
        );
        cases.chain([all]).collect()
    }
}
