//! The loop: how do the records get from the spool to Kafka, and the watermark back?
//!
//! One task owns the reader, the window and the producer, and waits for one [`Event`] at a
//! time. It is always in one [`Phase`]. Any failed delivery leads the same way: stop
//! sending, wait until everything in flight was reported on or taken back, give the
//! producer up, go back to the watermark, and send what was not delivered again, in order,
//! through a new one. So nothing that was sent after a failed record can stay ahead of it.
//!
//! What keeps the loop idle when there is nothing to do: it sleeps until a report, a new
//! block or its own next deadline; it never polls. It deliberately knows no librdkafka code
//! and no file; it blocks for block reads, so it wants a thread and a runtime of its own.

mod bury;
mod hold;
mod mail;
mod moved;
mod recover;
mod send;
mod stop;
mod tell;
mod transact;

use super::courtesy::Courtesy;
use super::exactly::Exactly;
use super::held::Held;
use super::kafka::{Producer, Retired};
use super::link::Link;
use super::mailbox::{Mail, Mailbox};
use super::monitor::Monitor;
use super::obstacle;
use super::pace::Pace;
use super::pulse::Pulse;
use super::routes::Routes;
use super::setback::{Recovery, Setback};
use super::window::Window;
use super::{BuildError, Config};
use crate::dead;
use crate::record::Sequence;
use crate::spool::{Block, SpoolReader, outside};
use crate::status::{Cause, KafkaState};
use bury::Letters;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes in flight, at most, overhead included: what an outage costs in memory.
const MAX_BYTES: usize = 16 << 20;
/// The same for one held topic, and records of it.
const HELD_BYTES: usize = 4 << 20;
const HELD_RECORDS: usize = 5_000;
/// How long failed deliveries wait for the reports of what else is in flight.
const SETTLE: Duration = Duration::from_secs(5);

/// How long a broker may refuse records, as it does while a leader moves, until that is shown.
const REFUSED: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No Kafka is configured: the records wait.
    Unconfigured,
    Flowing,
    /// A delivery failed; until the rest was reported on, or until this time.
    Settling(Instant),
    /// Without a producer, until this time.
    Waiting(Instant),
    Stopping,
}

/// What the sending waits for while all is well with Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Until a good part of the window is free again.
    Room,
    /// Until nothing is in flight: the next record or read is in trouble, and what was sent
    /// before it is not to suffer for that.
    Empty,
    /// Until the transaction at hand is committed, or the first one begun.
    Transaction,
    /// Until this time: the next block could not be read, the link has taken its share, or messages come
    /// in.
    Until(Instant),
}

enum Event {
    /// A stop was asked for.
    Stop,
    /// Reports or errors arrived.
    Mail,
    /// There are records to send, and room for them.
    Readable,
    /// The next deadline has come.
    Time,
}

/// Sending is at a standstill until somebody acts.
#[derive(Debug)]
struct Standstill {
    /// It is over when the watermark has passed this record; `None`: when there is a client.
    at: Option<Sequence>,
    reason: String,
    cause: Option<Cause>,
    /// Kafka refuses transactions: it is over when it takes one.
    of_beginning: bool,
}

/// What a forwarder drains.
#[derive(Debug)]
enum Part {
    /// The spool, but for topics that are held.
    Whole(Box<Held>),
    /// The spool of a held topic.
    Topic,
}

/// Drains the spool into Kafka.
pub struct Forwarder {
    config: Config,
    part: Part,
    reader: SpoolReader,
    monitor: Arc<Monitor>,
    /// Where deliveries are counted: the main forwarder's own, for all of them.
    counts: Arc<Monitor>,
    phase: Phase,
    producer: Option<Producer>,
    retired: Option<Retired>,
    window: Window,
    /// The block being sent, and the next sequence of it.
    block: Option<Block>,
    cursor: Sequence,
    rest: Option<Rest>,
    /// Kafka took the first record that went through this producer. Before that nothing more
    /// is sent: a broker that does not know a producer yet would store what is in flight
    /// behind a refused first batch, ahead of it.
    proven: bool,
    /// One record in flight at a time until the watermark has passed this one.
    one_by_one_until: Option<Sequence>,
    /// The spool was read to its end since the last start, outage or setback.
    caught_up: bool,
    link: Link,
    setback: Option<Setback>,
    recovery: Recovery,
    standstill: Option<Standstill>,
    /// The watermark at which a broker refuses records for now, and since when.
    refused: Option<(Sequence, Instant)>,
    letters: Letters,
    routes: Routes,
    pulse: Pulse,
    pace: Pace,
    courtesy: Courtesy,
    mail: Mail,
    /// Only where every record is to arrive once.
    exactly: Option<Exactly>,
}

impl std::fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forwarder")
            .field("phase", &self.phase)
            .field("watermark", &self.window.watermark())
            .finish_non_exhaustive()
    }
}

impl Forwarder {
    /// Checks the configuration, and connects to nothing: [`run`](Self::run) makes the producer. What
    /// Kafka can never take goes to `letters`, the store of the same spool.
    pub fn new(
        config: Config,
        reader: SpoolReader,
        letters: dead::Store,
    ) -> Result<(Self, Arc<Monitor>), BuildError> {
        config.check()?;
        if let Some(obstacle) = obstacle::no_login(&config) {
            tracing::warn!("{}", obstacle.says);
        }
        let monitor = Arc::new(Monitor::new(initial(&config)));
        // The books are right before what is held is opened; what cannot be looked at says so then.
        for held in outside::held(reader.dir()).unwrap_or_default() {
            monitor.held_before(&held.topic, held.view.ledger().unwrap_or_default());
        }
        let held = Part::Whole(Box::new(Held::new(config.hold_after)));
        let pace = Pace::new(config.max_bytes_per_second, Instant::now());
        let limits = (pace, Courtesy::new(reader.end(), Instant::now()));
        let forwarder = Self::build(config, held, reader, letters, monitor.clone(), limits);
        Ok((forwarder, monitor))
    }

    /// One like this for the spool of a held topic.
    fn for_topic(&mut self, reader: SpoolReader) -> Self {
        let config = Config {
            max_in_flight: self.config.max_in_flight.min(HELD_RECORDS),
            ..self.config.clone()
        };
        let (counts, letters) = (self.monitor.clone(), self.letters.inside(reader.dir()));
        let limits = (self.pace.beside(), self.courtesy.clone());
        Self::build(config, Part::Topic, reader, letters, counts, limits)
    }

    fn build(
        config: Config,
        part: Part,
        reader: SpoolReader,
        letters: dead::Store,
        counts: Arc<Monitor>,
        (pace, courtesy): (Pace, Courtesy),
    ) -> Self {
        let (watermark, configured) = (reader.watermark(), config.brokers().is_some());
        let (monitor, max_bytes) = match part {
            Part::Whole(_) => (Arc::clone(&counts), MAX_BYTES),
            Part::Topic => (Arc::new(Monitor::new(initial(&config))), HELD_BYTES),
        };
        let most = config.max_in_flight;
        let exactly = Exactly::new(&config.delivery, &reader.spool_id(), watermark, most);
        // The first producer is made by the thread that runs, whose priority its threads inherit.
        let begin = Phase::Waiting(Instant::now());
        Self {
            exactly,
            window: Window::new(watermark, config.max_in_flight, max_bytes),
            pace,
            courtesy,
            letters: Letters::new(letters, &reader),
            config,
            part,
            reader,
            monitor,
            counts,
            phase: if configured { begin } else { Phase::Unconfigured },
            producer: None,
            retired: None,
            block: None,
            cursor: watermark,
            rest: None,
            proven: false,
            one_by_one_until: None,
            caught_up: false,
            link: Link::new(Instant::now()),
            setback: None,
            recovery: Recovery::default(),
            standstill: None,
            refused: None,
            routes: Routes::default(),
            pulse: Pulse::default(),
            mail: Mail::default(),
        }
    }

    /// Forwards until `shutdown` resolves, then waits for what is in flight, at most for the
    /// grace period and not at all when Kafka is away.
    ///
    /// Creates the producer (which connects in the background) unless no Kafka is configured; where
    /// that fails for now, the state says why, and it is tried again. Its threads have the priority of
    /// this one.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        self.take_up_held(Instant::now());
        loop {
            match self.next(shutdown.as_mut()).await {
                Event::Stop => break,
                Event::Mail => self.take_mail(),
                Event::Readable => self.send_some().await,
                Event::Time => self.on_time(),
            }
            self.turn_transaction(Instant::now());
            self.show();
        }
        let (held, monitor) = (self.stop_held(), Arc::clone(&self.monitor));
        self.stop().await;
        for (topic, thread) in held {
            hold::close(&monitor, &topic, thread);
        }
    }

    async fn next(&mut self, shutdown: Pin<&mut impl Future<Output = ()>>) -> Event {
        let may_send = self.phase == Phase::Flowing && self.rest.is_none();
        // Until the end was seen once, reading is the only way to know whether it is near.
        let more = self.block.is_some() || !self.caught_up;
        let deadline = self.deadline();
        // A branch that is always ready would keep the runtime's timer from being driven.
        let late = deadline.is_some_and(|at| at <= Instant::now());
        let mailbox = self.producer.as_ref().map(Producer::mailbox);
        tokio::select! {
            biased;
            () = shutdown => Event::Stop,
            () = sleep_until(deadline), if !late => Event::Time,
            () = std::future::ready(()), if late => Event::Time,
            () = std::future::ready(()), if may_send && more => Event::Readable,
            () = self.reader.readable(), if may_send && !more => Event::Readable,
            () = arrived(mailbox) => Event::Mail,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let in_flight = self.awaits_reports();
        let held = match &self.part {
            Part::Whole(held) => held.look_at,
            Part::Topic => None,
        };
        let phase = match self.phase {
            Phase::Settling(until) | Phase::Waiting(until) => Some(until),
            Phase::Unconfigured | Phase::Flowing | Phase::Stopping => None,
        };
        let probe = self.producer.as_ref().and_then(|_| self.link.probe_at(in_flight));
        let read_again = match self.rest {
            Some(Rest::Until(at)) => Some(at),
            Some(Rest::Room | Rest::Empty | Rest::Transaction) | None => None,
        };
        let ends = self.exactly.as_ref().and_then(Exactly::deadline);
        let ends = ends.filter(|_| self.phase == Phase::Flowing && self.setback.is_none());
        let link = self.link.deadline(in_flight);
        [phase, link, probe, read_again, ends, held].into_iter().flatten().min()
    }

    /// Whether records wait for their reports; those being taken back do not count.
    fn awaits_reports(&self) -> bool {
        let busy = self.exactly.as_ref().is_some_and(Exactly::is_busy);
        matches!(self.phase, Phase::Flowing | Phase::Stopping)
            && (self.window.in_flight() > 0 || busy)
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        self.settle_if_done(now);
        self.look_at_held(now);
        self.rest.take_if(|rest| matches!(rest, Rest::Until(at) if now >= *at));
        if let Phase::Waiting(until) = self.phase
            && now >= until
        {
            self.reconnect(now);
        }
        let in_flight = self.awaits_reports();
        if let Some(producer) = &self.producer
            && self.link.probe_at(in_flight).is_some_and(|at| now >= at)
        {
            producer.probe(self.routes.some_topic());
            self.link.probing();
        }
        self.observe_time(now);
    }
}

async fn arrived(mailbox: Option<&Arc<Mailbox>>) {
    match mailbox {
        Some(mailbox) => mailbox.arrived().await,
        None => std::future::pending().await,
    }
}

/// The state before anything was heard.
fn initial(config: &Config) -> KafkaState {
    if config.brokers().is_some() { KafkaState::Connecting } else { KafkaState::Unconfigured }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
