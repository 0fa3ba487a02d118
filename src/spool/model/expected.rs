//! The model: a list of what was acknowledged, and what became of each record.
//!
//! It knows nothing of blocks, files and threads; of segments only which ones were damaged.

use crate::ledger::Ledger;
use crate::record::RecordId;
use std::collections::HashMap;

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Spooled,
    Delivered,
    Dropped,
    Exported,
    Lost,
}

/// A record that was acknowledged, or found at a start.
#[derive(Debug)]
pub struct Kept {
    pub id: RecordId,
    pub value: Vec<u8>,
    pub state: State,
}

/// The sequences of a block that is damaged on the disk, and where its segment begins.
#[derive(Debug, Clone, Copy)]
pub struct Damage {
    pub first: u64,
    pub end: u64,
    pub segment: u64,
}

/// See the module. Sequences are places in `records`.
#[derive(Debug, Default)]
pub struct Model {
    pub records: Vec<Kept>,
    /// Neither acknowledged nor taken back: a start may find them, in this order.
    pub limbo: Vec<Vec<u8>>,
    /// Everything below is done.
    pub watermark: u64,
    /// What the watermark on the disk is at least.
    pub durable: u64,
    /// What the acknowledged-through mark on the disk is at least.
    pub mark: u64,
    /// Everything below was handed out since the start.
    pub handed: u64,
    pub held: Option<(u64, u64)>,
    pub damaged: Vec<Damage>,
    /// Every id that was ever seen, and the value that it named.
    ids: HashMap<RecordId, Vec<u8>>,
}

impl Model {
    pub fn len(&self) -> u64 {
        self.records.len() as u64
    }

    pub fn at(&mut self, sequence: u64) -> &mut Kept {
        let index = usize::try_from(sequence).unwrap();
        &mut self.records[index]
    }

    fn is(&self, sequence: u64, state: State) -> bool {
        self.records[usize::try_from(sequence).unwrap()].state == state
    }

    /// A record was acknowledged: what was in limbo before it will not be found any more.
    pub fn keep(&mut self, id: RecordId, value: Vec<u8>) {
        self.limbo.clear();
        self.records.push(Kept { id, value, state: State::Spooled });
    }

    /// Whether `id` has never named another value.
    pub fn is_name_of(&mut self, id: RecordId, value: &[u8]) -> bool {
        self.ids.entry(id).or_insert_with(|| value.to_vec()) == value
    }

    /// Changes what waits of `first` to `end` (exclusive); gives how many it were.
    pub fn change(&mut self, first: u64, end: u64, state: State) -> u64 {
        let mut changed = 0;
        for sequence in first..end.min(self.len()) {
            if self.is(sequence, State::Spooled) {
                self.at(sequence).state = state;
                changed += 1;
            }
        }
        changed
    }

    /// `from`, moved past what was removed there.
    pub fn past_removed(&self, from: u64) -> u64 {
        let waits = |at: &u64| self.is(*at, State::Spooled) || self.is(*at, State::Delivered);
        (from..self.len()).find(waits).unwrap_or(from.max(self.len()))
    }

    /// Kafka has everything below `to`.
    pub fn deliver(&mut self, to: u64) {
        let past = self.past_removed(to.max(self.watermark));
        self.change(self.watermark, past, State::Delivered);
        self.watermark = past;
    }

    /// The process begins anew, at this watermark: what was delivered above it is not known to be.
    pub fn start(&mut self, watermark: u64) {
        (self.watermark, self.durable, self.handed, self.held) =
            (watermark, watermark, watermark, None);
        for sequence in watermark..self.len() {
            if self.is(sequence, State::Delivered) {
                self.at(sequence).state = State::Spooled;
            }
        }
    }

    /// No more than `delivered` are: of `first` to `end` (exclusive) the last ones are not.
    pub fn undeliver(&mut self, first: u64, end: u64, delivered: u64) {
        for sequence in (first..end.min(self.len())).rev() {
            if self.is(sequence, State::Delivered) && self.ledger().delivered > delivered {
                self.at(sequence).state = State::Spooled;
            }
        }
    }

    /// Records from `end` on were never known for sure: their sequences are assigned anew.
    pub fn forget(&mut self, end: u64) {
        self.records.truncate(usize::try_from(end).unwrap());
        self.limbo.clear();
    }

    /// The next sequence at or above `from` that the reader hands out. Damage on the way is found.
    pub fn next(&mut self, from: u64) -> Option<u64> {
        let mut at = from;
        loop {
            at = self.past_removed(at);
            if at >= self.len() || self.held.is_some_and(|(first, end)| (first..end).contains(&at))
            {
                return None;
            }
            let Some(Damage { segment, .. }) = self.damage_of(at) else { return Some(at) };
            // It is found up to the next intact block of the segment.
            while let Some(damage) = self.damage_of(at).filter(|found| found.segment == segment) {
                self.change(at, damage.end, State::Lost);
                at = damage.end;
            }
        }
    }

    fn damage_of(&self, sequence: u64) -> Option<Damage> {
        let holds = |damage: &&Damage| (damage.first..damage.end).contains(&sequence);
        self.damaged.iter().find(holds).copied()
    }

    pub fn is_damaged(&self, sequence: u64) -> bool {
        self.damage_of(sequence).is_some()
    }

    /// Whether something that waits is damaged, and not yet known to be.
    pub fn has_hidden_damage(&self) -> bool {
        let waits = |damage: &Damage| {
            (damage.first.max(self.watermark)..damage.end).any(|at| self.is(at, State::Spooled))
        };
        self.damaged.iter().any(waits)
    }

    /// What a hold of `first` to `end` (exclusive) takes.
    pub fn hold(&self, first: u64, end: u64) -> Option<(u64, u64)> {
        let (first, end) = (first.max(self.handed), end.min(self.len()));
        (self.held.is_none() && first < end).then_some((first, end))
    }

    /// Whether a segment may be dropped.
    pub fn is_free(&self, first: u64, end: u64) -> bool {
        first >= self.handed && self.held.is_none_or(|(from, until)| until <= first || end <= from)
    }

    /// Whether anything in the segment still waits.
    pub fn waits(&self, first: u64, end: u64) -> bool {
        (first.max(self.watermark)..end.min(self.len())).any(|at| self.is(at, State::Spooled))
    }

    pub fn ledger(&self) -> Ledger {
        let count = |state| self.records.iter().filter(|kept| kept.state == state).count() as u64;
        Ledger {
            accepted: self.len(),
            delivered: count(State::Delivered),
            spooled: count(State::Spooled),
            dead: 0,
            dropped: count(State::Dropped),
            exported: count(State::Exported),
            lost: count(State::Lost),
        }
    }
}
