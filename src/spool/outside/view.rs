//! Which segments there are, which of them count, and how far the spool has come.
//!
//! Sealed segments are taken at their seals' word, all others are scanned. Which of them count is
//! what a start would say (`generations.rs`), and each ends where the next one that counts begins:
//! so what is just being merged or made again is not counted twice.

use super::LookError;
use crate::ledger::Ledger;
use crate::record::{Millis, Sequence};
use crate::spool::block::Header;
use crate::spool::dir;
use crate::spool::generations::{self, Known};
use crate::spool::progress::{self, Progress, Range};
use crate::spool::scan::Scanned;
use crate::spool::segment::{Seal, SegmentId};
use crate::spool::store::DATA_FILE;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How often the directory is looked at anew because something vanished meanwhile.
const LOOKS: usize = 10;

/// How a segment fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Closed; its seal says what it holds.
    Sealed,
    /// Closed, and known to lack records; they are listed as lost.
    Damaged,
    /// Not sealed, and a process has the spool open: it is being written, or about to be sealed.
    Written,
    /// Not sealed, and nobody has the spool open: the next start seals it.
    LeftOver,
    /// Another one with the same records counts instead.
    Superseded,
    /// Nothing intact was found in it.
    Empty,
}

/// One segment as it was seen.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Of its directory.
    pub name: String,
    pub state: State,
    pub first: Sequence,
    /// One past the last sequence, as far as this segment counts.
    pub end: Sequence,
    pub generation: u32,
    pub records: u64,
    /// Of the records, before compression.
    pub raw_bytes: u64,
    pub disk_bytes: u64,
    /// When the oldest record was received.
    pub oldest: Option<Millis>,
    pub(super) seal: Option<Seal>,
    /// Its intact blocks, unless it is sealed.
    pub(super) blocks: Vec<Header>,
}

impl Segment {
    /// Whether its records are the spool's.
    pub fn counts(&self) -> bool {
        !matches!(self.state, State::Superseded | State::Empty)
    }

    /// Whether it was written anew, of one segment or of several, or would not gain by it.
    pub fn is_repacked(&self) -> bool {
        self.seal.is_some_and(|seal| seal.repacked)
    }

    /// A sealed one of what `first` to `end` hold, for tests.
    #[cfg(test)]
    pub fn sealed(first: Sequence, end: Sequence, repacked: bool) -> Self {
        let records = end.since(first);
        let (raw_bytes, oldest) = (1, Millis(1));
        let seal =
            Seal { first, end, records, raw_bytes, oldest, damaged: false, repacked, blocks: 1 };
        Self {
            name: String::new(),
            state: State::Sealed,
            first,
            end,
            generation: 0,
            records,
            raw_bytes,
            disk_bytes: 1,
            oldest: Some(oldest),
            seal: Some(seal),
            blocks: Vec::new(),
        }
    }

    /// Whether it is closed for good.
    pub fn is_sealed(&self) -> bool {
        matches!(self.state, State::Sealed | State::Damaged)
    }
}

/// A spool's directory at one moment.
#[derive(Debug, Clone)]
pub struct View {
    pub dir: PathBuf,
    /// The process that has it open; an empty text when its pid is not known.
    pub in_use: Option<String>,
    /// By first sequence, then generation.
    pub segments: Vec<Segment>,
    /// Names under `quarantine/`, and the bytes that they take on the disk.
    pub quarantine: Vec<(String, u64)>,
    pub(super) progress: Option<Progress>,
    /// `dir` is a single segment's directory.
    pub(super) alone: bool,
}

impl View {
    /// 32 hex digits, where the progress is readable.
    pub fn spool_id(&self) -> Option<String> {
        let progress = self.progress.as_ref()?;
        Some(format!("{:032x}", u128::from_be_bytes(progress.spool_id)))
    }

    /// Kafka has everything below, as far as was written down; without a progress nothing is
    /// known to be delivered.
    pub fn watermark(&self) -> Sequence {
        let lowest = self.segments.first().map_or(Sequence(0), |segment| segment.first);
        self.progress
            .as_ref()
            .map_or(lowest, |progress| progress.past_removed(progress.watermark()))
    }

    /// Everything below was durable when the progress was written.
    pub fn acknowledged(&self) -> Option<Sequence> {
        self.progress.as_ref().map(|progress| progress.acknowledged)
    }

    /// The next sequence to be assigned, as far as can be seen.
    pub fn end(&self) -> Sequence {
        let ends = self.segments.iter().filter(|segment| segment.counts()).map(|s| s.end);
        ends.chain(self.acknowledged()).chain([self.watermark()]).max().unwrap_or_default()
    }

    /// The books as they would be after a stop now; `None` without a progress.
    pub fn ledger(&self) -> Option<Ledger> {
        self.progress.as_ref().map(|progress| progress.ledger(self.end()))
    }

    /// What left the spool above the watermark otherwise than by delivery: how, first, end.
    pub fn removed(&self) -> impl Iterator<Item = (&'static str, Sequence, Sequence)> {
        self.ranges().iter().map(|range| (range.kind.name(), range.first, range.end))
    }

    pub(super) fn ranges(&self) -> &[Range] {
        self.progress.as_ref().map_or(&[], Progress::ranges)
    }

    /// The path of one of its segments.
    pub(super) fn path(&self, segment: &Segment) -> PathBuf {
        if self.alone { self.dir.clone() } else { self.dir.join(&segment.name) }
    }

    /// The parts of a range of sequences from the watermark on that are not known to have left, and
    /// not in doubt.
    pub(super) fn expected(&self, first: Sequence, end: Sequence) -> Vec<(Sequence, Sequence)> {
        let promised = self.progress.as_ref().map_or(end, |progress| progress.promised(end));
        let end = promised.max(first);
        let mut at = first.max(self.watermark());
        let mut expected = Vec::new();
        for range in self.ranges().iter().skip_while(|range| range.end <= first) {
            if at < range.first.min(end) {
                expected.push((at, range.first.min(end)));
            }
            at = at.max(range.end);
        }
        if at < end {
            expected.push((at, end));
        }
        expected
    }
}

/// Looks at the spool in `dir`, or at the one segment whose directory it is.
pub fn look(dir: &Path) -> Result<View, LookError> {
    let wrong = |source: io::Error| LookError::Io { path: dir.to_owned(), source };
    let alone = dir.join(DATA_FILE).is_file();
    for tries_left in (0..LOOKS).rev() {
        // First: what it calls acknowledged was durable before the segments are looked at.
        let path = dir.join(dir::PROGRESS);
        let progress = progress::read(&path).map_err(|source| LookError::Io { path, source })?;
        let in_use = dir::held(dir).map_err(wrong)?;
        let paths = if alone { vec![dir.to_owned()] } else { list(dir)? };
        let mut seen = Vec::new();
        let mut vanished = false;
        for path in paths {
            let segment = see(&path, in_use.is_some());
            match segment.map_err(|source| LookError::Io { path, source })? {
                Some(segment) => seen.push(segment),
                None => vanished = true,
            }
        }
        if vanished && tries_left > 0 {
            continue;
        }
        let segments = judged(seen);
        let quarantine = quarantine(dir).map_err(wrong)?;
        if segments.is_empty() && quarantine.is_empty() && progress.is_none() {
            break;
        }
        return Ok(View { dir: dir.to_owned(), in_use, segments, quarantine, progress, alone });
    }
    Err(LookError::NoSpool(dir.to_owned()))
}

/// The directories of segments in `dir`.
fn list(dir: &Path) -> Result<Vec<PathBuf>, LookError> {
    let wrong = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            LookError::NoSpool(dir.to_owned())
        }
        _ => LookError::Io { path: dir.to_owned(), source },
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        // As the start has it: otherwise one stray file would hide the whole spool.
        if dir::segment(&entry).map_err(wrong)?.is_some() {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}

/// One segment by itself; `None` when it is gone.
fn see(path: &Path, in_use: bool) -> io::Result<Option<Segment>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let id = SegmentId::parse(&name);
    let seal = Seal::read(path)?;
    let blocks = match (seal, Scanned::open(&path.join(DATA_FILE))) {
        (Some(_), _) => Vec::new(),
        (None, Ok(scanned)) => scanned.blocks.iter().map(|found| found.header).collect(),
        (None, Err(error)) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        (None, Err(error)) => return Err(error),
    };
    let disk_bytes = dir::disk_bytes(path)?;
    if !path.try_exists()? {
        return Ok(None);
    }
    let first = id.map(|id| id.first).or(seal.map(|seal| seal.first));
    let first = first.or(blocks.first().map(|block| block.first)).unwrap_or_default();
    let mut segment = Segment {
        name,
        state: State::Empty,
        first,
        end: first,
        generation: id.map_or(0, |id| id.generation),
        records: 0,
        raw_bytes: 0,
        disk_bytes,
        oldest: None,
        seal,
        blocks: Vec::new(),
    };
    if let Some(seal) = seal {
        segment.state = if seal.damaged { State::Damaged } else { State::Sealed };
        (segment.end, segment.records) = (seal.end, seal.records);
        (segment.raw_bytes, segment.oldest) = (seal.raw_bytes, Some(seal.oldest));
    }
    segment.blocks = blocks.into_iter().filter(|block| block.first >= first).collect();
    for block in &segment.blocks {
        segment.state = if in_use { State::Written } else { State::LeftOver };
        segment.end = block.end();
        segment.records += u64::from(block.count);
        segment.raw_bytes += u64::from(block.raw_len);
        segment.oldest = Some(segment.oldest.map_or(block.base, |oldest| oldest.min(block.base)));
    }
    Ok(Some(segment))
}

/// In order, each with what it counts for beside the others.
fn judged(mut segments: Vec<Segment>) -> Vec<Segment> {
    segments.sort_by_key(|segment| (segment.first, segment.generation));
    let id = |segment: &Segment| SegmentId { first: segment.first, generation: segment.generation };
    let known = |segment: &Segment| {
        let seal = segment.seal.filter(|seal| seal.first == segment.first);
        (id(segment), Known::of(Ok(seal)))
    };
    let known: Vec<_> = segments.iter().map(known).collect();
    let judged = generations::judge(&known, |at| {
        let segment = segments.iter().find(|segment| id(segment) == at);
        Ok(segment.map(|segment| segment.blocks.clone()).unwrap_or_default())
    });
    let mut next: Option<Sequence> = None;
    for segment in segments.iter_mut().rev().filter(|segment| segment.counts()) {
        if !judged.counts(id(segment)) {
            segment.state = State::Superseded;
            continue;
        }
        if let Some(next) = next.filter(|_| !segment.is_repacked()) {
            segment.end = segment.end.min(next);
            segment.records = segment.records.min(segment.end.since(segment.first));
        }
        next = Some(segment.first);
    }
    segments
}

fn quarantine(dir: &Path) -> io::Result<Vec<(String, u64)>> {
    let entries = match fs::read_dir(dir.join(dir::QUARANTINE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        found.push((name, dir::disk_bytes(&entry.path())?));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(first: u64, end: u64, generation: u32, state: State) -> Segment {
        let sealed = Segment::sealed(Sequence(first), Sequence(end), generation > 0);
        let seal = sealed.seal.filter(|_| state == State::Sealed);
        Segment { state, generation, seal, ..sealed }
    }

    fn counted(segments: Vec<Segment>) -> Vec<(u64, u64, u32)> {
        let judged = judged(segments);
        let counting = judged.iter().filter(|segment| segment.counts());
        counting.map(|segment| (segment.first.0, segment.end.0, segment.generation)).collect()
    }

    /// Fails without the look at `generations::judge` in `judged`: generations count twice, and a copy ends
    /// within one of its blocks, where the next old one begins.
    #[test]
    fn no_sequence_is_counted_twice() {
        use State::{Empty, Sealed, Written};
        let merged = segment(0, 30, 1, Sealed);
        let old =
            [segment(0, 10, 0, Sealed), segment(10, 20, 0, Sealed), segment(20, 30, 0, Sealed)];
        let [first, second, third] = old;
        let next = segment(30, 40, 0, Written);
        let all = vec![next.clone(), third.clone(), second, first, merged.clone()];
        assert_eq!(counted(all), [(0, 30, 1), (30, 40, 0)]);
        assert_eq!(counted(vec![merged.clone(), third, next]), [(0, 30, 1), (30, 40, 0)]);
        assert_eq!(counted(vec![merged]), [(0, 30, 1)]);
        let begun_again = vec![segment(5, 9, 0, Written), segment(5, 5, 1, Empty)];
        assert_eq!(counted(begun_again), [(5, 9, 0)]);
        let failed = vec![segment(5, 12, 0, Written), segment(9, 20, 0, Written)];
        assert_eq!(counted(failed), [(5, 9, 0), (9, 20, 0)]);
    }
}
