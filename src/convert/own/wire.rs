//! Protobuf's wire format: keys, varints, and where a value ends.
//!
//! What is refused here is what prost refuses (`prost::encoding`): a varint of more than ten bytes
//! or 64 bits, a key beyond 32 bits, the field 0, the wire types 6 and 7, a value that ends behind the
//! message, groups that end without having begun, and what is nested deeper than [`DEEPEST`]. It does
//! not know any schema.

#![expect(
    clippy::inline_always,
    reason = "asked for as usual it is not done, and a field costs a sixth more (`cargo bench --bench convert`)"
)]

use super::flaw::Flaw;

/// Messages inside messages, at most: prost's limit. An entry of a map counts as one.
pub(super) const DEEPEST: u32 = 100;

/// How a value stands in the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WireType {
    Varint,
    Fixed64,
    /// Behind its length: texts, bytes, messages, packed lists.
    Delimited,
    GroupStart,
    GroupEnd,
    Fixed32,
}

/// A field's number and its wire type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    pub number: u32,
    pub wire: WireType,
}

/// Reads on through bytes. The places that it tells are counted from their beginning.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A range of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub start: u32,
    pub end: u32,
}

impl Range {
    pub(super) fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }

    pub(super) fn is_empty(self) -> bool {
        self.start == self.end
    }
}

impl<'a> Reader<'a> {
    /// A reader of bytes that [`Range`] can count.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    #[inline]
    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    #[inline(always)]
    pub(super) fn key(&mut self) -> Result<Key, Flaw> {
        let key = self.varint()?;
        let Ok(key) = u32::try_from(key) else {
            return Err(Flaw::malformed("a field's number is out of range"));
        };
        let number = key >> 3;
        if number == 0 {
            return Err(Flaw::malformed("there is no field 0"));
        }
        let wire = match key & 7 {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            2 => WireType::Delimited,
            3 => WireType::GroupStart,
            4 => WireType::GroupEnd,
            5 => WireType::Fixed32,
            other => return Err(Flaw::malformed(format!("there is no wire type {other}"))),
        };
        Ok(Key { number, wire })
    }

    #[inline(always)]
    pub(super) fn varint(&mut self) -> Result<u64, Flaw> {
        match self.bytes[self.at..] {
            [byte, ..] if byte < 0x80 => {
                self.at += 1;
                Ok(byte.into())
            }
            // The key of a field above 15, for one.
            [low, high, ..] if high < 0x80 => {
                self.at += 2;
                Ok(u64::from(low & 0x7f) | u64::from(high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64, Flaw> {
        let mut value = 0;
        for (place, &byte) in self.bytes[self.at..].iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                if place == 9 && byte > 1 {
                    break;
                }
                self.at += place + 1;
                return Ok(value);
            }
        }
        let is_cut = self.bytes.len() - self.at < 10;
        Err(Flaw::malformed(if is_cut { CUT } else { "a number has more than 64 bits" }))
    }

    #[inline(always)]
    pub(super) fn fixed64(&mut self) -> Result<u64, Flaw> {
        let bytes = self.bytes[self.at..].first_chunk().ok_or_else(cut)?;
        self.at += 8;
        Ok(u64::from_le_bytes(*bytes))
    }

    #[inline(always)]
    pub(super) fn fixed32(&mut self) -> Result<u32, Flaw> {
        let bytes = self.bytes[self.at..].first_chunk().ok_or_else(cut)?;
        self.at += 4;
        Ok(u32::from_le_bytes(*bytes))
    }

    /// What stands behind its length.
    #[inline(always)]
    pub(super) fn delimited(&mut self) -> Result<Range, Flaw> {
        let length = self.varint()?;
        let left = self.bytes.len() - self.at;
        let length = usize::try_from(length).ok().filter(|length| *length <= left);
        let start = self.at;
        self.at += length.ok_or_else(cut)?;
        Ok(Range { start: narrow(start), end: narrow(self.at) })
    }

    /// Passes over a field in a message that is `depth` messages deep.
    pub(super) fn skip(&mut self, key: Key, depth: u32) -> Result<(), Flaw> {
        // The groups that are open. Their depth is bounded, so that this is small.
        let mut groups = Vec::new();
        let mut key = key;
        loop {
            if depth as usize + groups.len() >= DEEPEST as usize && key.wire != WireType::GroupEnd {
                return Err(too_deep());
            }
            match key.wire {
                WireType::Varint => drop(self.varint()?),
                WireType::Fixed64 => drop(self.fixed64()?),
                WireType::Fixed32 => drop(self.fixed32()?),
                WireType::Delimited => drop(self.delimited()?),
                WireType::GroupStart => groups.push(key.number),
                WireType::GroupEnd => {
                    if groups.pop() != Some(key.number) {
                        return Err(Flaw::malformed("a group ends that did not begin"));
                    }
                }
            }
            if groups.is_empty() {
                return Ok(());
            }
            key = self.key()?;
        }
    }
}

const CUT: &str = "the bytes end in the middle of a field";

fn cut() -> Flaw {
    Flaw::malformed(CUT)
}

pub(super) fn too_deep() -> Flaw {
    Flaw::malformed(format!("messages are nested more than {DEEPEST} deep"))
}

/// A place in a message: those are far smaller than 4 GiB, see `Converter::convert`.
#[allow(clippy::cast_possible_truncation, reason = "the front door refuses longer messages")]
pub(super) fn narrow(at: usize) -> u32 {
    at as u32
}
