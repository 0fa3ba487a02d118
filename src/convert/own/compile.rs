//! From a message's descriptor to the tables, once, at the start.
//!
//! Only what the route's message can contain is compiled; where that includes `google.protobuf.Any`, it is
//! every message of the schema. Groups are refused here. It knows no values.

use super::super::schema::SchemaError;
use super::table::{
    Enum, EnumId, Field, Kind, Label, Message, MessageId, Numbers, Repeat, Shape, Tables,
};
use prost_reflect::{
    Cardinality, EnumDescriptor, ExtensionDescriptor, FieldDescriptor, Kind as Type,
    MessageDescriptor,
};
use std::collections::HashMap;

impl Tables {
    /// The tables for a message, and its place in them.
    pub(super) fn new(message: &MessageDescriptor) -> Result<(Self, MessageId), SchemaError> {
        let mut compiler = Compiler::default();
        let id = compiler.id(message);
        while let Some(descriptor) = compiler.pending.get(compiler.done.len()).cloned() {
            let message = compiler.message(&descriptor)?;
            if message.shape == Shape::Any {
                for other in descriptor.parent_pool().all_messages() {
                    compiler.id(&other);
                }
            }
            compiler.done.push(message);
        }
        let Compiler { done: messages, enums, ids, pending, .. } = compiler;
        // The entry of a map is no type that somebody can name.
        let by_name = ids.into_iter().filter(|(_, id)| !pending[*id].is_map_entry()).collect();
        Ok((Self { messages, enums, by_name }, id))
    }
}

#[derive(Default)]
struct Compiler {
    /// The place of each message that was met, by its full name.
    ids: HashMap<String, MessageId>,
    /// The same messages, in that order.
    pending: Vec<MessageDescriptor>,
    /// The first of them, compiled.
    done: Vec<Message>,
    enums: Vec<Enum>,
    enum_ids: HashMap<String, EnumId>,
}

impl Compiler {
    fn id(&mut self, message: &MessageDescriptor) -> MessageId {
        if let Some(id) = self.ids.get(message.full_name()) {
            return *id;
        }
        self.pending.push(message.clone());
        let id = self.pending.len() - 1;
        self.ids.insert(message.full_name().to_owned(), id);
        id
    }

    fn enum_id(&mut self, descriptor: &EnumDescriptor) -> EnumId {
        if let Some(id) = self.enum_ids.get(descriptor.full_name()) {
            return *id;
        }
        self.enums.push(Enum::new(descriptor));
        let id = self.enums.len() - 1;
        self.enum_ids.insert(descriptor.full_name().to_owned(), id);
        id
    }

    fn message(&mut self, descriptor: &MessageDescriptor) -> Result<Message, SchemaError> {
        let name = descriptor.full_name().to_owned();
        let mut declared: Vec<_> = descriptor.fields().collect();
        // The last part of a field's path is its place in the declaration.
        declared.sort_by_key(|field| field.path().last().copied());
        let mut extensions: Vec<_> = descriptor.extensions().collect();
        extensions.sort_by(|a, b| a.full_name().cmp(b.full_name()));

        // Those of `optional` fields come last, by protobuf's own rule.
        let is_real =
            |field: &FieldDescriptor| field.containing_oneof().is_some_and(|o| !o.is_synthetic());
        let mut numbers = Vec::new();
        let mut fields = Vec::new();
        let mut oneofs: Vec<String> = Vec::new();
        for field in &declared {
            let mut compiled = self.field(&Part::Field(field), &name)?;
            if let Some(oneof) = field.containing_oneof().filter(|_| is_real(field)) {
                let known = oneofs.iter().position(|known| known == oneof.full_name());
                compiled.oneof = Some(known.unwrap_or_else(|| {
                    oneofs.push(oneof.full_name().to_owned());
                    oneofs.len() - 1
                }));
            }
            numbers.push(field.number());
            fields.push(compiled);
        }
        for extension in &extensions {
            fields.push(self.field(&Part::Extension(extension), &name)?);
            numbers.push(extension.number());
        }
        if fields.len() >= usize::from(u16::MAX) {
            let why = format!("{} fields are too many", fields.len());
            return Err(SchemaError::Unsupported { file: file_of(descriptor), what: name, why });
        }
        let shape = shape(&name, &fields);
        let numbers = Numbers::new(&numbers);
        Ok(Message { name, fields, numbers, oneofs: oneofs.len(), shape })
    }

    fn field(&mut self, part: &Part<'_>, message: &str) -> Result<Field, SchemaError> {
        if part.is_group() {
            return Err(SchemaError::Unsupported {
                file: part.file(),
                what: format!("{message}.{}", part.name()),
                why: "it is a group; a nested message takes its place".to_owned(),
            });
        }
        let kind = match part.kind() {
            Type::Double => Kind::Double,
            Type::Float => Kind::Float,
            Type::Int32 => Kind::Int32,
            Type::Int64 => Kind::Int64,
            Type::Uint32 => Kind::Uint32,
            Type::Uint64 => Kind::Uint64,
            Type::Sint32 => Kind::Sint32,
            Type::Sint64 => Kind::Sint64,
            Type::Fixed32 => Kind::Fixed32,
            Type::Fixed64 => Kind::Fixed64,
            Type::Sfixed32 => Kind::Sfixed32,
            Type::Sfixed64 => Kind::Sfixed64,
            Type::Bool => Kind::Bool,
            Type::String => Kind::Text,
            Type::Bytes => Kind::Bytes,
            Type::Enum(descriptor) => Kind::Enum(self.enum_id(&descriptor)),
            Type::Message(descriptor) => Kind::Message(self.id(&descriptor)),
        };
        // In names nothing is escaped but what JSON demands, unlike in texts.
        let (name, label) = (part.name().to_owned(), Label::new(part.json_name()));
        Ok(Field { name, label, kind, wire: kind.wire(), repeat: part.repeat(), oneof: None })
    }
}

/// A field, or one that another message adds to it.
enum Part<'a> {
    Field(&'a FieldDescriptor),
    Extension(&'a ExtensionDescriptor),
}

impl Part<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Field(field) => field.name(),
            Self::Extension(extension) => extension.full_name(),
        }
    }

    /// Of an extension: its full name in brackets.
    fn json_name(&self) -> &str {
        match self {
            Self::Field(field) => field.json_name(),
            Self::Extension(extension) => extension.json_name(),
        }
    }

    fn kind(&self) -> Type {
        match self {
            Self::Field(field) => field.kind(),
            Self::Extension(extension) => extension.kind(),
        }
    }

    fn is_group(&self) -> bool {
        match self {
            Self::Field(field) => field.is_group(),
            Self::Extension(extension) => extension.is_group(),
        }
    }

    fn file(&self) -> String {
        match self {
            Self::Field(field) => field.parent_file().name().to_owned(),
            Self::Extension(extension) => extension.parent_file().name().to_owned(),
        }
    }

    fn repeat(&self) -> Repeat {
        let (is_map, cardinality, has_presence) = match self {
            Self::Field(field) => (field.is_map(), field.cardinality(), field.supports_presence()),
            Self::Extension(extension) => {
                (extension.is_map(), extension.cardinality(), extension.supports_presence())
            }
        };
        match cardinality {
            _ if is_map => Repeat::Map,
            Cardinality::Repeated => Repeat::List,
            _ if has_presence => Repeat::Explicit,
            _ => Repeat::Implicit,
        }
    }
}

fn file_of(message: &MessageDescriptor) -> String {
    message.parent_file().name().to_owned()
}

/// The way a message is written. One that only has the name of a well-known type is an object.
fn shape(name: &str, fields: &[Field]) -> Shape {
    let Some(short) = name.strip_prefix("google.protobuf.") else { return Shape::Object };
    let is = |expected: &[(Kind, Repeat)]| {
        let found = fields.iter().map(|field| (field.kind, field.repeat));
        found.eq(expected.iter().copied())
    };
    let is_only = |kind| is(&[(kind, Repeat::Implicit)]);
    let is_repeated = |repeat| matches!(fields, [field] if field.repeat == repeat);
    let (shape, fits) = match short {
        "Timestamp" => (
            Shape::Timestamp,
            is(&[(Kind::Int64, Repeat::Implicit), (Kind::Int32, Repeat::Implicit)]),
        ),
        "Duration" => (
            Shape::Duration,
            is(&[(Kind::Int64, Repeat::Implicit), (Kind::Int32, Repeat::Implicit)]),
        ),
        "DoubleValue" => (Shape::Wrapper, is_only(Kind::Double)),
        "FloatValue" => (Shape::Wrapper, is_only(Kind::Float)),
        "Int64Value" => (Shape::Wrapper, is_only(Kind::Int64)),
        "UInt64Value" => (Shape::Wrapper, is_only(Kind::Uint64)),
        "Int32Value" => (Shape::Wrapper, is_only(Kind::Int32)),
        "UInt32Value" => (Shape::Wrapper, is_only(Kind::Uint32)),
        "BoolValue" => (Shape::Wrapper, is_only(Kind::Bool)),
        "StringValue" => (Shape::Wrapper, is_only(Kind::Text)),
        "BytesValue" => (Shape::Wrapper, is_only(Kind::Bytes)),
        "Struct" => (Shape::Struct, is_repeated(Repeat::Map)),
        "ListValue" => (Shape::List, is_repeated(Repeat::List)),
        "Value" => {
            let one_of_them = fields.iter().all(|field| field.oneof == Some(0));
            (Shape::Value, fields.len() == 6 && one_of_them)
        }
        "FieldMask" => (Shape::FieldMask, is(&[(Kind::Text, Repeat::List)])),
        "Any" => {
            (Shape::Any, is(&[(Kind::Text, Repeat::Implicit), (Kind::Bytes, Repeat::Implicit)]))
        }
        _ => return Shape::Object,
    };
    if fits { shape } else { Shape::Object }
}
