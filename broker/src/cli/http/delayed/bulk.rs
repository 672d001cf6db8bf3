//! `delayed cancel`: records by their names, or all that a list would show.

use std::io::{self, BufRead, IsTerminal, Write};

use axum::http::{Method, StatusCode};
use clap::Args;
use serde_json::{Value, json};

use super::super::client::{Answer, Api, encoded};
use super::super::{Failure, Target};
use super::looks::{PAGE_MAX, print};
use super::{Filter, Several, dry, path_of};
use crate::cli::say;
use crate::clock;

/// How often a page is counted anew because records were delivered or came meanwhile.
const TRIES: usize = 10;

/// Arguments of `delayed cancel`.
#[derive(Args, Debug)]
pub(super) struct CancelArguments {
    /// What names them, as a list tells it
    #[arg(
        value_name = "ID",
        required_unless_present = "topic",
        conflicts_with = "topic"
    )]
    ids: Vec<String>,
    /// Instead of names: all of this topic that the options below let through
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// Cancel all of it without asking how many there are first
    #[arg(long, requires = "topic")]
    yes: bool,
    /// Check everything and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    target: Target,
}

impl CancelArguments {
    fn has_filter(&self) -> bool {
        let Filter {
            partition,
            due_within,
            due_before,
            due_after,
            state,
            key,
        } = &self.filter;
        partition.is_some()
            || [due_within, due_before, due_after]
                .iter()
                .any(|time| time.is_some())
            || state.is_some()
            || key.is_some()
    }
}

/// Cancels what is asked for.
pub(super) async fn cancel(arguments: &CancelArguments) -> Result<(), Failure> {
    if let Some(topic) = &arguments.topic {
        return cancel_all(arguments, topic).await;
    }
    if arguments.has_filter() || arguments.yes {
        let sentence = "a record that is named needs no other option; those are for --topic";
        return Err(Failure::Usage(sentence.to_owned()));
    }
    let api = Api::new(&arguments.target)?;
    let mut several = Several::new(&api, arguments.target.format);
    for id in &arguments.ids {
        let path = format!("{}{}", path_of(id), dry(arguments.dry_run));
        let told = |_: &Value| match arguments.dry_run {
            true => format!("{id} would be cancelled"),
            false => format!("{id} is cancelled"),
        };
        let request = (Method::DELETE, path.as_str());
        several.change(request, None, (id, told)).await?;
    }
    several.end()
}

/// A page of what is to be cancelled.
struct Page {
    count: u64,
    next_cursor: Option<String>,
}

impl Page {
    fn new(answer: &Value, count: &str) -> Self {
        Self {
            count: answer[count].as_u64().unwrap_or(0),
            next_cursor: answer["next_cursor"].as_str().map(str::to_owned),
        }
    }
}

/// What is cancelled at once.
struct Bulk<'a> {
    api: &'a Api,
    /// Without an end.
    path: String,
}

impl Bulk<'_> {
    async fn delete(&self, cursor: Option<&str>, rest: &str) -> Result<Answer, Failure> {
        let after = cursor.map_or(String::new(), |cursor| {
            format!("&cursor={}", encoded(cursor))
        });
        let path = format!("{}{after}{rest}", self.path);
        self.api.ask(Method::DELETE, &path, None).await
    }

    /// How many there are.
    async fn count(&self) -> Result<u64, Failure> {
        let (mut count, mut cursor) = (0, None);
        loop {
            let page = self.delete(cursor.as_deref(), "&dry_run=true").await?;
            let page = Page::new(&page.good()?, "matched");
            count += page.count;
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(count);
            }
        }
    }

    /// Cancels the first `most` of them, a page at a time, and tells how many that were in `done` also where it fails.
    async fn cancel(&self, most: u64, done: &mut u64) -> Result<(), Failure> {
        let (mut cursor, mut tries) = (None::<String>, 0);
        loop {
            let found = self.delete(cursor.as_deref(), "&dry_run=true").await?;
            let found = Page::new(&found.good()?, "matched").count;
            if found > most.saturating_sub(*done) {
                let sentence = "there are more by now; nothing more was cancelled";
                return Err(Failure::Refused(sentence.to_owned()));
            }
            let rest = format!("&confirm_count={found}");
            let answer = self.delete(cursor.as_deref(), &rest).await?;
            // Some were delivered, or came, since they were counted.
            if answer.status == StatusCode::CONFLICT && tries < TRIES {
                tries += 1;
                continue;
            }
            let answer = answer.good()?;
            let page = Page::new(&answer, "cancelled");
            *done += page.count;
            if let Some(reason) = answer["given_up"].as_str() {
                return Err(Failure::Refused(reason.to_owned()));
            }
            match page.next_cursor {
                Some(next) => (cursor, tries) = (Some(next), 0),
                None => return Ok(()),
            }
        }
    }
}

async fn cancel_all(arguments: &CancelArguments, topic: &str) -> Result<(), Failure> {
    let api = Api::new(&arguments.target)?;
    let query = arguments.filter.query(topic, clock::now_ms());
    let bulk = Bulk {
        api: &api,
        path: format!("/v1/delayed/messages{query}&limit={PAGE_MAX}"),
    };
    let format = arguments.target.format;
    if arguments.dry_run {
        let count = bulk.count().await?;
        let answer = json!({"topic": topic, "matched": count, "cancelled": 0, "dry_run": true});
        return Ok(print(format, &answer, |_| {
            format!("{count} of {topic} would be cancelled")
        })?);
    }
    let most = match arguments.yes {
        true => u64::MAX,
        false => agreed(bulk.count().await?, topic)?,
    };
    let mut cancelled = 0;
    let ended = bulk.cancel(most, &mut cancelled).await;
    let answer = json!({"topic": topic, "cancelled": cancelled, "dry_run": false});
    if cancelled > 0 || ended.is_ok() {
        print(format, &answer, |_| {
            format!("{cancelled} of {topic} are cancelled")
        })?;
    }
    ended
}

/// Asks the person at the terminal.
fn agreed(count: u64, topic: &str) -> Result<u64, Failure> {
    if count == 0 {
        return Ok(0);
    }
    let sentence = format!("{count} of {topic} would be cancelled");
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage(format!("{sentence}; say --yes")));
    }
    write!(io::stderr().lock(), "{sentence}. Cancel them? [y/N] ")?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    match line.trim() {
        "y" | "Y" | "yes" => Ok(count),
        _ => {
            say("nothing was cancelled");
            Err(Failure::Several(crate::cli::EXIT_ENVIRONMENT))
        }
    }
}
