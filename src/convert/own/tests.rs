//! Does a message of an operator's own schema give the JSON that protobuf's rules name?

use super::super::{ConvertError, Converted, Converter, Fields, SchemaError, Source};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

const SCHEMA: &str = r#"
syntax = "proto3";
package fleet;
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";

message Trip {
  Header header = 5;
  string line = 1;
  optional int32 delay = 2;
  repeated Stop stops = 3;
  map<string, Stop> named = 4;
  oneof driver { string name = 6; Header badge = 7; uint64 number = 8; }
  repeated sint32 steps = 9;
  Mood mood = 10;
  map<int32, bool> flags = 11;
  google.protobuf.Duration length = 12;
  google.protobuf.Struct extra = 13;
  google.protobuf.Any anything = 14;
  google.protobuf.DoubleValue fare = 15;
  Trip next = 5000;
  repeated Mood moods = 16;
  google.protobuf.Timestamp at = 17;
}
message Header { string vehicle = 1; uint32 depot = 2; google.protobuf.Timestamp at = 3; }
message Stop { string name = 1; double km = 2; }
enum Mood { option allow_alias = true; CALM = 0; HAPPY = 1; GLAD = 1; }
"#;

fn schema(text: &str) -> (TempDir, Source) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fleet.proto");
    fs::write(&file, text).unwrap();
    let source = Source::Proto { files: vec![file], include: Vec::new() };
    (dir, source)
}

fn converter(fields: Fields<'_>) -> Converter {
    let (_dir, source) = schema(SCHEMA);
    Converter::new(&source, "fleet.Trip", fields).unwrap()
}

fn try_convert(bytes: &[u8]) -> Result<String, ConvertError> {
    let mut json = Vec::new();
    converter(Fields::default()).convert(bytes, &mut json)?;
    Ok(String::from_utf8(json).unwrap())
}

fn converted(bytes: &[u8]) -> String {
    try_convert(bytes).unwrap()
}

/// A field with a value behind its length.
fn field(number: u32, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::bytes::encode(number, &value.to_vec(), &mut out);
    out
}

fn varint(number: u32, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::uint64::encode(number, &value, &mut out);
    out
}

fn fails(bytes: &[u8], says: &str) {
    let error = try_convert(bytes).unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}

#[test]
fn fields_are_written_as_the_schema_declares_them_however_they_come() {
    let bytes = [varint(2, 0), field(1, b"53"), field(5, &field(1, b"bus"))].concat();
    assert_eq!(converted(&bytes), r#"{"header":{"vehicle":"bus"},"line":"53","delay":0}"#);
    assert_eq!(converted(b""), "{}");
}

#[test]
fn of_a_field_that_comes_twice_the_last_counts_and_messages_are_merged() {
    let bytes = [field(1, b"a"), field(1, b"b"), varint(2, 1), varint(2, u64::MAX)].concat();
    assert_eq!(converted(&bytes), r#"{"line":"b","delay":-1}"#);
    let bytes = [
        field(5, &[field(1, b"x"), varint(2, 1)].concat()),
        field(1, b"between"),
        field(5, &varint(2, 7)),
    ];
    assert_eq!(
        converted(&bytes.concat()),
        r#"{"header":{"vehicle":"x","depot":7},"line":"between"}"#
    );
    // Two halves of a field are no field: each message must be one by itself.
    fails(&[field(5, b"\x0a"), field(5, b"\x01x")].concat(), "header");
}

#[test]
fn what_another_value_takes_the_place_of_must_be_right_all_the_same() {
    fails(&[field(1, b"\xff"), field(1, b"b")].concat(), "line: the text is not UTF-8");
    fails(&[field(6, b"\xff"), varint(8, 1)].concat(), "name: the text is not UTF-8");
    fails(&[field(7, b"\x0a\xff"), varint(8, 1)].concat(), "badge");
    let entry = |name: &[u8]| field(4, &[field(1, b"k"), field(2, &field(1, name))].concat());
    fails(&[entry(b"\xff"), entry(b"b")].concat(), "the text is not UTF-8");
    // A time that no text can be written for does no harm where it is not written.
    let never = field(3, &varint(1, u64::MAX >> 1));
    fails(&field(7, &never), "badge.at is 9223372036854775807 s");
    assert_eq!(converted(&[field(7, &never), varint(8, 1)].concat()), r#"{"number":"1"}"#);
}

#[test]
fn of_a_oneof_the_last_member_counts_and_one_that_comes_back_starts_afresh() {
    let badge = |bytes: &[u8]| field(7, bytes);
    let bytes = [badge(&varint(2, 1)), field(6, b""), badge(&field(1, b"v"))].concat();
    assert_eq!(converted(&bytes), r#"{"badge":{"vehicle":"v"}}"#);
    let bytes = [badge(&varint(2, 1)), badge(&field(1, b"v"))].concat();
    assert_eq!(converted(&bytes), r#"{"badge":{"vehicle":"v","depot":1}}"#);
    assert_eq!(converted(&[badge(b""), field(6, b"")].concat()), r#"{"name":""}"#);
}

#[test]
fn lists_may_be_packed_or_not_and_an_empty_one_is_left_out() {
    let bytes = [varint(9, 1), field(9, &[2, 3]), varint(9, 4), field(9, &[])].concat();
    assert_eq!(converted(&bytes), r#"{"steps":[-1,1,-2,2]}"#);
    assert_eq!(converted(&field(9, &[])), "{}");
    fails(&field(9, &[0x80]), "steps");
}

#[test]
fn entries_of_a_map_stand_in_the_order_of_their_keys_and_the_last_of_a_key_counts() {
    let flag = |key: u64, value: u64| field(11, &[varint(2, value), varint(1, key)].concat());
    let minus = u64::MAX;
    let bytes = [flag(10, 1), flag(9, 0), flag(minus, 1), flag(9, 1), field(11, &[])].concat();
    assert_eq!(converted(&bytes), r#"{"flags":{"-1":true,"0":false,"9":true,"10":true}}"#);
    let entry = field(4, &field(1, b"k"));
    assert_eq!(converted(&entry), r#"{"named":{"k":{}}}"#);
}

#[test]
fn enums_have_their_first_name_and_numbers_without_one_stay_numbers() {
    assert_eq!(converted(&field(16, &[0, 1, 2])), r#"{"moods":["CALM","HAPPY",2]}"#);
    assert_eq!(converted(&varint(10, 0)), "{}");
    assert_eq!(converted(&varint(10, u64::from(u32::MAX))), r#"{"mood":-1}"#);
}

#[test]
fn well_known_types_have_a_json_of_their_own() {
    let wrapper = field(15, b"");
    let length = field(12, &[varint(1, 1), varint(2, 500_000_000)].concat());
    let number = |value: f64| {
        let mut out = Vec::new();
        prost::encoding::double::encode(2, &value, &mut out);
        out
    };
    let extra = field(13, &field(1, &[field(1, b"n"), field(2, &number(1.5))].concat()));
    let bytes = [length, extra, wrapper].concat();
    assert_eq!(converted(&bytes), r#"{"length":"1.500s","extra":{"n":1.5},"fare":0}"#);
    let nan = field(13, &field(1, &[field(1, b"n"), field(2, &number(f64::NAN))].concat()));
    fails(&nan, "number_value is NaN; it must be a finite number");
    let any = |name: &[u8], value: &[u8]| {
        field(14, &[field(1, &[b"t/", name].concat()), field(2, value)].concat())
    };
    assert_eq!(
        converted(&any(b"fleet.Stop", &field(1, b"s"))),
        r#"{"anything":{"@type":"t/fleet.Stop","name":"s"}}"#
    );
    assert_eq!(
        converted(&any(b"google.protobuf.Duration", &varint(1, 3))),
        r#"{"anything":{"@type":"t/google.protobuf.Duration","value":"3s"}}"#
    );
    fails(&any(b"fleet.Ship", b""), r#"anything is of the type "t/fleet.Ship""#);
}

#[test]
fn messages_may_be_nested_a_hundred_deep_and_no_deeper() {
    let nested = |depth| (0..depth).fold(field(1, b"x"), |inner, _| field(5_000, &inner));
    assert!(converted(&nested(100)).ends_with(&format!("\"line\":\"x\"{}", "}".repeat(101))));
    fails(&nested(101), "nested more than 100 deep");
    // The same inside of what is never written.
    let hidden = field(7, &field(1_000, &[0x0b; 200]));
    assert!(
        try_convert(&[hidden, varint(8, 1)].concat()).is_ok(),
        "an unknown field is not looked into"
    );
    let groups = |depth| [[0x23_u8].repeat(depth), [0x24].repeat(depth)].concat();
    assert!(try_convert(&field(5, &groups(99))).is_ok());
    fails(&field(5, &groups(100)), "nested more than 100 deep");
}

#[test]
fn what_is_not_the_message_is_told_with_the_path_of_the_field() {
    for (bytes, says) in [
        (field(3, &field(1, b"\xff")), "stops.name: the text is not UTF-8"),
        (
            field(3, &varint(1, 1)),
            "stops.name: its wire type is Varint, that of the schema Delimited",
        ),
        (vec![0x0a, 5, b'x'], "line: the bytes end in the middle of a field"),
        (vec![0x00], "there is no field 0"),
        (vec![0x0e], "there is no wire type 6"),
        (vec![0xa4, 0x06], "a group ends that did not begin"),
        (vec![0xff; 11], "a number has more than 64 bits"),
        (vec![0xff, 0xff, 0xff, 0xff, 0xff, 1], "a field's number is out of range"),
    ] {
        fails(&bytes, says);
    }
}

#[test]
fn fields_that_the_schema_does_not_know_are_left_out_and_counted() {
    let unknown = [varint(900, 1), field(901, b"x")].concat();
    let stop = [field(1, b"s"), unknown.clone()].concat();
    let entry = field(4, &[field(1, b"k"), field(2, &stop)].concat());
    let bytes = [unknown, field(3, &stop), entry].concat();
    let mut json = Vec::new();
    let answer = converter(Fields::default()).convert(&bytes, &mut json).unwrap();
    assert_eq!(answer, Converted { unknown_fields: 6, ..Converted::default() });
    assert_eq!(json, br#"{"stops":[{"name":"s"}],"named":{"k":{"name":"s"}}}"#);
}

#[test]
fn the_key_and_the_time_are_found_by_their_paths() {
    let wanted = converter(Fields { key: Some("header.vehicle"), time: Some("header.at") });
    let convert = |bytes: &[u8]| wanted.convert(bytes, &mut Vec::new()).unwrap();
    let at = field(3, &varint(1, 12));
    let both = [field(5, &field(1, b"a\"b")), field(5, &at)].concat();
    let answer = convert(&both);
    assert_eq!(answer.key.as_deref(), Some(b"a\"b".as_slice()));
    assert_eq!(answer.time.map(|time| time.seconds), Some(12));
    assert_eq!(convert(&field(5, &field(1, b""))), Converted::default());
    // The same field of the message within is another one.
    let inner = field(5_000, &both);
    assert_eq!(convert(&inner), Converted::default());
    let number = converter(Fields { key: Some("number"), time: None });
    let answer = number.convert(&varint(8, 5), &mut Vec::new()).unwrap();
    assert_eq!(answer.key.as_deref(), Some(b"5".as_slice()));
}

#[test]
fn messages_are_told_apart_by_single_values_and_times_that_are_all_set() {
    let fields = ["header.vehicle", "header.at"].map(str::to_owned);
    let wanted = converter(Fields { key: Some("header.vehicle"), time: None });
    let wanted = wanted.telling_apart(&fields).unwrap();
    let convert = |bytes: &[u8]| wanted.convert(bytes, &mut Vec::new()).unwrap();
    let (vehicle, at) = (field(5, &field(1, b"a")), field(5, &field(3, &varint(1, 12))));
    let both = convert(&[&vehicle[..], &at].concat());
    assert_eq!((both.key.as_deref(), both.time, both.apart), (Some(b"a".as_slice()), None, true));
    assert!(!convert(&vehicle).apart && !convert(&at).apart);
    let error = converter(Fields::default()).telling_apart(&["stops".to_owned()]).unwrap_err();
    assert!(error.to_string().contains("is a list"), "{error}");
}

#[test]
fn a_path_that_leads_to_no_single_value_is_refused_with_what_is_there() {
    let (_dir, source) = schema(SCHEMA);
    let refused = |key| {
        let error = Converter::new(&source, "fleet.Trip", Fields { key: Some(key), time: None });
        error.unwrap_err().to_string()
    };
    for (path, says) in [
        ("headr.vehicle", "no field \"headr\"; did you mean \"header\"?"),
        ("header.vehicles", "no field \"vehicles\"; did you mean \"vehicle\"?"),
        ("header", "\"header\" of the message fleet.Trip is a message; it must be a single value"),
        ("stops.name", "\"stops\" of the message fleet.Trip is a list; it must be a message"),
        ("named", "is a map"),
        ("line.x", "\"line\" of the message fleet.Trip is a single value; it must be a message"),
        ("at.seconds", "is a message whose JSON is a single value"),
    ] {
        let error = refused(path);
        assert!(error.contains(says), "{path}: {error}");
    }
    let time = Converter::new(&source, "fleet.Trip", Fields { key: None, time: Some("line") });
    let error = time.unwrap_err().to_string();
    assert!(
        error.ends_with("is a single value; it must be a google.protobuf.Timestamp"),
        "{error}"
    );
}

#[test]
fn a_list_that_would_be_a_thousand_times_as_long_in_json_is_refused() {
    let long = format!("enum Mood {{ A{} = 0; }}", "x".repeat(1_000));
    let text = format!(
        "syntax = \"proto3\"; package fleet; {long} message Trip {{ repeated Mood moods = 1; }}"
    );
    let (_dir, source) = schema(&text);
    let converter = Converter::new(&source, "fleet.Trip", Fields::default()).unwrap();
    let mut json = b"kept".to_vec();
    let error = converter.convert(&field(1, &[0; 10_000]), &mut json).unwrap_err();
    assert!(matches!(error, ConvertError::TooLong { .. }), "{error}");
    assert_eq!(json, b"kept");
}

#[test]
fn what_has_no_end_in_memory_or_in_words_is_refused() {
    let is_too_long = |bytes: &[u8]| {
        let error = try_convert(bytes).unwrap_err();
        assert!(matches!(error, ConvertError::TooLong { .. }), "{error}");
    };
    // Each message comes in two halves, so that each is put together anew around all that is in it.
    let halves = |inner: Vec<u8>, _| [field(5_000, &inner), field(5_000, b"")].concat();
    is_too_long(&(0..90).fold(field(1, &vec![b'x'; 100_000]), halves));
    assert!(try_convert(&(0..20).fold(field(1, &vec![b'x'; 100_000]), halves)).is_ok());
    // Each text is six times as long in JSON.
    let named = |n: u32| field(4, &field(1, format!("{n}{}", "<".repeat(1_000)).as_bytes()));
    is_too_long(&(0..1_000).flat_map(named).collect::<Vec<_>>());
    let url = [b"t/".as_slice(), &vec![0x7f; 50_000]].concat();
    let error = try_convert(&field(14, &field(1, &url))).unwrap_err().to_string();
    assert!(error.len() < 1_000, "{} bytes", error.len());
}

fn refused(text: &str, message: &str) -> SchemaError {
    let (_dir, source) = schema(text);
    Converter::new(&source, message, Fields::default()).unwrap_err()
}

#[test]
fn what_is_wrong_with_a_schema_is_told_with_its_file_and_line() {
    let broken =
        refused("syntax = \"proto3\";\nmessage A {\n  strin name = 1;\n}\n", "A").to_string();
    assert!(broken.starts_with("fleet.proto:3:3: "), "{broken}");
    let cut = refused("syntax = \"proto3\";\nmessage A {\n", "A").to_string();
    assert!(cut.starts_with("fleet.proto: expected "), "{cut}");
    let import = refused("syntax = \"proto3\";\nimport \"other.proto\";\n", "A").to_string();
    assert!(import.starts_with("fleet.proto:2:1: ") && import.contains("other.proto"), "{import}");
    let near = refused(SCHEMA, "fleet.Tripp").to_string();
    assert_eq!(near, "no message \"fleet.Tripp\" is known; did you mean \"fleet.Trip\"?");
    let files = vec![PathBuf::from("/nowhere/fleet.proto")];
    let source = Source::Proto { files, include: Vec::new() };
    let missing = Converter::new(&source, "A", Fields::default()).unwrap_err().to_string();
    assert!(missing.starts_with("/nowhere/fleet.proto cannot be read: No such file"), "{missing}");
}

#[test]
fn groups_and_editions_are_refused_by_name() {
    let group = "syntax = \"proto2\"; message A { optional group B = 1 { optional int32 c = 1; } }";
    let group = refused(group, "A").to_string();
    assert!(group.contains("A.b in fleet.proto") && group.contains("it is a group"), "{group}");
    let edition =
        refused("// first\nedition = \"2023\";\nmessage A { int32 b = 1; }", "A").to_string();
    assert!(edition.starts_with("fleet.proto:2:1: editions are not supported"), "{edition}");
}
