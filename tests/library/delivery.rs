//! Does every record reach Kafka, in order, whatever Kafka does?
//!
//! The spool and the forwarder against librdkafka's mock cluster on the loopback. What
//! arrived is read by a consumer of its own; the forwarder's counters are never the proof.

use crate::rig::{PATIENCE, Rig, TOPIC, cluster, read_all};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use std::sync::Arc;
use std::time::Duration;
use waystation::status::{Cause, KafkaState};

#[tokio::test]
async fn a_broker_taken_away_under_flow_costs_nothing_but_time() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let mut rig = Rig::new(Some(&servers));
    rig.append(5_000).await;
    rig.until("some delivered", |look| look.delivered > 0).await;
    cluster.broker_down(-1).unwrap();
    rig.append(5_000).await;
    let look = rig.until("an outage", |look| look.mood.state == KafkaState::Outage).await;
    assert!(look.mood.outage_since.is_some());
    assert_eq!(look.mood.cause, Some(Cause::Network));
    assert!(look.in_flight <= 2_000);
    rig.append(5_000).await;
    cluster.broker_up(-1).unwrap();
    rig.until_all_delivered().await;
    rig.until("connected", |look| look.mood.state == KafkaState::Connected).await;
    let all = rig.next;
    assert_eq!(rig.stop().1, all);
    read_all(&servers, all);
}

#[tokio::test]
async fn refused_requests_lead_to_a_new_producer_and_to_no_gap() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let mut rig = Rig::new(Some(&servers));
    rig.append(1_000).await;
    rig.until_all_delivered().await;
    for _ in 0..3 {
        let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS;
        cluster.request_errors(RDKafkaApiKey::Produce, &[refusal]);
        rig.append(3_000).await;
        rig.until_all_delivered().await;
    }
    let all = rig.next;
    assert_eq!(rig.stop().1, all);
    read_all(&servers, all);
}

#[tokio::test]
async fn a_right_that_was_taken_away_pauses_everything_and_says_so() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let mut rig = Rig::new(Some(&servers));
    rig.append(100).await;
    rig.until_all_delivered().await;
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::Produce, &[refusal]);
    rig.append(3_000).await;
    let look = rig.until("paused", |look| look.mood.state == KafkaState::Paused).await;
    assert_eq!(look.mood.cause, Some(Cause::Authorization));
    assert!(look.mood.reason.unwrap().contains(TOPIC));
    rig.until_all_delivered().await;
    rig.until("connected", |look| look.mood.state == KafkaState::Connected).await;
    let all = rig.next;
    assert_eq!(rig.stop().1, all);
    read_all(&servers, all);
}

#[tokio::test]
async fn a_batch_that_was_refused_as_too_large_is_sent_again_record_by_record() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let mut rig = Rig::new(Some(&servers));
    rig.append(100).await;
    rig.until_all_delivered().await;
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    cluster.request_errors(RDKafkaApiKey::Produce, &[refusal]);
    rig.append(600).await;
    rig.until("all delivered", |look| {
        assert_ne!(look.mood.state, KafkaState::Paused);
        look.delivered == 700
    })
    .await;
    let all = rig.next;
    assert_eq!(rig.stop().1, all);
    read_all(&servers, all);
}

#[tokio::test]
async fn a_missing_topic_pauses_and_goes_on_by_itself_once_it_is_there() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let missing = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    cluster.topic_error(TOPIC, missing).unwrap();
    let mut rig = Rig::new(Some(&servers));
    rig.append(3_000).await;
    let look = rig.until("paused", |look| look.mood.state == KafkaState::Paused).await;
    assert_eq!(look.mood.cause, Some(Cause::Topic));
    assert!(look.mood.reason.unwrap().contains("does not exist"));
    assert_eq!(look.delivered, 0);
    cluster.topic_error(TOPIC, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    rig.until_all_delivered().await;
    rig.until("connected", |look| look.mood.state == KafkaState::Connected).await;
    let all = rig.next;
    assert_eq!(rig.stop().1, all);
    read_all(&servers, all);
}

#[tokio::test]
async fn an_outage_is_seen_and_ends_without_any_traffic() {
    let cluster = cluster();
    let mut rig = Rig::new(Some(&cluster.bootstrap_servers()));
    rig.until("connected", |look| look.mood.state == KafkaState::Connected).await;
    rig.append(10).await;
    rig.until_all_delivered().await;
    cluster.broker_down(-1).unwrap();
    rig.until("an outage", |look| look.mood.state == KafkaState::Outage).await;
    cluster.broker_up(-1).unwrap();
    rig.until("connected", |look| look.mood.state == KafkaState::Connected).await;
    assert_eq!(rig.monitor.look().mood.last_error, None);
    rig.stop();
}

#[tokio::test]
async fn a_stop_takes_the_last_reports_along() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let mut rig = Rig::new(Some(&servers));
    rig.append(100).await;
    rig.until_all_delivered().await;
    // Longer than a stop that waits for nothing, and far below the grace period.
    cluster.broker_round_trip_time(1, Duration::from_secs(2)).unwrap();
    rig.append(900).await;
    let monitor = Arc::clone(&rig.monitor);
    let look = rig.until("all in flight", |look| look.in_flight == 900).await;
    assert_eq!((look.in_flight, look.delivered), (900, 100));
    assert_eq!(rig.stop().1, 1_000);
    cluster.broker_round_trip_time(1, Duration::ZERO).unwrap();
    assert_eq!(monitor.look().delivered, 1_000);
    assert_eq!(monitor.look().mood.state, KafkaState::Stopping);
    read_all(&servers, 1_000);
}

#[tokio::test]
async fn a_stop_while_kafka_is_away_is_quick() {
    let cluster = cluster();
    let mut rig = Rig::new(Some(&cluster.bootstrap_servers()));
    rig.append(10).await;
    rig.until_all_delivered().await;
    cluster.broker_down(-1).unwrap();
    rig.append(500).await;
    rig.until("an outage", |look| look.mood.state == KafkaState::Outage).await;
    let (took, delivered) = rig.stop();
    // Far below the grace period of ten seconds.
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(delivered, 10);
}

#[tokio::test]
async fn a_stop_is_quick_when_kafka_goes_away_during_it() {
    let cluster = cluster();
    let mut rig = Rig::new(Some(&cluster.bootstrap_servers()));
    rig.append(10).await;
    rig.until_all_delivered().await;
    // No report comes before the broker is gone.
    cluster.broker_round_trip_time(1, PATIENCE).unwrap();
    rig.append(500).await;
    rig.until("all in flight", |look| look.in_flight == 500).await;
    let (took, delivered) = rig.stop_with(|| cluster.broker_down(-1).unwrap());
    // Far below the grace period of ten seconds.
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert_eq!(delivered, 10);
}

#[tokio::test]
async fn without_a_kafka_the_records_wait() {
    let mut rig = Rig::new(None);
    rig.append(100).await;
    let look = rig.monitor.look();
    assert_eq!(look.mood.state, KafkaState::Unconfigured);
    assert_eq!((look.in_flight, look.delivered), (0, 0));
    let (took, delivered) = rig.stop();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(delivered, 0);
}

/// A certificate that nobody uses, good until 2126.
const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBlDCCATmgAwIBAgIUab7Zf8UFCYh+N1Gl6P4YDYnxWw8wCgYIKoZIzj0EAwIw
HjEcMBoGA1UEAwwTYXV0aG9yaXR5IG9mIGEgdGVzdDAgFw0yNjExMjMxNzA1NDZa
GA8yMTI2MTAzMDE3MDU0NlowHjEcMBoGA1UEAwwTYXV0aG9yaXR5IG9mIGEgdGVz
dDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABPTbbYGsKSIwkvEkPW3QfH4Vrwld
sp4WhxpvrTyLOz0SL5PoEoo3atlesZiYxQdX5los9xCGlDVgjshH1xJp1L6jUzBR
MB0GA1UdDgQWBBSZ9CyqyCSUL9a6VxxY5x0gYdObmTAfBgNVHSMEGDAWgBSZ9Cyq
yCSUL9a6VxxY5x0gYdObmTAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0kA
MEYCIQCjwNfnxZNebEFwZlZPzZjWSEaY9qlfRy+7NxLqC+8CFgIhAPgNI5bZCzfV
RVeu1ftcthCOOzlEIEqy8Cx2bparF6wA
-----END CERTIFICATE-----
";

#[tokio::test]
async fn a_certificate_that_is_missing_pauses_and_sending_goes_on_by_itself_once_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    // Port 9 of the loopback: nobody listens there, so a client that tries says so.
    let mut rig = Rig::with(&[
        ("bootstrap.servers", "127.0.0.1:9"),
        ("security.protocol", "SSL"),
        ("ssl.ca.location", ca.to_str().unwrap()),
    ]);
    let mood = rig.until("a pause", |look| look.mood.state == KafkaState::Paused).await.mood;
    assert_eq!(mood.cause, Some(Cause::Tls));
    let reason = mood.reason.unwrap();
    assert!(
        reason.contains("ssl.ca.location") && reason.contains(ca.to_str().unwrap()),
        "{reason}"
    );
    rig.append(10).await;
    std::fs::write(&ca, CERTIFICATE).unwrap();
    let look = rig.until("an outage", |look| look.mood.state == KafkaState::Outage).await;
    assert_eq!((look.mood.cause, look.mood.reason), (Some(Cause::Network), None));
    let (took, delivered) = rig.stop();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(delivered, 0);
}

#[tokio::test]
async fn a_stop_without_a_client_is_quick() {
    let mut rig = Rig::with(&[
        ("bootstrap.servers", "127.0.0.1:9"),
        ("security.protocol", "SSL"),
        ("ssl.ca.location", "/nowhere/ca.pem"),
    ]);
    rig.append(10).await;
    let (took, delivered) = rig.stop();
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(delivered, 0);
}
