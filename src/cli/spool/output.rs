//! Where an export goes, and what to say of it: standard output, or a file that is there only when it
//! is whole.
//!
//! A file is written under another name beside its own, synced, and renamed; an existing file is
//! never replaced, for it may hold the only copy of what was taken out of a spool. It is synced in
//! steps, so that on a slow medium no sync takes long: whoever waits for it can tell a medium that is
//! slow from one that hangs.

use crate::cli::{exit, terminal};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Where the lines are to go.
#[derive(Debug, clap::Args)]
pub struct To {
    /// Write to this file instead of to standard output; it appears when it is complete, and an
    /// existing file is never overwritten
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl To {
    pub fn open(&self) -> io::Result<Output> {
        Output::open(self.output.as_deref())
    }

    /// Says that it could not be written.
    pub fn failed(&self, error: io::Error) -> u8 {
        let Some(file) = &self.output else { return terminal::written(Err(error)) };
        terminal::complain(&format!("cannot write {}: {error}", file.display()));
        exit::CANNOT_CREATE
    }

    /// Says what was written: where the lines are not.
    pub fn tell(&self, said: &str) -> u8 {
        if self.output.is_some() {
            return terminal::answer(&terminal::wrapped(said, terminal::COLUMNS));
        }
        terminal::note(said);
        exit::OK
    }
}

/// See the module.
#[derive(Debug)]
pub enum Output {
    Stdout(BufWriter<io::Stdout>),
    File(NewFile),
}

/// Bytes that are written between two syncs: twenty seconds at 200 kB/s.
const STEP: usize = 4 << 20;

/// A file that has not got its name yet. Dropped before, it is removed.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    part: PathBuf,
    to: BufWriter<File>,
    /// Bytes since the last sync.
    unsynced: usize,
    kept: bool,
}

impl Output {
    /// Standard output without a path.
    fn open(path: Option<&Path>) -> io::Result<Self> {
        let Some(path) = path else { return Ok(Self::Stdout(BufWriter::new(io::stdout()))) };
        if path.symlink_metadata().is_ok() {
            return Err(exists());
        }
        let mut part = path.as_os_str().to_owned();
        part.push(format!(".{}.part", std::process::id()));
        let part = PathBuf::from(part);
        let file = File::options().write(true).create_new(true).open(&part)?;
        let (path, to) = (path.to_owned(), BufWriter::with_capacity(1 << 20, file));
        Ok(Self::File(NewFile { path, part, to, unsynced: 0, kept: false }))
    }

    /// Ends the output. On `Ok` a file has its name, and survives a power cut.
    pub fn finish(self) -> io::Result<()> {
        match self {
            Self::Stdout(mut to) => to.flush(),
            Self::File(file) => file.keep(),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(to) => to.write(bytes),
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(to) => to.flush(),
            Self::File(file) => file.to.flush(),
        }
    }
}

impl NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.unsynced >= STEP {
            self.to.flush()?;
            self.to.get_ref().sync_data()?;
            self.unsynced = 0;
        }
        let written = self.to.write(bytes)?;
        self.unsynced += written;
        Ok(written)
    }

    fn keep(mut self) -> io::Result<()> {
        self.to.flush()?;
        self.to.get_ref().sync_all()?;
        // A link never replaces; where the file system has none, a look must do.
        match fs::hard_link(&self.part, &self.path) {
            Ok(()) => fs::remove_file(&self.part)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists()),
            Err(_) if self.path.symlink_metadata().is_ok() => return Err(exists()),
            Err(_) => fs::rename(&self.part, &self.path)?,
        }
        self.kept = true;
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.kept {
            // It is not whole, and whoever reads the sentence of the failure knows its name.
            drop(fs::remove_file(&self.part));
        }
    }
}

fn exists() -> io::Error {
    let says = "it exists, and nothing is overwritten; name another file";
    io::Error::new(io::ErrorKind::AlreadyExists, says)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds the link in `NewFile::keep`.
    #[test]
    fn a_file_that_appears_meanwhile_is_not_replaced_and_nothing_half_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.ndjson");
        let mut output = Output::open(Some(&path)).unwrap();
        output.write_all(b"new\n").unwrap();
        fs::write(&path, "old\n").unwrap();
        let error = output.finish().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"old\n");
        assert_eq!(Output::open(Some(&path)).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
