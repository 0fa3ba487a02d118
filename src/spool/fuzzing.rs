//! What must hold for any bytes that the spool reads, one function a decoder.
//!
//! The door for `fuzz/`, whose targets are these functions, and for `tests/corpus.rs`, which
//! replays in the gate what fuzzing found: the decoders are private, and one place says what is
//! asked of them. Each function panics when a property fails. How much it may allocate is
//! measured by the caller, against [`MEMORY`].
//!
//! A fuzzer cannot guess a checksum, so each function reads its bytes twice: as they are, and as
//! a recipe for something well formed on the outside, so that the inside is reached too.
//!
//! It is no part of the service: nothing calls it there.

use super::block::{Block, Draft, Encoder};
use super::part;
use super::progress::{Exit, Progress, Range, Removal};
use super::scan::{self, Scanned};
use super::segment::{SEAL_LEN, Seal, SegmentId};
use crate::record::{Epoch, Millis, NewRecord, Reception, Record, Route, Sequence};
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

/// Bytes that one input may have allocated at any moment, whatever lengths it claims: some
/// blocks of the largest size, as records and as bytes.
pub const MEMORY: usize = 64 << 20;

/// Blocks of more records are not encoded again.
const FEW: u64 = 4096;
/// A file that is made of a recipe ends behind this length.
const LONG: usize = 24 << 10;

/// The block decoder: `data` as a block, and as what stands inside one.
pub fn block(data: &[u8]) {
    if let Ok(block) = Block::decode(data) {
        check_block(&block);
    }
    let mut recipe = Recipe(data);
    let packed = recipe.byte() & 1 == 1;
    let plain = recipe.block();
    let Ok(block) = Block::decode(&plain) else { return };
    check_block(&block);
    if packed {
        // The same bytes through zstd are the same block.
        let (head, raw) = plain.split_at(super::block::HEADER_LEN);
        let mut bytes = head.to_vec();
        bytes[5] = 1;
        // Level 1 of zstd takes any bytes; it fails only without memory.
        bytes.extend(zstd::bulk::compress(raw, 1).expect("zstd"));
        // Its inside was decoded just before.
        let again = Block::decode(&bytes).expect("a packed block");
        assert!(again.records().map(known).eq(block.records().map(known)));
    }
}

/// Each record that a block promises is there.
fn check_records(block: &Block) {
    let (first, end) = (block.first(), block.end());
    assert!(first < end);
    assert!(block.records().map(|record| record.sequence.0).eq(first.0..end.0));
    assert!(block.record(end).is_none());
}

fn check_block(block: &Block) {
    check_records(block);
    let (first, end) = (block.first(), block.end());
    if end.since(first) > FEW {
        return;
    }
    let middle = Sequence(first.0.midpoint(end.0));
    for (from, until) in [(first, middle), (middle, end)] {
        let some = block.clone().between(from, until);
        assert!(some.records().map(|record| record.sequence.0).eq(from.0..until.0));
    }
    let mut draft = Draft::default();
    for record in block.records() {
        let headers: Vec<_> =
            record.headers.iter().map(|(n, v)| ((*n).to_owned(), v.to_vec())).collect();
        draft.push(&NewRecord {
            route: record.route,
            key: record.key,
            timestamp: record.timestamp,
            received: record.received,
            origin: Some(record.id),
            headers: &headers,
            value: record.value,
        });
    }
    if draft.raw_len() > super::block::MAX_RAW / 2 {
        return; // Reading accepts what writing never makes: it may not fit with every id in it.
    }
    let mut encoder = new_encoder();
    // The draft fits, just above.
    let bytes = encoder.encode(Epoch(1), first, &mut draft).expect("a block");
    // What the encoder makes is what the decoder reads.
    let again = Block::decode(bytes).expect("a block");
    assert!(again.records().map(known).eq(block.records().map(known)));
}

fn new_encoder() -> Encoder {
    // It fails only when there is no memory left.
    Encoder::new().expect("an encoder")
}

/// All that is known of a record, to compare.
fn known(record: Record<'_>) -> impl PartialEq {
    let Record { sequence, id, route, key, timestamp, received, headers, value } = record;
    (sequence, id, route, (key, timestamp, received), headers, value)
}

/// The recovery: `data` as the file of a segment that a crash or a bad disk left, and as a
/// recipe for one.
pub fn recovery(data: &[u8]) {
    check_recovery(data, 4096);
    let mut recipe = Recipe(data);
    let chunk = 1 + 64 * usize::from(recipe.byte());
    if recipe.byte() & 3 == 3 {
        check_intact(recipe);
    } else {
        check_recovery(&recipe.file(), chunk);
    }
}

/// Real blocks are found, each with its records, wherever they stand and whatever else does.
fn check_intact(mut recipe: Recipe<'_>) {
    let mut encoder = new_encoder();
    let route = Arc::new(Route { path: "/endpoint".to_owned(), topic: "test".to_owned() });
    let (mut file, mut values, mut next) = (Vec::new(), Vec::new(), Sequence(0));
    while !recipe.0.is_empty() && file.len() < LONG {
        // Without its first byte there is no magic, and nothing that could hide a part.
        file.extend(recipe.some().iter().filter(|byte| **byte != part::MAGIC[0]));
        let first = next.plus(recipe.byte().into());
        let mut draft = Draft::default();
        for _ in 0..=recipe.byte() % 8 {
            let value = recipe.some();
            let at = Millis(recipe.byte().into());
            draft.push(&NewRecord {
                route: &route,
                key: value.get(..3),
                timestamp: Millis(5),
                received: Reception { at, clock_synchronised: true },
                origin: None,
                headers: &[],
                value,
            });
            values.push((first.plus(u64::from(draft.count()) - 1), value));
        }
        next = first.plus(draft.count().into());
        // Eight values of 255 bytes fit a block.
        let block = encoder.encode(Epoch(7), first, &mut draft).expect("a block");
        recipe.parts_of(block, 0x3f, &mut file);
    }
    check_recovery(&file, 4096);
    // As in `check_recovery`, which has read all of it.
    let scanned = in_memory(&file).and_then(Scanned::of).expect("a file in memory");
    let read = |found| {
        // Nothing but whole blocks was put into the file.
        scanned.read(found).expect("a block")
    };
    let blocks: Vec<_> = scanned.blocks.iter().map(read).collect();
    let records = blocks.iter().flat_map(Block::records);
    assert!(records.map(|r| (r.sequence, r.value)).eq(values), "a whole block was not found");
}

fn check_recovery(file: &[u8], chunk: usize) {
    // Reading memory cannot fail.
    let parts = scan::parts_by(chunk, &mut &file[..]).expect("parts");
    let mut at = 0;
    for found in &parts {
        // A part was found within the file.
        let offset = usize::try_from(found.offset).expect("an offset");
        assert!(at <= offset, "two parts overlap");
        at = offset + found.len;
        let decoded = part::decode(&file[offset..at]).map(|(header, _)| header);
        assert_eq!(decoded, Some(found.header));
    }
    // Only a machine without memory or descriptors refuses a file in memory.
    let scanned = in_memory(file).and_then(Scanned::of).expect("a file in memory");
    assert_eq!(scanned.blocks, scan::blocks(parts), "what is found depends on how it is read");
    let mut end = Sequence(0);
    for found in &scanned.blocks {
        assert!(end <= found.header.first, "two blocks claim one sequence");
        end = found.header.end();
        match scanned.read(found) {
            Ok(block) => {
                assert_eq!((block.first(), block.end()), (found.header.first, end));
                check_records(&block);
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}"),
        }
    }
}

fn in_memory(bytes: &[u8]) -> io::Result<File> {
    let file = rustix::fs::memfd_create(c"segment", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(file);
    file.write_all(bytes)?;
    Ok(file)
}

/// The progress file's decoder: `data` as a slot, and as a slot whose checksum holds.
pub fn progress(data: &[u8]) {
    let read = |slot: &[u8]| {
        if let Some((turn, progress)) = Progress::decode(slot) {
            assert_eq!(Progress::decode(&progress.encode(turn)), Some((turn, progress.clone())));
            check_progress(progress, Recipe(data));
        }
    };
    read(data);
    let mut slot = data.to_vec();
    if let Some(head) = slot.first_chunk_mut::<5>() {
        *head = *b"WSPR\x01";
    }
    for count in [0, 1, 2, 7] {
        let len = 100 + 17 * count;
        if slot.len() < len {
            break;
        }
        let mut slot = slot[..len].to_vec();
        slot[96..100].copy_from_slice(&u32::try_from(count).unwrap_or(0).to_le_bytes());
        slot.extend(crc32c::crc32c(&slot).to_le_bytes());
        read(&slot);
    }
}

/// Whatever is read can be gone on with: no sum overflows, and the books balance.
fn check_progress(mut progress: Progress, mut recipe: Recipe<'_>) {
    let watermark = progress.watermark();
    let accepted = |progress: &Progress| progress.watermark().max(progress.acknowledged);
    assert!(progress.ledger(accepted(&progress)).balances());
    let past = progress.past_removed(watermark);
    assert!(past >= watermark);
    for kind in [Removal::Dead, Removal::Dropped, Removal::Exported, Removal::Lost] {
        let first = watermark.0.saturating_add(recipe.number() % 1000);
        let end = first.saturating_add(recipe.number() % 1000);
        // As many as one likes may be refused; what is taken must be right.
        let taken = progress.remove(Range { kind, first: Sequence(first), end: Sequence(end) });
        assert!(taken.is_ok() || progress.encode(1).len() > super::progress::SLOT_LEN - 100);
        let seen = Sequence(end.max(accepted(&progress).0));
        assert!(progress.ledger(seen).balances());
    }
    let leaving = progress.leaving().to_vec();
    for exit in [Exit::Again, Exit::Dropped] {
        // More of them than can leave at a time may be refused.
        let _ = progress.let_go(&leaving, recipe.number() % 1000, exit);
        assert!(progress.ledger(accepted(&progress)).balances());
    }
    progress.advance(Sequence(recipe.number()));
    progress.advance(past);
    assert!(progress.watermark() >= past);
    assert!(progress.ledger(accepted(&progress)).balances());
    assert_eq!(Progress::decode(&progress.encode(1)), Some((1, progress)));
}

/// The seal's decoder and the segments' names.
pub fn seal(data: &[u8]) {
    let read = |bytes: &[u8; SEAL_LEN]| {
        if let Some(seal) = Seal::decode(bytes) {
            assert!(seal.first < seal.end && seal.records <= seal.end.since(seal.first));
            assert_eq!(Seal::decode(&seal.encode()), Some(seal));
        }
    };
    if let Some(bytes) = data.first_chunk::<SEAL_LEN>() {
        read(bytes);
        let mut sound = *bytes;
        sound[..5].copy_from_slice(b"WSSL\x01");
        let crc = crc32c::crc32c(&sound[..SEAL_LEN - 4]);
        sound[SEAL_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        read(&sound);
    }
    let name = String::from_utf8_lossy(data);
    for name in [name.clone(), format!("seg-{name}").into()] {
        if let Some(id) = SegmentId::parse(&name) {
            assert_eq!(id.to_string(), name);
        }
    }
}

/// Bytes that say what to make; when they have come to an end there is nothing but zeros.
struct Recipe<'a>(&'a [u8]);

impl<'a> Recipe<'a> {
    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        let taken = self.take(8);
        bytes[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(bytes)
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// As many bytes as the next byte says.
    fn some(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte());
        self.take(len)
    }

    /// A block with a sound header around all that is left.
    fn block(&mut self) -> Vec<u8> {
        let version = 1 + (self.byte() & 1);
        let count = u32::from(self.byte()) + 1;
        let table = u32::from(self.byte());
        let (first, base) = (self.number(), self.number());
        let raw = std::mem::take(&mut self.0);
        let len = u32::try_from(raw.len()).unwrap_or(u32::MAX);
        let mut out = b"WSBK".to_vec();
        out.extend([version, 0, 0, 0]);
        out.extend(7_u64.to_le_bytes());
        out.extend(first.to_le_bytes());
        out.extend(count.to_le_bytes());
        out.extend(len.to_le_bytes());
        out.extend(len.saturating_sub(table).to_le_bytes());
        out.extend(base.to_le_bytes());
        out.extend(raw);
        out
    }

    /// A segment's file: parts that are intact, blocks cut into parts of which some may be
    /// missing, twice there or out of order, and other bytes between them.
    fn file(&mut self) -> Vec<u8> {
        let mut file = Vec::new();
        while !self.0.is_empty() && file.len() < LONG {
            match self.byte() % 4 {
                0 => file.extend(self.some()),
                1 => self.part(&mut file),
                2 => {
                    let block = Recipe(self.some()).block();
                    self.parts_of(&block, 0xff, &mut file);
                }
                _ => self.many(&mut file),
            }
        }
        file
    }

    /// One part of any block.
    fn part(&mut self, file: &mut Vec<u8>) {
        let [first, k, n] = [self.byte(), self.byte() % 8, self.byte() % 8];
        let header = part::Header {
            epoch: Epoch(7),
            first: Sequence(first.into()),
            k: k.into(),
            n: n.into(),
        };
        let mut bytes = Vec::new();
        part::encode(&header, self.some(), &mut bytes);
        // Cut short, or with a bit turned, now and then.
        let damage = self.byte();
        if damage & 0xc0 == 0xc0 {
            bytes.truncate(usize::from(damage & 0x3f));
        }
        file.extend(bytes);
    }

    /// The parts of a block, as small as they like, as the next bytes say: of those bits of the
    /// second one that `allowed` has, the highest two say what is missing.
    fn parts_of(&mut self, block: &[u8], allowed: u8, file: &mut Vec<u8>) {
        let size = super::block::HEADER_LEN + usize::from(self.byte());
        let payloads: Vec<_> = block.chunks(size).collect();
        let n = u16::try_from(payloads.len()).unwrap_or(u16::MAX);
        let first = Sequence(u64::from_le_bytes(std::array::from_fn(|i| block[16 + i])));
        let order = self.byte() & allowed;
        let mut bytes = Vec::new();
        for turn in 0..n {
            let k = if order & 1 == 0 { turn } else { n - 1 - turn };
            let header = part::Header { epoch: Epoch(7), first, k, n };
            part::encode(&header, payloads[usize::from(k)], &mut bytes);
            let times = match order >> 6 {
                1 if k == n / 2 => 0,
                2 => 2,
                _ => 1,
            };
            (0..times).for_each(|_| file.extend(&bytes));
        }
    }

    /// The same few bytes many times, as a pattern on a bad disk: magics, above all.
    fn many(&mut self, file: &mut Vec<u8>) {
        let times = 4 * usize::from(self.byte() % 64);
        let mut pattern = part::MAGIC.to_vec();
        pattern.extend(self.take(8));
        file.extend(pattern.repeat(times));
    }
}
