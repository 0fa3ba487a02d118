//! What do librdkafka's codes mean, in our own words?
//!
//! It deliberately does not decide what to do about them: `verdict.rs` does.

use crate::forward::verdict::Failure;
use crate::status::Cause;
use rdkafka::error::{KafkaError, RDKafkaError, RDKafkaErrorCode};

/// Where an operator has to look for an error of a connection.
pub fn cause(code: RDKafkaErrorCode, text: &str) -> Cause {
    use RDKafkaErrorCode as Code;
    match code {
        Code::Resolve => Cause::Dns,
        Code::SSL => Cause::Tls,
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState => Cause::Login,
        Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => Cause::Authorization,
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::InvalidTopic => Cause::Topic,
        // A broker that refuses our certificate closes the connection; only the text says why.
        _ if text.contains("certificate") || text.contains("SSL") => Cause::Tls,
        _ => Cause::Network,
    }
}

/// Why a record was not delivered.
pub fn failure(error: &KafkaError) -> Failure {
    error.rdkafka_error_code().map_or_else(|| Failure::Other(error.to_string()), failure_of)
}

/// The same, of the code alone.
pub fn failure_of(code: RDKafkaErrorCode) -> Failure {
    use RDKafkaErrorCode as Code;
    match code {
        Code::MessageTimedOut | Code::OperationTimedOut | Code::RequestTimedOut => {
            Failure::TimedOut
        }
        // The last: nothing is the matter with it, but with another one of its batch.
        Code::PurgeQueue | Code::PurgeInflight | Code::InvalidDifferentRecord => Failure::Purged,
        Code::Fatal | Code::GaplessGuarantee => Failure::Fatal(code.to_string()),
        Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownPartition
        | Code::InvalidTopic => Failure::UnknownTopic,
        Code::TopicAuthorizationFailed => Failure::TopicDenied,
        Code::ClusterAuthorizationFailed => Failure::ClusterDenied,
        Code::GroupAuthorizationFailed => Failure::GroupDenied,
        Code::TransactionalIdAuthorizationFailed => Failure::TransactionsDenied,
        Code::Fenced
        | Code::ProducerFenced
        | Code::InvalidProducerEpoch
        | Code::TransactionCoordinatorFenced => Failure::Fenced,
        Code::InvalidTransactionTimeout => Failure::TransactionTooLong,
        Code::Authentication | Code::SaslAuthenticationFailed => Failure::LoginRefused,
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            Failure::TooLarge
        }
        Code::InvalidMessage
        | Code::InvalidRecord
        | Code::PolicyViolation
        | Code::UnsupportedForMessageFormat => Failure::Invalid(code.to_string()),
        Code::InvalidTimestamp => Failure::BadTimestamp,
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => Failure::TooFewReplicas,
        other => Failure::Other(other.to_string()),
    }
}

/// Whether a transaction failed at the partitions of its records, not at its offset.
pub fn is_of_records(error: &RDKafkaError) -> bool {
    // Failed to add partition(s) to transaction on broker ...: Topic authorization failed
    error.string().contains("add partition")
}

/// Why a transaction failed, and the topic that is at fault where one is named.
pub fn of_transaction(error: &RDKafkaError) -> (Option<String>, Failure) {
    let text = error.string();
    // Failed to add partition "gps" [0] to transaction: ...
    let named = text.split_once("partition \"").and_then(|(_, rest)| rest.split_once('"'));
    let failure = match failure_of(error.code()) {
        Failure::Other(_) if error.is_fatal() => Failure::Fatal(text.clone()),
        Failure::Other(_) => Failure::Other(text.clone()),
        known => known,
    };
    let of_topic = matches!(failure, Failure::UnknownTopic | Failure::TopicDenied);
    let topic = named.filter(|_| of_topic).map(|(topic, _)| topic.to_owned());
    (topic, failure)
}
