//! The half that is drained: blocks in the order of their sequences, from a position on.
//!
//! It sees only what was published, that is, made durable. The tail is read through its open
//! database, every other segment from its bytes. Blocks that are not where the catalog promises
//! them are written down as lost, and reading goes on behind them. Reading writes nothing else,
//! so that a full disk can always be drained.
//!
//! A segment may be replaced while it is read here, by one with the same records in larger blocks
//! (`repack.rs`). The file that is open stays readable; the next look at the catalog leads to the
//! new one; and nothing is called lost on the word of a segment that is not in the catalog any
//! more.
//!
//! What it deliberately does not know: what becomes of the records; the owner says how far they
//! have been delivered, and which one nobody can deliver, and segments are freed by that alone.

use super::block::Block;
use super::catalog::Entry;
use super::keeper::Chore;
use super::mutex::lock;
use super::removal::Finding;
use super::scan::{self, BadPages, Scanned};
use super::segment::SegmentId;
use super::shared::Shared;
use super::store::DATA_FILE;
use crate::record::Sequence;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::AcqRel;
use std::sync::mpsc::Sender;
use std::time::Instant;

/// Why a block could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    #[error("cannot read {path}: {source}; nothing is skipped, it is tried again")]
    Io { path: PathBuf, source: io::Error },
    #[error("cannot write down that records were lost: {0}; nothing is skipped, it is tried again")]
    Loss(io::Error),
}

/// The reading half of a spool; it has one owner, on a thread where a file may be read.
#[derive(Debug)]
pub struct SpoolReader {
    shared: Arc<Shared>,
    keeper: Sender<Chore>,
    position: Sequence,
    scanned: Option<(SegmentId, Scanned)>,
    /// Something was missing here, and the segment was scanned once more.
    looked_again: Option<Sequence>,
    /// Of the segment that was searched last.
    trouble: Option<Trouble>,
}

/// What cannot be read of a segment.
#[derive(Debug)]
struct Trouble {
    id: SegmentId,
    /// Since it was opened, or searched to its end, for the first time in vain.
    since: Option<Instant>,
    /// What is known of it until it is tried again.
    bad: BadPages,
}

impl SpoolReader {
    pub(super) fn new(shared: Arc<Shared>, keeper: Sender<Chore>) -> Self {
        let position = shared.watermark();
        Self { shared, keeper, position, scanned: None, looked_again: None, trouble: None }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The spool's directory.
    pub fn dir(&self) -> &Path {
        &self.shared.config.dir
    }

    /// The next block from the position on, without the records below it; `None` when everything
    /// published was read. The position moves behind the block. A jump of the sequences between
    /// two blocks is a range that was removed or lost.
    pub fn next_block(&mut self) -> Result<Option<Block>, ReadError> {
        loop {
            let (position, readable) = self.shared.readable(self.position);
            self.position = position;
            if position >= readable {
                return Ok(None);
            }
            let published = self.shared.published();
            let Some(entry) = lock(&self.shared.catalog).holding(self.position).cloned() else {
                // Every published sequence above the watermark is in a segment, or listed.
                self.position = published;
                continue;
            };
            if self.position < entry.id.first {
                self.position = entry.id.first;
                continue;
            }
            let end = entry.end.unwrap_or(published);
            let found = self.read(&entry)?.filter(|block| block.end() <= end);
            let readable_from = found.as_ref().map_or(end, Block::first);
            if self.position < readable_from {
                if self.looked_again.replace(self.position) != Some(self.position) {
                    // A bit may have been turned on the way: before anything is called lost, it
                    // is read anew.
                    self.scanned = None;
                    continue;
                }
                if let Some(Trouble { since: Some(since), bad, .. }) = &mut self.trouble
                    && since.elapsed() < self.shared.config.read_patience
                {
                    self.scanned = None;
                    *bad = BadPages::default();
                    let source = io::Error::from(rustix::io::Errno::IO);
                    return Err(ReadError::Io { path: self.data_file(entry.id), source });
                }
                let lost = self.shared.record_loss(entry.id, self.position, readable_from);
                if lost.map_err(ReadError::Loss)? == Finding::Stale {
                    self.looked_again = None;
                    continue;
                }
                self.position = readable_from;
            }
            if let Some(block) = found {
                let block = block.between(self.position, end);
                // Removed or held since this was read: the loop looks again.
                let Some(block) = self.shared.hand_out(block) else { continue };
                self.position = block.end();
                lock(&self.shared.ahead).push_back((block.end(), block.received()));
                return Ok(Some(block));
            }
        }
    }

    /// Waits until something is published that was not read.
    pub async fn readable(&self) {
        while self.position >= self.shared.readable(self.position).1 {
            self.shared.readable.notified().await;
        }
    }

    /// Where reading goes on.
    pub fn position(&self) -> Sequence {
        self.position
    }

    /// The sequence behind the last record that was published.
    pub fn end(&self) -> Sequence {
        self.shared.published()
    }

    /// How many records are published and not yet read, as far as is known.
    pub fn unread(&self) -> u64 {
        let published = self.end();
        let books = lock(&self.shared.books);
        published.since(self.position) - books.progress.in_doubt(self.position, published)
    }

    /// Moves the position, to send again; not below the watermark.
    pub fn rewind(&mut self, to: Sequence) {
        self.position = to.max(self.shared.watermark());
        lock(&self.shared.ahead).retain(|(end, _)| *end <= self.position);
    }

    /// Everything below `to` has been delivered. Never moves back; segments that are done with
    /// are freed in the background.
    pub fn advance_watermark(&mut self, to: Sequence) {
        self.shared.advance_watermark(to.min(self.position));
        self.let_go();
        if self.shared.is_any_done() && !self.shared.free_asked.swap(true, AcqRel) {
            // The keeper is gone only after a close, which has freed what there was.
            let _ = self.keeper.send(Chore::Free);
        }
    }

    /// What was read up to `end` is handed over for all or nothing, and whether it is taken will not
    /// be known for a while. `Ok` means that this note survives a power cut.
    pub fn begin_handover(&mut self, end: Sequence) -> io::Result<()> {
        self.shared.note_pending(Some(end.min(self.position)))
    }

    /// The outcome is known: the watermark tells it. `Ok` means that both survive a power cut.
    pub fn end_handover(&mut self) -> io::Result<()> {
        self.shared.note_pending(None)
    }

    /// What was handed over for all or nothing with an outcome that is not known: first, end.
    pub fn pending(&self) -> Option<(Sequence, Sequence)> {
        let pending = lock(&self.shared.books).progress.pending();
        pending.filter(|(_, end)| self.watermark() < *end)
    }

    /// The spool's id: 32 hex digits, for as long as it exists.
    pub fn spool_id(&self) -> String {
        let id = lock(&self.shared.books).progress.spool_id;
        format!("{:032x}", u128::from_be_bytes(id))
    }

    /// The records, which were read here, are kept elsewhere as such that nobody can deliver: they
    /// leave the spool as dead, and are not read again. `Ok` means that this survives a power cut.
    pub fn set_aside(&mut self, records: &[Sequence]) -> io::Result<()> {
        self.shared.record_dead(records)
    }

    /// Whether the record has left the spool for good: delivered, or in another way.
    pub fn is_done_with(&self, at: Sequence) -> bool {
        self.shared.is_done_with(at)
    }

    /// Closes the file of a segment that is done with: for as long as it is open, unlinking it gives
    /// nothing back to the disk.
    fn let_go(&mut self) {
        let Some((scanned, _)) = &self.scanned else { return };
        let watermark = self.shared.watermark();
        let catalog = lock(&self.shared.catalog);
        if catalog.holding(watermark).is_none_or(|entry| entry.id.first > scanned.first) {
            self.scanned = None;
        }
    }

    /// Kafka has everything below.
    pub fn watermark(&self) -> Sequence {
        self.shared.watermark()
    }

    /// The block at the position, or the next one in the segment.
    fn read(&mut self, entry: &Entry) -> Result<Option<Block>, ReadError> {
        if let Some(live) = &entry.live {
            match live.read(self.position) {
                Ok(found) => return Ok(found),
                // What was synced stands in the file, whatever sled says.
                Err(error) => tracing::warn!("{} is read from its bytes: {error}", entry.id),
            }
        }
        let path = self.data_file(entry.id);
        self.read_scanned(entry, &path).map_err(|source| ReadError::Io { path, source })
    }

    fn data_file(&self, id: SegmentId) -> PathBuf {
        self.shared.config.dir.join(id.to_string()).join(DATA_FILE)
    }

    fn read_scanned(&mut self, entry: &Entry, path: &Path) -> io::Result<Option<Block>> {
        if self.scanned.as_ref().is_none_or(|(id, _)| *id != entry.id) {
            let same = self.trouble.take().filter(|trouble| trouble.id == entry.id);
            let new = || Trouble { id: entry.id, since: None, bad: BadPages::default() };
            let trouble = self.trouble.insert(same.unwrap_or_else(new));
            match Scanned::open_within(scan::LIMIT, path, &mut trouble.bad) {
                Ok(scanned) => self.scanned = Some((entry.id, scanned)),
                // Removed by somebody's hand, or on a bad sector: all of it is missing.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound || scan::is_bad_sector(&error) =>
                {
                    trouble.note(scan::is_bad_sector(&error));
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        let found = self.read_found();
        let unreadable = self.scanned.as_ref().is_some_and(|(_, scanned)| scanned.is_unreadable());
        if let Some(trouble) = &mut self.trouble {
            trouble.note(unreadable);
        }
        if entry.live.is_some() || found.is_err() {
            self.scanned = None; // it still grows, or is to be searched anew
        }
        found
    }

    /// The block at the position, or the next one, of those that were found.
    fn read_found(&self) -> io::Result<Option<Block>> {
        let Some((_, scanned)) = &self.scanned else { return Ok(None) };
        let at = scanned.blocks.partition_point(|found| found.header.end() <= self.position);
        let begun = Instant::now();
        for found in &scanned.blocks[at..] {
            match scanned.read(found) {
                Ok(block) => return Ok(Some(block)),
                // Many pages have gone bad since: a search passes them bit by bit.
                Err(_) if scanned.is_unreadable() && begun.elapsed() >= scan::LIMIT => {
                    return Err(rustix::io::Errno::IO.into());
                }
                // Damaged since it was found: the next intact one counts.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

impl Trouble {
    fn note(&mut self, unreadable: bool) {
        self.since = unreadable.then(|| self.since.unwrap_or_else(Instant::now));
    }
}
