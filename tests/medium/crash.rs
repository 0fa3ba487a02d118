//! What a power cut may leave: of what was not synced any part, in any order.

use super::content::pieces;
use super::disk::Layers;
use super::tree::{Inode, Op};
use fastrand::Rng;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a medium writes in one piece.
const SECTOR: usize = 512;

/// Which part of what was not synced is there after the cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    Nothing,
    Everything,
    /// All names and lengths, and no bytes: a file system that journals only what it needs.
    Entries,
    /// All bytes, and no names.
    Bytes,
    /// What came first, as far as a random operation, which is torn.
    Prefix,
    /// Of each file and directory nothing, everything, or a random part: pages, and of some
    /// pages single sectors; entries; lengths without their bytes.
    Some,
}

impl Keep {
    pub const ALL: [Self; 6] =
        [Self::Nothing, Self::Everything, Self::Entries, Self::Bytes, Self::Prefix, Self::Some];
}

impl Layers {
    /// The disk after a power cut.
    pub fn crash(&self, keep: Keep, random: &mut Rng) -> Self {
        let mut tree = self.durable.clone();
        let mut odds = BTreeMap::new();
        let prefix = random.usize(..=self.pending.len());
        for (place, op) in self.pending.iter().enumerate() {
            let kept = match (keep, op.is_entry()) {
                (Keep::Everything, _) | (Keep::Entries, true) | (Keep::Bytes, false) => {
                    vec![op.clone()]
                }
                (Keep::Nothing, _) | (Keep::Bytes, true) => Vec::new(),
                (Keep::Entries, false) => length_of(op).into_iter().collect(),
                (Keep::Prefix, _) => match place.cmp(&prefix) {
                    Ordering::Less => vec![op.clone()],
                    Ordering::Equal => part_of(op, 0.5, random),
                    Ordering::Greater => Vec::new(),
                },
                (Keep::Some, _) => part_of(op, odds_of(op.inode(), &mut odds, random), random),
            };
            for op in &kept {
                tree.apply(op);
            }
        }
        self.followed_by(tree)
    }
}

fn odds_of(inode: Inode, odds: &mut BTreeMap<Inode, f64>, random: &mut Rng) -> f64 {
    *odds.entry(inode).or_insert_with(|| [0.0, 0.5, 1.0][random.usize(..3)])
}

/// The length that a write gives its file, without its bytes.
fn length_of(op: &Op) -> Option<Op> {
    match op {
        Op::Write { file, offset, bytes } => {
            let offset = offset + bytes.len() as u64;
            Some(Op::Write { file: *file, offset, bytes: Arc::new([]) })
        }
        Op::SetLen { .. } => Some(op.clone()),
        _ => None,
    }
}

/// A random part of an operation: names change whole or not at all, bytes sector by sector.
fn part_of(op: &Op, odds: f64, random: &mut Rng) -> Vec<Op> {
    let keeps = |random: &mut Rng| random.f64() < odds;
    let Op::Write { file, offset, bytes } = op else {
        return if keeps(random) { vec![op.clone()] } else { Vec::new() };
    };
    let mut kept: Vec<Op> =
        if keeps(random) { length_of(op).into_iter().collect() } else { Vec::new() };
    for (at, _, _, len) in pieces(*offset, bytes.len()) {
        let torn = random.u8(..4) == 0;
        let step = if torn { SECTOR } else { len };
        // Counted from the page's border, where the medium's sectors begin.
        let mut from = at;
        while from < at + len {
            let within = usize::try_from((offset + from as u64) % step as u64).unwrap();
            let to = (from + step - if torn { within } else { 0 }).min(at + len);
            if keeps(random) {
                let bytes = bytes[from..to].into();
                kept.push(Op::Write { file: *file, offset: offset + from as u64, bytes });
            }
            from = to;
        }
    }
    kept
}
