//! How records leave in a [`Trial`]: delivered out of order, dropped, exported, damaged.

use super::disk;
use super::expected::{Damage, State};
use super::trial::{Checked, Trial, wait_until};
use crate::record::Sequence;
use crate::spool::HoldError;
use proptest::prelude::*;

impl Trial {
    pub(super) fn read(&mut self, blocks: usize) -> Checked {
        for _ in 0..blocks {
            let mut at = self.open().reader.position().0;
            let Some(sequences) = self.read_block(&mut at)? else { break };
            self.in_flight.extend(sequences.into_iter().map(|sequence| (sequence, false)));
        }
        Ok(())
    }

    /// Acknowledges some of what is in flight, in any order; the watermark is where it first lacks.
    pub(super) fn deliver(&mut self, percent: u64, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        for (_, acknowledged) in &mut self.in_flight {
            *acknowledged |= random.u64(0..100) < percent;
        }
        let first_lacking = self.in_flight.iter().find(|(_, acknowledged)| !acknowledged);
        let position = self.open().reader.position();
        let to = first_lacking.map_or(position, |(sequence, _)| Sequence(*sequence));
        self.open_mut().reader.advance_watermark(to);
        self.model.deliver(to.0);
        self.in_flight.retain(|(sequence, _)| *sequence >= to.0);
    }

    pub(super) fn rewind(&mut self, seed: usize) {
        let place = seed.checked_rem(self.in_flight.len()).unwrap_or(0);
        let to = self.in_flight.get(place).map_or(self.model.watermark, |(sequence, _)| *sequence);
        self.open_mut().reader.rewind(Sequence(to));
        self.in_flight.truncate(place);
    }

    /// All that is closed and done with is off the disk.
    pub(super) fn free(&mut self) -> Checked {
        self.settle_keeper();
        let shared = self.shared();
        // As the forwarder does with the next delivery report.
        let watermark = self.open().reader.watermark();
        self.open_mut().reader.advance_watermark(watermark);
        self.model.deliver(watermark.0);
        wait_until(|| !shared.is_any_done());
        for (first, end) in disk::extents(&self.dir) {
            prop_assert!(self.model.waits(first, end), "{}..{} is kept for nothing", first, end);
        }
        Ok(())
    }

    pub(super) fn drop_oldest(&mut self) -> Checked {
        self.settle_keeper();
        let mut extents = disk::extents(&self.dir).into_iter();
        let dropped = self.shared().drop_own_oldest().unwrap().map(|id| id.first.0);
        let free = extents.find(|(first, end)| self.model.is_free(*first, *end));
        prop_assert_eq!(dropped, free.map(|(first, _)| first));
        if let Some((first, end)) = free {
            self.model.change(first, end, State::Dropped);
        }
        Ok(())
    }

    /// The sequences between two percents of what waits.
    fn between(&self, from: u64, to: u64) -> (u64, u64) {
        let waiting = self.model.len() - self.model.watermark;
        (self.model.watermark + waiting * from / 100, self.model.watermark + waiting * to / 100)
    }

    pub(super) fn take_hold(&mut self, from: u64, to: u64) -> Checked {
        let (first, end) = self.between(from, to);
        let expected = self.model.hold(first, end);
        match self.open().writer.hold(Sequence(first), Sequence(end)) {
            Ok(hold) => {
                prop_assert_eq!(Some((hold.first().0, hold.end().0)), expected);
                (self.hold, self.model.held) = (Some(hold), expected);
            }
            Err(HoldError::Another) => prop_assert!(self.model.held.is_some()),
            Err(HoldError::Nothing) => prop_assert_eq!(None, expected),
        }
        Ok(())
    }

    pub(super) fn export(&mut self, from: u64, to: u64) -> Checked {
        let (Some(hold), Some((held_from, held_to))) = (self.hold.take(), self.model.held.take())
        else {
            return Ok(());
        };
        let (first, end) = self.between(from, to);
        let taken = hold.remove(&[(Sequence(first), Sequence(end))]).unwrap();
        self.settle_keeper();
        let (first, end) = (first.max(held_from), end.min(held_to));
        prop_assert_eq!(taken, self.model.change(first, end, State::Exported));
        Ok(())
    }

    /// Turns a byte of a block of a closed segment, if there is one.
    pub(super) fn damage(&mut self, seed: usize) {
        self.settle_keeper();
        let sealed = disk::sealed(&self.dir);
        if sealed.is_empty() {
            return;
        }
        let id = sealed[seed % sealed.len()];
        if let Some((first, end)) = disk::damage(&self.dir.join(id.to_string()), seed) {
            self.model.damaged.push(Damage { first, end, segment: id.first.0 });
        }
    }
}
