//! The built-in message `tutorial.REALTIMEGPS`: its JSON and its key.
//!
//! The JSON is written by hand, which is faster than through `serde` and writes enum values that the
//! schema does not know as the numbers they are. A field added to the schema must be added
//! here: the tests compare the two.

use super::message::{Event, FixType, MESSAGE, RealtimeGps};
use super::schema::SchemaError;
use super::{ConvertError, Converted, check, json};
use prost::Message;

/// A field whose value can be a Kafka key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    DeviceId,
    Latitude,
    Longitude,
    Altitude,
    Speed,
    Heading,
    HorizontalAccuracy,
    Hdop,
    Satellites,
    FixType,
    Ignition,
    Odometer,
    Event,
    Sequence,
    VehicleId,
    BatteryVoltage,
}

/// Every field that can be a key, by its name in the schema.
const FIELDS: [(&str, Field); 16] = [
    ("device_id", Field::DeviceId),
    ("latitude", Field::Latitude),
    ("longitude", Field::Longitude),
    ("altitude", Field::Altitude),
    ("speed", Field::Speed),
    ("heading", Field::Heading),
    ("horizontal_accuracy", Field::HorizontalAccuracy),
    ("hdop", Field::Hdop),
    ("satellites", Field::Satellites),
    ("fix_type", Field::FixType),
    ("ignition", Field::Ignition),
    ("odometer", Field::Odometer),
    ("event", Field::Event),
    ("sequence", Field::Sequence),
    ("vehicle_id", Field::VehicleId),
    ("battery_voltage", Field::BatteryVoltage),
];

/// Whether a field of a message is set.
pub(super) type IsSet = fn(&RealtimeGps) -> bool;

/// For every field of the schema, by its name, whether it is set.
const ARE_SET: [(&str, IsSet); 18] = [
    ("device_id", |m| !m.device_id.is_empty()),
    ("fix_time", |m| m.fix_time.is_some()),
    ("latitude", |m| m.latitude.is_some()),
    ("longitude", |m| m.longitude.is_some()),
    ("altitude", |m| m.altitude.is_some()),
    ("speed", |m| m.speed.is_some()),
    ("heading", |m| m.heading.is_some()),
    ("horizontal_accuracy", |m| m.horizontal_accuracy.is_some()),
    ("hdop", |m| m.hdop.is_some()),
    ("satellites", |m| m.satellites.is_some()),
    ("fix_type", |m| m.fix_type != 0),
    ("ignition", |m| m.ignition.is_some()),
    ("odometer", |m| m.odometer.is_some()),
    ("event", |m| m.event != 0),
    ("sequence", |m| m.sequence != 0),
    ("vehicle_id", |m| !m.vehicle_id.is_empty()),
    ("battery_voltage", |m| m.battery_voltage.is_some()),
    ("attributes", |m| !m.attributes.is_empty()),
];

/// Whether the field called `name` is set.
pub(super) fn is_set(name: &str) -> Result<IsSet, SchemaError> {
    let found = ARE_SET.iter().find(|(known, _)| *known == name);
    let known = || ARE_SET.iter().map(|(known, _)| *known);
    found
        .map(|(_, is_set)| *is_set)
        .ok_or_else(|| SchemaError::unknown_field(MESSAGE, name, known()))
}

/// The fields that hold more than one value, and what they are.
const COMPOSITES: [(&str, &str); 2] = [(TIME, "a message"), ("attributes", "a map")];

/// The one field that is a point in time.
const TIME: &str = "fix_time";

/// Whether the field called `name` is a point in time.
pub(super) fn time(name: &str) -> Result<(), SchemaError> {
    if name == TIME {
        return Ok(());
    }
    if FIELDS.iter().any(|(known, _)| *known == name) {
        return Err(wrong(name, "a single value", "a google.protobuf.Timestamp"));
    }
    Err(SchemaError::unknown_field(MESSAGE, name, [TIME]))
}

fn wrong(name: &str, kind: &'static str, wanted: &'static str) -> SchemaError {
    SchemaError::WrongField { message: MESSAGE.to_owned(), field: name.to_owned(), kind, wanted }
}

impl Field {
    /// The field called `name`.
    pub(super) fn named(name: &str) -> Result<Self, SchemaError> {
        if let Some((_, field)) = FIELDS.iter().find(|(known, _)| *known == name) {
            return Ok(*field);
        }
        if let Some((_, kind)) = COMPOSITES.iter().find(|(known, _)| *known == name) {
            return Err(wrong(name, kind, "a single value (a number, a text, an enum)"));
        }
        let known = FIELDS.iter().map(|(known, _)| *known);
        Err(SchemaError::unknown_field(MESSAGE, name, known))
    }

    /// The field's value as a key; `None` when it is unset. Takes texts out of the message.
    fn take(self, message: &mut RealtimeGps) -> Option<Vec<u8>> {
        match self {
            Self::DeviceId => text(std::mem::take(&mut message.device_id)),
            Self::VehicleId => text(std::mem::take(&mut message.vehicle_id)),
            Self::Latitude => message.latitude.map(float),
            Self::Longitude => message.longitude.map(float),
            Self::Altitude => message.altitude.map(float),
            Self::Speed => message.speed.map(float),
            Self::Heading => message.heading.map(float),
            Self::HorizontalAccuracy => message.horizontal_accuracy.map(float),
            Self::Hdop => message.hdop.map(float),
            Self::BatteryVoltage => message.battery_voltage.map(float),
            Self::Satellites => message.satellites.map(plain),
            Self::Odometer => message.odometer.map(plain),
            Self::Ignition => message.ignition.map(plain),
            Self::Sequence => Some(message.sequence).filter(|n| *n != 0).map(plain),
            Self::FixType => enumeration(message.fix_type, fix_type_name),
            Self::Event => enumeration(message.event, event_name),
        }
    }
}

fn text(value: String) -> Option<Vec<u8>> {
    (!value.is_empty()).then(|| value.into_bytes())
}

fn plain(value: impl std::fmt::Display) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// As in the JSON, so that a key and its field in the value are one text.
fn float(value: impl json::Float) -> Vec<u8> {
    let mut out = Vec::new();
    json::float(&mut out, value);
    out.retain(|byte| *byte != b'"');
    out
}

fn enumeration(value: i32, name: fn(i32) -> Option<&'static str>) -> Option<Vec<u8>> {
    (value != 0).then(|| name(value).map_or_else(|| plain(value), Into::into))
}

fn fix_type_name(value: i32) -> Option<&'static str> {
    FixType::try_from(value).ok().map(|value| value.as_str_name())
}

fn event_name(value: i32) -> Option<&'static str> {
    Event::try_from(value).ok().map(|value| value.as_str_name())
}

/// See [`Converter::convert`](super::Converter::convert).
pub(super) fn convert(
    bytes: &[u8],
    key: Option<Field>,
    time: bool,
    apart: &[IsSet],
    json: &mut Vec<u8>,
) -> Result<Converted, ConvertError> {
    let mut message = RealtimeGps::decode(bytes).map_err(|error| ConvertError::Malformed {
        message: MESSAGE.to_owned(),
        why: error.to_string(),
    })?;
    check::check(&message)?;
    write(&message, json);
    let time = message.fix_time.filter(|_| time);
    let apart = !apart.is_empty() && apart.iter().all(|is_set| is_set(&message));
    let key = key.and_then(|key| key.take(&mut message));
    Ok(Converted { key, time, apart, unknown_fields: 0 })
}

/// What stands before a value: the comma, the name and the colon.
macro_rules! name {
    ($name:literal) => {
        concat!(",\"", $name, "\":").as_bytes()
    };
}

/// Appends the message as one JSON object, its fields in the order of their numbers.
fn write(message: &RealtimeGps, out: &mut Vec<u8>) {
    let start = out.len();
    if !message.device_id.is_empty() {
        out.extend_from_slice(name!("deviceId"));
        json::string(out, &message.device_id);
    }
    if let Some(time) = &message.fix_time {
        out.extend_from_slice(name!("fixTime"));
        out.push(b'"');
        time.write(out);
        out.push(b'"');
    }
    optional(out, name!("latitude"), message.latitude, json::float);
    optional(out, name!("longitude"), message.longitude, json::float);
    optional(out, name!("altitude"), message.altitude, json::float);
    optional(out, name!("speed"), message.speed, json::float);
    optional(out, name!("heading"), message.heading, json::float);
    optional(out, name!("horizontalAccuracy"), message.horizontal_accuracy, json::float);
    optional(out, name!("hdop"), message.hdop, json::float);
    optional(out, name!("satellites"), message.satellites, json::small_integer);
    enum_field(out, name!("fixType"), message.fix_type, fix_type_name);
    optional(out, name!("ignition"), message.ignition, json::boolean);
    optional(out, name!("odometer"), message.odometer, json::big_integer);
    enum_field(out, name!("event"), message.event, event_name);
    if message.sequence != 0 {
        out.extend_from_slice(name!("sequence"));
        json::big_integer(out, message.sequence);
    }
    if !message.vehicle_id.is_empty() {
        out.extend_from_slice(name!("vehicleId"));
        json::string(out, &message.vehicle_id);
    }
    optional(out, name!("batteryVoltage"), message.battery_voltage, json::float);
    if !message.attributes.is_empty() {
        out.extend_from_slice(name!("attributes"));
        attributes(out, message);
    }
    json::close(out, start);
}

fn attributes(out: &mut Vec<u8>, message: &RealtimeGps) {
    let start = out.len();
    for (name, value) in &message.attributes {
        out.push(b',');
        json::string(out, name);
        out.push(b':');
        json::string(out, value);
    }
    json::close(out, start);
}

/// Appends a field that the message may leave unset; a 0 that was set is written.
fn optional<T>(
    out: &mut Vec<u8>,
    name: &[u8],
    value: Option<T>,
    write: impl FnOnce(&mut Vec<u8>, T),
) {
    if let Some(value) = value {
        out.extend_from_slice(name);
        write(out, value);
    }
}

/// Appends an enum's name, or the number that the schema has no name for.
fn enum_field(out: &mut Vec<u8>, name: &[u8], value: i32, names: fn(i32) -> Option<&'static str>) {
    if value == 0 {
        return;
    }
    out.extend_from_slice(name);
    match names(value) {
        Some(text) => json::word(out, text),
        None => json::small_integer(out, value),
    }
}
