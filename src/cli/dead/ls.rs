//! `waystation dead ls`: which records are dead letters, since when, and why.
//!
//! The reasons stand below the table, each once: they are long, and mostly one and the same.

use super::letters::{Letters, Place, kind};
use crate::cli::{exit, terminal};
use crate::dead::Letter;
use crate::record::Millis;
use crate::status::rates::age_seconds;
use crate::status::words;
use serde::Serialize;
use std::path::Path;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON for programs, a line a letter
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

const HEAD: [&str; 6] = ["sequence", "since", "bytes", "id", "kind", "topic"];
/// From this column on cells are words.
const TEXT: usize = 3;

pub fn run(args: &Args, config: &Path) -> u8 {
    let mut letters = match Letters::find(&args.place, config, &[]) {
        Ok(letters) => letters,
        Err(code) => return code,
    };
    let now = Millis::now();
    let mut listing = Listing::default();
    let mut json = String::new();
    let read = letters.each(|letter| {
        if args.json {
            json.push_str(&serde_json::to_string(&Listed::of(letter))?);
            json.push('\n');
        } else {
            listing.add(letter, now);
        }
        Ok(())
    });
    let text = if args.json { json } else { listing.text(letters.bytes(), letters.failed) };
    match (read, letters.failed) {
        (Ok(()), 0) => terminal::answer(&text),
        (Ok(()), _) => {
            terminal::answer(&text);
            exit::FAILURE
        }
        (Err(error), _) => terminal::written(Err(error)),
    }
}

#[derive(Debug, Default)]
struct Listing {
    rows: Vec<[String; 6]>,
    /// In the order of their first use, with how many letters have each.
    reasons: Vec<(String, u64)>,
}

impl Listing {
    fn add(&mut self, letter: &Letter, now: Millis) {
        let record = letter.record();
        self.rows.push([
            words::thousands(record.sequence.0),
            words::duration(age_seconds(now, letter.at)),
            words::thousands(record.value.len() as u64),
            record.id.to_string(),
            kind(letter).to_owned(),
            record.route.topic.clone(),
        ]);
        match self.reasons.iter_mut().find(|(known, _)| *known == letter.reason) {
            Some((_, count)) => *count += 1,
            None => self.reasons.push((letter.reason.clone(), 1)),
        }
    }

    /// `bytes` are those of all of them, with those that could not be read.
    fn text(mut self, bytes: u64, unreadable: u64) -> String {
        let all = self.rows.len() as u64 + unreadable;
        if all == 0 {
            return "There are no dead letters.\n".to_owned();
        }
        let mut count = words::count(all, "dead letter");
        if unreadable > 0 {
            count = format!("{count} ({} cannot be read)", words::thousands(unreadable));
        }
        let mut text = String::new();
        if !self.rows.is_empty() {
            self.rows.insert(0, HEAD.map(str::to_owned));
            text = terminal::aligned(&self.rows, TEXT);
            text.push('\n');
        }
        let mut line = |line: &str| text.push_str(&terminal::wrapped(line, terminal::COLUMNS));
        for (reason, letters) in &self.reasons {
            line(&format!("{}: {reason}.", words::capitalised(&words::count(*letters, "letter"))));
        }
        line(&format!("{}, {}.", words::capitalised(&count), words::bytes(bytes)));
        text
    }
}

/// What `--json` prints of each.
#[derive(Serialize)]
struct Listed {
    sequence: u64,
    id: String,
    dead_since_ms: i64,
    /// `refused` or `invalid`.
    kind: &'static str,
    reason: String,
    path: String,
    topic: String,
    received_ms: i64,
    value_bytes: usize,
}

impl Listed {
    fn of(letter: &Letter) -> Self {
        let record = letter.record();
        Self {
            sequence: record.sequence.0,
            id: record.id.to_string(),
            dead_since_ms: letter.at.0,
            kind: kind(letter),
            reason: letter.reason.clone(),
            path: record.route.path.clone(),
            topic: record.route.topic.clone(),
            received_ms: record.received.at.0,
            value_bytes: record.value.len(),
        }
    }
}
