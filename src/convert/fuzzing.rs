//! What must hold for any bytes that are posted as a message, one function a form.
//!
//! The door for `fuzz/`, whose targets are these functions, and for `tests/corpus.rs`, which
//! replays in the gate what fuzzing found. Each function panics when a property fails; how much it
//! may allocate is measured by the caller.
//!
//! It is no part of the service: nothing calls it there.

use super::{ConvertError, Converter, RealtimeGps, from_json};
use prost::Message as _;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
    FileDescriptorProto, MessageOptions, OneofDescriptorProto,
};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::Value;
use std::fmt::Debug;
use std::sync::LazyLock;

/// What a refusal says is no longer than this, whatever was sent.
const LONGEST: usize = 2_000;

/// What a property says that there is.
fn held<T, E: Debug>(result: Result<T, E>, what: &str) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {error:?}"))
}

static CONVERTER: LazyLock<Converter> =
    LazyLock::new(|| held(Converter::built_in(Some("device_id")), "the built-in message"));

/// The built-in message: `data` as it is, and behind a device's name, without which it is refused.
pub fn message(data: &[u8]) {
    let check = |bytes: &[u8]| {
        let known = RealtimeGps::decode(bytes);
        let mut json = b"before".to_vec();
        match CONVERTER.convert(bytes, &mut json) {
            Ok(converted) => {
                let decoded = held(known, "what is converted is the message");
                assert_eq!(converted.key, Some(decoded.device_id.into_bytes()));
                assert!(json.starts_with(b"before"), "what stood there stays");
                let json = &json[b"before".len()..];
                assert!(!json.contains(&b'\n'), "it is one line");
                read_again(json);
            }
            Err(error) => {
                assert_eq!(json, b"before", "after an error nothing was appended");
                let is_malformed = matches!(error, ConvertError::Malformed { .. });
                assert_eq!(is_malformed, known.is_err(), "{error}");
                assert!(error.to_string().len() < LONGEST);
            }
        }
    };
    check(data);
    check(&[b"\x0a\x01t", data].concat());
}

/// A line that was written is JSON, and gives the same line when it is posted.
fn read_again(json: &[u8]) {
    let value: Value = held(serde_json::from_slice(json), "valid JSON");
    assert!(value.is_object());
    let bytes = held(CONVERTER.read_json(json), "its own JSON");
    let mut again = Vec::new();
    held(CONVERTER.convert(&bytes, &mut again), "the same message");
    assert_eq!(again, json);
}

/// A message that is posted as JSON: of the built-in schema, and of one with every type.
pub fn json(data: &[u8]) {
    match CONVERTER.read_json(data) {
        Ok(bytes) => {
            let mut json = Vec::new();
            match CONVERTER.convert(&bytes, &mut json) {
                Ok(_) => read_again(&json),
                Err(error) => assert!(matches!(error, ConvertError::Invalid { .. }), "{error}"),
            }
        }
        Err(error) => assert!(error.to_string().len() < LONGEST, "{error}"),
    }
    match from_json::read(&EVERY, data) {
        Ok(bytes) => check_every(&bytes),
        Err(error) => assert!(error.to_string().len() < LONGEST, "{error}"),
    }
}

/// What was read is the message, and what `prost-reflect` writes of it is read as the same.
fn check_every(bytes: &[u8]) {
    let message = held(DynamicMessage::decode(EVERY.clone(), bytes), "a message");
    // It does not write every message that can be read: a field mask may have other names.
    let Ok(json) = serde_json::to_value(&message) else { return };
    let text = json.to_string();
    // Of a wrapper that is not a number it makes null, which is none.
    let wrapper = ["doublevalue", "floatvalue"];
    if text.contains("null") && wrapper.iter().any(|name| text.to_lowercase().contains(name)) {
        return;
    }
    let again = held(from_json::read(&EVERY, text.as_bytes()), "its own JSON");
    let again = held(DynamicMessage::decode(EVERY.clone(), &again[..]), "a message");
    assert_eq!(held(serde_json::to_value(&again), "the same message"), json);
}

/// A message with fields of every type, one, optional, many and as the values and keys of maps.
pub(super) static EVERY: LazyLock<MessageDescriptor> = LazyLock::new(|| {
    let mut pool = DescriptorPool::global();
    held(pool.add_file_descriptor_proto(every()), "a schema");
    held(pool.get_message_by_name("test.Every").ok_or(()), "its message")
});

const SCALARS: [(&str, Type); 15] = [
    ("double", Type::Double),
    ("float", Type::Float),
    ("int32", Type::Int32),
    ("int64", Type::Int64),
    ("uint32", Type::Uint32),
    ("uint64", Type::Uint64),
    ("sint32", Type::Sint32),
    ("sint64", Type::Sint64),
    ("fixed32", Type::Fixed32),
    ("fixed64", Type::Fixed64),
    ("sfixed32", Type::Sfixed32),
    ("sfixed64", Type::Sfixed64),
    ("bool", Type::Bool),
    ("string", Type::String),
    ("bytes", Type::Bytes),
];

/// Those of the well-known types, each in its file.
const KNOWN: [(&str, &str); 15] = [
    ("timestamp", "Timestamp"),
    ("duration", "Duration"),
    ("field_mask", "FieldMask"),
    ("struct", "Struct"),
    ("struct", "Value"),
    ("struct", "ListValue"),
    ("any", "Any"),
    ("empty", "Empty"),
    ("wrappers", "DoubleValue"),
    ("wrappers", "FloatValue"),
    ("wrappers", "Int64Value"),
    ("wrappers", "UInt32Value"),
    ("wrappers", "BoolValue"),
    ("wrappers", "StringValue"),
    ("wrappers", "BytesValue"),
];

fn every() -> FileDescriptorProto {
    let name = |name: &str| Some(name.to_owned());
    let mut message = DescriptorProto { name: name("Every"), ..DescriptorProto::default() };
    let mut types: Vec<_> = SCALARS.iter().map(|(name, of)| (*name, *of, None)).collect();
    types.push(("enum", Type::Enum, name(".test.Choice")));
    types.push(("every", Type::Message, name(".test.Every")));
    types.push(("null", Type::Enum, name(".google.protobuf.NullValue")));
    let known = KNOWN.map(|(_, known)| (known.to_lowercase(), format!(".google.protobuf.{known}")));
    types.extend(known.iter().map(|(known, full)| (&**known, Type::Message, name(full))));
    for (of, r#type, type_name) in types {
        for prefix in ["one", "maybe", "many", "by_name"] {
            let number = i32::try_from(message.field.len() + 1).unwrap_or(i32::MAX);
            let mut field = FieldDescriptorProto {
                name: Some(format!("{prefix}_{of}")),
                number: Some(number),
                label: Some(Label::Optional.into()),
                r#type: Some(r#type.into()),
                type_name: type_name.clone(),
                ..FieldDescriptorProto::default()
            };
            match prefix {
                "maybe" => {
                    field.oneof_index = Some(0);
                }
                "many" => field.label = Some(Label::Repeated.into()),
                "by_name" => {
                    let keys = if of == "bytes" || of == "double" || of == "float" {
                        Type::String
                    } else {
                        SCALARS
                            .iter()
                            .find(|(name, _)| *name == of)
                            .map_or(Type::Int32, |(_, of)| *of)
                    };
                    field = entries(&mut message, keys, field);
                }
                _ => {}
            }
            message.field.push(field);
        }
    }
    let oneof = OneofDescriptorProto { name: name("maybe"), ..OneofDescriptorProto::default() };
    message.oneof_decl.push(oneof);
    let value = |value: &str, number| EnumValueDescriptorProto {
        name: name(value),
        number: Some(number),
        ..EnumValueDescriptorProto::default()
    };
    let choice = EnumDescriptorProto {
        name: name("Choice"),
        value: vec![value("NONE", 0), value("SOME", 1), value("LESS", -1)],
        ..EnumDescriptorProto::default()
    };
    let mut files: Vec<_> = KNOWN.map(|(file, _)| format!("google/protobuf/{file}.proto")).into();
    files.dedup();
    FileDescriptorProto {
        name: name("every.proto"),
        package: name("test"),
        syntax: name("proto3"),
        dependency: files,
        message_type: vec![message],
        enum_type: vec![choice],
        ..FileDescriptorProto::default()
    }
}

/// Makes a map of a field, as `map<…, …>` in a schema does.
fn entries(
    message: &mut DescriptorProto,
    keys: Type,
    value: FieldDescriptorProto,
) -> FieldDescriptorProto {
    let camel: String = value
        .name()
        .split('_')
        .map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_uppercase() + rest
        })
        .collect();
    let entry = format!("{camel}Entry");
    let map = FieldDescriptorProto {
        label: Some(Label::Repeated.into()),
        r#type: Some(Type::Message.into()),
        type_name: Some(format!(".test.Every.{entry}")),
        ..value.clone()
    };
    let key = FieldDescriptorProto {
        name: Some("key".to_owned()),
        number: Some(1),
        label: Some(Label::Optional.into()),
        r#type: Some(keys.into()),
        ..FieldDescriptorProto::default()
    };
    let value = FieldDescriptorProto { name: Some("value".to_owned()), number: Some(2), ..value };
    message.nested_type.push(DescriptorProto {
        name: Some(entry),
        field: vec![key, value],
        options: Some(MessageOptions { map_entry: Some(true), ..MessageOptions::default() }),
        ..DescriptorProto::default()
    });
    map
}
