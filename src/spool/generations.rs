//! Which segment counts, where several on the disk tell of the same sequences.
//!
//! That happens in two ways. A commit that failed is made again in a segment that begins at the
//! same sequence. And the repacker puts one segment in the place of one or more neighbours: the
//! new one stands in the directory, synced, before the first of the old ones leaves it, and a
//! power cut may bring back old ones that had left. So at a start there is any number of the old
//! ones beside the new one, and the rule is:
//!
//! 1. Of those that begin at the same sequence, generations of one another, the sealed one that
//!    reaches furthest counts, and of several such the highest; if none is sealed, the highest
//!    that holds a whole block.
//! 2. A sealed, repacked one that counts stands for all that begin within it, too: it was made
//!    of them. One that reaches further was not part of it, and counts from its end on.
//! 3. A copy is known without its seal, too: beside a lower generation with one (a segment whose
//!    first commit failed gets none), or by a block across the beginning of the next segment. If
//!    its blocks follow each other without a gap, its seal is what they say.
//! 4. What cannot be read for now may hold anything, and is kept. It stands for no other one, and
//!    counts unless another one stands for it: beside a sealed one, if it is a higher generation.
//!
//! It deliberately does not look at a disk: what it must know it asks for.

use super::block::Header;
use super::segment::{Seal, SegmentId};
use crate::record::Sequence;
use std::io;

/// What is known of a segment before its blocks are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    Sealed(Seal),
    /// Left by a crash, or its seal is gone.
    Open,
    Unreadable,
}

impl Known {
    /// From the reading of the seal.
    pub fn of(read: io::Result<Option<Seal>>) -> Self {
        read.map_or(Self::Unreadable, |seal| seal.map_or(Self::Open, Self::Sealed))
    }

    fn seal(self) -> Option<Seal> {
        if let Self::Sealed(seal) = self { Some(seal) } else { None }
    }
}

/// What becomes of segments that do not simply count.
#[derive(Debug, Default)]
pub struct Judged {
    /// Another one stands for these; and whether they are kept for inspection all the same, since
    /// they may hold what that one does not.
    pub superseded: Vec<(SegmentId, bool)>,
    /// Copies whose seals are gone, and what those said.
    pub copies: Vec<(SegmentId, Seal)>,
}

impl Judged {
    pub fn counts(&self, id: SegmentId) -> bool {
        self.superseded.iter().all(|(other, _)| *other != id)
    }
}

/// Judges `found`, in the order of their names. Gives `blocks` where it matters: the intact blocks
/// of a segment, in order.
pub fn judge(
    found: &[(SegmentId, Known)],
    blocks: impl Fn(SegmentId) -> io::Result<Vec<Header>>,
) -> Judged {
    let mut judged = Judged::default();
    // Where the last repacked one ends.
    let mut covered = Sequence(0);
    let mut groups = found.chunk_by(|(a, _), (b, _)| a.first == b.first).peekable();
    while let Some(same) = groups.next() {
        let counts = |(id, known): &(SegmentId, Known)| {
            id.first >= covered || known.seal().is_some_and(|seal| seal.end > covered)
        };
        let (mut same, within): (Vec<_>, Vec<_>) = same.iter().copied().partition(counts);
        for (id, known) in within {
            let keep = match known {
                Known::Sealed(_) => false,
                Known::Open => blocks(id).map_or(true, |blocks| end_of(&blocks) > covered),
                Known::Unreadable => true,
            };
            judged.superseded.push((id, keep));
        }
        let next = groups.peek().map(|behind| behind[0].0.first);
        for place in 0..same.len() {
            let (id, known) = same[place];
            let lower = same[..place].iter().filter_map(|(_, known)| known.seal()).next_back();
            let may_be_copy = id.generation > 0 && (lower.is_some() || next.is_some());
            if known == Known::Open && may_be_copy {
                same[place].1 = match blocks(id) {
                    Ok(blocks) => copied(id, &blocks, lower, next),
                    Err(_) if lower.is_some() => Known::Unreadable,
                    Err(_) => Known::Open,
                };
                judged.copies.extend(same[place].1.seal().map(|seal| (id, seal)));
            }
        }
        let end = counting(&same, &blocks, &mut judged.superseded);
        covered = covered.max(end.unwrap_or_default());
    }
    judged
}

/// Of those that begin at one sequence all but the one that counts are superseded; gives where it
/// ends if it was repacked.
fn counting(
    same: &[(SegmentId, Known)],
    blocks: &impl Fn(SegmentId) -> io::Result<Vec<Header>>,
    superseded: &mut Vec<(SegmentId, bool)>,
) -> Option<Sequence> {
    let sealed = same.iter().filter_map(|(id, known)| Some((*id, known.seal()?)));
    if let Some((best, seal)) = sealed.max_by_key(|(id, seal)| (seal.end, id.generation)) {
        for (id, known) in same.iter().filter(|(id, _)| *id != best) {
            let higher = id.generation > best.generation;
            match known {
                Known::Sealed(_) => superseded.push((*id, false)),
                // A copy that lacks a part may be all that is left of some.
                Known::Open => {
                    let holds = || blocks(*id).map_or(true, |blocks| !blocks.is_empty());
                    superseded.push((*id, higher && holds()));
                }
                Known::Unreadable if higher => {}
                Known::Unreadable => superseded.push((*id, true)),
            }
        }
        return seal.repacked.then_some(seal.end);
    }
    if same.len() < 2 {
        return None;
    }
    let read = |id, known| (known != Known::Unreadable).then(|| blocks(id).ok()).flatten();
    let mut last = same.iter().rev().map(|(id, known)| (*id, read(*id, *known)));
    let (best, known) = last.find(|(_, blocks)| blocks.as_ref().is_none_or(|b| !b.is_empty()))?;
    let others = same.iter().map(|(id, _)| *id).filter(|id| *id != best);
    superseded.extend(others.map(|id| (id, known.is_none())));
    None
}

/// What is known of a segment that may be a copy whose seal is gone, beside a `lower` generation
/// and with the `next` segment beginning there.
fn copied(id: SegmentId, blocks: &[Header], lower: Option<Seal>, next: Option<Sequence>) -> Known {
    let mut at = id.first;
    let whole = blocks.iter().all(|b| std::mem::replace(&mut at, b.end()) == b.first);
    let spans = |next| blocks.iter().any(|block| block.first < next && next < block.end());
    let beside = lower.is_some_and(|lower| lower.end < at);
    let Some(oldest) = blocks.iter().map(|block| block.base).min() else { return Known::Open };
    if !whole || !(beside || next.is_some_and(spans)) {
        return Known::Open;
    }
    Known::Sealed(Seal {
        first: id.first,
        end: at,
        records: at.since(id.first),
        raw_bytes: blocks.iter().map(|block| u64::from(block.raw_len)).sum(),
        oldest,
        damaged: false,
        repacked: true,
        blocks: u16::try_from(blocks.len()).unwrap_or(0),
    })
}

fn end_of(blocks: &[Header]) -> Sequence {
    blocks.iter().map(Header::end).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Millis;
    use crate::spool::block;

    fn id(first: u64, generation: u32) -> SegmentId {
        SegmentId { first: Sequence(first), generation }
    }

    fn seal(first: u64, end: u64, repacked: bool) -> Known {
        Known::Sealed(Seal {
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

    fn block(first: u64, end: u64) -> Header {
        let count = u32::try_from(end - first).unwrap();
        let mut bytes = b"WSBK\x01\0\0\0".to_vec();
        bytes.extend([1_u64.to_le_bytes(), first.to_le_bytes()].concat());
        bytes.extend([count, 1_000, 1_000].map(u32::to_le_bytes).concat());
        bytes.extend([0; 8]);
        block::read_header(&bytes).unwrap()
    }

    type Blocks<'a> = &'a [(SegmentId, &'a [(u64, u64)])];

    fn judged(found: &[(SegmentId, Known)], with_blocks: Blocks<'_>) -> Judged {
        judge(found, |id| {
            let blocks = with_blocks.iter().find(|(other, _)| *other == id).map(|(_, b)| *b);
            Ok(blocks.unwrap_or_default().iter().map(|(first, end)| block(*first, *end)).collect())
        })
    }

    fn out(found: &[(SegmentId, Known)], with_blocks: Blocks<'_>) -> Vec<SegmentId> {
        judged(found, with_blocks).superseded.into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn a_merged_segment_stands_for_all_that_it_was_made_of_and_no_other() {
        let found = [
            (id(0, 0), seal(0, 5, false)),
            (id(0, 1), seal(0, 20, true)),
            (id(5, 0), seal(5, 10, false)),
            (id(10, 1), seal(10, 20, true)),
            (id(20, 0), seal(20, 30, false)),
            (id(30, 0), Known::Open),
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
    fn a_sealed_one_that_reaches_beyond_the_repacked_one_before_it_counts() {
        let found = [
            (id(0, 1), seal(0, 20, true)),
            (id(10, 0), seal(10, 20, false)),
            (id(10, 1), seal(10, 30, true)),
            (id(20, 0), seal(20, 30, false)),
        ];
        assert_eq!(out(&found, &[]), [id(10, 0), id(20, 0)]);
    }

    #[test]
    fn a_sealed_generation_counts_before_a_higher_one_without_a_seal() {
        let found = [(id(0, 0), seal(0, 5, false)), (id(0, 1), Known::Open)];
        assert_eq!(judged(&found, &[(id(0, 1), &[(0, 3)])]).superseded, [(id(0, 1), true)]);
        assert_eq!(judged(&found, &[]).superseded, [(id(0, 1), false)]);
        let (open, sealed) = (Known::Open, seal(0, 5, false));
        let found = [(id(0, 0), open), (id(0, 1), sealed), (id(0, 2), open)];
        assert_eq!(out(&found, &[(id(0, 0), &[(0, 9)])]), [id(0, 0), id(0, 2)]);
    }

    #[test]
    fn without_a_seal_the_highest_that_holds_a_block_counts() {
        let found = [0, 1, 2].map(|generation| (id(0, generation), Known::Open));
        let blocks: Blocks<'_> = &[(id(0, 0), &[(0, 9)]), (id(0, 1), &[(0, 3)])];
        assert_eq!(out(&found, blocks), [id(0, 0), id(0, 2)]);
        assert_eq!(out(&found, &[]), [], "each is looked at by itself");
    }

    #[test]
    fn a_copy_without_its_seal_is_known_by_what_it_holds() {
        let (old, next) = ((id(0, 0), seal(0, 5, false)), (id(5, 0), seal(5, 10, false)));
        let copy = (id(0, 1), Known::Open);
        let blocks: Blocks<'_> = &[(copy.0, &[(0, 8), (8, 20)])];
        for found in [&[old, copy, next][..], &[copy, next]] {
            let judged = judged(found, blocks);
            assert!(judged.superseded.iter().all(|(id, keep)| *id != copy.0 && !keep));
            assert_eq!(judged.superseded.len(), found.len() - 1);
            assert_eq!(judged.copies[0].0, copy.0);
            assert_eq!(judged.copies[0].1.end, Sequence(20));
            assert!(judged.copies[0].1.repacked);
        }
        // One that lacks a block is none, nor what a commit left that failed.
        let found = [old, copy, next];
        assert_eq!(judged(&found, &[(copy.0, &[(0, 8), (9, 20)])]).superseded, [(copy.0, true)]);
        assert_eq!(out(&[copy, next], &[(copy.0, &[(0, 5), (5, 8)])]), []);
    }

    #[test]
    fn what_cannot_be_read_is_kept_and_stands_for_no_other() {
        let (old, gone) = ((id(0, 0), seal(0, 5, false)), Known::Unreadable);
        let next = (id(5, 0), seal(5, 10, false));
        assert_eq!(out(&[old, (id(0, 1), gone), next], &[]), []);
        let copy = (id(0, 1), seal(0, 20, true));
        let found = [(id(0, 0), gone), copy, (id(5, 0), gone)];
        assert_eq!(judged(&found, &[]).superseded, [(id(0, 0), true), (id(5, 0), true)]);
        let found = [(id(0, 0), Known::Open), (id(0, 1), gone)];
        assert_eq!(judged(&found, &[(id(0, 0), &[(0, 5)])]).superseded, [(id(0, 0), true)]);
        // Of a copy only its data cannot be read.
        let failing = |_| Err(io::ErrorKind::PermissionDenied.into());
        let found = [old, (id(0, 1), Known::Open), next];
        assert_eq!(judge(&found, failing).superseded, []);
    }
}
