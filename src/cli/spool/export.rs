//! `waystation spool export`: records as lines of JSON (`line.rs` says in which form).
//!
//! With `--remove` the records are held back from Kafka first; the file is synced and has its name
//! before they are taken out. Whatever happens between: a record is in the spool or in the file,
//! or in both under one id.

use super::door::{Door, DoorError};
use super::ls;
use super::output::To;
use super::place;
use super::verify::range;
use crate::cli::{exit, terminal};
use crate::line;
use crate::record::{Millis, Sequence};
use crate::spool::outside::{self, LookError, Selection, Selector};
use crate::status::words;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    output: To,
    /// Only records from this sequence on
    #[arg(long, value_name = "SEQUENCE")]
    from: Option<u64>,
    /// Only records up to this sequence, it included
    #[arg(long, value_name = "SEQUENCE")]
    to: Option<u64>,
    /// Only records received at this time (UTC, as 2026-01-31T08:00:00Z) or later
    #[arg(long, value_name = "TIME", value_parser = line::time)]
    since: Option<Millis>,
    /// Only records received before this time (UTC, as 2026-01-31T08:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = line::time)]
    until: Option<Millis>,
    /// Also records that do not wait any more and are still on the disk: Kafka has them, or they
    /// were taken out
    #[arg(long)]
    all: bool,
    /// Take the exported records out of the spool, once the file is safely on its disk: Kafka
    /// never gets them from this box, and they are counted as exported. Records that were handed
    /// to Kafka's client already are left
    #[arg(long, requires = "output", conflicts_with_all = ["all", "dir"])]
    remove: bool,
    /// Read this directory instead of the configured spool: a copy, one that was set aside, or a
    /// segment in quarantine
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Args {
    fn selection(&self) -> Selection {
        Selection {
            first: self.from.map(Sequence),
            end: self.to.map(|last| Sequence(last.saturating_add(1))),
            since: self.since,
            until: self.until,
            with_done: self.all,
        }
    }
}

/// Why an export broke off.
#[derive(Debug)]
enum Failure {
    Look(LookError),
    /// The output cannot be written.
    Write(io::Error),
    Hold(DoorError),
    /// The file is complete, and its records are still in the spool.
    Remove(DoorError),
}

pub fn run(args: &Args, config: &Path) -> u8 {
    let exported = if args.remove {
        let settings = match place::settings(config) {
            Ok(settings) => settings.spool,
            Err(code) => return code,
        };
        if let Err(error) = outside::look(&settings.dir) {
            return place::unreadable(&error);
        }
        tell_of_held(&settings.dir);
        let mut door = match Door::find(&settings) {
            Ok(door) => door,
            Err(code) => return code,
        };
        let exported = take_out(args, &settings.dir, &mut door);
        if let Err(error) = door.close() {
            terminal::complain(&error);
        }
        exported
    } else {
        match place::dir(args.dir.as_deref(), config) {
            Ok(dir) => {
                tell_of_held(&dir);
                export(args, &dir, args.selection(), &|| {})
            }
            Err(code) => return code,
        }
    };
    match exported {
        Ok(exported) => exported.told(args),
        Err(failure) => failed(args, failure),
    }
}

/// Says which records are not in what is exported from the spool in `dir`, though they wait.
fn tell_of_held(dir: &Path) {
    match outside::held(dir) {
        Ok(held) => {
            for held in held.iter().filter(|held| held.waiting() > 0) {
                terminal::complain(&format!("not exported: {}", ls::of_topic(held)));
            }
        }
        Err(error) => terminal::complain(&error),
    }
}

fn failed(args: &Args, failure: Failure) -> u8 {
    match failure {
        Failure::Look(error) => place::unreadable(&error),
        Failure::Write(error) => args.output.failed(error),
        Failure::Hold(error) => {
            terminal::complain(&format!("{error}; nothing was exported"));
            exit::FAILURE
        }
        Failure::Remove(error) => {
            terminal::complain(&format!(
                "{error}; the file is complete, but its records may still be in the spool: then \
                 Kafka gets them too, with the same ids"
            ));
            exit::FAILURE
        }
    }
}

/// What was written.
#[derive(Debug, Default)]
struct Exported {
    records: u64,
    /// First and end, in order.
    ranges: Vec<(Sequence, Sequence)>,
    missing: Vec<(Sequence, Sequence)>,
    /// How many were taken out; how many were selected and are not free to be.
    removed: Option<(u64, u64)>,
}

impl Exported {
    fn add(&mut self, sequence: Sequence) {
        self.records += 1;
        match self.ranges.last_mut() {
            Some((_, end)) if *end == sequence => *end = sequence.plus(1),
            _ => self.ranges.push((sequence, sequence.plus(1))),
        }
    }

    fn told(&self, args: &Args) -> u8 {
        let mut said = self.sentence();
        if let Some((removed, left)) = self.removed {
            said.push_str(&taken_out(removed, left));
        }
        let written = args.output.tell(&said);
        for (first, end) in &self.missing {
            let range = range(*first, *end);
            terminal::complain(&format!("{range} cannot be read: damaged on the disk"));
        }
        if self.missing.is_empty() { written } else { exit::FAILURE }
    }

    fn sentence(&self) -> String {
        let records = words::count(self.records, "record");
        match (self.ranges.first(), self.ranges.last()) {
            (Some((first, _)), Some((_, end))) if end.since(*first) > 1 => format!(
                "Exported {records}, sequences {} to {}.",
                words::thousands(first.0),
                words::thousands(end.0 - 1)
            ),
            (Some((first, _)), _) => {
                format!("Exported {records}, sequence {}.", words::thousands(first.0))
            }
            _ => format!("Exported {records}."),
        }
    }
}

fn taken_out(removed: u64, left: u64) -> String {
    let out = match removed {
        0 => " None was taken out of the spool.".to_owned(),
        1 => " It was taken out of the spool.".to_owned(),
        _ => format!(" {} were taken out of the spool.", words::thousands(removed)),
    };
    let stay = match left {
        0 => return out,
        1 => "One more record was".to_owned(),
        left => format!("{} more records were", words::thousands(left)),
    };
    format!(
        "{out} {stay} handed to Kafka's client already, and left to it; to take those out too, stop \
         the service and run this as its user."
    )
}

/// Writes what is selected, and takes it out.
fn take_out(args: &Args, dir: &Path, door: &mut Door) -> Result<Exported, Failure> {
    let wanted = args.selection();
    let (first, end) = (wanted.first.unwrap_or_default(), wanted.end.unwrap_or(Sequence(u64::MAX)));
    let held = match door.hold(first, end) {
        Ok(held) => held,
        // An empty file, and a sentence that says why.
        Err(DoorError::Nothing) => (end, end),
        Err(error) => return Err(Failure::Hold(error)),
    };
    let moved = || door.moved();
    let before = Selection { end: Some(held.0), ..wanted };
    let left = count(dir, before, &moved).map_err(Failure::Look)?;
    let held_only = Selection { first: Some(held.0), end: Some(held.1), ..wanted };
    let mut exported = export(args, dir, held_only, &moved)?;
    let removed = if exported.records == 0 { Ok(0) } else { door.remove(&exported.ranges) };
    exported.removed = Some((removed.map_err(Failure::Remove)?, left));
    Ok(exported)
}

/// How many records are selected. `moved` is told of each step, here as below.
fn count(dir: &Path, selection: Selection, moved: &dyn Fn()) -> Result<u64, LookError> {
    let mut selector = Selector::new(dir, selection)?;
    let mut records = 0;
    while let Some(block) = selector.next_block()? {
        records += selector.selected(&block).count() as u64;
        moved();
    }
    Ok(records)
}

fn export(
    args: &Args,
    dir: &Path,
    selection: Selection,
    moved: &dyn Fn(),
) -> Result<Exported, Failure> {
    let mut selector = Selector::new(dir, selection).map_err(Failure::Look)?;
    let mut output = args.output.open().map_err(Failure::Write)?;
    let begin = selector.at();
    let end = selector.view().end().min(selection.end.unwrap_or(Sequence(u64::MAX)));
    let bar = terminal::bar_of_records("exporting", end.since(begin));
    let mut exported = Exported::default();
    let mut text = Vec::new();
    while let Some(block) = selector.next_block().map_err(Failure::Look)? {
        for record in selector.selected(&block) {
            line::write(&record, &mut text);
            exported.add(record.sequence);
        }
        output.write_all(&text).map_err(Failure::Write)?;
        text.clear();
        bar.set_position(selector.at().since(begin));
        moved();
    }
    exported.missing = selector.missing().to_vec();
    bar.finish_and_clear();
    output.finish().map_err(Failure::Write)?;
    Ok(exported)
}
