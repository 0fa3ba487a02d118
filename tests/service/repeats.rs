//! Is what a device sends twice kept once?
//!
//! The real program, with and without Kafka: repeats are answered 200 and not kept again, over a stop
//! and over `kill -9`, and nothing else is taken for one.

use crate::support::client::{ask, post, post_to, request};
use crate::support::kafka::{Kafka, TOPIC};
use crate::support::service::{Service, Site};
use bytes::Bytes;
use hyper::{Method, StatusCode};
use prost::Message as _;
use serde_json::json;
use waystation::convert::RealtimeGps;

fn place(servers: Option<&str>) -> Site {
    let mut site = Site::new(servers);
    let dedupe = "dedupe = { fields = [\"device_id\", \"sequence\"], window = \"10m\" }";
    site.set_route(TOPIC, dedupe);
    site
}

fn report(sequence: u64, speed: f32) -> Bytes {
    let message = RealtimeGps {
        device_id: "bus-7".into(),
        sequence,
        speed: Some(speed),
        ..RealtimeGps::default()
    };
    message.encode_to_vec().into()
}

/// Posts one, which must be answered 200.
fn posted(site: &Site, body: Bytes) {
    assert_eq!(ask(site.ingest, post(body)).unwrap().status, StatusCode::OK);
}

/// Records accepted since the spool was made, and repeats since the service started.
fn counts(service: &Service) -> (u64, u64) {
    let status = service.status();
    assert!(status.ledger.balances(), "{:?}", status.ledger);
    (status.ledger.accepted, status.routes[0].repeated)
}

#[test]
fn a_repeat_is_answered_200_and_not_kept_again_and_what_differs_is() {
    let site = place(None);
    let service = site.start();
    posted(&site, report(1, 10.0));
    posted(&site, report(1, 10.0));
    assert_eq!(counts(&service), (1, 1));
    // Another report, the same number with other content, and reports without a number.
    posted(&site, report(2, 10.0));
    posted(&site, report(1, 11.0));
    posted(&site, report(0, 10.0));
    posted(&site, report(0, 10.0));
    assert_eq!(counts(&service), (5, 1));
    // In a batch, of one that came before it and of one in the same batch.
    let mut batch = Vec::new();
    for body in [report(1, 10.0), report(3, 10.0), report(3, 10.0)] {
        prost::encode_length_delimiter(body.len(), &mut batch).unwrap();
        batch.extend_from_slice(&body);
    }
    let answer = ask(site.ingest, post_to("/endpoint/batch", batch.into())).unwrap();
    assert_eq!(answer.json(), json!({"accepted": 3, "rejected": []}));
    assert_eq!(counts(&service), (6, 3));
    let metrics = ask(site.admin, request(Method::GET, "/metrics", Bytes::new())).unwrap();
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    let line = "waystation_records_repeated_total{path=\"/endpoint\",topic=\"test\"} 3\n";
    assert!(metrics.contains(line), "{metrics}");
    service.stop();
}

#[test]
fn it_is_known_after_kill_9_and_after_a_stop_whether_the_record_waits_or_was_delivered() {
    let site = place(None);
    let service = site.start();
    posted(&site, report(1, 10.0));
    service.kill();
    let service = site.start();
    posted(&site, report(1, 10.0));
    assert_eq!(counts(&service), (1, 1));
    service.stop();
    let kafka = Kafka::start();
    let mut site = site;
    site.set("kafka.bootstrap.servers", &kafka.servers());
    let service = site.start();
    service.until_status("it is delivered", |status| status.ledger.delivered == 1);
    posted(&site, report(2, 10.0));
    service.until_status("so is the next", |status| status.ledger.delivered == 2);
    service.kill();
    let service = site.start();
    posted(&site, report(1, 10.0));
    posted(&site, report(2, 10.0));
    assert_eq!(counts(&service), (2, 2));
    service.stop();
}

/// Fails where the journal of a start that knew of repeats outlives one that does not.
#[test]
fn where_it_is_not_wanted_every_message_is_kept_and_nothing_is_left_behind() {
    let site = place(None);
    let service = site.start();
    posted(&site, report(1, 10.0));
    service.stop();
    assert!(site.spool().join("repeats").exists());
    let mut site = site;
    site.set_topic(TOPIC);
    let service = site.start();
    posted(&site, report(1, 10.0));
    assert_eq!(counts(&service), (2, 0));
    assert!(!site.spool().join("repeats").exists());
    service.stop();
}
