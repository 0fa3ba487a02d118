//! `waystation dead show`: one letter whole, for a person; what is no message in base64.

use super::letters::{Letters, Place, Which, kind};
use crate::cli::{exit, terminal};
use crate::dead::Letter;
use crate::line;
use crate::record::Millis;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write as _;
use std::path::Path;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The record's sequence in this spool, or its id
    #[arg(value_name = "SEQUENCE|ID")]
    which: Which,
    #[command(flatten)]
    place: Place,
}

pub fn run(args: &Args, config: &Path) -> u8 {
    let mut letters = match Letters::find(&args.place, config, &[args.which]) {
        Ok(letters) => letters,
        Err(code) => return code,
    };
    let mut text = String::new();
    let read = letters.each(|letter| {
        text.push_str(&whole(letter));
        Ok(())
    });
    if let Err(error) = read {
        return terminal::written(Err(error));
    }
    if text.is_empty() { exit::FAILURE } else { terminal::answer(&text) }
}

fn whole(letter: &Letter) -> String {
    let record = letter.record();
    let shown = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => text.escape_debug().to_string(),
        Err(_) => format!("{} bytes that are no text", bytes.len()),
    };
    let doubted = if record.received.clock_synchronised { "" } else { " (the clock was wrong)" };
    let key = record.key.map_or_else(|| "none".to_owned(), shown);
    let mut lines = vec![
        ("sequence", record.sequence.to_string()),
        ("id", record.id.to_string()),
        ("dead since", time(letter.at)),
        ("kind", kind(letter).to_owned()),
        ("reason", letter.reason.clone()),
        ("path", record.route.path.clone()),
        ("topic", record.route.topic.clone()),
        ("key", key),
        ("received", format!("{}{doubted}", time(record.received.at))),
        ("timestamp", time(record.timestamp)),
    ];
    let headers = record.headers.iter();
    lines.extend(headers.map(|(name, value)| ("header", format!("{name}: {}", shown(value)))));
    let mut text = String::new();
    for (name, value) in lines {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<11} {value}");
    }
    if record.invalid().is_some() {
        // Whatever somebody posted: a terminal would take some of it for commands.
        let _ = writeln!(text, "{:<11} {}", "base64", STANDARD.encode(record.value));
    } else {
        let _ = writeln!(text, "{}", String::from_utf8_lossy(record.value));
    }
    text
}

/// As RFC 3339 in UTC; what that cannot express in milliseconds.
fn time(at: Millis) -> String {
    line::rfc3339(at).unwrap_or_else(|| format!("{} ms", at.0))
}
