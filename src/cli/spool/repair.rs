//! `waystation spool repair`: what a start of the service does with what is on the disk, and a
//! report of it.
//!
//! `--dry-run` does the same on a shadow of the spool: a directory elsewhere with copies of the small
//! files that a start writes, and links to the records, which it only reads. So it says what a
//! start would do, whatever that is, and changes nothing.

use super::{place, verify};
use crate::cli::{exit, terminal};
use crate::spool::outside::{self, View};
use crate::spool::{self, LastStop, OpenError, OpenReport};
use crate::status::words;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// Files up to this size are copied into the shadow; larger ones hold records.
const SMALL: u64 = 256 * 1024;

pub fn run(args: &Args, config: &Path) -> u8 {
    let settings = match place::settings(config) {
        Ok(settings) => settings.spool,
        Err(code) => return code,
    };
    let before = match outside::look(&settings.dir) {
        Ok(before) => before,
        Err(error) => return place::unreadable(&error),
    };
    if let Some(pid) = before.in_use {
        return place::unopened(&OpenError::InUse { dir: settings.dir, pid });
    }
    if !args.dry_run {
        if let Err(code) = place::owned(&settings.dir) {
            return code;
        }
        return repair(settings, &before, false);
    }
    let shadow = match Shadow::of(&settings.dir) {
        Ok(shadow) => shadow,
        Err(error) => {
            terminal::complain(&format!("cannot make a shadow of the spool to try it on: {error}"));
            return exit::CANNOT_CREATE;
        }
    };
    repair(spool::Config { dir: shadow.0.clone(), ..settings }, &before, true)
}

fn repair(config: spool::Config, before: &View, dry: bool) -> u8 {
    let dir = config.dir.clone();
    let report = match spool::open(config) {
        Ok(spool) => {
            if let Err(error) = spool.writer.close() {
                terminal::complain(&error);
                return exit::IO;
            }
            spool.report
        }
        Err(error) => return place::unopened(&error),
    };
    match outside::look(&dir) {
        Ok(after) => terminal::answer(&told(before, &after, &report, dry)),
        Err(error) => place::unreadable(&error),
    }
}

fn told(before: &View, after: &View, report: &OpenReport, dry: bool) -> String {
    let (was, is) = if dry { ("would be", "would be") } else { ("was", "is") };
    let mut lines = vec![stop(report.last_stop).to_owned()];
    let names = |view: &View| -> BTreeSet<String> {
        view.quarantine.iter().map(|(name, _)| name.clone()).collect()
    };
    let kept: BTreeSet<_> = names(after).difference(&names(before)).cloned().collect();
    for segment in &before.segments {
        let now = after.segments.iter().find(|other| other.name == segment.name);
        let name = &segment.name;
        match now {
            Some(now) if now.is_sealed() && !segment.is_sealed() => {
                lines.push(format!("{name} {was} sealed: {}.", verify::range(now.first, now.end)));
            }
            Some(_) => {}
            // What went to quarantine is told below.
            None if kept.iter().any(|kept| kept.starts_with(name.as_str())) => {}
            None => lines.push(format!("{name} {was} removed: nothing in it is needed.")),
        }
    }
    for segment in &after.segments {
        if before.segments.iter().all(|other| other.name != segment.name) {
            lines.push(format!(
                "{} {was} made of what was intact: {}.",
                segment.name,
                verify::range(segment.first, segment.end)
            ));
        }
    }
    for name in &kept {
        lines.push(format!("quarantine/{name} {is} kept for inspection: it was damaged."));
    }
    for (first, end) in &report.lost {
        let range = verify::range(*first, *end);
        lines.push(format!("{} {was} counted as lost.", words::capitalised(&range)));
    }
    if lines.len() == 1 {
        lines.push("There is nothing to repair.".to_owned());
    }
    let ledger = &report.ledger;
    lines.push(format!(
        "{} of {} {}{}.",
        words::capitalised(&words::count(ledger.spooled, "record")),
        words::thousands(ledger.accepted),
        if dry { "would wait" } else { "wait" },
        if dry { "; nothing was changed" } else { "" }
    ));
    lines.iter().map(|line| terminal::wrapped(line, terminal::COLUMNS)).collect()
}

fn stop(last: LastStop) -> &'static str {
    match last {
        LastStop::First => "The spool is new.",
        LastStop::Clean => "The last process that had the spool open closed it.",
        LastStop::Crash => "The last process that had the spool open ended without closing it.",
        LastStop::Power => "The machine stopped while a process had the spool open.",
    }
}

/// Removed when it is dropped.
struct Shadow(PathBuf);

impl Shadow {
    fn of(dir: &Path) -> io::Result<Self> {
        let name = format!("waystation-repair-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let shadow = Self(std::env::temp_dir().join(name));
        fs::DirBuilder::new().mode(0o700).create(&shadow.0)?;
        fill(&fs::canonicalize(dir)?, &shadow.0)?;
        Ok(shadow)
    }
}

fn fill(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (data, target) = (entry.metadata()?, to.join(entry.file_name()));
        if data.is_dir() {
            fs::create_dir(&target)?;
            fill(&entry.path(), &target)?;
        } else if data.is_file() && data.len() <= SMALL {
            fs::copy(entry.path(), target)?;
        } else if data.is_file() {
            symlink(entry.path(), target)?;
        }
    }
    Ok(())
}

impl Drop for Shadow {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            terminal::complain(&format!("cannot remove {}: {error}", self.0.display()));
        }
    }
}
