//! From the bytes of one protobuf message to one line of canonical proto3 JSON, and the Kafka key.
//!
//! [`Converter`] is the front door: a route builds one at the start, naming its message and
//! the field that is the key, and everything that can be wrong with those names is found
//! there. After that a conversion fails only for what is wrong with the message at hand.
//!
//! The JSON is that of Go's `jsonpb` (protobuf's [JSON mapping]): lowerCamelCase names
//! in the order of the field numbers, unset fields left out, 64-bit integers as strings, enums
//! by name (numbers that the schema does not know stay numbers), NaN and infinities as
//! strings, times in RFC 3339 with `Z`. `tests/go_json.rs` holds it to what Go itself wrote.
//!
//! The same bytes always give the same line. This folder deliberately knows nothing of HTTP
//! (which status an error means), of the disk, or of Kafka.
//!
//! - `message.rs`: the built-in message as structs
//! - `builtin.rs`: its JSON and its key
//! - `check.rs`: which of its values are impossible
//! - `json.rs`: how single values are written
//! - `timestamp.rs`: points in time, as protobuf counts them and as people read them
//!
//! [JSON mapping]: https://protobuf.dev/programming-guides/json/

mod builtin;
mod check;
mod json;
mod message;
#[cfg(test)]
mod tests;
mod timestamp;

pub use message::{Event, FixType, MESSAGE, RealtimeGps};
pub use timestamp::Timestamp;

/// Converts the messages of one route. Cheap to share by reference; it holds no state.
#[derive(Debug)]
pub struct Converter {
    schema: Schema,
}

/// Where the meaning of the bytes comes from.
#[derive(Debug)]
enum Schema {
    Builtin { key: Option<builtin::Field> },
}

/// Why a route's message or key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// There is no such message.
    #[error("no message {found:?} is known; {MESSAGE:?} is built in")]
    UnknownMessage { found: String },
    /// The message has no such field.
    #[error("the message {message} has no field {found:?}; did you mean {nearest:?}?")]
    UnknownField { message: String, found: String, nearest: String },
    /// The field's value is no single value, such as a map.
    #[error("the field {field:?} of the message {message} cannot be a key: it is {kind}")]
    NotScalar { message: String, field: String, kind: &'static str },
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
        /// The field's name in the schema, such as `latitude`.
        field: &'static str,
        found: String,
        expected: &'static str,
    },
}

impl Converter {
    /// A converter for the messages called `message` (with its package: `tutorial.REALTIMEGPS`),
    /// whose Kafka key is the value of the field `key`, named as in the schema.
    pub fn new(message: &str, key: Option<&str>) -> Result<Self, SchemaError> {
        if message != MESSAGE {
            return Err(SchemaError::UnknownMessage { found: message.to_owned() });
        }
        let key = key.map(builtin::Field::named).transpose()?;
        Ok(Self { schema: Schema::Builtin { key } })
    }

    /// Appends the JSON of `message` to `json`, without a line end, and returns the key: the
    /// text of the key field's value, without quotes. `None` when the route has no key, or
    /// when the message leaves that field unset.
    ///
    /// After an error nothing was appended.
    pub fn convert(
        &self,
        message: &[u8],
        json: &mut Vec<u8>,
    ) -> Result<Option<Vec<u8>>, ConvertError> {
        match self.schema {
            Schema::Builtin { key } => builtin::convert(message, key, json),
        }
    }
}
