//! How does every record arrive once?
//!
//! Records are sent in transactions, one after the other, and each transaction also commits, as an
//! offset of a group of this spool's own, the sequence behind its last record: the records and the
//! offset are there together or not at all. Whoever makes a producer asks for that offset first, and
//! what lies below it is done. An offset belongs to one topic of the installation, in which nothing
//! is ever written, and there to partition 0: the group is the spool's own, so that no two spools
//! share an offset in whichever partition, and one that is always the same outlives a change of the
//! topic's partitions.
//!
//! A sequence alone names no record: a restored backup or a cloned image gives it anew, under another
//! epoch. So the offset's metadata say from where on which epoch was sent ([`Sent`]), and only what is
//! of that epoch here, too, is done.
//!
//! The broker forgets an offset that rests for long (`offsets.retention.minutes`). So the spool's own
//! progress says *pending* before each commit, durably, and done after it; [`Found::decide`] sorts out
//! the rest.
//!
//! A transaction ends when it is full or has been open for [`AGE`]. Nothing is sent while its last
//! records are under way and it is being committed. How many records make it full follows from how
//! long the last one took ([`Size`]): the coordinator gives up one that takes longer than
//! `transaction.timeout.ms`, and everybody who reads committed records waits for it so long.
//!
//! It deliberately has no clock, no librdkafka and no disk.

mod sent;

pub use sent::Offset;
use sent::Sent;

use super::setback::Setback;
use super::settings;
use super::verdict::Verdict;
use crate::record::{Epoch, Sequence};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How long a transaction stays open for more records, when few come: what each one costs a broker
/// and a link is as much as some ten records.
const AGE: Duration = Duration::from_millis(500);
/// How long a transaction should take at most, and at least where there is more to send.
const LONG: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_secs(1);
/// Records of the first transaction.
const FIRST: usize = 2_000;
/// Another producer of the same id ends this one at once; so does a coordinator that lost a
/// transaction in a crash, but never that often.
const FENCES: usize = 3;
const FENCED_WITHIN: Duration = Duration::from_mins(3);
/// How records are delivered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Delivery {
    /// A crash may repeat the last ones.
    #[default]
    AtLeastOnce,
    ExactlyOnce {
        /// The topic to which the offsets belong.
        progress_topic: String,
        in_doubt: InDoubt,
    },
}

/// What becomes of a transaction of which nobody knows whether it was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InDoubt {
    /// Nothing is sent until somebody decides.
    Pause,
    /// Its records are sent again.
    Repeat,
}

/// What is known when a producer begins.
#[derive(Debug)]
pub struct Found {
    pub offset: Option<Offset>,
    /// Everything below is done by the spool's own word, or by that of the offset.
    pub done: Sequence,
    /// What the spool calls pending: first, end.
    pub pending: Option<(Sequence, Sequence)>,
}

/// How a producer begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// Send from what is done on.
    Send,
    /// The same, though these records may be there already: first, end.
    Repeat(Sequence, Sequence),
    /// Nobody knows whether these are there: first, end.
    Pause(Sequence, Sequence),
}

impl Found {
    /// How to begin.
    pub fn decide(&self, in_doubt: InDoubt) -> Begin {
        let Some((first, end)) = self.pending.filter(|(_, end)| self.done < *end) else {
            return Begin::Send;
        };
        // The offset of the transaction before, or one of its own lineage: this one was not committed.
        // One that lies beyond is another spool's history, and says nothing of this one's.
        if self.offset.as_ref().is_some_and(|offset| offset.next <= first.max(self.done)) {
            return Begin::Send;
        }
        match in_doubt {
            InDoubt::Repeat => Begin::Repeat(first, end),
            InDoubt::Pause => Begin::Pause(first, end),
        }
    }
}

/// How many records make a transaction full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    records: usize,
    most: usize,
}

impl Size {
    fn new(most: usize) -> Self {
        Self { records: FIRST.min(most).max(1), most: most.max(1) }
    }

    /// A transaction of so many records took so long to be sent.
    fn took(&mut self, records: usize, time: Duration) {
        if time > LONG {
            self.records = (records / 2).clamp(1, self.most);
        } else if time < SHORT && records >= self.records {
            self.records = self.records.saturating_mul(2).min(self.most);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// There is no producer, or nobody knows how to begin.
    Absent,
    /// The offset is asked for.
    Opening,
    /// Records can be sent.
    Ready,
    /// It takes no more; its last records are under way.
    Closing,
    Committing,
}

/// A transaction with records in it.
#[derive(Debug)]
struct Open {
    sent: Sent,
    end: Sequence,
    records: usize,
    since: Instant,
}

/// What a commit says beside the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub next: Sequence,
    pub metadata: String,
}

/// One transaction after the other.
#[derive(Debug)]
pub struct Exactly {
    id: String,
    progress_topic: String,
    in_doubt: InDoubt,
    step: Step,
    /// Everything below is done for good.
    committed: Sequence,
    /// By the transactions so far.
    sent: Sent,
    open: Option<Open>,
    size: Size,
    /// A record that is to be the first of its transaction.
    alone: Option<Sequence>,
    fences: VecDeque<Instant>,
}

impl Exactly {
    /// Of the spool with this id, in which everything below `committed` is done.
    pub fn new(
        delivery: &Delivery,
        spool_id: &str,
        committed: Sequence,
        most: usize,
    ) -> Option<Self> {
        let Delivery::ExactlyOnce { progress_topic, in_doubt } = delivery else { return None };
        Some(Self {
            id: settings::transactional_id(spool_id),
            progress_topic: progress_topic.clone(),
            in_doubt: *in_doubt,
            step: Step::Absent,
            committed,
            sent: Sent::default(),
            open: None,
            size: Size::new(most),
            alone: None,
            fences: VecDeque::new(),
        })
    }

    pub fn progress_topic(&self) -> &str {
        &self.progress_topic
    }

    /// The properties of a producer, made those of one with transactions.
    pub fn adapt(&self, properties: &mut BTreeMap<String, String>) {
        settings::with_transactions(properties, &self.id);
    }

    /// A producer asks for its offset.
    pub fn opening(&mut self) {
        self.step = Step::Opening;
    }

    /// How to begin, by what was found; everything below its `done` is done for good.
    pub fn opened(&mut self, found: &Found) -> Begin {
        let begin = found.decide(self.in_doubt);
        self.committed = self.committed.max(found.done);
        let known = found.offset.as_ref().filter(|offset| offset.next >= self.committed);
        self.sent = known.map(|offset| offset.sent.clone()).unwrap_or_default();
        self.sent.truncate(self.committed);
        let paused = matches!(begin, Begin::Pause(..));
        self.step = if paused { Step::Absent } else { Step::Ready };
        begin
    }

    /// What is to be committed before anything is sent: where the broker's offset says anything but
    /// what is done, it would not tell a commit from none. Or because one is to `prove` that it can.
    pub fn first_mark(&mut self, found: &Found, prove: bool) -> Option<Mark> {
        if !prove && found.offset.as_ref().is_some_and(|offset| offset.next == self.committed) {
            return None;
        }
        self.step = Step::Committing;
        Some(Mark { next: self.committed, metadata: self.sent.metadata() })
    }

    /// Whether this record may not be sent for now.
    pub fn is_full(&self, next: Sequence, now: Instant) -> bool {
        let full = |_: &Open| self.alone == Some(next);
        self.is_due(now) || self.open.as_ref().is_some_and(full)
    }

    fn is_due(&self, now: Instant) -> bool {
        let due = |open: &Open| open.records >= self.size.records || now >= open.since + AGE;
        self.step != Step::Ready || self.open.as_ref().is_some_and(due)
    }

    /// Where this setback is one record's own, that can never be taken or not as it is dated, and others
    /// of its transaction were taken: those are to be committed without it, since nobody can judge it
    /// before, nor could remember that of more than one.
    pub fn cut(&mut self, setback: &Setback) -> Option<Sequence> {
        let Setback { at: Some(at), failure, alone: true, .. } = setback else { return None };
        let dead = failure.verdict() == Verdict::DeadLetter;
        let again = dead && *at > self.committed && self.alone != Some(*at);
        self.alone = again.then_some(*at).or(self.alone);
        again.then_some(*at)
    }

    /// A record was sent.
    pub fn sent(&mut self, sequence: Sequence, epoch: Epoch, now: Instant) {
        let begin = || Open { sent: self.sent.clone(), end: sequence, records: 0, since: now };
        let open = self.open.get_or_insert_with(begin);
        open.sent.extend(sequence, epoch);
        open.end = sequence.plus(1);
        open.records += 1;
    }

    /// Whether there are records that are sent and not committed.
    pub fn has_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether the transaction is to be ended now, in the end or `at_once`: then what it says, once.
    pub fn close(&mut self, now: Instant, at_once: bool) -> Option<Mark> {
        if self.step != Step::Ready || !(at_once || self.is_due(now)) {
            return None;
        }
        let open = self.open.as_ref()?;
        self.step = Step::Closing;
        Some(Mark { next: open.end, metadata: open.sent.metadata() })
    }

    /// Every record is delivered: if the transaction takes no more it is to be committed, up to here.
    pub fn commit(&mut self, now: Instant) -> Option<Sequence> {
        let open = self.open.as_ref().filter(|_| self.step == Step::Closing)?;
        self.step = Step::Committing;
        self.size.took(open.records, now - open.since);
        Some(open.end)
    }

    /// It is committed.
    pub fn committed(&mut self) {
        if let Some(open) = self.open.take() {
            self.committed = self.committed.max(open.end);
            self.sent = open.sent;
        }
        self.step = Step::Ready;
    }

    /// The producer is gone, and what was not committed with it. Everything below is done. A
    /// transaction that has taken too long was perhaps too large.
    pub fn lost(&mut self, now: Instant) -> Sequence {
        self.step = Step::Absent;
        if let Some(open) = self.open.take_if(|open| now >= open.since + LONG) {
            self.size.took(open.records, now - open.since);
        }
        self.open = None;
        self.committed
    }

    /// Everything below `watermark` is delivered, or does not exist any more: how much of it is done
    /// for good.
    pub fn done(&mut self, watermark: Sequence) -> Sequence {
        if self.open.is_none() {
            self.committed = self.committed.max(watermark);
        }
        self.committed
    }

    /// Whether an answer of Kafka's is waited for.
    pub fn is_busy(&self) -> bool {
        matches!(self.step, Step::Opening | Step::Committing)
    }

    /// When the transaction is to be ended.
    pub fn deadline(&self) -> Option<Instant> {
        let open = self.open.as_ref().filter(|_| self.step == Step::Ready)?;
        Some(open.since + AGE)
    }

    /// The producer was fenced; whether another one must be at work.
    pub fn fenced(&mut self, now: Instant) -> bool {
        self.fences.push_back(now);
        self.fences.retain(|at| *at + FENCED_WITHIN > now);
        self.fences.len() >= FENCES
    }
}

#[cfg(test)]
mod tests;
