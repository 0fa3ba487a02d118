//! Does the front door give the JSON and the key that the contract names?

use super::*;
use proptest::prelude::*;
use prost::Message;
use serde_json::Value;

const SCHEMA: &str = include_str!("../../proto/realtime_gps.proto");

fn converted(bytes: &[u8]) -> Result<(String, Option<Vec<u8>>), ConvertError> {
    let mut json = Vec::new();
    let converted = Converter::built_in(Some("device_id")).unwrap().convert(bytes, &mut json)?;
    Ok((String::from_utf8(json).unwrap(), converted.key))
}

fn line(message: &RealtimeGps) -> String {
    converted(&message.encode_to_vec()).unwrap().0
}

fn full() -> RealtimeGps {
    RealtimeGps {
        device_id: "bus-17".into(),
        fix_time: Some(Timestamp { seconds: 1_709_208_000, nanos: 250_000_000 }),
        latitude: Some(48.137_154),
        longitude: Some(-11.5),
        altitude: Some(519.0),
        speed: Some(13.9),
        heading: Some(270.0),
        horizontal_accuracy: Some(2.5),
        hdop: Some(0.8),
        satellites: Some(12),
        fix_type: FixType::Fix3d.into(),
        ignition: Some(true),
        odometer: Some(9_007_199_254_740_993),
        event: Event::HarshBraking.into(),
        sequence: u64::MAX,
        vehicle_id: "M-WS \"1\"".into(),
        battery_voltage: Some(27.6),
        attributes: [("line", "53"), ("a\nb", "")]
            .map(|(name, value)| (name.into(), value.into()))
            .into(),
    }
}

const FULL: &str = concat!(
    r#"{"deviceId":"bus-17","fixTime":"2024-02-29T12:00:00.250Z","latitude":48.137154,"#,
    r#""longitude":-11.5,"altitude":519,"speed":13.9,"heading":270,"horizontalAccuracy":2.5,"#,
    r#""hdop":0.8,"satellites":12,"fixType":"FIX_3D","ignition":true,"#,
    r#""odometer":"9007199254740993","event":"HARSH_BRAKING","#,
    r#""sequence":"18446744073709551615","vehicleId":"M-WS \"1\"","batteryVoltage":27.6,"#,
    r#""attributes":{"a\nb":"","line":"53"}}"#,
);

#[test]
fn a_full_message_gives_this_line() {
    assert_eq!(line(&full()), FULL);
}

#[test]
fn bytes_from_another_encoder_give_the_same_json() {
    // device_id "t-1", latitude and longitude 0 as set doubles, an unknown field 99, sequence 300,
    // and attributes a -> 1, written by hand from the wire format.
    let bytes = b"\x0a\x03t-1\x19\0\0\0\0\0\0\0\0\x21\0\0\0\0\0\0\0\0\x98\x06\x07\x78\xac\x02\
                  \x92\x01\x06\x0a\x01a\x12\x011";
    let (json, key) = converted(bytes).unwrap();
    let expected = concat!(
        r#"{"deviceId":"t-1","latitude":0,"longitude":0,"sequence":"300","#,
        r#""attributes":{"a":"1"}}"#
    );
    assert_eq!(json, expected);
    assert_eq!(key.as_deref(), Some(b"t-1".as_slice()));
}

#[test]
fn unset_fields_are_left_out_and_a_zero_that_was_measured_is_not() {
    let unset = RealtimeGps { device_id: "t".into(), ..RealtimeGps::default() };
    assert_eq!(line(&unset), r#"{"deviceId":"t"}"#);
    let zero = RealtimeGps {
        fix_time: Some(Timestamp::default()),
        latitude: Some(0.0),
        longitude: Some(0.0),
        speed: Some(0.0),
        satellites: Some(0),
        ignition: Some(false),
        odometer: Some(0),
        ..unset
    };
    let expected = concat!(
        r#"{"deviceId":"t","fixTime":"1970-01-01T00:00:00Z","latitude":0,"longitude":0,"#,
        r#""speed":0,"satellites":0,"ignition":false,"odometer":"0"}"#
    );
    assert_eq!(line(&zero), expected);
}

#[test]
fn an_enum_value_of_a_newer_schema_stays_a_number() {
    let message =
        RealtimeGps { device_id: "t".into(), fix_type: 77, event: -1, ..RealtimeGps::default() };
    assert_eq!(line(&message), r#"{"deviceId":"t","fixType":77,"event":-1}"#);
}

#[test]
fn what_is_no_number_is_a_string() {
    let message = RealtimeGps {
        device_id: "t".into(),
        altitude: Some(f64::NAN),
        hdop: Some(f32::INFINITY),
        ..RealtimeGps::default()
    };
    assert_eq!(line(&message), r#"{"deviceId":"t","altitude":"NaN","hdop":"Infinity"}"#);
}

/// The names of the message's fields as its schema lists them.
fn schema_fields() -> Vec<&'static str> {
    let (_, body) = SCHEMA.split_once("message REALTIMEGPS {").unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    let lines = body.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    lines.filter_map(|line| line.split_once(" = ")?.0.split(' ').next_back()).collect()
}

#[test]
fn every_field_of_the_schema_is_written_in_the_order_of_the_schema() {
    let mut from = 0;
    for name in schema_fields() {
        let mut words = name.split('_');
        let mut camel = words.next().unwrap().to_owned();
        for word in words {
            camel += &word[..1].to_uppercase();
            camel += &word[1..];
        }
        let member = format!("\"{camel}\":");
        from += FULL[from..].find(&member).unwrap_or_else(|| panic!("{member} is not written"));
    }
    assert_eq!(schema_fields().len(), 18);
}

#[test]
fn every_single_value_of_the_schema_can_be_the_key() {
    let keys = [
        ("device_id", "bus-17"),
        ("latitude", "48.137154"),
        ("longitude", "-11.5"),
        ("altitude", "519"),
        ("speed", "13.9"),
        ("heading", "270"),
        ("horizontal_accuracy", "2.5"),
        ("hdop", "0.8"),
        ("satellites", "12"),
        ("fix_type", "FIX_3D"),
        ("ignition", "true"),
        ("odometer", "9007199254740993"),
        ("event", "HARSH_BRAKING"),
        ("sequence", "18446744073709551615"),
        ("vehicle_id", "M-WS \"1\""),
        ("battery_voltage", "27.6"),
    ];
    let bytes = full().encode_to_vec();
    for (field, expected) in keys {
        let converter = Converter::built_in(Some(field)).unwrap();
        let key = converter.convert(&bytes, &mut Vec::new()).unwrap().key.unwrap();
        assert_eq!(String::from_utf8(key).unwrap(), expected, "{field}");
    }
    let others = ["fix_time", "attributes"];
    assert_eq!(keys.len() + others.len(), schema_fields().len());
    for field in others {
        let error = Converter::built_in(Some(field)).unwrap_err();
        assert!(matches!(error, SchemaError::WrongField { .. }), "{error}");
    }
}

#[test]
fn a_record_without_the_key_field_has_no_key() {
    let bytes = RealtimeGps { device_id: "t".into(), ..RealtimeGps::default() }.encode_to_vec();
    for key in [None, Some("vehicle_id"), Some("latitude"), Some("event"), Some("sequence")] {
        let converter = Converter::built_in(key).unwrap();
        assert_eq!(converter.convert(&bytes, &mut Vec::new()).unwrap().key, None, "{key:?}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_name() {
    for (wrong, right) in
        [("deviceId", "device_id"), ("sped", "speed"), ("vehicleid", "vehicle_id")]
    {
        let error = Converter::built_in(Some(wrong)).unwrap_err().to_string();
        assert!(error.contains(&format!("did you mean {right:?}")), "{error}");
    }
}

#[test]
fn an_unknown_message_is_refused() {
    let error = Converter::new(&Source::BuiltIn, "fleet.Position", Fields::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("fleet.Position") && error.contains(MESSAGE), "{error}");
}

#[test]
fn what_cannot_be_read_is_malformed_and_appends_nothing() {
    let full = full().encode_to_vec();
    let cut = &full[..full.len() - 1];
    for bytes in [cut, b"{\"deviceId\":\"t\"}", b"\x0a\x02\xff\xfe", b"\x0a\x05abc", b"\x08\x01"] {
        let mut json = b"kept".to_vec();
        let error = Converter::built_in(None).unwrap().convert(bytes, &mut json).unwrap_err();
        assert!(matches!(error, ConvertError::Malformed { .. }), "{error}");
        assert_eq!(json, b"kept");
    }
}

#[test]
fn what_is_impossible_is_invalid_and_appends_nothing() {
    // No bytes at all are the message with nothing set: there is no device in it.
    for bytes in [vec![], RealtimeGps { latitude: Some(91.0), ..full() }.encode_to_vec()] {
        let mut json = Vec::new();
        let error = Converter::built_in(None).unwrap().convert(&bytes, &mut json).unwrap_err();
        assert!(matches!(error, ConvertError::Invalid { .. }), "{error}");
        assert!(json.is_empty());
    }
}

#[test]
fn the_line_is_appended_to_what_is_there() {
    let mut json = b"x".to_vec();
    let bytes = full().encode_to_vec();
    Converter::built_in(None).unwrap().convert(&bytes, &mut json).unwrap();
    assert_eq!(json, format!("x{FULL}").into_bytes());
}

/// Any message that the checks let through.
fn message() -> impl Strategy<Value = RealtimeGps> {
    let texts = ("\\PC{1,60}", any::<String>(), prop::collection::btree_map(".{0,9}", ".*", 0..4));
    let time = prop::option::of((-86_400..=4_294_967_295_i64, 0..1_000_000_000_i32));
    let position =
        (prop::option::of((-90.0..=90.0, -180.0..=180.0)), prop::option::of(any::<f64>()));
    let floats = prop::collection::vec(prop::option::of(0.0_f32..1e9), 4);
    let heading = prop::option::of(0.0_f32..=360.0);
    let integers =
        (any::<Option<u32>>(), any::<Option<u64>>(), any::<u64>(), any::<Option<bool>>());
    let enums = (-1..9_i32, -1..10_i32);
    (texts, time, position, floats, heading, integers, enums).prop_map(
        |(texts, time, position, floats, heading, integers, enums)| RealtimeGps {
            device_id: texts.0,
            vehicle_id: texts.1,
            attributes: texts.2,
            fix_time: time.map(|(seconds, nanos)| Timestamp { seconds, nanos }),
            latitude: position.0.map(|(latitude, _)| latitude),
            longitude: position.0.map(|(_, longitude)| longitude),
            altitude: position.1,
            speed: floats[0],
            horizontal_accuracy: floats[1],
            hdop: floats[2],
            battery_voltage: floats[3],
            heading,
            satellites: integers.0,
            odometer: integers.1,
            sequence: integers.2,
            ignition: integers.3,
            fix_type: enums.0,
            event: enums.1,
        },
    )
}

/// What a reader of the JSON gets for a number that `json::float` wrote.
fn number(value: &Value) -> f64 {
    match value {
        Value::String(text) => text.parse().unwrap(),
        value => value.as_f64().unwrap(),
    }
}

/// Whether a reader that may be off in the last digit sees this number, or rightly none.
fn same(read: Option<&Value>, sent: Option<f64>) -> bool {
    match (read.map(number), sent) {
        (None, None) => true,
        (Some(read), Some(sent)) => {
            read.to_bits() == sent.to_bits() || (read - sent).abs() <= sent.abs() * 1e-15
        }
        _ => false,
    }
}

fn enumeration(value: Option<&Value>, name: fn(&str) -> i32) -> i32 {
    match value {
        None => 0,
        Some(Value::String(text)) => name(text),
        Some(value) => i32::try_from(value.as_i64().unwrap()).unwrap(),
    }
}

proptest! {
    #[test]
    fn every_field_of_every_message_is_read_back_from_the_json(message in message()) {
        let (json, key) = converted(&message.encode_to_vec()).unwrap();
        prop_assert!(!json.contains('\n'));
        let read: serde_json::Map<String, Value> = serde_json::from_str(&json).unwrap();
        let text = |name: &str| read.get(name).map(|value| value.as_str().unwrap());
        prop_assert_eq!(text("deviceId"), Some(message.device_id.as_str()));
        prop_assert_eq!(key.as_deref(), Some(message.device_id.as_bytes()));
        prop_assert_eq!(text("vehicleId").unwrap_or_default(), &message.vehicle_id);
        prop_assert_eq!(text("fixTime").is_some(), message.fix_time.is_some());
        for (name, sent) in [
            ("latitude", message.latitude),
            ("longitude", message.longitude),
            ("altitude", message.altitude),
            ("satellites", message.satellites.map(f64::from)),
        ] {
            prop_assert!(same(read.get(name), sent), "{name}: {:?} {sent:?}", read.get(name));
        }
        for (name, sent) in [
            ("speed", message.speed),
            ("heading", message.heading),
            ("horizontalAccuracy", message.horizontal_accuracy),
            ("hdop", message.hdop),
            ("batteryVoltage", message.battery_voltage),
        ] {
            #[allow(clippy::cast_possible_truncation, reason = "a reader of 32 bits")]
            let value = read.get(name).map(|value| number(value) as f32);
            prop_assert_eq!(value, sent, "{}", name);
        }
        let integer = |name: &str| text(name).map(|text| text.parse::<u64>().unwrap());
        prop_assert_eq!(integer("odometer"), message.odometer);
        prop_assert_eq!(integer("sequence").unwrap_or_default(), message.sequence);
        prop_assert_eq!(read.get("ignition").map(|v| v.as_bool().unwrap()), message.ignition);
        let fix_type = |name: &str| FixType::from_str_name(name).unwrap().into();
        prop_assert_eq!(enumeration(read.get("fixType"), fix_type), message.fix_type);
        let event = |name: &str| Event::from_str_name(name).unwrap().into();
        prop_assert_eq!(enumeration(read.get("event"), event), message.event);
        let attributes: std::collections::BTreeMap<String, String> = match read.get("attributes") {
            Some(value) => serde_json::from_value(value.clone()).unwrap(),
            None => std::collections::BTreeMap::default(),
        };
        prop_assert_eq!(&attributes, &message.attributes);
        prop_assert_eq!(read.len(), json_members(&message));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok((json, _)) = converted(&bytes) {
            prop_assert!(serde_json::from_str::<Value>(&json).is_ok());
        }
    }
}

/// How many members the object should have.
fn json_members(message: &RealtimeGps) -> usize {
    [
        true,
        message.fix_time.is_some(),
        message.latitude.is_some(),
        message.longitude.is_some(),
        message.altitude.is_some(),
        message.speed.is_some(),
        message.heading.is_some(),
        message.horizontal_accuracy.is_some(),
        message.hdop.is_some(),
        message.satellites.is_some(),
        message.fix_type != 0,
        message.ignition.is_some(),
        message.odometer.is_some(),
        message.event != 0,
        message.sequence != 0,
        !message.vehicle_id.is_empty(),
        message.battery_voltage.is_some(),
        !message.attributes.is_empty(),
    ]
    .into_iter()
    .filter(|set| *set)
    .count()
}

#[test]
fn messages_are_told_apart_by_fields_that_are_all_set() {
    let apart = |fields: &[&str], message: &RealtimeGps| {
        let fields: Vec<_> = fields.iter().map(|field| (*field).to_owned()).collect();
        let ours = Converter::built_in(Some("device_id")).unwrap();
        let ours = ours.telling_apart(&fields).unwrap();
        let found = ours.convert(&message.encode_to_vec(), &mut Vec::new()).unwrap();
        assert_eq!(found.key.as_deref(), Some(message.device_id.as_bytes()));
        found.apart
    };
    let all = schema_fields();
    assert!(apart(&all, &full()) && !apart(&[], &full()));
    let bare = RealtimeGps { device_id: "t".into(), ..RealtimeGps::default() };
    assert!(apart(&["device_id"], &bare));
    for field in all.into_iter().filter(|field| *field != "device_id") {
        assert!(apart(&[field], &full()), "{field}");
        assert!(!apart(&["device_id", field], &bare), "{field}");
    }
    let error = Converter::built_in(None).unwrap().telling_apart(&["secuence".to_owned()]);
    assert!(error.unwrap_err().to_string().ends_with("did you mean \"sequence\"?"));
}
