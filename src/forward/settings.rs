//! Which librdkafka properties does the producer get?
//!
//! The ones that carry the promise (nothing lost, in order, bounded memory) are ours. An
//! operator's value that would break one of them is refused by name, with the reason and
//! what to do instead; everything else goes to librdkafka as it was written.
//!
//! It deliberately does not know librdkafka's list of properties: an unknown name or a bad
//! value is found by `kafka.rs`, which asks librdkafka itself.

use super::Config;
use std::collections::BTreeMap;

/// Why a property under `[kafka]` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PropertyError {
    /// It would break what Waystation promises.
    #[error("{name} = {value:?} cannot be used: {why}; {instead}")]
    Refused { name: String, value: String, why: &'static str, instead: &'static str },
    /// librdkafka has no such property.
    #[error("{name} is not a property of librdkafka; see its CONFIGURATION.md for the names")]
    Unknown { name: String },
    /// Two names of one setting: librdkafka would take whichever comes last.
    #[error("{name} is another name of {other}, which is set as well; leave one of them out")]
    Twice { name: String, other: String },
    /// librdkafka does not take the value.
    #[error("{name}: {reason}")]
    BadValue { name: String, reason: String },
}

impl PropertyError {
    /// The property that is at fault.
    pub fn name(&self) -> &str {
        match self {
            Self::Refused { name, .. }
            | Self::Unknown { name }
            | Self::Twice { name, .. }
            | Self::BadValue { name, .. } => name,
        }
    }
}

/// Values that are set whatever the operator wrote. Names as in librdkafka's
/// CONFIGURATION.md, times in milliseconds.
const OURS: [(&str, &str); 5] = [
    ("enable.idempotence", "true"),
    ("acks", "all"),
    // For ever: an outage is no error.
    ("message.timeout.ms", "0"),
    // Without it, records sent after a refused one overtake it.
    ("enable.gapless.guarantee", "true"),
    // KiB. A second bound above the window's own, so that no outage costs more.
    ("queue.buffering.max.kbytes", "32768"),
];

/// Values for what the operator left open.
const DEFAULTS: [(&str, &str); 10] = [
    ("linger.ms", "5"),
    ("compression.type", "lz4"),
    // As the Java client's default, so that both put a key on the same partition.
    ("partitioner", "murmur2_random"),
    // The default of 10 s would leave Kafka waiting for us after a short outage.
    ("reconnect.backoff.max.ms", "1000"),
    ("socket.keepalive.enable", "true"),
    // When packets vanish, TCP tries again ever more rarely, after half a minute only every half a
    // minute: it must not take that long to notice that they arrive again. The Java client's
    // default; librdkafka's is a minute.
    ("socket.timeout.ms", "30000"),
    // The same of a connection that is being made; librdkafka's default is twice that.
    ("socket.connection.setup.timeout.ms", "15000"),
    // How long a topic may be missing before its records come back to us. A topic that was
    // just created takes about a second to be known by every broker.
    ("topic.metadata.propagation.max.ms", "5000"),
    // How long a broker waits for its replicas before it says that they do not confirm: less than
    // the silence that is taken for an outage, and than `socket.timeout.ms`.
    ("request.timeout.ms", "10000"),
    // More is the operator's choice, less is refused.
    ("message.max.bytes", LARGEST_MESSAGE),
];

/// Bytes. The spool takes a key and a value of 1 MiB together; headers come on top. What
/// librdkafka itself would refuse for its size could never be delivered.
const LARGEST_MESSAGE: &str = "2097152";

/// librdkafka knows these by two names; the operator may have used either.
const ALIASES: [(&str, &str); 7] = [
    (BROKERS[0], BROKERS[1]),
    ("acks", "request.required.acks"),
    ("message.timeout.ms", "delivery.timeout.ms"),
    ("linger.ms", "queue.buffering.max.ms"),
    ("compression.type", "compression.codec"),
    ("sasl.mechanism", "sasl.mechanisms"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
];

/// Either of these names gives the brokers' addresses; one is enough to send to Kafka.
pub const BROKERS: [&str; 2] = ["bootstrap.servers", "metadata.broker.list"];

const KEEP: &str = "leave it out";

/// How much librdkafka may put into one batch.
///
/// A batch larger than its topic takes is refused whole, good records and all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BatchLimit {
    /// librdkafka's own limits, or the operator's.
    #[default]
    Default,
    /// So little that only a record which is too large by itself is still refused: 10 kB.
    Small,
}

/// The first property that would break the promise or that says the same as another, if any.
pub fn refuse(kafka: &BTreeMap<String, String>) -> Result<(), PropertyError> {
    for (name, value) in kafka {
        if let Some((why, instead)) = objection(name, value) {
            let (name, value) = (name.clone(), value.clone());
            return Err(PropertyError::Refused { name, value, why, instead });
        }
    }
    for (other, name) in ALIASES {
        if kafka.contains_key(name) && kafka.contains_key(other) {
            let (name, other) = (name.to_owned(), other.to_owned());
            return Err(PropertyError::Twice { name, other });
        }
    }
    Ok(())
}

/// Why this value of this property would break the promise, and what to do instead.
fn objection(name: &str, value: &str) -> Option<(&'static str, &'static str)> {
    let is = |allowed: &[&str]| allowed.iter().any(|allowed| value.eq_ignore_ascii_case(allowed));
    let refused = match name {
        "message.timeout.ms" | "delivery.timeout.ms" if !is(&["0"]) => {
            ("a record would be given up after that time, and Waystation never gives one up", KEEP)
        }
        "enable.idempotence" if !is(&["true", "1"]) => {
            ("a repeated request could store records twice or out of order", KEEP)
        }
        "acks" | "request.required.acks" if !is(&["all", "-1"]) => {
            ("a record could be lost with the one broker that took it", KEEP)
        }
        "enable.gapless.guarantee" if !is(&["true", "1"]) => {
            ("records sent after a refused one would overtake it", KEEP)
        }
        "retries" | "message.send.max.retries" => ("Waystation retries for ever", KEEP),
        "max.in.flight" | "max.in.flight.requests.per.connection"
            if value.parse::<u32>().map_or(true, |requests| requests > 5 || requests == 0) =>
        {
            ("more than five requests in flight cannot be kept in order", "use 1 to 5")
        }
        "queue.buffering.max.messages" | "queue.buffering.max.kbytes" => (
            "Waystation bounds what an outage may cost in memory",
            "use max_in_flight under [forward]",
        ),
        "message.max.bytes" if value.parse::<u64>().is_ok_and(|bytes| bytes < 2 << 20) => {
            ("a record that was accepted could be too large to be sent", "use 2097152 or more")
        }
        "queuing.strategy" if !is(&["fifo"]) => ("records would be sent out of order", KEEP),
        "partitioner" if is(&["random"]) => (
            "the records of one key would go to several partitions, in no order",
            "use murmur2_random, or another partitioner that follows the key",
        ),
        "transactional.id" => {
            ("transactions belong to exactly-once delivery, which Waystation sets up itself", KEEP)
        }
        "delivery.report.only.error" if !is(&["false", "0"]) => {
            ("a record is only freed when Kafka reports that it has it", KEEP)
        }
        "opaque" | "log.queue" | "enabled_events" => ("Waystation sets it itself", KEEP),
        _ if name.ends_with("_cb") => ("a callback cannot be set from a file", KEEP),
        _ if name.starts_with("test.") => (
            "it replaces Kafka by a test double that keeps nothing",
            "use `waystation demo` to try Waystation without Kafka",
        ),
        _ => return None,
    };
    Some(refused)
}

/// The brokers' addresses as they were written, if there is a Kafka to send to.
pub fn brokers(kafka: &BTreeMap<String, String>) -> Option<&str> {
    let written = BROKERS.iter().filter_map(|name| kafka.get(*name));
    written.map(|servers| servers.trim()).find(|servers| !servers.is_empty())
}

/// Puts these brokers in the place of those that were written; none for a client that reaches nobody.
pub fn with_brokers(properties: &mut BTreeMap<String, String>, servers: &[&str]) {
    properties.retain(|name, _| !BROKERS.contains(&name.as_str()));
    if !servers.is_empty() {
        properties.insert(BROKERS[0].to_owned(), servers.join(","));
    }
}

/// All that the producer is created with.
pub fn properties(config: &Config, batch: BatchLimit) -> BTreeMap<String, String> {
    let mut all = config.kafka.clone();
    let mut set = |name: &str, value: String, always: bool| {
        let alias = ALIASES.iter().find(|(first, _)| *first == name).map(|(_, second)| *second);
        if always {
            // One name for one setting: librdkafka would take whichever comes last.
            all.retain(|key, _| Some(key.as_str()) != alias);
            all.insert(name.to_owned(), value);
        } else if !all.contains_key(name) && !alias.is_some_and(|alias| all.contains_key(alias)) {
            all.insert(name.to_owned(), value);
        }
    };
    for (name, value) in OURS {
        set(name, value.to_owned(), true);
    }
    // Never the limit: the window is.
    let messages = config.max_in_flight.clamp(100_000, 10_000_000);
    set("queue.buffering.max.messages", messages.to_string(), true);
    for (name, value) in DEFAULTS {
        set(name, value.to_owned(), false);
    }
    if config.max_bytes_per_second.is_some() {
        // Milliseconds: how soon it is known what went over the link.
        set("statistics.interval.ms", "1000".to_owned(), false);
    }
    set("client.id", format!("waystation-{}", config.box_name), false);
    if batch == BatchLimit::Small {
        set("batch.size", "10000".to_owned(), true);
    }
    all
}

/// The transactional id of the spool with this id, which is also the group of its offset.
pub fn transactional_id(spool_id: &str) -> String {
    format!("{PREFIX}{spool_id}")
}

/// With what every transactional id and every group of Waystation's begins.
pub const PREFIX: &str = "waystation-";
/// By what a producer has transactions.
pub const TRANSACTIONAL_ID: &str = "transactional.id";

/// The properties of a producer, made those of one with transactions.
pub fn with_transactions(all: &mut BTreeMap<String, String>, id: &str) {
    all.insert(TRANSACTIONAL_ID.to_owned(), id.to_owned());
    // A record that fails fails its whole transaction, and with it whatever overtook it.
    all.remove("enable.gapless.guarantee");
    // librdkafka takes none that is longer than a transaction; what has timed out so is sent again.
    all.retain(|name, _| name != "message.timeout.ms" && name != "delivery.timeout.ms");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn config(kafka: &[(&str, &str)]) -> Config {
        let kafka = kafka.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let grace = Duration::from_secs(1);
        Config {
            kafka,
            box_name: "depot-7".to_owned(),
            delivery: crate::forward::Delivery::default(),
            max_in_flight: 20_000,
            max_bytes_per_second: None,
            hold_after: Duration::from_secs(30),
            grace,
        }
    }

    #[test]
    fn what_would_break_the_promise_is_refused_by_name() {
        for (name, value) in [
            ("message.timeout.ms", "30000"),
            ("delivery.timeout.ms", "120000"),
            ("enable.idempotence", "false"),
            ("acks", "1"),
            ("request.required.acks", "0"),
            ("enable.gapless.guarantee", "false"),
            ("retries", "3"),
            ("message.send.max.retries", "3"),
            ("max.in.flight", "6"),
            ("max.in.flight.requests.per.connection", "1000000"),
            ("queue.buffering.max.messages", "5"),
            ("queue.buffering.max.kbytes", "1048576"),
            ("message.max.bytes", "1000000"),
            ("queuing.strategy", "lifo"),
            ("partitioner", "random"),
            ("transactional.id", "t"),
            ("delivery.report.only.error", "true"),
            ("dr_msg_cb", "x"),
            ("test.mock.num.brokers", "1"),
        ] {
            let error = refuse(&config(&[(name, value)]).kafka).unwrap_err();
            assert_eq!(error.name(), name);
            assert!(error.to_string().contains(value), "{error}");
        }
    }

    #[test]
    fn what_says_the_same_as_we_do_is_taken() {
        let same = [
            ("acks", "-1"),
            ("enable.idempotence", "true"),
            ("delivery.timeout.ms", "0"),
            ("max.in.flight", "5"),
            ("message.max.bytes", "3000000"),
            ("security.protocol", "ssl"),
        ];
        assert_eq!(refuse(&config(&same).kafka), Ok(()));
    }

    #[test]
    fn an_alias_never_stands_beside_the_name_it_means() {
        let config = config(&[
            ("request.required.acks", "all"),
            ("compression.codec", "zstd"),
            ("queue.buffering.max.ms", "20"),
        ]);
        let all = properties(&config, BatchLimit::Default);
        for (one, other) in ALIASES {
            assert!(!(all.contains_key(one) && all.contains_key(other)), "{one} and {other}");
        }
        assert_eq!(all["compression.codec"], "zstd");
        assert_eq!(all["acks"], "all");
    }

    #[test]
    fn two_names_of_one_setting_are_refused_and_either_alone_is_taken() {
        for (one, other) in ALIASES.into_iter().filter(|(one, _)| *one != "acks") {
            let value = if one == "message.timeout.ms" { "0" } else { "1" };
            let error = refuse(&config(&[(one, value), (other, value)]).kafka).unwrap_err();
            assert!(matches!(&error, PropertyError::Twice { .. }), "{error}");
            assert!(error.to_string().contains(one) && error.name() == other, "{error}");
            for name in [one, other] {
                assert_eq!(refuse(&config(&[(name, value)]).kafka), Ok(()));
            }
        }
    }

    #[test]
    fn brokers_count_under_both_names_unless_they_are_empty() {
        for name in BROKERS {
            assert_eq!(brokers(&config(&[(name, " a:1 ")]).kafka), Some("a:1"));
            assert_eq!(brokers(&config(&[(name, " ")]).kafka), None);
        }
        assert_eq!(brokers(&config(&[]).kafka), None);
    }

    #[test]
    fn other_brokers_stand_in_the_place_of_those_that_were_written() {
        for name in BROKERS {
            let mut kafka = config(&[(name, "a:1"), ("linger.ms", "5")]).kafka;
            with_brokers(&mut kafka, &["b:1", "c:1"]);
            assert_eq!((brokers(&kafka), kafka.len()), (Some("b:1,c:1"), 2));
            with_brokers(&mut kafka, &[]);
            assert_eq!((brokers(&kafka), kafka.len()), (None, 1));
        }
    }

    #[test]
    fn what_carries_the_promise_is_always_set() {
        let all = properties(&config(&[]), BatchLimit::Default);
        for (name, value) in [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("message.timeout.ms", "0"),
            // A test double of a broker does not show what this is for: records behind a
            // refused batch are stored, and the refused ones come after them.
            ("enable.gapless.guarantee", "true"),
            ("queue.buffering.max.kbytes", "32768"),
            ("message.max.bytes", "2097152"),
        ] {
            assert_eq!(all.get(name).map(String::as_str), Some(value), "{name}");
        }
    }

    #[test]
    fn the_operators_choice_stands_where_the_promise_allows_it() {
        let all =
            properties(&config(&[("linger.ms", "50"), ("client.id", "mine")]), BatchLimit::Small);
        assert_eq!((all["linger.ms"].as_str(), all["client.id"].as_str()), ("50", "mine"));
        assert_eq!(all["batch.size"], "10000");
        let all = properties(&config(&[]), BatchLimit::Default);
        assert_eq!(all["client.id"], "waystation-depot-7");
    }
}
