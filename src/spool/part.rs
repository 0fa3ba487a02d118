//! The part: the unit in which a block stands on the disk, found again from its bytes alone.
//!
//! A block (see `block.rs`) is cut into parts of at most [`MAX_LEN`] bytes, and each part is
//! one value of a segment's sled database. sled writes values verbatim and whole into its
//! file (compression is off), so a part that describes itself can be found by looking for
//! its magic, without sled, whatever happened to the file around it (see `scan.rs`).
//!
//! # Layout, format 1
//!
//! All integers are little-endian.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | magic `F5 57 53 FF`; neither `F5` nor `FF` can stand in UTF-8 text |
//! | 4 | 1 | format version, 1 |
//! | 5 | 1 | 0 |
//! | 6 | 2 | `k`, the number of this part, from 0 |
//! | 8 | 2 | `n`, the number of parts of the block, 1 or more |
//! | 10 | 2 | length of the payload |
//! | 12 | 8 | epoch |
//! | 20 | 8 | first sequence of the block |
//! | 28 | 4 | CRC-32C of bytes 0 to 27 and the payload |
//! | 32 | | payload: bytes `k * MAX_PAYLOAD ..` of the block |
//!
//! What it deliberately does not know: what a payload means, and where parts are kept.

use crate::record::{Epoch, Sequence};

/// The first bytes of every part.
pub const MAGIC: [u8; 4] = [0xF5, b'W', b'S', 0xFF];
/// The format that this program writes.
pub const VERSION: u8 = 1;
/// Bytes before the payload.
pub const HEADER_LEN: usize = 32;
/// Bytes of a whole part, at most: well under a quarter of sled's segment size, from where
/// on sled 0.34.7 puts a value into a file of its own that it never syncs.
pub const MAX_LEN: usize = 16 * 1024;
/// Bytes of payload in a part, at most.
pub const MAX_PAYLOAD: usize = MAX_LEN - HEADER_LEN;

/// What a part says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub epoch: Epoch,
    /// The first sequence of the block that this is a part of.
    pub first: Sequence,
    /// Which part, from 0.
    pub k: u16,
    /// Of how many.
    pub n: u16,
}

/// How many parts a block of `len` bytes takes; `None` when it is larger than parts can count.
pub fn count(len: usize) -> Option<u16> {
    u16::try_from(len.div_ceil(MAX_PAYLOAD).max(1)).ok()
}

/// Writes one part into `out`, which is cleared first. `payload` is at most [`MAX_PAYLOAD`].
pub fn encode(header: &Header, payload: &[u8], out: &mut Vec<u8>) {
    debug_assert!(payload.len() <= MAX_PAYLOAD);
    out.clear();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, 0]);
    out.extend_from_slice(&header.k.to_le_bytes());
    out.extend_from_slice(&header.n.to_le_bytes());
    #[expect(clippy::cast_possible_truncation, reason = "MAX_PAYLOAD fits 16 bits")]
    out.extend_from_slice(&(payload.len() as u16).to_le_bytes());
    out.extend_from_slice(&header.epoch.0.to_le_bytes());
    out.extend_from_slice(&header.first.0.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(out), payload);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(payload);
}

/// Reads the part at the start of `bytes`: its header and payload, or `None` when what
/// stands there is not a whole, intact part of this format. Any bytes may be given.
pub fn decode(bytes: &[u8]) -> Option<(Header, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEADER_LEN>()?;
    if head[..4] != MAGIC || head[4] != VERSION {
        return None;
    }
    let (k, n, len) = (u16_at(head, 6), u16_at(head, 8), usize::from(u16_at(head, 10)));
    // Before the checksum: a longer one would be read or not by what stands behind it, and a
    // file full of magics would cost a checksum of 64 KiB for each.
    if k >= n || len > MAX_PAYLOAD {
        return None;
    }
    let payload = rest.get(..len)?;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head[..28]), payload);
    if crc.to_le_bytes() != head[28..] {
        return None;
    }
    let header = Header { epoch: Epoch(u64_at(head, 12)), first: Sequence(u64_at(head, 20)), k, n };
    Some((header, payload))
}

fn u16_at(head: &[u8; HEADER_LEN], at: usize) -> u16 {
    u16::from_le_bytes([head[at], head[at + 1]])
}

fn u64_at(head: &[u8; HEADER_LEN], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&head[at..at + 8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        Header { epoch: Epoch(7), first: Sequence(1_000_000), k: 2, n: 3 }
    }

    proptest! {
        #[test]
        fn a_part_reads_back_as_it_was_written(payload in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut bytes = Vec::new();
            encode(&header(), &payload, &mut bytes);
            bytes.extend_from_slice(b"what stands behind it");
            prop_assert_eq!(decode(&bytes), Some((header(), &payload[..])));
        }

        #[test]
        fn one_flipped_bit_anywhere_is_noticed(bit in 0_usize..(HEADER_LEN + 100) * 8) {
            let mut bytes = Vec::new();
            encode(&header(), &[0xA5; 100], &mut bytes);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(decode(&bytes), None);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut with_magic = MAGIC.to_vec();
            with_magic.extend_from_slice(&bytes);
            prop_assert_eq!(decode(&bytes), None);
            prop_assert_eq!(decode(&with_magic), None);
        }
    }

    #[test]
    fn a_part_cut_short_is_not_a_part() {
        let mut bytes = Vec::new();
        encode(&header(), &[1; 50], &mut bytes);
        for len in 0..bytes.len() {
            assert_eq!(decode(&bytes[..len]), None, "cut at {len}");
        }
    }

    /// Guard: the check of the length in `decode`.
    #[test]
    fn a_part_that_is_longer_than_any_is_none_whatever_its_checksum_says() {
        let mut bytes = Vec::new();
        encode(&header(), &[1; MAX_PAYLOAD], &mut bytes);
        assert!(decode(&bytes).is_some());
        bytes.push(1);
        bytes[10..12].copy_from_slice(&u16::try_from(MAX_PAYLOAD + 1).unwrap().to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..28]), &bytes[HEADER_LEN..]);
        bytes[28..32].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(decode(&bytes), None);
    }

    #[test]
    fn blocks_are_cut_into_as_many_parts_as_they_need() {
        assert_eq!(count(0), Some(1));
        assert_eq!(count(MAX_PAYLOAD), Some(1));
        assert_eq!(count(MAX_PAYLOAD + 1), Some(2));
        assert_eq!(count(usize::MAX), None);
    }
}
