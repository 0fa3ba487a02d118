//! What is set aside: damaged segments in `quarantine/`, and spools of a newer program, whole, in
//! `set-aside/`.
//!
//! A quarantine is for inspection, and bounded by itself: where there is no room the oldest goes.
//! A spool whose format this program does not know (after a downgrade) is moved, not touched, so
//! that a fresh one can be begun and vehicles are heard. Its progress file goes last, once the
//! rest is known to be there: for as long as it stands, every start goes on moving.
//!
//! It deliberately does not know how to read what it keeps.

use super::dir::{self, LOCK, PROGRESS, QUARANTINE, SET_ASIDE};
use super::progress::ProgressFile;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What lies beside the spool.
#[derive(Debug, Clone, Default)]
pub struct Aside {
    /// Bytes on the disk of the damaged segments.
    pub quarantine_bytes: u64,
    /// The spools of a newer program.
    pub spools: Vec<PathBuf>,
}

impl Aside {
    /// Of the spool in `root`.
    pub fn look(root: &Path) -> io::Result<Self> {
        let kept = list(&root.join(QUARANTINE))?;
        let bytes = kept.iter().map(|path| dir::disk_bytes(path)).sum::<io::Result<u64>>()?;
        Ok(Self { quarantine_bytes: bytes, spools: list(&root.join(SET_ASIDE))? })
    }
}

/// What is in the directory, in the order of the names, which for segments is that of their age;
/// nothing when it is not there.
fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(Vec::new());
        }
        other => other?,
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// Sets a damaged segment aside for inspection, among at most `max` bytes of them.
pub fn quarantine(root: &Path, segment: &Path, max: u64) -> io::Result<()> {
    let new = dir::disk_bytes(segment)?;
    let mut kept = Vec::new();
    for path in list(&root.join(QUARANTINE))? {
        kept.push((dir::disk_bytes(&path)?, path));
    }
    let mut bytes = new + kept.iter().map(|(bytes, _)| bytes).sum::<u64>();
    for (oldest, path) in kept {
        if bytes > max {
            tracing::warn!("{} makes room for newer damage", path.display());
            dir::discard(root, &path)?;
            bytes -= oldest;
        }
    }
    if bytes > max {
        tracing::warn!("{} is damaged and too large to be kept", segment.display());
        return dir::discard(root, segment);
    }
    dir::move_under(root, QUARANTINE, segment)?;
    dir::sync(&root.join(QUARANTINE))?;
    dir::sync(root)
}

/// Moves a spool that a newer program wrote out of the way, with everything but the lock. `Ok`
/// means that this survives a power cut. Without one it does nothing.
pub fn set_newer_aside(root: &Path) -> io::Result<()> {
    let Some(format) = ProgressFile::newer_format(&root.join(PROGRESS))? else { return Ok(()) };
    let place = root.join(SET_ASIDE);
    dir::make(&place)?;
    let target = target(&place, format);
    dir::make(&target)?;
    // What is moved there may not depend on a directory that a power cut takes.
    dir::sync(&place)?;
    dir::sync(root)?;
    for path in list(root)? {
        let name = path.file_name().unwrap_or_default();
        if name != LOCK && name != SET_ASIDE && name != PROGRESS {
            fs::rename(&path, dir::free_name(target.join(name)))?;
        }
    }
    dir::sync(&target)?;
    dir::sync(root)?;
    fs::rename(root.join(PROGRESS), target.join(PROGRESS))?;
    dir::sync(&target)?;
    dir::sync(root)?;
    tracing::error!(
        "the spool was written in format {format} by a newer version of this program: it is set \
         aside whole in {}, and a new one is begun",
        target.display()
    );
    Ok(())
}

/// The first of `format-N`, `format-N.1` ... that is not there, or that a crash left half moved.
fn target(place: &Path, format: u8) -> PathBuf {
    let name = place.join(format!("format-{format}"));
    let mut numbered = (1_u64..).map(|n| place.join(format!("format-{format}.{n}")));
    let mut target = name;
    while dir::is_there(&target) && dir::is_there(&target.join(PROGRESS)) {
        let Some(next) = numbered.next() else { break };
        target = next;
    }
    target
}
