//! Which epoch of which sequences was sent, as an offset's metadata say it.
//!
//! It deliberately does not know what becomes of it.

use crate::record::{Epoch, Sequence};
use std::collections::VecDeque;

/// Epochs in an offset's metadata, at most: brokers take 4,096 bytes of it, and one takes at most 38.
const MOST_EPOCHS: usize = 64;
/// The first word of the metadata.
const FORM: &str = "w1";

/// From where on which epoch was sent, in rising order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sent {
    pub(super) runs: VecDeque<(Sequence, Epoch)>,
}

impl Sent {
    /// A record was sent, behind all others.
    pub(super) fn extend(&mut self, sequence: Sequence, epoch: Epoch) {
        if self.runs.back().is_none_or(|(_, last)| *last != epoch) {
            self.runs.push_back((sequence, epoch));
            // What is forgotten so is never taken for done: it may be repeated.
            self.runs.drain(..self.runs.len().saturating_sub(MOST_EPOCHS));
        }
    }

    /// Forgets what was sent from there on.
    pub(super) fn truncate(&mut self, end: Sequence) {
        self.runs.retain(|(first, _)| *first < end);
    }

    /// Whether all of these sequences were sent under this epoch.
    pub fn covers(&self, first: Sequence, end: Sequence, epoch: Epoch) -> bool {
        let behind = self.runs.partition_point(|(from, _)| *from <= first);
        let next = self.runs.get(behind).is_none_or(|(from, _)| *from >= end);
        next && behind > 0 && self.runs[behind - 1].1 == epoch
    }

    pub(super) fn metadata(&self) -> String {
        let runs = self.runs.iter().map(|(first, epoch)| format!(" {epoch}@{first}"));
        FORM.to_owned() + &runs.collect::<String>()
    }

    /// Of an offset that somebody else wrote nothing is known.
    pub(super) fn parse(metadata: &str) -> Self {
        let run = |text: &str| {
            let (epoch, first) = text.split_once('@')?;
            let epoch = u64::from_str_radix(epoch, 16).ok()?;
            Some((Sequence(first.parse().ok()?), Epoch(epoch)))
        };
        let mut words = metadata.split(' ');
        let ours = words.next() == Some(FORM);
        let runs: Option<VecDeque<_>> = words.map(run).collect();
        let sorted =
            |runs: &VecDeque<(Sequence, Epoch)>| runs.iter().is_sorted_by_key(|(first, _)| *first);
        Self { runs: runs.filter(|runs| ours && sorted(runs)).unwrap_or_default() }
    }
}

/// An offset as the broker has it: everything below `next` that is in `sent` is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offset {
    pub next: Sequence,
    pub sent: Sent,
}

impl Offset {
    /// As Kafka tells it.
    pub fn new(offset: i64, metadata: &str) -> Self {
        Self { next: Sequence(offset.max(0).cast_unsigned()), sent: Sent::parse(metadata) }
    }
}
