//! The one snapshot that the status page, the metrics and the commands all read.
//!
//! Field for field it is the contract of `GET /status` (schema 1): a field may be added, none
//! may change its name or meaning without a new schema number. All numbers are finite and no age
//! is negative (see [`rates`]). It knows nothing of how the numbers are gathered (`app.rs` does)
//! nor of how they are shown (`admin/`, `cli/`).

#[cfg(test)]
pub(crate) mod example;
pub mod judge;
pub mod rates;
pub mod words;

use crate::ledger::Ledger;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of this contract; a reader refuses a higher one.
pub const SCHEMA: u32 = 1;

/// Everything an operator may want to know of one box at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The program's version.
    pub version: String,
    /// The box's name, as the operator set it.
    #[serde(rename = "box")]
    pub box_name: String,
    /// The spool's own random name; it changes only with a new spool.
    pub spool_id: String,
    /// Since this process started.
    pub uptime_seconds: f64,
    /// How the process before this one ended.
    pub last_stop: LastStop,
    /// How much this needs a person, by the rules of [`judge`].
    pub verdict: Verdict,
    /// The same in one plain sentence.
    pub sentence: String,
    /// The lifetime books of the spool.
    pub ledger: Ledger,
    pub ingest: Ingest,
    pub spool: Spool,
    pub kafka: Kafka,
    /// In the order of the configuration.
    pub routes: Vec<Route>,
}

/// How the process before this one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LastStop {
    /// It stopped in order (or this is the first start).
    Clean,
    /// It was killed or fell over; the system went on.
    Crash,
    /// The whole system stopped without warning.
    Power,
    /// The watchdog ended it because it made no progress.
    Watchdog,
}

/// How much the box needs a person. Ordered: the later, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nobody has to do anything.
    Ok,
    /// Somebody should look in the course of the day.
    Attention,
    /// Records are refused, stuck or lost, or soon will be.
    Critical,
}

/// The way in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ingest {
    pub state: IngestState,
    /// Why records are refused, as a clause without a full stop.
    pub reason: Option<String>,
    /// Records accepted, smoothed over about ten seconds.
    pub per_second: f64,
    /// Requests refused since the process started, by the reason's short name (`malformed`,
    /// `too_large` ...); every reason is there, also with 0.
    pub rejected: BTreeMap<String, u64>,
    /// Connections since the process started that broke off before a request, for want of TLS.
    #[serde(default)]
    pub failed_handshakes: u64,
    /// Connections that the box closed since the process started, by a short name of the reason
    /// (`made_room`, `silent` ...); every reason is there, also with 0.
    #[serde(default)]
    pub closed: BTreeMap<String, u64>,
}

impl Ingest {
    /// What was refused and why, for people; "none" when nothing was.
    #[must_use]
    pub fn rejected_in_words(&self) -> String {
        let told: Vec<String> = self
            .rejected
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(why, count)| format!("{} {}", words::thousands(*count), why.replace('_', " ")))
            .collect();
        if told.is_empty() { "none".to_owned() } else { told.join(", ") }
    }
}

/// Whether a record that is posted now would be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IngestState {
    Accepting,
    Refusing,
}

/// What waits on the disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spool {
    /// Records waiting.
    pub records: u64,
    /// Their JSON and keys, before compression.
    pub bytes: u64,
    /// Everything under the spool's directory.
    pub disk_bytes: u64,
    /// Of those, damaged segments that are kept for inspection.
    #[serde(default)]
    pub quarantine_bytes: u64,
    /// The limit of `disk_bytes`.
    pub max_bytes: u64,
    pub segments: u64,
    /// Since the oldest waiting record was received.
    pub oldest_age_seconds: Option<f64>,
    /// Records that an export with `--remove` holds back from Kafka.
    #[serde(default)]
    pub held_records: u64,
    /// Since it does.
    #[serde(default)]
    pub held_seconds: Option<f64>,
    /// Until records are refused, at the growth of the last minutes; `None` while the backlog
    /// does not grow, and while records are refused already.
    pub full_in_seconds: Option<f64>,
    /// Syncs of commits (not those of the progress or of a rotation), at the mean pace since the
    /// process started.
    pub syncs_per_day: u64,
    /// Bytes that the kernel says this process sent to the medium (`write_bytes` of
    /// `/proc/self/io`), at the mean pace since the process started; where the kernel does not
    /// say, the spool's blocks alone.
    pub bytes_written_per_day: u64,
}

/// The way out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kafka {
    pub state: KafkaState,
    /// Of an outage or a pause, where it is known.
    pub cause: Option<Cause>,
    /// Records delivered, smoothed over about ten seconds.
    pub per_second: f64,
    /// Records handed to Kafka whose delivery report has not come.
    pub in_flight: u64,
    /// How long Kafka has been away; `None` while it is there.
    pub outage_seconds: Option<f64>,
    /// When the last delivery report came, RFC 3339.
    pub last_delivery: Option<String>,
    /// In a pause the forwarder's reason for it, else the newest error of the connections.
    pub last_error: Option<String>,
    /// Which setting or whose work the outage is a matter of, as a clause without a full stop,
    /// where that is known.
    pub advice: Option<String>,
    /// Until the backlog is delivered, at the pace of the last ten seconds.
    pub drain_eta_seconds: Option<f64>,
}

/// `snake_case` in JSON and in the metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KafkaState {
    /// No `bootstrap.servers`: records are only kept.
    Unconfigured,
    /// Not reached yet since the start.
    Connecting,
    Connected,
    /// There again, with a backlog to drain.
    CatchingUp,
    /// Away; records are kept until it is back.
    Outage,
    /// There, but nothing is sent until somebody acts.
    Paused,
    /// The process is on its way out.
    Stopping,
}

impl KafkaState {
    /// Every state, for the metric that has one line for each.
    pub const ALL: [Self; 7] = [
        Self::Unconfigured,
        Self::Connecting,
        Self::Connected,
        Self::CatchingUp,
        Self::Outage,
        Self::Paused,
        Self::Stopping,
    ];

    /// The name in JSON and in the metric's label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unconfigured => "unconfigured",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::CatchingUp => "catching_up",
            Self::Outage => "outage",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
        }
    }
}

/// Where to look when Kafka is away or refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The brokers' names do not resolve.
    Dns,
    /// The brokers do not answer.
    Network,
    Tls,
    /// Kerberos or SASL.
    Login,
    /// Logged in, but not allowed to write.
    Authorization,
    /// A topic is missing.
    Topic,
    /// This box's clock.
    Clock,
}

impl Cause {
    /// The same as a clause of Kafka.
    pub fn says(self) -> &'static str {
        match self {
            Self::Dns => "the brokers' names do not resolve",
            Self::Network => "no broker answers",
            Self::Tls => "TLS fails",
            Self::Login => "it refuses the login",
            Self::Authorization => "it refuses the rights",
            Self::Topic => "a topic is missing",
            Self::Clock => "this box's clock is wrong",
        }
    }
}

/// One way in and its topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Route {
    pub path: String,
    pub topic: String,
    /// Records since the process started, as `delivered`: the books' are those of the spool's life.
    pub accepted: u64,
    /// Of those, kept as dead letters because they are no messages (`on_invalid = "keep"`).
    #[serde(default)]
    pub invalid: u64,
    /// Messages that had been kept before, and were not kept again (`dedupe`); none of the accepted.
    #[serde(default)]
    pub repeated: u64,
    pub delivered: u64,
    /// Records that wait because Kafka refuses the topic.
    pub held: u64,
    /// Why, as a clause without a full stop.
    pub held_because: Option<String>,
}

impl Route {
    /// What there is to say beside the numbers, a line each: as the page says it, too.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let held = self.held_because.as_ref().map(|why| format!("held: {why}"));
        let some = |count: u64, what: &str| {
            (count > 0).then(|| format!("{} {what}", words::thousands(count)))
        };
        let invalid = some(self.invalid, "of the accepted are no messages");
        let repeated = some(self.repeated, "repeats not kept again");
        [held, invalid, repeated].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_named_in_the_metric_as_in_the_json() {
        for state in KafkaState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
    }
}
