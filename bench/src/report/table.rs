//! The table at the end of a run.

use std::fmt::Write;

use crate::process::ProcessUse;
use crate::recorder::Series;
use crate::summary::{PERCENTILES, Summary};
use crate::workload::Mode;

/// What closed loops must say of their latencies.
pub(crate) const CLOSED_LOOP: &str =
    "closed loop: the next record waits for answers, so latency under stalls is under-reported";

/// What `delayed` measures.
const DELAYED: &str = "e2e counts from when a record was due: how late it was consumed";

/// What a host takes now and then, %, is not worth a line.
const STOLEN_TOLD: f64 = 1.0;

/// The text of the table.
pub(crate) fn render(summary: &Summary) -> String {
    let mut text = String::new();
    write_all(summary, &mut text).expect("a string takes what is written");
    text
}

fn write_all(summary: &Summary, out: &mut String) -> std::fmt::Result {
    writeln!(out, "{}", summary.workload.headline())?;
    if summary.workload.is_closed_loop() && summary.workload.mode.produces() {
        writeln!(out, "{CLOSED_LOOP}")?;
    }
    if summary.interrupted {
        writeln!(out, "ended early, by Ctrl-C")?;
    }
    if summary.workload.mode == Mode::Delayed {
        writeln!(out, "{DELAYED}")?;
    }
    out.push('\n');
    write_latencies(summary, out)?;
    write_rates(summary, out)?;
    write_failures(summary, out)?;
    write_processes(summary, out)?;
    let here = &summary.environment;
    if summary.workload.mode.produces() {
        writeln!(out, "durability   {}", summary.durability.describe())?;
    }
    writeln!(
        out,
        "environment  {}, {}, {} cores usable, congestion control {} (bench: {}), load {:.2}, \
         tidewheel {} {}; broker: logs on {}, settings {}",
        here.kernel,
        here.cpu,
        here.cores_usable,
        here.congestion_control,
        here.client_congestion_control,
        here.load_average,
        here.version,
        here.commit,
        match here.broker_filesystem.as_str() {
            "" => "an unknown file system",
            known => known,
        },
        here.settings_digest()
    )
}

fn write_latencies(summary: &Summary, out: &mut String) -> std::fmt::Result {
    if summary.latencies.is_empty() {
        return Ok(());
    }
    let columns: Vec<&str> = ["mean", "stdev"]
        .into_iter()
        .chain(PERCENTILES.map(|(name, _)| name))
        .chain(["max"])
        .collect();
    write!(out, "{:<13}{:>12}", "latency, ms", "count")?;
    for column in &columns {
        write!(out, "{column:>10}")?;
    }
    out.push('\n');
    for series in Series::ALL {
        let Some(latency) = summary.latencies.get(series.name()) else {
            continue;
        };
        write!(out, "{:<13}{:>12}", series.name(), latency.count)?;
        for column in &columns {
            write!(out, "{:>10.3}", latency.figure(column).unwrap_or_default())?;
        }
        out.push('\n');
    }
    out.push('\n');
    Ok(())
}

fn write_rates(summary: &Summary, out: &mut String) -> std::fmt::Result {
    let (rates, counts) = (&summary.throughput, &summary.counts);
    if summary.workload.mode.produces() {
        write!(
            out,
            "produced     {:.0} records/s, {:.2} MB/s, {:.0} requests/s; {} records in {:.1} s",
            rates.produced_per_second,
            rates.produced_mb_per_second,
            rates.requests_per_second,
            counts.acked,
            summary.seconds
        )?;
        if let Some(asked) = summary.asked_per_second {
            let reached = rates.produced_per_second / asked * 100.0;
            write!(out, "; asked {asked:.0}/s, reached {reached:.1} %")?;
        }
        writeln!(
            out,
            "\nsends        {:.2} % late; {:.2} MB on the wire",
            summary.late_share() * 100.0,
            counts.wire_bytes as f64 / 1e6
        )?;
    }
    if counts.fetches > 0 {
        writeln!(
            out,
            "consumed     {:.0} records/s, {:.2} MB/s; {} records, {} fetches",
            rates.consumed_per_second,
            rates.consumed_mb_per_second,
            counts.consumed,
            counts.fetches
        )?;
    }
    if counts.caught_up > 0 {
        writeln!(
            out,
            "caught up    {:.2} MB/s; {} records",
            rates.caught_up_mb_per_second, counts.caught_up
        )?;
    }
    Ok(())
}

fn write_failures(summary: &Summary, out: &mut String) -> std::fmt::Result {
    if summary.unsent > 0 {
        writeln!(
            out,
            "unsent       {} records were due and never sent: the latencies lack them",
            summary.unsent
        )?;
    }
    if summary.unconsumed > 0 {
        writeln!(
            out,
            "unconsumed   {} records were acknowledged and never consumed: the latencies lack them",
            summary.unconsumed
        )?;
    }
    match summary.errors.is_empty() {
        true => writeln!(out, "errors       none"),
        false => {
            let each = summary.errors.iter();
            let each: Vec<String> = each
                .map(|(name, count)| format!("{name}: {count}"))
                .collect();
            writeln!(out, "errors       {}", each.join(", "))
        }
    }
}

fn write_processes(summary: &Summary, out: &mut String) -> std::fmt::Result {
    if let Some(used) = &summary.broker {
        write!(out, "broker       {}", describe(used, summary.seconds))?;
        if let Some(per_gb) = summary.broker_cpu_per_gb() {
            write!(out, "; {per_gb:.3} CPU-s/GB")?;
        }
        if let Some(per_request) = summary.broker_us_per_request() {
            write!(out, "; {per_request:.1} CPU-us/request")?;
        }
        out.push('\n');
    }
    if let Some(used) = &summary.generator {
        writeln!(out, "bench        {}", describe(used, summary.seconds))?;
    }
    if let Some(stolen) = summary
        .stolen_percent
        .filter(|stolen| *stolen >= STOLEN_TOLD)
    {
        writeln!(
            out,
            "host         {stolen:.1} % of the processors were taken by the host (steal): figures suffer from it"
        )?;
    }
    Ok(())
}

fn describe(used: &ProcessUse, seconds: f64) -> String {
    format!(
        "{} ({}): {:.2} CPU-s ({:.2} user, {:.2} system), {:.0} % of a core, RssAnon {:.1} MiB, \
         {:.1} MB written",
        used.program,
        used.pid,
        used.cpu_seconds(),
        used.user_seconds,
        used.system_seconds,
        used.cpu_seconds() / seconds.max(1e-9) * 100.0,
        used.anonymous_bytes_max as f64 / f64::from(1 << 20),
        used.written_bytes as f64 / 1e6
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::summary;

    #[test]
    fn the_table_tells_what_an_expert_asks_for() {
        let mut result = summary(1000.0, 5.0);
        result.errors.insert("NOT_LEADER".to_owned(), 3);
        result.unsent = 7;
        result.unconsumed = 9;
        let text = render(&result);
        for part in [
            CLOSED_LOOP,
            "response             1000",
            "p99.99",
            "produced     1000 records/s, 1.00 MB/s",
            "errors       NOT_LEADER: 3",
            "unsent       7 records",
            "unconsumed   9 records",
            "host         1.5 % of the processors",
            "30 % of a core",
            "300.000 CPU-s/GB",
            "durability   page cache",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        result.asked_per_second = Some(2000.0);
        result.workload.rate = crate::values::Rate::Records(2000.0);
        let text = render(&result);
        assert!(text.contains("asked 2000/s, reached 50.0 %"), "{text}");
        assert!(!text.contains("closed loop"), "{text}");
    }
}
