//! Dead letters: records that Kafka can never take, kept with the reason until somebody decides.
//!
//! One file a letter in `dead/` of the spool's directory; `letter.rs` has its format and its name,
//! [`Store`] keeps letters and takes them back, [`look`] reads them beside a running service, and
//! `leave.rs` lets them go, dropped or sent again.
//! What it guarantees:
//!
//! - when [`Store::keep`] returns `Ok`, the letter survives `kill -9` and a power cut;
//! - a letter is whole under its name, or not there: it is written beside, synced, and renamed;
//!   a second one of the same record replaces the first in one step;
//! - a spool inside another one (of a topic that is held) has letters of its own, within its place;
//! - all letters together stay within [`Config::max_size`], and no letter makes room for another:
//!   a full store refuses;
//! - what is damaged, or was put there by somebody else, is named and left as it is, until a hand
//!   drops it;
//! - whatever a crash leaves of a letter that leaves, after the next start there is a letter and a
//!   dead record in the books, or neither.
//!
//! It deliberately does not know Kafka, nor when a record is one that it can never take; and it
//! keeps no books: how many records are dead is the spool's to say (`spool/progress.rs`).

mod leave;
mod letter;
mod look;
#[cfg(test)]
mod sample;
mod store;

pub use leave::{Left, drop_letters, recover, send_again};
pub use letter::{Letter, Name, Unreadable};
pub use look::{Found, LookError, counted, list, list_all, read};
pub use store::{Config, KeepError, MOST, Store};

use std::path::{Path, PathBuf};

/// Where the letters of the spool in `spool` lie.
pub fn place(spool: &Path) -> PathBuf {
    spool.join("dead")
}
