//! `waystation spool verify`: is every record on the disk intact?

use super::place;
use crate::cli::{exit, terminal};
use crate::record::Sequence;
use crate::spool::outside::{self, Damage, LookError, Verified};
use crate::status::words;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Read this directory instead of the configured spool: a copy, or one that was set aside
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub fn run(args: &Args, config: &Path) -> u8 {
    let dir = match place::dir(args.dir.as_deref(), config) {
        Ok(dir) => dir,
        Err(code) => return code,
    };
    let views = outside::look(&dir).and_then(|view| {
        // Those of topics that are held are part of it.
        Ok([view].into_iter().chain(outside::held(&dir)?.into_iter().map(|held| held.view)))
    });
    let views: Vec<_> = match views {
        Ok(views) => views.collect(),
        Err(error) => return place::unreadable(&error),
    };
    let segments = views.iter().flat_map(|view| &view.segments).filter(|s| s.counts());
    let bar = terminal::bar_of_bytes("reading", segments.map(|s| s.disk_bytes).sum());
    let (mut text, mut code) = (String::new(), exit::OK);
    for view in &views {
        match outside::verify(&view.dir, |bytes| bar.inc(bytes)) {
            // Emptied and closed meanwhile.
            Err(LookError::NoSpool(_)) if view.dir != dir => {}
            Err(error) => {
                bar.finish_and_clear();
                return place::unreadable(&error);
            }
            Ok(verified) => {
                if view.dir != dir {
                    let _ = writeln!(text, "\n{}:", view.dir.display()); // to a String: it cannot fail
                }
                text.push_str(&told(&verified));
                if !verified.damage.is_empty() {
                    code = exit::FAILURE;
                }
            }
        }
    }
    bar.finish_and_clear();
    let written = terminal::answer(&text);
    if written == exit::OK { code } else { written }
}

fn told(verified: &Verified) -> String {
    let mut lines: Vec<String> = verified.damage.iter().map(sentence).collect();
    for (name, bytes) in &verified.view.quarantine {
        lines.push(format!(
            "quarantine/{name} ({}) was damaged; what was intact in it was kept, and it counts no \
             more.",
            words::bytes(*bytes)
        ));
    }
    let found = if verified.damage.is_empty() { "all intact" } else { "damage was found" };
    lines.push(format!(
        "{} in {}, {} of JSON: {found}.",
        words::capitalised(&words::count(verified.records, "record")),
        words::count(verified.segments, "segment"),
        words::bytes(verified.raw_bytes)
    ));
    lines.iter().map(|line| terminal::wrapped(line, terminal::COLUMNS)).collect()
}

fn sentence(damage: &Damage) -> String {
    match damage {
        Damage::Missing { segment, first, end } => format!(
            "{}{} cannot be read: lost, and counted so by the next start or when the drain comes \
             to them.",
            place_of(segment),
            range(*first, *end)
        ),
        Damage::Lost { segment, first, end } => format!(
            "{}{} cannot be read: counted as lost already.",
            place_of(segment),
            range(*first, *end)
        ),
        Damage::Done { segment, first, end } => format!(
            "{}{} cannot be read: nothing is lost by it, they do not wait any more.",
            place_of(segment),
            range(*first, *end)
        ),
        Damage::NoProgress => "There is no readable progress file: how far the records were \
                               delivered is not known, and the next start sends all of them."
            .to_owned(),
    }
}

fn place_of(segment: &str) -> String {
    if segment.is_empty() { "no segment holds them: ".to_owned() } else { format!("{segment}: ") }
}

/// `sequence 7`, `sequences 7 to 19 (13 records)`.
pub fn range(first: Sequence, end: Sequence) -> String {
    match end.since(first) {
        1 => format!("sequence {}", words::thousands(first.0)),
        records => format!(
            "sequences {} to {} ({})",
            words::thousands(first.0),
            words::thousands(end.0.saturating_sub(1)),
            words::count(records, "record")
        ),
    }
}
