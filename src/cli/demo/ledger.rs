//! The independent books: is everything that was acknowledged in Kafka, once and in order?
//!
//! Two sides write here: the vehicles, what they sent and saw answered with 200; the
//! consumer, what it read. Neither asks the collector. Pure; memory is bounded by the
//! number of vehicles and of messages sent again, and by [`REMEMBERED`].
//!
//! A record that arrives again is the collector's repeat when it carries the same
//! `waystation-id`, which a consumer can drop; a second id for one message is right only
//! when its vehicle sent it again, having had no answer.

use crate::cli::load::drive::{Posting, Step};
use crate::record::RecordId;
use std::collections::{BTreeSet, HashMap, VecDeque};

/// Of so many records the ids are remembered, the latest, to compare repeats with.
const REMEMBERED: usize = 300_000;
/// So many violations are told in words; the others are counted.
const TOLD: usize = 5;

/// One vehicle's side and the consumer's, as the vehicle's own sequences, from 1.
#[derive(Debug, Default)]
struct Account {
    device_id: String,
    /// The highest that was sent.
    sent: u64,
    /// The highest that was acknowledged; all below were, too, or are in `refused`.
    acknowledged: u64,
    refused: BTreeSet<u64>,
    /// The highest that was read.
    read: u64,
    /// Those below `read` that were not.
    holes: BTreeSet<u64>,
    /// From here on the ids are remembered.
    remembered: u64,
}

impl Account {
    fn has_read(&self, sequence: u64) -> bool {
        sequence <= self.read && !self.holes.contains(&sequence)
    }

    /// Acknowledged up to `until` (inclusive), and not read.
    fn missing(&self, until: u64) -> impl Iterator<Item = u64> {
        let holes = self.holes.range(..=until).copied();
        holes.chain(self.read + 1..=until).filter(|sequence| !self.refused.contains(sequence))
    }
}

/// A message that its vehicle sent again.
#[derive(Debug)]
struct Resent {
    attempts: u32,
    /// Under how many ids it was read.
    ids: u32,
}

/// What the vehicles had seen acknowledged at one moment.
#[derive(Debug, Clone)]
pub struct Mark {
    until: Vec<u64>,
    acknowledged: u64,
}

/// What a verdict says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub acknowledged: u64,
    /// Of those, how many were read, each counted once.
    pub distinct: u64,
    /// Of the first few vehicles with missing messages: `device <id>, message <sequence>`,
    /// and how many more.
    pub missing_names: Vec<String>,
    /// Arrivals beyond the first of each message.
    pub repeated: u64,
    /// Of those, how many because a vehicle had no answer and sent again.
    pub sent_twice: u64,
    /// Broken rules in words, the first few, and how many there are in all.
    pub violations: Vec<String>,
    pub violated: u64,
}

impl Verdict {
    pub fn missing(&self) -> u64 {
        self.acknowledged - self.distinct
    }

    /// Nothing is missing, and no rule was broken.
    pub fn is_good(&self) -> bool {
        self.missing() == 0 && self.violated == 0
    }
}

/// A record that was read.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    pub device_id: &'a str,
    pub sequence: u64,
    pub id: RecordId,
}

#[derive(Debug)]
pub struct Ledger {
    accounts: Vec<Account>,
    by_device: HashMap<String, usize>,
    resent: HashMap<(usize, u64), Resent>,
    ids: HashMap<RecordId, (usize, u64)>,
    /// The keys of `ids`, oldest first.
    ages: VecDeque<RecordId>,
    remember: usize,
    acknowledged: u64,
    read: u64,
    repeated: u64,
    sent_twice: u64,
    violations: Vec<String>,
    violated: u64,
}

impl Ledger {
    pub fn new<'a>(device_ids: impl Iterator<Item = &'a str>) -> Self {
        let accounts: Vec<_> = device_ids
            .map(|id| Account { device_id: id.to_owned(), ..Account::default() })
            .collect();
        let by_device = accounts.iter().enumerate();
        Self {
            by_device: by_device.map(|(place, it)| (it.device_id.clone(), place)).collect(),
            accounts,
            resent: HashMap::new(),
            ids: HashMap::new(),
            ages: VecDeque::new(),
            remember: REMEMBERED,
            acknowledged: 0,
            read: 0,
            repeated: 0,
            sent_twice: 0,
            violations: Vec::new(),
            violated: 0,
        }
    }

    /// Messages answered with 200.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Messages read, each counted once.
    pub fn read(&self) -> u64 {
        self.read
    }

    /// The vehicles' side.
    pub fn saw(&mut self, posting: Posting<'_>, step: Step) {
        let Posting { device_id, sequence } = posting;
        let Some(&place) = self.by_device.get(device_id) else {
            return self.violation(format!("device {device_id}, which is none of ours, posted"));
        };
        let account = &mut self.accounts[place];
        match step {
            Step::Sending { attempt: 1 } => account.sent = sequence,
            Step::Sending { attempt } => {
                let ids = u32::from(account.has_read(sequence));
                let fresh = Resent { attempts: attempt, ids };
                self.resent.entry((place, sequence)).or_insert(fresh).attempts = attempt;
            }
            Step::Acknowledged { .. } => {
                account.acknowledged = sequence;
                self.acknowledged += 1;
            }
            // Sent again until it is taken: a full or starting collector may say so.
            Step::Refused { status: 503 } | Step::Unanswered => {}
            Step::Refused { status } => self.violation(format!(
                "device {device_id}, message {sequence}: refused with {status}, though it is sound"
            )),
            Step::GivenUp => drop(account.refused.insert(sequence)),
        }
    }

    /// The consumer's side.
    pub fn arrived(&mut self, arrival: Arrival<'_>) {
        let Arrival { device_id, sequence, id } = arrival;
        let known = self.by_device.get(device_id).copied();
        let Some(place) =
            known.filter(|&place| (1..=self.accounts[place].sent).contains(&sequence))
        else {
            return self.violation(format!(
                "device {device_id}, message {sequence}: in Kafka, though nobody sent it"
            ));
        };
        let key = (place, sequence);
        let first = !self.accounts[place].has_read(sequence);
        match self.ids.get(&id) {
            Some(&other) if other != key => {
                let other = format!("{}, message {}", self.accounts[other.0].device_id, other.1);
                self.violation(format!(
                    "id {id} names two records: device {other}, and device {device_id}, \
                     message {sequence}"
                ));
            }
            Some(_) => {}
            None => {
                self.new_id(key, first, id);
                self.remember(id, key);
            }
        }
        if first {
            self.first_arrival(place, sequence);
        } else {
            self.repeated += 1;
        }
    }

    /// An id that was not seen before, or too long ago to be remembered.
    fn new_id(&mut self, key: (usize, u64), first: bool, id: RecordId) {
        let resent = self.resent.get_mut(&key);
        let allowed = resent.is_some_and(|resent| {
            resent.ids += 1;
            resent.ids <= resent.attempts
        });
        if first {
            return;
        }
        let account = &self.accounts[key.0];
        if allowed {
            self.sent_twice += 1;
        } else if key.1 >= account.remembered {
            self.violation(format!(
                "device {}, message {}: repeated under another id, {id}",
                account.device_id, key.1
            ));
        }
    }

    fn first_arrival(&mut self, place: usize, sequence: u64) {
        self.read += 1;
        let account = &mut self.accounts[place];
        if sequence > account.read {
            account.holes.extend(account.read + 1..sequence);
            account.read = sequence;
            return;
        }
        account.holes.remove(&sequence);
        let text = format!(
            "device {}, message {sequence}: out of order, after message {}",
            account.device_id, account.read
        );
        self.violation(text);
    }

    fn remember(&mut self, id: RecordId, key: (usize, u64)) {
        self.ids.insert(id, key);
        self.ages.push_back(id);
        if self.ages.len() > self.remember
            && let Some(oldest) = self.ages.pop_front()
            && let Some((place, sequence)) = self.ids.remove(&oldest)
        {
            let account = &mut self.accounts[place];
            account.remembered = account.remembered.max(sequence + 1);
        }
    }

    /// A rule is broken.
    pub fn violation(&mut self, text: String) {
        self.violated += 1;
        if self.violations.len() < TOLD {
            self.violations.push(text);
        }
    }

    /// What is acknowledged by now.
    pub fn mark(&self) -> Mark {
        Mark {
            until: self.accounts.iter().map(|account| account.acknowledged).collect(),
            acknowledged: self.acknowledged,
        }
    }

    fn missing<'a>(&'a self, mark: &'a Mark) -> impl Iterator<Item = (&'a Account, u64)> {
        let accounts = self.accounts.iter().zip(&mark.until);
        accounts.flat_map(|(account, until)| {
            account.missing(*until).map(move |sequence| (account, sequence))
        })
    }

    /// Whether everything that was acknowledged at `mark` was read.
    pub fn has_all(&self, mark: &Mark) -> bool {
        self.missing(mark).next().is_none()
    }

    /// On everything that was acknowledged at `mark`.
    pub fn verdict(&self, mark: &Mark) -> Verdict {
        let missing = self.missing(mark).count() as u64;
        let accounts = self.accounts.iter().zip(&mark.until);
        let names = accounts.filter_map(|(account, until)| {
            let mut missing = account.missing(*until);
            let first = missing.next()?;
            let name = format!("device {}, message {first}", account.device_id);
            Some(match missing.count() {
                0 => name,
                more => format!("{name} and {more} more"),
            })
        });
        Verdict {
            acknowledged: mark.acknowledged,
            distinct: mark.acknowledged.saturating_sub(missing),
            missing_names: names.take(TOLD).collect(),
            repeated: self.repeated,
            sent_twice: self.sent_twice,
            violations: self.violations.clone(),
            violated: self.violated,
        }
    }
}

#[cfg(test)]
mod tests;
