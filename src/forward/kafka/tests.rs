//! What librdkafka says, in our own words; how a client ends.

use super::*;
use crate::forward::mailbox::Mail;

fn properties(extra: &[(&str, &str)]) -> BTreeMap<String, String> {
    extra.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn a_misspelt_property_is_found_without_a_client() {
    let error = check(&properties(&[("bootstrap.server", "a:9092")])).unwrap_err();
    assert!(matches!(&error, PropertyError::Unknown { name } if name == "bootstrap.server"));
    let error = check(&properties(&[("linger.ms", "soon")])).unwrap_err();
    assert!(matches!(&error, PropertyError::BadValue { name, .. } if name == "linger.ms"));
    check(&properties(&[("linger.ms", "5")])).unwrap();
}

#[test]
fn an_error_names_where_to_look() {
    use RDKafkaErrorCode as Code;
    assert_eq!(cause(Code::Resolve, ""), Cause::Dns);
    assert_eq!(cause(Code::BrokerTransportFailure, "Connection refused"), Cause::Network);
    let refused = "Receive failed: SSL alert: bad certificate";
    assert_eq!(cause(Code::BrokerTransportFailure, refused), Cause::Tls);
    assert_eq!(cause(Code::Authentication, ""), Cause::Login);
}

#[test]
fn of_a_batch_only_the_record_that_the_broker_names_is_invalid() {
    use crate::forward::verdict::Verdict;
    use RDKafkaErrorCode as Code;
    assert_eq!(failure_of(Code::InvalidRecord).verdict(), Verdict::DeadLetter);
    assert_eq!(failure_of(Code::InvalidDifferentRecord).verdict(), Verdict::Resend);
}

#[test]
fn a_producer_without_kafka_says_so_and_is_gone_soon_after_it_is_retired() {
    // Port 9 of the loopback: nobody listens there.
    let producer = Producer::new(&properties(&[("bootstrap.servers", "127.0.0.1:9")])).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut mail = Mail::default();
    runtime.block_on(async {
        let arrived = producer.mailbox().arrived();
        tokio::time::timeout(Duration::from_secs(20), arrived).await.unwrap();
    });
    producer.mailbox().take(&mut mail);
    assert!(matches!(mail.signals[0], Signal::Trouble(_)), "{mail:?}");
    assert!(producer.retire().wait(Duration::from_secs(20)));
}

#[test]
fn a_retired_producer_asks_nothing_more() {
    let producer = Producer::new(&properties(&[("bootstrap.servers", "127.0.0.1:9")])).unwrap();
    producer.probe(None);
    // The question alone would take as long.
    assert!(producer.retire().wait(PROBE));
}
