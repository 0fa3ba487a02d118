//! What does a broker say of records that it does not take for now?
//!
//! Some errors librdkafka takes for passing ones: it sends the batch again, for as long as it takes,
//! and reports nothing. Too few replicas in sync is one, and may last for days. Only a line of its
//! log for whoever looks for errors in librdkafka itself names them, so that line is read here. It
//! deliberately does not know what becomes of it.

use super::verdict::Failure;

/// The part of librdkafka's log that has these lines, to be asked for.
pub const CONTEXT: &str = "msg";
/// Of which kind such a line is.
const KIND: &str = "MSGSET";

/// The topic, and why its broker does not take a batch that will be sent again.
pub fn refusal(kind: &str, line: &str) -> Option<(String, Failure)> {
    let (place, rest) = line.split_once("]: MessageSet with ").filter(|_| kind == KIND)?;
    let (error, actions) = rest.split_once(" encountered error: ")?.1.split_once(" (actions ")?;
    if !actions.contains("Retry") || error.starts_with("Local: ") {
        return None; // It will be reported, or is no broker's word.
    }
    // [thrd:host:port/1]: host:port/1: topic [partition
    let topic = place.rsplit_once(" [")?.0.rsplit_once(": ")?.1;
    let few = error.contains("in-sync replicas");
    let failure = if few { Failure::TooFewReplicas } else { Failure::Other(error.to_owned()) };
    Some((topic.to_owned(), failure))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(error: &str, actions: &str) -> String {
        format!(
            "[thrd:sasl_plaintext://localhost:19092/1]: sasl_plaintext://localhost:19092/1: gps.v1 \
             [2]: MessageSet with 16 message(s) (MsgId 97, BaseSeq 96) encountered error: {error} \
             (actions {actions})"
        )
    }

    #[test]
    fn a_batch_that_is_sent_again_and_again_names_its_topic_and_the_cause() {
        let few = line("Broker: Not enough in-sync replicas", "Retry,MsgNotPersisted");
        assert_eq!(refusal(KIND, &few), Some(("gps.v1".to_owned(), Failure::TooFewReplicas)));
        let disk = "Broker: Disk error when trying to access log file on disk";
        let found = refusal(KIND, &line(disk, "Refresh,Retry")).unwrap();
        assert_eq!(found.1, Failure::Other(disk.to_owned()));
    }

    #[test]
    fn what_is_reported_anyway_or_is_no_brokers_word_says_nothing() {
        let denied = line("Broker: Topic authorization failed", "Permanent,MsgNotPersisted");
        let timed_out = line("Local: Timed out in queue", "Retry,MsgPossiblyPersisted");
        for line in
            [denied.as_str(), &timed_out, "", "gps [2]: MessageSet with 3 message(s) delivered"]
        {
            assert_eq!(refusal(KIND, line), None, "{line}");
        }
        assert_eq!(refusal("PRODUCE", &line("Broker: x", "Retry")), None);
    }
}
