//! `waystation dead export`: the records of dead letters as lines of JSON (`line.rs` says in which
//! form), as `spool import` takes them. The letters stay.

use super::letters::{Letters, Place, Which};
use crate::cli::exit;
use crate::cli::spool::output::To;
use crate::line;
use crate::status::words;
use std::io::{self, Write as _};
use std::path::Path;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these: each a record's sequence in this spool, or its id
    #[arg(value_name = "SEQUENCE|ID")]
    which: Vec<Which>,
    #[command(flatten)]
    output: To,
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
        Err(error) => return args.output.failed(error),
    };
    let said = format!("Exported {}; the letters stay.", words::count(records, "dead letter"));
    let told = args.output.tell(&said);
    if letters.failed == 0 { told } else { exit::FAILURE }
}

fn write(args: &Args, letters: &mut Letters) -> io::Result<u64> {
    let mut output = args.output.open()?;
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
