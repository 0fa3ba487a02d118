//! `waystation spool`: the records on this box's disk, looked at and handled without Kafka.
//!
//! - `ls`, `verify`, `export`: only look; they change nothing, leave nothing behind and work
//!   beside a running service;
//! - `export --remove`, `import`: change what waits, through the service when one runs, else by
//!   opening the spool (`door.rs`); `repair` does what a start does;
//! - `place.rs`: which directory, and what to say when it cannot be read; `output.rs`: where lines go.

pub mod door;
mod export;
mod import;
mod ls;
pub mod output;
pub mod place;
mod repair;
mod verify;

use std::path::Path;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the segments on the disk: which records each holds, its size, its age, its state
    Ls(ls::Args),
    /// Read every record on the disk and say what is damaged; exit code 0 intact, 1 damaged, 74
    /// unreadable
    Verify(verify::Args),
    /// Write records as lines of JSON, to a file or to standard output
    Export(export::Args),
    /// Bring in the records of an export, of this box or of another one, with their ids
    Import(import::Args),
    /// Do with what is on the disk what a start of the service does, and report it
    Repair(repair::Args),
}

/// Runs the command on the spool of the configuration at `config`.
pub fn run(args: &Args, config: &Path) -> u8 {
    match &args.command {
        Command::Ls(args) => ls::run(args, config),
        Command::Verify(args) => verify::run(args, config),
        Command::Export(args) => export::run(args, config),
        Command::Import(args) => import::run(args, config),
        Command::Repair(args) => repair::run(args, config),
    }
}
