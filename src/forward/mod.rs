//! From the spool to Kafka.
//!
//! One task reads blocks from the spool, hands their records to librdkafka, takes the
//! delivery reports, and moves the spool's watermark; see [`drain`] for the loop.
//! The decisions are pure structures beside it:
//!
//! - [`window`]: which records are in flight, and up to where has everything been delivered?
//! - [`verdict`]: what to do about a record that Kafka did not take?
//! - [`link`]: is Kafka there?
//! - [`pace`]: how much may go over the link?
//! - [`courtesy`]: how much may go while messages come in?
//! - [`dating`]: which Kafka timestamp does a record get?
//! - [`exactly`]: how does every record arrive once?
//! - [`settings`]: which librdkafka properties does the producer get?
//! - [`held`]: which topics are refused while others go on?
//! - [`setback`]: how does sending go on after failures?
//! - [`obstacle`]: what keeps a client from being made?
//! - [`connect`]: would Kafka take the records, and if not, what is in the way? [`knock`]: does one
//!   broker let this box in?
//! - [`rights`]: may this box use transactions?
//! - [`step`]: what does each of those questions find?
//! - [`kerberos`]: how does a login by Kerberos get its tickets?
//! - [`refusals`]: what does a broker say of records that it does not take for now?
//! - [`advice`]: what does an error say about what the operator wrote?
//! - [`secrets`]: which properties must not be shown?
//! - [`routes`]: which routes have been seen? [`pulse`]: how long does a delivery take?
//!
//! [`kafka`] is the only module that names rdkafka, its reports arrive in a [`mailbox`]; [`monitor`] is what others may see.
//!
//! The invariant of the whole folder: the watermark passes a record only when Kafka's own
//! report says that it has it, and records of one partition are sent in the order of their
//! sequences. It deliberately knows nothing of HTTP, of GPS, or of files.

mod advice;
mod connect;
mod courtesy;
mod dating;
mod drain;
mod exactly;
mod held;
mod kafka;
mod kerberos;
mod knock;
mod link;
mod mailbox;
mod monitor;
mod obstacle;
mod pace;
mod pulse;
mod refusals;
mod rights;
mod routes;
mod secrets;
mod setback;
mod settings;
mod step;
mod verdict;
mod window;

pub use drain::Forwarder;
pub use exactly::{Delivery, InDoubt};
pub use monitor::{HeldTopic, Look, Monitor, Mood};
pub use obstacle::Obstacle;
pub use secrets::{MASK, is_secret};
pub use settings::{BROKERS, PropertyError};
pub use step::{Finding, Step};

use crate::record::Route;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How long to wait before trying again where somebody has to act: the topic may have been
/// created, the right granted, the file put in its place.
const RETRY: Duration = Duration::from_secs(5);

/// What the operator sets under `[kafka]` and `[forward]`.
#[derive(Clone)]
pub struct Config {
    /// librdkafka's properties as the operator wrote them; without `bootstrap.servers`
    /// nothing is sent, and the records wait.
    pub kafka: BTreeMap<String, String>,
    /// The box's name: `client.id` and the header `waystation-box`.
    pub box_name: String,
    /// How often a record may arrive.
    pub delivery: Delivery,
    /// Records handed to Kafka and not yet acknowledged, at most.
    pub max_in_flight: usize,
    /// Bytes a second that may go to Kafka, on the wire; `None`: as many as it takes.
    pub max_bytes_per_second: Option<u64>,
    /// How long a topic may be refused before its records are moved out of the way of others.
    pub hold_after: Duration,
    /// How long a stop waits for the records in flight.
    pub grace: Duration,
}

impl Config {
    /// Whether every property under `[kafka]` can be used: it is known to librdkafka, its
    /// value is taken, and it does not break the promise. Connects to nothing.
    pub fn check(&self) -> Result<(), PropertyError> {
        settings::refuse(&self.kafka)?;
        kafka::check(&self.properties())
    }

    /// librdkafka's properties as the producer gets them: those that carry the promise, what the
    /// operator wrote, and values for what he left open.
    pub fn properties(&self) -> BTreeMap<String, String> {
        settings::properties(self, settings::BatchLimit::Default)
    }

    /// The brokers' addresses as the operator wrote them; without any, nothing is sent.
    pub fn brokers(&self) -> Option<&str> {
        settings::brokers(&self.kafka)
    }

    /// What has to stand in the environment of the process before it logs in for the first time: the
    /// Kerberos library reads it there.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        kerberos::environment(&self.kafka)
    }

    /// What is in the way of a checked configuration on this box as it is now: files that
    /// cannot be read, programs that are missing. Empty if nothing is. It makes a client that
    /// reaches nobody, and drops it.
    pub fn rehearse(&self) -> Vec<Obstacle> {
        obstacle::rehearse(self)
    }

    /// Asks Kafka whether it would take these routes' records, and tells of each step. It sends
    /// nothing, and takes some 17 s at most. Without brokers there is no step.
    pub fn ask(&self, routes: &[Route], tell: impl FnMut(Step)) {
        connect::ask(self, routes, tell);
    }
}

/// Passwords and keys are masked.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kafka, box_name, delivery, max_in_flight, .. } = self;
        let Self { max_bytes_per_second, hold_after, grace, .. } = self;
        f.debug_struct("Config")
            .field("kafka", &secrets::Masked(kafka))
            .field("box_name", box_name)
            .field("delivery", delivery)
            .field("max_in_flight", max_in_flight)
            .field("max_bytes_per_second", max_bytes_per_second)
            .field("hold_after", hold_after)
            .field("grace", grace)
            .finish()
    }
}

/// Why the forwarder could not be built. That a client cannot be made (yet) is no reason: the
/// records are kept, and it is tried again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A property under `[kafka]` cannot be used.
    #[error("[kafka] {0}")]
    Property(#[from] PropertyError),
}
