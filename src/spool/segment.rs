//! The segment: a directory with one sled database of some hundred blocks, removed whole.
//!
//! # Layout
//!
//! `seg-<first sequence, 20 digits>-<generation, 4 digits>/` holds
//!
//! - `db`, `conf`, `blobs/`: sled's own (`store.rs`); the parts of the blocks stand in `db`;
//! - `seal`: [`SEAL_LEN`] bytes, zeros from the segment's creation on, so that sealing needs no
//!   room. Little-endian:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | magic `WSSL` |
//! | 4 | 1 | format version, 1 |
//! | 5 | 1 | flags: 1 the segment is damaged, 2 it was repacked, or would not gain by it |
//! | 6 | 2 | number of blocks; 0 when it is not known |
//! | 8 | 8 | first sequence |
//! | 16 | 8 | end: one past the last sequence |
//! | 24 | 8 | records that are intact |
//! | 32 | 8 | raw bytes of their blocks |
//! | 40 | 8 | reception of the oldest, ms since 1970, signed |
//! | 48 | 4 | CRC-32C of all before it |
//!
//! A segment ends where the next one begins: what it holds from there on (a commit that failed
//! and was made again in the next segment) is not read. Of several that tell of the same
//! sequences, generations of them, one counts: `generations.rs` says which.
//!
//! The invariant of a live segment: after any error of a write or a sync nothing more is
//! committed to it (`writer.rs` turns to a new one).

use super::block::{self, Block};
use super::mutex::lock;
use super::part;
use super::scan;
use super::store::{MAX_PARTS, Store, Stores};
use crate::record::{Epoch, Millis, Sequence};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;

/// Bytes of a seal.
pub const SEAL_LEN: usize = 52;
const SEAL_MAGIC: [u8; 4] = *b"WSSL";
const SEAL_VERSION: u8 = 1;
const DAMAGED: u8 = 1;
const REPACKED: u8 = 2;
const SEAL_FILE: &str = "seal";

/// What names a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId {
    pub first: Sequence,
    pub generation: u32,
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seg-{:020}-{:04}", self.first.0, self.generation)
    }
}

impl SegmentId {
    /// Reads a directory's name; `None` when it is not that of a segment.
    pub fn parse(name: &str) -> Option<Self> {
        let (first, generation) = name.strip_prefix("seg-")?.split_once('-')?;
        let id =
            Self { first: Sequence(first.parse().ok()?), generation: generation.parse().ok()? };
        (id.to_string() == name).then_some(id)
    }
}

/// What a closed segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    pub first: Sequence,
    /// One past the last sequence.
    pub end: Sequence,
    pub records: u64,
    /// Bytes of the blocks before compression.
    pub raw_bytes: u64,
    pub oldest: Millis,
    /// Parts that ought to be there are missing: kept for inspection when it is done with.
    pub damaged: bool,
    /// Rewriting it alone would gain nothing.
    pub repacked: bool,
    /// How many blocks it holds, if that is known.
    pub blocks: u16,
}

impl Seal {
    /// The seal's bytes.
    pub(super) fn encode(&self) -> [u8; SEAL_LEN] {
        let mut out = [0; SEAL_LEN];
        out[..4].copy_from_slice(&SEAL_MAGIC);
        out[4] = SEAL_VERSION;
        out[5] = if self.damaged { DAMAGED } else { 0 } | if self.repacked { REPACKED } else { 0 };
        out[6..8].copy_from_slice(&self.blocks.to_le_bytes());
        out[8..16].copy_from_slice(&self.first.0.to_le_bytes());
        out[16..24].copy_from_slice(&self.end.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.records.to_le_bytes());
        out[32..40].copy_from_slice(&self.raw_bytes.to_le_bytes());
        out[40..48].copy_from_slice(&self.oldest.0.to_le_bytes());
        let crc = crc32c::crc32c(&out[..48]);
        out[48..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// A seal from its bytes; `None` when they are torn, damaged, or promise what cannot be.
    pub(super) fn decode(bytes: &[u8; SEAL_LEN]) -> Option<Self> {
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let seal = Self {
            first: Sequence(u64_at(8)),
            end: Sequence(u64_at(16)),
            records: u64_at(24),
            raw_bytes: u64_at(32),
            oldest: Millis(u64_at(40).cast_signed()),
            damaged: bytes[5] & DAMAGED != 0,
            repacked: bytes[5] & REPACKED != 0,
            blocks: u16::from_le_bytes([bytes[6], bytes[7]]),
        };
        let intact = bytes[..4] == SEAL_MAGIC
            && bytes[4] == SEAL_VERSION
            && crc32c::crc32c(&bytes[..48]).to_le_bytes() == bytes[48..];
        let possible = seal.first < seal.end && seal.records <= seal.end.since(seal.first);
        (intact && possible).then_some(seal)
    }

    /// The seal of the segment in `dir`; `None` when it was not sealed, or the seal is damaged.
    pub fn read(dir: &Path) -> io::Result<Option<Self>> {
        let mut bytes = [0; SEAL_LEN];
        let read =
            scan::open_file(&dir.join(SEAL_FILE)).and_then(|f| f.read_exact_at(&mut bytes, 0));
        match read {
            Ok(()) => Ok(Self::decode(&bytes)),
            Err(e)
                if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
                    || scan::is_bad_sector(&e) =>
            {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Seals the segment in `dir`, in place. `Ok` means that the seal survives a power cut.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        // A pipe in its place, whose opening would wait for ever, is an error at once.
        let at_once = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let mut options = File::options();
        options.write(true).create(true).truncate(false).custom_flags(at_once);
        let file = options.open(dir.join(SEAL_FILE))?;
        file.write_all_at(&self.encode(), 0)?;
        file.sync_all()
    }
}

/// A block of the live segment, and where its parts were put.
#[derive(Debug, Clone, Copy)]
struct LiveBlock {
    epoch: Epoch,
    first: Sequence,
    end: Sequence,
    raw_len: u64,
    oldest: Millis,
    place: usize,
    parts: u16,
}

/// The one segment that is being written: written by the commit thread, read by the forwarder.
#[derive(Debug)]
pub struct LiveSegment {
    pub id: SegmentId,
    store: Box<dyn Store>,
    /// Published blocks, in order.
    blocks: Mutex<Vec<LiveBlock>>,
    /// Where the next part goes, and bytes put so far; the commit thread's own.
    tip: Mutex<Tip>,
}

#[derive(Debug, Default)]
struct Tip {
    place: usize,
    bytes: u64,
    part: Vec<u8>,
}

impl LiveSegment {
    /// Creates the segment under `root`. On `Ok` it is durable, the entry in `root` included.
    pub fn create(root: &Path, id: SegmentId, stores: &dyn Stores) -> io::Result<Self> {
        let dir = root.join(id.to_string());
        fs::create_dir(&dir)?;
        let made = stores.create(&dir).and_then(|store| {
            let seal = File::create(dir.join(SEAL_FILE))?;
            seal.write_all_at(&[0; SEAL_LEN], 0)?;
            seal.sync_all()?;
            File::open(&dir)?.sync_all()?;
            File::open(root)?.sync_all()?;
            Ok(store)
        });
        match made {
            Ok(store) => Ok(Self { id, store, blocks: Mutex::default(), tip: Mutex::default() }),
            Err(error) => {
                // Half a segment holds nothing; if it cannot be removed now, start removes it.
                if let Err(left) = fs::remove_dir_all(&dir) {
                    tracing::warn!("cannot remove {}: {left}", dir.display());
                }
                Err(error)
            }
        }
    }

    /// Whether a block of `len` bytes still goes into a segment that is left at `full` bytes.
    pub fn has_room(&self, len: usize, full: u64) -> bool {
        let tip = lock(&self.tip);
        let parts = part::count(len).map_or(usize::MAX, usize::from);
        tip.place == 0 || (tip.bytes < full && tip.place + parts <= MAX_PARTS)
    }

    /// Writes one block and makes it durable. It can be read only once it is published.
    pub fn commit(&self, bytes: &[u8], oldest: Millis) -> io::Result<Committed> {
        let malformed = |_| io::Error::other("the block to be written is malformed");
        let header = block::read_header(bytes).map_err(malformed)?;
        let too_large = || io::Error::other("a block is too large for its format");
        let n = part::count(bytes.len()).ok_or_else(too_large)?;
        let tip = &mut *lock(&self.tip);
        let block = LiveBlock {
            epoch: header.epoch,
            first: header.first,
            end: header.end(),
            raw_len: u64::from(header.raw_len),
            oldest,
            place: tip.place,
            parts: n,
        };
        for (k, payload) in (0..n).zip(bytes.chunks(part::MAX_PAYLOAD)) {
            let header = block.part(k);
            part::encode(&header, payload, &mut tip.part);
            self.store.put(tip.place, &header, &tip.part)?;
            tip.place += 1;
            tip.bytes += tip.part.len() as u64;
        }
        self.store.sync()?;
        Ok(Committed(block))
    }

    /// Lets the reader see a committed block.
    pub fn publish(&self, Committed(block): Committed) {
        lock(&self.blocks).push(block);
    }

    /// The published block that holds `from`, or else the next one; `None` behind the last.
    pub fn read(&self, from: Sequence) -> io::Result<Option<Block>> {
        let found = {
            let blocks = lock(&self.blocks);
            let at = blocks.partition_point(|block| block.end <= from);
            blocks.get(at).copied()
        };
        let Some(block) = found else { return Ok(None) };
        let gone = || io::Error::new(io::ErrorKind::InvalidData, "the live segment lost a part");
        let mut bytes = Vec::new();
        for k in 0..block.parts {
            let header = block.part(k);
            let value = self.store.get(block.place + usize::from(k), &header)?.ok_or_else(gone)?;
            let (found, payload) = part::decode(&value).ok_or_else(gone)?;
            if found != header {
                return Err(gone());
            }
            bytes.extend_from_slice(payload);
        }
        Block::decode(&bytes).map(Some).map_err(|_| gone())
    }

    /// When the oldest record at or above `from` was received, going by whole blocks.
    pub fn oldest(&self, from: Sequence) -> Option<Millis> {
        let blocks = lock(&self.blocks);
        let at = blocks.partition_point(|block| block.end <= from);
        blocks.get(at).map(|block| block.oldest)
    }

    /// What a seal would say now; `None` when nothing was published.
    pub fn seal(&self) -> Option<Seal> {
        let blocks = lock(&self.blocks);
        let (first, last) = (blocks.first()?, blocks.last()?);
        Some(Seal {
            first: first.first,
            end: last.end,
            records: blocks.iter().map(|block| block.end.since(block.first)).sum(),
            raw_bytes: blocks.iter().map(|block| block.raw_len).sum(),
            oldest: blocks.iter().map(|block| block.oldest).min()?,
            damaged: false,
            repacked: false,
            blocks: u16::try_from(blocks.len()).unwrap_or(0),
        })
    }

    /// Bytes that the data takes on the disk.
    pub fn disk_bytes(&self) -> io::Result<u64> {
        self.store.disk_bytes()
    }

    /// Whether all that was committed stands where a scan will find it.
    pub fn is_whole(&self) -> io::Result<bool> {
        self.store.is_whole()
    }
}

impl LiveBlock {
    fn part(&self, k: u16) -> part::Header {
        part::Header { epoch: self.epoch, first: self.first, k, n: self.parts }
    }
}

/// Proof that a block is durable.
#[derive(Debug)]
#[must_use]
pub struct Committed(LiveBlock);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segments_name_reads_back_and_nothing_else_does() {
        let id = SegmentId { first: Sequence(42), generation: 3 };
        assert_eq!(id.to_string(), "seg-00000000000000000042-0003");
        assert_eq!(SegmentId::parse(&id.to_string()), Some(id));
        for name in ["seg-42-3", "seg-", "progress", "seg-00000000000000000042-0003.bak"] {
            assert_eq!(SegmentId::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_damaged_or_missing_seal_is_no_seal() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Seal::read(dir.path()).unwrap(), None);
        let seal = Seal {
            first: Sequence(5),
            end: Sequence(9),
            records: 4,
            raw_bytes: 77,
            oldest: Millis(-3),
            damaged: false,
            repacked: true,
            blocks: 300,
        };
        seal.write(dir.path()).unwrap();
        assert_eq!(Seal::read(dir.path()).unwrap(), Some(seal));
        let path = dir.path().join(SEAL_FILE);
        let intact = fs::read(&path).unwrap();
        for at in 0..SEAL_LEN {
            let mut bytes = intact.clone();
            bytes[at] ^= 0x10;
            fs::write(&path, bytes).unwrap();
            assert_eq!(Seal::read(dir.path()).unwrap(), None, "byte {at}");
        }
    }
}
