//! The spools inside a spool: the records of topics that Kafka refuses (`spool/held.rs`).

use super::LookError;
use super::view::{View, look};
use crate::ledger::Ledger;
use crate::spool::held::held_dirs;
use std::path::Path;

/// One of them.
#[derive(Debug, Clone)]
pub struct Held {
    pub topic: String,
    pub view: View,
}

impl Held {
    /// Its records that wait.
    pub fn waiting(&self) -> u64 {
        self.view.ledger().map_or(0, |ledger| ledger.spooled)
    }
}

/// Those in the spool in `dir`, by topic.
pub fn held(dir: &Path) -> Result<Vec<Held>, LookError> {
    let wrong = |source| LookError::Io { path: dir.to_owned(), source };
    let mut held = Vec::new();
    for (topic, dir) in held_dirs(dir).map_err(wrong)? {
        match look(&dir) {
            Ok(view) => held.push(Held { topic, view }),
            // Just being made.
            Err(LookError::NoSpool(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(held)
}

/// The books of a spool and of those inside it, as one.
pub fn books(own: Ledger, held: &[Held]) -> Ledger {
    held.iter().filter_map(|held| held.view.ledger()).fold(own, |whole, held| {
        // What stands in both is known to the service alone.
        whole.with_held(held, 0)
    })
}
