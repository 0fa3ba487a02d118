//! The letters as anybody may see them: beside a running service, without a lock, changing
//! nothing.
//!
//! What it finds may be outdated at once: a letter that vanishes was taken out. It deliberately
//! does not know how a letter came there.

use super::letter::{Letter, MAX_LEN, Name, Unreadable};
use super::place;
use crate::spool::held_dirs;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What a letter takes of a disk is counted in steps of this many bytes.
const STEP: u64 = 4096;

/// Bytes that a file of this length counts.
pub fn counted(len: u64) -> u64 {
    len.div_ceil(STEP).saturating_mul(STEP)
}

/// A letter that is there, going by its name.
#[derive(Debug, Clone)]
pub struct Found {
    pub name: Name,
    pub path: PathBuf,
    /// What it counts of the store's size.
    pub bytes: u64,
}

impl Found {
    /// The directory of the spool that it is of.
    pub fn spool(&self) -> &Path {
        self.path.parent().and_then(Path::parent).unwrap_or(Path::new(""))
    }
}

/// Why a letter was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookError {
    #[error("cannot read {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {why}; it is left as it is", path.display())]
    Unreadable { path: PathBuf, why: Unreadable },
}

/// The letters of the spool in `spool`, in the order of their places in it; none where there is no
/// store. Their contents are not looked at.
pub fn list(spool: &Path) -> io::Result<Vec<Found>> {
    let entries = match fs::read_dir(place(spool)) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(Vec::new());
        }
        other => other?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().and_then(Name::parse) else { continue };
        match entry.metadata() {
            Ok(meta) if meta.is_file() => {
                found.push(Found { name, path: entry.path(), bytes: counted(meta.len()) });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_by_key(|found| (found.name.place, found.name.id.epoch.0, found.name.id.sequence));
    Ok(found)
}

/// [`list`] of the spool in `spool`, and of those inside it, behind.
pub fn list_all(spool: &Path) -> io::Result<Vec<Found>> {
    let mut found = list(spool)?;
    for (_, dir) in held_dirs(spool)? {
        found.append(&mut list(&dir)?);
    }
    Ok(found)
}

/// Reads one letter; `None` when it is there no more.
pub fn read(found: &Found) -> Result<Option<Letter>, LookError> {
    let path = &found.path;
    let mut bytes = Vec::new();
    let limit = MAX_LEN as u64 + 1;
    match File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(LookError::Io { path: path.clone(), source }),
    }
    let named = |letter: Letter| {
        // A copy under another name is not that letter.
        if letter.name() == found.name { Ok(letter) } else { Err(Unreadable::Damaged) }
    };
    match Letter::decode(&bytes).and_then(named) {
        Ok(letter) => Ok(Some(letter)),
        Err(why) => Err(LookError::Unreadable { path: path.clone(), why }),
    }
}
