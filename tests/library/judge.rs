//! Is what becomes of any message what prost-reflect makes of it?
//!
//! prost-reflect builds the message in memory and writes it by protobuf's mapping to JSON; a route with
//! a schema of its own goes from the bytes to the JSON by tables. Each must take what the other takes,
//! and both JSONs must have one value. Where they differ on purpose, [`excuse`] has the reason: Go is
//! followed there, and `go_schemas.rs` holds the conversion to what Go makes of such messages.

mod choices;
mod excuse;
mod schemas;

use choices::Choices;
use excuse::excuse;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestCaseResult};
use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use prost_reflect::DynamicMessage;
use schemas::{SCHEMAS, Schema};

fn message(schema: &Schema, choices: &[u8]) -> DynamicMessage {
    Choices::new(choices).message(&schema.descriptor, 0)
}

fn judge(schema: &Schema, bytes: &[u8]) -> TestCaseResult {
    schema.judge(bytes).map_err(TestCaseError::fail)
}

/// The fields of a message, each with its tag.
fn pieces(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let mut rest = bytes;
        let (number, wire_type) = decode_key(&mut rest).unwrap();
        skip_field(wire_type, number, &mut rest, DecodeContext::default()).unwrap();
        let (piece, after) = bytes.split_at(bytes.len() - rest.len());
        pieces.push(piece);
        bytes = after;
    }
    pieces
}

/// A way in which bytes are no longer what they were.
#[derive(Debug, Clone)]
enum Damage {
    Cut(prop::sample::Index),
    Flip(prop::sample::Index, u8),
    Put(prop::sample::Index, u8),
    Take(prop::sample::Index),
}

impl Damage {
    fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            1 => any::<prop::sample::Index>().prop_map(Self::Cut),
            4 => (any::<prop::sample::Index>(), 0..8_u8).prop_map(|(at, bit)| Self::Flip(at, 1 << bit)),
            2 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Self::Put(at, byte)),
            2 => any::<prop::sample::Index>().prop_map(Self::Take),
        ]
    }

    fn to(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        match self {
            Self::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Self::Flip(at, bits) => {
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
            }
            Self::Put(at, byte) => bytes.insert(at.index(bytes.len()), *byte),
            Self::Take(at) => drop(bytes.remove(at.index(bytes.len()))),
        }
    }
}

fn schema() -> impl Strategy<Value = &'static Schema> {
    (0..SCHEMAS.len()).prop_map(|at| &SCHEMAS[at])
}

/// What a message is made of: where they end, it ends.
fn choices() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_message_has_the_value_that_the_judge_gives_it(
        schema in schema(),
        choices in choices(),
    ) {
        let message = message(schema, &choices);
        let bytes = message.encode_to_vec();
        prop_assert_eq!(excuse(&message, &bytes), None);
        judge(schema, &bytes)?;
    }

    #[test]
    fn fields_in_any_order_and_more_than_once_are_merged_as_the_judge_merges_them(
        schema in schema(),
        one in choices(),
        other in choices(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let mut bytes = message(schema, &one).encode_to_vec();
        bytes.extend(message(schema, &other).encode_to_vec());
        judge(schema, &bytes)?;
        let pieces = pieces(&bytes);
        if !pieces.is_empty() {
            let mixed: Vec<_> = order.iter().map(|at| pieces[at.index(pieces.len())]).collect();
            judge(schema, &mixed.concat())?;
        }
    }

    #[test]
    fn a_damaged_message_is_taken_or_refused_as_the_judge_does(
        schema in schema(),
        choices in choices(),
        damage in prop::collection::vec(Damage::any(), 1..4),
    ) {
        let mut bytes = message(schema, &choices).encode_to_vec();
        for damage in &damage {
            damage.to(&mut bytes);
            judge(schema, &bytes)?;
        }
    }

    #[test]
    fn any_bytes_are_taken_or_refused_as_the_judge_does(
        schema in schema(),
        bytes in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        judge(schema, &bytes)?;
    }
}
