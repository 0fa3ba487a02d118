//! `waystation spool import`: the lines of an export, made records of this box's spool.
//!
//! They keep their ids: imported twice, a record is sent twice under one id, and consumers that
//! drop repeats keep it once. A file is read through before anything is imported, so that one that
//! was cut off within a line, or holds a line that is no record any more, changes nothing.

use super::door::{Door, DoorError};
use super::place;
use crate::cli::{exit, terminal};
use crate::line;
use crate::status::words;
use indicatif::ProgressBar;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file that an export wrote, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only read the file and say what is wrong with it; import nothing
    #[arg(long)]
    dry_run: bool,
}

/// Bytes of lines that are imported together.
const BATCH: usize = 256 * 1024;

/// Why an import broke off.
#[derive(Debug)]
enum Failure {
    Read(io::Error),
    /// A line is no record.
    Line {
        number: u64,
        why: String,
    },
    /// From this line on not all was taken.
    Door {
        number: u64,
        why: String,
    },
    /// What of the lines from this one on was taken nobody said.
    Unknown {
        number: u64,
        why: String,
    },
}

pub fn run(args: &Args, config: &Path) -> u8 {
    let settings = match place::settings(config) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let from_file = args.file.as_os_str() != "-";
    let mut input: Box<dyn BufRead> = Box::new(io::stdin().lock());
    let mut len = 0;
    let mut lines = 0;
    if from_file {
        let checked = File::open(&args.file).and_then(|file| {
            len = file.metadata()?.len();
            let mut reader = BufReader::new(file);
            let bar = terminal::bar_of_bytes("checking", len);
            let checked = each_batch(&mut reader, &bar, |_, _| Ok(()));
            bar.finish_and_clear();
            Ok((checked, reader))
        });
        match checked {
            Err(error) => return failed(args, 0, &Failure::Read(error)),
            Ok((Err(failure), _)) => return failed(args, 0, &failure),
            Ok((Ok(found), mut reader)) => {
                lines = found;
                if !args.dry_run
                    && let Err(error) = reader.rewind()
                {
                    return failed(args, 0, &Failure::Read(error));
                }
                input = Box::new(reader);
            }
        }
    }
    if args.dry_run {
        if !from_file {
            match each_batch(&mut *input, &ProgressBar::hidden(), |_, _| Ok(())) {
                Ok(found) => lines = found,
                Err(failure) => return failed(args, 0, &failure),
            }
        }
        let records = words::count(lines, "record");
        return terminal::answer(&format!(
            "{} can be imported; nothing was.\n",
            words::capitalised(&records)
        ));
    }
    let mut door = match Door::find(&settings.spool) {
        Ok(door) => door,
        Err(code) => return code,
    };
    let mut imported = 0;
    let bar = terminal::bar_of_bytes("importing", len);
    let done = each_batch(&mut *input, &bar, |lines, number| {
        match door.import(lines) {
            Ok(count) => imported += count,
            Err(DoorError::Refused { imported: some, line, why }) => {
                imported += some;
                return Err(Failure::Door { number: number + line, why });
            }
            Err(error) => return Err(Failure::Unknown { number, why: error.to_string() }),
        }
        Ok(())
    });
    bar.finish_and_clear();
    if let Err(error) = door.close() {
        terminal::complain(&error);
    }
    match done {
        Ok(_) => terminal::answer(&format!(
            "{} imported, with the ids that they had.\n",
            words::capitalised(&words::count(imported, "record"))
        )),
        Err(failure) => failed(args, imported, &failure),
    }
}

/// Says what is wrong, and how far it came.
fn failed(args: &Args, imported: u64, failure: &Failure) -> u8 {
    let file = args.file.display();
    let so_far = match imported {
        0 => "nothing was imported".to_owned(),
        1 => "one record was imported".to_owned(),
        some => format!("{} records were imported", words::thousands(some)),
    };
    let (says, code) = match failure {
        Failure::Read(error) => (format!("cannot read {file}: {error}"), exit::NO_INPUT),
        Failure::Line { number, why } => (format!("{file}, line {number}: {why}"), exit::DATA),
        Failure::Door { number, why } => {
            (format!("{file}, from line {number} on: {why}"), exit::FAILURE)
        }
        Failure::Unknown { number, why } => {
            let says = format!(
                "{file}, from line {number} on: {why}; what of those lines was imported is not \
                 known (importing the file again repeats records under the ids that they have)"
            );
            terminal::complain(&match imported {
                0 => says,
                _ => format!("{says}; before them {so_far}"),
            });
            return exit::FAILURE;
        }
    };
    terminal::complain(&format!("{says}; {so_far}"));
    code
}

/// Reads lines, checks each one, and gives batches of them away, each with the number of its first
/// line, from 1 on. Gives how many records they were.
fn each_batch(
    input: &mut dyn BufRead,
    bar: &ProgressBar,
    mut give: impl FnMut(&[u8], u64) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let mut batch = Vec::with_capacity(BATCH);
    let (mut number, mut first, mut records) = (0_u64, 1, 0);
    loop {
        let start = batch.len();
        let limit = line::MAX_LEN as u64 + 1;
        let read = input.take(limit).read_until(b'\n', &mut batch).map_err(Failure::Read)?;
        number += 1;
        let text = batch[start..].trim_ascii();
        let wrong = if text.len() > line::MAX_LEN {
            Some("is longer than any record's line".to_owned())
        } else if text.is_empty() {
            None
        } else {
            records += 1;
            line::read(text).err().map(|error| error.to_string())
        };
        if let Some(why) = wrong {
            // Those before it are right.
            batch.truncate(start);
            if !batch.is_empty() {
                give(&batch, first)?;
            }
            return Err(Failure::Line { number, why });
        }
        if read > 0 && !batch.ends_with(b"\n") {
            batch.push(b'\n');
        }
        if batch.len() >= BATCH || (read == 0 && !batch.is_empty()) {
            give(&batch, first)?;
            bar.inc(batch.len() as u64);
            batch.clear();
            first = number + 1;
        }
        if read == 0 {
            return Ok(records);
        }
    }
}
