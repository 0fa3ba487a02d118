//! `waystation spool ls`: what is on the disk, a line a segment.
//!
//! Sealed segments are taken at their seals' word, so that a thousand of them take milliseconds;
//! what was never sealed is scanned.

use super::place;
use crate::cli::{exit, terminal};
use crate::record::{Millis, Sequence};
use crate::spool::outside::{self, Held, Segment, State, View};
use crate::status::rates::age_seconds;
use crate::status::words;
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the list as JSON, for programs
    #[arg(long)]
    json: bool,
    /// Look at this directory instead of the configured spool: a copy, or one that was set aside
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub fn run(args: &Args, config: &Path) -> u8 {
    let dir = match place::dir(args.dir.as_deref(), config) {
        Ok(dir) => dir,
        Err(code) => return code,
    };
    match outside::look(&dir).and_then(|view| Ok((view, outside::held(&dir)?))) {
        Err(error) => place::unreadable(&error),
        Ok((view, held)) if args.json => {
            match serde_json::to_string_pretty(&Listing::of(&view, &held)) {
                Ok(text) => terminal::answer(&format!("{text}\n")),
                Err(error) => {
                    terminal::complain(&format!("cannot write the list as JSON: {error}"));
                    exit::FAILURE
                }
            }
        }
        Ok((view, held)) => terminal::answer(&table(&view, &held, Millis::now())),
    }
}

fn state(segment: &Segment) -> &'static str {
    match segment.state {
        State::Sealed => "sealed",
        State::Damaged => "damaged",
        State::Written => "being written",
        State::LeftOver => "left over",
        State::Superseded => "superseded",
        State::Empty => "empty",
    }
}

const HEAD: [&str; 7] = ["first", "last", "records", "JSON MiB", "disk MiB", "oldest", "state"];
/// The last column is text, the others are numbers.
const TEXT: usize = 6;

fn table(view: &View, held: &[Held], now: Millis) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(view.segments.iter().map(|segment| row(segment, now)));
    let counting = || view.segments.iter().filter(|segment| segment.counts());
    rows.push([
        "in all".to_owned(),
        String::new(),
        words::thousands(counting().map(|segment| segment.records).sum()),
        mib(counting().map(|segment| segment.raw_bytes).sum()),
        mib(view.segments.iter().map(|segment| segment.disk_bytes).sum()),
        String::new(),
        words::count(view.segments.len() as u64, "segment"),
    ]);
    let mut text = terminal::aligned(&rows, TEXT);
    text.push('\n');
    for line in facts(view, held) {
        text.push_str(&terminal::wrapped(&line, terminal::COLUMNS));
    }
    text
}

fn row(segment: &Segment, now: Millis) -> [String; 7] {
    let age = |oldest| words::duration(age_seconds(now, oldest));
    let repacked = segment.is_repacked() && segment.state == State::Sealed;
    [
        words::thousands(segment.first.0),
        last(segment.first, segment.end).map_or_else(|| "-".to_owned(), words::thousands),
        words::thousands(segment.records),
        mib(segment.raw_bytes),
        mib(segment.disk_bytes),
        segment.oldest.map_or_else(|| "-".to_owned(), age),
        if repacked { "repacked" } else { state(segment) }.to_owned(),
    ]
}

/// The last sequence of a range; `None` of an empty one.
fn last(first: Sequence, end: Sequence) -> Option<u64> {
    (first < end).then(|| end.0 - 1)
}

/// What is to be said of the whole.
fn facts(view: &View, held: &[Held]) -> Vec<String> {
    let mut facts = Vec::new();
    if let Some(ledger) = view.ledger() {
        let watermark = words::thousands(view.watermark().0);
        let wait = words::count(ledger.spooled, "record");
        let wait = format!("{wait} {}", if ledger.spooled > 1 { "wait" } else { "waits" });
        facts.push(format!(
            "{}. Kafka has everything below sequence {watermark}; the next record is sequence {}.",
            words::capitalised(&wait),
            words::thousands(view.end().0)
        ));
    } else {
        facts.push(
            "There is no readable progress here: how far its records were delivered is not known."
                .to_owned(),
        );
    }
    facts.extend(held.iter().filter(|held| held.waiting() > 0).map(of_topic));
    if let Some(ledger) = view.ledger().map(|own| outside::books(own, held)) {
        let left = [
            (ledger.dead, "dead"),
            (ledger.dropped, "dropped"),
            (ledger.exported, "exported"),
            (ledger.lost, "lost"),
        ];
        let left = left.iter().filter(|(count, _)| *count > 0);
        let left = left.map(|(count, how)| format!(", {} {how}", words::thousands(*count)));
        let (accepted, delivered) =
            (words::thousands(ledger.accepted), words::thousands(ledger.delivered));
        facts.push(format!(
            "Accepted {accepted}, delivered {delivered}{}.",
            left.collect::<String>()
        ));
    }
    for (kind, first, end) in view.removed() {
        let (first, last) = (words::thousands(first.0), words::thousands(end.0.saturating_sub(1)));
        facts.push(format!("Sequences {first} to {last} are not sent: {kind}."));
    }
    for (name, bytes) in &view.quarantine {
        let bytes = words::bytes(*bytes);
        facts.push(format!("quarantine/{name} ({bytes}) was damaged, and is kept for inspection."));
    }
    match view.in_use.as_deref() {
        None => facts.push("No process has the spool open.".to_owned()),
        Some("") => facts.push("A process has the spool open.".to_owned()),
        Some(pid) => facts.push(format!("Process {pid} has the spool open.")),
    }
    facts
}

/// What is to be said of a topic that Kafka refuses.
pub fn of_topic(held: &Held) -> String {
    let (records, topic) = (words::count(held.waiting(), "record"), &held.topic);
    let more = if held.waiting() > 1 { "more wait" } else { "more waits" };
    format!(
        "{records} {more} for topic {topic}, which Kafka refuses or did: they lie in a spool of \
         their own (--dir {}).",
        held.view.dir.display()
    )
}

#[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
fn mib(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 1000.0 { format!("{mib:.1}") } else { words::thousands(bytes >> 20) }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Listing<'a> {
    schema: u32,
    dir: &'a Path,
    spool_id: Option<String>,
    in_use_by: Option<&'a str>,
    watermark: u64,
    acknowledged: Option<u64>,
    next: u64,
    ledger: Option<crate::ledger::Ledger>,
    removed: Vec<Removed>,
    segments: Vec<Listed<'a>>,
    held: Vec<HeldTopic<'a>>,
    quarantine: Vec<Quarantined<'a>>,
}

/// Ranges are given with their end, one past the last sequence.
#[derive(Serialize)]
struct Removed {
    kind: &'static str,
    first: u64,
    end: u64,
}

#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    generation: u32,
    repacked: bool,
    state: &'static str,
    counts: bool,
    first: u64,
    end: u64,
    records: u64,
    raw_bytes: u64,
    disk_bytes: u64,
    oldest_received_ms: Option<i64>,
}

#[derive(Serialize)]
struct HeldTopic<'a> {
    topic: &'a str,
    dir: &'a Path,
    records: u64,
}

#[derive(Serialize)]
struct Quarantined<'a> {
    name: &'a str,
    disk_bytes: u64,
}

impl<'a> Listing<'a> {
    fn of(view: &'a View, held: &'a [Held]) -> Self {
        let removed = view.removed();
        let removed =
            removed.map(|(kind, first, end)| Removed { kind, first: first.0, end: end.0 });
        let listed = |segment: &'a Segment| Listed {
            name: &segment.name,
            generation: segment.generation,
            repacked: segment.is_repacked(),
            state: state(segment),
            counts: segment.counts(),
            first: segment.first.0,
            end: segment.end.0,
            records: segment.records,
            raw_bytes: segment.raw_bytes,
            disk_bytes: segment.disk_bytes,
            oldest_received_ms: segment.oldest.map(|oldest| oldest.0),
        };
        Self {
            schema: 1,
            dir: &view.dir,
            spool_id: view.spool_id(),
            in_use_by: view.in_use.as_deref(),
            watermark: view.watermark().0,
            acknowledged: view.acknowledged().map(|mark| mark.0),
            next: view.end().0,
            ledger: view.ledger().map(|own| outside::books(own, held)),
            removed: removed.collect(),
            segments: view.segments.iter().map(listed).collect(),
            held: held.iter().map(HeldTopic::of).collect(),
            quarantine: view
                .quarantine
                .iter()
                .map(|(name, disk_bytes)| Quarantined { name, disk_bytes: *disk_bytes })
                .collect(),
        }
    }
}

impl<'a> HeldTopic<'a> {
    fn of(held: &'a Held) -> Self {
        Self { topic: &held.topic, dir: &held.view.dir, records: held.waiting() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when the state is told by the generation: a segment that was begun again has one too.
    #[test]
    fn a_repacked_segment_is_called_so_within_the_width_of_a_terminal() {
        let (millions, now) = (Sequence(999_000_000), Millis(1_767_225_600_000));
        let of = |repacked, state| {
            let mut segment = Segment::sealed(millions, millions.plus(999_999), repacked);
            segment.name = "seg-00000000000999000000-0001".to_owned();
            (segment.state, segment.generation) = (state, 1);
            (segment.raw_bytes, segment.disk_bytes) = (999 << 20, 99 << 20);
            segment.oldest = Some(Millis(now.0 - 3_599_000));
            segment
        };
        let superseded = of(true, State::Superseded);
        let table = terminal::aligned(&[HEAD.map(str::to_owned), row(&superseded, now)], TEXT);
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
        assert_eq!(row(&of(true, State::Sealed), now)[TEXT], "repacked");
        assert_eq!(row(&of(false, State::Sealed), now)[TEXT], "sealed");
    }
}
