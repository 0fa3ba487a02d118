//! Which records are in flight, and up to where has everything been delivered?
//!
//! Kafka acknowledges in order within a partition and in no order across them. The window
//! holds one small slot for each record handed over since the watermark; as the lowest ones
//! are delivered they leave, and the watermark follows. The invariant: everything below the
//! watermark was delivered or no longer exists in the spool, and the lowest slot is never a
//! delivered one. Memory is bounded by the number of slots.
//!
//! It deliberately knows no clock, no Kafka and no disk.

use crate::record::Sequence;
use std::collections::VecDeque;

/// The slots of one window never ask for more than this each, payload aside: librdkafka's
/// message, its headers and their allocations, as measured for records of two headers.
pub const OVERHEAD: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Handed to Kafka, no report yet.
    InFlight,
    /// Reported as delivered, above a record that is not.
    Delivered,
    /// To be sent (again).
    Unsent,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    sequence: Sequence,
    bytes: u32,
    route: u16,
    state: State,
}

/// The records between the watermark and the highest one handed over.
#[derive(Debug)]
pub struct Window {
    slots: VecDeque<Slot>,
    /// One past the highest sequence that was sent or passed over.
    end: Sequence,
    in_flight: usize,
    bytes: usize,
    max_records: usize,
    max_bytes: usize,
}

impl Window {
    /// An empty window whose watermark is `at`. At least one record always fits.
    pub fn new(at: Sequence, max_records: usize, max_bytes: usize) -> Self {
        let max_records = max_records.max(1);
        Self { slots: VecDeque::new(), end: at, in_flight: 0, bytes: 0, max_records, max_bytes }
    }

    /// Forgets all that was sent: it is to be sent again from `at` on.
    pub fn begin_at(&mut self, at: Sequence) {
        *self = Self::new(at, self.max_records, self.max_bytes);
    }

    /// Everything below has been delivered, or is no longer in the spool.
    pub fn watermark(&self) -> Sequence {
        self.slots.front().map_or(self.end, |slot| slot.sequence)
    }

    /// Records handed over and not yet reported on.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether the record may be handed over now: the bytes are below their bound (one
    /// record may reach beyond it, or a large one could never be sent), and a slot is free.
    pub fn room_for(&self, sequence: Sequence) -> bool {
        let slot = sequence < self.end || self.slots.len() < self.max_records;
        slot && (self.in_flight == 0 || self.bytes < self.max_bytes)
    }

    /// Whether so much is in flight that sending may rest until some of it is reported on:
    /// more than three quarters of either bound. Filling every single free slot at once
    /// would cost a wake-up for each report.
    pub fn nearly_full(&self) -> bool {
        self.slots.len() > self.max_records - self.max_records / 4
            || self.bytes > self.max_bytes - self.max_bytes / 4
    }

    /// Whether the record has neither been delivered nor is in flight.
    pub fn wants(&self, sequence: Sequence) -> bool {
        if sequence >= self.end {
            return true;
        }
        self.find(sequence).is_some_and(|at| self.slots[at].state == State::Unsent)
    }

    /// Whether Kafka has the record (or the spool has it no more).
    pub fn has_delivered(&self, sequence: Sequence) -> bool {
        sequence < self.watermark()
            || self.find(sequence).is_some_and(|at| self.slots[at].state == State::Delivered)
    }

    /// The record was handed over. Sequences come in rising order, except that one which
    /// [`wants`](Self::wants) names again may be handed over again; whatever lies between
    /// the highest so far and this one no longer exists and is passed over.
    pub fn sent(&mut self, sequence: Sequence, bytes: usize, route: u16) {
        let bytes = u32::try_from(bytes + OVERHEAD).unwrap_or(u32::MAX);
        let slot = Slot { sequence, bytes, route, state: State::InFlight };
        if sequence >= self.end {
            self.slots.push_back(slot);
            self.end = sequence.plus(1);
        } else if let Some(at) = self.find(sequence) {
            if self.slots[at].state != State::Unsent {
                return;
            }
            self.slots[at] = slot;
        } else {
            return;
        }
        self.in_flight += 1;
        self.bytes += bytes as usize;
    }

    /// The spool has none of the records from `from` to `to` (exclusive) any more: those
    /// that were never delivered are forgotten, and the watermark may pass them.
    pub fn skip(&mut self, from: Sequence, to: Sequence) {
        if from < self.end && to > self.watermark() {
            self.slots.retain(|slot| {
                slot.sequence < from || slot.sequence >= to || slot.state != State::Unsent
            });
            self.pass_delivered();
        }
        self.end = self.end.max(to);
    }

    /// Kafka has the record. Gives the route it was sent by, the first time only.
    pub fn delivered(&mut self, sequence: Sequence) -> Option<u16> {
        let at = self.find(sequence)?;
        let slot = &mut self.slots[at];
        if slot.state != State::InFlight {
            return None;
        }
        slot.state = State::Delivered;
        let route = slot.route;
        self.in_flight -= 1;
        self.bytes -= slot.bytes as usize;
        self.pass_delivered();
        Some(route)
    }

    /// Kafka does not have the record: it is to be sent again. Gives the route it was sent
    /// by, the first time only.
    pub fn failed(&mut self, sequence: Sequence) -> Option<u16> {
        let at = self.find(sequence)?;
        let slot = &mut self.slots[at];
        if slot.state != State::InFlight {
            return None;
        }
        slot.state = State::Unsent;
        self.in_flight -= 1;
        self.bytes -= slot.bytes as usize;
        Some(slot.route)
    }

    /// No further reports will come for what is in flight: all of it is to be sent again.
    pub fn forget_in_flight(&mut self) {
        for slot in &mut self.slots {
            if slot.state == State::InFlight {
                slot.state = State::Unsent;
            }
        }
        self.in_flight = 0;
        self.bytes = 0;
    }

    fn pass_delivered(&mut self) {
        while self.slots.front().is_some_and(|slot| slot.state == State::Delivered) {
            self.slots.pop_front();
        }
    }

    /// Without gaps the slot lies as far from the first one as its sequence does; behind a
    /// gap it lies nearer.
    fn find(&self, sequence: Sequence) -> Option<usize> {
        let first = self.slots.front()?.sequence;
        if sequence < first {
            return None;
        }
        let guess = usize::try_from(sequence.since(first)).ok()?;
        if self.slots.get(guess).is_some_and(|slot| slot.sequence == sequence) {
            return Some(guess);
        }
        self.slots.binary_search_by_key(&sequence, |slot| slot.sequence).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    const PLENTY: usize = 1 << 30;

    fn filled(sequences: &[u64]) -> Window {
        let mut window = Window::new(Sequence(sequences[0]), 100, PLENTY);
        for sequence in sequences {
            window.sent(Sequence(*sequence), 10, 0);
        }
        window
    }

    #[test]
    fn the_watermark_waits_for_the_lowest_and_then_passes_all_that_came_early() {
        let mut window = filled(&[5, 6, 7]);
        window.delivered(Sequence(7));
        window.delivered(Sequence(6));
        assert_eq!(window.watermark(), Sequence(5));
        window.delivered(Sequence(5));
        assert_eq!(window.watermark(), Sequence(8));
    }

    #[test]
    fn a_gap_is_passed_over() {
        let mut window = filled(&[0, 1, 900_000]);
        window.delivered(Sequence(0));
        window.delivered(Sequence(1));
        assert_eq!(window.watermark(), Sequence(900_000));
        window.skip(Sequence(900_001), Sequence(2_000_000));
        window.delivered(Sequence(900_000));
        assert_eq!(window.watermark(), Sequence(2_000_000));
    }

    #[test]
    fn what_failed_is_wanted_again_and_what_was_delivered_is_not() {
        let mut window = filled(&[0, 1, 2]);
        window.delivered(Sequence(1));
        window.failed(Sequence(0));
        window.forget_in_flight();
        assert_eq!(window.in_flight(), 0);
        assert_eq!([0, 1, 2, 3].map(|s| window.wants(Sequence(s))), [true, false, true, true]);
    }

    #[test]
    fn a_delivery_counts_once() {
        let mut window = Window::new(Sequence(0), 100, PLENTY);
        window.sent(Sequence(0), 1, 7);
        window.sent(Sequence(1), 1, 8);
        assert_eq!(window.delivered(Sequence(1)), Some(8));
        assert_eq!(window.delivered(Sequence(1)), None);
    }

    #[test]
    fn a_record_larger_than_the_bound_goes_alone() {
        let mut window = Window::new(Sequence(0), 100, 1_000);
        assert!(window.room_for(Sequence(0)));
        window.sent(Sequence(0), 5_000, 0);
        assert!(!window.room_for(Sequence(1)));
        window.delivered(Sequence(0));
        assert!(window.room_for(Sequence(1)));
    }

    #[derive(Debug, Clone)]
    enum Operation {
        /// Hand over the next record, after a gap of so many.
        Send(u64),
        Deliver(prop::sample::Index),
        Fail(prop::sample::Index),
        /// All reports are lost; everything wanted is handed over again, as far as it goes.
        Resend,
        Lose(prop::sample::Index, u64),
    }

    fn operations() -> impl Strategy<Value = Vec<Operation>> {
        let gap = prop_oneof![9 => Just(0), 1 => 1..50_u64];
        let one = prop_oneof![
            6 => gap.prop_map(Operation::Send),
            6 => any::<prop::sample::Index>().prop_map(Operation::Deliver),
            1 => any::<prop::sample::Index>().prop_map(Operation::Fail),
            1 => Just(Operation::Resend),
            1 => (any::<prop::sample::Index>(), 1..9_u64).prop_map(|(at, n)| Operation::Lose(at, n)),
        ];
        prop::collection::vec(one, 1..200)
    }

    /// The naive model: every record that still has to be delivered, and whether it is in
    /// flight; and every record that was delivered.
    #[derive(Default)]
    struct Model {
        open: BTreeMap<u64, bool>,
        delivered: BTreeSet<u64>,
        end: u64,
    }

    impl Model {
        fn watermark(&self) -> u64 {
            self.open.keys().next().copied().unwrap_or(self.end)
        }
        fn in_flight(&self) -> Vec<u64> {
            self.open.iter().filter(|(_, flying)| **flying).map(|(s, _)| *s).collect()
        }
        fn wants(&self, sequence: u64) -> bool {
            sequence >= self.end || self.open.get(&sequence) == Some(&false)
        }
    }

    proptest! {
        #[test]
        fn it_behaves_like_the_naive_model(operations in operations()) {
            let mut window = Window::new(Sequence(0), 16, PLENTY);
            let mut model = Model::default();
            for operation in operations {
                match operation {
                    Operation::Send(gap) => {
                        let next = model.end + gap;
                        if window.room_for(Sequence(next)) {
                            window.sent(Sequence(next), 1, 0);
                            model.open.insert(next, true);
                            model.end = next + 1;
                        }
                    }
                    Operation::Deliver(index) => {
                        let flying = model.in_flight();
                        if !flying.is_empty() {
                            let sequence = *index.get(&flying);
                            prop_assert_eq!(window.delivered(Sequence(sequence)), Some(0));
                            model.open.remove(&sequence);
                            model.delivered.insert(sequence);
                        }
                    }
                    Operation::Fail(index) => {
                        let flying = model.in_flight();
                        if !flying.is_empty() {
                            let sequence = *index.get(&flying);
                            prop_assert_eq!(window.failed(Sequence(sequence)), Some(0));
                            model.open.insert(sequence, false);
                        }
                    }
                    Operation::Resend => {
                        window.forget_in_flight();
                        for sequence in model.open.clone().into_keys() {
                            prop_assert!(window.wants(Sequence(sequence)));
                            window.sent(Sequence(sequence), 1, 0);
                            model.open.insert(sequence, true);
                        }
                    }
                    Operation::Lose(index, count) => {
                        let from = index.index(usize::try_from(model.end).unwrap() + 1) as u64;
                        window.skip(Sequence(from), Sequence(from + count));
                        model.open.retain(|s, flying| *flying || *s < from || *s >= from + count);
                        model.end = model.end.max(from + count);
                    }
                }
                prop_assert_eq!(window.watermark(), Sequence(model.watermark()));
                prop_assert_eq!(window.in_flight(), model.in_flight().len());
                for sequence in model.watermark()..model.end + 2 {
                    prop_assert_eq!(window.wants(Sequence(sequence)), model.wants(sequence));
                }
                prop_assert!(window.slots.len() <= 16);
                prop_assert_eq!(window.bytes, window.in_flight * (1 + OVERHEAD));
            }
        }
    }
}
