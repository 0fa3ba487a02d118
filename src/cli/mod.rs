//! The command line: from arguments to one subcommand, from its result to an exit code.
//!
//! One file a subcommand. Each has `Args` (what clap reads) and `run(&Args, ...) -> u8`, one
//! of the codes of [`exit`]; it speaks through [`terminal`]. To add one: its `mod` line, its
//! variant of `Command`, its arm in `dispatch`. Whatever fails ends as a sentence on standard
//! error, never as a panic or a backtrace.

mod check;
mod dead;
mod demo;
pub mod exit;
pub mod fleet;
pub(crate) mod load;
mod run;
mod spool;
mod status;
pub mod terminal;
mod token;

use crate::config::DEFAULT_PATH;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// Keeps what vehicles send on this box's disk, and hands it to Kafka when Kafka is there.
#[derive(Debug, Parser)]
#[command(name = "waystation", version, infer_subcommands = false, disable_help_subcommand = true)]
struct Cli {
    /// The configuration file; conf.d/*.toml beside it is merged over it
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_PATH)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take records, keep them, forward them, until SIGTERM or SIGINT
    Run,
    /// Check the configuration without starting anything
    Check(check::Args),
    /// Ask the running service how it is; the exit code is 0 ok, 1 attention, 2 critical
    Status(status::Args),
    /// Look at the records on this box's disk, take them out, bring them in, repair them
    Spool(spool::Args),
    /// Look at the records that Kafka can never take
    Dead(dead::Args),
    /// Make a token for devices: it is printed once, with the line for the file of ingest.tokens
    Token(token::Args),
    /// Show all of it on this machine: vehicles, an outage, a crash, and what arrived
    Demo(demo::Args),
    /// Post simulated vehicles' messages to a collector and measure its answers
    Load(load::Args),
}

/// Runs the command of this process's arguments; the result is the exit code.
pub fn main() -> u8 {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match Cli::try_parse_from(&arguments) {
        Ok(cli) => dispatch(&cli),
        Err(error) => refused(&error, &arguments),
    }
}

fn dispatch(cli: &Cli) -> u8 {
    match &cli.command {
        Command::Run => run::run(&cli.config),
        Command::Check(args) => check::run(args, &cli.config),
        Command::Status(args) => status::run(args, &cli.config),
        Command::Spool(args) => spool::run(args, &cli.config),
        Command::Dead(args) => dead::run(args, &cli.config),
        Command::Token(args) => token::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Load(args) => load::run(args),
    }
}

/// `--help` and `--version` reach this as well: they are answers.
fn refused(error: &clap::Error, arguments: &[OsString]) -> u8 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => terminal::written(error.print()),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            let (names, help) = commands_of(arguments);
            let commands = names.join(", ");
            terminal::complain(&format!("no command was given ({commands}); see {help} --help"));
            exit::USAGE
        }
        _ => {
            terminal::complain(&usage_sentence(&error.render().to_string()));
            if is_status(arguments) { exit::STATUS_UNKNOWN } else { exit::USAGE }
        }
    }
}

/// The commands that one of could have been given here, and whose help tells of them.
fn commands_of(arguments: &[OsString]) -> (Vec<String>, String) {
    let mut command = Cli::command();
    let mut help = "waystation".to_owned();
    for argument in arguments.iter().skip(1) {
        let inner = argument.to_str().and_then(|name| command.find_subcommand(name)).cloned();
        if let Some(inner) = inner {
            help = format!("{help} {}", inner.get_name());
            command = inner;
        }
    }
    (command.get_subcommands().map(|inner| inner.get_name().to_owned()).collect(), help)
}

/// clap explains over several lines; its first paragraph and the tip are what is wrong.
fn usage_sentence(rendered: &str) -> String {
    let said: Vec<_> = rendered
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .filter(|line| !line.is_empty())
        .map(|line| line.strip_prefix("error: ").unwrap_or(line))
        .map(|line| line.strip_prefix("tip: ").unwrap_or(line))
        .collect();
    format!("{}; see waystation --help", said.join("; "))
}

/// Monitoring reads the codes of `status`, so that its misuse is "unknown", whatever is
/// wrong with the line.
fn is_status(arguments: &[OsString]) -> bool {
    let mut arguments = arguments.iter().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--config" {
            arguments.next();
        } else if !argument.as_encoded_bytes().starts_with(b"-") {
            return argument == "status";
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_status_of(line: &str) -> bool {
        is_status(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn the_definition_of_the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn misuse_of_status_is_recognised_wherever_the_options_stand() {
        for line in
            ["w status --jsn", "w --config a status x", "w --config=a status", "w -x status"]
        {
            assert!(is_status_of(line), "{line}");
        }
        for line in ["w", "w check status", "w --config status", "w --config status check"] {
            assert!(!is_status_of(line), "{line}");
        }
    }

    #[test]
    fn misuse_is_told_in_one_line() {
        let error = Cli::try_parse_from(["waystation", "check", "--prnt"]).unwrap_err();
        let sentence = usage_sentence(&error.render().to_string());
        assert!(sentence.starts_with("unexpected argument '--prnt' found; "), "{sentence}");
        assert!(sentence.contains("--print"), "{sentence}");
        assert!(!sentence.contains('\n'), "{sentence}");
    }

    #[test]
    fn no_command_at_all_is_misuse() {
        let error = Cli::try_parse_from(["waystation"]).unwrap_err();
        assert_eq!(refused(&error, &["waystation".into()]), exit::USAGE);
    }
}
