//! The well-known types, whose JSON is not that of their fields.
//!
//! (<https://protobuf.dev/programming-guides/json/>.) They are scanned like any message; what differs is
//! how the values found are put together. It knows only what the types' own definitions say.

use super::super::Timestamp;
use super::super::json;
use super::flaw::Flaw;
use super::path::Here;
use super::scan::{self, Frame, Slot, Slots};
use super::table::{Kind, Message, Shape};
use super::transcode::{Captured, Place, Transcoder, deeper};
use super::wellknown;

impl Transcoder<'_> {
    /// Appends a message of that shape.
    pub(super) fn special(
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
            let found = format!("of the type {}", Flaw::quoted(url));
            return Err(Flaw::impossible(found, "of a type of the schema"));
        };
        let message = &self.tables.messages[*id];
        let mut inner = Place { bytes, depth: deeper(place)?, is_checked: false };
        self.out.extend_from_slice(b"{\"@type\":");
        json::string(self.out, url);
        if message.shape == Shape::Object && message.name != "google.protobuf.Empty" {
            let frame = self.scan(*id, &mut inner)?;
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
