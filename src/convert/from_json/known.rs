//! The messages that the mapping writes in a way of their own: times, wrappers, any JSON, any message.
//!
//! They are known by their full names, `google.protobuf.Timestamp` and so on.

use super::{At, Body, Single, said, scalar};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde::de::value::MapDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

/// How a message is written that is no object of its fields.
enum Form {
    /// A text, of which `prost-reflect` reads every form.
    Text,
    /// The value of its only field.
    Wrapper(FieldDescriptor),
    /// Any object, any list, any value.
    Struct,
    List,
    Value,
    /// A message with its name.
    Any,
}

fn form(message: &MessageDescriptor) -> Option<Form> {
    let name = message.full_name().strip_prefix("google.protobuf.")?;
    Some(match name {
        "Timestamp" | "Duration" | "FieldMask" => Form::Text,
        "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value"
        | "UInt32Value" | "BoolValue" | "StringValue" | "BytesValue" => {
            Form::Wrapper(message.get_field(1)?)
        }
        "Struct" => Form::Struct,
        "ListValue" => Form::List,
        "Value" => Form::Value,
        "Any" => Form::Any,
        _ => return None,
    })
}

fn is_empty(message: &MessageDescriptor) -> bool {
    message.full_name() == "google.protobuf.Empty"
}

/// Whether a message is one of these.
pub(super) fn is_known(message: &MessageDescriptor) -> bool {
    form(message).is_some()
}

/// Appends a field of which the value is `null`; gives whether it can be.
pub(super) fn null(kind: &Kind, number: u32, out: &mut Vec<u8>) -> bool {
    match kind {
        Kind::Enum(names) if scalar::is_null(names) => {
            prost::encoding::int32::encode(number, &0, out);
        }
        Kind::Message(message) if matches!(form(message), Some(Form::Value)) => {
            let mut inner = Vec::new();
            AnyValue::write_null(&mut inner);
            prost::encoding::bytes::encode(number, &inner, out);
        }
        _ => return false,
    }
    true
}

/// Reads such a message.
pub(super) fn read<'de, D: Deserializer<'de>>(body: Body<'_>, reader: D) -> Result<(), D::Error> {
    let Body { message, out, at } = body;
    let Some(form) = form(message) else { return Err(D::Error::custom("an unknown message")) };
    match form {
        Form::Struct => reader.deserialize_map(Struct { out, at }),
        Form::List => reader.deserialize_seq(List { out, at }),
        Form::Value => reader.deserialize_any(AnyValue { out, at }),
        Form::Wrapper(field) => {
            Single { kind: &field.kind(), number: field.number(), out, at }.deserialize(reader)
        }
        Form::Text => {
            let json: &RawValue = serde::Deserialize::deserialize(reader)?;
            let read = text(message, json.get(), out);
            read.inspect_err(|_| at.wrong(json)).map_err(D::Error::custom)
        }
        Form::Any => {
            let json: &RawValue = serde::Deserialize::deserialize(reader)?;
            let read = any(message, json.get(), out, at);
            read.inspect_err(|_| at.wrong(json)).map_err(D::Error::custom)
        }
    }
}

fn text(message: &MessageDescriptor, json: &str, out: &mut Vec<u8>) -> Result<(), String> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let read = DynamicMessage::deserialize(message.clone(), &mut reader);
    let read = read.map_err(|error| said(&error))?;
    out.extend_from_slice(&prost::Message::encode_to_vec(&read));
    Ok(())
}

/// A `google.protobuf.Any`: an object whose member `@type` names the message that the others are of.
fn any(
    message: &MessageDescriptor,
    json: &str,
    out: &mut Vec<u8>,
    at: At<'_>,
) -> Result<(), String> {
    let members = serde_json::Deserializer::from_str(json).deserialize_map(Collect);
    let mut members = members.map_err(|error| said(&error))?;
    if members.is_empty() {
        return Ok(());
    }
    let place = members.iter().position(|(name, _)| name == "@type");
    let url = members.swap_remove(place.ok_or("expected a member \"@type\"")?).1;
    let url = scalar::text(url.get())?;
    let pool = message.parent_pool();
    let name = url.rsplit_once('/').map_or(&*url, |(_, name)| name);
    let inner = pool.get_message_by_name(name).ok_or("\"@type\" names no message of the schema")?;
    let (mut bytes, at) = (Vec::new(), at.deeper().map_err(|error| said(&error))?);
    let body = Body { message: &inner, out: &mut bytes, at };
    let read = match &members[..] {
        [(name, value)] if is_known(&inner) && name == "value" => body.deserialize(*value),
        // Go writes it in two ways: with an empty value, and without.
        [(name, value)] if is_empty(&inner) && name == "value" => body.deserialize(*value),
        _ if is_known(&inner) => return Err("expected \"@type\" and \"value\" alone".to_owned()),
        _ => body.visit_map(MapDeserializer::new(members.into_iter())),
    };
    read.map_err(|error: serde_json::Error| said(&error))?;
    prost::encoding::string::encode(1, &url, out);
    prost::encoding::bytes::encode(2, &bytes, out);
    Ok(())
}

/// The members of an object, as they are written.
struct Collect;

impl<'de> Visitor<'de> for Collect {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

/// The fields of a `google.protobuf.Struct`.
struct Struct<'a> {
    out: &'a mut Vec<u8>,
    at: At<'a>,
}

impl<'de> Visitor<'de> for Struct<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { out, at } = self;
        let at = at.deeper()?;
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let mut entry = Vec::new();
            prost::encoding::string::encode(1, &name, &mut entry);
            if !seen.insert(name) {
                return Err(A::Error::custom("a name stands twice"));
            }
            map.next_value_seed(Nested { out: &mut entry, number: 2, at })?;
            prost::encoding::bytes::encode(1, &entry, out);
        }
        Ok(())
    }
}

/// The elements of a `google.protobuf.ListValue`.
struct List<'a> {
    out: &'a mut Vec<u8>,
    at: At<'a>,
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let Self { out, at } = self;
        while elements.next_element_seed(Nested { out, number: 1, at })?.is_some() {}
        Ok(())
    }
}

/// A `google.protobuf.Value` in another message, under a field's number.
struct Nested<'a> {
    out: &'a mut Vec<u8>,
    number: u32,
    at: At<'a>,
}

impl<'de> DeserializeSeed<'de> for Nested<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        let mut inner = Vec::new();
        reader.deserialize_any(AnyValue { out: &mut inner, at: self.at.deeper()? })?;
        prost::encoding::bytes::encode(self.number, &inner, self.out);
        Ok(())
    }
}

/// The one field of a `google.protobuf.Value` that is set.
struct AnyValue<'a> {
    out: &'a mut Vec<u8>,
    at: At<'a>,
}

impl AnyValue<'_> {
    fn write_null(out: &mut Vec<u8>) {
        prost::encoding::int32::encode(1, &0, out);
    }
}

impl<'de> Visitor<'de> for AnyValue<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Self::write_null(self.out);
        Ok(())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        prost::encoding::double::encode(2, &number, self.out);
        Ok(())
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "every number is a double here, the nearest one"
    )]
    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.visit_f64(number as f64)
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "every number is a double here, the nearest one"
    )]
    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.visit_f64(number as f64)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        prost::encoding::string::encode(3, &text.to_owned(), self.out);
        Ok(())
    }

    fn visit_bool<E: Error>(self, is: bool) -> Result<(), E> {
        prost::encoding::bool::encode(4, &is, self.out);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let mut inner = Vec::new();
        Struct { out: &mut inner, at: self.at.deeper()? }.visit_map(map)?;
        prost::encoding::bytes::encode(5, &inner, self.out);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<(), A::Error> {
        let mut inner = Vec::new();
        List { out: &mut inner, at: self.at.deeper()? }.visit_seq(elements)?;
        prost::encoding::bytes::encode(6, &inner, self.out);
        Ok(())
    }
}
