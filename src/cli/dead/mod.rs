//! `waystation dead`: the records that Kafka can never take, looked at, dropped, sent again.
//!
//! - `ls`, `show`, `export`: only look; they change nothing and work beside a running service;
//! - `drop`, `retry`: let letters leave (`leave.rs`), through the service when one runs, else by opening
//!   the spool;
//! - `letters.rs`: which letters a command is about, and what to say of those that cannot be read.

mod export;
mod leave;
mod letters;
mod ls;
mod show;

use std::path::Path;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the dead letters: which record each holds, for how long, and why Kafka cannot take it
    Ls(ls::Args),
    /// Show one dead letter whole: the reason, the record, its JSON
    Show(show::Args),
    /// Write the records of dead letters as lines of JSON, as `spool export` does
    Export(export::Args),
    /// Send the records of dead letters to Kafka again, under the ids that they have
    Retry(leave::Args),
    /// Take dead letters out for good; they are counted as dropped
    Drop(leave::Args),
}

/// Runs the command on the spool of the configuration at `config`.
pub fn run(args: &Args, config: &Path) -> u8 {
    match &args.command {
        Command::Ls(args) => ls::run(args, config),
        Command::Show(args) => show::run(args, config),
        Command::Export(args) => export::run(args, config),
        Command::Retry(args) => leave::run(leave::Way::Retry, args, config),
        Command::Drop(args) => leave::run(leave::Way::Drop, args, config),
    }
}
