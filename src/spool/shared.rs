//! What the halves of the spool and its two threads share.
//!
//! Locks are short, but for that of the progress file, which is held while the disk syncs: it is
//! taken first, and never by who only looks. Where others are needed, they are taken in the order
//! books, catalog, stuck.

use super::aside::Aside;
use super::batch::{Queue, Ready};
use super::catalog::{Catalog, Entry};
use super::claims::Claims;
use super::dir;
use super::mutex::lock;
use super::progress::{Progress, ProgressFile};
use super::segment::SegmentId;
use super::store::Stores;
use super::{AppendError, Config, Depth, WhenFull};
use crate::histogram::Histogram;
use crate::ledger::Ledger;
use crate::record::{Epoch, Millis, Sequence};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Room that one commit may need beyond what it checked for: a step of sled's file and a block.
const COMMIT_RESERVE: u64 = 4 << 20;

/// See the module.
#[derive(Debug)]
pub struct Shared {
    pub config: Config,
    /// What makes the databases of new segments.
    pub stores: Arc<dyn Stores>,
    pub epoch: Epoch,
    pub queue: Queue,
    pub ready: Arc<Ready>,
    pub catalog: Mutex<Catalog>,
    /// Whoever holds this writes the books, and nobody else changes them meanwhile.
    pub progress_file: Mutex<ProgressFile>,
    pub books: Mutex<Books>,
    /// The next sequence to be assigned: everything below is durable and can be read.
    pub published: AtomicU64,
    /// Kafka has everything below.
    pub watermark: AtomicU64,
    /// Rung when something was published.
    pub readable: Notify,
    /// Blocks read and not yet delivered: their end, and when their first record was received.
    pub ahead: Mutex<VecDeque<(Sequence, Millis)>>,
    /// The keeper was asked to free segments, and has not begun.
    pub free_asked: AtomicBool,
    /// Segments that are done with and could not be removed, and why.
    pub stuck: Mutex<BTreeMap<SegmentId, String>>,
    /// Bytes under the directory that are no segment's, and no open spool's inside.
    pub other_bytes: AtomicU64,
    /// Held while those are measured, and while it changes what counts among them.
    pub measuring: Mutex<()>,
    /// The spools of held topics in this one's directory, as far as they are open.
    pub inside: Inside,
    /// The spool in whose directory this one lies, if it does.
    pub within: Option<Arc<Self>>,
    /// What lies beside the spool, as it was last looked at.
    pub aside: Mutex<Aside>,
    /// Since when the commit thread has been at the commit under way.
    pub committing: Mutex<Option<Instant>>,
    /// Since when the keeper has been at what it does.
    pub keeping: Mutex<Option<Instant>>,
    /// The end of the repacker.
    pub repacking: Bell,
    /// Rung by the repacker when it has ended.
    pub repacked: Bell,
    /// Since when the repacker has been at its step; none in its pauses.
    pub repack_step: Mutex<Option<Instant>>,
    /// Set for good when the commit thread cannot go on.
    pub failure: OnceLock<String>,
    pub stats: Stats,
    /// Held for as long as anything here can write.
    pub _lock: File,
}

/// Ends a thread that mostly sleeps.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Mutex<bool>,
    wake: Condvar,
}

impl Bell {
    pub fn ring(&self) {
        *lock(&self.rung) = true;
        self.wake.notify_all();
    }

    /// Sleeps for so long, or until it is rung. Says whether it was.
    pub fn rung_within(&self, time: Duration) -> bool {
        let rung = lock(&self.rung);
        let woken = self.wake.wait_timeout_while(rung, time, |rung| !*rung);
        *woken.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The spools inside one that are open.
#[derive(Debug, Default)]
pub struct Inside {
    open: Mutex<Vec<(String, Weak<Shared>)>>,
}

impl Inside {
    /// Those that are open.
    pub fn open(&self) -> Vec<Arc<Shared>> {
        lock(&self.open).iter().filter_map(|(_, shared)| shared.upgrade()).collect()
    }

    /// Bytes on the disk of those that are open.
    pub fn disk_bytes(&self) -> u64 {
        self.open().iter().map(|shared| shared.disk_bytes()).sum()
    }

    /// Whether the one of this name counts itself.
    pub fn counts(&self, name: &OsStr) -> bool {
        let open = lock(&self.open);
        open.iter().any(|(topic, shared)| name == topic.as_str() && shared.strong_count() > 0)
    }

    pub fn add(&self, topic: &str, shared: &Arc<Shared>) {
        let mut open = lock(&self.open);
        open.retain(|(_, shared)| shared.strong_count() > 0);
        open.push((topic.to_owned(), Arc::downgrade(shared)));
    }
}

/// The books of the moment.
#[derive(Debug)]
pub struct Books {
    /// Changed under the lock of its file alone: what is written is never older than what was.
    pub progress: Progress,
    pub claims: Claims,
}

/// Counted since the process started.
#[derive(Debug, Default)]
pub struct Stats {
    pub syncs: AtomicU64,
    pub bytes_written: AtomicU64,
    pub commits: Histogram,
}

impl Shared {
    pub fn published(&self) -> Sequence {
        Sequence(self.published.load(Acquire))
    }

    pub fn watermark(&self) -> Sequence {
        Sequence(self.watermark.load(Acquire))
    }

    /// Nothing is taken any more, until the process is started again.
    pub fn fail(&self, broken: String) {
        tracing::error!("{broken}");
        let broken = self.failure.get_or_init(|| broken).clone();
        self.queue.refuse_for_good(AppendError::Failed(broken));
    }

    /// Writes the watermark and the acknowledged-through mark as they are now.
    pub fn save_progress(&self) -> io::Result<()> {
        let mut file = lock(&self.progress_file);
        let progress = {
            let books = &mut *lock(&self.books);
            books.progress.advance(self.watermark());
            books.progress.acknowledged = self.published();
            books.progress.clone()
        };
        // The books are not locked: who only looks never waits for the disk.
        file.write(&progress)
    }

    /// Writes down that what waits up to `end` is handed over for all or nothing, or with `None` that
    /// nothing is any more. `Ok` means that this survives a power cut.
    pub fn note_pending(&self, end: Option<Sequence>) -> io::Result<()> {
        let mut file = lock(&self.progress_file);
        let progress = {
            let books = &mut *lock(&self.books);
            books.progress.advance(self.watermark());
            books.progress.acknowledged = self.published();
            books.progress.set_pending(end);
            books.progress.clone()
        };
        file.write(&progress)
    }

    /// [`Shared::save_progress`], into both slots: before a segment is unlinked or begun. Whichever
    /// slot is damaged later, the other one knows that what is gone was done with, and how far
    /// every segment that is there was acknowledged at its beginning.
    pub fn settle_progress(&self) -> io::Result<()> {
        self.save_progress()?;
        self.save_progress()
    }

    /// Moves the watermark to `to`, and past what was removed right behind it. Never back.
    pub fn advance_watermark(&self, to: Sequence) {
        let past = lock(&self.books).progress.past_removed(to.max(self.watermark()));
        self.watermark.fetch_max(past.0, AcqRel);
        let mut ahead = lock(&self.ahead);
        while ahead.front().is_some_and(|(end, _)| *end <= past) {
            ahead.pop_front();
        }
    }

    /// The segments in which nothing is needed any more, oldest first: delivered, or removed.
    pub fn done(&self) -> Vec<Entry> {
        self.look_at_done(|done| done.cloned().collect())
    }

    /// Whether there is any that can be freed, as far as is known.
    pub fn is_any_done(&self) -> bool {
        self.look_at_done(|mut done| {
            let stuck = lock(&self.stuck);
            Iterator::any(&mut done, |entry| !stuck.contains_key(&entry.id))
        })
    }

    fn look_at_done<T>(&self, look: impl FnOnce(&mut dyn Iterator<Item = &Entry>) -> T) -> T {
        let watermark = self.watermark();
        let books = lock(&self.books);
        let waiting = |first: Sequence| books.progress.past_removed(first.max(watermark));
        look(&mut lock(&self.catalog).done(waiting))
    }

    pub fn ledger(&self) -> Ledger {
        let (progress, seen) = {
            let books = lock(&self.books);
            let mut progress = books.progress.clone();
            // Before it is asked what is published: what is delivered was.
            progress.advance(self.watermark());
            // Copies of dead letters are no more records than before: until the books know which of
            // those that come they are, none is counted.
            (progress, books.claims.before_copies(self.published()))
        };
        progress.ledger(seen)
    }

    /// Whether one more commit keeps within `max_size` and `min_free`.
    pub fn check_room(&self) -> Result<(), AppendError> {
        if let Some(whole) = &self.within {
            return whole.check_room();
        }
        let Config { max_size, min_free, .. } = self.config;
        let used = self.disk_bytes();
        if used.saturating_add(COMMIT_RESERVE) > max_size {
            return Err(AppendError::Full(format!(
                "{} of {} (spool.max_size) are used, and the last {} are kept for a commit",
                mib(used),
                mib(max_size),
                mib(COMMIT_RESERVE)
            )));
        }
        let free = self.free_bytes().map_err(|error| AppendError::from_io(&error))?;
        if free < min_free.saturating_add(COMMIT_RESERVE) {
            return Err(AppendError::Full(format!(
                "{} are free on its file system, {} (spool.min_free) stay free, and {} are kept \
                 for a commit",
                mib(free),
                mib(min_free),
                mib(COMMIT_RESERVE)
            )));
        }
        Ok(())
    }

    /// [`Shared::check_room`]; where there is none it is made, if that is the policy, at the cost
    /// of the oldest records.
    pub fn make_room(&self) -> Result<(), AppendError> {
        if let Some(whole) = &self.within {
            return whole.make_room();
        }
        loop {
            let Err(full) = self.check_room() else { return Ok(()) };
            match self.config.when_full {
                WhenFull::Reject => return Err(full),
                WhenFull::DropOldest => match self.drop_oldest() {
                    Ok(true) => self.still_committing(),
                    Ok(false) => return Err(full),
                    Err(error) => return Err(AppendError::from_io(&error)),
                },
            }
        }
    }

    /// The commit under way makes progress: what it does now is another piece of work.
    fn still_committing(&self) {
        if let Some(since) = &mut *lock(&self.committing) {
            *since = Instant::now();
        }
    }

    /// Whether a copy of a segment that takes `bytes` more leaves ingest as much room again as it
    /// stops at: it must never be the copy that stops it.
    pub fn has_room_for_copy(&self, bytes: u64) -> io::Result<bool> {
        if let Some(whole) = &self.within {
            return whole.has_room_for_copy(bytes);
        }
        let margin = bytes.saturating_add(2 * COMMIT_RESERVE);
        let used = self.disk_bytes();
        let free = self.free_bytes()?;
        Ok(used.saturating_add(margin) <= self.config.max_size
            && free >= self.config.min_free.saturating_add(margin))
    }

    /// Looks again whether records can be taken. After a failure the disk is tried: waiting for the
    /// next request to find out would look like health.
    pub fn look_for_room(&self) {
        let tried = || self.try_disk().map_err(|error| AppendError::from_io(&error));
        let refusal = self.check_room().and_then(|()| tried()).err();
        // Made when a record comes for it, and not before.
        let full = matches!(refusal, Some(AppendError::Full(_)));
        let can_be_made = full && self.config.when_full == WhenFull::DropOldest && self.can_drop();
        self.queue.refuse(refusal.filter(|_| !can_be_made));
    }

    /// Whether the disk takes again what it did not take.
    fn try_disk(&self) -> io::Result<()> {
        match self.queue.refusal() {
            Some(AppendError::Failed(_)) => self.save_progress(),
            // How many bytes are free says nothing of inodes and quotas.
            Some(AppendError::Full(_)) => dir::try_room(&self.config.dir),
            _ => Ok(()),
        }
    }

    /// Which thread has been at one piece of work for longer than `limit`, and for how long; the
    /// repacker for ten times as long.
    pub fn stalled(&self, limit: Duration) -> Option<(&'static str, Duration)> {
        // The repacker has what time the others leave, and nobody waits for it.
        let busy = [
            ("a commit", &self.committing, limit),
            ("housekeeping", &self.keeping, limit),
            ("a step of the repacker", &self.repack_step, 10 * limit),
        ];
        busy.into_iter()
            .filter_map(|(what, since, limit)| Some((what, (*lock(since))?.elapsed(), limit)))
            .find_map(|(what, elapsed, limit)| (elapsed > limit).then_some((what, elapsed)))
    }

    pub fn disk_bytes(&self) -> u64 {
        let own = lock(&self.catalog).disk_bytes() + self.other_bytes.load(Relaxed);
        own + self.inside.disk_bytes()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.config.dir)?;
        Ok(stat.f_bavail * stat.f_frsize)
    }

    pub fn depth(&self) -> Depth {
        let watermark = self.watermark();
        let ledger = self.ledger();
        let ahead = lock(&self.ahead).front().map(|(_, received)| *received);
        let disk_bytes = self.disk_bytes();
        let (bytes, segments, oldest) = {
            let catalog = lock(&self.catalog);
            let oldest = ahead.or_else(|| catalog.oldest_from(watermark));
            (catalog.raw_bytes_from(watermark), catalog.len() as u64, oldest)
        };
        let aside = lock(&self.aside).clone();
        let held = lock(&self.books).held();
        let stuck = {
            let stuck = lock(&self.stuck);
            let told = |(id, why): (&SegmentId, &String)| format!("{id}: {why}");
            stuck.iter().next().map(|first| (stuck.len(), told(first)))
        };
        Depth {
            records: ledger.spooled,
            bytes,
            disk_bytes,
            quarantine_bytes: aside.quarantine_bytes,
            set_aside: aside.spools,
            stuck,
            max_bytes: self.config.max_size,
            // A failed statvfs shows as no room, which is what an append finds too.
            free_bytes: self.free_bytes().unwrap_or(0).saturating_sub(self.config.min_free),
            segments,
            oldest: if ledger.spooled == 0 { None } else { oldest },
            held,
            syncs: self.stats.syncs.load(Relaxed),
            bytes_written: self.stats.bytes_written.load(Relaxed),
            commits: self.stats.commits.snapshot(),
        }
    }
}

/// For people: bytes as MiB.
#[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
