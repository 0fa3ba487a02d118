//! A progress as the bytes of one slot, and back.
//!
//! What is read is believed only where the books can be those of a spool.

use super::{
    Buried, FIXED_LEN, MAGIC, OLDEST, PLAIN, Progress, RANGE_LEN, REMOVALS, Range, Removal, VERSION,
};
use crate::record::{Epoch, RecordId, Sequence};

/// Entries of the file that are no removals.
const UNUSED_BELOW: u8 = 5;
const IN_DOUBT: u8 = 6;
const LEAVING: u8 = 7;
const LEAVING_ID: u8 = 8;
const AGAIN_FROM: u8 = 9;
const PENDING: u8 = 10;

impl Progress {
    pub(in crate::spool) fn encode(&self, turn: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED_LEN + self.ranges.len() * RANGE_LEN + 4);
        out.extend_from_slice(&MAGIC);
        let plain = self.letter_entries() == 0 && self.pending.is_none();
        let version = if plain { PLAIN } else { VERSION };
        out.extend_from_slice(&[version, u8::from(self.clean), 0, 0]);
        out.extend_from_slice(&turn.to_le_bytes());
        out.extend_from_slice(&self.spool_id);
        out.extend_from_slice(&self.boot_id);
        out.extend_from_slice(&self.watermark.0.to_le_bytes());
        out.extend_from_slice(&self.acknowledged.0.to_le_bytes());
        let [totals @ .., unused] = &self.totals;
        for total in totals {
            out.extend_from_slice(&total.to_le_bytes());
        }
        let ranges = self.ranges.iter().map(|range| (range.kind as u8, range.first, range.end));
        let below = (*unused > 0).then_some((UNUSED_BELOW, Sequence(0), Sequence(*unused)));
        let doubts = self.doubts.iter().map(|(from, end)| (IN_DOUBT, *from, *end));
        let leaving = self.leaving.iter().flat_map(|Buried { place, id }| {
            let epoch = Sequence(id.epoch.0);
            [(LEAVING, *place, epoch), (LEAVING_ID, id.sequence, Sequence(0))]
        });
        let again = self.again_from.map(|from| (AGAIN_FROM, Sequence(0), from));
        let pending = self.pending.map(|(first, end)| (PENDING, first, end));
        let removed = ranges.chain(below).chain(doubts);
        let entries: Vec<_> = removed.chain(leaving).chain(again).chain(pending).collect();
        #[expect(clippy::cast_possible_truncation, reason = "`remove` bounds the ranges")]
        out.extend_from_slice(&(entries.len() as u32).to_le_bytes());
        for (kind, first, end) in entries {
            out.push(kind);
            out.extend_from_slice(&first.0.to_le_bytes());
            out.extend_from_slice(&end.0.to_le_bytes());
        }
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out
    }

    /// The version of a slot that a newer program wrote. A known version with one damaged byte is
    /// none.
    pub(super) fn newer(slot: &[u8]) -> Option<u8> {
        let with = |version| {
            let mut slot = slot.to_owned();
            slot[4] = version;
            Self::decode(&slot)
        };
        let newer = slot[..4] == MAGIC && slot[4] > VERSION;
        (newer && (OLDEST..=VERSION).all(|version| with(version).is_none())).then_some(slot[4])
    }

    /// The turn and the progress of one slot; `None` when it was never written, is torn or damaged.
    pub(in crate::spool) fn decode(slot: &[u8]) -> Option<(u64, Self)> {
        let u64_at = |at: usize| Some(u64::from_le_bytes(*slot.get(at..)?.first_chunk()?));
        let count = u32::from_le_bytes(*slot.get(96..)?.first_chunk()?) as usize;
        let len = count.checked_mul(RANGE_LEN)?.checked_add(FIXED_LEN)?;
        let crc = slot.get(len..)?.first_chunk()?;
        if slot[..4] != MAGIC
            || !(OLDEST..=VERSION).contains(&slot[4])
            || crc32c::crc32c(&slot[..len]) != u32::from_le_bytes(*crc)
        {
            return None;
        }
        let mut progress = Self {
            spool_id: *slot[16..].first_chunk()?,
            boot_id: *slot[32..].first_chunk()?,
            clean: slot[5] == 1,
            watermark: Sequence(u64_at(48)?),
            acknowledged: Sequence(u64_at(56)?),
            totals: [u64_at(64)?, u64_at(72)?, u64_at(80)?, u64_at(88)?, 0],
            ranges: Vec::new(),
            doubts: Vec::new(),
            leaving: Vec::new(),
            again_from: None,
            pending: None,
        };
        // Of a letter, until the rest of its name comes.
        let mut half = None;
        for at in (FIXED_LEN..len).step_by(RANGE_LEN) {
            let (first, end) = (Sequence(u64_at(at + 1)?), Sequence(u64_at(at + 9)?));
            match slot[at] {
                UNUSED_BELOW => progress.totals[Removal::Unused as usize] = end.0,
                IN_DOUBT => progress.doubts.push((first, end)),
                LEAVING if half.is_none() => half = Some((first, Epoch(end.0))),
                LEAVING_ID => {
                    let (place, epoch) = half.take()?;
                    let id = RecordId { epoch, sequence: first };
                    progress.leaving.push(Buried { place, id });
                }
                AGAIN_FROM => progress.again_from = Some(end),
                PENDING => progress.pending = Some((first, end)),
                kind => {
                    let kind = *REMOVALS.get(usize::from(kind))?;
                    progress.ranges.push(Range { kind, first, end });
                }
            }
        }
        let turn = u64_at(8)?; // one more must fit behind it
        (turn < u64::MAX && half.is_none() && progress.is_sound()).then_some((turn, progress))
    }

    /// Whether the books can be those of a spool. A checksum holds for whatever was written under
    /// it; with impossible books every later sum would be wrong, or panic.
    fn is_sound(&self) -> bool {
        let gone = self.totals.iter().try_fold(0_u64, |sum, total| sum.checked_add(*total));
        let ranges = self.ranges.iter().map(|range| (range.first, range.end));
        let mut all: Vec<_> = ranges.chain(self.doubts.iter().copied()).collect();
        let sorted = self.ranges.is_sorted_by_key(|range| range.first) && self.doubts.is_sorted();
        all.sort_unstable();
        let mut at = self.watermark;
        let apart = all.iter().all(|(first, end)| {
            let before = std::mem::replace(&mut at, *end);
            before <= *first && first < end
        });
        let in_order = sorted && apart;
        let pending = self.pending.is_none_or(|(first, end)| first < end && self.watermark < end);
        in_order && pending && gone.is_some_and(|gone| gone <= self.watermark.0)
    }
}
