//! From the bytes of one protobuf message to one line of canonical proto3 JSON, and the Kafka key.
//!
//! [`Converter`] is the front door: a route builds one at the start, naming its message and
//! the field that is the key, and everything that can be wrong with those names is found
//! there. After that a conversion fails only for what is wrong with the message at hand.
//!
//! The JSON is that of Go's `jsonpb` (protobuf's [JSON mapping]): lowerCamelCase names
//! in the order in which the schema declares them, unset fields left out, 64-bit integers as strings, enums
//! by name (numbers that the schema does not know stay numbers), NaN and infinities as
//! strings, times in RFC 3339 with `Z`. `tests/library/go_json.rs` holds it to what Go itself wrote.
//!
//! The same bytes always give the same line. This folder deliberately knows nothing of HTTP
//! (which status an error means), of the disk, or of Kafka.
//!
//! - `schema.rs`: where a message's schema comes from
//! - `message.rs`: the built-in message as structs; `builtin.rs`: its JSON and the fields wanted of it;
//!   `check.rs`: which of its values are impossible
//! - `own/`: messages of the operator's own schemas
//! - `from_json.rs`: JSON, in any spelling of it, to the bytes of the message
//! - `fuzzing.rs`: what must hold for any bytes, for the fuzzer
//! - `json.rs`: how single values are written
//! - `timestamp.rs`: points in time, as protobuf counts them and as people read them
//!
//! [JSON mapping]: https://protobuf.dev/programming-guides/json/

mod builtin;
mod check;
mod from_json;
pub mod fuzzing;
mod json;
mod message;
mod own;
mod schema;
#[cfg(test)]
mod tests;
mod timestamp;

pub use message::{Event, FixType, MESSAGE, RealtimeGps};
pub use schema::{ProtoError, SchemaError, Source};
pub use timestamp::Timestamp;

use own::Own;
use prost_reflect::MessageDescriptor;
use std::borrow::Cow;

/// Bytes of a message, at most: beyond any that is received, and few enough for places of 32 bits.
const LONGEST_MESSAGE: usize = 64 << 20;

/// Converts the messages of one route. Cheap to share by reference; it holds no state.
#[derive(Debug)]
pub struct Converter {
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// By the code that was generated for the built-in message.
    BuiltIn { key: Option<builtin::Field>, time: bool, apart: Vec<builtin::IsSet> },
    /// By tables that were made of its schema at the start; what comes as JSON, by the schema itself.
    Own(Box<Own>, MessageDescriptor),
}

/// The fields of a message that are wanted for themselves, by their paths (`header.vehicle`).
#[derive(Debug, Clone, Copy, Default)]
pub struct Fields<'a> {
    /// A single value: the Kafka key.
    pub key: Option<&'a str>,
    /// A `google.protobuf.Timestamp`: the event time.
    pub time: Option<&'a str>,
}

/// What a message says besides its JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Converted {
    /// The text of the key field's value, without quotes. `None` when no key is wanted, or when the
    /// message leaves that field unset.
    pub key: Option<Vec<u8>>,
    /// The event time, likewise.
    pub time: Option<Timestamp>,
    /// There are fields that [tell messages apart](Converter::telling_apart), and all are set.
    pub apart: bool,
    /// Fields that the schema does not know, and that are left out. Of the built-in message they are not
    /// counted.
    pub unknown_fields: u64,
}

/// Why a message was not converted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The bytes are not the message: cut off, of another schema, or text that is not UTF-8.
    #[error("the body is not a {message} message: {why}")]
    Malformed { message: String, why: String },
    /// The message can be read, and says something impossible.
    #[error("{field} is {found}; it must be {expected}")]
    Invalid {
        /// The field's path in the schema, such as `latitude`.
        field: Cow<'static, str>,
        found: String,
        expected: &'static str,
    },
    /// The message, or its JSON, is longer than any that is kept.
    #[error("the JSON of the {message} message is too long")]
    TooLong { message: String },
}

impl Converter {
    /// A converter for the built-in message, whose Kafka key is the value of that field.
    pub fn built_in(key: Option<&str>) -> Result<Self, SchemaError> {
        Self::new(&Source::BuiltIn, MESSAGE, Fields { key, time: None })
    }

    /// A converter for the messages called `message` (with its package: `tutorial.REALTIMEGPS`) in a
    /// schema. Reads the schema's files.
    pub fn new(source: &Source, message: &str, fields: Fields<'_>) -> Result<Self, SchemaError> {
        let way = match schema::message(source, message)? {
            Some(message) => Way::Own(Box::new(Own::new(&message, fields)?), message),
            None => Way::BuiltIn {
                key: fields.key.map(builtin::Field::named).transpose()?,
                time: fields.time.map(builtin::time).transpose()?.is_some(),
                apart: Vec::new(),
            },
        };
        Ok(Self { way })
    }

    /// The same where messages that have all of these fields, by their paths, are told apart by them: no
    /// device means two different ones that are the same.
    pub fn telling_apart(mut self, fields: &[String]) -> Result<Self, SchemaError> {
        match &mut self.way {
            Way::BuiltIn { apart, .. } => {
                *apart = fields.iter().map(|it| builtin::is_set(it)).collect::<Result<_, _>>()?;
            }
            Way::Own(own, _) => own.telling_apart(fields)?,
        }
        Ok(self)
    }

    /// The bytes of a message that came as proto3 JSON, for [`convert`](Self::convert): so the same
    /// message gives the same line however it was written.
    pub fn read_json(&self, text: &[u8]) -> Result<Vec<u8>, ConvertError> {
        match &self.way {
            Way::BuiltIn { .. } => from_json::read(&message::DESCRIPTION, text),
            Way::Own(_, message) => from_json::read(message, text),
        }
    }

    /// Appends the JSON of `message` to `json`, without a line end.
    ///
    /// After an error nothing was appended.
    pub fn convert(&self, message: &[u8], json: &mut Vec<u8>) -> Result<Converted, ConvertError> {
        match &self.way {
            Way::BuiltIn { key, time, apart } => {
                builtin::convert(message, *key, *time, apart, json)
            }
            Way::Own(own, _) => own.convert(message, json),
        }
    }
}
