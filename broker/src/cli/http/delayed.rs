//! `tidewheel delayed`: what is pending in topics with delays, and what can be done to it.

mod bulk;
mod looks;

use axum::http::Method;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::client::{Api, encoded};
use super::text::{self, parse_duration, parse_moment, printable};
use super::{Failure, Format, Target};
use crate::cli::say;
use crate::clock;

/// Arguments of `tidewheel delayed`.
#[derive(Args, Debug)]
pub(in crate::cli) struct DelayedArguments {
    #[command(subcommand)]
    command: DelayedCommand,
}

#[derive(Debug, Subcommand)]
enum DelayedCommand {
    /// List what is pending, by due time
    Ls(looks::LsArguments),
    /// Show a pending record with its key, value and headers
    Show {
        /// What names it, as a list tells it
        id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Cancel pending records: they are never delivered
    Cancel(bulk::CancelArguments),
    /// Deliver pending records now
    RunNow(ChangeArguments),
    /// Deliver a pending record at another time; it has another name then
    Reschedule(RescheduleArguments),
    /// Deliver nothing of topics until they are resumed, also over restarts; records are taken all the same
    Pause(TopicsArguments),
    /// Deliver the delayed records of topics again, first what was due meanwhile
    Resume(TopicsArguments),
    /// Tell how much is pending, when it is due and what became of the rest
    Stats {
        #[command(flatten)]
        target: Target,
    },
    /// Say that the broker's clock is right although it jumped ahead: what was held is delivered
    AcceptClock {
        /// Check everything and change nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        target: Target,
    },
}

/// Which pending records.
#[derive(Args, Clone, Debug)]
struct Filter {
    /// Of this partition only
    #[arg(long, value_name = "NUMBER")]
    partition: Option<i32>,
    /// Only what is due within this time from now, as 90s, 1h30m or 7d; what is overdue too
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "due_before")]
    due_within: Option<i64>,
    /// Only what is due before this moment, as 2026-12-01T09:00Z or ms since 1970
    #[arg(long, value_name = "MOMENT", value_parser = parse_moment)]
    due_before: Option<i64>,
    /// Only what is due at this moment or later
    #[arg(long, value_name = "MOMENT", value_parser = parse_moment)]
    due_after: Option<i64>,
    /// Only what is due later, or only what is due already and was not delivered
    #[arg(long, value_enum)]
    state: Option<State>,
    /// Only what has a record with this key
    #[arg(long)]
    key: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    Pending,
    Overdue,
}

impl Filter {
    /// The query that asks for it, without an end: more may be appended.
    fn query(&self, topic: &str, now_ms: i64) -> String {
        let mut query = format!("?topic={}", encoded(topic));
        let within = self.due_within.map(|ms| now_ms.saturating_add(ms));
        let state = self.state.map(|state| match state {
            State::Pending => "pending".to_owned(),
            State::Overdue => "overdue".to_owned(),
        });
        let number = |number: i64| number.to_string();
        for (name, value) in [
            ("partition", self.partition.map(|one| one.to_string())),
            ("due_before", self.due_before.or(within).map(number)),
            ("due_after", self.due_after.map(number)),
            ("state", state),
            ("key", self.key.as_deref().map(encoded)),
        ] {
            if let Some(value) = value {
                query.push_str(&format!("&{name}={value}"));
            }
        }
        query
    }
}

/// What is to be changed, one by one.
#[derive(Args, Debug)]
struct ChangeArguments {
    /// What names them, as a list tells it
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Check everything and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    target: Target,
}

/// Arguments of `delayed reschedule`.
#[derive(Args, Debug)]
struct RescheduleArguments {
    #[command(flatten)]
    which: ChangeArguments,
    #[command(flatten)]
    when: When,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct When {
    /// Deliver it at this moment, as 2026-12-01T09:00Z or ms since 1970; a past one is now
    #[arg(long, value_name = "MOMENT", value_parser = parse_moment)]
    at: Option<i64>,
    /// Deliver it when this time has passed, as 90s, 1h30m or 7d
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    delay: Option<i64>,
}

/// Topics whose delays are held or not.
#[derive(Args, Debug)]
struct TopicsArguments {
    /// Their names
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Check everything and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    target: Target,
}

/// Does what is asked for.
pub(super) async fn run(arguments: &DelayedArguments) -> Result<(), Failure> {
    match &arguments.command {
        DelayedCommand::Ls(arguments) => looks::ls(arguments).await,
        DelayedCommand::Show { id, target } => looks::show(id, target).await,
        DelayedCommand::Cancel(arguments) => bulk::cancel(arguments).await,
        DelayedCommand::RunNow(arguments) => run_now(arguments).await,
        DelayedCommand::Reschedule(arguments) => reschedule(arguments).await,
        DelayedCommand::Pause(arguments) => hold(arguments, "pause").await,
        DelayedCommand::Resume(arguments) => hold(arguments, "resume").await,
        DelayedCommand::Stats { target } => looks::stats(target).await,
        DelayedCommand::AcceptClock { dry_run, target } => accept_clock(*dry_run, target).await,
    }
}

/// The path of a pending record.
fn path_of(id: &str) -> String {
    format!("/v1/delayed/messages/{}", encoded(id))
}

/// Several things that are done one after the other, also where one of them fails.
struct Several<'a> {
    format: Format,
    api: &'a Api,
    first_failure: Option<u8>,
}

impl<'a> Several<'a> {
    fn new(api: &'a Api, format: Format) -> Self {
        Self {
            format,
            api,
            first_failure: None,
        }
    }

    /// Does one, and says what came of it.
    ///
    /// # Errors
    /// Where nobody is there to do it, or nobody reads what is said.
    async fn change(
        &mut self,
        (method, path): (Method, &str),
        body: Option<&Value>,
        (name, told): (&str, impl Fn(&Value) -> String),
    ) -> Result<(), Failure> {
        match self.api.change(method, path, body).await {
            Ok(answer) => Ok(looks::print(self.format, &answer, told)?),
            Err(gone @ Failure::Unreachable { .. }) => Err(gone),
            // Also one that may have been done: it is named.
            Err(failure) => {
                say(&printable(&format!("tidewheel: {name}: {failure}")));
                self.first_failure.get_or_insert(failure.exit_code());
                Ok(())
            }
        }
    }

    fn end(self) -> Result<(), Failure> {
        self.first_failure
            .map_or(Ok(()), |code| Err(Failure::Several(code)))
    }
}

/// What stands behind the path of a change.
fn dry(dry_run: bool) -> &'static str {
    match dry_run {
        true => "?dry_run=true",
        false => "",
    }
}

async fn run_now(arguments: &ChangeArguments) -> Result<(), Failure> {
    let api = Api::new(&arguments.target)?;
    let mut several = Several::new(&api, arguments.target.format);
    for id in &arguments.ids {
        let path = format!("{}:deliver-now{}", path_of(id), dry(arguments.dry_run));
        let told = |answer: &Value| match answer["new_id"].as_str() {
            Some(new_id) => format!("{id} is delivered now, as {new_id}"),
            None => format!("{id} would be delivered now"),
        };
        let request = (Method::POST, path.as_str());
        several.change(request, None, (id, told)).await?;
    }
    several.end()
}

async fn reschedule(arguments: &RescheduleArguments) -> Result<(), Failure> {
    let RescheduleArguments { which, when } = arguments;
    let api = Api::new(&which.target)?;
    let delay = when.delay.unwrap_or(0);
    let at_ms = when
        .at
        .unwrap_or_else(|| clock::now_ms().saturating_add(delay));
    let body = json!({"deliver_at_ms": at_ms});
    let mut several = Several::new(&api, which.target.format);
    for id in &which.ids {
        let path = format!("{}:reschedule{}", path_of(id), dry(which.dry_run));
        let told = |answer: &Value| {
            let due_ms = answer["deliver_at_ms"].as_i64();
            match (answer["new_id"].as_str(), due_ms) {
                (Some(new_id), Some(due_ms)) => {
                    format!("{id} is delivered at {}, as {new_id}", text::time(due_ms))
                }
                _ => format!("{id} would be delivered at {}", text::time(at_ms)),
            }
        };
        let request = (Method::POST, path.as_str());
        several.change(request, Some(&body), (id, told)).await?;
    }
    several.end()
}

async fn hold(arguments: &TopicsArguments, action: &str) -> Result<(), Failure> {
    let api = Api::new(&arguments.target)?;
    let mut several = Several::new(&api, arguments.target.format);
    for topic in &arguments.topics {
        let name = encoded(topic);
        let path = format!(
            "/v1/delayed/topics/{name}:{action}{}",
            dry(arguments.dry_run)
        );
        let told = |answer: &Value| {
            let is = if arguments.dry_run { "would be" } else { "is" };
            match answer["paused"].as_bool() {
                Some(true) => format!("{topic} {is} paused"),
                _ => format!("{topic} {is} delivered again"),
            }
        };
        let request = (Method::POST, path.as_str());
        several.change(request, None, (topic, told)).await?;
    }
    several.end()
}

async fn accept_clock(dry_run: bool, target: &Target) -> Result<(), Failure> {
    let api = Api::new(target)?;
    let path = format!("/v1/delayed/clock:accept{}", dry(dry_run));
    let answer = api.change(Method::POST, &path, None).await?;
    let told = |_: &Value| match dry_run {
        true => "the clock would be taken as it is".to_owned(),
        false => "the clock is taken as it is".to_owned(),
    };
    Ok(looks::print(target.format, &answer, told)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_what_is_wanted_and_nothing_in_it_has_another_meaning() {
        let filter = Filter {
            partition: Some(2),
            due_within: Some(1_000),
            due_before: None,
            due_after: Some(5),
            state: Some(State::Overdue),
            key: Some("a&limit=1".to_owned()),
        };
        let query =
            "?topic=t&partition=2&due_before=1500&due_after=5&state=overdue&key=a%26limit%3D1";
        assert_eq!(filter.query("t", 500), query);
        let all = Filter {
            partition: None,
            due_within: None,
            due_before: None,
            due_after: None,
            state: None,
            key: None,
        };
        assert_eq!(all.query("a.b", 500), "?topic=a.b");
    }
}
