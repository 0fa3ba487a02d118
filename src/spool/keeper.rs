//! The keeper: housekeeping off the commit path, on a thread of its own.
//!
//! About once a second it writes the progress, frees the segments that Kafka has whole, and
//! looks whether there is room again; when a segment is left it seals it and shuts its database.
//!
//! Whatever there is to do, it does a little of it and looks again what else is asked for: the
//! watchdog must not take much work for none, and a segment that was left holds memory until it is
//! shut. One that cannot be removed (a segment that root made) is in nobody's way: it is tried again
//! each round, and the status names it.
//!
//! The order that it keeps: a segment is unlinked only after both slots of a synced progress say
//! that all of it is done, so that a start never takes its absence for a loss.

use super::aside::{self, Aside};
use super::catalog::Entry;
use super::dir;
use super::mutex::lock;
use super::segment::{LiveSegment, SegmentId};
use super::shared::Shared;
use crate::record::Sequence;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_secs(1);
/// Segments that are removed in one go.
const AT_ONCE: usize = 16;

/// What the keeper is asked to do between its rounds.
#[derive(Debug)]
pub enum Chore {
    /// Seal this segment and shut its database: nothing is committed to it any more.
    Retire(Arc<LiveSegment>),
    /// A whole segment may be done with.
    Free,
    /// The last round: everything is committed and read.
    Close,
}

/// The keeper's thread. A panic in it (sled has some) ends the taking of records, with a sentence:
/// without it no segment would be freed any more.
pub fn run(shared: &Shared, chores: &Receiver<Chore>) -> io::Result<()> {
    catch_unwind(AssertUnwindSafe(|| keep(shared, chores))).unwrap_or_else(|_| {
        let broken = "the spool's housekeeping failed; restart the service";
        shared.fail(broken.to_owned());
        Err(io::Error::other(broken))
    })
}

/// The loop. The result is that of the last, closing write.
fn keep(shared: &Shared, chores: &Receiver<Chore>) -> io::Result<()> {
    let mut written = (Sequence(0), Sequence(0));
    let mut next_round = Instant::now() + TICK;
    let mut troubles = Troubles::default();
    let mut more = false;
    loop {
        let wait = next_round.saturating_duration_since(Instant::now());
        *lock(&shared.keeping) = more.then(Instant::now);
        let chore = chores.recv_timeout(if more { Duration::ZERO } else { wait });
        *lock(&shared.keeping) = Some(Instant::now());
        match chore {
            Ok(Chore::Retire(live)) => retire(shared, live),
            Ok(Chore::Free) => more = free(shared, &mut troubles, Again::No),
            Ok(Chore::Close) | Err(RecvTimeoutError::Disconnected) => {
                while free(shared, &mut troubles, Again::No) {}
                {
                    let _file = lock(&shared.progress_file);
                    lock(&shared.books).progress.clean = true;
                }
                return shared.settle_progress();
            }
            Err(RecvTimeoutError::Timeout) if more => {
                more = free(shared, &mut troubles, Again::No);
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if Instant::now() >= next_round {
            let marks = (shared.watermark(), shared.published());
            if marks != written {
                let saved = shared.save_progress();
                if troubles.saving.tell(saved).is_some() {
                    written = marks;
                }
            }
            more |= free(shared, &mut troubles, Again::Yes);
            measure(shared, &mut troubles);
            shared.look_for_room();
            next_round = Instant::now() + TICK;
        }
    }
}

/// What the keeper has said of what fails.
#[derive(Debug)]
struct Troubles {
    saving: Trouble,
    measuring: Trouble,
}

impl Default for Troubles {
    fn default() -> Self {
        Self {
            saving: Trouble { doing: "write the progress", since: None },
            measuring: Trouble { doing: "measure the spool's directory", since: None },
        }
    }
}

/// Something that is tried again and again: a failure is a line of log at its beginning, and one at
/// its end, however long it lasts.
#[derive(Debug)]
struct Trouble {
    doing: &'static str,
    since: Option<Instant>,
}

impl Trouble {
    fn tell<T>(&mut self, tried: io::Result<T>) -> Option<T> {
        match (&tried, self.since) {
            (Err(error), None) => {
                tracing::error!("cannot {}: {error}; it is tried again", self.doing);
                self.since = Some(Instant::now());
            }
            (Ok(_), Some(since)) => {
                let lasted = since.elapsed().as_secs();
                tracing::info!("can {} again, after {lasted} s", self.doing);
                self.since = None;
            }
            (Err(_), Some(_)) | (Ok(_), None) => {}
        }
        tried.ok()
    }
}

/// Whether what could not be removed is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    No,
    Yes,
}

/// Seals a segment. On any error it stays unsealed: the next start scans it.
fn retire(shared: &Shared, live: Arc<LiveSegment>) {
    let id = live.id;
    let path = shared.config.dir.join(id.to_string());
    let Some(mut seal) = live.seal() else {
        // Its first commit failed: there is nothing in it that was ever acknowledged.
        let last = lock(&shared.catalog).remove(id);
        drop((live, last));
        if let Err(error) = dir::discard(&shared.config.dir, &path) {
            tracing::warn!("cannot remove {}: {error}", path.display());
        }
        return;
    };
    let whole = live.is_whole();
    if !matches!(whole, Ok(true)) {
        tracing::error!("{id} has values outside its data file ({whole:?})");
        seal.damaged = true;
    }
    if let Err(error) = seal.write(&path) {
        tracing::error!("cannot seal {id}: {error}");
    }
    let last = lock(&shared.catalog).shut(id, seal);
    drop((live, last));
    match dir::disk_bytes(&path) {
        Ok(bytes) => lock(&shared.catalog).grew(id, bytes),
        Err(error) => tracing::warn!("cannot measure {id}: {error}"),
    }
}

/// Removes some of the segments that are done with, oldest first. Says whether there are more.
fn free(shared: &Shared, troubles: &mut Troubles, again: Again) -> bool {
    shared.free_asked.store(false, Relaxed);
    let mut done = shared.done();
    let stuck: BTreeSet<_> = {
        let mut stuck = lock(&shared.stuck);
        stuck.retain(|id, _| done.iter().any(|entry| entry.id == *id));
        stuck.keys().copied().collect()
    };
    let is_new = |entry: &Entry| !stuck.contains(&entry.id);
    if again == Again::No {
        done.retain(is_new);
    }
    // Once for all of them; for those that are stuck it was done when they were tried first.
    if done.iter().any(is_new) && troubles.saving.tell(shared.settle_progress()).is_none() {
        return false;
    }
    let mut freed = 0;
    for entry in &done {
        if freed == AT_ONCE {
            return true;
        }
        *lock(&shared.keeping) = Some(Instant::now());
        match remove(shared, troubles, entry) {
            Ok(()) => freed += 1,
            Err(error) => note_stuck(shared, entry.id, &error),
        }
    }
    false
}

/// Removes a segment that is done with, and known to be.
fn remove(shared: &Shared, troubles: &mut Troubles, done: &Entry) -> io::Result<()> {
    let root = &shared.config.dir;
    let path = root.join(done.id.to_string());
    // One that could not be read at the start has no seal, and may hold more than is known.
    let damaged = done.seal.is_none_or(|seal| seal.damaged);
    let _measuring = lock(&shared.measuring);
    let mut beside = None;
    if damaged {
        aside::quarantine(root, &path, shared.config.quarantine())?;
        beside = troubles.measuring.tell(look_beside(shared));
    } else {
        dir::discard(root, &path)?;
    }
    let mut catalog = lock(&shared.catalog);
    // In one step: what is in quarantine is never nobody's, and is not counted twice.
    if let Some((bytes, _)) = beside {
        shared.other_bytes.store(bytes, Relaxed);
    }
    let last = catalog.remove(done.id);
    drop(catalog);
    drop(last);
    if lock(&shared.stuck).remove(&done.id).is_some() {
        tracing::info!("{} could be removed after all", done.id);
    }
    Ok(())
}

/// Remembers that a segment cannot be removed. The first one is a line of log; the status tells how
/// many there are.
fn note_stuck(shared: &Shared, id: SegmentId, error: &io::Error) {
    let mut stuck = lock(&shared.stuck);
    if stuck.is_empty() {
        tracing::error!("cannot free {id}: {error}; it is tried again");
    }
    stuck.insert(id, error.to_string());
}

/// Measures what the segments do not account for.
fn measure(shared: &Shared, troubles: &mut Troubles) {
    let _measuring = lock(&shared.measuring);
    if let Some((bytes, aside)) = troubles.measuring.tell(look_beside(shared)) {
        shared.other_bytes.store(bytes, Relaxed);
        *lock(&shared.aside) = aside;
    }
}

/// Bytes under the directory that are no segment's, and what is set aside.
fn look_beside(shared: &Shared) -> io::Result<(u64, Aside)> {
    let root = &shared.config.dir;
    let counted = |id| lock(&shared.catalog).counts(id);
    let open = |name: &OsStr| shared.inside.counts(name);
    Ok((dir::other_bytes(root, counted, open)?, Aside::look(root)?))
}

#[cfg(test)]
mod tests;
