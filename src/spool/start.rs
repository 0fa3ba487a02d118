//! The start: what a stop of any kind left on the disk becomes a spool again, without a hand.
//!
//! In order: finish removals that a crash interrupted, and drop copies that it interrupted; read
//! the progress; of segments that tell of the same sequences keep the one that counts
//! (`generations.rs`); take the sealed ones at their seals' word; scan every other one, sync what is intact in it (after
//! `kill -9` it may be in the page cache only) and seal it where it stands; list as lost what
//! ought to be there and is not. Nothing is copied, so that a start needs no room on the disk.
//!
//! What ought to be there: everything from the watermark up to the next segment's beginning, and
//! in the last one up to the acknowledged-through mark or the last intact block. An incomplete
//! block behind that is torn: it was never acknowledged, and its sequences are assigned anew,
//! under another epoch.
//!
//! It deliberately does not verify sealed segments: the reader does, when it comes to them.

use super::catalog::Entry;
use super::claims::Claims;
use super::dir;
use super::generations;
use super::progress::{Progress, ProgressFile, Range, Removal};
use super::scan::Scanned;
use super::segment::{Seal, SegmentId};
use super::shared::Books;
use super::store::DATA_FILE;
use super::{LastStop, OpenError};
use crate::record::{Millis, Sequence};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// What the start found.
#[derive(Debug)]
pub struct Found {
    pub books: Books,
    pub entries: Vec<Entry>,
    /// The next sequence to be assigned.
    pub next: Sequence,
    /// Found missing just now: first, end.
    pub lost: Vec<(Sequence, Sequence)>,
    pub last_stop: LastStop,
}

/// Makes a spool of what is in `dir`, under its lock.
pub fn start(dir: &Path) -> Result<Found, OpenError> {
    let wrong =
        |doing: &'static str| move |source| OpenError::Io { doing, path: dir.to_owned(), source };
    dir::prepare(dir).map_err(wrong("create a directory in"))?;
    dir::empty_trash(dir).map_err(wrong("empty the trash in"))?;
    dir::empty_tmp(dir).map_err(wrong("remove what was not finished in"))?;
    let path = dir.join(dir::PROGRESS);
    let opened = ProgressFile::open(&path);
    let (file, progress) =
        opened.map_err(|source| OpenError::Io { doing: "read or create", path, source })?;
    let found = list(dir).map_err(wrong("list"))?;

    let boot_id = boot_id();
    let trusted = progress.is_some();
    if !trusted && !found.is_empty() {
        tracing::error!(
            "the progress of {} is lost: all of its records are sent again, and what became of \
             earlier ones is not known any more",
            dir.display()
        );
    }
    let last_stop = match &progress {
        None if found.is_empty() => LastStop::First,
        Some(progress) if progress.clean => LastStop::Clean,
        Some(progress) if progress.boot_id != boot_id => LastStop::Power,
        _ => LastStop::Crash,
    };
    // Without a progress file nothing is known to be delivered: all that is there goes out.
    let lowest = found.first().map_or(Sequence(0), |id| id.first);
    let mut progress = progress.unwrap_or_else(|| Progress::new(random_id(), lowest));
    let watermark = progress.past_removed(progress.watermark());
    progress.advance(watermark);

    let (entries, missing) = (Vec::new(), Vec::new());
    let mut survey = Survey { dir, progress: &progress, trusted, entries, missing };
    let mut at = watermark;
    let ids = survey.counting(&found).map_err(wrong("tell the generations apart in"))?;
    for (place, id) in ids.iter().enumerate() {
        let next = ids[place + 1..].iter().map(|id| id.first).find(|first| *first > id.first);
        let seen = survey.take(*id, next, progress.acknowledged, at);
        at = seen.map_err(|source| {
            let path = dir.join(id.to_string());
            OpenError::Io { doing: "make a segment of what is in", path, source }
        })?;
    }
    if at < progress.acknowledged {
        survey.missing.push((at, progress.acknowledged));
        at = progress.acknowledged;
    }
    let Survey { entries, missing, .. } = survey;
    let mut lost = Vec::new();
    for (first, end) in missing {
        let new = progress
            .remove(Range { kind: Removal::Lost, first, end })
            .map_err(|error| wrong("write down the losses in")(io::Error::other(error)))?;
        lost.extend(new.iter().map(|range| (range.first, range.end)));
    }
    let past = progress.past_removed(progress.watermark());
    progress.advance(past);
    progress.boot_id = boot_id;
    progress.clean = false;
    progress.acknowledged = at;
    let claims = Claims::new(progress.watermark());
    let mut books = Books { file, progress, claims };
    // Both slots, since they also say which format what comes next is written in.
    books.file.write_both(&books.progress).map_err(wrong("write the progress in"))?;
    dir::sync(dir).map_err(wrong("sync"))?;
    Ok(Found { books, entries, next: at, lost, last_stop })
}

/// The segments' names, in order.
fn list(dir: &Path) -> io::Result<Vec<SegmentId>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(dir)? {
        ids.extend(entry?.file_name().to_str().and_then(SegmentId::parse));
    }
    ids.sort_unstable();
    Ok(ids)
}

struct Survey<'a> {
    dir: &'a Path,
    /// As it was found, at a watermark that is past what was removed there.
    progress: &'a Progress,
    /// The marks are known; without them nothing that ever held a part is thrown away.
    trusted: bool,
    entries: Vec<Entry>,
    /// Ought to be there and is not.
    missing: Vec<(Sequence, Sequence)>,
}

impl Survey<'_> {
    /// Takes one segment into the catalog, or out of the way. `at` is where the segments before
    /// it end; gives where this one does.
    fn take(
        &mut self,
        id: SegmentId,
        next: Option<Sequence>,
        acknowledged: Sequence,
        at: Sequence,
    ) -> io::Result<Sequence> {
        let path = self.dir.join(id.to_string());
        let mut seal = match Seal::read(&path)? {
            Some(seal) => seal,
            None => match self.left_over(&path, id, at, next, acknowledged)? {
                Some(seal) if seal.records > 0 => {
                    // After `kill -9` the data may be in the page cache only.
                    File::open(path.join(DATA_FILE))?.sync_all()?;
                    seal.write(&path)?;
                    seal
                }
                Some(ruined) => ruined,
                None if self.trusted => {
                    dir::discard(self.dir, &path)?;
                    return Ok(at);
                }
                None => {
                    dir::quarantine(self.dir, &path)?;
                    return Ok(at);
                }
            },
        };
        seal.end = next.map_or(seal.end, |next| seal.end.min(next));
        if at < id.first {
            self.missing.push((at, id.first));
        }
        if seal.end <= self.waiting(id.first) || seal.records == 0 {
            if seal.damaged {
                dir::quarantine(self.dir, &path)?;
            } else {
                dir::discard(self.dir, &path)?;
            }
        } else {
            self.entries.push(Entry::sealed(id, seal, dir::disk_bytes(&path)?));
        }
        Ok(at.max(seal.end))
    }

    /// What a segment holds that was being written when the process ended; `None` when nothing
    /// in it was ever acknowledged. It ought to hold everything from `at` up to the `next` one's
    /// beginning, or when it is the last one up to the acknowledged-through mark.
    fn left_over(
        &mut self,
        path: &Path,
        id: SegmentId,
        at: Sequence,
        next: Option<Sequence>,
        acknowledged: Sequence,
    ) -> io::Result<Option<Seal>> {
        let scanned = scan(path)?;
        let limit = next.unwrap_or(Sequence(u64::MAX));
        let begin = id.first.max(at);
        let blocks = scanned.iter().flat_map(|scanned| &scanned.blocks);
        let blocks = blocks.map(|found| found.header);
        let mut seal = Seal {
            first: id.first,
            end: begin,
            records: 0,
            raw_bytes: 0,
            oldest: Millis(i64::MAX),
            damaged: false,
            repacked: false,
            blocks: 0,
        };
        for block in blocks.filter(|block| block.first >= id.first && block.end() <= limit) {
            self.miss(&mut seal, block.first);
            seal.end = block.end();
            seal.records += seal.end.since(block.first);
            seal.raw_bytes += u64::from(block.raw_len);
            seal.blocks = seal.blocks.saturating_add(1);
            seal.oldest = seal.oldest.min(block.base);
        }
        self.miss(&mut seal, next.unwrap_or(acknowledged));
        Ok((begin < seal.end).then_some(seal))
    }

    /// Where from `from` on something ought to be there that is neither delivered nor removed.
    fn waiting(&self, from: Sequence) -> Sequence {
        self.progress.past_removed(from.max(self.progress.watermark()))
    }

    /// Extends the seal to `to` over what is not there.
    fn miss(&mut self, seal: &mut Seal, to: Sequence) {
        let from = self.waiting(seal.end);
        if from < to {
            seal.damaged = true;
            self.missing.push((from, to));
        }
        seal.end = seal.end.max(to);
    }

    /// The segments that count (see `generations.rs`), in order; takes the others out of the way.
    fn counting(&self, found: &[SegmentId]) -> io::Result<Vec<SegmentId>> {
        let path = |id: SegmentId| self.dir.join(id.to_string());
        let with_seal = |id: &SegmentId| Ok((*id, Seal::read(&path(*id))?));
        let seals: Vec<_> = found.iter().map(with_seal).collect::<io::Result<_>>()?;
        let superseded = generations::superseded(&seals, |id| self.has_blocks(id))?;
        for id in &superseded {
            let ruined = |(older, seal): &(SegmentId, Option<Seal>)| {
                older.first == id.first && older.generation < id.generation && seal.is_some()
            };
            // A copy whose seal is gone counts no more, and may be all that is left of some.
            if seals.iter().any(ruined)
                && !seals.iter().any(|(own, s)| own == id && s.is_some())
                && self.has_blocks(*id)?
            {
                dir::quarantine(self.dir, &path(*id))?;
            } else {
                dir::discard(self.dir, &path(*id))?;
            }
        }
        Ok(found.iter().filter(|id| !superseded.contains(id)).copied().collect())
    }

    fn has_blocks(&self, id: SegmentId) -> io::Result<bool> {
        let scanned = scan(&self.dir.join(id.to_string()))?;
        Ok(scanned.is_some_and(|scanned| !scanned.blocks.is_empty()))
    }
}

/// How often a segment of which pages cannot be read is scanned before it counts without them,
/// and how long after each other.
const SCANS: u32 = 10;
const BETWEEN_SCANS: Duration = Duration::from_millis(500);

/// The blocks of a segment's file; `None` when there is no such file.
fn scan(path: &Path) -> io::Result<Option<Scanned>> {
    let mut scans = 1;
    loop {
        match Scanned::open(&path.join(DATA_FILE)) {
            // A bus that is reset, or a stick that is put back, answers again.
            Ok(scanned) if scanned.is_unreadable() && scans < SCANS => thread::sleep(BETWEEN_SCANS),
            Ok(scanned) => return Ok(Some(scanned)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        scans += 1;
    }
}

/// The kernel's boot id, which tells a crash from a power cut; zeros where there is none.
fn boot_id() -> [u8; 16] {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let hex: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&hex, 16).unwrap_or(0).to_be_bytes()
}

/// A random 128-bit id.
fn random_id() -> [u8; 16] {
    let mut id = [0; 16];
    super::random(&mut id);
    id
}
