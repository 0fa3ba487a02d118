//! What was handed over for all or nothing, while its outcome is not known.
//!
//! It deliberately does not know to whom.

use super::Progress;
use crate::record::Sequence;

impl Progress {
    /// What was handed over for all or nothing with an outcome that is not known: first, end.
    pub fn pending(&self) -> Option<(Sequence, Sequence)> {
        self.pending
    }

    /// What waits up to `end` is handed over for all or nothing; `None`: nothing is.
    pub fn set_pending(&mut self, end: Option<Sequence>) {
        self.pending = end.map(|end| (self.watermark, end)).filter(|(first, end)| first < end);
    }
}
