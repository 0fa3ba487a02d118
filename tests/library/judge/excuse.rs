//! What is decided otherwise than by prost-reflect, and why: Go, whose JSON is promised, does so too.
//! The reasons are few, so a message without them must be the same in each respect.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value,
};

/// A number without presence is unset for prost-reflect when it is a negative 0; Go writes it.
const NEGATIVE_ZERO: &str = "a negative 0 where only a number that is not 0 is set";
/// In a wrapper prost-reflect loses the sign of a 0, and writes `null` for NaN and infinities.
const WRAPPED: &str = "a number in a wrapper that plain JSON does not have";
/// prost-reflect carries them over into the seconds; protobuf's mapping says that it is an error.
const NANOS: &str = "nanoseconds that are none, or of the other sign";
/// prost-reflect turns what is no path into some text.
const MASK: &str = "a FieldMask whose paths are none";
/// prost-reflect is stricter about a url without a slash, and laxer about names that are none.
const URL: &str = "an Any that names its type in another way";
/// To prost-reflect they are a message without JSON, to us no message.
const INSIDE: &str = "an Any whose bytes are not of its type";

/// prost reads a length there, whatever the wire type says.
const MAP: &str = "a map that stands there as something else than a message";

/// Why nothing is expected of this message's JSON, if there is a reason.
pub fn excuse(message: &DynamicMessage, bytes: &[u8]) -> Option<&'static str> {
    let map = has_map_of_another_wire_type(&message.descriptor(), bytes);
    if map { Some(MAP) } else { content(message) }
}

fn content(message: &DynamicMessage) -> Option<&'static str> {
    let descriptor = message.descriptor();
    let name = descriptor.full_name();
    let number = |name: &str| match message.get_field_by_name(name).as_deref() {
        Some(Value::I64(number)) => *number,
        Some(Value::I32(number)) => i64::from(*number),
        _ => 0,
    };
    let own = match name.strip_prefix("google.protobuf.").unwrap_or("") {
        "Timestamp" => (!(0..1_000_000_000).contains(&number("nanos"))).then_some(NANOS),
        "Duration" => {
            let (seconds, nanos) = (number("seconds"), number("nanos"));
            (seconds.signum() * nanos.signum() < 0).then_some(NANOS)
        }
        "DoubleValue" | "FloatValue" => message.get_field_by_name("value").and_then(|value| {
            let odd =
                |number: f64| !number.is_finite() || number == 0.0 && number.is_sign_negative();
            let number = value.as_f64().or(value.as_f32().map(f64::from));
            number.is_some_and(odd).then_some(WRAPPED)
        }),
        "FieldMask" => message.get_field_by_name("paths").and_then(|paths| {
            let odd = |path: &Value| !path.as_str().is_some_and(is_path);
            paths.as_list()?.iter().any(odd).then_some(MASK)
        }),
        "Any" => return any(message),
        _ => None,
    };
    own.or_else(|| {
        descriptor.fields().find_map(|field| {
            let value = message.get_field(&field);
            let unset = !message.has_field(&field);
            let negative = |number: f64| number == 0.0 && number.is_sign_negative();
            let hidden = unset && !field.supports_presence();
            if hidden && value.as_f64().or(value.as_f32().map(f64::from)).is_some_and(negative) {
                return Some(NEGATIVE_ZERO);
            }
            if unset { None } else { inside(&value) }
        })
    })
}

fn inside(value: &Value) -> Option<&'static str> {
    match value {
        Value::Message(message) => content(message),
        Value::List(values) => values.iter().find_map(inside),
        Value::Map(entries) => entries.values().find_map(inside),
        _ => None,
    }
}

fn any(message: &DynamicMessage) -> Option<&'static str> {
    let url = message.get_field_by_name("type_url")?;
    let bytes = message.get_field_by_name("value")?;
    let Some((_, name)) = url.as_str()?.rsplit_once('/') else { return Some(URL) };
    let found = message.descriptor().parent_pool().get_message_by_name(name)?;
    if found.is_map_entry() || found.full_name() != name {
        return Some(URL);
    }
    let bytes = bytes.as_bytes()?;
    match DynamicMessage::decode(found, bytes.clone()) {
        Ok(held) => excuse(&held, bytes),
        Err(_) => Some(INSIDE),
    }
}

/// Whether a path is names with points between, that come back from lowerCamelCase.
fn is_path(path: &str) -> bool {
    path.split('.').all(|name| {
        let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let mut pairs = name.bytes().zip(name.bytes().skip(1));
        name.chars().all(letters)
            && name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
            && !name.ends_with('_')
            && pairs.all(|(one, next)| one != b'_' || next.is_ascii_lowercase())
    })
}

/// Whether it does so at any depth. Bytes that cannot be read are not looked at further.
fn has_map_of_another_wire_type(descriptor: &MessageDescriptor, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let Ok((number, wire_type)) = decode_key(&mut bytes) else { return false };
        let field = descriptor.get_field(number);
        let map = field.as_ref().is_some_and(FieldDescriptor::is_map);
        if map && wire_type != WireType::LengthDelimited {
            return true;
        }
        if wire_type != WireType::LengthDelimited {
            if skip_field(wire_type, number, &mut bytes, DecodeContext::default()).is_err() {
                return false;
            }
            continue;
        }
        let length = decode_varint(&mut bytes).ok().and_then(|length| usize::try_from(length).ok());
        let Some((inside, rest)) = length.and_then(|length| bytes.split_at_checked(length)) else {
            return false;
        };
        if let Some(Kind::Message(of)) = field.map(|field| field.kind())
            && has_map_of_another_wire_type(&of, inside)
        {
            return true;
        }
        bytes = rest;
    }
    false
}
