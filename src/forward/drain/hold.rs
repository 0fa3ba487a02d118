//! What becomes of the records of a topic that Kafka refuses, while it takes the others?
//!
//! They are moved to a spool of the topic's own, which a forwarder like this one drains, on a thread
//! of its own. The watermark passes a record once it is durable there; a crash between the two
//! leaves it in both: its id says so, or it is repeated like other records after a crash. Where it cannot be moved it is a standstill, as before:
//! nothing is dropped, and nothing overtakes it.
//!
//! It deliberately does not know when a topic is held, nor which way a record goes: `held.rs` does.

use super::moved::{append, moved_before};
use super::{Forwarder, Part, Rest};
use crate::dead;
use crate::forward::RETRY;
use crate::forward::held::{Drained, MOST, Topic, Way};
use crate::forward::monitor::Monitor;
use crate::forward::setback::Setback;
use crate::forward::verdict::Verdict;
use crate::record::{Record, Sequence};
use crate::spool::{Block, OpenReport, Spool};
use std::collections::BTreeMap;
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
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Records on their way to their topics' own spools, in order.
pub(super) type Moving = BTreeMap<String, Vec<Sequence>>;

/// What became of a record that is about to be sent.
pub(super) enum Turn {
    /// It is to be sent.
    Send,
    /// It is to be moved, at the end of the pass.
    Move,
    /// It was moved before.
    Moved,
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
                let why = format!("what is held of it cannot be sent yet: {error}");
                if self.monitor.held_unopened(&topic, &why) {
                    tracing::warn!("topic {topic:?}: {why}; it is tried again");
                }
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
        // With transactions a record that was moved, sent from there, and forgotten there could be
        // repeated after a crash.
        if self.exactly.is_some() {
            return Ok(false);
        }
        let its_own = matches!(setback.failure.verdict(), Verdict::Hold | Verdict::DeadLetter);
        let Some(topic) = setback.topic.clone().filter(|_| its_own) else { return Ok(false) };
        if held.topic(&topic).is_some() || !held.is_refused(&topic, now) {
            return Ok(false);
        }
        self.open_held(&topic, false).map_err(|error| {
            format!("its records cannot be moved out of the way of others: {error}")
        })?;
        if let Part::Whole(held) = &mut self.part {
            held.goes_on();
        }
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
        if held.leaving.iter().any(|(leaving, _)| leaving == topic) {
            return Err(HoldError::Leaving);
        }
        let places = MOST - held.topics.len().min(MOST);
        let Spool { writer, mut reader, acks, report } = self.reader.open_held(topic)?;
        tell_of_the_start(topic, &report);
        dead::recover(reader.dir(), &writer);
        if left && report.ledger.spooled == 0 {
            self.monitor.held_no_more(topic, Some(report.ledger));
            return Ok(());
        }
        if places == 0 {
            return Err(HoldError::TooMany);
        }
        let known = moved_before(&mut reader, &report, self.window.watermark());
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
        let Part::Whole(held) = &mut self.part else { return Ok(()) };
        let watermark = self.window.watermark();
        for id in known.iter().filter(|id| id.sequence >= watermark) {
            held.is_ahead(&topic.name, id.sequence);
        }
        if self.exactly.is_some() {
            // What is rolled back is met again, also when the topic is held no more.
            held.moved.extend(known);
        } else {
            topic.known = known;
        }
        topic.begun = left;
        let ahead = held.ahead.get(&topic.name).map_or(0, |ahead| ahead.len() as u64);
        let passed = report.ledger.accepted.saturating_sub(ahead);
        let (writer, monitor) = (topic.writer.clone(), topic.monitor.clone());
        self.monitor.held(&topic.name, writer, monitor, passed);
        held.topics.push(topic);
        Ok(())
    }

    /// Which way does this record go?
    pub(super) fn turn(&mut self, record: &Record<'_>) -> Turn {
        let Part::Whole(held) = &mut self.part else { return Turn::Send };
        let name = &record.route.topic;
        if held.left.as_ref().is_none_or(|left| left.contains(name)) {
            return Turn::Failed("what is held of it already cannot be opened".to_owned());
        }
        if held.moved.contains(&record.id) {
            return Turn::Moved;
        }
        let Some(topic) = held.topic(name) else { return Turn::Send };
        if topic.known.remove(&record.id) {
            held.is_ahead(name, record.sequence);
            return Turn::Moved;
        }
        match topic.way {
            Way::Wait => Turn::Rest(Rest::Until(Instant::now() + LOOK)),
            Way::Direct => Turn::Send,
            // Left from before there were transactions: see `hold`.
            Way::Move if self.exactly.is_some() => match topic.monitor.look().mood.reason {
                Some(reason) => Turn::Failed(reason),
                None => Turn::Rest(Rest::Until(Instant::now() + LOOK)),
            },
            Way::Move => Turn::Move,
        }
    }

    /// Whether the record's turn will find that it was moved.
    pub(super) fn is_moved(&self, record: &Record<'_>) -> bool {
        let Part::Whole(held) = &self.part else { return false };
        let mut topics = held.topics.iter().filter(|topic| topic.name == record.route.topic);
        held.moved.contains(&record.id) || topics.any(|topic| topic.known.contains(&record.id))
    }

    /// Moves records of this block and waits until they are durable: the watermark may pass them.
    /// The first that is not, and why.
    pub(super) async fn move_all(
        &mut self,
        block: &Block,
        moving: Moving,
    ) -> Result<(), (Sequence, String)> {
        let mut outcome = Ok(());
        for (name, sequences) in moving {
            let (moved, failed) = self.move_some(block, &name, &sequences).await;
            for sequence in &sequences[moved..] {
                self.window.failed(*sequence);
            }
            if let (Some(at), Some(why)) = (sequences.get(moved), failed) {
                outcome = outcome.and(Err((*at, why_not_moved(&name, &why))));
            }
        }
        self.pass_watermark();
        outcome
    }

    /// A part at a time, each of which is moved as a whole or not at all: of what follows one that
    /// failed nothing may be there before it. Gives how many were moved, and why no more.
    async fn move_some(
        &mut self,
        block: &Block,
        name: &str,
        sequences: &[Sequence],
    ) -> (usize, Option<String>) {
        let mut moved = 0;
        while moved < sequences.len() {
            let Part::Whole(held) = &mut self.part else { break };
            let Some(topic) = held.topic(name) else { break };
            let (count, last, refused) = append(&topic.writer, block, &sequences[moved..]);
            let Some(last) = last else { return (moved, refused.map(|error| error.to_string())) };
            if let Err(error) = last.await {
                return (moved, Some(error.to_string()));
            }
            topic.begun = true;
            for sequence in &sequences[moved..moved + count] {
                held.is_ahead(name, *sequence);
                self.window.delivered(*sequence);
                self.letters.moved(*sequence);
            }
            moved += count;
        }
        (moved, None)
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
        if let Some(dead) = held.topics.iter().find(|topic| topic.thread.is_finished()) {
            self.monitor
                .fail(format!("the forwarder of topic {:?} has ended unexpectedly", dead.name));
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

    /// The watermark to the spool; what it has passed is no longer in two of them. One step for who
    /// looks at the books.
    pub(super) fn pass_to(&mut self, watermark: Sequence) {
        let Part::Whole(held) = &mut self.part else {
            return self.reader.advance_watermark(watermark);
        };
        self.monitor.passed(|passed| {
            self.reader.advance_watermark(watermark);
            held.pass(watermark).for_each(|(topic, more)| passed(topic, more));
        });
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

/// What the start of a topic's spool has found, where that is not as it should be.
fn tell_of_the_start(topic: &str, report: &OpenReport) {
    for path in &report.set_aside {
        let path = path.display();
        tracing::error!("a newer version's records held for topic {topic:?} are kept in {path}");
    }
    for (first, end) in &report.lost {
        tracing::error!(
            "sequences {first} to {} of what is held for topic {topic:?} are lost: damaged on the disk",
            end.0 - 1
        );
    }
}

/// Waits for the thread of a topic that is held no more.
pub(super) fn close(monitor: &Monitor, topic: &str, thread: Drained) {
    match thread.join() {
        Ok(Ok(ledger)) => return monitor.held_no_more(topic, Some(ledger)),
        Ok(Err(error)) => tracing::error!("the spool held for topic {topic:?}: {error}"),
        Err(_) => tracing::error!("the forwarder of topic {topic:?} failed"),
    }
    monitor.held_no_more(topic, None);
}

/// One clause for the status.
pub(super) fn why_not_moved(topic: &str, error: &str) -> String {
    format!(
        "the records of topic {topic:?}, which is held, cannot be moved out of the way of others: \
         {error}; all records are kept and it is tried again every {} s",
        RETRY.as_secs()
    )
}
