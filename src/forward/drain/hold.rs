//! What becomes of the records of a topic that Kafka refuses, while it takes the others?
//!
//! They are moved to a spool of the topic's own, which a forwarder like this one drains, on a thread
//! of its own. The watermark passes a record once it is durable there; a crash between the two
//! leaves it in both, and its id says so. Where it cannot be moved it is a standstill, as before:
//! nothing is dropped, and nothing overtakes it.
//!
//! It deliberately does not know when a topic is held, nor which way a record goes: `held.rs` does.

use super::{Forwarder, Part, Rest};
use crate::dead;
use crate::forward::RETRY;
use crate::forward::held::{Drained, MOST, Topic, Way};
use crate::forward::monitor::Monitor;
use crate::forward::setback::Setback;
use crate::forward::verdict::Verdict;
use crate::record::{NewRecord, Record, Sequence};
use crate::spool::{Append, AppendError, Block, ReadError, Spool};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How often it is looked at what is held while nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a record waits between two looks whether what is before it has gone out.
const LOOK: Duration = Duration::from_millis(10);

/// Why a topic's spool could not be taken into use.
#[derive(Debug, thiserror::Error)]
enum HoldError {
    #[error("{MOST} topics are held already")]
    TooMany,
    #[error("the last of what was held of it is just being closed")]
    Leaving,
    #[error(transparent)]
    Open(#[from] crate::spool::OpenError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// A record on its way to its topic's own spool.
pub(super) struct Moving {
    sequence: Sequence,
    topic: String,
    append: Append,
}

/// What became of a record that is about to be sent.
pub(super) enum Turn {
    /// It is to be sent.
    Send,
    /// It is moved: durable once its promise is kept.
    Moved,
    /// It was moved before.
    Known,
    /// Sending rests before it.
    Rest(Rest),
    /// It cannot be moved.
    Failed(String),
}

impl Forwarder {
    /// Takes the spools of topics into use that an earlier process left: their records go out before
    /// those that follow. What fails is tried again.
    pub(super) fn take_up_held(&mut self, now: Instant) {
        let Part::Whole(held) = &mut self.part else { return };
        held.look_at = Some(now + RETRY);
        let left = match held.left.take().map_or_else(|| self.reader.held_topics(), Ok) {
            Ok(left) => left,
            Err(error) => {
                tracing::warn!("the spool's held/ cannot be read: {error}");
                return;
            }
        };
        let mut unopened = Vec::new();
        for topic in left {
            if let Err(error) = self.open_held(&topic, true) {
                tracing::warn!("what is held for topic {topic:?} cannot be sent yet: {error}");
                unopened.push(topic);
            }
        }
        if let Part::Whole(held) = &mut self.part {
            held.left = Some(unopened);
        }
    }

    /// Sending stands still at a record that its topic does not take. Whether the topic is held from
    /// now on, so that it does no more; otherwise why not, if it should be.
    pub(super) fn hold(&mut self, setback: &Setback, now: Instant) -> Result<bool, String> {
        let Part::Whole(held) = &mut self.part else { return Ok(false) };
        let its_own = matches!(setback.failure.verdict(), Verdict::Hold | Verdict::DeadLetter);
        let Some(topic) = setback.topic.clone().filter(|_| its_own) else { return Ok(false) };
        if held.topic(&topic).is_some() || !held.is_refused(&topic, now) {
            return Ok(false);
        }
        self.open_held(&topic, false).map_err(|error| {
            format!("its records cannot be moved out of the way of others: {error}")
        })?;
        tracing::warn!(
            "topic {topic:?} takes nothing ({}): its records are moved out of the way of others, and \
             go out in order once it takes them",
            setback.failure
        );
        Ok(true)
    }

    /// Opens a topic's own spool and begins to drain it; one that is `left` only if something waits
    /// in it.
    fn open_held(&mut self, topic: &str, left: bool) -> Result<(), HoldError> {
        let Part::Whole(held) = &mut self.part else { return Ok(()) };
        if held.topics.len() >= MOST {
            return Err(HoldError::TooMany);
        }
        if held.leaving.iter().any(|(leaving, _)| leaving == topic) {
            return Err(HoldError::Leaving);
        }
        let Spool { writer, mut reader, acks, report } = self.reader.open_held(topic)?;
        dead::recover(reader.dir(), &writer);
        if left && report.ledger.spooled == 0 {
            self.monitor.held_no_more(topic, report.ledger);
            return Ok(());
        }
        // Moved before a crash, and perhaps not passed by the watermark.
        let moved = |block: &Block| block.records().map(|record| record.id).collect::<Vec<_>>();
        let (mut known, from) = (Vec::new(), reader.watermark());
        reader.rewind(Sequence(
            writer.ledger().accepted.saturating_sub(self.config.max_in_flight as u64),
        ));
        while let Some(block) = reader.next_block()? {
            known.extend(moved(&block));
        }
        reader.rewind(from);
        let drain = self.for_topic(reader);
        let (monitor, thread) = (drain.monitor.clone(), std::thread::Builder::new());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let closing = writer.clone();
        let thread = thread.name("held".to_owned()).spawn(move || {
            // That its sender is gone is a stop as well.
            let stopped = async { stopped.await.unwrap_or(()) };
            runtime.block_on(drain.run(stopped));
            closing.close().map(|()| closing.ledger())
        })?;
        let acks = tokio::spawn(acks.run());
        let mut topic = Topic::new(topic.to_owned(), writer, monitor, (stop, thread, acks));
        let watermark = self.window.watermark();
        let own = known.iter().map(|id| id.sequence).filter(|sequence| *sequence >= watermark);
        let ahead: BTreeSet<_> = own.collect();
        topic.known = known.into_iter().collect();
        topic.begun = left;
        let passed = report.ledger.accepted.saturating_sub(ahead.len() as u64);
        let (writer, monitor) = (topic.writer.clone(), topic.monitor.clone());
        self.monitor.held(&topic.name, writer, monitor, passed);
        if let Part::Whole(held) = &mut self.part {
            held.ahead.insert(topic.name.clone(), ahead);
            held.topics.push(topic);
        }
        Ok(())
    }

    /// Which way does this record go? Moves it where that is to its topic's own spool.
    pub(super) fn turn(&mut self, record: &Record<'_>, moving: &mut Vec<Moving>) -> Turn {
        let Part::Whole(held) = &mut self.part else { return Turn::Send };
        let name = &record.route.topic;
        if held.left.as_ref().is_none_or(|left| left.contains(name)) {
            return Turn::Failed("what is held of it already cannot be opened".to_owned());
        }
        let Some(topic) = held.topic(name) else { return Turn::Send };
        if topic.known.remove(&record.id) {
            held.is_ahead(name, record.sequence);
            return Turn::Known;
        }
        match topic.way {
            Way::Wait => return Turn::Rest(Rest::Until(Instant::now() + LOOK)),
            Way::Direct => return Turn::Send,
            Way::Move => {}
        }
        let headers =
            record.headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec()));
        let append = topic.writer.append(&NewRecord {
            route: record.route,
            key: record.key,
            timestamp: record.timestamp,
            received: record.received,
            headers: &headers.collect::<Vec<_>>(),
            value: record.value,
            origin: Some(record.id),
        });
        match append {
            Ok(append) => {
                let (sequence, topic) = (record.sequence, topic.name.clone());
                moving.push(Moving { sequence, topic, append });
                Turn::Moved
            }
            // There is room for more once these are durable.
            Err(AppendError::Busy) if !moving.is_empty() => Turn::Rest(Rest::Room),
            Err(error) => Turn::Failed(error.to_string()),
        }
    }

    /// Waits until what is being moved is durable: the watermark may pass it. Of what is not, why.
    pub(super) async fn moved(&mut self, moving: Vec<Moving>) -> Result<(), (Sequence, String)> {
        let mut outcome = Ok(());
        for Moving { sequence, topic: name, append } in moving {
            match append.await {
                Ok(_) => {
                    self.window.delivered(sequence);
                    if let Part::Whole(held) = &mut self.part
                        && let Some(topic) = held.topic(&name)
                    {
                        topic.begun = true;
                        held.is_ahead(&name, sequence);
                    }
                }
                Err(error) => {
                    self.window.failed(sequence);
                    if outcome.is_ok() {
                        outcome = Err((sequence, why_not_moved(&name, &error.to_string())));
                    }
                }
            }
        }
        self.pass_watermark();
        outcome
    }

    /// A record could not be moved: sending goes no further, and what was sent before it is not to
    /// suffer for that.
    pub(super) fn not_moved(&mut self, at: Sequence, reason: String) {
        self.cursor = at;
        self.rest = Some(if self.window.in_flight() > 0 {
            Rest::Empty
        } else {
            self.stand_still(Some(at), reason, None);
            Rest::Until(Instant::now() + RETRY)
        });
    }

    /// Looks at what is held: which way it goes, and what is held no more.
    pub(super) fn look_at_held(&mut self, now: Instant) {
        let Part::Whole(held) = &mut self.part else { return };
        if held.is_empty() {
            held.look_at = None;
            return;
        }
        for topic in held.look(now) {
            tracing::info!("all that was held for topic {:?} is delivered", topic.name);
            drop(topic.stop);
            drop(topic.writer);
            topic.acks.abort();
            held.leaving.push((topic.name, topic.thread));
        }
        let gone: Vec<_> =
            held.leaving.extract_if(.., |(_, thread)| thread.is_finished()).collect();
        let left = held.left.as_ref().is_none_or(|left| !left.is_empty());
        let late = held.look_at.is_none_or(|at| now >= at);
        if late {
            held.look_at = Some(now + LOOK_EVERY);
        }
        for (topic, thread) in gone {
            close(&self.monitor, &topic, thread);
        }
        if left && late {
            self.take_up_held(now);
        }
    }

    /// What the watermark has passed is no longer in two spools.
    pub(super) fn pass_held(&mut self, watermark: Sequence) {
        let Part::Whole(held) = &mut self.part else { return };
        for (topic, passed) in held.pass(watermark) {
            self.monitor.held_passed(topic, passed);
        }
    }

    /// Ends the forwarders of all topics, as this one ends.
    pub(super) fn stop_held(&mut self) -> Vec<(String, Drained)> {
        let Part::Whole(held) = &mut self.part else { return Vec::new() };
        for topic in held.topics.drain(..) {
            drop(topic.stop);
            held.leaving.push((topic.name, topic.thread));
        }
        std::mem::take(&mut held.leaving)
    }
}

/// Waits for the thread of a topic that is held no more.
pub(super) fn close(monitor: &Monitor, topic: &str, thread: Drained) {
    match thread.join() {
        Ok(Ok(ledger)) => monitor.held_no_more(topic, ledger),
        Ok(Err(error)) => tracing::error!("the spool held for topic {topic:?}: {error}"),
        Err(_) => tracing::error!("the forwarder of topic {topic:?} failed"),
    }
}

/// One clause for the status.
pub(super) fn why_not_moved(topic: &str, error: &str) -> String {
    format!(
        "the records of topic {topic:?}, which is refused, cannot be moved out of the way of others: \
         {error}; all records are kept and it is tried again every {} s",
        RETRY.as_secs()
    )
}
