//! Writing segments anew, as one: crash-safe, and to be given up at any step.
//!
//! The steps, and what a crash at each leaves to the start (`start.rs`, `generations.rs`):
//!
//! 1. The copy is written under `tmp/`, block by block, each synced; its database is shut; it is
//!    read back from its bytes; it is sealed, as repacked; its directory is synced. Until here
//!    `tmp/` is emptied and nothing has happened.
//! 2. It is renamed to its place, the next generation at the first one's sequence, and the
//!    directories are synced. From here on the start finds it, and it counts before all that it
//!    was made of, however many of them are still there.
//! 3. The catalog is changed, in one step: readers go to the copy from now on.
//! 4. Those that it was made of are removed.
//!
//! If one of them has changed by step 3 (found damaged, freed, read from), the copy goes instead;
//! a crash between 2 and its going leaves a copy with the same records, which counts. So for as long
//! as it cannot be removed nothing is repacked: of two copies that overlap neither holds all records.
//!
//! A record keeps its sequence, and its block its epoch, so that it keeps its id: a block ends
//! where the epoch changes.

use super::plan::{self, Plan};
use crate::record::{Epoch, Sequence};
use crate::spool::block::{Block, Draft, Encoder};
use crate::spool::catalog::Entry;
use crate::spool::dir;
use crate::spool::mutex::lock;
use crate::spool::scan::Scanned;
use crate::spool::segment::{LiveSegment, Seal, SegmentId};
use crate::spool::shared::Shared;
use crate::spool::store::DATA_FILE;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

/// Raw bytes of a block, at most, but for a record that is larger by itself. Larger blocks gain
/// little, and whoever reads one has it in memory.
const BLOCK: usize = 1 << 20;

/// Why a copy was given up.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    #[error("the spool is closing")]
    Closing,
    /// The drain has come to what was copied, or it has changed.
    #[error("it is read already")]
    Wanted,
    #[error("there is no room for the copy")]
    NoRoom,
    /// The parts a raw byte, in hundredths.
    #[error("it would not be enough smaller")]
    Larger(u64),
    /// Blocks are missing: the reader lists them when it comes to them.
    #[error("it is damaged")]
    Damaged,
    /// It has its place among the others, must not have it, and cannot be removed.
    #[error("the copy that was given up cannot be removed: {0}")]
    Stays(io::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Where a rewriting has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// An empty copy stands under `tmp/`.
    Begun,
    /// A source's file was searched.
    Found,
    /// One block more was read; this many were written.
    Copied(u16),
    /// The copy is whole and not sealed.
    Shut,
    Sealed,
    /// It stands among the others.
    Adopted,
    /// It is in the catalog.
    Replaced,
    /// One of the old ones is gone.
    Removed,
}

/// A segment that was written anew.
#[derive(Debug)]
pub struct Rewritten {
    pub id: SegmentId,
    /// Bytes on the disk.
    pub from: u64,
    pub to: u64,
}

/// What is called between the steps: it pauses, or says to give up.
pub type Pause<'a> = &'a mut dyn FnMut(Step) -> Result<(), Stopped>;

/// Carries out a plan. Once the copy is [`Step::Replaced`] it is not given up any more.
pub fn rewrite(shared: &Shared, plan: &Plan, pause: Pause<'_>) -> Result<Rewritten, Stopped> {
    if !shared.has_room_for_copy(plan.after)? {
        return Err(Stopped::NoRoom);
    }
    let root = &shared.config.dir;
    let first = plan.sources[0].id;
    let mut id = SegmentId { generation: first.generation + 1, ..first };
    while root.join(id.to_string()).try_exists()? {
        id.generation += 1; // one that could not be removed
    }
    dir::prepare(root)?; // somebody may have tidied up
    let name = id.to_string();
    let made = make(shared, plan, id, pause).and_then(|copy| {
        dir::adopt(root, &name)?;
        pause(Step::Adopted)?;
        let to = copy.disk_bytes;
        if shared.replace(&plan.sources, copy) { Ok(to) } else { Err(Stopped::Wanted) }
    });
    let to = match made {
        Ok(to) => to,
        Err(stopped) => {
            let unfinished = root.join(dir::TMP).join(&name);
            if let Err(error) = dir::discard(root, &unfinished) {
                tracing::warn!("cannot remove {}: {error}", unfinished.display());
            }
            dir::discard(root, &root.join(&name)).map_err(Stopped::Stays)?;
            lock(&shared.catalog).set_aside(0);
            return Err(stopped);
        }
    };
    // Nothing stops it now: what a pause says is for what comes next.
    let _ = pause(Step::Replaced);
    for old in plan.ids() {
        if let Err(error) = dir::discard(root, &root.join(old.to_string())) {
            tracing::warn!("cannot remove {old}, which {id} stands for: {error}");
        }
        let _ = pause(Step::Removed);
    }
    lock(&shared.catalog).set_aside(0);
    Ok(Rewritten { id, from: plan.before, to })
}

/// Remembers, for good, that a single segment would not get smaller. A run of several is not
/// remembered: its neighbours change.
pub fn settle(shared: &Shared, plan: &Plan) {
    let [only] = &plan.sources[..] else { return };
    let Some(seal) = lock(&shared.catalog).mark_repacked(only.id) else { return };
    if let Err(error) = seal.write(&shared.config.dir.join(only.id.to_string())) {
        tracing::warn!("cannot mark {} as repacked: {error}", only.id);
    }
}

/// Makes the copy under `tmp/`. On `Ok` it is whole, sealed and synced.
fn make(shared: &Shared, plan: &Plan, id: SegmentId, pause: Pause<'_>) -> Result<Entry, Stopped> {
    let tmp = shared.config.dir.join(dir::TMP);
    let path = tmp.join(id.to_string());
    let live = LiveSegment::create(&tmp, id, &*shared.stores)?;
    let mut copy = Copy {
        shared,
        plan,
        live,
        path: &path,
        encoder: Encoder::new()?,
        draft: Draft::default(),
        epoch: Epoch(0),
        next: id.first,
        raw: 0,
    };
    copy.measure()?;
    pause(Step::Begun)?;
    for source in &plan.sources {
        copy.add(source, pause)?;
    }
    copy.write_block()?;
    let live = copy.live;
    let (true, Some(seal)) = (live.is_whole()?, live.seal()) else {
        return Err(io::Error::other("sled moved a value out of its file").into());
    };
    drop(live);
    pause(Step::Shut)?;
    File::open(path.join(DATA_FILE))?.sync_all()?;
    let sources = &plan.sources;
    let end = sources.last().and_then(|last| last.end).unwrap_or(id.first);
    if !is_whole(&Scanned::open(&path.join(DATA_FILE))?, id.first, end) {
        return Err(io::Error::other("the copy does not read back as it was written").into());
    }
    let disk_bytes = dir::disk_bytes(&path)?;
    lock(&shared.catalog).set_aside(disk_bytes);
    if !plan::gains(plan.before, disk_bytes) {
        return Err(Stopped::Larger(percent(disk_bytes, plan.raw)));
    }
    // The oldest reception is finer in the old seals when they come from the commits themselves.
    let oldest = sources.iter().filter_map(|source| source.seal).map(|seal| seal.oldest).min();
    let seal = Seal { repacked: true, oldest: oldest.unwrap_or(seal.oldest), ..seal };
    seal.write(&path)?;
    dir::sync(&path)?;
    dir::sync(&tmp)?;
    pause(Step::Sealed)?;
    Ok(Entry::closed(id, seal.end, Some(seal), disk_bytes))
}

/// Parts a raw byte, in hundredths, of a segment that takes so much on the disk.
fn percent(disk_bytes: u64, raw: u64) -> u64 {
    (disk_bytes.saturating_sub(plan::EMPTY).saturating_mul(100)).div_ceil(raw.max(1))
}

/// Whether the blocks lead from `first` to `end` without a gap.
fn is_whole(scanned: &Scanned, first: Sequence, end: Sequence) -> bool {
    let mut at = first;
    scanned
        .blocks
        .iter()
        .all(|block| std::mem::replace(&mut at, block.header.end()) == block.header.first)
        && at == end
}

/// The copy while it is written.
struct Copy<'a> {
    shared: &'a Shared,
    plan: &'a Plan,
    path: &'a Path,
    live: LiveSegment,
    encoder: Encoder,
    /// The block that is gathered: records of `epoch` up to `next`.
    draft: Draft,
    epoch: Epoch,
    next: Sequence,
    /// Raw bytes written so far.
    raw: u64,
}

impl Copy<'_> {
    /// Adds all records of a source.
    fn add(&mut self, source: &Entry, pause: Pause<'_>) -> Result<(), Stopped> {
        let path = self.shared.config.dir.join(source.id.to_string()).join(DATA_FILE);
        let scanned = Scanned::open(&path).map_err(|error| self.gone(source, error))?;
        pause(Step::Found)?;
        let end = source.end.unwrap_or(source.id.first);
        for found in &scanned.blocks {
            let header = found.header;
            if header.first < self.next || header.end() > end {
                continue; // what was made again in the next segment
            }
            if header.first != self.next {
                return Err(Stopped::Damaged);
            }
            let block = scanned.read(found).map_err(|error| self.gone(source, error))?;
            self.add_block(&block)?;
            self.check()?;
            pause(Step::Copied(self.live.seal().map_or(0, |seal| seal.blocks)))?;
        }
        if self.next == end { Ok(()) } else { Err(Stopped::Damaged) }
    }

    /// What it means that a source cannot be read.
    fn gone(&self, source: &Entry, error: io::Error) -> Stopped {
        let here = lock(&self.shared.catalog).has(source.id);
        match error.kind() {
            io::ErrorKind::NotFound if !here => Stopped::Wanted,
            io::ErrorKind::NotFound | io::ErrorKind::InvalidData => Stopped::Damaged,
            _ => Stopped::Io(error),
        }
    }

    fn add_block(&mut self, block: &Block) -> Result<(), Stopped> {
        if block.epoch() != self.epoch {
            self.write_block()?;
            self.epoch = block.epoch();
        }
        for record in block.records() {
            let headers = record.headers.iter().map(|(name, value)| name.len() + value.len());
            let fixed = record.value.len() + record.key.map_or(0, <[u8]>::len);
            let size = fixed + headers.sum::<usize>();
            if self.draft.is_full() || self.draft.raw_len() + size > BLOCK {
                self.write_block()?;
            }
            self.draft.copy(block, record.sequence);
            self.next = record.sequence.plus(1);
        }
        Ok(())
    }

    /// Writes what is gathered, if anything, as one block, and syncs it.
    fn write_block(&mut self) -> Result<(), Stopped> {
        let Some(oldest) = self.draft.oldest() else { return Ok(()) };
        let first = Sequence(self.next.0 - u64::from(self.draft.count()));
        let bytes = self.encoder.encode(self.epoch, first, &mut self.draft)?;
        if !self.live.has_room(bytes.len(), self.shared.config.segment_bytes) {
            return Err(Stopped::Larger(percent(self.measure()?, self.raw)));
        }
        let committed = self.live.commit(bytes, oldest)?;
        self.live.publish(committed);
        let stats = &self.shared.stats;
        stats.syncs.fetch_add(1, Relaxed);
        stats.bytes_written.fetch_add(bytes.len() as u64, Relaxed);
        self.raw += self.draft.raw_len() as u64;
        self.draft.clear();
        let written = self.measure()?;
        let percent = percent(written, self.raw);
        let projected = plan::EMPTY.saturating_add(self.plan.raw.saturating_mul(percent) / 100);
        let gains = plan::gains(self.plan.before, projected);
        if gains { Ok(()) } else { Err(Stopped::Larger(percent)) }
    }

    /// Whether it is still worth it and there is still room.
    fn check(&self) -> Result<(), Stopped> {
        let sources = &self.plan.sources;
        let end = sources.last().and_then(|last| last.end).unwrap_or(self.next);
        if !lock(&self.shared.books).are_untouched(self.live.id.first, end) {
            return Err(Stopped::Wanted);
        }
        if self.shared.has_room_for_copy(0)? { Ok(()) } else { Err(Stopped::NoRoom) }
    }

    /// Counts the copy among what the spool takes on the disk.
    fn measure(&self) -> io::Result<u64> {
        let bytes = dir::disk_bytes(self.path)?;
        lock(&self.shared.catalog).set_aside(bytes);
        Ok(bytes)
    }
}
