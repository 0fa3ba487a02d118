//! Files that the configuration names: how they are read, what is wrong with one, and whether they
//! have changed.
//!
//! A change counts once it has stood still for one look, so that nothing is read while it is being
//! written. What stands in a file is others' to know.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// No such file comes near; `/dev/zero` and a mistyped image file do.
const MAX_BYTES: u64 = 1 << 20;

/// What is wrong with a file, in one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub file: PathBuf,
    /// Counted from 1, where it is one line's.
    pub line: Option<usize>,
    /// What was found and what would be right, to follow the file's name.
    pub says: String,
}

impl Fault {
    pub(super) fn new(file: &Path, says: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, says: says.into() }
    }

    pub(super) fn at(file: &Path, line: usize, says: impl Into<String>) -> Self {
        Self { line: Some(line), ..Self::new(file, says) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match self.line {
            Some(line) => write!(f, "{file}:{line}: {}", self.says),
            None => write!(f, "{file}: {}", self.says),
        }
    }
}

impl std::error::Error for Fault {}

/// All of a file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let file = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    match file {
        Ok(_) if bytes.len() as u64 > MAX_BYTES => {
            Err(Fault::new(path, "is larger than 1 MiB, so it is something else"))
        }
        Ok(_) => Ok(bytes),
        Err(error) => Err(Fault::new(path, unreadable(&error))),
    }
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "does not exist".into(),
        ErrorKind::IsADirectory => "is a directory; it takes a file".into(),
        ErrorKind::PermissionDenied => "may not be read by this user; give it to the service's \
             group: chown root:waystation and chmod 640"
            .into(),
        _ => format!("cannot be read: {error}"),
    }
}

/// What tells one state of some files from another; `None` for one that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp(Vec<Option<[i128; 4]>>);

impl Stamp {
    pub(super) fn of(paths: &[PathBuf]) -> Self {
        let time = |seconds: i64, nanos: i64| i128::from(seconds) << 64 | i128::from(nanos);
        let one = |path: &PathBuf| {
            let found = std::fs::metadata(path).ok()?;
            let file = i128::from(found.dev()) << 64 | i128::from(found.ino());
            let written = time(found.mtime(), found.mtime_nsec());
            let changed = time(found.ctime(), found.ctime_nsec());
            Some([file, found.size().into(), written, changed])
        };
        Self(paths.iter().map(one).collect())
    }
}

/// Tells when it is time to read files again.
#[derive(Debug)]
pub(super) struct Changes {
    /// Of what was read last.
    read: Stamp,
    /// Of the last look.
    seen: Stamp,
}

impl Changes {
    /// The files were read when, or after, they looked like this.
    pub(super) fn since(read: Stamp) -> Self {
        Self { seen: read.clone(), read }
    }

    /// Whether they are to be read now, when they look like this.
    pub(super) fn are_due(&mut self, now: Stamp) -> bool {
        let still = now == self.seen;
        self.seen = now;
        let due = still && self.seen != self.read;
        if due {
            self.read = self.seen.clone();
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(number: i128) -> Stamp {
        Stamp(vec![Some([number; 4])])
    }

    #[test]
    fn a_change_is_read_once_when_it_has_stood_still() {
        let mut changes = Changes::since(stamp(1));
        let looks = [(1, false), (2, false), (3, false), (3, true), (3, false), (3, false)];
        for (now, due) in looks {
            assert_eq!(changes.are_due(stamp(now)), due, "{now}");
        }
        assert!(!changes.are_due(Stamp(vec![None])));
        assert!(changes.are_due(Stamp(vec![None])));
    }

    #[test]
    fn what_came_back_as_it_was_read_is_no_change() {
        let mut changes = Changes::since(stamp(1));
        assert!(!changes.are_due(stamp(2)));
        assert!(!changes.are_due(stamp(1)));
        assert!(!changes.are_due(stamp(1)));
    }

    #[test]
    fn a_file_that_was_written_replaced_or_removed_looks_different() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [dir.path().join("a"), dir.path().join("b")];
        let mut before = Stamp::of(&paths);
        assert_eq!(before.0, [None, None]);
        let mut differs = |what: &str| {
            let now = Stamp::of(&paths);
            assert_ne!(now, before, "{what}");
            before = now;
        };
        std::fs::write(&paths[1], "one").unwrap();
        differs("made");
        std::fs::write(dir.path().join("new"), "two").unwrap();
        std::fs::rename(dir.path().join("new"), &paths[1]).unwrap();
        differs("replaced by one of the same size");
        std::fs::write(&paths[1], "three").unwrap();
        differs("written");
        std::fs::remove_file(&paths[1]).unwrap();
        differs("removed");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_one_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let says = |path: &Path| read(path).unwrap_err().to_string();
        let missing = dir.path().join("missing");
        assert_eq!(says(&missing), format!("{}: does not exist", missing.display()));
        assert!(says(dir.path()).ends_with(": is a directory; it takes a file"));
        assert!(says(Path::new("/dev/zero")).contains("larger than 1 MiB"));
    }
}
