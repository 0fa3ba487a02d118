//! `waystation status`: one look at a running service, for a person or a monitoring plugin.
//!
//! It asks the admin listener and prints what it says; the exit code is the verdict. It judges
//! nothing itself.

use super::terminal::{COLUMNS, wrapped};
use super::{exit, terminal};
use crate::admin::client;
use crate::config;
use crate::status::{Snapshot, Verdict, words};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use tokio::runtime::Builder;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the snapshot as JSON, as the service gave it
    #[arg(long)]
    json: bool,
}

/// Asks the service that the configuration at `path` describes.
pub fn run(args: &Args, path: &Path) -> u8 {
    let listen = match config::load(path) {
        Ok(loaded) => loaded.config.admin.listen,
        Err(problems) => {
            terminal::complain(&problems);
            return exit::STATUS_UNKNOWN;
        }
    };
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            terminal::complain(&format!("cannot start: {error}"));
            return exit::STATUS_UNKNOWN;
        }
    };
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    match runtime.block_on(look(listen, args.json, &mut out, &mut err)) {
        Ok(code) => code,
        Err(error) => terminal::written(Err(error)),
    }
}

/// Prints the status of the service whose admin listener is at `listen`: a sentence and a table,
/// or with `json` the snapshot as it was served. Returns the exit code: 0 ok, 1 attention,
/// 2 critical, 3 unreachable (then the reason goes to `err`). Fails only when `out` or `err` does.
async fn look(
    listen: SocketAddr,
    json: bool,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<u8> {
    let fetched = match client::fetch(listen).await {
        Ok(fetched) => fetched,
        Err(error) => {
            writeln!(err, "waystation: {error}")?;
            return Ok(exit::STATUS_UNKNOWN);
        }
    };
    if json {
        writeln!(out, "{}", fetched.json.trim_end())?;
    } else {
        out.write_all(table(&fetched.snapshot).as_bytes())?;
    }
    out.flush()?;
    Ok(match fetched.snapshot.verdict {
        Verdict::Ok => exit::OK,
        Verdict::Attention => exit::STATUS_ATTENTION,
        Verdict::Critical => exit::STATUS_CRITICAL,
    })
}

/// The sentence, then what it rests on.
fn table(status: &Snapshot) -> String {
    let mut text = wrapped(&status.sentence, COLUMNS);
    ledger(&mut text, status);
    facts(&mut text, "spool", &spool(status));
    facts(&mut text, "kafka", &kafka(status));
    facts(&mut text, "ingest", &ingest(status));
    routes(&mut text, status);
    let about = vec![
        ("name", status.box_name.clone()),
        ("version", format!("{}, up {}", status.version, words::duration(status.uptime_seconds))),
        ("last stop", format!("{:?}", status.last_stop).to_lowercase()),
        ("spool id", status.spool_id.clone()),
    ];
    facts(&mut text, "box", &about);
    text
}

fn ledger(text: &mut String, status: &Snapshot) {
    let books = &status.ledger;
    let lines = [
        ("accepted", books.accepted),
        ("= delivered", books.delivered),
        ("+ spooled", books.spooled),
        ("+ dead", books.dead),
        ("+ dropped", books.dropped),
        ("+ exported", books.exported),
        ("+ lost", books.lost),
    ];
    let lines = lines.map(|(name, count)| (name, words::thousands(count)));
    let width = lines.iter().map(|(_, count)| count.len()).max().unwrap_or_default();
    let lines = lines.map(|(name, count)| (name, format!("{count:>width$}")));
    facts(text, "ledger", &lines);
}

fn spool(status: &Snapshot) -> Vec<(&'static str, String)> {
    let spool = &status.spool;
    let used = words::percent(spool.disk_bytes, spool.max_bytes);
    let (disk, limit) = (words::bytes(spool.disk_bytes), words::bytes(spool.max_bytes));
    let mut lines = vec![
        (
            "waiting",
            format!("{}, {}", words::count(spool.records, "record"), words::bytes(spool.bytes)),
        ),
        (
            "on disk",
            format!("{disk} of {limit} ({used:.1} %), {}", words::count(spool.segments, "segment")),
        ),
    ];
    if let Some(age) = spool.oldest_age_seconds {
        lines.push(("oldest", words::duration(age)));
    }
    if let Some(seconds) = spool.held_seconds {
        let held = words::count(spool.held_records, "record");
        lines
            .push(("held back", format!("{held}, by an export, for {}", words::duration(seconds))));
    }
    if let Some(seconds) = spool.full_in_seconds {
        lines.push(("full in", words::about(seconds)));
    }
    let written = words::bytes(spool.bytes_written_per_day);
    let syncs = words::thousands(spool.syncs_per_day);
    lines.push(("per day", format!("{written} written, {syncs} syncs")));
    lines
}

fn kafka(status: &Snapshot) -> Vec<(&'static str, String)> {
    let kafka = &status.kafka;
    let mut lines = vec![("state", kafka.state.name().replace('_', " "))];
    if let Some(seconds) = kafka.outage_seconds {
        lines.push(("away for", words::duration(seconds)));
    }
    let flight = words::thousands(kafka.in_flight);
    lines.push(("delivering", format!("{}/s, {flight} in flight", words::rate(kafka.per_second))));
    if let Some(seconds) = kafka.drain_eta_seconds {
        lines.push(("drained in", words::about(seconds)));
    }
    lines.push((
        "last delivery",
        kafka.last_delivery.clone().unwrap_or_else(|| "nothing delivered yet".to_owned()),
    ));
    if let Some(advice) = &kafka.advice {
        lines.push(("advice", advice.clone()));
    }
    if let Some(error) = &kafka.last_error {
        lines.push(("last error", error.clone()));
    }
    lines
}

fn ingest(status: &Snapshot) -> Vec<(&'static str, String)> {
    let ingest = &status.ingest;
    let mut lines = vec![
        ("state", format!("{:?}", ingest.state).to_lowercase()),
        ("rate", format!("{}/s", words::rate(ingest.per_second))),
    ];
    if let Some(reason) = &ingest.reason {
        lines.push(("because", reason.clone()));
    }
    lines.push(("rejected", ingest.rejected_in_words()));
    lines
}

/// One block: its name once, then a line a fact, long values continued under their beginning.
fn facts(text: &mut String, block: &str, lines: &[(&str, String)]) {
    text.push('\n');
    for (index, (name, value)) in lines.iter().enumerate() {
        let block = if index == 0 { block } else { "" };
        for (line, part) in wrapped(value, COLUMNS - 22).lines().enumerate() {
            let (block, name) = if line == 0 { (block, *name) } else { ("", "") };
            write(text, format_args!("{block:<8}{name:<14}{part}\n"));
        }
    }
}

fn routes(text: &mut String, status: &Snapshot) {
    write(
        text,
        format_args!(
            "\n{:<8}{:<32}{:>13}{:>14}{:>12}\n",
            "routes", "since the start", "accepted", "delivered", "held"
        ),
    );
    for route in &status.routes {
        let name = format!("{} → {}", route.path, route.topic);
        let [accepted, delivered, held] =
            [route.accepted, route.delivered, route.held].map(words::thousands);
        // A name that is too long for its column stands on a line of its own.
        if name.chars().count() > 31 {
            write(
                text,
                format_args!("        {name}\n{:<40}{accepted:>13}{delivered:>14}{held:>12}\n", ""),
            );
        } else {
            write(
                text,
                format_args!("        {name:<32}{accepted:>13}{delivered:>14}{held:>12}\n"),
            );
        }
        for note in route.notes() {
            write(text, format_args!("          {note}\n"));
        }
    }
}

fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Cannot happen: a `String` takes whatever is written.
    out.write_fmt(text).expect("a String takes every write");
}

#[cfg(test)]
mod tests;
