//! Is the JSON the one that Go gives, byte for byte?
//!
//! Holds the conversion to `fixtures/json/realtime_gps.ndjson`: messages as devices send them, with
//! what Go's `jsonpb`, which a receiver written in Go used before, and its successor `protojson`
//! make of each. Where the answers differ on purpose, the message stands in a list below, with the
//! reason. A message that says half a position, or was made up with a time of any year, would be
//! refused for that alone: it is mended first, and so is Go's line. How the fixtures are made is
//! `go-json/`'s to know; Go is not needed here.

use crate::go::{self, Fixture};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use waystation::convert::{ConvertError, Converter};

const FIXTURES: &str = include_str!("../fixtures/json/realtime_gps.ndjson");

/// Our answer to a message, beside that of `jsonpb`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// The same bytes of JSON.
    Same,
    /// JSON from neither, for a reason of the same kind: bytes that are not the message, or a
    /// value that cannot be written.
    RefusedByBoth,
    /// Go gives JSON; our check of this field refuses the value (`src/convert/check.rs`).
    Impossible(Cow<'static, str>),
    /// Go gives JSON; we do not take the bytes for the message.
    Malformed,
    /// Other bytes of JSON.
    OtherJson,
    /// We give JSON, Go does not, or refuses for a reason of another kind. Nothing may be.
    Otherwise,
}

/// Values that no working tracker can mean: by field, the messages. Go has no such checks, and
/// `jsonpb` even writes years that RFC 3339 has no digits for (`protojson` refuses those too).
const IMPOSSIBLE: &[(&str, &[&str])] = &[
    (
        "device_id",
        &[
            "device_id 256 bytes",
            "device_id emptied",
            "device_id empty",
            "device_id missing",
            "empty",
        ],
    ),
    (
        "fix_time",
        &[
            "fix_time -9223372036854775808 s 0 ns",
            "fix_time -62167219200 s 0 ns",
            "fix_time -62135596801 s 999999999 ns",
            "fix_time -62135596800 s 1 ns",
            "fix_time -2203891200 s 0 ns",
            "fix_time 253402300799 s 999999999 ns",
            "fix_time 253402300800 s 0 ns",
            "fix_time 9223372036854775807 s 0 ns",
        ],
    ),
    (
        "latitude",
        &[
            "latitude -Inf",
            "latitude -181",
            "latitude -180",
            "latitude -91",
            "latitude just past 90",
            "latitude 91",
            "latitude 180",
            "latitude 181",
            "latitude 360",
            "latitude 361",
            "latitude +Inf",
            "latitude NaN",
        ],
    ),
    (
        "longitude",
        &[
            "longitude -Inf",
            "longitude -181",
            "longitude 181",
            "longitude 360",
            "longitude 361",
            "longitude +Inf",
            "longitude NaN",
        ],
    ),
    ("speed", &["speed -Inf", "speed -1e-45"]),
    (
        "heading",
        &[
            "heading -Inf",
            "heading -181",
            "heading -180",
            "heading -91",
            "heading -90",
            "heading 361",
            "heading +Inf",
            "heading NaN",
        ],
    ),
    ("horizontal_accuracy", &["horizontal_accuracy -Inf", "horizontal_accuracy -1e-45"]),
    ("hdop", &["hdop -1"]),
    ("battery_voltage", &["battery_voltage -Inf", "battery_voltage -1e-45"]),
];

/// A field of the schema in a wire type that is not its own. Go takes it for a field that it does
/// not know and leaves it out: the value is lost without a word. We refuse the message, as prost
/// does: it is of another schema, and whoever sends it should hear of that.
const OTHER_WIRE_TYPE: &[&str] = &[
    "attributes as a number",
    "device_id as a group",
    "device_id as a number",
    "entry's name as a number",
    "entry's value as a number",
    "fix_time as a group",
    "fix_time as a number",
    "fix_time seconds as fixed64",
    "fix_type as text",
    "ignition as fixed64",
    "latitude as a number",
    "latitude as float",
    "odometer as text",
    "satellites as a list",
    "satellites as fixed32",
    "sequence as fixed64",
    "speed as double",
];

/// Unknown groups, nested deeper than prost follows them (100; Go: 10,000).
const TOO_DEEP: &[&str] = &["groups 150 deep"];

/// Messages, and a number as we write it and as Go does; as a float of 32 bits it is one.
///
/// 2 to the power of -12 lies halfway between its two shortest texts. Go 1.26 rounds this one up,
/// by a constant of the doubles in its code for floats; every other such number it rounds to the
/// even digit as we do, and so did Go before.
const OTHER_DIGIT: &[(&str, &str, &str)] =
    &[("hdop, 2 to the power of -12", "0.00024414062", "0.00024414063")];

/// The messages that Go made up, with a time of any year in most of them.
const MADE_UP: &str = "random ";
/// What stands for those times: seconds since 1970, and the text.
const A_TIME: (u64, &str) = (1_767_225_600, "2026-01-01T00:00:00");

/// The message with the other half of its position, and with a time that there is; Go's lines to
/// match. What is set behind is what counts, in protobuf, and of a submessage what is set of it.
fn mended(fixture: Fixture) -> Fixture {
    let Ok(line) = fixture.jsonpb() else { return fixture };
    let line: BTreeMap<String, Value> = serde_json::from_str(line).unwrap();
    let mut message = fixture.bytes();
    let mut mend: Vec<Box<dyn Fn(String) -> String>> = Vec::new();
    match (line.contains_key("latitude"), line.contains_key("longitude")) {
        (true, false) => {
            message.extend_from_slice(b"\x21\0\0\0\0\0\0\0\0");
            mend.push(Box::new(|line| {
                let at = line.find("\"latitude\":").unwrap();
                let end = at + line[at..].find([',', '}']).unwrap();
                format!("{},\"longitude\":0{}", &line[..end], &line[end..])
            }));
        }
        (false, true) => {
            message.extend_from_slice(b"\x19\0\0\0\0\0\0\0\0");
            mend.push(Box::new(|line| {
                line.replacen("\"longitude\":", "\"latitude\":0,\"longitude\":", 1)
            }));
        }
        _ => {}
    }
    if let (true, Some(Value::String(time))) =
        (fixture.name.starts_with(MADE_UP), line.get("fixTime"))
    {
        let (seconds, text) = A_TIME;
        let mut varint = Vec::new();
        prost::encoding::encode_varint(seconds, &mut varint);
        message.extend_from_slice(&[0x12, u8::try_from(varint.len()).unwrap() + 1, 0x08]);
        message.extend_from_slice(&varint);
        let (old, new) = (time.clone(), format!("{text}{}", &time[text.len()..]));
        mend.push(Box::new(move |line| line.replacen(&old, &new, 1)));
    }
    fixture.with(&message, |line| mend.iter().fold(line, |line, mend| mend(line)))
}

fn fixtures() -> Vec<Fixture> {
    go::fixtures(FIXTURES).into_iter().map(mended).collect()
}

/// The line that we give, or why we give none.
fn ours(fixture: &Fixture) -> Result<String, ConvertError> {
    let mut json = Vec::new();
    Converter::built_in(Some("device_id")).unwrap().convert(&fixture.bytes(), &mut json)?;
    Ok(String::from_utf8(json).unwrap())
}

fn verdict(fixture: &Fixture) -> Verdict {
    match (ours(fixture), fixture.jsonpb()) {
        (Ok(ours), Ok(gos)) if ours == gos => Verdict::Same,
        (Ok(_), Ok(_)) => Verdict::OtherJson,
        (Err(ConvertError::Invalid { field, .. }), Ok(_)) => Verdict::Impossible(field),
        (Err(ConvertError::Malformed { .. }), Ok(_)) => Verdict::Malformed,
        (Err(ConvertError::Malformed { .. }), Err(_)) if fixture.is_refused() => {
            Verdict::RefusedByBoth
        }
        (Err(ConvertError::Invalid { .. }), Err(_)) if !fixture.is_refused() => {
            Verdict::RefusedByBoth
        }
        _ => Verdict::Otherwise,
    }
}

/// The differences that are meant, by the message's name.
fn named() -> BTreeMap<String, Verdict> {
    let impossible = IMPOSSIBLE.iter().flat_map(|(field, messages)| {
        messages.iter().map(|message| (*message, Verdict::Impossible((*field).into())))
    });
    let malformed =
        OTHER_WIRE_TYPE.iter().chain(TOO_DEEP).map(|message| (*message, Verdict::Malformed));
    let other_json = OTHER_DIGIT.iter().map(|(message, ..)| (*message, Verdict::OtherJson));
    let all = impossible.chain(malformed).chain(other_json);
    all.map(|(message, verdict)| (message.to_owned(), verdict)).collect()
}

#[test]
fn every_line_is_that_of_jsonpb_and_what_differs_is_named_here() {
    let fixtures = fixtures();
    let (mut same, mut refused, mut differing) = (0, 0, BTreeMap::new());
    for fixture in &fixtures {
        match verdict(fixture) {
            Verdict::Same => same += 1,
            Verdict::RefusedByBoth => refused += 1,
            verdict => {
                let twice = differing.insert(fixture.name.clone(), verdict);
                assert_eq!(twice, None, "two messages are called {:?}", fixture.name);
            }
        }
    }
    println!(
        "{} messages: {same} lines equal to jsonpb's byte for byte, {refused} refused by both, \
         {} refused by us alone, {} written in another way",
        fixtures.len(),
        differing.values().filter(|verdict| **verdict != Verdict::OtherJson).count(),
        differing.values().filter(|verdict| **verdict == Verdict::OtherJson).count(),
    );
    go::assert_named(&differing, &named());
}

/// Go's line with a number of [`OTHER_DIGIT`] as we write it.
fn with_our_digit(message: &str, line: &str) -> String {
    match OTHER_DIGIT.iter().find(|(name, ..)| *name == message) {
        Some((_, ours, gos)) => {
            assert_eq!(ours.parse::<f32>(), gos.parse::<f32>());
            line.replace(gos, ours)
        }
        None => line.to_owned(),
    }
}

#[test]
fn every_value_is_that_of_jsonpb_and_of_protojson() {
    let value = |line: &str| serde_json::from_str::<Value>(line).expect(line);
    let (mut lines, mut bytes_of_protojson) = (0, 0);
    for fixture in &fixtures() {
        let Ok(ours) = ours(fixture) else { continue };
        for outcome in [fixture.jsonpb(), fixture.protojson()] {
            match outcome {
                Ok(gos) => {
                    let gos = with_our_digit(&fixture.name, gos);
                    assert_eq!(value(&ours), value(&gos), "{}", fixture.name);
                }
                Err(why) => panic!("{}: {ours}, but Go: {why}", fixture.name),
            }
        }
        lines += 1;
        bytes_of_protojson += usize::from(fixture.protojson() == Ok(ours.as_str()));
    }
    println!(
        "{lines} lines equal in value to those of jsonpb and of protojson, {bytes_of_protojson} \
         of them to protojson's byte for byte"
    );
}

/// A field that the schema gained has no messages here until the fixtures are made anew.
#[test]
fn every_field_of_the_schema_is_in_the_fixtures() {
    let schema = include_str!("../../proto/realtime_gps.proto");
    let message = schema.split("\nmessage ").nth(1).unwrap().split("\n}").next().unwrap();
    let fields = message.lines().filter(|line| line.ends_with(';'));
    let names: BTreeSet<String> = fields
        .map(|line| {
            let name = line.split(" = ").next().unwrap().split(' ').next_back().unwrap();
            let mut words = name.split('_');
            let first = words.next().unwrap().to_owned();
            words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..])
        })
        .collect();
    let mut seen = BTreeSet::new();
    for fixture in &fixtures() {
        if let Ok(line) = fixture.jsonpb() {
            let value: BTreeMap<String, Value> = serde_json::from_str(line).expect(line);
            seen.extend(value.into_keys());
        }
    }
    assert_eq!(seen, names);
}
