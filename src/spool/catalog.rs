//! Which segments there are, which sequences each one holds, and what they take on the disk.
//!
//! Plain memory, one entry a segment: what it says of closed segments was read from their seals
//! at the start, or written into them since. It deliberately does no I/O.

use super::segment::{LiveSegment, Seal, SegmentId};
use crate::record::{Millis, Sequence};
use std::sync::Arc;
use std::time::Instant;

/// One segment.
#[derive(Debug, Clone)]
pub struct Entry {
    pub id: SegmentId,
    /// One past its last sequence; `None` while it is written.
    pub end: Option<Sequence>,
    /// What it holds, once it is closed; `None` of one that could not be read.
    pub seal: Option<Seal>,
    /// Bytes on the disk.
    pub disk_bytes: u64,
    /// The open database: of the tail, and for a moment of a segment that was just closed.
    pub live: Option<Arc<LiveSegment>>,
    /// Since when it is here as it is: begun, sealed, or found.
    pub since: Instant,
}

impl Entry {
    /// A segment that was found at the start.
    pub fn closed(id: SegmentId, end: Sequence, seal: Option<Seal>, disk_bytes: u64) -> Self {
        let since = Instant::now();
        Self { id, end: Some(end), seal, disk_bytes, live: None, since }
    }

    /// Whether it is this one that ought to hold `sequence`.
    pub fn covers(&self, sequence: Sequence) -> bool {
        self.id.first <= sequence && self.end.is_none_or(|end| sequence < end)
    }
}

/// All segments, oldest first.
#[derive(Debug, Default)]
pub struct Catalog {
    entries: Vec<Entry>,
    /// Bytes on the disk of what is no segment yet, or no more: a copy under way, and what it has
    /// taken the place of.
    aside: u64,
    /// Of those: what a copy has taken the place of.
    replaced: Vec<SegmentId>,
}

impl Catalog {
    /// From what was found at the start, in the order of the sequences. Found together, they are of
    /// one age: or the repacker would take some for old enough and their neighbours not yet.
    pub fn new(mut entries: Vec<Entry>) -> Self {
        let now = Instant::now();
        for entry in &mut entries {
            entry.since = now;
        }
        Self { entries, aside: 0, replaced: Vec::new() }
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What a closed segment's seal says.
    pub fn seal(&self, id: SegmentId) -> Option<Seal> {
        self.entries.iter().find(|entry| entry.id == id)?.seal
    }

    /// Adds the new tail. The one before it ends where this one begins.
    pub fn begin(&mut self, live: Arc<LiveSegment>) {
        let id = live.id;
        if let Some(last) = self.entries.last_mut() {
            last.end.get_or_insert(id.first);
        }
        let since = Instant::now();
        let live = Some(live);
        self.entries.push(Entry { id, end: None, seal: None, disk_bytes: 0, live, since });
    }

    /// The tail is written no more; it ends at `end`.
    pub fn close(&mut self, id: SegmentId, end: Sequence) {
        if let Some(entry) = self.find(id) {
            entry.end.get_or_insert(end);
        }
    }

    /// A closed segment is read from its bytes from now on. Gives its database, to be shut
    /// outside the catalog's lock.
    pub fn shut(&mut self, id: SegmentId, seal: Seal) -> Option<Arc<LiveSegment>> {
        let entry = self.find(id)?;
        entry.seal = Some(seal);
        entry.since = Instant::now();
        entry.live.take()
    }

    /// Puts `new` in the place of those that it holds the records of, in one step; from then on
    /// they count as aside. Says whether all of them are still as they were: if not, nothing has
    /// changed.
    #[must_use]
    pub fn replace(&mut self, old: &[Entry], new: Entry) -> bool {
        let Some(first) = old.first() else { return false };
        let Some(place) = self.entries.iter().position(|e| e.id == first.id) else { return false };
        let range = place..place + old.len();
        let Some(now) = self.entries.get(range.clone()) else { return false };
        let same = |(now, old): (&Entry, &Entry)| {
            (now.id, now.end, now.seal) == (old.id, old.end, old.seal) && now.live.is_none()
        };
        let unchanged = now.iter().zip(old).all(same);
        if unchanged {
            self.aside = now.iter().map(|entry| entry.disk_bytes).sum();
            self.replaced = now.iter().map(|entry| entry.id).collect();
            self.entries.splice(range, [new]);
        }
        unchanged
    }

    /// Notes what is on the disk beside the segments.
    pub fn set_aside(&mut self, bytes: u64) {
        self.aside = bytes;
        self.replaced.clear();
    }

    /// Whether [`Catalog::disk_bytes`] counts this segment, wherever it lies by now.
    pub fn counts(&self, id: SegmentId) -> bool {
        self.has(id) || self.replaced.contains(&id)
    }

    /// Remembers that rewriting a closed segment gains nothing; gives the seal that says so.
    pub fn mark_repacked(&mut self, id: SegmentId) -> Option<Seal> {
        let seal = self.find(id)?.seal.as_mut()?;
        seal.repacked = true;
        Some(*seal)
    }

    /// Remembers that parts are missing from a closed segment; gives the seal that says so.
    pub fn mark_damaged(&mut self, id: SegmentId) -> Option<Seal> {
        let seal = self.find(id)?.seal.as_mut()?;
        seal.damaged = true;
        Some(*seal)
    }

    /// Notes what a segment takes on the disk by now.
    pub fn grew(&mut self, id: SegmentId, disk_bytes: u64) {
        if let Some(entry) = self.find(id) {
            entry.disk_bytes = disk_bytes;
        }
    }

    /// The segment that holds `sequence`, or else the next one above it.
    pub fn holding(&self, sequence: Sequence) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.end.is_none_or(|end| end > sequence))
    }

    /// The segments that are closed for good and in which nothing is needed any more, oldest first:
    /// what waits from a sequence on begins where `waiting` says.
    pub fn done(&self, waiting: impl Fn(Sequence) -> Sequence) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| {
            entry.live.is_none() && entry.end.is_some_and(|end| end <= waiting(entry.id.first))
        })
    }

    /// The segments that are closed for good and whose sequences (first, end) are `free`, and where
    /// each ends, oldest first.
    pub fn closed(
        &self,
        free: impl Fn(Sequence, Sequence) -> bool,
    ) -> impl Iterator<Item = (SegmentId, Sequence)> {
        let closed = self.entries.iter().filter(|entry| entry.live.is_none());
        closed
            .filter_map(|entry| Some((entry.id, entry.end?)))
            .filter(move |(id, end)| free(id.first, *end))
    }

    /// Whether this is one of the segments.
    pub fn has(&self, id: SegmentId) -> bool {
        self.entries.iter().any(|entry| entry.id == id)
    }

    /// Forgets a segment; gives its database, if open, to be shut outside the catalog's lock.
    pub fn remove(&mut self, id: SegmentId) -> Option<Arc<LiveSegment>> {
        let place = self.entries.iter().position(|entry| entry.id == id)?;
        self.entries.remove(place).live
    }

    /// The generation that a segment beginning at `first` must have to count.
    pub fn next_generation(&self, first: Sequence) -> u32 {
        let same = self.entries.iter().filter(|entry| entry.id.first == first);
        same.map(|entry| entry.id.generation + 1).max().unwrap_or(0)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes on the disk of all of them, and of what is aside.
    pub fn disk_bytes(&self) -> u64 {
        self.aside + self.entries.iter().map(|entry| entry.disk_bytes).sum::<u64>()
    }

    /// Raw bytes of the records from `watermark` on; of a segment that is partly done, in
    /// proportion to its records.
    pub fn raw_bytes_from(&self, watermark: Sequence) -> u64 {
        let waiting = |entry: &Entry| {
            let seal = entry.seal.or_else(|| entry.live.as_ref()?.seal())?;
            let all = u128::from(seal.end.since(seal.first).max(1));
            let left = u128::from(seal.end.since(watermark.max(seal.first)));
            u64::try_from(u128::from(seal.raw_bytes) * left / all).ok()
        };
        self.entries.iter().filter_map(waiting).sum()
    }

    /// When the oldest record from `watermark` on was received: of a closed segment that is
    /// partly done, its oldest.
    pub fn oldest_from(&self, watermark: Sequence) -> Option<Millis> {
        let entry = self.holding(watermark)?;
        match &entry.live {
            Some(live) => live.oldest(watermark),
            None => entry.seal.map(|seal| seal.oldest),
        }
    }

    fn find(&mut self, id: SegmentId) -> Option<&mut Entry> {
        self.entries.iter_mut().rfind(|entry| entry.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(first: u64, end: u64) -> Entry {
        let (first, end) = (Sequence(first), Sequence(end));
        let records = end.since(first);
        let seal = Seal {
            first,
            end,
            records,
            raw_bytes: records * 10,
            oldest: Millis(0),
            damaged: false,
            repacked: false,
            blocks: 1,
        };
        Entry::closed(SegmentId { first, generation: 0 }, end, Some(seal), 100)
    }

    #[test]
    fn a_sequence_is_found_in_its_segment_and_a_gap_leads_to_the_next() {
        let catalog = Catalog::new(vec![sealed(0, 10), sealed(20, 30)]);
        let first = |at| catalog.holding(Sequence(at)).map(|entry| entry.id.first.0);
        assert_eq!(
            [first(0), first(9), first(10), first(29)],
            [Some(0), Some(0), Some(20), Some(20)]
        );
        assert_eq!(first(30), None);
    }

    /// Fails when [`Catalog::new`] leaves each its own time.
    #[test]
    fn what_is_found_at_a_start_is_of_one_age() {
        let first = sealed(0, 10);
        std::thread::sleep(std::time::Duration::from_millis(1));
        let catalog = Catalog::new(vec![first, sealed(10, 20)]);
        assert_eq!(catalog.entries()[0].since, catalog.entries()[1].since);
    }

    #[test]
    fn what_waits_is_counted_from_the_watermark_on() {
        let catalog = Catalog::new(vec![sealed(0, 10), sealed(10, 30)]);
        assert_eq!(catalog.raw_bytes_from(Sequence(0)), 300);
        assert_eq!(catalog.raw_bytes_from(Sequence(20)), 100);
        assert_eq!(catalog.raw_bytes_from(Sequence(30)), 0);
    }

    #[test]
    fn a_segment_is_free_to_go_only_when_all_of_it_is_done() {
        let catalog = Catalog::new(vec![sealed(0, 10), sealed(10, 30)]);
        let done = |watermark: u64| {
            let entry = catalog.done(|first| first.max(Sequence(watermark))).next()?;
            Some(entry.id.first.0)
        };
        assert_eq!([done(9), done(10), done(30)], [None, Some(0), Some(0)]);
        // The second was taken out before its turn.
        let removed = |first: Sequence| if first.0 == 10 { Sequence(30) } else { first };
        assert_eq!(catalog.done(removed).next().unwrap().id.first, Sequence(10));
    }

    /// Fails without `same` in [`Catalog::replace`].
    #[test]
    fn a_run_is_replaced_in_one_step_and_only_as_it_was() {
        let run = [sealed(0, 10), sealed(10, 30)];
        let merged = || Entry { id: SegmentId { generation: 1, ..run[0].id }, ..sealed(0, 30) };
        let ids = |catalog: &Catalog| -> Vec<_> {
            let numbers = |entry: &Entry| (entry.id.first.0, entry.id.generation);
            catalog.entries().iter().map(numbers).collect()
        };
        let mut catalog = Catalog::new(vec![run[0].clone(), run[1].clone(), sealed(30, 40)]);
        assert!(catalog.replace(&run, merged()));
        assert_eq!((ids(&catalog), catalog.disk_bytes()), (vec![(0, 1), (30, 0)], 400));
        assert!(run.iter().all(|old| catalog.counts(old.id)));
        catalog.set_aside(0);
        assert!(!catalog.counts(run[0].id) && catalog.counts(sealed(30, 40).id));
        assert_eq!(catalog.disk_bytes(), 200);
        assert!(!catalog.replace(&run, merged()), "they are gone");

        let mut catalog = Catalog::new(vec![run[0].clone(), run[1].clone()]);
        catalog.mark_damaged(run[1].id);
        assert!(!catalog.replace(&run, merged()));
        let mut catalog = Catalog::new(vec![run[0].clone(), sealed(30, 40)]);
        assert!(!catalog.replace(&run, merged()));
        assert_eq!((ids(&catalog), catalog.disk_bytes()), (vec![(0, 0), (30, 0)], 200));
    }
}
