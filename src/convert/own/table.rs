//! What a message's JSON needs to know of its schema, as tables.
//!
//! Messages and enums are named by their places in the tables, since they refer to one another in
//! circles. How the tables are made is `compile.rs`' to know; there are no values here.

use super::super::json;
use super::wire::WireType;
use prost_reflect::EnumDescriptor;
use std::collections::{BTreeMap, HashMap};

/// Numbers of fields up to this are looked up by index.
const DIRECT: u32 = 4_096;

/// Place of a message in [`Tables::messages`].
pub(super) type MessageId = usize;
/// Place of an enum in [`Tables::enums`].
pub(super) type EnumId = usize;

/// Everything that a message can contain, itself included.
#[derive(Debug)]
pub(super) struct Tables {
    pub messages: Vec<Message>,
    pub enums: Vec<Enum>,
    /// By full name, for `google.protobuf.Any`.
    pub by_name: HashMap<String, MessageId>,
}

#[derive(Debug)]
pub(super) struct Message {
    pub name: String,
    /// In the order in which they are written: as the schema declares them, extensions at the end.
    pub fields: Vec<Field>,
    pub numbers: Numbers,
    /// How many oneofs there are, without those of `optional` fields.
    pub oneofs: usize,
    pub shape: Shape,
}

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Object,
    /// Of the well-known types, whose JSON is special.
    Timestamp,
    Duration,
    /// The value of the only field, set or not.
    Wrapper,
    Struct,
    List,
    Value,
    FieldMask,
    Any,
}

#[derive(Debug)]
pub(super) struct Field {
    /// As the schema names it.
    pub name: String,
    pub label: Label,
    pub kind: Kind,
    /// That of the kind.
    pub wire: WireType,
    pub repeat: Repeat,
    /// The oneof that it belongs to.
    pub oneof: Option<usize>,
}

/// What stands before a field's value: `,"deviceId":`.
#[derive(Debug)]
pub(super) struct Label {
    text: Box<[u8]>,
    /// Its beginning: to copy so many bytes always, and forget some, is faster than to copy some.
    begins: [u8; 32],
}

impl Label {
    /// Of the field's name in JSON.
    pub(super) fn new(name: &str) -> Self {
        let text = format!(",{}:", serde_json::Value::from(name)).into_bytes();
        let begins = std::array::from_fn(|at| text.get(at).copied().unwrap_or_default());
        Self { text: text.into_boxed_slice(), begins }
    }

    #[inline]
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        if self.text.len() <= self.begins.len() {
            let start = out.len();
            out.extend_from_slice(&self.begins);
            out.truncate(start + self.text.len());
        } else {
            out.extend_from_slice(&self.text);
        }
    }
}

/// How often a field can be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// At most once. What is 0 or empty counts as unset.
    Implicit,
    /// At most once, whatever the value.
    Explicit,
    List,
    /// The kind is that of its entries, which have a key and a value.
    Map,
}

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    Text,
    Bytes,
    Enum(EnumId),
    Message(MessageId),
}

/// From a field's number to its place.
#[derive(Debug)]
pub(super) enum Numbers {
    /// The place of a number, plus one; 0 for none.
    Direct(Vec<u16>),
    Sparse(BTreeMap<u32, u16>),
}

#[derive(Debug)]
pub(super) struct Enum {
    /// By number: the name in quotes. Of several names of one number the first.
    names: BTreeMap<i32, Box<[u8]>>,
    /// The same, for the numbers from 0 on.
    dense: Vec<Option<Box<[u8]>>>,
    /// The value of an entry of a map without one.
    pub default: i32,
    /// Whether it is `google.protobuf.NullValue`, of which any number is null.
    is_null: bool,
}

impl Kind {
    pub(super) fn wire(self) -> WireType {
        match self {
            Self::Double | Self::Fixed64 | Self::Sfixed64 => WireType::Fixed64,
            Self::Float | Self::Fixed32 | Self::Sfixed32 => WireType::Fixed32,
            Self::Text | Self::Bytes | Self::Message(_) => WireType::Delimited,
            _ => WireType::Varint,
        }
    }
}

impl Numbers {
    pub(super) fn new(numbers: &[u32]) -> Self {
        // The count is checked in `compile.rs`.
        let places = (0_u16..).zip(numbers.iter().copied());
        if numbers.iter().all(|number| *number <= DIRECT) {
            let last = numbers.iter().max().copied().unwrap_or_default();
            let mut direct = vec![0; last as usize + 1];
            for (place, number) in places {
                direct[number as usize] = place + 1;
            }
            return Self::Direct(direct);
        }
        Self::Sparse(places.map(|(place, number)| (number, place)).collect())
    }

    /// The place of the field of that number.
    #[inline]
    pub(super) fn place(&self, number: u32) -> Option<usize> {
        match self {
            Self::Direct(places) => {
                let place = *places.get(number as usize)?;
                usize::from(place).checked_sub(1)
            }
            Self::Sparse(places) => places.get(&number).map(|place| usize::from(*place)),
        }
    }
}

impl Enum {
    pub(super) fn new(descriptor: &EnumDescriptor) -> Self {
        let mut names = BTreeMap::new();
        let mut values: Vec<_> = descriptor.values().collect();
        values.sort_by_key(|value| value.path().last().copied());
        for value in values {
            let mut name = Vec::new();
            json::string(&mut name, value.name());
            names.entry(value.number()).or_insert_with(|| name.into_boxed_slice());
        }
        let default = descriptor.default_value().number();
        let dense = (0..256).map(|number| names.get(&number).cloned()).collect();
        let is_null = descriptor.full_name() == "google.protobuf.NullValue";
        Self { names, dense, default, is_null }
    }

    /// The JSON of a number that has a name.
    pub(super) fn name(&self, number: i32) -> Option<&[u8]> {
        if self.is_null {
            return Some(b"null");
        }
        let name = match usize::try_from(number) {
            Ok(place) if place < self.dense.len() => self.dense[place].as_ref(),
            _ => self.names.get(&number),
        };
        name.map(|name| &**name)
    }
}
