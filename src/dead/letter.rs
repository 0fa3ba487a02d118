//! One dead letter, as bytes and as a file's name, and back.
//!
//! # Layout, format 1
//!
//! All integers are little-endian.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | magic `WSDL` |
//! | 4 | 1 | format version, 1 |
//! | 5 | 3 | 0 |
//! | 8 | 8 | when it was set aside, ms since 1970, signed |
//! | 16 | 4 | length of the reason |
//! | 20 | 4 | length of the block |
//! | 24 | | the reason, UTF-8 |
//! | | | the record as it stood in the spool: a block of that one record (`spool/block.rs`) |
//! | | 4 | CRC-32C of all before it |
//!
//! # The name
//!
//! `<sequence>-<epoch>-<sequence of the id>.letter`, as 20, 16 hexadecimal and 20 digits: the
//! record's place in this spool, and its id, which is another place where the record was imported.
//! Both are in it, so that two copies of one record, which are two records in the books, are two
//! letters. The names are in the order of the spool.
//!
//! Any bytes may be given here, and are refused without a panic.

use crate::record::{Epoch, Millis, Record, RecordId, Sequence};
use crate::spool::{Block, Buried};
use std::fmt;
use std::io;

const MAGIC: [u8; 4] = *b"WSDL";
const VERSION: u8 = 1;
const HEADER_LEN: usize = 24;
const CRC_LEN: usize = 4;
/// Bytes of a reason, at most; what is longer is cut.
const MAX_REASON: usize = 4096;
/// Bytes of a letter, at most: a record has no more than 2.5 MiB, and what cannot be compressed
/// grows by little.
pub const MAX_LEN: usize = 3 << 20;
const ENDING: &str = ".letter";

/// What names a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// The record's place in this spool.
    pub place: Sequence,
    pub id: RecordId,
}

impl Name {
    /// Of this record.
    pub fn of(record: &Record<'_>) -> Self {
        Self { place: record.sequence, id: record.id }
    }

    /// The name that a file has, if it is one of a letter.
    pub fn parse(file: &str) -> Option<Self> {
        let mut fields = file.strip_suffix(ENDING)?.split('-');
        let place = Sequence(fields.next()?.parse().ok()?);
        let epoch = Epoch(u64::from_str_radix(fields.next()?, 16).ok()?);
        let id = RecordId { epoch, sequence: Sequence(fields.next()?.parse().ok()?) };
        let name = Self { place, id };
        // Only the one way to write it: no two files are one letter.
        (fields.next().is_none() && name.to_string() == file).then_some(name)
    }
}

/// As the spool's books call it.
impl From<Name> for Buried {
    fn from(Name { place, id }: Name) -> Self {
        Self { place, id }
    }
}

impl From<Buried> for Name {
    fn from(Buried { place, id }: Buried) -> Self {
        Self { place, id }
    }
}

/// The file's name.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, id } = self;
        write!(f, "{:020}-{}-{:020}{ENDING}", place.0, id.epoch, id.sequence.0)
    }
}

/// Why bytes are no letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    #[error("it is no dead letter")]
    Foreign,
    #[error("it was written in format {0} by a newer version of this program")]
    Newer(u8),
    #[error("it is damaged")]
    Damaged,
}

/// A record that was set aside.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Why Kafka can never take it, in words.
    pub reason: String,
    /// When it was set aside.
    pub at: Millis,
    name: Name,
    /// One that holds this record alone.
    block: Block,
    bytes: Vec<u8>,
}

impl Letter {
    /// Of the record at `sequence` of a block; `None` when the block does not give it out. An
    /// error says that it cannot be written as a block of its own.
    pub fn new(
        block: &Block,
        sequence: Sequence,
        reason: &str,
        at: Millis,
    ) -> io::Result<Option<Self>> {
        let alone = block.clone().between(sequence, sequence.plus(1));
        if alone.first() != sequence || alone.end() == sequence {
            return Ok(None);
        }
        let alone = alone.encode()?;
        let mut cut = reason.len().min(MAX_REASON);
        while !reason.is_char_boundary(cut) {
            cut -= 1;
        }
        let bytes = encode(&reason[..cut], at, &alone)
            .ok_or_else(|| io::Error::other("a dead letter outgrew its format"))?;
        // What would not be read back must not pass for kept.
        Self::decode(&bytes).map(Some).map_err(io::Error::other)
    }

    /// Reads a letter from a file's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let head = bytes.first_chunk::<HEADER_LEN>().ok_or(Unreadable::Foreign)?;
        if head[..4] != MAGIC {
            return Err(Unreadable::Foreign);
        }
        if head[4] > VERSION {
            return Err(Unreadable::Newer(head[4]));
        }
        let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| head[at + i]));
        let at = Millis(i64::from_le_bytes(std::array::from_fn(|i| head[8 + i])));
        let checked = || {
            let (body, crc) = bytes.split_last_chunk::<CRC_LEN>()?;
            let rest = body.get(HEADER_LEN..)?;
            let (reason, block) = rest.split_at_checked(u32_at(16) as usize)?;
            let sound = block.len() == u32_at(20) as usize
                && u32::from_le_bytes(*crc) == crc32c::crc32c(body);
            let reason = std::str::from_utf8(reason).ok()?.to_owned();
            let block = Block::decode(block).ok().filter(|_| sound)?;
            let mut records = block.records();
            let name = Name::of(&records.next()?);
            let alone = records.next().is_none();
            drop(records);
            alone.then(|| Self { reason, at, name, block, bytes: bytes.to_vec() })
        };
        checked().ok_or(Unreadable::Damaged)
    }

    pub fn name(&self) -> Name {
        self.name
    }

    /// The record as it stood in the spool.
    pub fn record(&self) -> Record<'_> {
        // `decode` has found the record of the block at this place.
        self.block.record(self.name.place).expect("a letter holds its record")
    }

    /// The file's bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn encode(reason: &str, at: Millis, block: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(HEADER_LEN + reason.len() + block.len() + CRC_LEN);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, 0, 0, 0]);
    out.extend_from_slice(&at.0.to_le_bytes());
    out.extend_from_slice(&u32::try_from(reason.len()).ok()?.to_le_bytes());
    out.extend_from_slice(&u32::try_from(block.len()).ok()?.to_le_bytes());
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(block);
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    (out.len() <= MAX_LEN).then_some(out)
}

/// The same letter with another reason.
#[cfg(test)]
pub fn with_reason(letter: &Letter, reason: &str) -> Vec<u8> {
    let block = letter.block.encode().unwrap();
    encode(reason, letter.at, &block).unwrap()
}

#[cfg(test)]
mod tests;
