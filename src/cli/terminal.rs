//! What a command says: answers on standard output, problems as sentences on standard error.
//!
//! A reader that goes away (`| head -1`) is no failure and never a panic. It does not know
//! what is said.

use super::exit;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Says what is wrong, each line of it as `waystation: <sentence>` on standard error.
pub fn complain(problem: &impl Display) {
    let mut lines = String::new();
    for line in problem.to_string().lines() {
        lines.push_str("waystation: ");
        lines.push_str(line);
        lines.push('\n');
    }
    // There is nowhere left to say that standard error is closed; the exit code tells.
    let _ = io::stderr().write_all(lines.as_bytes());
}

/// Writes a command's whole answer to standard output, and gives the command's exit code.
pub fn answer(text: &str) -> u8 {
    let mut out = io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// The exit code after writing to standard output.
pub fn written(result: io::Result<()>) -> u8 {
    match result {
        Ok(()) => exit::OK,
        // The reader has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => exit::OK,
        Err(error) => {
            complain(&format!("cannot write to standard output: {error}"));
            exit::IO
        }
    }
}
