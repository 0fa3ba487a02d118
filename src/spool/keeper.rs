//! The keeper: housekeeping off the commit path, on a thread of its own.
//!
//! About once a second it writes the progress, frees the segments that Kafka has whole, and
//! looks whether there is room again; when a segment is left it seals it and shuts its database.
//!
//! The order that it keeps: a segment is unlinked only after both slots of a synced progress say
//! that all of it is done, so that a start never takes its absence for a loss.

use super::aside::{self, Aside};
use super::dir;
use super::mutex::lock;
use super::segment::LiveSegment;
use super::shared::Shared;
use crate::record::Sequence;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_secs(1);

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
    let mut stuck = false;
    loop {
        *lock(&shared.keeping) = None;
        let chore = chores.recv_timeout(next_round.saturating_duration_since(Instant::now()));
        *lock(&shared.keeping) = Some(Instant::now());
        match chore {
            Ok(Chore::Retire(live)) => retire(shared, live),
            Ok(Chore::Free) => free(shared, &mut stuck),
            Ok(Chore::Close) | Err(RecvTimeoutError::Disconnected) => {
                free(shared, &mut stuck);
                {
                    let _file = lock(&shared.progress_file);
                    lock(&shared.books).progress.clean = true;
                }
                return shared.settle_progress();
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if Instant::now() >= next_round {
            let marks = (shared.watermark(), shared.published());
            if marks != written {
                match shared.save_progress() {
                    Ok(()) => written = marks,
                    Err(error) => tracing::error!("cannot write the progress: {error}"),
                }
            }
            free(shared, &mut stuck);
            measure(shared);
            shared.look_for_room();
            next_round = Instant::now() + TICK;
        }
    }
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

/// Removes the segments that are done with, oldest first. `stuck` remembers between calls
/// whether the last one failed, so that a failure is one line of log.
fn free(shared: &Shared, stuck: &mut bool) {
    shared.free_asked.store(false, Relaxed);
    loop {
        let Some(done) = shared.first_done() else { return };
        let path = shared.config.dir.join(done.id.to_string());
        // One that could not be read at the start has no seal, and may hold more than is known.
        let damaged = done.seal.is_none_or(|seal| seal.damaged);
        let freed = shared.settle_progress().and_then(|()| {
            if damaged {
                aside::quarantine(&shared.config.dir, &path, shared.config.quarantine())
            } else {
                dir::discard(&shared.config.dir, &path)
            }
        });
        if let Err(error) = freed {
            if !std::mem::replace(stuck, true) {
                tracing::error!("cannot free {}: {error}; it is tried again", done.id);
            }
            return;
        }
        *stuck = false;
        let beside = if damaged { look_beside(shared) } else { None };
        let mut catalog = lock(&shared.catalog);
        // In one step: what is in quarantine is never nobody's, and is not counted twice.
        if let Some((bytes, _)) = beside {
            shared.other_bytes.store(bytes, Relaxed);
        }
        let last = catalog.remove(done.id);
        drop(catalog);
        drop(last);
    }
}

/// Measures what the segments do not account for.
fn measure(shared: &Shared) {
    if let Some((bytes, aside)) = look_beside(shared) {
        shared.other_bytes.store(bytes, Relaxed);
        *lock(&shared.aside) = aside;
    }
}

/// Bytes under the directory that are no segment's, and what is set aside.
fn look_beside(shared: &Shared) -> Option<(u64, Aside)> {
    let root = &shared.config.dir;
    let looked = dir::other_bytes(root).and_then(|bytes| Ok((bytes, Aside::look(root)?)));
    looked.inspect_err(|error| tracing::warn!("cannot measure the spool's directory: {error}")).ok()
}
