//! Which topics does Kafka refuse while it takes others, and which way does a record of one go?
//!
//! A topic that is refused for longer than `hold_after` is held: from then on its records are moved,
//! in order and under their own ids, to a spool of its own (`spool/held.rs`), which a forwarder of its
//! own drains. For as long as anything waits there the topic's next records go there too, so that
//! none overtakes another. Once next to nothing waits there, and it goes out, the main forwarder
//! waits a moment for the rest, and sends the topic's records itself again: under a steady flow the
//! spool of its own would else never be empty.
//!
//! What was moved is above the watermark for as long as a record before it is in flight: it stands in
//! both spools, and is counted once ([`Held::ahead`]). After a crash its ids tell that it was moved.
//!
//! It deliberately opens nothing and sends nothing; `drain/hold.rs` does.

use super::monitor::Monitor;
use crate::ledger::Ledger;
use crate::record::{RecordId, Sequence};
use crate::spool::{CloseError, SpoolWriter};
use crate::status::KafkaState;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Topics held at once, at most: each costs some threads, a client's memory and its connections.
/// One more that is refused is a standstill.
pub const MOST: usize = 8;
/// So few records that wait, and go out, are waited for.
const FEW: u64 = 10_000;
/// How long they are waited for: the records of other topics wait meanwhile.
const WAIT: Duration = Duration::from_secs(1);
/// How long after a wait in vain there is none.
const NO_WAIT: Duration = Duration::from_secs(10);

/// Which way a record of a held topic goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the topic's own spool.
    Move,
    /// It waits until the topic's own spool is empty.
    Wait,
    /// To Kafka: nothing waits in the topic's own spool.
    Direct,
}

/// When to wait for the rest, as far as time goes.
#[derive(Debug, Clone, Copy, Default)]
struct Waiting {
    since: Option<Instant>,
    not_before: Option<Instant>,
}

impl Waiting {
    /// `waiting`: records in the topic's own spool, of which the newest was moved there by us;
    /// `flows`: they go out.
    fn way(&mut self, waiting: u64, flows: bool, now: Instant) -> Way {
        if waiting == 0 {
            *self = Self::default();
            return Way::Direct;
        }
        if !flows || waiting > FEW || self.not_before.is_some_and(|at| now < at) {
            self.since = None;
            return Way::Move;
        }
        if now - *self.since.get_or_insert(now) < WAIT {
            return Way::Wait;
        }
        *self = Self { since: None, not_before: Some(now + NO_WAIT) };
        Way::Move
    }
}

/// What a topic's thread leaves: its books at the end.
pub type Drained = JoinHandle<Result<Ledger, CloseError>>;

/// A topic that is held.
#[derive(Debug)]
pub struct Topic {
    pub name: String,
    pub writer: SpoolWriter,
    pub monitor: Arc<Monitor>,
    /// Ends its thread once it is dropped.
    pub stop: tokio::sync::oneshot::Sender<()>,
    pub thread: Drained,
    /// Wakes its appends.
    pub acks: tokio::task::JoinHandle<()>,
    /// Moved before this process started, and perhaps still above the watermark.
    pub known: HashSet<RecordId>,
    /// The record that it is held for was moved.
    pub begun: bool,
    pub way: Way,
    waiting: Waiting,
}

impl Topic {
    pub fn new(
        name: String,
        writer: SpoolWriter,
        monitor: Arc<Monitor>,
        running: (tokio::sync::oneshot::Sender<()>, Drained, tokio::task::JoinHandle<()>),
    ) -> Self {
        let (stop, thread, acks) = running;
        Self {
            name,
            writer,
            monitor,
            stop,
            thread,
            acks,
            known: HashSet::new(),
            begun: false,
            way: Way::Move,
            waiting: Waiting::default(),
        }
    }

    /// Decides anew which way its records go.
    fn look(&mut self, now: Instant) {
        let waiting = self.writer.ledger().spooled;
        let mood = self.monitor.look().mood;
        let flows = mood.reason.is_none()
            && matches!(mood.state, KafkaState::Connected | KafkaState::CatchingUp);
        self.begun |= waiting > 0;
        let way = self.waiting.way(waiting, flows, now);
        self.way = if self.begun { way } else { Way::Move };
    }
}

/// The topics that are held.
#[derive(Debug)]
pub struct Held {
    after: Duration,
    /// Which topic is refused, and since when.
    refused: Option<(String, Instant)>,
    pub topics: Vec<Topic>,
    /// Of topics that are held no more, until their threads have ended.
    pub leaving: Vec<(String, Drained)>,
    /// Topics whose spools an earlier process left, and which could not be opened yet; `None`: nobody
    /// has looked which there are.
    pub left: Option<Vec<String>>,
    /// With transactions, what was moved before there were any.
    pub moved: HashSet<RecordId>,
    /// When to look again, while anything is held.
    pub look_at: Option<Instant>,
    /// By topic, the records moved that the watermark has not passed.
    pub ahead: BTreeMap<String, BTreeSet<Sequence>>,
}

impl Held {
    /// A topic is held once it was refused for so long.
    pub fn new(after: Duration) -> Self {
        let (topics, leaving, ahead) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self {
            after,
            refused: None,
            topics,
            leaving,
            left: None,
            moved: HashSet::new(),
            look_at: None,
            ahead,
        }
    }

    /// The topic is refused (again); whether it has been for long enough.
    pub fn is_refused(&mut self, topic: &str, now: Instant) -> bool {
        let since = match &self.refused {
            Some((refused, since)) if refused == topic => *since,
            _ => self.refused.insert((topic.to_owned(), now)).1,
        };
        now - since >= self.after
    }

    /// The watermark has passed what was refused.
    pub fn goes_on(&mut self) {
        self.refused = None;
    }

    /// Decides anew which way the records of each topic go. Gives those that are held no more.
    pub fn look(&mut self, now: Instant) -> Vec<Topic> {
        for topic in &mut self.topics {
            topic.look(now);
        }
        self.topics.extract_if(.., |topic| topic.way == Way::Direct).collect()
    }

    /// Whether nothing is held, and nothing was left by an earlier process.
    pub fn is_empty(&self) -> bool {
        let left = self.left.as_ref().is_none_or(|left| !left.is_empty());
        self.topics.is_empty() && self.leaving.is_empty() && !left
    }

    pub fn topic(&mut self, name: &str) -> Option<&mut Topic> {
        self.topics.iter_mut().find(|topic| topic.name == name)
    }

    /// A record of the topic stands in its own spool and, for now, above the watermark.
    pub fn is_ahead(&mut self, topic: &str, sequence: Sequence) {
        match self.ahead.get_mut(topic) {
            Some(ahead) => ahead.insert(sequence),
            None => self.ahead.entry(topic.to_owned()).or_default().insert(sequence),
        };
    }

    /// What the watermark has passed stands in one spool only. Gives how many records of each topic
    /// that are, where there are any.
    pub fn pass(&mut self, watermark: Sequence) -> impl Iterator<Item = (&str, u64)> {
        let passed =
            move |ahead: &BTreeSet<Sequence>| ahead.first().is_some_and(|at| *at < watermark);
        self.ahead.iter_mut().filter(move |(_, ahead)| passed(ahead)).map(move |(topic, ahead)| {
            let before = ahead.len();
            *ahead = ahead.split_off(&watermark);
            (topic.as_str(), (before - ahead.len()) as u64)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_never_overtaken_and_its_rest_is_waited_for_a_moment() {
        let (mut waiting, start) = (Waiting::default(), Instant::now());
        let mut way =
            |count, flows, ms| waiting.way(count, flows, start + Duration::from_millis(ms));
        assert_eq!(way(5, false, 0), Way::Move);
        assert_eq!(way(FEW + 1, true, 0), Way::Move);
        assert_eq!(way(FEW, true, 10), Way::Wait);
        assert_eq!(way(1, true, 1_000), Way::Wait);
        assert_eq!(way(0, true, 1_001), Way::Direct);
        // In vain: the others are not held up by it again and again.
        assert_eq!(way(5, true, 2_000), Way::Wait);
        assert_eq!(way(5, true, 3_000), Way::Move);
        assert_eq!(way(5, true, 12_999), Way::Move);
        assert_eq!(way(5, true, 13_000), Way::Wait);
        // Refused again meanwhile.
        assert_eq!(way(5, false, 13_500), Way::Move);
        assert_eq!(way(5, true, 14_400), Way::Wait);
    }

    #[test]
    fn a_topic_is_held_once_it_alone_was_refused_for_long_enough() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut held = Held::new(Duration::from_secs(30));
        assert!(!held.is_refused("a", at(0)) && !held.is_refused("a", at(29)));
        assert!(held.is_refused("a", at(30)));
        assert!(!held.is_refused("b", at(31)), "another one");
        held.goes_on();
        assert!(!held.is_refused("b", at(99)), "it was taken in between");
    }
}
