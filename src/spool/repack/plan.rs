//! Which segments are worth being written anew, and together?
//!
//! Pure: the catalog's entries and a clock's reading in, a run of neighbours out. The rules:
//!
//! - only what is sealed, intact, [`Rules::after`] old, and untouched: nothing of it was handed to
//!   Kafka, is held, or was removed;
//! - a run is without a gap, and what becomes of it fits one segment;
//! - the whole, and each in it for itself, must be expected to take [`GAIN`] less disk than
//!   before: by larger blocks, or because it is so small that sled's own file counts;
//! - what was repacked before takes part again only in a run at least twice its size: a record is
//!   written anew no more often than the logarithm of that small size.
//!
//! Expectations are made from the seals alone. Where they prove wrong `rewrite.rs` gives up, and
//! what it has learnt ([`Learnt`]) is expected of those segments the next time.

use crate::record::Sequence;
use crate::spool::catalog::Entry;
use crate::spool::segment::SegmentId;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Of eight bytes on the disk, how many must be saved at least.
pub const GAIN: u64 = 1;
const OF: u64 = 8;
/// What a segment takes when there is next to nothing in it: sled's own, the seal, directories.
pub const EMPTY: u64 = 32 * 1024;
/// What is expected of large blocks of JSON: parts a raw byte, in hundredths. Measured: 11 to 13;
/// commits of 500 records come to 13, of 128 to 16, of 20 to 27, of one to 60.
pub const PACKED: u64 = 12;

/// What is given.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// How old a segment must be.
    pub after: Duration,
    /// Bytes of parts in a segment, at most.
    pub full: u64,
}

/// What is known better of some segments: parts a raw byte once they are large blocks, in
/// hundredths. A large number leaves one alone.
pub type Learnt = HashMap<SegmentId, u64>;

/// A run of neighbours to be written anew, as one.
#[derive(Debug, Clone)]
pub struct Plan {
    /// In order, without a gap, at least one.
    pub sources: Vec<Entry>,
    /// Bytes on the disk.
    pub before: u64,
    /// What is expected of the new one.
    pub after: u64,
    /// Raw bytes of the records.
    pub raw: u64,
    /// Bytes on the disk of all that is worth it and old enough, this run among it.
    pub due: u64,
}

impl Plan {
    pub fn ids(&self) -> impl Iterator<Item = SegmentId> {
        self.sources.iter().map(|entry| entry.id)
    }
}

/// Whether so many bytes are enough less to be worth the writing.
pub fn gains(before: u64, after: u64) -> bool {
    after.saturating_mul(OF) <= before.saturating_mul(OF - GAIN)
}

/// The oldest run that is worth it.
pub fn choose(
    entries: &[Entry],
    now: Instant,
    rules: Rules,
    learnt: &Learnt,
    untouched: impl Fn(Sequence, Sequence) -> bool,
) -> Option<Plan> {
    let expected = |entry: &Entry| expected(entry, learnt);
    let eligible = |entry: &Entry| {
        let sound = entry.seal.is_some_and(|seal| !seal.damaged);
        sound
            && entry.live.is_none()
            && entry.end.is_some_and(|end| untouched(entry.id.first, end))
            && now.saturating_duration_since(entry.since) >= rules.after
            && gains(entry.disk_bytes, expected(entry))
    };
    let due = entries.iter().filter(|entry| eligible(entry)).map(|entry| entry.disk_bytes).sum();
    let joins = |a: &Entry, b: &Entry| {
        eligible(a) && eligible(b) && a.end.is_some_and(|end| end == b.id.first)
    };
    let runs = entries.chunk_by(joins).filter(|run| run.iter().all(eligible));
    runs.flat_map(|run| (0..run.len()).map(move |from| &run[from..]))
        .find_map(|run| worth(run, rules.full, expected))
        .map(|plan| Plan { due, ..plan })
}

/// The longest run from the first of `entries` on that fits one segment, if it is worth it.
fn worth(entries: &[Entry], full: u64, expected: impl Fn(&Entry) -> u64) -> Option<Plan> {
    let (mut packed, mut again, mut count) = (0, 0, 0);
    for entry in entries {
        let size = expected(entry);
        if packed + size > full {
            break;
        }
        packed += size;
        again = again.max(if is_repacked(entry) { size } else { 0 });
        count += 1;
    }
    let sources = entries[..count].to_vec();
    let plan = Plan {
        before: sources.iter().map(|entry| entry.disk_bytes).sum(),
        after: EMPTY + packed,
        raw: sources.iter().filter_map(|entry| entry.seal).map(|seal| seal.raw_bytes).sum(),
        sources,
        due: 0,
    };
    let grows = packed >= 2 * again;
    (count > 0 && grows && gains(plan.before, plan.after)).then_some(plan)
}

fn is_repacked(entry: &Entry) -> bool {
    entry.seal.is_some_and(|seal| seal.repacked)
}

/// Bytes of parts that an entry becomes, beside others.
fn expected(entry: &Entry, learnt: &Learnt) -> u64 {
    let now = entry.disk_bytes.saturating_sub(EMPTY).max(1);
    let raw = entry.seal.map_or(0, |seal| seal.raw_bytes);
    match learnt.get(&entry.id) {
        Some(percent) => raw.saturating_mul(*percent) / 100,
        None if is_repacked(entry) => now,
        None => now.min(raw.saturating_mul(PACKED) / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Millis;
    use crate::spool::segment::Seal;
    use proptest::prelude::*;

    const FULL: u64 = 8 << 20;
    const NONE: [u64; 0] = [];
    const AFTER: Duration = Duration::from_secs(30);

    /// A segment of 100 records, of so many raw bytes each, and what it takes on the disk.
    fn entry(first: u64, raw: u64, disk_bytes: u64) -> Entry {
        let seal = Seal {
            first: Sequence(first),
            end: Sequence(first + 100),
            records: 100,
            raw_bytes: raw * 100,
            oldest: Millis(0),
            damaged: false,
            repacked: false,
            blocks: 100,
        };
        let id = SegmentId { first: Sequence(first), generation: 0 };
        Entry::closed(id, seal.end, Some(seal), disk_bytes)
    }

    /// Small commits: worth it alone.
    fn small(first: u64) -> Entry {
        entry(first, 30_000, 1 << 20)
    }

    fn changed(mut entry: Entry, change: impl FnOnce(&mut Entry, &mut Seal)) -> Entry {
        let mut seal = entry.seal.unwrap();
        change(&mut entry, &mut seal);
        entry.seal = Some(seal);
        entry
    }

    fn repacked(first: u64, disk_bytes: u64) -> Entry {
        changed(entry(first, disk_bytes / 10, disk_bytes), |_, seal| seal.repacked = true)
    }

    fn chosen_from(entries: &[Entry], handed: u64, learnt: &[(u64, u64)]) -> Vec<u64> {
        let rules = Rules { after: AFTER, full: FULL };
        let learnt = learnt.iter().map(|(first, percent)| (entry(*first, 1, 1).id, *percent));
        let now = Instant::now() + AFTER;
        let untouched = |first: Sequence, _| first.0 >= handed;
        let plan = choose(entries, now, rules, &learnt.collect(), untouched);
        let eligible = entries.iter().map(|entry| entry.disk_bytes).sum();
        assert!(plan.iter().all(|plan| (plan.before..=eligible).contains(&plan.due)), "{plan:?}");
        plan.iter().flat_map(Plan::ids).map(|id| id.first.0).collect()
    }

    fn chosen(entries: &[Entry]) -> Vec<u64> {
        chosen_from(entries, 0, &[])
    }

    #[test]
    fn neighbours_of_small_commits_are_rewritten_as_one() {
        assert_eq!(chosen(&[small(0), small(100), small(200)]), [0, 100, 200]);
        assert_eq!(chosen(&[]), NONE);
    }

    #[test]
    fn large_blocks_are_left_as_they_are_and_those_between_are_not() {
        let large = |first| entry(first, 600_000, 7_800_000);
        assert_eq!(chosen(&[large(0), large(100)]), NONE);
        assert_eq!(chosen(&[large(0), small(100), large(200)]), [100]);
    }

    #[test]
    fn what_is_young_damaged_live_or_left_alone_is_not_touched() {
        let young = changed(small(100), |entry, _| entry.since += AFTER);
        assert_eq!(chosen(&[small(0), young.clone(), small(200)]), [0]);
        assert_eq!(chosen(&[young]), NONE);
        assert_eq!(chosen(&[changed(small(0), |_, seal| seal.damaged = true)]), NONE);
        let tail = Entry { seal: None, end: None, ..small(0) };
        assert_eq!(chosen(&[tail]), NONE);
        assert_eq!(chosen_from(&[small(0), small(100)], 0, &[(0, 1000)]), [100]);
    }

    #[test]
    fn what_the_drain_has_come_to_is_not_touched() {
        assert_eq!(chosen_from(&[small(0), small(100)], 0, &[]), [0, 100]);
        assert_eq!(chosen_from(&[small(0), small(100)], 1, &[]), [100]);
        assert_eq!(chosen_from(&[small(0), small(100)], 101, &[]), NONE);
    }

    #[test]
    fn a_run_ends_at_a_gap_and_where_the_new_segment_would_be_full() {
        assert_eq!(chosen(&[small(0), small(200)]), [0]);
        let big = |first| entry(first, 300_000, 6 << 20); // 3.6 MB are expected of it
        assert_eq!(chosen(&[big(0), big(100), big(200)]), [0, 100]);
        // What was learnt counts: 4.8 MB of each.
        assert_eq!(chosen_from(&[big(0), big(100)], 0, &[(0, 16), (100, 16)]), [0]);
    }

    #[test]
    fn what_was_repacked_takes_part_again_only_in_a_run_twice_its_size() {
        let (mib, part) = (1 << 20, 200 << 10);
        assert_eq!(chosen(&[repacked(0, mib)]), NONE);
        assert_eq!(chosen(&[repacked(0, mib), small(100)]), [100]);
        let grown = [repacked(0, part), small(100)];
        assert_eq!(chosen(&grown), [0, 100]);
        // Two full ones gain nothing by being one.
        assert_eq!(chosen(&[repacked(0, 3 * mib), repacked(100, 3 * mib)]), NONE);
    }

    proptest! {
        /// However segments come, and whatever they turn out to take: it comes to an end, no
        /// record is written anew more often than the logarithm of what there is, and what is
        /// left is no long row of small segments.
        #[test]
        fn rewriting_ends(raws in prop::collection::vec(1_u64..60_000, 1..120)) {
            let (mut entries, mut written, mut original) = (Vec::<(Entry, u32)>::new(), 0, 0);
            for (place, raw) in raws.iter().enumerate() {
                original += raw * 100 * PACKED / 100;
                let first = place as u64 * 100;
                entries.push((entry(first, *raw, EMPTY + raw * 100 / 3), 0));
                let mut rounds = 0;
                loop {
                    let plain: Vec<_> = entries.iter().map(|(entry, _)| entry.clone()).collect();
                    let ids = chosen(&plain);
                    let Some(from) = ids.first() else { break };
                    let from = entries.iter().position(|(e, _)| e.id.first.0 == *from).unwrap();
                    let old: Vec<_> = entries.drain(from..from + ids.len()).collect();
                    let raw_bytes: u64 = old.iter().map(|(e, _)| e.seal.unwrap().raw_bytes).sum();
                    let disk_bytes = EMPTY + raw_bytes * PACKED / 100;
                    written += disk_bytes - EMPTY;
                    let times = 1 + old.iter().map(|(_, times)| *times).max().unwrap();
                    prop_assert!(times <= 12, "written anew {times} times");
                    let mut new = changed(old[0].0.clone(), |entry, seal| {
                        (seal.raw_bytes, seal.repacked) = (raw_bytes, true);
                        seal.end = old.last().unwrap().0.end.unwrap();
                        (entry.end, entry.disk_bytes) = (Some(seal.end), disk_bytes);
                    });
                    new.id.generation += 1;
                    entries.insert(from, (new, times));
                    rounds += 1;
                    prop_assert!(rounds < 10, "it never ends");
                }
            }
            let disk: u64 = entries.iter().map(|(entry, _)| entry.disk_bytes).sum();
            prop_assert!(disk <= 2 * original + 8 * EMPTY, "{disk} of {original}");
            prop_assert!(written <= 12 * original + 1);
        }
    }
}
