//! Where do a producer's reports arrive?
//!
//! librdkafka's thread puts in, the forwarder empties the whole in one swap: a report costs
//! neither a channel nor a wake-up of its own, only the first one after an emptying wakes.
//! What waits is bounded by what is in flight. It deliberately does not read what it holds.

use super::link::Trouble;
use super::pace::Traffic;
use super::verdict::Failure;
use crate::record::Sequence;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A delivery report: Kafka has the record, or why not.
pub type Report = (Sequence, Result<(), Failure>);

/// Why a transaction came to nothing, and the topic at fault where one is named.
pub type Refused = (Option<String>, Failure);

/// What librdkafka said beside the delivery reports.
#[derive(Debug)]
pub enum Signal {
    /// An error of its connections.
    Trouble(Trouble),
    /// The producer will take no further records.
    Fatal(String),
    /// A broker does not take records of this topic for now; they are sent again without a report.
    Refused { topic: String, failure: Failure },
    /// The answer to [`Producer::probe`](super::kafka::Producer::probe).
    Probed(bool),
    /// What it has sent so far.
    Traffic(Traffic),
    /// Transactions have begun; the offset and its metadata, if the broker has one.
    Opened(Result<Option<(i64, String)>, Refused>),
    /// A transaction was committed, or came to its end otherwise.
    Committed(Result<(), Refused>),
}

/// What arrived since the mailbox was last emptied.
#[derive(Debug, Default)]
pub struct Mail {
    pub reports: Vec<Report>,
    pub signals: Vec<Signal>,
}

impl Mail {
    fn is_empty(&self) -> bool {
        self.reports.is_empty() && self.signals.is_empty()
    }
}

/// Where a producer's reports arrive. Outlives its producer, for the last ones.
#[derive(Debug, Default)]
pub struct Mailbox {
    mail: Mutex<Mail>,
    arrived: Notify,
}

impl Mailbox {
    /// Waits until something arrived since the last [`take`](Self::take).
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Empties the mailbox into `into`, which must be empty and lends its buffers.
    pub fn take(&self, into: &mut Mail) {
        std::mem::swap(&mut *self.lock(), into);
    }

    /// Adds to the mailbox; wakes the forwarder if it was empty.
    pub fn put(&self, put: impl FnOnce(&mut Mail)) {
        let mut mail = self.lock();
        let first = mail.is_empty();
        put(&mut mail);
        drop(mail);
        if first {
            self.arrived.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Mail> {
        // Nothing behind this lock can be left half done by a panic.
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
