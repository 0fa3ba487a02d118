//! Spools inside a spool: where the records of a topic wait while others go on.
//!
//! `held/<topic>/` is a spool of the same code, with books of its own. It belongs to the one whose
//! directory it lies in: only who reads that one opens it, what it takes on the disk counts among
//! what that one may take, and a commit to it asks that one for room. Moving a record there is
//! appending it under its own id; the watermark of the one that it comes from passes it once it is
//! durable here.
//!
//! It deliberately does not know why a topic is held, nor when it is not any more.

use super::config::{Config, WhenFull};
use super::mutex::lock;
use super::reader::SpoolReader;
use super::{OpenError, Spool, dir};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// The directories of the spools inside the one in `spool`, by topic.
pub fn held_dirs(spool: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let place = spool.join(dir::HELD);
    let topics = match dir::names(&place) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(Vec::new());
        }
        other => other?,
    };
    let dirs = topics.into_iter().map(|topic| (topic.clone(), place.join(topic)));
    Ok(dirs.filter(|(_, dir)| dir.is_dir()).collect())
}

impl SpoolReader {
    /// The topics of which records were ever held, by name.
    pub fn held_topics(&self) -> io::Result<Vec<String>> {
        Ok(held_dirs(&self.shared().config.dir)?.into_iter().map(|(topic, _)| topic).collect())
    }

    /// Opens the spool that holds the records of `topic` (a legal name of one, which is a legal name
    /// of a directory), and makes it when it is not there.
    pub fn open_held(&self, topic: &str) -> Result<Spool, OpenError> {
        let shared = self.shared();
        let config = Config {
            dir: shared.config.dir.join(dir::HELD).join(topic),
            // Whose directory it is makes room, for both.
            when_full: WhenFull::Reject,
            // Records come here by whole blocks, and the others wait for them.
            commit_delay: Duration::ZERO,
            ..shared.config.clone()
        };
        let measured = dir::disk_bytes(&config.dir).map_err(|source| OpenError::Io {
            doing: "measure",
            path: config.dir.clone(),
            source,
        })?;
        let (stores, within) = (Arc::clone(&shared.stores), Some(Arc::clone(shared)));
        let spool = super::open_on(config, stores, within)?;
        // From now on it counts itself.
        let _measuring = lock(&shared.measuring);
        let counted = shared.other_bytes.load(Relaxed);
        shared.other_bytes.store(counted.saturating_sub(measured), Relaxed);
        shared.inside.add(topic, spool.reader.shared());
        Ok(spool)
    }
}
