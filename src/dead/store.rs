//! Keeping letters, and taking one back.
//!
//! A letter is written to a file beside its name, synced, renamed, and its directory synced; so is
//! the directory above, since nobody knows whether the one that made `dead/` came to do that. What
//! a crash leaves beside a name is removed when the store is opened the next time. Of several
//! letters each file is synced, the directories once.
//!
//! Nothing is remembered between two times: what is there is looked at each time, so that
//! whoever removes a file by hand makes room by it.

use super::letter::{Letter, Name};
use super::look::{Found, counted, list, list_all};
use super::place;
use crate::status::words;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Letters at once, at most, however small.
pub const MOST: usize = 16_384;
/// How long letters are synced at a time: a bad card takes long for each.
const SYNCING: Duration = Duration::from_secs(1);
/// The end of the name of a letter that is not finished.
const UNFINISHED: &str = ".new";

/// What the operator sets under `[dead]`.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Bytes of all letters, at most, each counted in whole 4 KiB.
    pub max_size: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_size: 64 << 20 }
    }
}

/// Why a letter was not kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeepError {
    #[error(
        "the dead letters in {} are full ({}, {} of {}): drop some (`waystation dead drop`), or raise \
         max_size under [dead]",
        dir.display(),
        words::count(*letters as u64, "letter"),
        words::bytes(*bytes),
        words::bytes(*max)
    )]
    Full { dir: PathBuf, letters: usize, bytes: u64, max: u64 },
    #[error("cannot write to {}: {source}; look at the disk and at who owns that directory", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// The letters of one spool. Only the one who has the spool's lock may have one.
#[derive(Debug, Clone)]
pub struct Store {
    spool: PathBuf,
    /// The spool that this one is inside of; or the same. Their letters are bounded together.
    whole: PathBuf,
    max_size: u64,
    most: usize,
    syncing: Duration,
}

impl Store {
    /// The store of the spool in `spool`, which the caller has open. Nothing is made before the
    /// first letter.
    pub fn open(spool: &Path, config: Config) -> Self {
        let (spool, whole) = (spool.to_owned(), spool.to_owned());
        Self { spool, whole, max_size: config.max_size, most: MOST, syncing: SYNCING }.tidied()
    }

    /// The store of a spool inside this one's, which the caller has open.
    #[must_use]
    pub fn inside(&self, spool: &Path) -> Self {
        Self { spool: spool.to_owned(), ..self.clone() }.tidied()
    }

    fn tidied(self) -> Self {
        if let Err(error) = self.tidy() {
            // It is in nobody's way: the next start tries again.
            tracing::warn!("cannot tidy {}: {error}", place(&self.spool).display());
        }
        self
    }

    /// Removes what a crash kept from being finished.
    fn tidy(&self) -> io::Result<()> {
        let entries = match fs::read_dir(place(&self.spool)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for entry in entries {
            let path = entry?.path();
            if is_unfinished(&path) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// The names of all letters, in the order of their places.
    pub fn names(&self) -> io::Result<Vec<Name>> {
        Ok(list(&self.spool)?.into_iter().map(|found| found.name).collect())
    }

    /// Keeps the letters, each in the place of an earlier one of the same name: as many of the first
    /// as there is room for, and as the disk syncs in a second, one at least. Gives how many. `Ok`
    /// means that they survive a power cut; on an error any of them may be there, and each earlier one is
    /// as it was, or replaced. No two have the same name.
    pub fn keep(&self, letters: &[Letter]) -> Result<usize, KeepError> {
        let dir = place(&self.spool);
        let failed = |source| KeepError::Io { path: dir.clone(), source };
        let there = list_all(&self.whole).map_err(failed)?;
        let sum = |sum: u64, found: &Found| sum.saturating_add(found.bytes);
        let (mut count, mut bytes) = (there.len(), there.iter().fold(0, sum));
        let mut fitting = 0;
        for letter in letters {
            let this = |found: &&Found| found.name == letter.name() && found.spool() == self.spool;
            let earlier = there.iter().find(this);
            let others = count - usize::from(earlier.is_some());
            let of_others = bytes - earlier.map_or(0, |found| found.bytes);
            let with = of_others.saturating_add(counted(letter.bytes().len() as u64));
            if others >= self.most || with > self.max_size {
                if fitting == 0 {
                    let max = self.max_size;
                    return Err(KeepError::Full { dir, letters: others, bytes: of_others, max });
                }
                break;
            }
            (count, bytes) = (others + 1, with);
            fitting += 1;
        }
        self.write(&dir, &letters[..fitting]).map_err(failed)
    }

    /// Gives how many it had the time for.
    fn write(&self, dir: &Path, letters: &[Letter]) -> io::Result<usize> {
        let made = match fs::create_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            made => made.is_ok(),
        };
        if let Err(error) = sync(&self.spool) {
            // The next one makes it anew: a later sync says nothing of what this one has dropped.
            let _ = if made { fs::remove_dir(dir) } else { Ok(()) };
            return Err(error);
        }
        let named = letters.iter().map(|letter| dir.join(letter.name().to_string()));
        let paths: Vec<_> = named.map(|path| (unfinished(&path), path)).collect();
        let write = || -> io::Result<usize> {
            let mut files = Vec::with_capacity(letters.len());
            for (letter, (unfinished, _)) in letters.iter().zip(&paths) {
                // A new one, never the one whose sync has failed: what that left is unknown.
                remove_file(unfinished)?;
                let mut file = File::options().write(true).create_new(true).open(unfinished)?;
                file.write_all(letter.bytes())?;
                files.push(file);
            }
            // All are written by now: a journal that takes one down takes the others along.
            let (begun, mut synced) = (Instant::now(), 0);
            for file in &files {
                file.sync_all()?;
                synced += 1;
                if begun.elapsed() >= self.syncing {
                    break;
                }
            }
            paths[..synced]
                .iter()
                .try_for_each(|(unfinished, path)| fs::rename(unfinished, path))?;
            Ok(synced)
        };
        let written = write();
        // Those that are left hold room that others need; else the next start removes them.
        let kept = *written.as_ref().unwrap_or(&0);
        for (unfinished, _) in &paths[kept..] {
            let _ = fs::remove_file(unfinished);
        }
        written?;
        sync(dir)?;
        Ok(kept)
    }

    /// Takes a letter out; one that is not there is out. `Ok` means that it stays out at a power
    /// cut.
    pub fn take_back(&self, name: &Name) -> io::Result<()> {
        remove(&self.spool, &[*name])
    }
}

/// Removes these letters of the spool in `spool`; one that is not there is removed. `Ok` means that they
/// stay away at a power cut.
pub(super) fn remove(spool: &Path, names: &[Name]) -> io::Result<()> {
    let dir = place(spool);
    for name in names {
        remove_file(&dir.join(name.to_string()))?;
    }
    match sync(&dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a file; one that is not there is removed.
fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where a letter is written that is to lie at `path`.
fn unfinished(path: &Path) -> PathBuf {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(UNFINISHED);
    unfinished.into()
}

fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_suffix(UNFINISHED).and_then(Name::parse).is_some()
}

/// Makes a directory's entries survive a power cut.
fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests;
