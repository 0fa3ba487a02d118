//! `waystation dead`: the records that Kafka can never take, looked at.
//!
//! - `ls`, `show`, `export`: only look; they change nothing and work beside a running service;
//! - `letters.rs`: which letters a command is about, and what to say of those that cannot be read.

mod export;
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
}

/// Runs the command on the spool of the configuration at `config`.
pub fn run(args: &Args, config: &Path) -> u8 {
    match &args.command {
        Command::Ls(args) => ls::run(args, config),
        Command::Show(args) => show::run(args, config),
        Command::Export(args) => export::run(args, config),
    }
}
