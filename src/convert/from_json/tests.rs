//! Is what was written read as what was meant, and everything else refused with its place?

use super::super::fuzzing::EVERY;
use super::super::message::DESCRIPTION;
use super::super::{Converter, MESSAGE, RealtimeGps};
use super::*;
use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::DynamicMessage;
use serde_json::{Value, json};

/// The line that becomes of a message of the built-in schema.
fn line(text: impl AsRef<[u8]>) -> Result<String, String> {
    let converter = Converter::built_in(None).unwrap();
    let bytes = converter.read_json(text.as_ref()).map_err(|error| error.to_string())?;
    let mut json = Vec::new();
    converter.convert(&bytes, &mut json).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(json).unwrap())
}

/// Why it is refused, without what stands before every refusal.
fn why(text: impl AsRef<[u8]>) -> String {
    let before = format!("the body is not a {MESSAGE} message: ");
    let why = line(text).unwrap_err();
    why.strip_prefix(&before).unwrap_or_else(|| panic!("{why}")).to_owned()
}

/// A message with every type, as `prost-reflect` writes what was read.
fn every(text: &str) -> Result<Value, String> {
    let bytes = read(&EVERY, text.as_bytes()).map_err(|error| error.to_string())?;
    let message = DynamicMessage::decode(EVERY.clone(), &bytes[..]).unwrap();
    Ok(serde_json::to_value(&message).unwrap())
}

fn every_why(text: &str) -> String {
    let why = every(text).unwrap_err();
    why.strip_prefix("the body is not a test.Every message: ").unwrap().to_owned()
}

#[test]
fn every_spelling_of_a_message_gives_the_same_line() {
    let canonical = concat!(
        r#"{"deviceId":"t","fixTime":"2024-02-29T12:00:00.250Z","latitude":48.5,"longitude":0,"#,
        r#""speed":0,"satellites":12,"fixType":"FIX_3D","odometer":"9007199254740993","attributes":{"a":"1"}}"#
    );
    assert_eq!(line(canonical).unwrap(), canonical);
    for text in [
        "\u{feff}{\"odometer\":9007199254740993,\"satellites\":\"12\",\"fixType\":3,\
         \"fix_time\":\"2024-02-29T13:00:00.25+01:00\",\"speed\":0e3,\"longitude\":\"0\",\"latitude\":\"48.5\",\
         \"attributes\":{\"\\u0061\":\"1\"},\"device_id\":\"t\"}\r\n",
        " {\n\t\"deviceId\" : \"t\", \"fixTime\":\"2024-02-29T12:00:00.250000000Z\",\n\
         \"latitude\":4.85E1,\"longitude\":0.0,\"speed\":0.0,\"satellites\":1.20e1,\"fixType\":\"FIX_3D\",\
         \"odometer\":9.007199254740993e15,\"event\":null,\"altitude\":null,\
         \"attributes\":{\"a\":\"1\"}}",
    ] {
        assert_eq!(line(text).unwrap(), canonical, "{text}");
    }
}

#[test]
fn what_is_impossible_is_refused_as_it_is_of_protobuf() {
    assert_eq!(line("{}").unwrap_err(), "device_id is empty; it must be a text of 1 to 255 bytes");
    let error = line(r#"{"deviceId":"t","latitude":91}"#).unwrap_err();
    assert_eq!(error, "latitude is 91; it must be -90 to 90 degrees");
    assert!(line(r#"{"deviceId":"t","latitude":"NaN"}"#).unwrap_err().starts_with("latitude is"));
    let odd = r#"{"deviceId":"t","altitude":"NaN","hdop":"Infinity","fixType":77,"event":-1}"#;
    assert_eq!(line(odd).unwrap(), odd);
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (text, expected) in [
        (
            "{\"deviceId\":\"t\",\n \"latitud\": 5}",
            r#"there is no field "latitud"; did you mean "latitude"? at line 2, column 10"#,
        ),
        ("{\n\"latitude\": true}", "latitude: expected a number, found true at line 2, column 13"),
        (
            r#"{"satellites":-1}"#,
            "satellites: expected a whole number from 0 to 4294967295, found -1 at line 1, column 15",
        ),
        (
            r#"{"fixType":"FIX3D"}"#,
            "fix_type: FixType has no value \"FIX3D\"; did you mean \"FIX_3D\"? at line 1, column 12",
        ),
        (
            r#"{"attributes":{"line":53}}"#,
            r#"attributes["line"]: expected a text, found 53 at line 1, column 23"#,
        ),
        (r#"{"deviceId":"t""#, "EOF while parsing an object at line 1, column 15"),
        (r#"{"deviceId":"t"} {}"#, "trailing characters at line 1, column 18"),
        ("", "EOF while parsing a value at line 1, column 0"),
    ] {
        assert_eq!(why(text), expected, "{text}");
    }
    let time = why(r#"{"fixTime":"yesterday"}"#);
    assert!(time.starts_with("fix_time: invalid rfc3339 timestamp"), "{time}");
    let inside = every_why("{\"oneAny\":\n{\"oneInt32\":\n\"x\",\"@type\":\"x/test.Every\"}}");
    assert!(inside.starts_with("one_any.one_int32: ") && inside.ends_with("line 3, column 1"));
    assert!(why("[]").starts_with("invalid type: sequence, expected an object"), "{}", why("[]"));
    assert!(why(b"{\"deviceId\":\n\"\xff\"}").ends_with("it is not UTF-8 at line 2, column 2"));
}

/// Fails where one of the two is kept, which may be the wrong one.
#[test]
fn what_stands_twice_is_refused() {
    for text in [
        r#"{"deviceId":"t","deviceId":"t"}"#,
        r#"{"deviceId":"t","device_id":"u"}"#,
        r#"{"latitude":1,"latitude":2}"#,
        r#"{"altitude":null,"altitude":1}"#,
        r#"{"attributes":{"a":"1","\u0061":"2"}}"#,
    ] {
        assert!(why(text).contains("stands twice"), "{}", why(text));
    }
    assert!(every_why(r#"{"byNameInt32":{"1":1,"1.0":2}}"#).contains("stands twice"));
    assert!(every_why(r#"{"oneStruct":{"a":1,"a":2}}"#).contains("stands twice"));
    let both = every_why(r#"{"maybeBool":true,"maybeInt32":1}"#);
    assert!(both.starts_with(r#"only one of "maybe_bool" and "maybe_int32" can be set"#), "{both}");
    assert!(every(r#"{"maybeBool":true,"maybeInt32":null}"#).is_ok());
}

/// Fails where a number goes by way of a `f64`.
#[test]
fn a_number_that_its_type_cannot_hold_is_refused_and_none_becomes_another_one() {
    for text in [
        r#"{"odometer":18446744073709551616}"#,
        r#"{"odometer":1.8446744073709551616e19}"#,
        r#"{"odometer":"18446744073709551616"}"#,
        r#"{"odometer":-1}"#,
        r#"{"odometer":0.5}"#,
        r#"{"odometer":4503599627370496.3}"#,
        r#"{"odometer":1e-1}"#,
        r#"{"odometer":1e20}"#,
        r#"{"odometer":1e99999999999999999999}"#,
        r#"{"odometer":""}"#,
        r#"{"odometer":" 1"}"#,
        r#"{"odometer":"+1"}"#,
        r#"{"odometer":"0x1"}"#,
        r#"{"odometer":true}"#,
        r#"{"satellites":4294967296}"#,
        r#"{"fixType":2147483648}"#,
        r#"{"fixType":"3"}"#,
        r#"{"altitude":1e400}"#,
        r#"{"altitude":"1e400"}"#,
        r#"{"altitude":"inf"}"#,
        r#"{"altitude":"nan"}"#,
        r#"{"altitude":"1."}"#,
        r#"{"altitude":NaN}"#,
        r#"{"hdop":3.5e38}"#,
        r#"{"ignition":"true"}"#,
        r#"{"ignition":1}"#,
        r#"{"deviceId":5}"#,
    ] {
        assert!(why(text).contains("column"), "{text}");
    }
    for (number, read) in [
        ("18446744073709551615", "18446744073709551615"),
        ("1.8446744073709551615e19", "18446744073709551615"),
        ("1000e-3", "1"),
        ("\"12.50e1\"", "125"),
        ("0e99", "0"),
        ("-0", "0"),
        ("10000000000000000000", "10000000000000000000"),
    ] {
        let text = format!(r#"{{"deviceId":"t","odometer":{number}}}"#);
        assert_eq!(line(text).unwrap(), format!(r#"{{"deviceId":"t","odometer":"{read}"}}"#));
    }
    // Nearer to 1 than to the next 32-bit number, but not when it is rounded to 64 bits first.
    let rounded = line(r#"{"deviceId":"t","hdop":1.00000005960464477540}"#).unwrap();
    assert_eq!(rounded, r#"{"deviceId":"t","hdop":1.0000001}"#);
}

#[test]
fn any_text_that_protobuf_can_hold_is_kept_and_half_a_character_is_not() {
    let text = r#"{"deviceId":"a\u0000é\ud83d\ude00"}"#;
    assert_eq!(line(text).unwrap(), "{\"deviceId\":\"a\\u0000é😀\"}");
    for half in [r"\ud83d", r"\ude00", r"\ud83d\ud83d"] {
        let why = why(format!(r#"{{"deviceId":"{half}"}}"#));
        assert!(why.starts_with("device_id: "), "{why}");
    }
}

/// Fails where a refusal says all of it: a batch lists a hundred of them.
#[test]
fn a_refusal_is_short_whatever_was_sent() {
    let long = "é".repeat(60_000);
    for text in [
        format!(r#"{{"{long}":1}}"#),
        format!(r#"{{"latitude":"{long}"}}"#),
        format!(r#"{{"fixType":"{long}"}}"#),
        format!(r#"{{"fixTime":"{long}"}}"#),
        format!(r#"{{"attributes":{{"{long}":1}}}}"#),
        format!(r#"{{"attributes":"{long}"}}"#),
        format!(r#""{long}""#),
    ] {
        assert!(why(&text).len() < 1_000, "{}", why(&text));
    }
}

/// Fails where nothing counts how deep it is: the stack ends, and with it the service.
#[test]
fn what_is_nested_too_deeply_is_refused() {
    let nested = |open: &str, close: &str, depth| open.repeat(depth) + &close.repeat(depth);
    let messages = |depth| format!("{{{}}}", nested(r#""oneEvery":{"#, "}", depth));
    assert!(every(&messages(100)).is_ok());
    assert!(every_why(&messages(101)).contains("100 deep"));
    assert!(every(&messages(50_000)).is_err());
    let lists = |depth| format!(r#"{{"oneValue":{}}}"#, nested("[", "]", depth));
    assert!(every(&lists(40)).is_ok());
    assert!(every(&lists(60)).is_err());
    assert!(every(&lists(50_000)).is_err());
    let any = r#"{"@type":"x/google.protobuf.Any","value":"#;
    let last = r#"{"@type":"x/google.protobuf.Duration","value":"1s"}"#;
    let anys = |depth| format!(r#"{{"oneAny":{}{last}{}}}"#, any.repeat(depth), "}".repeat(depth));
    assert!(every(&anys(2)).is_ok());
    assert!(every(&anys(1_000)).is_err());
    assert!(why(nested("[", "]", 50_000)).contains("column"));
}

/// Fails with `prost-reflect`'s reader, which panics at the first.
#[test]
fn null_is_unset_but_where_it_is_a_value() {
    for text in [r#"{"manyValue":null}"#, r#"{"manyNull":null}"#, r#"{"byNameValue":null}"#] {
        assert_eq!(every(text).unwrap(), json!({}), "{text}");
    }
    for text in [
        r#"{"oneValue":null}"#,
        r#"{"manyValue":[null,[null],{"a":null}]}"#,
        r#"{"manyNull":[null,null]}"#,
        r#"{"byNameValue":{"1":null}}"#,
        r#"{"maybeNull":null}"#,
    ] {
        assert_eq!(every(text).unwrap(), serde_json::from_str::<Value>(text).unwrap(), "{text}");
    }
    for text in [r#"{"manyInt32":[null]}"#, r#"{"byNameString":{"a":null}}"#, "null"] {
        every_why(text);
    }
    assert!(every_why(r#"{"manyEvery":[{},null]}"#).starts_with("many_every[1]: "));
}

#[test]
fn bytes_are_read_in_either_alphabet_with_or_without_their_end() {
    for text in ["-_8=", "-_8", "+/8=", "+/8"] {
        let text = format!(r#"{{"oneBytes":"{text}"}}"#);
        assert_eq!(every(&text).unwrap(), json!({"oneBytes": "+/8="}));
    }
    assert!(every_why(r#"{"oneBytes":"a b"}"#).starts_with("one_bytes: expected bytes in base64"));
}

#[test]
fn the_well_known_types_are_read_in_the_forms_of_the_mapping() {
    for text in [
        r#"{"oneDuration":"-1.500s","oneFieldmask":"a,bC.d","oneEmpty":{}}"#,
        r#"{"oneStruct":{"a":[1.5,true,null,{"b":"c"}]},"oneListvalue":[[],{}]}"#,
        r#"{"oneDoublevalue":0.5,"oneInt64value":"0","oneBytesvalue":"AA==","oneBoolvalue":false}"#,
        r#"{"oneAny":{"@type":"x/google.protobuf.Duration","value":"1s"}}"#,
        r#"{"manyAny":[{"@type":"x/test.Every","oneInt64":"5","manyAny":[]}]}"#,
        r#"{"oneTimestamp":"0001-01-01T00:00:00Z","manyTimestamp":["9999-12-31T23:59:59.999999999Z"]}"#,
    ] {
        let mut expected: Value = serde_json::from_str(text).unwrap();
        if let Some(any) = expected.pointer_mut("/manyAny/0") {
            any.as_object_mut().unwrap().remove("manyAny");
        }
        assert_eq!(every(text).unwrap(), expected, "{text}");
    }
    for text in [
        r#"{"oneAny":{"oneInt64":"5"}}"#,
        r#"{"oneAny":{"@type":"x/test.Nothing"}}"#,
        r#"{"oneAny":{"@type":"x/test.Every","nothing":5}}"#,
        r#"{"oneAny":{"@type":"x/google.protobuf.Duration"}}"#,
        r#"{"oneAny":{"@type":"x/google.protobuf.Duration","value":"1s","more":1}}"#,
        r#"{"oneEmpty":{"a":1}}"#,
        r#"{"oneTimestamp":"10000-01-01T00:00:00Z"}"#,
    ] {
        every_why(text);
    }
}

/// What both accept is one message. The judge is `prost-reflect`'s own reader.
fn judged(text: &str) {
    let Ok(judge) =
        DynamicMessage::deserialize(EVERY.clone(), &mut serde_json::Deserializer::from_str(text))
    else {
        return;
    };
    assert_eq!(every(text).as_ref(), Ok(&serde_json::to_value(&judge).unwrap()), "{text}");
}

/// A value that may stand under the name of the field.
fn value(name: &'static str) -> BoxedStrategy<String> {
    let number = || {
        prop_oneof![
            any::<i32>().prop_map(|n| n.to_string()),
            any::<i64>().prop_map(|n| n.to_string()),
            any::<u64>().prop_map(|n| format!("\"{n}\"")),
            any::<u8>().prop_map(|n| format!("{n}.0e0")),
        ]
    };
    let text = || any::<String>().prop_map(|text| json!(text).to_string());
    match name {
        "Double" | "Float" | "Doublevalue" | "Floatvalue" => prop_oneof![
            any::<f64>().prop_filter_map("finite", |n| n.is_finite().then(|| json!(n).to_string())),
            any::<f32>().prop_filter_map("finite", |n| n.is_finite().then(|| json!(n).to_string())),
            Just(r#""Infinity""#.to_owned()),
            number(),
        ]
        .boxed(),
        "Bool" | "Boolvalue" => any::<bool>().prop_map(|is| is.to_string()).boxed(),
        "String" | "Stringvalue" => text().boxed(),
        "Bytes" | "Bytesvalue" => "\"[A-Za-z0-9+/_-]{0,12}={0,2}\"".boxed(),
        "Enum" => prop_oneof![Just(r#""SOME""#.to_owned()), any::<i32>().prop_map(|n| n.to_string())].boxed(),
        "Timestamp" => "\"[0-9]{4}-0[1-9]-[012][1-9]T[01][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-]0[0-9]:30)\"".boxed(),
        "Duration" => "\"-?[0-9]{1,12}(\\.[0-9]{1,9})?s\"".boxed(),
        "Value" => prop_oneof![text(), number(), Just("[1,{}]".to_owned())].boxed(),
        _ => number().boxed(),
    }
}

const TYPES: [&str; 24] = [
    "Double",
    "Float",
    "Int32",
    "Int64",
    "Uint32",
    "Uint64",
    "Sint32",
    "Sint64",
    "Fixed32",
    "Fixed64",
    "Sfixed32",
    "Sfixed64",
    "Bool",
    "String",
    "Bytes",
    "Enum",
    "Timestamp",
    "Duration",
    "Value",
    "Doublevalue",
    "Int64value",
    "Boolvalue",
    "Stringvalue",
    "Bytesvalue",
];

proptest! {
    #[test]
    fn what_the_judge_reads_is_read_as_the_same(
        (name, values) in prop::sample::select(&TYPES[..])
            .prop_flat_map(|name| (Just(name), prop::collection::vec(value(name), 1..4))),
    ) {
        judged(&format!(r#"{{"one{name}":{}}}"#, values[0]));
        judged(&format!(r#"{{"maybe{name}":{}}}"#, values[0]));
        judged(&format!(r#"{{"many{name}":[{}]}}"#, values.join(",")));
        judged(&format!(r#"{{"oneEvery":{{"byName{name}":{{"1":{}}}}}}}"#, values[0]));
    }

    #[test]
    fn a_line_that_is_posted_gives_the_same_line(
        latitude in any::<f64>(),
        hdop in any::<f32>(),
        odometer in any::<Option<u64>>(),
        seconds in 0..4_294_967_296_i64,
        attributes in any::<std::collections::BTreeMap<String, String>>(),
    ) {
        let message = RealtimeGps {
            device_id: "t".into(),
            fix_time: Some(super::super::Timestamp { seconds, nanos: 1 }),
            altitude: Some(latitude),
            hdop: Some(hdop.abs()),
            odometer,
            attributes,
            ..RealtimeGps::default()
        };
        let mut json = Vec::new();
        Converter::built_in(None).unwrap().convert(&message.encode_to_vec(), &mut json).unwrap();
        prop_assert_eq!(line(&json).unwrap().into_bytes(), json);
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>(), bytes in any::<Vec<u8>>()) {
        drop(line(text));
        drop(line(bytes));
    }
}

#[test]
fn the_description_is_that_of_the_built_in_message() {
    assert_eq!(DESCRIPTION.full_name(), MESSAGE);
    assert_eq!(DESCRIPTION.fields().count(), 18);
}
