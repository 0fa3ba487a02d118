//! Lines read back as the records that they were written of, whatever those hold.

use super::*;
use crate::record::{Epoch, Sequence};
use proptest::prelude::*;
use std::sync::Arc;

/// Bytes of every kind that a value or a key may be: JSON, text, noise, and what looks like the
/// form of bytes.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let json = prop::sample::select(vec![
        "{}",
        "null",
        " 1",
        "1 ",
        "\"a\\nb\"",
        "{\"base64\":\"AA==\"}",
        "{\"\\u0062ase64\":\"AA==\"}",
        "{\"base64\":1}",
        "{\"base64\":\"AA==\",\"b\":1}",
        "{\"a\":\n1}",
        "{\"a\": 1e400}",
        "[\"\\ud800\"]",
        "18446744073709551616",
        "{\"a\":1,\"a\":2}",
        "",
    ]);
    prop_oneof![
        json.prop_map(|text| text.as_bytes().to_vec()),
        "\\PC{0,20}".prop_map(String::into_bytes),
        ".{0,20}".prop_map(|text| serde_json::to_vec(&text).unwrap()),
        prop::collection::vec(any::<u8>(), 0..40),
    ]
}

fn any_line() -> impl Strategy<Value = Line> {
    let name = prop_oneof![Just("a".to_owned()), Just("b".to_owned()), ".{0,5}"];
    (
        (any::<u64>(), any::<u64>()),
        (".{0,10}", "[a-zA-Z0-9_-]{1,10}"),
        prop::option::of(any_bytes()),
        (any::<i64>(), prop_oneof![any::<i64>(), 0..2_000_000_000_000_i64], any::<bool>()),
        prop::collection::vec((name, any_bytes()), 0..4),
        any_bytes(),
    )
        .prop_map(|(id, route, key, (timestamp, at, clock_synchronised), headers, value)| {
            Line {
                id: RecordId { epoch: Epoch(id.0), sequence: Sequence(id.1) },
                route: Route { path: route.0, topic: route.1 },
                key,
                timestamp: Millis(timestamp),
                received: Reception { at: Millis(at), clock_synchronised },
                headers,
                value,
            }
        })
}

fn written(line: &Line) -> Vec<u8> {
    let record = Record {
        sequence: Sequence(5),
        id: line.id,
        route: &Arc::new(line.route.clone()),
        key: line.key.as_deref(),
        timestamp: line.timestamp,
        received: line.received,
        headers: line.headers.iter().map(|(name, value)| (&**name, &**value)).collect(),
        value: &line.value,
    };
    let mut out = Vec::new();
    write(&record, &mut out);
    out
}

proptest! {
    #[test]
    fn a_line_rebuilds_the_record(line in any_line()) {
        let text = written(&line);
        prop_assert_eq!(text.iter().position(|byte| *byte == b'\n'), Some(text.len() - 1), "one line");
        prop_assert!(serde_json::from_slice::<&RawValue>(&text).is_ok(), "JSON");
        prop_assert_eq!(read(&text), Ok(line));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(read(&bytes).is_err());
    }
}

fn a_line() -> Line {
    Line {
        id: RecordId { epoch: Epoch(0xc0_ffee), sequence: Sequence(7) },
        route: Route { path: "/endpoint".into(), topic: "test".into() },
        key: Some(b"bus-7".to_vec()),
        timestamp: Millis(1_767_225_600_000),
        received: Reception { at: Millis(1_767_225_600_001), clock_synchronised: true },
        headers: vec![],
        value: br#"{"deviceId": "bus-7"}"#.to_vec(),
    }
}

#[test]
fn a_line_looks_as_it_is_documented() {
    let text = String::from_utf8(written(&a_line())).unwrap();
    let want = r#"{"sequence":5,"id":"0000000000c0ffee:7","received":"2026-01-01T00:00:00.001Z","timestamp":1767225600000,"path":"/endpoint","topic":"test","key":"bus-7","headers":{},"value":{"deviceId": "bus-7"}}"#;
    assert_eq!(text.trim_end(), want);
}

#[test]
fn a_wrong_line_is_told_what_is_wrong_with_it() {
    let right = String::from_utf8(written(&a_line())).unwrap();
    for (from, to, says) in [
        (
            "\"id\":\"0000000000c0ffee:7\"",
            "\"id\":\"7\"",
            "\"7\" is not a record id; it looks like",
        ),
        ("\"id\":\"0000000000c0ffee:7\",", "", "missing field `id`"),
        ("2026-01-01T00:00:00.001Z", "yesterday", "\"yesterday\" is not a time in UTC"),
        ("\"bus-7\",\"headers", "{\"base64\":\"!\"},\"headers", "key: is not base64"),
        ("\"bus-7\",\"headers", "7,\"headers", "a text, or {\"base64\""),
        ("\"headers\":{}", "\"headers\":7", "headers as {"),
        ("\"topic\"", "\"tpoic\"", "unknown field `tpoic`"),
        ("\"test\"", "\"\"", "topic: Kafka takes"),
        ("{\"deviceId\": \"bus-7\"}", "{\"deviceId\"", "at column"),
    ] {
        let line = right.replacen(from, to, 1);
        assert_ne!(line, right, "{from}");
        let error = read(line.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        assert!(!error.contains("line 1"), "{error}");
    }
}

/// Fails without the bounds: the clock of a box may say anything, and what has no year is a panic.
#[test]
fn a_moment_is_written_where_it_has_a_year() {
    let written = |at| rfc3339(Millis(at));
    assert_eq!(written(0).as_deref(), Some("1970-01-01T00:00:00.000Z"));
    assert_eq!(written(YEAR_10000 - 1).as_deref(), Some("9999-12-31T23:59:59.999Z"));
    assert_eq!([-1, i64::MIN, YEAR_10000, i64::MAX].map(written), [const { None }; 4]);
}
