//! With a schema of the operator's own, is the JSON the one that Go gives, byte for byte?
//!
//! Holds the conversion by tables to `fixtures/json/`: messages of the schemas under `fixtures/proto/`, which
//! have every kind of field in every place, with what Go's `jsonpb` and `protojson` make of each.
//! Where the answers differ on purpose, the message stands in a list below, with the reason. How the
//! fixtures are made is `go-json/`'s to know; Go is not needed here.

use crate::go::{self, Fixture};
use crate::value::same_value;
use std::collections::BTreeMap;
use std::path::Path;
use waystation::convert::{Converter, Fields, Source};

/// The schema's file, its message, and the fixtures.
const SCHEMAS: [(&str, &str, &str); 5] = [
    ("every3.proto", "every3.Everything", include_str!("../fixtures/json/every3.ndjson")),
    ("every2.proto", "every2.Everything", include_str!("../fixtures/json/every2.ndjson")),
    ("known.proto", "known.Types", include_str!("../fixtures/json/known.ndjson")),
    ("names.proto", "names.Odd", include_str!("../fixtures/json/names.ndjson")),
    ("fleet/trip.proto", "fleet.Trip", include_str!("../fixtures/json/trip.ndjson")),
];

/// Our answer to a message, beside that of `jsonpb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// The same bytes of JSON.
    Same,
    RefusedByBoth,
    /// Go gives JSON, we do not.
    RefusedHere,
    /// Other bytes of JSON.
    OtherJson,
    /// We give JSON, Go does not.
    TakenHere,
}

/// A reason to differ, and the messages that do: a `*` at either end of a name stands for anything.
struct Difference {
    verdict: Verdict,
    /// Whether `protojson` answers as we do, and only the older library otherwise.
    as_protojson: bool,
    messages: &'static [&'static str],
}

/// Go takes a field of the schema in a wire type that is not its own for one that it does not know, and
/// leaves it out: the value is lost without a word. We refuse the message, as prost does: it is of
/// another schema, and whoever sends it should hear of that.
const OTHER_WIRE_TYPE: Difference = Difference {
    verdict: Verdict::RefusedHere,
    as_protojson: false,
    messages: &[
        "* as a varint",
        "* as fixed64",
        "* as bytes",
        "* as a group",
        "* as fixed32",
        "* as a number",
        "* in another wire type",
        "*, its values as numbers",
        "* as a varint that could be a length",
        "choice of another wire type",
    ],
};

/// Messages, map entries and unknown groups, nested deeper than the code that prost generates follows them
/// (100; Go: 10,000). An `Any` is one level, and what it holds another.
const TOO_DEEP: Difference = Difference {
    verdict: Verdict::RefusedHere,
    as_protojson: false,
    messages: &[
        "only, 99 deep, an unknown *",
        "only, 100 deep*",
        "only, 101 deep",
        "branches, 100 deep",
        "branches, 101 deep",
        "left, 100 deep",
        "left, 101 deep",
        "named, 50 deep",
        "named, 98 deep",
        "named, 99 deep",
        "named, 100 deep",
        "numbered, 50 deep",
        "numbered, 98 deep",
        "numbered, 99 deep",
        "numbered, 100 deep",
        "unknown groups, 101 deep",
        "unknown groups, 102 deep",
        "objects, 48 deep",
        "objects, 49 deep",
        "objects, 50 deep",
        "lists, 50 deep",
        "any held, 60 deep",
    ],
};

/// Go does not look at a text of proto2 before it writes it, and then puts U+FFFD in the place of bytes that
/// are no text: what the device sent is lost.
const TEXT_OF_PROTO2: Difference =
    Difference { verdict: Verdict::RefusedHere, as_protojson: true, messages: &["bad text *"] };

/// Years that RFC 3339 has no digits for.
const YEARS: Difference = Difference {
    verdict: Verdict::RefusedHere,
    as_protojson: true,
    messages: &[
        "time -9223372036854775808 s 0 ns",
        "time -62167219200 s 0 ns",
        "time -62135596801 s 999999999 ns",
        "time 253402300800 s 0 ns",
        "time 9223372036854775807 s 0 ns",
    ],
};

/// A `google.protobuf.Value` is a value of JSON, which has neither.
const NOT_FINITE: Difference = Difference {
    verdict: Verdict::RefusedHere,
    as_protojson: true,
    messages: &["value NaN", "value +Inf", "value -Inf", "object, NaN inside"],
};

/// `jsonpb` is older than the JSON of a `FieldMask` and writes it as any other message.
const MASK: Difference = Difference {
    verdict: Verdict::OtherJson,
    as_protojson: true,
    messages: &[
        "mask \"*",
        "mask empty",
        "mask of three",
        "mask in pieces",
        "mask, chosen",
        "masks",
        "masks, two that are empty",
        "mask_by_name, entry empty",
        "any FieldMask",
    ],
};

/// What is no path, or would not come back from lowerCamelCase, cannot be written as a `FieldMask`.
const NO_MASK: Difference = Difference {
    verdict: Verdict::RefusedHere,
    as_protojson: true,
    messages: &["mask \"*", "mask of three, the last bad", "mask of two that are empty"],
};

/// `jsonpb` writes `null` for bytes that are empty where Go has nothing for them, and `""` elsewhere.
const EMPTY_BYTES: Difference = Difference {
    verdict: Verdict::OtherJson,
    as_protojson: true,
    messages: &[
        "of_bytes, entry empty",
        "of_bytes, no value",
        "bytes_value empty",
        "bytes_value, chosen",
        "bytes_values",
        "bytes_values by name",
        "bytes_values, two that are empty",
        "bytes_value_by_name, entry empty",
    ],
};

/// `jsonpb` looks for the type of an `Any` that has none.
const EMPTY_ANY: Difference = Difference {
    verdict: Verdict::TakenHere,
    as_protojson: true,
    messages: &[
        "any empty",
        "any Any, empty",
        "any by name, missing",
        "any_by_name, entry empty",
        "anys, two that are empty",
    ],
};

/// A `google.protobuf.Value` of which no kind is set, or one that a later schema has, is `null`, as
/// prost-reflect writes it: the device sent something, and the rest of its message is worth keeping.
const NO_KIND: Difference = Difference {
    verdict: Verdict::TakenHere,
    as_protojson: false,
    messages: &[
        "value without a kind",
        "value without a known kind",
        "value, an empty value inside",
        "value by name, missing",
        "value_by_name, entry empty",
        "values, one without a kind",
        "values, two that are empty",
        "object, a value missing",
        "object, an entry empty",
        "any Value without a kind",
    ],
};

/// Fields that proto2 calls required, and that are missing: prost does not look, neither do we. The field
/// is left out, as any other that is not there.
const REQUIRED: Difference =
    Difference { verdict: Verdict::TakenHere, as_protojson: false, messages: &["strict*"] };

const DIFFERENCES: &[(&str, Difference)] = &[
    ("a field in a wire type that is not its own", OTHER_WIRE_TYPE),
    ("nested too deep", TOO_DEEP),
    ("a text of proto2 that is not UTF-8", TEXT_OF_PROTO2),
    ("a time outside the years 1 to 9999", YEARS),
    ("a Value of NaN or infinity", NOT_FINITE),
    ("a FieldMask", MASK),
    ("a FieldMask that is none", NO_MASK),
    ("null for empty bytes", EMPTY_BYTES),
    ("an Any that holds nothing", EMPTY_ANY),
    ("a Value without a kind", NO_KIND),
    ("a required field that is missing", REQUIRED),
];

/// `protojson` leaves out the value of an `Any` that holds an `Empty`; we write it as `jsonpb` does.
const ANY_OF_EMPTY: &[&str] = &["any Empty", "any Empty, with unknown fields", "any by name"];

/// A message, our answer, and Go's.
struct Answered {
    fixture: Fixture,
    ours: Result<String, String>,
}

fn answered((file, message, lines): (&str, &str, &str)) -> Vec<Answered> {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/proto");
    let source = Source::Proto { files: vec![include.join(file)], include: vec![include] };
    let converter = Converter::new(&source, message, Fields::default()).unwrap();
    let answer = |fixture: Fixture| {
        let mut json = Vec::new();
        let ours = converter.convert(&fixture.bytes(), &mut json);
        let ours = ours.map(|_| String::from_utf8(json).unwrap()).map_err(|why| why.to_string());
        Answered { fixture, ours }
    };
    go::fixtures(lines).into_iter().map(answer).collect()
}

impl Answered {
    fn verdict(&self) -> Verdict {
        match (&self.ours, self.fixture.jsonpb()) {
            (Ok(ours), Ok(gos)) if ours == gos => Verdict::Same,
            (Ok(_), Ok(_)) => Verdict::OtherJson,
            (Err(_), Err(_)) => Verdict::RefusedByBoth,
            (Err(_), Ok(_)) => Verdict::RefusedHere,
            (Ok(_), Err(_)) => Verdict::TakenHere,
        }
    }

    fn is_as_protojson(&self) -> bool {
        match (&self.ours, self.fixture.protojson()) {
            (Ok(ours), Ok(gos)) => same_value(ours, gos),
            (Err(_), Err(_)) => true,
            _ => false,
        }
    }

    /// The reason for which it differs so, and the name by which it stands there.
    fn named(&self, verdict: Verdict) -> Option<(&'static str, &'static str)> {
        DIFFERENCES.iter().find_map(|(reason, difference)| {
            let fits = difference.verdict == verdict
                && (!difference.as_protojson || self.is_as_protojson());
            let mut messages = difference.messages.iter().copied().filter(|_| fits);
            messages.find(|name| is_called(&self.fixture.name, name)).map(|name| (*reason, name))
        })
    }
}

fn is_called(message: &str, name: &str) -> bool {
    match (name.strip_prefix('*'), name.strip_suffix('*')) {
        (Some(end), _) => message.ends_with(end),
        (None, Some(beginning)) => message.starts_with(beginning),
        (None, None) => message == name,
    }
}

#[test]
fn every_line_is_that_of_jsonpb_and_what_differs_is_named_here() {
    let (mut unnamed, mut seen) = (Vec::new(), BTreeMap::new());
    for schema in SCHEMAS {
        let (mut counts, mut reasons) = (BTreeMap::new(), BTreeMap::new());
        for answered in answered(schema) {
            let verdict = answered.verdict();
            *counts.entry(verdict).or_insert(0) += 1;
            if matches!(verdict, Verdict::Same | Verdict::RefusedByBoth) {
                continue;
            }
            match answered.named(verdict) {
                Some((reason, name)) => {
                    *reasons.entry(reason).or_insert(0) += 1;
                    *seen.entry((reason, name)).or_insert(0) += 1;
                }
                None => unnamed.push(format!(
                    "{}: {}: {verdict:?}: {:?}, but {:?}",
                    schema.1,
                    answered.fixture.name,
                    answered.ours,
                    answered.fixture.jsonpb(),
                )),
            }
        }
        let count = |verdict| counts.get(&verdict).copied().unwrap_or(0);
        println!(
            "{}: {} messages, {} equal to jsonpb's byte for byte, {} refused by both; different: {reasons:?}",
            schema.1,
            counts.values().sum::<usize>(),
            count(Verdict::Same),
            count(Verdict::RefusedByBoth),
        );
    }
    assert!(unnamed.is_empty(), "{} differ and are not named: {unnamed:#?}", unnamed.len());
    for (reason, difference) in DIFFERENCES {
        for name in difference.messages {
            assert!(seen.contains_key(&(reason, name)), "{name} ({reason}) does not differ");
        }
    }
}

#[test]
fn every_value_is_that_of_protojson_but_in_an_any_of_nothing() {
    let (mut lines, mut of_jsonpb) = (0, 0);
    for schema in SCHEMAS {
        for answered in answered(schema) {
            let (Ok(ours), name) = (&answered.ours, answered.fixture.name.as_str()) else {
                continue;
            };
            match answered.fixture.protojson() {
                Ok(gos) => assert_eq!(
                    same_value(ours, gos),
                    !(schema.1 == "known.Types" && ANY_OF_EMPTY.contains(&name)),
                    "{name}: {ours}, but {gos}"
                ),
                // The first test has the reason.
                Err(_) => continue,
            }
            lines += 1;
            of_jsonpb +=
                usize::from(answered.fixture.jsonpb().is_ok_and(|gos| same_value(ours, gos)));
        }
    }
    println!("{lines} lines equal in value to protojson's, {of_jsonpb} of them to jsonpb's too");
}
