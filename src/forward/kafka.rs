//! How does a record get to librdkafka, and how do its reports come back?
//!
//! The only file that names rdkafka, with those in its folder. A [`Producer`] is one librdkafka
//! client and one thread that serves it with long polls; delivery reports and connection errors
//! land in a mailbox that the forwarder empties in one swap, so that a report costs neither a
//! channel nor a wake-up of its own. Each producer has its own mailbox: what a retired one still
//! reports reaches nobody, and its records are sent again.
//!
//! An [`Asker`] is a client that only asks.
//!
//! It deliberately decides nothing: errors are translated into our own words
//! ([`Failure`], [`Trouble`]) and handed on.

mod asking;
mod codes;
mod describe;
mod group;
mod statistics;
mod transactions;

pub use asking::Asker;
pub use describe::{Node, Topic};
pub use transactions::{Transactions, Trial};

use super::kerberos;
use super::link::Trouble;
use super::mailbox::{Mailbox, Signal};
use super::pace::Traffic;
use super::refusals::{self, refusal};
use super::settings::PropertyError;
use super::verdict::Failure;
use crate::record::{Millis, Record, Sequence};
use crate::status::Cause;
use codes::{cause, failure, failure_of};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig,
};
use rdkafka::types::RDKafkaConfRes;
use statistics::Statistics;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

// The sequence of a record travels through librdkafka as a pointer.
const _: () = assert!(size_of::<usize>() == size_of::<u64>());

/// How long the serving thread sleeps in librdkafka when nothing happens; also how long it
/// may take to notice that its producer was retired. Not shorter: rdkafka spins through the
/// last millisecond of each poll.
const POLL: Duration = Duration::from_millis(500);
/// How long a question to Kafka may wait for its answer.
const PROBE: Duration = Duration::from_secs(2);
/// How long a producer may take to be gone before another takes its place or the process
/// ends: the poll and the question that it is in, and some time to close the connections.
pub const FAREWELL: Duration = Duration::from_millis(3_500);
const _: () = assert!(FAREWELL.as_millis() > POLL.as_millis() + PROBE.as_millis());

/// Which parts of librdkafka's log are wanted.
const DEBUG: &str = "debug";

/// Nothing behind these locks can be left half done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a record was not handed over.
#[derive(Debug)]
pub enum SendError {
    /// There is no room until reports come in.
    Full,
    /// It will not be taken as things stand.
    Failed(Failure),
}

/// Why a producer could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    #[error(transparent)]
    Property(#[from] PropertyError),
    #[error("librdkafka cannot be set up: {0}")]
    Client(String),
    #[error("cannot start the thread that serves librdkafka: {0}")]
    Thread(std::io::Error),
}

struct Callbacks {
    mailbox: Arc<Mailbox>,
    /// The operator asked for librdkafka's debug lines.
    debug: bool,
    /// The brokers have given the idempotent producer its number; known from statistics only.
    numbered: AtomicBool,
}

impl ClientContext for Callbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if self.debug || !matches!(level, RDKafkaLogLevel::Debug) {
            tracing::debug!(target: "librdkafka", ?level, facility, "{message}");
        }
        if let Some((topic, failure)) = refusal(facility, message) {
            let refused = Signal::Refused { topic, failure };
            self.mailbox.put(|mail| mail.signals.push(refused));
        }
        // The one failure of a connection that is logged and not called back: a TLS port that is
        // spoken to without TLS closes it.
        if message.contains("closed by peer") && message.contains("APIVERSION_QUERY") {
            let (cause, text) = (Cause::Network, message.to_owned());
            let trouble = Trouble { all_down: false, cause, text };
            self.mailbox.put(|mail| mail.signals.push(Signal::Trouble(trouble)));
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        tracing::debug!(target: "librdkafka", "{}", String::from_utf8_lossy(statistics));
        match serde_json::from_slice(statistics) {
            Ok(found @ Statistics { tx_bytes: wire, txmsg_bytes: messages, .. }) => {
                self.numbered.store(found.is_numbered(), Relaxed);
                let traffic = Signal::Traffic(Traffic { wire, messages });
                self.mailbox.put(|mail| mail.signals.push(traffic));
            }
            Err(error) => tracing::debug!("librdkafka's statistics cannot be read: {error}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        let text = if reason.is_empty() { error.to_string() } else { reason.to_owned() };
        let signal = if code == RDKafkaErrorCode::Fatal {
            Signal::Fatal(text)
        } else {
            let all_down = code == RDKafkaErrorCode::AllBrokersDown;
            Signal::Trouble(Trouble { all_down, cause: cause(code, &text), text })
        };
        self.mailbox.put(|mail| mail.signals.push(signal));
    }
}

impl ProducerContext for Callbacks {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, sequence: usize) {
        let outcome = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(failure(error)),
        };
        self.mailbox.put(|mail| mail.reports.push((Sequence(sequence as u64), outcome)));
    }
}

type Client = BaseProducer<Callbacks>;

/// Whether Kafka is there, asked by way of this topic if any is known.
struct Question {
    topic: Option<String>,
}

/// One librdkafka client and the thread that serves it.
pub struct Producer {
    client: Arc<Client>,
    mailbox: Arc<Mailbox>,
    /// What the serving thread is to ask Kafka, once.
    question: Arc<Mutex<Option<Question>>>,
    transactions: Option<Transactions>,
    gone: Receiver<()>,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").finish_non_exhaustive()
    }
}

/// A producer that is being taken down on its own thread.
#[derive(Debug)]
pub struct Retired {
    gone: Receiver<()>,
}

impl Retired {
    /// Waits until it is gone, at most so long; whether it is.
    pub fn wait(&self, at_most: Duration) -> bool {
        use std::sync::mpsc::RecvTimeoutError::Timeout;
        // The thread never sends: its end closes the channel.
        self.gone.recv_timeout(at_most) != Err(Timeout)
    }
}

/// Whether librdkafka knows every property and takes its value. Creates no client.
pub fn check(properties: &BTreeMap<String, String>) -> Result<(), PropertyError> {
    client_config(properties).create_native_config().map(drop).map_err(|error| match error {
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, name, _) => {
            PropertyError::Unknown { name }
        }
        KafkaError::ClientConfig(_, reason, name, _) => PropertyError::BadValue { name, reason },
        other => PropertyError::BadValue { name: "kafka".to_owned(), reason: other.to_string() },
    })
}

/// Whether a client with these properties comes to be; it is gone before this returns.
/// Without brokers among them it reaches nobody.
pub fn try_out(properties: &BTreeMap<String, String>) -> Result<(), CreateError> {
    check(properties)?;
    create(properties, Arc::default()).map(drop)
}

fn create(
    properties: &BTreeMap<String, String>,
    mailbox: Arc<Mailbox>,
) -> Result<Client, CreateError> {
    let debug = properties.contains_key(DEBUG);
    let callbacks = Callbacks { mailbox, debug, numbered: AtomicBool::new(false) };
    client_config(properties).create_with_context(callbacks).map_err(|error| {
        CreateError::Client(match error {
            KafkaError::ClientCreation(text) => text,
            other => other.to_string(),
        })
    })
}

fn client_config(properties: &BTreeMap<String, String>) -> ClientConfig {
    let mut properties = properties.clone();
    kerberos::without_kinit(&mut properties);
    let asked = properties.remove(DEBUG).filter(|contexts| !contexts.trim().is_empty());
    let contexts = asked.into_iter().chain([refusals::CONTEXT.to_owned()]).collect::<Vec<_>>();
    properties.insert(DEBUG.to_owned(), contexts.join(","));
    let mut config: ClientConfig = properties.into_iter().collect();
    config.set_log_level(RDKafkaLogLevel::Debug);
    config
}

impl Producer {
    /// Creates the client and starts the thread that serves it; connects in the background.
    pub fn new(properties: &BTreeMap<String, String>) -> Result<Self, CreateError> {
        check(properties)?;
        let mailbox = Arc::new(Mailbox::default());
        let client = Arc::new(create(properties, Arc::clone(&mailbox))?);
        let question = Arc::default();
        let (alive, gone) = channel();
        let serve = {
            let (client, question, mailbox) =
                (Arc::clone(&client), Arc::clone(&question), Arc::clone(&mailbox));
            move || {
                serve(&client, &question, &mailbox);
                // The last one: purges the queues and closes the connections.
                drop(client);
                drop(alive);
            }
        };
        let thread = std::thread::Builder::new().name("kafka".to_owned());
        thread.spawn(serve).map_err(CreateError::Thread)?;
        Ok(Self { client, mailbox, question, transactions: None, gone })
    }

    /// The same of one with transactions, whose offset belongs to this topic.
    pub fn with_transactions(
        properties: &BTreeMap<String, String>,
        topic: &str,
    ) -> Result<Self, CreateError> {
        let mut producer = Self::new(properties)?;
        let started = Transactions::start(&producer.client, &producer.mailbox, properties, topic);
        producer.transactions = Some(started.map_err(CreateError::Thread)?);
        Ok(producer)
    }

    /// Where its transactions are begun and committed.
    pub fn transactions(&self) -> Option<&Transactions> {
        self.transactions.as_ref()
    }

    /// Where the reports arrive.
    pub fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// Hands the record to librdkafka, which copies it. Never blocks.
    pub fn send(
        &self,
        record: &Record<'_>,
        timestamp: Millis,
        id: &str,
        box_name: &str,
    ) -> Result<(), SendError> {
        let mut headers = OwnedHeaders::new_with_capacity(3 + record.headers.len())
            .insert(Header { key: "waystation-id", value: Some(id) })
            .insert(Header { key: "waystation-box", value: Some(box_name) });
        if !record.received.clock_synchronised {
            let value = Some("unsynchronised");
            headers = headers.insert(Header { key: "waystation-clock", value });
        }
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: Some(*value) });
        }
        let sequence = usize::try_from(record.sequence.0)
            .map_err(|_| SendError::Failed(Failure::Invalid("sequence out of range".into())))?;
        let message = BaseRecord {
            topic: &record.route.topic,
            partition: None,
            payload: Some(record.value),
            key: record.key,
            timestamp: Some(timestamp.0),
            headers: Some(headers),
            delivery_opaque: sequence,
        };
        self.client.send(message).map_err(|(error, _)| match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => SendError::Full,
            _ => SendError::Failed(failure(&error)),
        })
    }

    /// Asks Kafka in the background whether it is there; [`Signal::Probed`] is the answer.
    /// Without a topic the first contact is enough, and once that was made, the whole
    /// cluster is asked.
    pub fn probe(&self, topic: Option<&str>) {
        *lock(&self.question) = Some(Question { topic: topic.map(ToOwned::to_owned) });
    }

    /// Takes back what was not yet sent to a broker; those records are reported as purged.
    pub fn take_back_queued(&self) {
        self.client.purge(PurgeConfig::default().queue().non_blocking());
    }

    /// Takes back everything, also what a broker may already have: those may arrive twice.
    pub fn take_back_all(&self) {
        self.client.purge(PurgeConfig::default().queue().inflight().non_blocking());
    }

    /// Why the producer takes no further records, if so.
    pub fn fatal(&self) -> Option<Failure> {
        fatal(&self.client)
    }

    /// Gives the client up, with all that is in its queues. Does not block: the serving
    /// thread takes it down.
    pub fn retire(self) -> Retired {
        // Nobody waits for that answer any more, and it may take long.
        lock(&self.question).take();
        drop(self.transactions);
        self.client.purge(PurgeConfig::default().queue().inflight().non_blocking());
        Retired { gone: self.gone }
    }
}

/// Serves the client until this thread is the last that holds it.
fn serve(client: &Arc<Client>, question: &Mutex<Option<Question>>, mailbox: &Mailbox) {
    let mut reached = false;
    while Arc::strong_count(client) > 1 {
        client.poll(POLL);
        let asked = lock(question).take();
        if let Some(Question { topic }) = asked {
            let answered = match (topic, reached) {
                (None, false) => client.client().fetch_cluster_id(PROBE).is_some(),
                (topic, _) => client.client().fetch_metadata(topic.as_deref(), PROBE).is_ok(),
            };
            reached |= answered;
            mailbox.put(|mail| mail.signals.push(Signal::Probed(answered)));
        }
    }
}

fn fatal(client: &Client) -> Option<Failure> {
    let (code, text) = client.client().fatal_error()?;
    Some(match failure_of(code) {
        Failure::Other(_) | Failure::TimedOut | Failure::Purged => Failure::Fatal(text),
        known => known,
    })
}

#[cfg(test)]
mod tests;
