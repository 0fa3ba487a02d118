//! Finding blocks in a segment's bytes, without sled and without writing anything.
//!
//! A segment that is not being written is read here: sealed by rotation, or left over by a
//! crash. Each part is looked for by its magic and believed by its checksum; behind an intact
//! part the search goes on at its end, so that nothing a payload holds is mistaken for a part.
//! Parts are put together to blocks; a block that lacks one is not there.
//!
//! A page that a medium cannot read may cost it half a minute, and a dead region has many: a search
//! has a limit of time, and the next one goes on behind what is known to be unreadable.
//!
//! What it deliberately does not know: which blocks ought to be there.

use super::block::{self, Block};
use super::part;
use super::store::MAX_PARTS;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How much is read at once.
const CHUNK: usize = 256 * 1024;
/// What is believed to be a segment's: some times what one takes. A file beyond that is not of
/// this program's making, and must cost neither memory nor hours.
const MOST_PARTS: usize = 16 * MAX_PARTS;
const MOST_BYTES: u64 = 4 * (MAX_PARTS * part::MAX_LEN) as u64;

/// How long a search goes on among pages that cannot be read. What waits for it is thought to hang
/// after some times as long.
pub const LIMIT: Duration = Duration::from_secs(4);

/// Pages of one file that could not be read, by the offset of each. A search that is given them does
/// not ask for them again.
#[derive(Debug, Default)]
pub struct BadPages(BTreeSet<u64>);

/// An intact part and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundPart {
    pub header: part::Header,
    /// Bytes from the start of the file.
    pub offset: u64,
    /// Bytes of the whole part.
    pub len: usize,
    /// The block's header, which the first part begins with.
    block: Option<block::Header>,
}

/// A block all of whose parts are intact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundBlock {
    pub header: block::Header,
    /// Its parts in order, as (offset, length).
    parts: Vec<(u64, usize)>,
}

/// All intact parts of a stream of bytes, in the order in which they stand.
pub fn parts(input: &mut impl Read) -> io::Result<Vec<FoundPart>> {
    parts_by(CHUNK, input)
}

/// [`parts`], reading so much at once.
pub(super) fn parts_by(chunk: usize, input: &mut impl Read) -> io::Result<Vec<FoundPart>> {
    let magic = memchr::memmem::Finder::new(&part::MAGIC);
    let mut found = Vec::new();
    let mut window = Vec::with_capacity(chunk + part::MAX_LEN);
    let mut offset = 0_u64; // of the window's first byte
    loop {
        let read = input.by_ref().take(chunk as u64).read_to_end(&mut window)?;
        let at_end = read == 0;
        let mut at = 0;
        while let Some(hit) = magic.find(&window[at..]) {
            at += hit;
            if window.len() - at < part::MAX_LEN && !at_end {
                break; // the part may go on behind the window
            }
            if let Some((header, payload)) = part::decode(&window[at..]) {
                let len = part::HEADER_LEN + payload.len();
                let block = if header.k == 0 { block::read_header(payload).ok() } else { None };
                found.push(FoundPart { header, offset: offset + at as u64, len, block });
                at += len;
            } else {
                at += 1;
            }
        }
        let beyond = offset > MOST_BYTES || found.len() > MOST_PARTS;
        if beyond {
            tracing::error!("a file is larger than a segment can be: its end is not looked at");
        }
        if at_end || beyond {
            return Ok(found);
        }
        // What cannot begin a part any more is let go; a magic may stand across the edge.
        let unsearched = window.len().saturating_sub(part::MAGIC.len() - 1);
        let keep_from = if magic.find(&window[at..]).is_some() { at } else { unsearched.max(at) };
        window.drain(..keep_from);
        offset += keep_from as u64;
    }
}

/// The whole blocks among `parts`, by first sequence. Of two that claim one sequence one counts: that
/// of the lower epoch, then of fewer parts, then the one that stands first in the file.
pub fn blocks(mut parts: Vec<FoundPart>) -> Vec<FoundBlock> {
    parts.sort_by_key(|p| (p.header.first, p.header.epoch.0, p.header.n, p.header.k, p.offset));
    parts.dedup_by_key(|p| p.header);
    let same_block = |a: &FoundPart, b: &FoundPart| {
        (a.header.first, a.header.epoch, a.header.n) == (b.header.first, b.header.epoch, b.header.n)
    };
    let mut whole: Vec<FoundBlock> = Vec::new();
    for group in parts.chunk_by(same_block) {
        let Some(header) = group[0].block else { continue };
        let told = (group[0].header.first, group[0].header.epoch) == (header.first, header.epoch);
        let free = whole.last().is_none_or(|last| last.header.end() <= header.first);
        let len: usize = group.iter().map(|p| p.len - part::HEADER_LEN).sum();
        if told && free && len <= block::MAX_LEN && group.len() == usize::from(group[0].header.n) {
            let parts = group.iter().map(|p| (p.offset, p.len)).collect();
            whole.push(FoundBlock { header, parts });
        }
    }
    whole
}

/// A segment's file open for reading, and the blocks found in it.
#[derive(Debug)]
pub struct Scanned {
    file: File,
    pub blocks: Vec<FoundBlock>,
    unreadable: AtomicBool,
}

impl Scanned {
    /// Opens `path` read-only and finds its blocks. `NotFound` also when it is not a file.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::of(open_file(path)?)
    }

    /// The same file as it is now.
    pub fn again(self) -> io::Result<Self> {
        Self::of(self.file)
    }

    /// Finds the blocks of an open file.
    pub fn of(file: File) -> io::Result<Self> {
        Self::of_within(Duration::MAX, file, &mut BadPages::default())
    }

    /// [`Scanned::open`], within so much time, if pages cannot be read. `TimedOut` says that it was
    /// not enough: what is `bad` has come to light, and the next search goes on from there.
    pub fn open_within(limit: Duration, path: &Path, bad: &mut BadPages) -> io::Result<Self> {
        Self::of_within(limit, open_file(path)?, bad)
    }

    fn of_within(limit: Duration, file: File, bad: &mut BadPages) -> io::Result<Self> {
        let len = file.metadata()?.len();
        let read_at = |buffer: &mut [u8], offset| file.read_at(buffer, offset);
        let mut bearing = Bearing::new(limit, bad, len, read_at);
        let blocks = blocks(parts(&mut bearing)?);
        let unreadable = bearing.unreadable.into();
        Ok(Self { file, blocks, unreadable })
    }

    /// Reads one of the found blocks. `InvalidData` when it has changed since it was found, or
    /// cannot be read any more.
    pub fn read(&self, found: &FoundBlock) -> io::Result<Block> {
        let changed = || io::Error::new(io::ErrorKind::InvalidData, "a block changed on the disk");
        let mut bytes = Vec::new();
        let mut buffer = Vec::new();
        for (offset, len) in &found.parts {
            buffer.resize(*len, 0);
            self.file.read_exact_at(&mut buffer, *offset).map_err(|error| {
                if is_bad_sector(&error) {
                    self.unreadable.store(true, Relaxed);
                }
                let gone = is_bad_sector(&error) || error.kind() == io::ErrorKind::UnexpectedEof;
                if gone { changed() } else { error }
            })?;
            let (_, payload) = part::decode(&buffer).ok_or_else(changed)?;
            bytes.extend_from_slice(payload);
        }
        Block::decode(&bytes).map_err(|_| changed())
    }

    /// Whether some of it could not be read: what was not found may be there all the same.
    pub fn is_unreadable(&self) -> bool {
        self.unreadable.load(Relaxed)
    }
}

/// Opens a file for reading. What is none (a directory, a pipe, whose opening would wait for
/// ever, a link in a circle) is not found.
pub fn open_file(path: &Path) -> io::Result<File> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => File::open(path),
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            Err(error)
        }
        _ => Err(io::Error::new(io::ErrorKind::NotFound, "that is not a file")),
    }
}

/// The smallest piece that is stepped over.
const PAGE: u64 = 4096;

/// Reads a file past its unreadable pages, which come out as zeros: what stands around them is
/// intact all the same.
struct Bearing<'a, F> {
    read_at: F,
    offset: u64,
    len: u64,
    bad: &'a mut BadPages,
    /// A page was stepped over.
    unreadable: bool,
    begun: Instant,
    limit: Duration,
}

impl<'a, F> Bearing<'a, F> {
    fn new(limit: Duration, bad: &'a mut BadPages, len: u64, read_at: F) -> Self {
        Self { read_at, offset: 0, len, bad, unreadable: false, begun: Instant::now(), limit }
    }
}

impl<F: Fn(&mut [u8], u64) -> io::Result<usize>> Read for Bearing<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let page = self.offset - self.offset % PAGE;
        let after_bad = page.checked_sub(PAGE).is_some_and(|last| self.bad.0.contains(&last));
        let known = self.bad.0.contains(&page);
        // As far as nothing is known to be bad; behind a bad page the next one may be bad, too.
        let next_bad = self.bad.0.range(self.offset..).next().copied().unwrap_or(self.len);
        let end = if known || after_bad { page + PAGE } else { next_bad }.min(self.len);
        let want = usize::try_from(end.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let room = want.min(buffer.len());
        let mut piece = &mut buffer[..room];
        let mut read = if known { Ok(0) } else { (self.read_at)(piece, self.offset) };
        if !after_bad && read.as_ref().is_err_and(is_bad_sector) {
            let to_edge = usize::try_from(page + PAGE - self.offset).unwrap_or(usize::MAX);
            piece = &mut piece[..to_edge.min(room)];
            read = (self.read_at)(piece, self.offset);
        }
        let is_new = read.as_ref().is_err_and(is_bad_sector);
        if is_new {
            tracing::error!("the page at byte {page} of a segment cannot be read");
            self.bad.0.insert(page);
            if self.begun.elapsed() >= self.limit {
                let text =
                    "many of its pages cannot be read, and the search for the others goes on";
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
        }
        if known || is_new {
            piece.fill(0);
            self.unreadable = true;
            read = Ok(piece.len());
        }
        let read = read?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// Whether the medium could not read it (`EIO`).
pub fn is_bad_sector(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Epoch, Sequence};
    use proptest::prelude::*;

    fn part_bytes(first: u64, k: u16, n: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let header = part::Header { epoch: Epoch(3), first: Sequence(first), k, n };
        part::encode(&header, payload, &mut out);
        out
    }

    proptest! {
        #[test]
        fn parts_are_found_wherever_they_stand(
            pieces in prop::collection::vec((0_usize..40_000, 1_usize..part::MAX_PAYLOAD, any::<u8>()), 1..40)
        ) {
            let mut file = Vec::new();
            let mut want = Vec::new();
            for (i, (gap, len, fill)) in pieces.into_iter().enumerate() {
                // The gap is full of half magics, the worst case for the search.
                file.extend(part::MAGIC[..3].iter().cycle().take(gap));
                want.push((file.len() as u64, i as u64));
                file.extend(part_bytes(i as u64, 0, 1, &vec![fill; len]));
            }
            let found = parts(&mut &file[..]).unwrap();
            let got: Vec<_> = found.iter().map(|f| (f.offset, f.header.first.0)).collect();
            prop_assert_eq!(got, want);
        }
    }

    #[test]
    fn a_part_inside_another_parts_payload_is_not_found() {
        let inner = part_bytes(7, 0, 1, b"forged");
        let outer = part_bytes(1, 0, 1, &[b"x", &inner[..], b"y"].concat());
        let found = parts(&mut &outer[..]).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].header.first, Sequence(1));
    }

    #[test]
    fn a_page_that_cannot_be_read_costs_what_stands_in_it_and_no_more() {
        let mut file = Vec::new();
        for first in 0..3 {
            file.extend(part_bytes(first, 0, 1, &[7; 10_000]));
        }
        let bad = 13_000..14_000_u64; // its page lies within the second part
        let read_at = |buffer: &mut [u8], offset: u64| {
            let end = offset + buffer.len() as u64;
            if offset < bad.end && end > bad.start {
                return Err(io::Error::from(rustix::io::Errno::IO));
            }
            (&file[usize::try_from(offset).unwrap()..]).read(buffer)
        };
        let len = file.len() as u64;
        let mut bad = BadPages::default();
        let mut bearing = Bearing::new(Duration::MAX, &mut bad, len, read_at);
        let found = parts(&mut bearing).unwrap();
        let firsts: Vec<_> = found.iter().map(|found| found.header.first.0).collect();
        assert_eq!(firsts, [0, 2]);
        assert!(bearing.unreadable);
    }

    /// Fails without the limit, and when pages that are known to be bad are asked for again: the
    /// search would be one long piece of work, or begin anew for ever.
    #[test]
    fn a_region_that_cannot_be_read_is_passed_bit_by_bit() {
        let file: Vec<_> = (0..30).flat_map(|n| part_bytes(n, 0, 1, &[7; 10_000])).collect();
        let bad = 3 * PAGE..49 * PAGE;
        let len = file.len() as u64;
        let mut known = BadPages::default();
        let mut searches = 0;
        let found = loop {
            let read_at = |buffer: &mut [u8], offset: u64| {
                if bad.contains(&offset) {
                    return Err(io::Error::from(rustix::io::Errno::IO));
                }
                // As the kernel does: up to what cannot be read.
                let until = if offset < bad.start { bad.start } else { len };
                let [offset, until] = [offset, until].map(|at| usize::try_from(at).unwrap());
                (&file[offset..until]).read(buffer)
            };
            searches += 1;
            assert!(searches < 99, "it does not go on");
            match parts(&mut Bearing::new(Duration::ZERO, &mut known, len, read_at)) {
                Ok(found) => break found,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::TimedOut),
            }
        };
        let firsts: Vec<_> = found.iter().map(|found| found.header.first.0).collect();
        assert_eq!(firsts, [vec![0], (21..30).collect()].concat());
        assert_eq!(searches, 46 + 1, "one page each");
    }

    #[test]
    fn a_block_that_lacks_a_part_is_not_there() {
        let head = [
            &b"WSBK\x01\x00\0\0"[..],
            &3_u64.to_le_bytes(),
            &1_u64.to_le_bytes(),
            &2_u32.to_le_bytes(),
            &10_u32.to_le_bytes(),
            &10_u32.to_le_bytes(),
            &[0; 8],
        ]
        .concat();
        let all: Vec<_> = (0..3).map(|k| part_bytes(1, k, 3, &head)).collect();
        for missing in 0..3 {
            let some: Vec<u8> =
                (0..3).filter(|k| *k != missing).flat_map(|k| all[k].clone()).collect();
            assert!(blocks(parts(&mut &some[..]).unwrap()).is_empty());
        }
        let twice = [all.concat(), all.concat()].concat();
        assert_eq!(blocks(parts(&mut &twice[..]).unwrap()).len(), 1);
    }

    /// Guard: the check against `MOST_PARTS`.
    #[test]
    fn a_file_with_more_parts_than_a_segment_can_have_does_not_cost_memory_for_each() {
        let one = part_bytes(1, 0, 1, b"");
        let mut endless = io::repeat(0).take(1 << 30);
        let many = one.repeat(2 * MOST_PARTS);
        assert!(parts(&mut &many[..]).unwrap().len() < MOST_PARTS + CHUNK / part::HEADER_LEN);
        let before = endless.limit();
        assert!(parts(&mut endless).unwrap().is_empty());
        let read = before - endless.limit();
        assert!(read < 2 * MOST_BYTES, "{read} bytes were looked at");
    }
}
