//! Which segment counts, where several on the disk tell of the same sequences.
//!
//! That happens in two ways. A commit that failed is made again in a segment that begins at the
//! same sequence. And the repacker puts one segment in the place of one or more neighbours: the
//! new one stands in the directory, synced, before the first of the old ones leaves it, and a
//! power cut may bring back old ones that had left. So at a start there is any number of the old
//! ones beside the new one, and the rule is:
//!
//! 1. Of those that begin at the same sequence, generations of one another, the highest sealed
//!    one counts; if none is sealed, the highest that holds a whole block.
//! 2. A sealed, repacked one that counts stands for all that begin within it, too: it was made
//!    of them. (Ranges of two repacked ones never overlap but for one that holds the other.)
//!
//! It deliberately does not look at a disk: what it must know it asks for.

use super::segment::{Seal, SegmentId};

/// Which of `found`, in the order of their names, another one stands for. `has_blocks` is asked
/// where it matters.
pub fn superseded(
    found: &[(SegmentId, Option<Seal>)],
    has_blocks: impl Fn(SegmentId) -> bool,
) -> Vec<SegmentId> {
    let mut out = Vec::new();
    // Where the last repacked one ends.
    let mut covered = None;
    for same in found.chunk_by(|(a, _), (b, _)| a.first == b.first) {
        let ids = same.iter().map(|(id, _)| *id);
        if covered.is_some_and(|end| same[0].0.first < end) {
            out.extend(ids);
            continue;
        }
        let Some(counts) = counting(same, &has_blocks) else { continue };
        out.extend(ids.filter(|id| *id != counts.0));
        covered = counts.1.filter(|seal| seal.repacked).map(|seal| seal.end);
    }
    out
}

/// Of those that begin at one sequence the one that counts; `None` when none holds anything.
fn counting(
    same: &[(SegmentId, Option<Seal>)],
    has_blocks: &impl Fn(SegmentId) -> bool,
) -> Option<(SegmentId, Option<Seal>)> {
    if let [only] = same {
        return Some(*only);
    }
    let sealed = same.iter().rfind(|(_, seal)| seal.is_some());
    sealed.or_else(|| same.iter().rfind(|(id, _)| has_blocks(*id))).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Millis, Sequence};

    fn id(first: u64, generation: u32) -> SegmentId {
        SegmentId { first: Sequence(first), generation }
    }

    #[expect(clippy::unnecessary_wraps, reason = "as it is found")]
    fn seal(first: u64, end: u64, repacked: bool) -> Option<Seal> {
        Some(Seal {
            first: Sequence(first),
            end: Sequence(end),
            records: end - first,
            raw_bytes: 1,
            oldest: Millis(0),
            damaged: false,
            repacked,
            blocks: 1,
        })
    }

    fn out(found: &[(SegmentId, Option<Seal>)], with_blocks: &[SegmentId]) -> Vec<SegmentId> {
        superseded(found, |id| with_blocks.contains(&id))
    }

    #[test]
    fn a_merged_segment_stands_for_all_that_it_was_made_of_and_no_other() {
        let found = [
            (id(0, 0), seal(0, 5, false)),
            (id(0, 1), seal(0, 20, true)),
            (id(5, 0), seal(5, 10, false)),
            (id(10, 1), seal(10, 20, true)),
            (id(20, 0), seal(20, 30, false)),
            (id(30, 0), None),
        ];
        assert_eq!(out(&found, &[]), [id(0, 0), id(5, 0), id(10, 1)]);
        // Whichever of the old ones are gone already.
        assert_eq!(out(&found[1..], &[]), [id(5, 0), id(10, 1)]);
        assert_eq!(out(&[found[1], found[3], found[4]], &[]), [id(10, 1)]);
        assert_eq!(out(&[found[1], found[4]], &[]), []);
    }

    #[test]
    fn one_that_was_not_repacked_stands_for_no_neighbour() {
        let found = [(id(0, 0), seal(0, 20, false)), (id(5, 0), seal(5, 20, false))];
        assert_eq!(out(&found, &[]), []);
    }

    #[test]
    fn a_sealed_generation_counts_before_a_higher_one_without_a_seal() {
        let found = [(id(0, 0), seal(0, 5, false)), (id(0, 1), None)];
        assert_eq!(out(&found, &[id(0, 1)]), [id(0, 1)]);
        let found = [(id(0, 0), None), (id(0, 1), seal(0, 5, false)), (id(0, 2), None)];
        assert_eq!(out(&found, &[id(0, 0)]), [id(0, 0), id(0, 2)]);
    }

    #[test]
    fn without_a_seal_the_highest_that_holds_a_block_counts() {
        let found = [(id(0, 0), None), (id(0, 1), None), (id(0, 2), None)];
        assert_eq!(out(&found, &[id(0, 0), id(0, 1)]), [id(0, 0), id(0, 2)]);
        assert_eq!(out(&found, &[]), [], "each is looked at by itself");
    }
}
