//! How long does a delivery take?
//!
//! A clock reading for each record would cost more than the answer is worth: one record of
//! each run handed over is marked, and its report stops its watch. Memory is bounded. It
//! deliberately has no clock: times are handed in.

use super::window::Window;
use crate::record::Sequence;
use std::time::{Duration, Instant};

/// Marks open at once, at most.
const MARKS: usize = 64;

/// The marked records that are in flight.
#[derive(Debug, Default)]
pub struct Pulse {
    marks: Vec<(Sequence, Instant)>,
}

impl Pulse {
    /// The record was handed over now; it is marked if a mark is free.
    pub fn mark(&mut self, sequence: Sequence, now: Instant) {
        if self.marks.len() < MARKS {
            self.marks.push((sequence, now));
        }
    }

    /// Reports came in: calls `observe` for each marked record that was delivered.
    pub fn stop(&mut self, window: &Window, now: Instant, mut observe: impl FnMut(Duration)) {
        self.marks.retain(|(sequence, since)| {
            let delivered = window.has_delivered(*sequence);
            if delivered {
                observe(now.duration_since(*since));
            }
            !delivered
        });
    }

    /// What is in flight will be sent again, and is marked anew then.
    pub fn clear(&mut self) {
        self.marks.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_once_when_its_record_was_delivered() {
        let mut window = Window::new(Sequence(0), 10, 10_000);
        let mut pulse = Pulse::default();
        let start = Instant::now();
        for sequence in [Sequence(0), Sequence(1)] {
            window.sent(sequence, 1, 0);
            pulse.mark(sequence, start);
        }
        window.delivered(Sequence(1));
        let mut seen = Vec::new();
        let later = start + Duration::from_millis(7);
        pulse.stop(&window, later, |duration| seen.push(duration));
        pulse.stop(&window, later, |duration| seen.push(duration));
        assert_eq!(seen, [Duration::from_millis(7)]);
    }
}
