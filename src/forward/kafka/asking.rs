//! How is Kafka asked whether it would take records, without sending it any?
//!
//! An [`Asker`] is a client like the forwarder's that is served by whoever holds it. It sends
//! nothing and creates nothing; an idempotent one lets the brokers give it a producer's number, as
//! each start of the forwarder does.
//!
//! It deliberately does not know what to make of an answer, nor how long to wait for one.

use super::describe::{Topic, describe};
use super::{Client, CreateError, check, create, fatal};
use crate::forward::link::Trouble;
use crate::forward::mailbox::{Mail, Mailbox, Signal};
use crate::forward::verdict::Failure;
use rdkafka::producer::Producer as _;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// One client; its end, which may wait for a connection's, is the end of this.
pub struct Asker {
    client: Client,
    mailbox: Arc<Mailbox>,
}

impl std::fmt::Debug for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asker").finish_non_exhaustive()
    }
}

impl Asker {
    /// Begins to connect. [`numbered`](Self::numbered) is only told with properties by which there
    /// are statistics.
    pub fn new(properties: &BTreeMap<String, String>) -> Result<Self, CreateError> {
        check(properties)?;
        let mailbox = Arc::<Mailbox>::default();
        Ok(Self { client: create(properties, Arc::clone(&mailbox))?, mailbox })
    }

    /// Serves the client for so long; what went wrong with its connections since the last time.
    pub fn serve(&self, time: Duration) -> Vec<Trouble> {
        self.client.poll(time);
        let mut mail = Mail::default();
        self.mailbox.take(&mut mail);
        let trouble = |signal| if let Signal::Trouble(found) = signal { Some(found) } else { None };
        mail.signals.into_iter().filter_map(trouble).collect()
    }

    /// Whether a broker has let it in and answered.
    pub fn is_in(&self) -> bool {
        self.client.client().fetch_cluster_id(Duration::ZERO).is_some()
    }

    /// Asks about all these topics, which must differ; the answers are in their order.
    pub fn describe(
        &self,
        topics: &[&str],
        until: Instant,
    ) -> Result<Vec<Result<Topic, Failure>>, Failure> {
        describe(&self.client, topics, until)
    }

    /// Whether the brokers take it as an idempotent producer; `None` while they have not answered.
    pub fn numbered(&self) -> Option<Result<(), Failure>> {
        match fatal(&self.client) {
            Some(failure) => Some(Err(failure)),
            None => self.client.context().numbered.load(Relaxed).then_some(Ok(())),
        }
    }
}
