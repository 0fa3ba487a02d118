//! Which fields does a message set, and where do their values stand?
//!
//! One pass over a message's own bytes (not those of the messages in it) notes each value in its
//! field's slot, so that they can be written in the order of the schema, whatever their order on the
//! wire: of a field that can be there once the last one counts, of a oneof the last member. Slots and the
//! places of repeated values lie on stacks that one message after the other uses, so that nothing is
//! allocated in the long run.
//!
//! [`check`] is the slow way: it looks at every value, those too that are never written because
//! another one takes their place.

#![expect(clippy::inline_always, reason = "as in `wire.rs`")]

use super::flaw::Flaw;
use super::table::{Field, Kind, Message, MessageId, Repeat, Tables};
use super::wire::{DEEPEST, Range, Reader, WireType, narrow, too_deep};

/// A value as it was read: of a varint or a fixed one its bits, else the range of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Raw {
    bits: u64,
    /// Whether it is many values behind one length.
    pub is_packed: bool,
}

impl Raw {
    fn range_of(range: Range) -> u64 {
        u64::from(range.start) << 32 | u64::from(range.end)
    }

    /// A number, as if it had been read from a varint.
    #[allow(clippy::cast_sign_loss, reason = "how protobuf writes a negative int32")]
    pub(super) fn number(number: i32) -> Self {
        Self { bits: i64::from(number) as u64, is_packed: false }
    }

    pub(super) fn bits(self) -> u64 {
        self.bits
    }

    #[allow(clippy::cast_possible_truncation, reason = "two halves")]
    pub(super) fn range(self) -> Range {
        Range { start: (self.bits >> 32) as u32, end: self.bits as u32 }
    }
}

/// What is known of a field of the message at hand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    /// How many values there are.
    pub count: u32,
    /// The only value; of several, the places of the first and the last among the occurrences.
    value: Raw,
}

impl Slot {
    /// Its values in their order.
    pub(super) fn values(self) -> Values {
        match self.count {
            0 => Values { only: None, next: NONE },
            1 => Values { only: Some(self.value), next: NONE },
            _ => Values { only: None, next: self.value.range().start },
        }
    }
}

const UNSET: Slot = Slot { count: 0, value: Raw { bits: 0, is_packed: false } };

#[derive(Debug, Clone, Copy)]
struct Occurrence {
    value: Raw,
    next: u32,
}

/// No occurrence.
const NONE: u32 = u32::MAX;

/// The stacks.
#[derive(Debug, Default)]
pub(super) struct Slots {
    stack: Vec<Slot>,
    occurrences: Vec<Occurrence>,
    /// Fields that the schema does not know, so far.
    pub unknown: u64,
}

/// A message's part of the stacks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    slots: usize,
    occurrences: usize,
    /// Whether a value was noted, and then another one in its place, without having been looked at.
    pub hides_values: bool,
}

impl Slots {
    /// Forgets everything, and gives back what an unusual message needed.
    pub(super) fn reset(&mut self) {
        const KEPT: usize = 4_096;
        self.stack.clear();
        self.stack.shrink_to(KEPT);
        self.occurrences.clear();
        self.occurrences.shrink_to(KEPT);
        self.unknown = 0;
    }

    pub(super) fn slot(&self, frame: Frame, place: usize) -> Slot {
        self.stack[frame.slots + place]
    }

    /// The only value of a slot, or the first of its occurrences.
    pub(super) fn first(&self, slot: Slot) -> Option<Raw> {
        match slot.count {
            0 => None,
            1 => Some(slot.value),
            _ => Some(self.occurrences[slot.value.range().start as usize].value),
        }
    }

    /// The message's part is no longer needed, nor any part above it.
    pub(super) fn pop(&mut self, frame: Frame) {
        self.stack.truncate(frame.slots);
        self.occurrences.truncate(frame.occurrences);
    }

    /// Notes what the bytes of a message set that is `depth` messages deep.
    pub(super) fn scan(
        &mut self,
        message: &Message,
        bytes: &[u8],
        depth: u32,
    ) -> Result<Frame, Flaw> {
        let mut frame = Frame {
            slots: self.stack.len(),
            occurrences: self.occurrences.len(),
            hides_values: false,
        };
        let count = message.fields.len() + message.oneofs;
        self.stack.resize(frame.slots + count, UNSET);
        let mut reader = Reader::new(bytes);
        while !reader.is_at_end() {
            let key = reader.key()?;
            let Some(place) = message.numbers.place(key.number) else {
                reader.skip(key, depth)?;
                self.unknown += 1;
                continue;
            };
            let field = &message.fields[place];
            let value =
                read(&mut reader, field, key.wire).map_err(|flaw| flaw.within(&field.name))?;
            if let Some(oneof) = field.oneof {
                self.choose(&mut frame, message, oneof, place);
            }
            self.note(&mut frame, field, place, value);
        }
        Ok(frame)
    }

    /// Of a oneof only the last member counts.
    fn choose(&mut self, frame: &mut Frame, message: &Message, oneof: usize, place: usize) {
        let chosen = frame.slots + message.fields.len() + oneof;
        let before = std::mem::replace(&mut self.stack[chosen].value.bits, place as u64 + 1);
        // A place of a field, and one more.
        if let Some(before) = usize::try_from(before).ok().and_then(|before| before.checked_sub(1))
            && before != place
        {
            self.stack[frame.slots + before] = UNSET;
            let hides = matches!(message.fields[before].kind, Kind::Text | Kind::Message(_));
            frame.hides_values |= hides;
        }
    }

    fn note(&mut self, frame: &mut Frame, field: &Field, place: usize, value: Raw) {
        let slot = &mut self.stack[frame.slots + place];
        if slot.count == 0 {
            *slot = Slot { count: 1, value };
            return;
        }
        if matches!(field.repeat, Repeat::Implicit | Repeat::Explicit) {
            frame.hides_values |= matches!(field.kind, Kind::Text | Kind::Message(_));
            if !matches!(field.kind, Kind::Message(_)) {
                slot.value = value;
                return;
            }
        }
        let mut push = |value| {
            self.occurrences.push(Occurrence { value, next: NONE });
            // There are fewer of them than bytes of a message.
            narrow(self.occurrences.len() - 1)
        };
        let (first, last) = if slot.count == 1 {
            let first = push(slot.value);
            (first, first)
        } else {
            let Range { start, end } = slot.value.range();
            (start, end)
        };
        let new = push(value);
        self.occurrences[last as usize].next = new;
        let ends = Range { start: first, end: new };
        slot.value = Raw { bits: Raw::range_of(ends), is_packed: false };
        slot.count = slot.count.saturating_add(1);
    }
}

/// Where a slot's values are looked through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values {
    only: Option<Raw>,
    next: u32,
}

impl Values {
    pub(super) fn next(&mut self, slots: &Slots) -> Option<Raw> {
        if let Some(only) = self.only.take() {
            return Some(only);
        }
        let occurrence = slots.occurrences.get(self.next as usize)?;
        self.next = occurrence.next;
        Some(occurrence.value)
    }
}

/// Reads a value of the field.
#[inline(always)]
fn read(reader: &mut Reader<'_>, field: &Field, wire: WireType) -> Result<Raw, Flaw> {
    let expected = field.wire;
    let is_packed = wire == WireType::Delimited && expected != WireType::Delimited;
    let packs = field.repeat == Repeat::List;
    if wire != expected && !(is_packed && packs) {
        return Err(Flaw::malformed(format!(
            "its wire type is {wire:?}, that of the schema {expected:?}"
        )));
    }
    Ok(Raw { bits: bits(reader, wire)?, is_packed })
}

#[inline(always)]
fn bits(reader: &mut Reader<'_>, wire: WireType) -> Result<u64, Flaw> {
    Ok(match wire {
        WireType::Varint => reader.varint()?,
        WireType::Fixed64 => reader.fixed64()?,
        WireType::Fixed32 => reader.fixed32()?.into(),
        // No field is a group: they are refused when the schema is compiled.
        _ => Raw::range_of(reader.delimited()?),
    })
}

/// Reads the next of the values that are packed in some bytes.
pub(super) fn unpack(reader: &mut Reader<'_>, kind: Kind) -> Result<Raw, Flaw> {
    Ok(Raw { bits: bits(reader, kind.wire())?, is_packed: false })
}

/// A text's bytes.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Flaw> {
    std::str::from_utf8(bytes).map_err(|_| Flaw::malformed("the text is not UTF-8"))
}

/// Looks at every value in the bytes of a message that is `depth` messages deep.
pub(super) fn check(tables: &Tables, id: MessageId, bytes: &[u8], depth: u32) -> Result<(), Flaw> {
    let message = &tables.messages[id];
    let mut reader = Reader::new(bytes);
    while !reader.is_at_end() {
        let key = reader.key()?;
        let Some(place) = message.numbers.place(key.number) else {
            reader.skip(key, depth)?;
            continue;
        };
        let field = &message.fields[place];
        let value = read(&mut reader, field, key.wire);
        value
            .and_then(|value| check_value(tables, field.kind, value, bytes, depth))
            .map_err(|flaw| flaw.within(&field.name))?;
    }
    Ok(())
}

fn check_value(
    tables: &Tables,
    kind: Kind,
    value: Raw,
    bytes: &[u8],
    depth: u32,
) -> Result<(), Flaw> {
    match kind {
        Kind::Message(_) if depth >= DEEPEST => Err(too_deep()),
        Kind::Message(id) => check(tables, id, value.range().of(bytes), depth + 1),
        Kind::Text => text(value.range().of(bytes)).map(drop),
        _ if value.is_packed => {
            let mut packed = Reader::new(value.range().of(bytes));
            while !packed.is_at_end() {
                unpack(&mut packed, kind)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
