//! Messages of any schema, made of a string of bytes: each is a choice, and where they end nothing more
//! is chosen. So a shorter string, or one of smaller bytes, is a simpler message.
//!
//! Made are only messages that have JSON, and that prost-reflect writes as Go does.

use prost::Message;
use prost_reflect::{
    Cardinality, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage,
    Value,
};
use std::collections::HashMap;

const TEXTS: [&str; 8] =
    ["", "a", "bus-17", "a<\"&\\/", "é🚌\u{2028}", "\0\u{1f}\u{7f}", "10", "9"];

pub struct Choices<'a>(std::slice::Iter<'a, u8>);

impl<'a> Choices<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes.iter())
    }

    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    fn bits(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// A number of any length, or one at the edge.
    fn number(&mut self) -> u64 {
        match self.below(6) {
            0 => u64::from(self.byte()),
            1 => u64::MAX,
            2 => 1 << 63,
            3 => 1 << 31,
            4 => u64::from(u32::MAX >> 1),
            _ => self.bits() >> self.below(64),
        }
    }

    fn double(&mut self) -> f64 {
        match self.below(6) {
            0 => f64::from(self.byte()),
            1 => f64::NAN,
            2 => f64::NEG_INFINITY,
            3 => f64::from(self.byte()) / 10.0,
            _ => f64::from_bits(self.bits()),
        }
    }

    fn text(&mut self) -> String {
        let pieces = self.below(3);
        (0..pieces).map(|_| TEXTS[self.below(TEXTS.len())]).collect()
    }

    pub fn message(&mut self, descriptor: &MessageDescriptor, depth: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        if self.well_known(&mut message, depth) {
            return message;
        }
        let fields: Vec<_> = descriptor.fields().collect();
        let required = fields.iter().filter(|field| field.cardinality() == Cardinality::Required);
        for field in required {
            message.set_field(field, self.single(&field.kind(), depth));
        }
        let most = if fields.is_empty() { 1 } else { [12, 5][depth.min(1)] };
        for _ in 0..self.below(most) {
            let field = &fields[self.below(fields.len())];
            let value = self.value(field, depth);
            // A negative 0 counts as unset for prost-reflect where it says so at all.
            let lost = !field.supports_presence() && is_negative_zero(&value);
            if !lost {
                message.set_field(field, value);
            }
        }
        message
    }

    /// Fills in the messages that cannot hold anything.
    fn well_known(&mut self, message: &mut DynamicMessage, depth: usize) -> bool {
        let name = message.descriptor().full_name().to_owned();
        let mut set = |name: &str, value| message.set_field_by_name(name, value);
        match name.strip_prefix("google.protobuf.").unwrap_or("") {
            "Timestamp" => {
                let seconds = self.number() % (253_402_300_800 + 62_135_596_800);
                set("seconds", Value::I64(seconds.cast_signed() - 62_135_596_800));
                set("nanos", Value::I32(self.nanos()));
            }
            "Duration" => {
                let sign = if self.byte().is_multiple_of(2) { 1 } else { -1 };
                let seconds = (self.number() % 315_576_000_001).cast_signed();
                set("seconds", Value::I64(seconds * i64::from(sign)));
                set("nanos", Value::I32(self.nanos() * sign));
            }
            "DoubleValue" => set("value", Value::F64(f64::from(self.byte()) / 4.0)),
            "FloatValue" => set("value", Value::F32(f32::from(self.byte()) / 4.0)),
            "FieldMask" => {
                let paths = ["a", "trip_id", "vehicle.kind_of_it", "b1"];
                let count = self.below(4);
                let path = |_| Value::String(paths[self.below(4)].to_owned());
                set("paths", Value::List((0..count).map(path).collect()));
            }
            "Any" => {
                let pool = message.descriptor().parent_pool().clone();
                // Of those that the schema has.
                let names =
                    ["google.protobuf.Duration", "google.protobuf.Int64Value", "known.Held"];
                let known = names.iter().filter_map(|name| pool.get_message_by_name(name));
                let known: Vec<_> = known.collect();
                let inside = &known[self.below(known.len())];
                let url = format!("type.googleapis.com/{}", inside.full_name());
                message.set_field_by_name("type_url", Value::String(url));
                let inside = self.message(inside, depth + 1).encode_to_vec();
                message.set_field_by_name("value", Value::Bytes(inside.into()));
            }
            "Value" => match self.below(if depth < 4 { 6 } else { 4 }) {
                0 => set("null_value", Value::EnumNumber(0)),
                1 => set("number_value", Value::F64(f64::from(self.byte()) / 4.0)),
                2 => set("string_value", Value::String(self.text())),
                3 => set("bool_value", Value::Bool(self.byte().is_multiple_of(2))),
                kind => {
                    let name = ["struct_value", "list_value"][kind - 4];
                    let field = message.descriptor().get_field_by_name(name).unwrap();
                    message.set_field(&field, self.single(&field.kind(), depth));
                }
            },
            _ => return false,
        }
        true
    }

    /// Nanoseconds of 0, 3, 6 or 9 digits.
    fn nanos(&mut self) -> i32 {
        [0, 1_000_000, 1_000, 1][self.below(4)] * i32::from(self.byte())
    }

    fn value(&mut self, field: &FieldDescriptor, depth: usize) -> Value {
        let count = self.below(4);
        match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
                let entry = |_| (self.key(&key.kind()), self.single(&value.kind(), depth));
                Value::Map((0..count).map(entry).collect::<HashMap<_, _>>())
            }
            kind if field.is_list() => {
                Value::List((0..count).map(|_| self.single(&kind, depth)).collect())
            }
            kind => self.single(&kind, depth),
        }
    }

    fn key(&mut self, kind: &Kind) -> MapKey {
        match self.single(kind, 0) {
            Value::Bool(key) => MapKey::Bool(key),
            Value::I32(key) => MapKey::I32(key),
            Value::I64(key) => MapKey::I64(key),
            Value::U32(key) => MapKey::U32(key),
            Value::U64(key) => MapKey::U64(key),
            Value::String(key) => MapKey::String(key),
            other => panic!("{other:?} is no key"),
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "any number will do")]
    fn single(&mut self, kind: &Kind, depth: usize) -> Value {
        match kind {
            Kind::Double => Value::F64(self.double()),
            Kind::Float => Value::F32(self.double() as f32),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
                Value::I32((self.number() as u32).cast_signed())
            }
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(self.number().cast_signed()),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(self.number() as u32),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(self.number()),
            Kind::Bool => Value::Bool(self.byte() % 2 == 1),
            Kind::String => Value::String(self.text()),
            Kind::Bytes => Value::Bytes(self.text().into_bytes().into()),
            Kind::Enum(names) => {
                let known: Vec<_> = names.values().map(|value| value.number()).collect();
                // One more than there are: a number that the schema does not know.
                Value::EnumNumber(known.get(self.below(known.len() + 1)).copied().unwrap_or(99))
            }
            // Deep enough: the simplest one that there is.
            Kind::Message(descriptor) if depth > 6 => {
                Value::Message(Choices::new(&[]).message(descriptor, depth + 1))
            }
            Kind::Message(descriptor) => Value::Message(self.message(descriptor, depth + 1)),
        }
    }
}

fn is_negative_zero(value: &Value) -> bool {
    match value {
        Value::F64(value) => *value == 0.0 && value.is_sign_negative(),
        Value::F32(value) => *value == 0.0 && value.is_sign_negative(),
        _ => false,
    }
}
