//! The records of a part of the spool, block by block, in the order of their sequences.

use super::LookError;
use super::view::View;
use super::walk::{Opened, Walk};
use crate::record::{Millis, Record, Sequence};
use crate::spool::block::Block;
use crate::spool::scan::FoundBlock;
use std::collections::VecDeque;
use std::path::Path;

/// Which records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Selection {
    /// From this sequence on.
    pub first: Option<Sequence>,
    /// Below this sequence.
    pub end: Option<Sequence>,
    /// Received at this moment or later.
    pub since: Option<Millis>,
    /// Received before this moment.
    pub until: Option<Millis>,
    /// Those too that are on the disk and do not wait any more: delivered, or removed.
    pub with_done: bool,
}

impl Selection {
    /// Whether this record is one of them, as far as its sequence and its reception go.
    pub fn takes(&self, record: &Record<'_>) -> bool {
        let (sequence, received) = (record.sequence, record.received.at);
        self.first.is_none_or(|first| sequence >= first)
            && self.end.is_none_or(|end| sequence < end)
            && self.since.is_none_or(|since| received >= since)
            && self.until.is_none_or(|until| received < until)
    }
}

/// Gives out the blocks that hold selected records.
#[derive(Debug)]
pub struct Selector {
    selection: Selection,
    walk: Walk,
    opened: Option<Opened>,
    /// Which blocks of the opened segment are still to be read.
    next: usize,
    at: Sequence,
    /// What waits, of the sequences that are still to come.
    waiting: VecDeque<(Sequence, Sequence)>,
    missing: Vec<(Sequence, Sequence)>,
}

impl Selector {
    /// Begins with the spool as it is now.
    pub fn new(dir: &Path, selection: Selection) -> Result<Self, LookError> {
        let mut walk = Walk::new(dir)?;
        let lowest = if selection.with_done { walk.at() } else { walk.view().watermark() };
        let at = selection.first.unwrap_or_default().max(lowest);
        walk.skip_to(at);
        let all = (at, Sequence(u64::MAX));
        let waiting =
            if selection.with_done { vec![all] } else { walk.view().expected(all.0, all.1) };
        let (opened, next, missing) = (None, 0, Vec::new());
        Ok(Self { selection, walk, opened, next, at, waiting: waiting.into(), missing })
    }

    /// The spool as it was seen last.
    pub fn view(&self) -> &View {
        self.walk.view()
    }

    /// Ought to be there, and is not: first, end.
    pub fn missing(&self) -> &[(Sequence, Sequence)] {
        &self.missing
    }

    /// Where reading has come to.
    pub fn at(&self) -> Sequence {
        self.at
    }

    /// The next block, without what was read before; [`Selector::selected`] gives its records.
    /// `None` when all is read.
    pub fn next_block(&mut self) -> Result<Option<Block>, LookError> {
        let end = self.selection.end.unwrap_or(Sequence(u64::MAX));
        while self.at < end {
            let Some(opened) = self.opened.take() else {
                match self.walk.next()? {
                    Some(opened) => (self.opened, self.next) = (Some(opened), 0),
                    None => return Ok(None),
                }
                continue;
            };
            let ahead = |found: &FoundBlock| found.header.end() > self.at;
            let next = opened.blocks().enumerate().skip(self.next).find(|(_, found)| ahead(found));
            let next = next.map(|(place, found)| (place, found.header.first, opened.read(found)));
            let Some((place, first, read)) = next else {
                self.miss(opened.segment.end)?;
                continue;
            };
            self.next = place + 1;
            self.opened = Some(opened);
            if let Some(block) = read? {
                self.miss(first)?;
                // One of a segment that was merged meanwhile may begin with what was read before.
                let (from, end) = (self.at, block.end());
                self.at = from.max(end);
                return Ok(Some(block.between(from, end)));
            }
        }
        Ok(None)
    }

    /// The records of a block that are selected.
    pub fn selected<'a>(&self, block: &'a Block) -> impl Iterator<Item = Record<'a>> {
        let (selection, waiting) = (self.selection, self.waiting.clone());
        block.records().filter(move |record| {
            let at = record.sequence;
            let waits = waiting.iter().any(|(first, end)| *first <= at && at < *end);
            waits && selection.takes(record)
        })
    }

    /// Reading goes on at `to`, and what lies before it was not there.
    fn miss(&mut self, to: Sequence) -> Result<(), LookError> {
        let from = self.at;
        let to = to.min(self.selection.end.unwrap_or(to));
        if from < to {
            self.at = to;
            // What was freed meanwhile was delivered before, and the watermark says so.
            self.walk.look_again()?;
            self.missing.extend(self.walk.view().expected(from, to));
        }
        while self.waiting.front().is_some_and(|(_, end)| *end <= self.at) {
            self.waiting.pop_front();
        }
        Ok(())
    }
}
