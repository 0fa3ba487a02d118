//! A snapshot for tests: a box on which all is well.

use super::{
    Ingest, IngestState, Kafka, KafkaState, LastStop, Route, SCHEMA, Snapshot, Spool, Verdict,
};
use crate::ledger::Ledger;

pub(crate) fn snapshot() -> Snapshot {
    Snapshot {
        schema: SCHEMA,
        version: "0.1.0".to_owned(),
        box_name: "depot-7".to_owned(),
        spool_id: "5f0c1f3e9a7b4d21".to_owned(),
        uptime_seconds: 266_400.0,
        last_stop: LastStop::Clean,
        verdict: Verdict::Ok,
        sentence: "Everything is delivered; Kafka is connected.".to_owned(),
        ledger: Ledger { accepted: 18_412_007, delivered: 18_412_007, ..Ledger::default() },
        ingest: Ingest {
            state: IngestState::Accepting,
            reason: None,
            per_second: 142.3,
            rejected: [("malformed".to_owned(), 12), ("too_large".to_owned(), 3)].into(),
            failed_handshakes: 7,
            closed: [("made_room".to_owned(), 0), ("silent".to_owned(), 41)].into(),
        },
        spool: Spool {
            records: 0,
            bytes: 0,
            disk_bytes: 8_912_896,
            quarantine_bytes: 0,
            max_bytes: 2 << 30,
            segments: 1,
            oldest_age_seconds: None,
            held_records: 0,
            held_seconds: None,
            full_in_seconds: None,
            syncs_per_day: 1_900_000,
            bytes_written_per_day: 4_831_838_208,
        },
        kafka: Kafka {
            state: KafkaState::Connected,
            cause: None,
            per_second: 142.1,
            in_flight: 0,
            outage_seconds: None,
            last_delivery: Some("2026-05-04T10:11:12.345Z".to_owned()),
            last_error: None,
            advice: None,
            drain_eta_seconds: None,
        },
        routes: vec![Route {
            path: "/endpoint".to_owned(),
            topic: "test".to_owned(),
            accepted: 18_412_007,
            invalid: 0,
            repeated: 0,
            delivered: 18_412_007,
            held: 0,
            held_because: None,
        }],
    }
}
