//! `tidewheel top`: what a broker is busy with, again and again.

mod look;
mod view;

use std::io::{self, IsTerminal, Write};
use std::mem;
use std::time::Duration;

use clap::Args;

use self::look::Look;
use super::client::Api;
use super::text::printable;
use super::{Failure, Format, Target};
use crate::cli::outcome::print_json;
use crate::cli::say;

/// Arguments of `tidewheel top`.
#[derive(Args, Debug)]
pub(in crate::cli) struct TopArguments {
    /// Seconds between two looks
    #[arg(short, long, value_name = "SECONDS", default_value_t = 2,
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// End after so many looks; rates of topics are known from the second one on
    #[arg(short = 'n', long, value_name = "NUMBER",
        value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    target: Target,
}

/// How a look is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// In the place of the last one.
    Screen,
    /// A line for each thing.
    Lines,
    /// An object.
    Json,
}

/// Looks, and tells, until somebody has seen enough.
pub(super) async fn run(arguments: &TopArguments) -> Result<(), Failure> {
    let api = Api::new(&arguments.target)?;
    let shape = match arguments.target.format {
        Format::Json => Shape::Json,
        Format::Text if io::stdout().is_terminal() => Shape::Screen,
        Format::Text => Shape::Lines,
    };
    // Of a broker that was never there nothing is told.
    let mut before = None;
    let mut now = Look::take(&api).await?;
    tell(shape, &api, None, &now)?;
    let mut looks = 1;
    while arguments.count.is_none_or(|count| looks < count) {
        tokio::time::sleep(Duration::from_secs(arguments.interval)).await;
        looks += 1;
        match Look::take(&api).await {
            Ok(look) => {
                before = Some(mem::replace(&mut now, look));
                tell(shape, &api, before.as_ref(), &now)?;
            }
            Err(failure @ (Failure::Usage(_) | Failure::Output(_))) => return Err(failure),
            // It may come back. A screen keeps what was seen last, and says so.
            Err(failure) if shape == Shape::Screen => {
                let trouble = failure.to_string();
                draw(&api, before.as_ref(), &now, Some(&trouble))?;
            }
            Err(failure) => say(&printable(&format!("tidewheel: {failure}"))),
        }
    }
    Ok(())
}

fn draw(api: &Api, before: Option<&Look>, now: &Look, trouble: Option<&str>) -> io::Result<()> {
    let screen = view::screen(before, now, api.url(), trouble, view::size());
    let mut out = io::stdout().lock();
    out.write_all(screen.as_bytes())?;
    out.flush()
}

fn tell(shape: Shape, api: &Api, before: Option<&Look>, now: &Look) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match shape {
        Shape::Screen => return draw(api, before, now, None),
        Shape::Lines => out.write_all(view::lines(before, now).as_bytes())?,
        Shape::Json => print_json(&mut out, &view::json(before, now))?,
    }
    out.flush()
}
