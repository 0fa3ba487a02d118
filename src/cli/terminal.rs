//! What a command says: answers on standard output, problems as sentences on standard error.
//!
//! A reader that goes away (`| head -1`) is no failure and never a panic. It does not know
//! what is said.

use super::exit;
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal as _, Write};

/// Lines are kept within a terminal of this many columns, values aside.
pub const COLUMNS: usize = 80;

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

/// Says what was done, where standard output is for something else.
pub fn note(text: &str) {
    // As above.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Asks whether to go on, where somebody sits at a terminal; a program that runs this has said so by
/// its arguments.
pub fn agreed(question: &str) -> bool {
    if !io::stdin().is_terminal() {
        return true;
    }
    // As above.
    let _ = write!(io::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).is_ok() && is_yes(&answer)
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].contains(&answer.trim().to_lowercase().as_str())
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

/// Broken between words into lines of at most `columns`, each with its line end. A longer word
/// stays whole.
pub fn wrapped(text: &str, columns: usize) -> String {
    let mut lines = String::with_capacity(text.len() + 8);
    let mut used = 0;
    // Leading blanks align numbers.
    let indent = text.len() - text.trim_start().len();
    lines.push_str(&text[..indent]);
    used += indent;
    for (index, word) in text.split_whitespace().enumerate() {
        let length = word.chars().count();
        if index > 0 && used + 1 + length > columns {
            lines.push('\n');
            used = 0;
        } else if index > 0 {
            lines.push(' ');
            used += 1;
        }
        lines.push_str(word);
        used += length;
    }
    lines.push('\n');
    lines
}

/// Rows as columns, two blanks apart: each to the right, those from column `text` on to the left.
pub fn aligned<const N: usize>(rows: &[[String; N]], text: usize) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or_default());
    let mut lines = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let between = if column == 0 { "" } else { "  " };
            let cell =
                if column < text { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
            line.push_str(between);
            line.push_str(&cell);
        }
        lines.push_str(line.trim_end());
        lines.push('\n');
    }
    lines
}

/// A bar on standard error, where that is a terminal: how many of `all` bytes are done.
pub fn bar_of_bytes(doing: &'static str, all: u64) -> ProgressBar {
    bar(doing, all, "{msg} [{bar:30}] {binary_bytes} of {binary_total_bytes}, {eta} left")
}

/// A bar on standard error, where that is a terminal: how many of `all` records are done.
pub fn bar_of_records(doing: &'static str, all: u64) -> ProgressBar {
    bar(doing, all, "{msg} [{bar:30}] {human_pos} of {human_len} records, {eta} left")
}

fn bar(doing: &'static str, all: u64, template: &str) -> ProgressBar {
    // The templates are the two above; a wrong one would only look otherwise.
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("## ");
    ProgressBar::new(all).with_style(style).with_message(doing)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing at all, as the end of the input leaves it, is no yes.
    #[test]
    fn only_a_yes_is_a_yes() {
        for (answer, yes) in
            [("y\n", true), ("Yes\n", true), ("", false), ("\n", false), ("n\n", false)]
        {
            assert_eq!(is_yes(answer), yes, "{answer:?}");
        }
    }
}
