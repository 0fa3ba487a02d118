//! From the bytes of a message to its JSON, by the tables, without building the message in memory.
//!
//! Each message is scanned (`scan.rs`), then its fields are written in the order of the schema; what is
//! nested is scanned in its turn. The rules are protobuf's: a field that comes twice counts once, with
//! the last value; a message that comes twice is merged, which is to read both, one after the other;
//! of a oneof the last member counts; entries of a map are written in the order of their keys.
//!
//! Memory is bounded by the message, by the depth (`wire::DEEPEST`) and by [`LONGEST`]. It does not know
//! which schema it is, nor what becomes of the JSON.

use super::super::Timestamp;
use super::super::json;
use super::flaw::Flaw;
use super::path::{Here, Wanted};
use super::scan::{self, Frame, Raw, Slot, Slots};
use super::table::{Field, Kind, Message, MessageId, Repeat, Shape, Tables};
use super::wellknown;
use super::wire::{DEEPEST, Reader, too_deep};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::cmp::Ordering;

/// Bytes of JSON, at most. A list of enums can be two hundred times as long as its bytes.
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
struct Place<'b> {
    bytes: &'b [u8],
    depth: u32,
    /// Whether every value in it was looked at.
    is_checked: bool,
}

/// One conversion.
pub(super) struct Transcoder<'a> {
    pub tables: &'a Tables,
    pub slots: &'a mut Slots,
    pub out: &'a mut Vec<u8>,
    /// By the numbers that [`Wanted`] names.
    pub captured: &'a mut [Option<Captured>],
}

impl Transcoder<'_> {
    /// Appends the JSON of the route's message.
    pub(super) fn run(&mut self, id: MessageId, bytes: &[u8], wanted: &Wanted) -> Result<(), Flaw> {
        let here = Here { leaf: None, inner: Some(wanted) };
        self.message(id, Place { bytes, depth: 0, is_checked: false }, here)
    }

    fn message(&mut self, id: MessageId, place: Place<'_>, here: Here<'_>) -> Result<(), Flaw> {
        let tables = self.tables;
        let message = &tables.messages[id];
        let frame = self.slots.scan(message, place.bytes, place.depth)?;
        let mut place = place;
        if frame.hides_values && !place.is_checked {
            scan::check(tables, id, place.bytes, place.depth)?;
            place.is_checked = true;
        }
        match message.shape {
            Shape::Object => self.object(message, frame, place, here),
            other => self.well_known(other, message, frame, place, here),
        }?;
        self.slots.pop(frame);
        if self.out.len() > LONGEST { Err(Flaw::too_long()) } else { Ok(()) }
    }

    fn object(
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
    fn members(
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
                    self.slots.first(slot).filter(|raw| !is_default(field.kind, *raw))
                else {
                    return Ok(());
                };
                self.out.extend_from_slice(&field.label);
                self.value(field.kind, value, place, here)
            }
            Repeat::Explicit => {
                self.out.extend_from_slice(&field.label);
                self.singular(field.kind, slot, place, here)
            }
            Repeat::List => {
                self.out.extend_from_slice(&field.label);
                // An empty list counts as unset.
                if !self.list(field.kind, slot, place)? {
                    self.out.truncate(start);
                }
                Ok(())
            }
            Repeat::Map => {
                self.out.extend_from_slice(&field.label);
                self.map(field.kind, slot, place)
            }
        }
    }

    /// Appends the one value of a slot that is set.
    fn singular(
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
        let depth = deeper(place)?;
        self.message(id, Place { bytes: &merged, depth, ..place }, here)
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
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "protobuf's rule: of a varint that is too large for its field the low bits count"
    )]
    fn scalar(&mut self, kind: Kind, raw: Raw, bytes: &[u8]) -> Result<(), Flaw> {
        let (out, bits) = (&mut *self.out, raw.bits());
        match kind {
            Kind::Double => json::float(out, f64::from_bits(bits)),
            Kind::Float => json::float(out, f32::from_bits(bits as u32)),
            Kind::Int32 | Kind::Sfixed32 => json::small_integer(out, bits as i32),
            Kind::Uint32 | Kind::Fixed32 => json::small_integer(out, bits as u32),
            Kind::Sint32 => json::small_integer(out, zigzag(u64::from(bits as u32)) as i32),
            Kind::Int64 | Kind::Sfixed64 => json::big_integer(out, bits as i64),
            Kind::Uint64 | Kind::Fixed64 => json::big_integer(out, bits),
            Kind::Sint64 => json::big_integer(out, zigzag(bits)),
            Kind::Bool => json::boolean(out, bits != 0),
            Kind::Text => json::string(out, scan::text(raw.range().of(bytes))?),
            Kind::Bytes => base64(out, raw.range().of(bytes)),
            Kind::Enum(id) => match self.tables.enums[id].name(bits as i32) {
                Some(name) => out.extend_from_slice(name),
                None => json::small_integer(out, bits as i32),
            },
            // Where there is one, `value` has written it.
            Kind::Message(_) => {}
        }
        Ok(())
    }

    /// Appends a list; whether it has a value.
    fn list(&mut self, kind: Kind, slot: Slot, place: Place<'_>) -> Result<bool, Flaw> {
        let start = self.out.len();
        let mut values = slot.values();
        while let Some(value) = values.next(self.slots) {
            if !value.is_packed {
                self.out.push(b',');
                self.value(kind, value, place, Here::default())?;
                continue;
            }
            let mut packed = Reader::new(value.range().of(place.bytes));
            while !packed.is_at_end() {
                self.out.push(b',');
                self.scalar(kind, scan::unpack(&mut packed, kind)?, place.bytes)?;
                if self.out.len() > LONGEST {
                    return Err(Flaw::too_long());
                }
            }
        }
        let Some(comma) = self.out.get_mut(start) else { return Ok(false) };
        *comma = b'[';
        self.out.push(b']');
        Ok(true)
    }

    /// Appends a map in the order of its keys. `kind` is that of its entries.
    fn map(&mut self, kind: Kind, slot: Slot, place: Place<'_>) -> Result<(), Flaw> {
        let Kind::Message(id) = kind else { return Ok(()) };
        let tables = self.tables;
        let entry = &tables.messages[id];
        let [key_field, value_field] = &entry.fields[..] else { return Ok(()) };
        let depth = deeper(place)?;

        let mut entries = Vec::with_capacity(slot.count as usize);
        let mut values = slot.values();
        while let Some(value) = values.next(self.slots) {
            let bytes = value.range().of(place.bytes);
            let frame = self.slots.scan(entry, bytes, depth)?;
            if frame.hides_values && !place.is_checked {
                scan::check(tables, id, bytes, depth)?;
            }
            let key = self.slots.first(self.slots.slot(frame, 0));
            entries.push((MapKey::new(key_field.kind, key, bytes)?, value));
            self.slots.pop(frame);
        }
        // The last of equal ones is the one that counts; the order of equal ones is kept.
        entries.sort_by(|(a, _), (b, _)| a.compare(b));

        let start = self.out.len();
        let mut entries = entries.into_iter().peekable();
        while let Some((key, value)) = entries.next() {
            let bytes = value.range().of(place.bytes);
            if entries.peek().is_some_and(|(next, _)| next.compare(&key) == Ordering::Equal) {
                if !place.is_checked {
                    scan::check(tables, id, bytes, depth)?;
                }
                continue;
            }
            self.out.push(b',');
            key.write(self.out);
            self.out.push(b':');
            // It was scanned before: its own unknown fields were counted then.
            let unknown = self.slots.unknown;
            let frame = self.slots.scan(entry, bytes, depth)?;
            self.slots.unknown = unknown;
            let inner = Place { bytes, depth, ..place };
            let slot = self.slots.slot(frame, 1);
            self.or_default(value_field.kind, slot, inner)
                .map_err(|flaw| flaw.within(&value_field.name))?;
            self.slots.pop(frame);
        }
        json::close(self.out, start);
        Ok(())
    }

    /// Appends the value of a slot, or what counts as its value when it is unset.
    fn or_default(&mut self, kind: Kind, slot: Slot, place: Place<'_>) -> Result<(), Flaw> {
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

    fn well_known(
        &mut self,
        shape: Shape,
        message: &Message,
        frame: Frame,
        place: Place<'_>,
        here: Here<'_>,
    ) -> Result<(), Flaw> {
        let slot = |slots: &Slots, number| slots.slot(frame, number);
        match shape {
            Shape::Object => self.object(message, frame, place, here),
            Shape::Timestamp => {
                let time = Timestamp { seconds: self.integer(frame, 0), nanos: self.nanos(frame) };
                if let Some(number) = here.leaf {
                    self.captured[number] = Some(Captured::Time(time));
                }
                wellknown::timestamp(self.out, time)
            }
            Shape::Duration => {
                let (seconds, nanos) = (self.integer(frame, 0), self.nanos(frame));
                wellknown::duration(self.out, seconds, nanos)
            }
            Shape::Wrapper => {
                let slot = slot(self.slots, 0);
                self.or_default(message.fields[0].kind, slot, place)
            }
            Shape::Struct => {
                let slot = slot(self.slots, 0);
                self.map(message.fields[0].kind, slot, place)
            }
            Shape::List => {
                let slot = slot(self.slots, 0);
                if !self.list(message.fields[0].kind, slot, place)? {
                    self.out.extend_from_slice(b"[]");
                }
                Ok(())
            }
            Shape::Value => self.dynamic_value(message, frame, place),
            Shape::FieldMask => self.mask(slot(self.slots, 0), place.bytes),
            Shape::Any => self.any(frame, place),
        }
    }

    /// The one member of a `google.protobuf.Value`; one that has none is null.
    fn dynamic_value(
        &mut self,
        message: &Message,
        frame: Frame,
        place: Place<'_>,
    ) -> Result<(), Flaw> {
        for (number, field) in message.fields.iter().enumerate() {
            let slot = self.slots.slot(frame, number);
            let Some(first) = self.slots.first(slot) else { continue };
            if field.kind == Kind::Double && !f64::from_bits(first.bits()).is_finite() {
                let found = f64::from_bits(first.bits()).to_string();
                let flaw = Flaw::impossible(found, "a finite number, as a google.protobuf.Value");
                return Err(flaw.within(&field.name));
            }
            // Of `NullValue` any number is null.
            if matches!(field.kind, Kind::Enum(_)) {
                break;
            }
            let singular = self.singular(field.kind, slot, place, Here::default());
            return singular.map_err(|flaw| flaw.within(&field.name));
        }
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn mask(&mut self, slot: Slot, bytes: &[u8]) -> Result<(), Flaw> {
        let mut joined = String::new();
        let mut values = slot.values();
        let mut is_first = true;
        while let Some(value) = values.next(self.slots) {
            if !std::mem::take(&mut is_first) {
                joined.push(',');
            }
            wellknown::mask_path(&mut joined, scan::text(value.range().of(bytes))?)?;
        }
        json::string(self.out, &joined);
        Ok(())
    }

    /// The message that a `google.protobuf.Any` holds, with its type; where the schema has it.
    fn any(&mut self, frame: Frame, place: Place<'_>) -> Result<(), Flaw> {
        let range = |slots: &Slots, number| {
            let raw = slots.first(slots.slot(frame, number));
            raw.map_or(&[][..], |raw| raw.range().of(place.bytes))
        };
        let (url, bytes) = (scan::text(range(self.slots, 0))?, range(self.slots, 1));
        if url.is_empty() && bytes.is_empty() {
            self.out.extend_from_slice(b"{}");
            return Ok(());
        }
        let (_, name) = url.rsplit_once('/').unwrap_or(("", url));
        let Some(id) = self.tables.by_name.get(name) else {
            return Err(Flaw::impossible(
                format!("of the type {url:?}"),
                "of a type of the schema",
            ));
        };
        let message = &self.tables.messages[*id];
        let inner = Place { bytes, depth: deeper(place)?, is_checked: false };
        self.out.extend_from_slice(b"{\"@type\":");
        json::string(self.out, url);
        if message.shape == Shape::Object && message.name != "google.protobuf.Empty" {
            let frame = self.slots.scan(message, bytes, inner.depth)?;
            if frame.hides_values {
                scan::check(self.tables, *id, bytes, inner.depth)?;
            }
            self.members(message, frame, inner, Here::default())?;
            self.slots.pop(frame);
        } else {
            self.out.extend_from_slice(b",\"value\":");
            self.message(*id, inner, Here::default())?;
        }
        self.out.push(b'}');
        Ok(())
    }

    #[allow(clippy::cast_possible_wrap, reason = "protobuf's rule for an int64")]
    fn integer(&self, frame: Frame, number: usize) -> i64 {
        self.slots.first(self.slots.slot(frame, number)).map_or(0, |raw| raw.bits() as i64)
    }

    #[allow(clippy::cast_possible_truncation, reason = "protobuf's rule for an int32")]
    fn nanos(&self, frame: Frame) -> i32 {
        self.integer(frame, 1) as i32
    }
}

/// How deep a message in this one is.
fn deeper(place: Place<'_>) -> Result<u32, Flaw> {
    if place.depth >= DEEPEST { Err(too_deep()) } else { Ok(place.depth + 1) }
}

/// Whether a value of a field without presence counts as unset. -0 is not 0, as in Go.
#[allow(clippy::cast_possible_truncation, reason = "of a value of 32 bits those count")]
fn is_default(kind: Kind, raw: Raw) -> bool {
    match kind {
        Kind::Text | Kind::Bytes | Kind::Message(_) => raw.range().is_empty(),
        Kind::Int32 | Kind::Uint32 | Kind::Sint32 | Kind::Enum(_) => raw.bits() as u32 == 0,
        _ => raw.bits() == 0,
    }
}

/// A signed number that was written so that small negative ones are short.
#[allow(clippy::cast_possible_wrap, reason = "the half of a u64 is an i64")]
fn zigzag(bits: u64) -> i64 {
    (bits >> 1) as i64 ^ -((bits & 1) as i64)
}

fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // There is room for all of it: four characters for each three bytes that have begun.
    let written = BASE64_STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or_default();
    out.truncate(start + written);
    out.push(b'"');
}

/// The key of a map's entry. All keys of a map are of one kind.
#[derive(Debug)]
enum MapKey<'b> {
    Signed(i64),
    Unsigned(u64),
    Bool(bool),
    Text(&'b str),
}

impl<'b> MapKey<'b> {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "as in `Transcoder::scalar`"
    )]
    fn new(kind: Kind, raw: Option<Raw>, bytes: &'b [u8]) -> Result<Self, Flaw> {
        let Some(raw) = raw else {
            return Ok(match kind {
                Kind::Text => Self::Text(""),
                Kind::Bool => Self::Bool(false),
                _ => Self::Unsigned(0),
            });
        };
        let bits = raw.bits();
        Ok(match kind {
            Kind::Text => {
                Self::Text(scan::text(raw.range().of(bytes)).map_err(|f| f.within("key"))?)
            }
            Kind::Bool => Self::Bool(bits != 0),
            Kind::Int32 | Kind::Sfixed32 => Self::Signed((bits as i32).into()),
            Kind::Sint32 => Self::Signed((zigzag(u64::from(bits as u32)) as i32).into()),
            Kind::Int64 | Kind::Sfixed64 => Self::Signed(bits as i64),
            Kind::Sint64 => Self::Signed(zigzag(bits)),
            Kind::Uint32 | Kind::Fixed32 => Self::Unsigned((bits as u32).into()),
            _ => Self::Unsigned(bits),
        })
    }

    fn compare(&self, other: &Self) -> Ordering {
        let number = |key: &Self| match key {
            Self::Signed(number) => i128::from(*number),
            Self::Unsigned(number) => i128::from(*number),
            Self::Bool(flag) => i128::from(*flag),
            Self::Text(_) => 0,
        };
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            _ => number(self).cmp(&number(other)),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => json::string(out, text),
            Self::Signed(number) => json::big_integer(out, *number),
            Self::Unsigned(number) => json::big_integer(out, *number),
            Self::Bool(true) => out.extend_from_slice(b"\"true\""),
            Self::Bool(false) => out.extend_from_slice(b"\"false\""),
        }
    }
}
