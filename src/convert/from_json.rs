//! One message as proto3 JSON, in any spelling that the mapping allows, to its bytes.
//!
//! What the [JSON mapping] says of readers holds: names as in the JSON or as in the schema, integers as
//! numbers or texts, enums by name or number, `null` for unset. Where it leaves a choice, and a message
//! could be taken for another one than was meant, it is refused: a name that the schema does not have, a
//! name or a key that stands twice, two members of one oneof, a number that its type cannot hold.
//! Every refusal says where, and nothing of what was sent at length.
//!
//! Why not `prost-reflect`'s own reader: it panics at `null` for a list of `google.protobuf.Value`,
//! takes 2^64 for 2^64 - 1, and of two members with one name keeps the last. The tests
//! hold this one to it in everything else. Memory and stack are bounded by the text: it may nest 127 deep
//! (`serde_json`'s limit) and messages 100 (`prost`'s).
//!
//! - `scalar.rs`: single values
//! - `known.rs`: the messages that the mapping writes in a way of their own
//!
//! [JSON mapping]: https://protobuf.dev/programming-guides/json/

mod known;
mod scalar;
#[cfg(test)]
mod tests;

use super::ConvertError;
use prost_reflect::{Cardinality, FieldDescriptor, Kind, MessageDescriptor};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;

/// Messages in messages, at most: as many as are read from the wire.
const DEEPEST: usize = 100;
/// Characters of a refusal, at most: a text that is wrong is not sent back whole.
const LONGEST_WHY: usize = 200;
/// Characters of a name that are looked at for the nearest one, and shown of what was found.
const SHOWN: usize = 40;
/// How many of the steps to what is wrong are shown: of a path, the end.
const LONGEST_PATH: usize = 8;

/// The bytes of the message that is written there.
pub(super) fn read(message: &MessageDescriptor, text: &[u8]) -> Result<Vec<u8>, ConvertError> {
    let trace = Trace::default();
    let at = At { trace: &trace, depth: 0 };
    parse(message, text, at).map_err(|why| {
        let steps = trace.steps.take();
        let mut path: String = steps.iter().rev().map(String::as_str).collect();
        if !path.is_empty() {
            path = format!("{}: ", path.trim_start_matches('.'));
        }
        ConvertError::Malformed {
            message: message.full_name().to_owned(),
            why: format!("{path}{why}"),
        }
    })
}

fn parse(message: &MessageDescriptor, text: &[u8], at: At<'_>) -> Result<Vec<u8>, String> {
    let whole = std::str::from_utf8(text)
        .map_err(|error| format!("it is not UTF-8{}", place(text, error.valid_up_to())))?;
    // Some programs put a byte order mark before any text; it is no part of it.
    let text = whole.strip_prefix('\u{feff}').unwrap_or(whole);
    let mut out = Vec::new();
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = Body { message, out: &mut out, at }.deserialize(&mut reader);
    read.and_then(|()| reader.end()).map_err(|error| {
        let place = match at.trace.start.get() {
            Some(start) => place(text.as_bytes(), start.saturating_sub(text.as_ptr().addr())),
            None => format!(" at line {}, column {}", error.line(), error.column()),
        };
        format!("{}{place}", shortened(&said(&error), LONGEST_WHY))
    })?;
    Ok(out)
}

/// Where in the text so many bytes stand before.
fn place(text: &[u8], offset: usize) -> String {
    let before = &text[..offset.min(text.len())];
    let line = 1 + memchr::memchr_iter(b'\n', before).count();
    let column = 1 + before.len() - memchr::memrchr(b'\n', before).map_or(0, |end| end + 1);
    format!(" at line {line}, column {column}")
}

/// What an error says, without the place that `serde_json` adds.
fn said(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).map(ToOwned::to_owned).unwrap_or(text)
}

/// The beginning of a text that may be long.
fn shortened(text: &str, longest: usize) -> Cow<'_, str> {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// The way to what is wrong.
#[derive(Debug, Default)]
struct Trace {
    /// From the inside to the outside.
    steps: RefCell<Vec<String>>,
    /// The address at which a value begins that is wrong: a part of the text that is read.
    start: Cell<Option<usize>>,
}

/// Where in the message the reader is.
#[derive(Debug, Clone, Copy)]
struct At<'a> {
    trace: &'a Trace,
    depth: usize,
}

impl At<'_> {
    /// Inside a message of this one.
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth + 1;
        if depth > DEEPEST {
            return Err(E::custom(format_args!("messages may nest {DEEPEST} deep")));
        }
        Ok(Self { depth, ..self })
    }

    /// Notes that this value is wrong, unless one inside it is.
    fn wrong(self, value: &RawValue) {
        let start = &self.trace.start;
        start.set(start.get().or(Some(value.get().as_ptr().addr())));
    }

    /// Notes a step of the way to what is wrong.
    fn within(self, step: impl FnOnce() -> String) {
        let mut steps = self.trace.steps.borrow_mut();
        if steps.len() < LONGEST_PATH {
            steps.push(step());
        }
    }
}

/// A message, of which the fields are appended.
struct Body<'a> {
    message: &'a MessageDescriptor,
    out: &'a mut Vec<u8>,
    at: At<'a>,
}

impl<'de> DeserializeSeed<'de> for Body<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        if known::is_known(self.message) {
            return known::read(self, reader);
        }
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Body<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { message, out, at } = self;
        let (mut seen, mut set) = (Vec::new(), Vec::new());
        while let Some(name) = members.next_key::<Cow<'de, str>>()? {
            let by_name = || message.get_field_by_name(&name);
            let Some(field) = message.get_field_by_json_name(&name).or_else(by_name) else {
                return Err(unknown(message, &name));
            };
            let number = field.number();
            if seen.contains(&number) {
                return Err(A::Error::custom(format_args!("{:?} stands twice", field.name())));
            }
            seen.push(number);
            let member = Member { field: &field, out, at };
            let is_set = members.next_value_seed(member).inspect_err(|_| {
                at.within(|| format!(".{}", field.name()));
            })?;
            if !is_set {
                continue;
            }
            if let Some(oneof) = field.containing_oneof()
                && let Some(other) = oneof.fields().find(|other| set.contains(&other.number()))
            {
                let (one, name) = (other.name(), field.name());
                let why = format!("only one of {one:?} and {name:?} can be set");
                return Err(A::Error::custom(why));
            }
            set.push(number);
        }
        Ok(())
    }
}

fn unknown<E: Error>(message: &MessageDescriptor, name: &str) -> E {
    let fields: Vec<_> = message.fields().collect();
    let name = &*shortened(name, SHOWN);
    let distance = |field: &&FieldDescriptor| {
        let near = |known| strsim::damerau_levenshtein(known, name);
        near(field.json_name()).min(near(field.name()))
    };
    match fields.iter().min_by_key(distance) {
        Some(nearest) => {
            let nearest = nearest.json_name();
            E::custom(format_args!("there is no field {name:?}; did you mean {nearest:?}?"))
        }
        None => E::custom(format_args!("there is no field {name:?}")),
    }
}

/// A field's value; gives whether there is one.
struct Member<'a> {
    field: &'a FieldDescriptor,
    out: &'a mut Vec<u8>,
    at: At<'a>,
}

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_none<E: Error>(self) -> Result<bool, E> {
        let Self { field, out, at } = self;
        // A list that is null is unset, whatever it is of.
        let is_value = field.cardinality() != Cardinality::Repeated
            && known::null(&field.kind(), field.number(), out);
        if is_value {
            at.deeper::<E>()?;
        }
        Ok(is_value)
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        self.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        let Self { field, out, at } = self;
        let kind = &field.kind();
        let value = Single { kind, number: field.number(), out, at };
        if field.is_list() {
            reader.deserialize_seq(List(value))?;
        } else if field.is_map() {
            reader.deserialize_map(Entries(value))?;
        } else {
            value.deserialize(reader)?;
        }
        Ok(true)
    }
}

/// One value, which is appended with its field's number before it.
struct Single<'a> {
    kind: &'a Kind,
    number: u32,
    out: &'a mut Vec<u8>,
    at: At<'a>,
}

impl<'de> DeserializeSeed<'de> for Single<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        let Self { kind, number, out, at } = self;
        if let Kind::Message(message) = kind {
            let mut inner = Vec::new();
            Body { message, out: &mut inner, at: at.deeper()? }.deserialize(reader)?;
            prost::encoding::bytes::encode(number, &inner, out);
            return Ok(());
        }
        let json: &RawValue = serde::Deserialize::deserialize(reader)?;
        let written = scalar::write(kind, number, json.get(), out);
        written.inspect_err(|_| at.wrong(json)).map_err(D::Error::custom)
    }
}

/// A repeated field.
struct List<'a>(Single<'a>);

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let Self(Single { kind, number, out, at }) = self;
        let mut place = 0_usize;
        let mut next = || {
            let element = Single { kind, number, out: &mut *out, at };
            let next = elements.next_element_seed(element);
            let next = next.inspect_err(|_| at.within(|| format!("[{place}]")))?;
            place += 1;
            Ok(next)
        };
        while next()?.is_some() {}
        Ok(())
    }
}

/// A map.
struct Entries<'a>(Single<'a>);

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self(Single { kind, number, out, at }) = self;
        // The kind of a map is that of its entries.
        let Some(entry) = kind.as_message() else { return Err(A::Error::custom("no map")) };
        let (of_key, of_value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
        let mut seen = HashSet::new();
        while let Some(name) = members.next_key::<Cow<'de, str>>()? {
            let shown = || format!("[{:?}]", shortened(&name, SHOWN));
            let mut inner = Vec::new();
            let key = scalar::write_key(&of_key.kind(), of_key.number(), &name, &mut inner);
            let key = key.and_then(|()| {
                let is_new = seen.insert(inner.clone());
                if is_new { Ok(()) } else { Err("this key stands twice".to_owned()) }
            });
            let value = Single {
                kind: &of_value.kind(),
                number: of_value.number(),
                out: &mut inner,
                at: at.deeper()?,
            };
            let read = key.map_err(A::Error::custom).and_then(|()| members.next_value_seed(value));
            read.inspect_err(|_| at.within(shown))?;
            prost::encoding::bytes::encode(number, &inner, out);
        }
        Ok(())
    }
}
