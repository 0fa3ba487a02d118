//! `waystation dead export`: the records of dead letters as lines of JSON (`line.rs` says in which
//! form), as `spool import` takes them. The letters stay.

use super::letters::{Letters, Place, Which};
use crate::cli::spool::output::Output;
use crate::cli::{exit, terminal};
use crate::line;
use crate::status::words;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these: each a record's sequence in this spool, or its id
    #[arg(value_name = "SEQUENCE|ID")]
    which: Vec<Which>,
    /// Write to this file instead of to standard output; it appears when it is complete, and an
    /// existing file is never overwritten
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

pub fn run(args: &Args, config: &Path) -> u8 {
    let mut letters = match Letters::find(&args.place, config, &args.which) {
        Ok(letters) => letters,
        Err(code) => return code,
    };
    let records = match write(args, &mut letters) {
        Ok(records) => records,
        Err(error) => {
            let Some(file) = &args.output else { return terminal::written(Err(error)) };
            terminal::complain(&format!("cannot write {}: {error}", file.display()));
            return exit::CANNOT_CREATE;
        }
    };
    let said = format!("Exported {}; the letters stay.", words::count(records, "dead letter"));
    let told = if args.output.is_some() {
        terminal::answer(&terminal::wrapped(&said, terminal::COLUMNS))
    } else {
        terminal::note(&said);
        exit::OK
    };
    if letters.failed == 0 { told } else { exit::FAILURE }
}

fn write(args: &Args, letters: &mut Letters) -> io::Result<u64> {
    let mut output = Output::open(args.output.as_deref())?;
    let (mut text, mut records) = (Vec::new(), 0);
    letters.each(|letter| {
        line::write(&letter.record(), &mut text);
        records += 1;
        output.write_all(&text)?;
        text.clear();
        Ok(())
    })?;
    output.finish()?;
    Ok(records)
}
