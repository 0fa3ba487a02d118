//! `waystation token`: a new token for devices, and the line by which the service knows it.
//!
//! Standard output has two lines, the token and the line; nothing is written anywhere else, so that
//! the token is nowhere once it was handed on.

use super::{exit, terminal};
use crate::ingest::new_token;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose it is: 1 to 63 letters, digits, dots, hyphens and underscores
    name: String,
    /// The path of a route that it is for, such as /endpoint; may be given several times. Without, it
    /// is for all
    #[arg(long = "route", value_name = "PATH")]
    routes: Vec<String>,
}

/// Prints the token, then the line.
pub fn run(args: &Args) -> u8 {
    match new_token(&args.name, &args.routes) {
        Ok(token) => {
            terminal::note(
                "First the token, for the device; it is not shown again. Then the line for the file \
                 of ingest.tokens.",
            );
            terminal::answer(&format!("{}\n{}\n", token.secret, token.line))
        }
        Err(says) => {
            terminal::complain(&says);
            exit::USAGE
        }
    }
}
