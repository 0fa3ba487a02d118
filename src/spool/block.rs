//! The block: one group commit, as bytes and back.
//!
//! # Layout, format 2
//!
//! All integers are little-endian; "number" is a variable-length integer (see `wire.rs`),
//! "text" and "bytes" are a number of bytes, then the bytes.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | magic `WSBK` |
//! | 4 | 1 | format version: 2, or 1 (which has no flag 8) |
//! | 5 | 1 | codec: 0 as it is, 1 zstd |
//! | 6 | 2 | 0 |
//! | 8 | 8 | epoch |
//! | 16 | 8 | first sequence |
//! | 24 | 4 | number of records, 1 or more |
//! | 28 | 4 | length of the raw bytes |
//! | 32 | 4 | where in the raw bytes the table of routes begins |
//! | 36 | 8 | base time: reception of the first record, ms since 1970, signed |
//! | 44 | | the raw bytes, compressed |
//!
//! The raw bytes hold the records in order, then the table of routes:
//!
//! - record: route's place in the table (number); flags (1 byte: 1 has a key, 2 clock not
//!   synchronised, 4 has a timestamp of its own, 8 was accepted by another spool first);
//!   reception less base time (signed number); timestamp less reception (signed number, with
//!   flag 4); epoch (8 bytes) and sequence (number) of its id (with flag 8, else they are the
//!   block's epoch and the record's sequence here); key (bytes, with flag 1); headers (number,
//!   then name as text and value as bytes for each); value (bytes).
//! - table: number of routes, then path and topic (text) for each.
//!
//! A record's sequence is the block's first plus its place. Integrity is the parts' matter
//! (see `part.rs`); still, any bytes may be given here, and are refused without a panic.

mod encoder;
#[cfg(test)]
mod tests;

pub use encoder::Encoder;

use super::wire::{self, Malformed};
use crate::record::{Epoch, Millis, NewRecord, Reception, Record, RecordId, Route, Sequence};
use std::sync::Arc;

const MAGIC: [u8; 4] = *b"WSBK";
const VERSION: u8 = 2;
const OLDEST: u8 = 1;
/// Bytes before the compressed records.
pub const HEADER_LEN: usize = 44;
/// Raw bytes of a block, at most; a length beyond it is not believed.
pub const MAX_RAW: usize = 8 << 20;
/// Bytes of a whole block, at most: zstd adds less than one in 256 to what it cannot compress.
pub const MAX_LEN: usize = HEADER_LEN + MAX_RAW + (MAX_RAW >> 8);
/// Bytes of key and value of a record, at most: what Kafka is sure to be offered whole.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// Bytes of key, headers and value of a record, at most; see [`weight`].
pub const MAX_WEIGHT: usize = 5 << 19;
/// A draft is full at this many different routes: each takes many times its bytes once decoded.
const MAX_ROUTES: usize = 4096;
/// Bytes of a record with nothing in it: route, flags, reception, and two lengths of 0.
const MIN_RECORD: u32 = 5;
/// Bytes of a record, at most: its weight, seven numbers, the flags and an epoch.
const MAX_RECORD: usize = MAX_WEIGHT + 7 * 10 + 1 + 8;
/// What a header counts beside its bytes: it takes some 32 once it is read.
const HEADER_WEIGHT: usize = 8;

/// A draft is full at this many raw bytes.
const FULL: usize = 1 << 20;

/// Two lengths in the table of routes, at most.
const ROUTE_OVERHEAD: usize = 8;

const HAS_KEY: u8 = 1;
const CLOCK_UNSYNCHRONISED: u8 = 2;
const HAS_TIMESTAMP: u8 = 4;
const HAS_ORIGIN: u8 = 8;

/// What a record counts against [`MAX_PAYLOAD`].
pub fn payload(record: &NewRecord<'_>) -> usize {
    record.value.len() + record.key.map_or(0, <[u8]>::len)
}

/// What a record counts against [`MAX_WEIGHT`].
pub fn weight(record: &NewRecord<'_>) -> usize {
    let headers = record.headers.iter().map(|(n, v)| n.len() + v.len() + HEADER_WEIGHT);
    payload(record) + headers.sum::<usize>()
}

/// The records of a block while they are gathered: what `append` adds to.
#[derive(Debug, Default)]
pub struct Draft {
    raw: Vec<u8>,
    routes: Vec<Arc<Route>>,
    /// Bytes of the table of routes, at most.
    routes_len: usize,
    count: u32,
    base: Option<Millis>,
    oldest: Option<Millis>,
}

impl Draft {
    /// Adds one record behind those that are there.
    pub fn push(&mut self, record: &NewRecord<'_>) {
        self.put(&Fields {
            route: record.route,
            key: record.key,
            timestamp: record.timestamp,
            received: record.received,
            origin: record.origin,
            headers: record.headers.iter().map(|(name, value)| (&name[..], &value[..])).collect(),
            value: record.value,
        });
    }

    fn put(&mut self, record: &Fields<'_>) {
        let base = *self.base.get_or_insert(record.received.at);
        self.oldest = Some(self.oldest.map_or(record.received.at, |o| o.min(record.received.at)));
        let route = self.place_of(record.route);
        let raw = &mut self.raw;
        wire::put_varint(raw, route as u64);
        let own_timestamp = record.timestamp != record.received.at;
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        raw.push(
            flag(record.key.is_some(), HAS_KEY)
                | flag(!record.received.clock_synchronised, CLOCK_UNSYNCHRONISED)
                | flag(own_timestamp, HAS_TIMESTAMP)
                | flag(record.origin.is_some(), HAS_ORIGIN),
        );
        wire::put_signed(raw, record.received.at.0.wrapping_sub(base.0));
        if own_timestamp {
            wire::put_signed(raw, record.timestamp.0.wrapping_sub(record.received.at.0));
        }
        if let Some(origin) = record.origin {
            raw.extend_from_slice(&origin.epoch.0.to_le_bytes());
            wire::put_varint(raw, origin.sequence.0);
        }
        if let Some(key) = record.key {
            wire::put_bytes(raw, key);
        }
        wire::put_varint(raw, record.headers.len() as u64);
        for (name, value) in &record.headers {
            wire::put_bytes(raw, name.as_bytes());
            wire::put_bytes(raw, value);
        }
        wire::put_bytes(raw, record.value);
        self.count += 1;
    }

    /// Adds the record at `sequence` of a block as it stands there; it keeps its id for as long
    /// as this becomes a block of the same epoch, with the record at the same sequence.
    pub fn copy(&mut self, block: &Block, sequence: Sequence) {
        if let Some(fields) = block.fields(sequence) {
            self.put(&fields);
        }
    }

    /// A route's place in the table; pointers first, since one route's records share one.
    fn place_of(&mut self, route: &Arc<Route>) -> usize {
        let known = |r: &Arc<Route>| Arc::ptr_eq(r, route) || r == route;
        self.routes.iter().position(known).unwrap_or_else(|| {
            self.routes.push(route.clone());
            self.routes_len += route.path.len() + route.topic.len() + ROUTE_OVERHEAD;
            self.routes.len() - 1
        })
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes gathered so far, with the table of routes, at most.
    pub fn raw_len(&self) -> usize {
        self.raw.len() + self.routes_len
    }

    /// Whether the next record belongs into another draft.
    pub fn is_full(&self) -> bool {
        self.raw_len() >= FULL || self.routes.len() >= MAX_ROUTES
    }

    /// When the oldest record was received.
    pub fn oldest(&self) -> Option<Millis> {
        self.oldest
    }

    /// Forgets the records, keeps the buffer for the next block.
    pub fn clear(&mut self) {
        self.raw.clear();
        self.routes.clear();
        self.routes_len = 0;
        (self.count, self.base, self.oldest) = (0, None, None);
    }
}

/// What a block says of itself, readable from its first part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub epoch: Epoch,
    pub first: Sequence,
    pub count: u32,
    /// Bytes before compression.
    pub raw_len: u32,
    /// Reception of the first record.
    pub base: Millis,
    compressed: bool,
    routes_at: u32,
}

impl Header {
    /// One past the block's last sequence.
    pub fn end(&self) -> Sequence {
        self.first.plus(u64::from(self.count))
    }
}

/// Reads the header at the start of a block's bytes.
pub fn read_header(bytes: &[u8]) -> Result<Header, Malformed> {
    let head = bytes.first_chunk::<HEADER_LEN>().ok_or(Malformed)?;
    let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| head[at + i]));
    let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| head[at + i]));
    let header = Header {
        epoch: Epoch(u64_at(8)),
        first: Sequence(u64_at(16)),
        count: u32_at(24),
        raw_len: u32_at(28),
        routes_at: u32_at(32),
        base: Millis(u64_at(36).cast_signed()),
        compressed: head[5] == 1,
    };
    let sound = head[..4] == MAGIC
        && (OLDEST..=VERSION).contains(&head[4])
        && head[5] <= 1
        && header.count > 0
        && header.raw_len as usize <= MAX_RAW
        && header.routes_at <= header.raw_len
        && header.count <= header.routes_at / MIN_RECORD
        && header.first.0.checked_add(u64::from(header.count)).is_some();
    if sound { Ok(header) } else { Err(Malformed) }
}

/// One group commit, decoded: the records from a position on, in the order of their sequences.
#[derive(Debug, Clone)]
pub struct Block {
    header: Header,
    raw: Vec<u8>,
    routes: Vec<Arc<Route>>,
    /// Where each record begins in `raw`.
    starts: Vec<u32>,
    /// Records below this are not given out.
    from: Sequence,
    /// Nor are those from here on.
    until: Sequence,
}

impl Block {
    /// Decodes a block's bytes, as they were put together from its parts. Everything is
    /// checked here, so that reading the records cannot fail.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let header = read_header(bytes)?;
        let packed = &bytes[HEADER_LEN..];
        let raw_len = header.raw_len as usize;
        let raw = if header.compressed {
            zstd::bulk::decompress(packed, raw_len).map_err(|_| Malformed)?
        } else {
            packed.to_vec()
        };
        if raw.len() != raw_len {
            return Err(Malformed);
        }
        let (records, mut table) = raw.split_at(header.routes_at as usize);
        let mut routes = Vec::new();
        let known = wire::take_varint(&mut table)?;
        if known > MAX_ROUTES as u64 {
            return Err(Malformed);
        }
        for _ in 0..known {
            let path = wire::take_str(&mut table)?.to_owned();
            let topic = wire::take_str(&mut table)?.to_owned();
            routes.push(Arc::new(Route { path, topic }));
        }
        let mut starts = Vec::with_capacity(header.count as usize);
        let mut at = 0;
        for _ in 0..header.count {
            starts.push(u32::try_from(at).map_err(|_| Malformed)?);
            let room = &records[at..records.len().min(at + MAX_RECORD)];
            let mut rest = room;
            take_record(&mut rest, header.base, &routes)?;
            at += room.len() - rest.len();
        }
        if at < records.len() {
            return Err(Malformed);
        }
        Ok(Self { header, from: header.first, until: header.end(), raw, routes, starts })
    }

    /// The same block, giving out only the records from `from` to `until` (exclusive).
    #[must_use]
    pub fn between(mut self, from: Sequence, until: Sequence) -> Self {
        self.from = from.clamp(self.from, self.until);
        self.until = until.clamp(self.from, self.until);
        self
    }

    /// The sequence of the first record given out.
    pub fn first(&self) -> Sequence {
        self.from
    }

    /// One past the sequence of the last record given out.
    pub fn end(&self) -> Sequence {
        self.until
    }

    /// Of the start that accepted its records.
    pub fn epoch(&self) -> Epoch {
        self.header.epoch
    }

    /// When the first record of the block was received.
    pub fn received(&self) -> Millis {
        self.header.base
    }

    /// The records from [`Block::first`] on.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        (self.from.0..self.end().0).filter_map(|sequence| self.record(Sequence(sequence)))
    }

    /// One record; `None` when it is not among those given out.
    pub fn record(&self, sequence: Sequence) -> Option<Record<'_>> {
        let fields = self.fields(sequence)?;
        Some(Record {
            sequence,
            id: fields.origin.unwrap_or(RecordId { epoch: self.header.epoch, sequence }),
            route: fields.route,
            key: fields.key,
            timestamp: fields.timestamp,
            received: fields.received,
            headers: fields.headers,
            value: fields.value,
        })
    }

    fn fields(&self, sequence: Sequence) -> Option<Fields<'_>> {
        if sequence < self.from || sequence >= self.until {
            return None;
        }
        let place = usize::try_from(sequence.since(self.header.first)).ok()?;
        let mut rest = &self.raw[*self.starts.get(place)? as usize..];
        // `decode` has read this record before: it is well formed.
        take_record(&mut rest, self.header.base, &self.routes).ok()
    }
}

/// A record as its bytes say it.
struct Fields<'a> {
    route: &'a Arc<Route>,
    key: Option<&'a [u8]>,
    timestamp: Millis,
    received: Reception,
    origin: Option<RecordId>,
    headers: Vec<(&'a str, &'a [u8])>,
    value: &'a [u8],
}

fn take_record<'a>(
    rest: &mut &'a [u8],
    base: Millis,
    routes: &'a [Arc<Route>],
) -> Result<Fields<'a>, Malformed> {
    let route = usize::try_from(wire::take_varint(rest)?).map_err(|_| Malformed)?;
    let route = routes.get(route).ok_or(Malformed)?;
    let flags = wire::take_u8(rest)?;
    let at = Millis(base.0.wrapping_add(wire::take_signed(rest)?));
    let timestamp = if flags & HAS_TIMESTAMP == 0 {
        at
    } else {
        Millis(at.0.wrapping_add(wire::take_signed(rest)?))
    };
    let origin = if flags & HAS_ORIGIN == 0 {
        None
    } else {
        let epoch = Epoch(wire::take_u64(rest)?);
        Some(RecordId { epoch, sequence: Sequence(wire::take_varint(rest)?) })
    };
    let key = if flags & HAS_KEY == 0 { None } else { Some(wire::take_bytes(rest)?) };
    let mut headers = Vec::new();
    let count = wire::take_varint(rest)?;
    if count > (MAX_WEIGHT / HEADER_WEIGHT) as u64 {
        return Err(Malformed); // more than `weight` lets in
    }
    for _ in 0..count {
        headers.push((wire::take_str(rest)?, wire::take_bytes(rest)?));
    }
    let value = wire::take_bytes(rest)?;
    let received = Reception { at, clock_synchronised: flags & CLOCK_UNSYNCHRONISED == 0 };
    Ok(Fields { route, key, timestamp, received, origin, headers, value })
}
