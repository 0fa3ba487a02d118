//! From the bytes of a message to its JSON, by the tables, without building the message in memory.
//!
//! Each message is scanned (`scan.rs`), then its fields are written in the order of the schema; what is
//! nested is scanned in its turn. The rules are protobuf's: a field that comes twice counts once, with
//! the last value; a message that comes twice is merged, which is to read both, one after the other;
//! of a oneof the last member counts; entries of a map are written in the order of their keys.
//!
//! Memory is bounded by the message and by [`LONGEST`]. It does not know which schema it is, nor what
//! becomes of the JSON.

use super::super::Timestamp;
use super::super::json;
use super::flaw::Flaw;
use super::map_key::MapKey;
use super::path::{Here, Wanted};
use super::scalar;
use super::scan::{self, Frame, Raw, Slot, Slots};
use super::table::{Field, Kind, Message, MessageId, Repeat, Shape, Tables};
use super::wire::{DEEPEST, Reader, too_deep};

/// Bytes of JSON, and of merged messages, at most. A list of enums can be two hundred times as long as
/// its bytes.
const LONGEST: usize = 4 << 20;

/// What was wanted for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Captured {
    /// A single value as it stands in the JSON, without quotes, and a text without escapes.
    Text(Vec<u8>),
    Time(Timestamp),
}

/// Where a value stands: in the bytes of a message that is so deep.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'b> {
    pub bytes: &'b [u8],
    pub depth: u32,
    /// Whether every value in it was looked at.
    pub is_checked: bool,
}

/// One conversion.
pub(super) struct Transcoder<'a> {
    pub tables: &'a Tables,
    pub slots: &'a mut Slots,
    pub out: &'a mut Vec<u8>,
    /// Bytes of merged messages that are held at once.
    pub merged: usize,
    /// By the numbers that [`Wanted`] names.
    pub captured: &'a mut [Option<Captured>],
}

impl Transcoder<'_> {
    /// Appends the JSON of the route's message.
    pub(super) fn run(&mut self, id: MessageId, bytes: &[u8], wanted: &Wanted) -> Result<(), Flaw> {
        let here = Here { leaf: None, inner: Some(wanted) };
        self.message(id, Place { bytes, depth: 0, is_checked: false }, here)
    }

    pub(super) fn message(
        &mut self,
        id: MessageId,
        place: Place<'_>,
        here: Here<'_>,
    ) -> Result<(), Flaw> {
        let tables = self.tables;
        let message = &tables.messages[id];
        if place.bytes.is_empty() && message.shape == Shape::Object {
            self.out.extend_from_slice(b"{}");
            return Ok(());
        }
        let mut place = place;
        let frame = self.scan(id, &mut place)?;
        match message.shape {
            Shape::Object => self.object(message, frame, place, here),
            special => self.special(special, message, frame, place, here),
        }?;
        self.slots.pop(frame);
        self.check_length()
    }

    /// Notes what a message sets, and looks at the values that others take the place of.
    pub(super) fn scan(&mut self, id: MessageId, place: &mut Place<'_>) -> Result<Frame, Flaw> {
        let tables = self.tables;
        let frame = self.slots.scan(&tables.messages[id], place.bytes, place.depth)?;
        if frame.hides_values && !place.is_checked {
            scan::check(tables, id, place.bytes, place.depth)?;
            place.is_checked = true;
        }
        Ok(frame)
    }

    pub(super) fn object(
        &mut self,
        message: &Message,
        frame: Frame,
        place: Place<'_>,
        here: Here<'_>,
    ) -> Result<(), Flaw> {
        let start = self.out.len();
        self.members(message, frame, place, here)?;
        json::close(self.out, start);
        Ok(())
    }

    /// Appends the fields that are set, each behind a comma.
    pub(super) fn members(
        &mut self,
        message: &Message,
        frame: Frame,
        place: Place<'_>,
        here: Here<'_>,
    ) -> Result<(), Flaw> {
        for (number, field) in message.fields.iter().enumerate() {
            let slot = self.slots.slot(frame, number);
            if slot.count == 0 {
                continue;
            }
            let here = here.inner.map_or_else(Here::default, |wanted| wanted.at(number));
            self.member(field, slot, place, here).map_err(|flaw| flaw.within(&field.name))?;
        }
        Ok(())
    }

    fn member(
        &mut self,
        field: &Field,
        slot: Slot,
        place: Place<'_>,
        here: Here<'_>,
    ) -> Result<(), Flaw> {
        let start = self.out.len();
        match field.repeat {
            Repeat::Implicit => {
                let Some(value) =
                    self.slots.first(slot).filter(|raw| !scalar::is_default(field.kind, *raw))
                else {
                    return Ok(());
                };
                field.label.write(self.out);
                self.value(field.kind, value, place, here)
            }
            Repeat::Explicit => {
                field.label.write(self.out);
                self.singular(field.kind, slot, place, here)
            }
            Repeat::List => {
                field.label.write(self.out);
                // An empty list counts as unset.
                if !self.list(field.kind, slot, place)? {
                    self.out.truncate(start);
                }
                Ok(())
            }
            Repeat::Map => {
                field.label.write(self.out);
                self.map(field.kind, slot, place)
            }
        }
    }

    /// Appends the one value of a slot that is set.
    pub(super) fn singular(
        &mut self,
        kind: Kind,
        slot: Slot,
        place: Place<'_>,
        here: Here<'_>,
    ) -> Result<(), Flaw> {
        let Some(first) = self.slots.first(slot) else { return Ok(()) };
        if slot.count == 1 {
            return self.value(kind, first, place, here);
        }
        // Only a message has several: it is what they say together.
        let Kind::Message(id) = kind else { return Err(Flaw::malformed("two values for one")) };
        let mut merged = Vec::new();
        let mut values = slot.values();
        while let Some(value) = values.next(self.slots) {
            merged.extend_from_slice(value.range().of(place.bytes));
        }
        // Those of the messages around it are there still: they could be as many as it is deep.
        self.merged += merged.len();
        if self.merged > LONGEST {
            return Err(Flaw::too_long());
        }
        let depth = deeper(place)?;
        self.message(id, Place { bytes: &merged, depth, ..place }, here)?;
        self.merged -= merged.len();
        Ok(())
    }

    /// Appends one value.
    #[inline]
    fn value(
        &mut self,
        kind: Kind,
        raw: Raw,
        place: Place<'_>,
        here: Here<'_>,
    ) -> Result<(), Flaw> {
        if let Kind::Message(id) = kind {
            let (bytes, depth) = (raw.range().of(place.bytes), deeper(place)?);
            return self.message(id, Place { bytes, depth, ..place }, here);
        }
        let start = self.out.len();
        self.scalar(kind, raw, place.bytes)?;
        if let Some(number) = here.leaf {
            self.captured[number] = Some(Captured::Text(match kind {
                Kind::Text => raw.range().of(place.bytes).to_vec(),
                _ => self.out[start..].iter().copied().filter(|b| *b != b'"').collect(),
            }));
        }
        Ok(())
    }

    #[inline]
    fn scalar(&mut self, kind: Kind, raw: Raw, bytes: &[u8]) -> Result<(), Flaw> {
        scalar::write(self.out, &self.tables.enums, kind, raw, bytes)
    }

    fn check_length(&self) -> Result<(), Flaw> {
        if self.out.len() > LONGEST { Err(Flaw::too_long()) } else { Ok(()) }
    }

    /// Appends a list; whether it has a value.
    pub(super) fn list(&mut self, kind: Kind, slot: Slot, place: Place<'_>) -> Result<bool, Flaw> {
        let start = self.out.len();
        let mut values = slot.values();
        while let Some(value) = values.next(self.slots) {
            if !value.is_packed {
                self.out.push(b',');
                self.value(kind, value, place, Here::default())?;
                self.check_length()?;
                continue;
            }
            let mut packed = Reader::new(value.range().of(place.bytes));
            while !packed.is_at_end() {
                self.out.push(b',');
                self.scalar(kind, scan::unpack(&mut packed, kind)?, place.bytes)?;
                self.check_length()?;
            }
        }
        let Some(comma) = self.out.get_mut(start) else { return Ok(false) };
        *comma = b'[';
        self.out.push(b']');
        Ok(true)
    }

    /// Appends a map in the order of its keys. `kind` is that of its entries.
    pub(super) fn map(&mut self, kind: Kind, slot: Slot, place: Place<'_>) -> Result<(), Flaw> {
        let Kind::Message(id) = kind else { return Ok(()) };
        let tables = self.tables;
        let entry = &tables.messages[id];
        let [key_field, value_field] = &entry.fields[..] else { return Ok(()) };
        let depth = deeper(place)?;

        // Of each entry: its key, where it stands, and the slot of its value unless it has several.
        let mut entries = Vec::with_capacity(slot.count as usize);
        let mut values = slot.values();
        while let Some(value) = values.next(self.slots) {
            let bytes = value.range().of(place.bytes);
            let mut inner = Place { bytes, depth, ..place };
            let frame = self.scan(id, &mut inner)?;
            let key = self.slots.first(self.slots.slot(frame, 0));
            let only = Some(self.slots.slot(frame, 1)).filter(|slot| slot.count <= 1);
            entries.push((MapKey::new(key_field.kind, key, bytes)?, inner, only));
            self.slots.pop(frame);
        }
        // The last of equal ones is the one that counts; the order of equal ones is kept.
        entries.sort_by(|(a, ..), (b, ..)| a.cmp(b));

        let start = self.out.len();
        let mut entries = entries.into_iter().peekable();
        while let Some((key, inner, only)) = entries.next() {
            if entries.peek().is_some_and(|(next, ..)| *next == key) {
                if !inner.is_checked {
                    scan::check(tables, id, inner.bytes, depth)?;
                }
                continue;
            }
            self.out.push(b',');
            key.write(self.out);
            self.out.push(b':');
            let within = |flaw: Flaw| flaw.within(&value_field.name);
            if let Some(slot) = only {
                self.or_default(value_field.kind, slot, inner).map_err(within)?;
            } else {
                // It was scanned before: its own unknown fields were counted then.
                let unknown = self.slots.unknown;
                let frame = self.slots.scan(entry, inner.bytes, depth)?;
                self.slots.unknown = unknown;
                let slot = self.slots.slot(frame, 1);
                self.or_default(value_field.kind, slot, inner).map_err(within)?;
                self.slots.pop(frame);
            }
            self.check_length()?;
        }
        json::close(self.out, start);
        Ok(())
    }

    /// Appends the value of a slot, or what counts as its value when it is unset.
    pub(super) fn or_default(
        &mut self,
        kind: Kind,
        slot: Slot,
        place: Place<'_>,
    ) -> Result<(), Flaw> {
        if slot.count > 0 {
            return self.singular(kind, slot, place, Here::default());
        }
        match kind {
            Kind::Message(id) => {
                let depth = deeper(place)?;
                self.message(id, Place { bytes: &[], depth, ..place }, Here::default())
            }
            Kind::Enum(id) => {
                let number = self.tables.enums[id].default;
                self.scalar(kind, Raw::number(number), &[])
            }
            _ => self.scalar(kind, Raw::number(0), &[]),
        }
    }
}

/// How deep a message in this one is.
pub(super) fn deeper(place: Place<'_>) -> Result<u32, Flaw> {
    if place.depth >= DEEPEST { Err(too_deep()) } else { Ok(place.depth + 1) }
}
