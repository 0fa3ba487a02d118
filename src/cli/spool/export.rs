//! `waystation spool export`: records as lines of JSON (`line.rs` says in which form).

use super::output::Output;
use super::place;
use super::verify::range;
use crate::cli::{exit, terminal};
use crate::line;
use crate::record::{Millis, Sequence};
use crate::spool::outside::{LookError, Selection, Selector};
use crate::status::words;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write to this file instead of to standard output; it appears when it is complete, and an
    /// existing file is never overwritten
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
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
}

pub fn run(args: &Args, config: &Path) -> u8 {
    let dir = match place::dir(args.dir.as_deref(), config) {
        Ok(dir) => dir,
        Err(code) => return code,
    };
    match export(args, &dir) {
        Ok(exported) => exported.told(args),
        Err(Failure::Look(error)) => place::unreadable(&error),
        Err(Failure::Write(error)) => unwritten(args, &error),
    }
}

fn unwritten(args: &Args, error: &io::Error) -> u8 {
    match &args.output {
        None if error.kind() == io::ErrorKind::BrokenPipe => exit::OK,
        None => {
            terminal::complain(&format!("cannot write to standard output: {error}"));
            exit::IO
        }
        Some(file) => {
            terminal::complain(&format!("cannot write {}: {error}", file.display()));
            exit::CANNOT_CREATE
        }
    }
}

/// What was written.
#[derive(Debug, Default)]
struct Exported {
    records: u64,
    first: Option<Sequence>,
    last: Option<Sequence>,
    missing: Vec<(Sequence, Sequence)>,
}

impl Exported {
    fn told(&self, args: &Args) -> u8 {
        let which = match (self.first, self.last) {
            (Some(first), Some(last)) if first < last => {
                format!(", sequences {} to {}", words::thousands(first.0), words::thousands(last.0))
            }
            (Some(first), _) => format!(", sequence {}", words::thousands(first.0)),
            _ => String::new(),
        };
        let said = format!("Exported {}{which}.", words::count(self.records, "record"));
        let written = if args.output.is_some() {
            terminal::answer(&format!("{said}\n"))
        } else {
            terminal::note(&said);
            exit::OK
        };
        for (first, end) in &self.missing {
            let range = range(*first, *end);
            terminal::complain(&format!("{range} cannot be read: damaged on the disk"));
        }
        if self.missing.is_empty() { written } else { exit::FAILURE }
    }
}

fn export(args: &Args, dir: &Path) -> Result<Exported, Failure> {
    let mut selector = Selector::new(dir, args.selection()).map_err(Failure::Look)?;
    let mut output = Output::open(args.output.as_deref()).map_err(Failure::Write)?;
    let begin = selector.at();
    let end = selector.view().end().min(args.selection().end.unwrap_or(Sequence(u64::MAX)));
    let bar = terminal::bar_of_records("exporting", end.since(begin));
    let mut exported = Exported::default();
    let mut text = Vec::new();
    while let Some(block) = selector.next_block().map_err(Failure::Look)? {
        for record in selector.selected(&block) {
            line::write(&record, &mut text);
            exported.records += 1;
            exported.first.get_or_insert(record.sequence);
            exported.last = Some(record.sequence);
        }
        output.write_all(&text).map_err(Failure::Write)?;
        text.clear();
        bar.set_position(selector.at().since(begin));
    }
    exported.missing = selector.missing().to_vec();
    bar.finish_and_clear();
    output.finish().map_err(Failure::Write)?;
    Ok(exported)
}
