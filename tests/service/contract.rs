//! What does the service answer, and what does a consumer get?
//!
//! The contract of HTTP over the real program in brief, and one message all the way to
//! Kafka. The corners of each answer have their tests beside the code.

use crate::support::PATIENCE;
use crate::support::client::{Answer, Body, ask, post, post_to, request};
use crate::support::fleet::{Fate, Sent, message};
use crate::support::kafka::Kafka;
use crate::support::service::{Service, Site};
use bytes::Bytes;
use flate2::read::GzEncoder;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};
use hyper::{Method, StatusCode};
use prost::Message as _;
use std::io::Read as _;
use waystation::convert::{Event, FixType, RealtimeGps, Timestamp};
use waystation::record::RecordId;

fn started() -> (Site, Service) {
    let site = Site::new(None);
    let service = site.start();
    (site, service)
}

fn good() -> Bytes {
    message(0, 1).encode_to_vec().into()
}

/// Asks, and checks what every refusal has: the status, a stable type, a title, a sentence.
fn refused(site: &Site, request: hyper::Request<Body>, status: u16, kind: &str) -> Answer {
    let answer = ask(site.ingest, request).unwrap();
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let problem = answer.json();
    assert_eq!(problem["type"], format!("urn:waystation:problem:{kind}"));
    assert_eq!(problem["status"], status);
    for member in ["title", "detail"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
    }
    answer
}

#[test]
fn a_message_that_was_kept_is_answered_with_200_and_nothing_else() {
    let (site, service) = started();
    let mut requests = Vec::new();
    for kind in ["application/x-protobuf", "application/protobuf", "application/octet-stream"] {
        let mut request = post(good());
        request.headers_mut().insert(CONTENT_TYPE, kind.parse().unwrap());
        requests.push(request);
    }
    requests.push(request(Method::POST, "/endpoint", good()));
    let all = requests.len() as u64;
    for request in requests {
        let answer = ask(site.ingest, request).unwrap();
        assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
    }
    let status = service.status();
    assert_eq!((status.ledger.accepted, status.ledger.spooled), (all, all));
    service.stop();
}

/// Every coding that is taken, as a refusal of another lists them.
const CODINGS: [&str; 3] = ["gzip", "zstd", "identity"];

fn compressed(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    match coding {
        "gzip" => {
            let mut encoder = GzEncoder::new(bytes, flate2::Compression::default());
            encoder.read_to_end(&mut packed).unwrap();
        }
        "zstd" => packed = zstd::encode_all(bytes, 3).unwrap(),
        "identity" => packed = bytes.to_vec(),
        other => panic!("{other}"),
    }
    packed
}

/// Fails where a body is kept as it came, and where the limit is one of compressed bytes only.
#[test]
fn a_compressed_message_is_the_message_and_its_limit_is_that_of_any_other() {
    let (site, service) = started();
    let ask_packed = |coding: &str, message: &RealtimeGps| {
        let mut request = post(compressed(coding, &message.encode_to_vec()).into());
        request.headers_mut().insert(CONTENT_ENCODING, coding.parse().unwrap());
        ask(site.ingest, request).unwrap()
    };
    for coding in CODINGS {
        let answer = ask_packed(coding, &message(0, 1));
        assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0), "{coding}");
        let long = [("x".to_owned(), "x".repeat(64 << 10))].into();
        let answer = ask_packed(coding, &RealtimeGps { attributes: long, ..message(0, 1) });
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{coding}");
    }
    let exported = site.command("spool").arg("export").output().unwrap();
    let exported = String::from_utf8(exported.stdout).unwrap();
    let values: Vec<_> =
        exported.lines().map(|line| line.split_once("\"value\":").unwrap().1).collect();
    assert_eq!(values.len(), 3, "{exported}");
    assert!(values.iter().all(|value| *value == values[0]), "{exported}");
    service.stop();
}

fn post_as(kind: &str, path: &str, body: Bytes) -> hyper::Request<Body> {
    let mut request = post_to(path, body);
    request.headers_mut().insert(CONTENT_TYPE, kind.parse().unwrap());
    request
}

/// The records in the spool, as they go to Kafka: the key and the value of each.
fn exported(site: &Site) -> Vec<(String, String)> {
    let exported = site.command("spool").arg("export").output().unwrap();
    let exported = String::from_utf8(exported.stdout).unwrap();
    let lines = exported.lines();
    lines
        .map(|line| {
            let key = serde_json::from_str::<serde_json::Value>(line).unwrap()["key"].clone();
            let value = line.split_once("\"value\":").unwrap().1.strip_suffix('}').unwrap();
            (key.as_str().unwrap().to_owned(), value.to_owned())
        })
        .collect()
}

/// Fails where what was posted is kept as it was written.
#[test]
fn a_message_that_came_as_json_is_the_record_that_it_is_as_protobuf() {
    let (site, service) = started();
    assert_eq!(ask(site.ingest, post(good())).unwrap().status, StatusCode::OK);
    let (key, canonical) = exported(&site).remove(0);
    let mut fields: serde_json::Map<_, _> = serde_json::from_str(&canonical).unwrap();
    // The other name, and a number for a text.
    let name = fields.remove("deviceId").unwrap();
    fields.insert("device_id".to_owned(), name);
    let sequence: u64 = fields["sequence"].as_str().unwrap().parse().unwrap();
    fields.insert("sequence".to_owned(), sequence.into());
    let spaced = serde_json::to_string_pretty(&fields).unwrap();
    for body in [canonical.clone(), spaced] {
        for coding in CODINGS {
            let packed = compressed(coding, body.as_bytes());
            let mut request = post_as("application/json", "/endpoint", packed.into());
            request.headers_mut().insert(CONTENT_ENCODING, coding.parse().unwrap());
            let answer = ask(site.ingest, request).unwrap();
            assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0), "{answer:?}");
        }
    }
    assert_eq!(exported(&site), vec![(key, canonical); 7]);

    let post_json = |body: String| post_as("application/json", "/endpoint", body.into());
    let answer = refused(&site, post_json(r#"{"latitude":91}"#.into()), 422, "invalid");
    assert_eq!(answer.json()["field"], "device_id");
    let typo = post_json("{\n\"devicId\":\"t\"}".into());
    let answer = refused(&site, typo, 400, "malformed");
    let detail = "there is no field \"devicId\"; did you mean \"deviceId\"? at line 2, column 9";
    assert!(answer.json()["detail"].as_str().unwrap().ends_with(detail), "{answer:?}");
    refused(&site, post_json(" ".repeat((64 << 10) + 1)), 413, "too-large");
    service.stop();
}

#[test]
fn of_a_batch_of_lines_each_is_kept_or_named_by_its_place_among_them() {
    let (site, service) = started();
    let long = " ".repeat(64 << 10);
    let body = format!(
        "\u{feff}{{\"deviceId\":\"a\"}}\r\n\n{{\"deviceId\":}}\n{long}{{}}\n{{\"latitude\":1}}\n \t\n\
         {{ \"device_id\" : \"b\" }}"
    );
    for (kind, coding) in [
        ("application/x-ndjson", "gzip"),
        ("application/jsonl", "zstd"),
        ("application/ndjson", "identity"),
    ] {
        let packed = compressed(coding, body.as_bytes());
        let mut request = post_as(kind, "/endpoint/batch", packed.into());
        request.headers_mut().insert(CONTENT_ENCODING, coding.parse().unwrap());
        let answer = ask(site.ingest, request).unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let report = answer.json();
        assert_eq!(report["accepted"], 2);
        let rejected: Vec<_> = report["rejected"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["index"].as_u64().unwrap(), one["reason"].as_str().unwrap()))
            .collect();
        assert_eq!(rejected, [(1, "malformed"), (2, "too_large"), (3, "invalid")]);
        let place = report["rejected"][0]["detail"].as_str().unwrap();
        assert!(place.ends_with("expected value at line 1, column 13"), "{place}");
    }
    let lines = [
        ("a".to_owned(), r#"{"deviceId":"a"}"#.to_owned()),
        ("b".to_owned(), r#"{"deviceId":"b"}"#.to_owned()),
    ];
    assert_eq!(exported(&site), [&lines[..], &lines, &lines].concat());
    let one = post_as("application/x-ndjson", "/endpoint/batch", "{}".into());
    refused(&site, one, 400, "none-kept");
    service.stop();
}

fn batch(messages: &[RealtimeGps]) -> Vec<u8> {
    let mut all = Vec::new();
    for message in messages {
        message.encode_length_delimited(&mut all).unwrap();
    }
    all
}

#[test]
fn of_a_batch_each_message_is_kept_or_named() {
    let kafka = Kafka::start();
    let site = Site::new(Some(&kafka.servers()));
    let service = site.start();
    let reader = kafka.read_along();
    let mut messages: Vec<_> = (1..=500).map(|number| message(0, number)).collect();
    let nobody = RealtimeGps { device_id: String::new(), ..message(0, 501) };
    messages.push(nobody.clone());
    for coding in CODINGS {
        let body = compressed(coding, &batch(&messages));
        let mut request = post_to("/endpoint/batch", body.into());
        request.headers_mut().insert(CONTENT_ENCODING, coding.parse().unwrap());
        let answer = ask(site.ingest, request).unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.json()["accepted"], 500);
        let rejected = answer.json()["rejected"].clone();
        assert_eq!((rejected.as_array().unwrap().len(), &rejected[0]["index"]), (1, &500.into()));
        assert_eq!(rejected[0]["field"], "device_id");
        // The same again for the next coding, behind what is there.
        messages[..500].iter_mut().for_each(|message| message.sequence += 500);
    }
    // A message that breaks off, and one batch that is all wrong.
    let whole = batch(&messages[..2]);
    let answer =
        ask(site.ingest, post_to("/endpoint/batch", whole[..whole.len() - 1].to_vec().into()));
    let answer = answer.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.json()["next"]), (400, &1.into()));
    refused(&site, post_to("/endpoint/batch", batch(&[nobody]).into()), 400, "none-kept");
    let request = request(Method::GET, "/endpoint/batch", Bytes::new());
    refused(&site, request, 405, "method-not-allowed");

    let status = service.until_status("all is delivered", |s| s.ledger.delivered == 1_501);
    assert_eq!(status.routes[0].accepted, 1_501);
    assert_eq!(status.ingest.rejected["invalid"], 4);
    let fates = (1..=1_501).map(|_| Fate::Acknowledged).collect();
    println!("{}", reader.compared(&Sent { fates: vec![fates] }, PATIENCE));
    service.stop();
}

#[test]
fn what_is_not_kept_is_refused_as_the_contract_says() {
    let (site, service) = started();
    let body = b"{\"deviceId\":\"t\"}".as_slice();
    refused(&site, post(Bytes::from_static(body)), 400, "malformed");
    refused(&site, request(Method::POST, "/nowhere", good()), 404, "not-found");
    let answer =
        refused(&site, request(Method::GET, "/endpoint", Bytes::new()), 405, "method-not-allowed");
    assert_eq!(answer.header("allow"), "POST");
    refused(&site, post(vec![0; (64 << 10) + 1].into()), 413, "too-large");

    for (path, kind, taken) in [
        ("/endpoint", "text/plain", "application/json"),
        ("/endpoint", "application/x-ndjson", "application/json"),
        ("/endpoint/batch", "application/json", "application/x-ndjson"),
    ] {
        let answer = refused(&site, post_as(kind, path, good()), 415, "unsupported-type");
        let accept = answer.header("accept");
        assert!(accept.starts_with("application/x-protobuf, "), "{answer:?}");
        assert!(accept.split(", ").any(|one| one == taken), "{answer:?}");
    }
    refused(&site, post_as("application/json", "/endpoint", "{}x".into()), 400, "malformed");
    let mut packed = post(good());
    packed.headers_mut().insert(CONTENT_ENCODING, "br".parse().unwrap());
    let answer = refused(&site, packed, 415, "unsupported-encoding");
    // What it lists is taken; see below.
    assert_eq!(answer.header("accept-encoding"), CODINGS.join(", "), "{answer:?}");

    let north = RealtimeGps { latitude: Some(91.0), ..message(0, 1) };
    let nobody = RealtimeGps { device_id: String::new(), ..message(0, 1) };
    for (wrong, field) in [(north, "latitude"), (nobody, "device_id")] {
        let answer = refused(&site, post(wrong.encode_to_vec().into()), 422, "invalid");
        assert!(answer.json()["detail"].as_str().unwrap().contains(field), "{answer:?}");
    }

    // None of them left anything behind, each was counted, and the next one is taken.
    let status = service.status();
    assert_eq!(status.ledger.accepted, 0);
    assert_eq!(status.ingest.rejected.values().sum::<u64>(), 11);
    assert_eq!(ask(site.ingest, post(good())).unwrap().status, StatusCode::OK);
    service.stop();
}

#[test]
fn a_full_message_arrives_in_kafka_as_canonical_json() {
    let kafka = Kafka::start();
    let site = Site::new(Some(&kafka.servers()));
    let service = site.start();
    let full = RealtimeGps {
        device_id: "tram-3".into(),
        fix_time: Some(Timestamp { seconds: 1_772_366_399, nanos: 120_000_000 }),
        latitude: Some(0.0),
        longitude: Some(-0.127_758),
        altitude: Some(-3.25),
        speed: Some(8.3),
        heading: Some(90.5),
        horizontal_accuracy: Some(4.0),
        hdop: Some(1.1),
        satellites: Some(9),
        fix_type: FixType::Rtk.into(),
        ignition: Some(false),
        odometer: Some(9_007_199_254_740_993),
        event: Event::GeofenceEnter.into(),
        sequence: 41,
        vehicle_id: "W 2201".into(),
        battery_voltage: Some(24.1),
        attributes: [("driver".to_owned(), "\"Ä\"".to_owned())].into(),
    };
    let answer = ask(site.ingest, post(full.encode_to_vec().into())).unwrap();
    assert_eq!(answer.status, StatusCode::OK);

    let record = kafka.one_record();
    assert_eq!(
        record.value,
        concat!(
            r#"{"deviceId":"tram-3","fixTime":"2026-03-01T11:59:59.120Z","latitude":0,"#,
            r#""longitude":-0.127758,"altitude":-3.25,"speed":8.3,"heading":90.5,"#,
            r#""horizontalAccuracy":4,"hdop":1.1,"satellites":9,"fixType":"RTK","#,
            r#""ignition":false,"odometer":"9007199254740993","event":"GEOFENCE_ENTER","#,
            r#""sequence":"41","vehicleId":"W 2201","batteryVoltage":24.1,"#,
            r#""attributes":{"driver":"\"Ä\""}}"#
        )
    );
    assert_eq!(record.key.as_deref(), Some("tram-3"));
    assert_eq!(record.headers["waystation-box"], "depot-7");
    let id: RecordId = record.headers["waystation-id"].parse().unwrap();
    assert_eq!(id.sequence.0, 0);
    assert_eq!(record.headers.len(), 2, "{:?}", record.headers);
    service.stop();
}
