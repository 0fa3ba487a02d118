//! What the parts themselves have to say about their settings: **the one place** where
//! `config` asks `forward` about Kafka properties and `convert` about messages and keys.
//!
//! Each function takes a part of the configuration whose values are right by themselves,
//! and answers with the property or setting that is wrong and a sentence.
//! `checked.rs` turns that into file and line. It does not know where values came from.

use super::schema::{
    ROUTE_DEDUPE, ROUTE_DESCRIPTOR_SET, ROUTE_KEY, ROUTE_MESSAGE, ROUTE_PROTO, ROUTE_TIMESTAMP,
    Setting,
};
use crate::convert::{Converter, Fields, SchemaError, Source};
use crate::forward;
use crate::ingest::RouteConfig;
use std::collections::BTreeMap;

/// Why a Kafka property cannot be taken.
#[derive(Debug, PartialEq, Eq)]
pub struct KafkaObjection {
    /// librdkafka's name of the property.
    pub property: String,
    /// A sentence that begins with the property's name.
    pub says: String,
}

/// Why a route cannot be built.
#[derive(Debug)]
pub struct RouteObjection {
    pub setting: &'static Setting,
    /// Follows `route.key is "device"; ` in the sentence.
    pub says: String,
}

/// Everything that is wrong with `[kafka]`.
pub fn kafka(config: &forward::Config) -> Vec<KafkaObjection> {
    let mut objections = Vec::new();
    // `forward` tells of one property at a time; without it, it tells of the next.
    let mut rest = config.clone();
    while let Err(error) = rest.check() {
        let (property, says) = (error.name().to_owned(), error.to_string());
        let known = rest.kafka.remove(&property).is_some();
        objections.push(KafkaObjection { property, says });
        if !known {
            break;
        }
    }
    // A misspelt bootstrap.servers has been told by now.
    if objections.is_empty() {
        objections.extend(no_brokers(&config.kafka));
    }
    objections
}

/// Somebody who sets anything under `[kafka]` means to connect; without the addresses the box
/// would keep everything and send nothing. Written but empty, they say just that.
fn no_brokers(properties: &BTreeMap<String, String>) -> Option<KafkaObjection> {
    if forward::BROKERS.iter().any(|name| properties.contains_key(*name)) {
        return None;
    }
    let property = properties.keys().next()?.clone();
    let says = format!(
        "{property} is set, but bootstrap.servers is not; add it with the brokers' addresses"
    );
    Some(KafkaObjection { property, says })
}

/// What is in the way of a client with these properties on this box as it is now.
pub fn rehearse(config: &forward::Config) -> Vec<forward::Obstacle> {
    config.rehearse()
}

/// What is wrong with a route's schema, message or fields, if anything.
pub fn route(route: &RouteConfig) -> Option<RouteObjection> {
    let RouteConfig { source, message, key, timestamp, dedupe, .. } = route;
    let tried = |key, time| Converter::new(source, message, Fields { key, time });
    let (error, field) = match tried(key.as_deref(), timestamp.as_deref()) {
        Ok(converter) => {
            let fields = &dedupe.as_ref()?.fields;
            (converter.telling_apart(fields).err()?, &ROUTE_DEDUPE)
        }
        // Which of the two it is matters only where something is wrong: a schema is read each time.
        Err(both) => match tried(key.as_deref(), None) {
            Ok(_) => (both, &ROUTE_TIMESTAMP),
            Err(error) => (error, &ROUTE_KEY),
        },
    };
    let setting = match (&error, source) {
        (SchemaError::UnknownMessage { .. } | SchemaError::Unsupported { .. }, _) => &ROUTE_MESSAGE,
        (SchemaError::UnknownField { .. } | SchemaError::WrongField { .. }, _) => field,
        (_, Source::DescriptorSet(_)) => &ROUTE_DESCRIPTOR_SET,
        _ => &ROUTE_PROTO,
    };
    Some(RouteObjection { setting, says: error.to_string() })
}
