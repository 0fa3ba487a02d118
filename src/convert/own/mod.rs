//! Messages of the operator's own schemas: from their bytes to canonical JSON, by tables that are
//! compiled from the schema at the start.
//!
//! It gives what prost-reflect's mapping gives, in Go's spelling and order, several times faster: no
//! message is built in memory. Differences from it are named in
//! `tests/library/judge/excuse.rs`, those from Go in `tests/library/go_schemas.rs`.
//!
//! - `table.rs`: what is needed of the schema; `compile.rs`: how it is made
//! - `path.rs`: the fields that are wanted for themselves
//! - `wire.rs`: keys, varints, lengths
//! - `scan.rs`: where the values of one message stand
//! - `transcode.rs`: how they are written; `scalar.rs`: single ones; `map_key.rs`: the keys of maps;
//!   `special.rs`: the well-known types; `wellknown.rs`: single values of theirs
//! - `flaw.rs`: why there is no JSON

mod compile;
mod flaw;
mod map_key;
mod path;
mod scalar;
mod scan;
mod special;
mod table;
mod transcode;
mod wellknown;
mod wire;

#[cfg(test)]
mod tests;

use super::schema::SchemaError;
use super::{ConvertError, Converted, Fields, LONGEST_MESSAGE};
use path::{Leaf, Wanted};
use prost_reflect::MessageDescriptor;
use scan::Slots;
use std::cell::RefCell;
use table::{MessageId, Tables};
use transcode::{Captured, Transcoder};

/// What one conversion after the other uses, so that none allocates it.
#[derive(Debug, Default)]
struct Scratch {
    slots: Slots,
    captured: Vec<Option<Captured>>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Converts messages of one schema.
#[derive(Debug)]
pub(super) struct Own {
    tables: Tables,
    root: MessageId,
    wanted: Wanted,
    /// The numbers under which they are wanted.
    key: Option<usize>,
    time: Option<usize>,
    /// Those that tell messages apart.
    apart: Vec<usize>,
    /// How many are wanted.
    count: usize,
}

impl Own {
    pub(super) fn new(
        message: &MessageDescriptor,
        fields: Fields<'_>,
    ) -> Result<Self, SchemaError> {
        let (tables, root) = Tables::new(message)?;
        let mut wanted = Wanted::default();
        let mut count = 0;
        let mut want = |path: Option<&str>, leaf| {
            let Some(path) = path else { return Ok(None) };
            let number = wanted.add(&tables, root, path, leaf, count)?;
            count = count.max(number + 1);
            Ok(Some(number))
        };
        let key = want(fields.key, Leaf::Scalar)?;
        let time = want(fields.time, Leaf::Time)?;
        Ok(Self { tables, root, wanted, key, time, apart: Vec::new(), count })
    }

    /// See [`Converter::telling_apart`](super::Converter::telling_apart).
    pub(super) fn telling_apart(&mut self, fields: &[String]) -> Result<(), SchemaError> {
        for path in fields {
            let Self { tables, root, wanted, count, .. } = self;
            let mut want = |leaf| wanted.add(tables, *root, path, leaf, *count);
            let number = want(Leaf::Scalar).or_else(|error| want(Leaf::Time).map_err(|_| error))?;
            self.count = self.count.max(number + 1);
            self.apart.push(number);
        }
        Ok(())
    }

    /// See [`Converter::convert`](super::Converter::convert).
    pub(super) fn convert(
        &self,
        message: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Converted, ConvertError> {
        let start = out.len();
        let name = &self.tables.messages[self.root].name;
        if message.len() > LONGEST_MESSAGE {
            return Err(ConvertError::TooLong { message: name.clone() });
        }
        SCRATCH.with_borrow_mut(|Scratch { slots, captured }| {
            captured.clear();
            captured.resize(self.count, None);
            let tables = &self.tables;
            let mut transcoder = Transcoder { tables, slots, out, merged: 0, captured };
            let outcome = transcoder.run(self.root, message, &self.wanted);
            let unknown_fields = slots.unknown;
            slots.reset();
            if let Err(flaw) = outcome {
                out.truncate(start);
                return Err(flaw.into_error(name));
            }
            let is_set = |number: &usize| captured[*number].is_some();
            let apart = !self.apart.is_empty() && self.apart.iter().all(is_set);
            let mut take = |number: Option<usize>| captured.get_mut(number?)?.take();
            let key = match take(self.key) {
                Some(Captured::Text(text)) => Some(text),
                _ => None,
            };
            let time = match take(self.time) {
                Some(Captured::Time(time)) => Some(time),
                _ => None,
            };
            captured.clear();
            Ok(Converted { key, time, apart, unknown_fields })
        })
    }
}
