//! The file of acknowledged messages: what must a test find in Kafka?
//!
//! One line `device_id,sequence` for each answer of 200, in the order of the answers. A
//! write that failed sticks: the file then lacks lines, and every later flush says so.

use super::drive::Posting;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A file that is being written.
#[derive(Debug)]
pub struct Acked {
    path: PathBuf,
    file: BufWriter<File>,
    failed: Option<io::Error>,
}

/// The file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the acknowledged messages to {}: {reason}", path.display())]
pub struct AckedError {
    path: PathBuf,
    reason: String,
}

impl Acked {
    /// Creates the file, or empties it.
    pub fn create(path: &Path) -> Result<Self, AckedError> {
        let file = File::create(path)
            .map_err(|error| AckedError { path: path.to_owned(), reason: error.to_string() })?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file), failed: None })
    }

    /// Adds a line; an error is told by the next [`Acked::flush`].
    pub fn push(&mut self, posting: Posting<'_>) {
        if self.failed.is_none() {
            self.failed = writeln!(self.file, "{},{}", posting.device_id, posting.sequence).err();
        }
    }

    /// `Ok` when every line so far is in the file.
    pub fn flush(&mut self) -> Result<(), AckedError> {
        if self.failed.is_none() {
            self.failed = self.file.flush().err();
        }
        match &self.failed {
            None => Ok(()),
            Some(error) => Err(AckedError { path: self.path.clone(), reason: error.to_string() }),
        }
    }
}
