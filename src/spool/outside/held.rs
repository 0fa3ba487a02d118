//! The spools inside a spool: the records of topics that Kafka refuses (`spool/held.rs`).

use super::LookError;
use super::view::{View, look};
use crate::ledger::Ledger;
use crate::spool::dir::{self, HELD};
use std::fs;
use std::io;
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
    let place = dir.join(HELD);
    let wrong = |source| LookError::Io { path: place.clone(), source };
    let mut topics = match dir::names(&place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(wrong)?,
    };
    topics.retain(|topic| fs::metadata(place.join(topic)).is_ok_and(|meta| meta.is_dir()));
    let mut held = Vec::new();
    for topic in topics {
        match look(&place.join(&topic)) {
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
