//! A consumer that only asks how far a group has come.

use super::client_config;
use crate::forward::settings::TRANSACTIONAL_ID;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use std::collections::BTreeMap;

/// Says nothing: what goes wrong with its connections goes wrong with the producer's.
pub struct Silent;

impl ClientContext for Silent {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", ?level, facility, "{message}");
    }

    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for Silent {}

/// Of the group of a producer with these properties, and a member of nothing.
pub fn consumer(properties: &BTreeMap<String, String>) -> KafkaResult<BaseConsumer<Silent>> {
    let mut properties = properties.clone();
    let group = properties.remove(TRANSACTIONAL_ID).unwrap_or_default();
    // What a producer alone has is no error, but a line of librdkafka's log.
    properties.insert("group.id".to_owned(), group);
    // Not before it is certain: a transaction may still be on its way to its end.
    properties.insert("isolation.level".to_owned(), "read_committed".to_owned());
    properties.insert("enable.auto.commit".to_owned(), "false".to_owned());
    client_config(&properties).create_with_context(Silent)
}
