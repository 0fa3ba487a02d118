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
use super::reader::SpoolReader;
use super::{OpenError, Spool, dir};
use std::fs;
use std::io;
use std::sync::Arc;

impl SpoolReader {
    /// The topics of which records were ever held, by name.
    pub fn held_topics(&self) -> io::Result<Vec<String>> {
        let place = self.shared().config.dir.join(dir::HELD);
        let mut topics = match dir::names(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        topics.retain(|topic| fs::metadata(place.join(topic)).is_ok_and(|meta| meta.is_dir()));
        Ok(topics)
    }

    /// Opens the spool that holds the records of `topic` (a legal name of one, which is a legal name
    /// of a directory), and makes it when it is not there.
    pub fn open_held(&self, topic: &str) -> Result<Spool, OpenError> {
        let shared = self.shared();
        let config = Config {
            dir: shared.config.dir.join(dir::HELD).join(topic),
            when_full: WhenFull::Reject,
            ..shared.config.clone()
        };
        let (stores, within) = (Arc::clone(&shared.stores), Some(Arc::clone(shared)));
        let spool = super::open_on(config, stores, within)?;
        shared.inside.add(topic, spool.reader.shared());
        Ok(spool)
    }
}
