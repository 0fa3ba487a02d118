//! Does a message of the operator's own schema go all the way, and is a schema that is wrong told before?

use crate::support::client::{ask, post, request};
use crate::support::kafka::Kafka;
use crate::support::service::Site;
use hyper::{Method, StatusCode};
use std::fs;

const SCHEMA: &str = r#"
syntax = "proto3";
package fleet;
import "google/protobuf/timestamp.proto";
message Trip {
  Header header = 1;
  repeated sint64 metres = 2;
  enum State { UNKNOWN = 0; ON_TIME = 1; }
  State state = 3;
}
message Header { string vehicle = 1; google.protobuf.Timestamp at = 2; }
"#;

/// A place whose route takes `fleet.Trip`, from this schema.
fn site(servers: Option<&str>, schema: &str) -> Site {
    let mut site = Site::new(servers);
    let file = site.root().join("fleet.proto");
    fs::write(&file, schema).unwrap();
    let file = file.to_str().unwrap();
    let settings = format!(
        "message = \"fleet.Trip\", proto = [{file:?}], key = \"header.vehicle\", \
         timestamp = \"header.at\""
    );
    site.set_route("test", &settings);
    site
}

/// Header "W 2201" at second 1,000,000,000, metres -1 and 300 packed, state 1, and a field 9 that the schema
/// does not know.
const TRIP: &[u8] = b"\x0a\x10\x0a\x06W 2201\x12\x06\x08\x80\x94\xeb\xdc\x03\
                      \x12\x03\x01\xd8\x04\x18\x01\x48\x07";

#[test]
fn a_message_of_an_own_schema_arrives_in_kafka_with_its_key_and_its_time() {
    let kafka = Kafka::start();
    let site = site(Some(&kafka.servers()), SCHEMA);
    let service = site.start();
    let answer = ask(site.ingest, post(TRIP.into())).unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let record = kafka.one_record();
    assert_eq!(
        record.value,
        concat!(
            r#"{"header":{"vehicle":"W 2201","at":"2001-09-09T01:46:40Z"},"#,
            r#""metres":["-1","300"],"state":"ON_TIME"}"#
        )
    );
    assert_eq!(record.key.as_deref(), Some("W 2201"));
    assert_eq!(record.timestamp, Some(1_000_000_000_000));
    let metrics = ask(site.admin, request(Method::GET, "/metrics", Vec::new().into())).unwrap();
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(metrics.contains("\nwaystation_unknown_fields_total 1\n"), "{metrics}");
    service.stop();
}

#[test]
fn a_message_of_another_schema_is_refused_with_the_path_of_the_field() {
    let site = site(None, SCHEMA);
    let service = site.start();
    let answer = ask(site.ingest, post(b"\x0a\x02\x08\x01".as_slice().into())).unwrap();
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let detail = answer.json()["detail"].to_string();
    assert!(detail.contains("not a fleet.Trip message: header.vehicle: "), "{detail}");
    assert_eq!(service.status().ledger.accepted, 0);
    service.stop();
}

#[test]
fn a_schema_that_is_wrong_is_told_with_its_line_and_nothing_starts() {
    let broken = SCHEMA.replace("repeated sint64", "repeated sint46");
    let site = site(None, &broken);
    for command in ["check", "run"] {
        let outcome = site.outcome(command);
        let says = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert_eq!(outcome.status.code(), Some(78), "{command}: {says}");
        assert!(
            says.contains("fleet.proto:7:12: ") && says.contains("sint46"),
            "{command}: {says}"
        );
    }
}
