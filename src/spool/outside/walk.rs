//! The segments of a spool one after the other, open for reading.
//!
//! A segment that was opened stays readable whatever becomes of its name. One that is gone before
//! it was opened was freed, or merged into another one: the directory is looked at anew, and the
//! watermark with it.

use super::LookError;
use super::view::{self, Segment, View};
use crate::record::Sequence;
use crate::spool::block::Block;
use crate::spool::scan::{FoundBlock, Scanned};
use crate::spool::store::DATA_FILE;
use std::io;
use std::path::Path;

/// See the module.
#[derive(Debug)]
pub struct Walk {
    view: View,
    at: Sequence,
}

/// A segment, and the blocks that were found in it.
#[derive(Debug)]
pub struct Opened {
    pub segment: Segment,
    /// `None` when its data file is missing.
    scanned: Option<Scanned>,
}

impl Opened {
    /// The whole blocks that count, by sequence.
    pub fn blocks(&self) -> impl Iterator<Item = &FoundBlock> {
        let Segment { first, end, .. } = self.segment;
        let blocks = self.scanned.iter().flat_map(|scanned| &scanned.blocks);
        blocks.filter(move |found| found.header.first >= first && found.header.end() <= end)
    }

    /// Reads one of them; `None` when it does not hold what it says, or has changed.
    pub fn read(&self, found: &FoundBlock) -> Result<Option<Block>, LookError> {
        let Some(scanned) = &self.scanned else { return Ok(None) };
        match scanned.read(found) {
            Ok(block) => Ok(Some(block)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
            Err(source) => Err(LookError::Io { path: self.segment.name.clone().into(), source }),
        }
    }
}

impl Walk {
    /// Through what is in `dir`, from the oldest segment on, or from the watermark where nothing
    /// that old is there.
    pub fn new(dir: &Path) -> Result<Self, LookError> {
        let view = view::look(dir)?;
        let oldest = view.segments.first().map(|segment| segment.first);
        let at = oldest.map_or(view.watermark(), |oldest| oldest.min(view.watermark()));
        Ok(Self { view, at })
    }

    /// As it was seen last.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Passes over what lies below.
    pub fn skip_to(&mut self, at: Sequence) {
        self.at = self.at.max(at);
    }

    /// Where the next segment ought to begin.
    pub fn at(&self) -> Sequence {
        self.at
    }

    /// Looks at the directory anew.
    pub fn look_again(&mut self) -> Result<(), LookError> {
        self.view = view::look(&self.view.dir)?;
        Ok(())
    }

    /// The next segment; `None` behind the last one. The position moves behind it.
    pub fn next(&mut self) -> Result<Option<Opened>, LookError> {
        loop {
            let mut rest = self.view.segments.iter().filter(|segment| segment.counts());
            let Some(segment) = rest.find(|segment| segment.end > self.at).cloned() else {
                return Ok(None);
            };
            let limit = rest.next().map_or(Sequence(u64::MAX), |next| next.first);
            let path = self.view.path(&segment);
            let wrong = |source| LookError::Io { path: path.clone(), source };
            let opened = match Scanned::open(&path.join(DATA_FILE)) {
                Ok(scanned) if segment.is_sealed() => Opened { segment, scanned: Some(scanned) },
                Ok(scanned) => unsealed(segment, scanned, limit).map_err(wrong)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if !path.try_exists().map_err(wrong)? {
                        self.look_again()?;
                        continue;
                    }
                    Opened { segment, scanned: None }
                }
                Err(source) => return Err(wrong(source)),
            };
            self.at = opened.segment.end;
            return Ok(Some(opened));
        }
    }
}

/// A segment that may be growing, as far as it has come.
///
/// Blocks become durable in order, but while a file is written its bytes are not read at one
/// moment: a block may be seen and one before it not yet. So where one is missing the file is read
/// once more, up to the last block that was seen the first time, which proves those before it.
fn unsealed(mut segment: Segment, scanned: Scanned, limit: Sequence) -> io::Result<Opened> {
    let first = segment.first;
    let counts = |found: &FoundBlock| found.header.first >= first && found.header.end() <= limit;
    let end_of = |blocks: &[FoundBlock]| {
        let ends = blocks.iter().filter(|found| counts(found)).map(|found| found.header.end());
        ends.max().unwrap_or(first)
    };
    let mut whole = first;
    for found in scanned.blocks.iter().filter(|found| counts(found)) {
        if found.header.first == whole {
            whole = found.header.end();
        }
    }
    // Never less than was promised: what is not there any more is missing, and is passed over.
    segment.end = segment.end.max(end_of(&scanned.blocks));
    let scanned = if whole == segment.end { scanned } else { scanned.again()? };
    Ok(Opened { segment, scanned: Some(scanned) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Millis;
    use crate::spool::block::Encoder;
    use crate::spool::outside::State;
    use crate::spool::sample;
    use crate::spool::segment::{Seal, SegmentId};
    use std::os::unix::fs::FileExt as _;
    use std::path::PathBuf;

    fn block(first: u64, records: u64) -> Vec<u8> {
        sample::block(&mut Encoder::new().unwrap(), first, records)
    }

    /// A sealed segment of one block.
    fn sealed(dir: &Path, first: u64, end: u64, generation: u32) -> PathBuf {
        let id = SegmentId { first: Sequence(first), generation };
        let path = dir.join(id.to_string());
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join(DATA_FILE), block(first, end - first)).unwrap();
        let seal = Seal {
            first: Sequence(first),
            end: Sequence(end),
            records: end - first,
            raw_bytes: 1,
            oldest: Millis(1),
            damaged: false,
            repacked: generation > 0,
            blocks: 1,
        };
        seal.write(&path).unwrap();
        path
    }

    /// Holds that `Walk::next` looks at the directory anew when a segment is gone.
    #[test]
    fn segments_that_are_merged_while_they_are_read_are_read_once() {
        for read_before in 0..3 {
            let dir = tempfile::tempdir().unwrap();
            let old = [0, 10, 20].map(|first| sealed(dir.path(), first, first + 10, 0));
            let mut walk = Walk::new(dir.path()).unwrap();
            let mut read = Vec::new();
            for place in 0.. {
                if place == read_before {
                    sealed(dir.path(), 0, 30, 1);
                    for path in &old {
                        std::fs::remove_dir_all(path).unwrap();
                    }
                }
                let at = walk.at().0;
                let Some(opened) = walk.next().unwrap() else { break };
                let blocks = opened.blocks().map(|found| found.header);
                read.extend(blocks.flat_map(|header| header.first.0.max(at)..header.end().0));
            }
            let all: Vec<u64> = (0..30).collect();
            assert_eq!(read, all, "merged when {read_before} had been read");
        }
    }

    /// Holds that `unsealed` does not end before where the segment was seen to end.
    #[test]
    fn a_walk_ends_whatever_the_blocks_say() {
        let dir = tempfile::tempdir().unwrap();
        let torn = sealed(dir.path(), 0, 30, 0);
        std::fs::remove_file(torn.join("seal")).unwrap();
        sealed(dir.path(), 10, 20, 0);
        let mut walk = Walk::new(dir.path()).unwrap();
        let mut ends = Vec::new();
        while let Some(opened) = walk.next().unwrap() {
            ends.push(opened.segment.end.0);
            assert!(ends.len() <= 2, "{ends:?}");
        }
        assert_eq!(ends, [10, 20]);
    }

    fn seen(scanned: Scanned, limit: u64) -> (Vec<u64>, u64) {
        let segment = Segment {
            name: String::new(),
            state: State::Written,
            first: Sequence(0),
            end: Sequence(0),
            generation: 0,
            records: 0,
            raw_bytes: 0,
            disk_bytes: 0,
            oldest: None,
            seal: None,
            blocks: Vec::new(),
        };
        let opened = unsealed(segment, scanned, Sequence(limit)).unwrap();
        let firsts = opened.blocks().map(|found| found.header.first.0).collect();
        (firsts, opened.segment.end.0)
    }

    /// Holds the second scan in `unsealed`, and that it goes no further than the first one saw.
    #[test]
    fn a_block_that_is_written_while_the_file_is_read_is_not_missed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let put = |first: u64| file.as_file().write_all_at(&block(first, 10), first * 100).unwrap();
        put(0);
        put(20);
        let scanned = Scanned::open(file.path()).unwrap();
        put(10);
        put(30);
        put(50);
        assert_eq!(seen(scanned, u64::MAX), (vec![0, 10, 20], 30));
        let scanned = Scanned::open(file.path()).unwrap();
        assert_eq!(seen(scanned, u64::MAX), (vec![0, 10, 20, 30, 50], 60), "40 is missing");
        let scanned = Scanned::open(file.path()).unwrap();
        assert_eq!(seen(scanned, 30), (vec![0, 10, 20], 30), "another segment begins there");
    }
}
