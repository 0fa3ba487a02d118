//! A spool seen from outside: by a command, beside a running service or without one.
//!
//! It only reads: no lock is kept, no file or directory made, nothing written or moved, so that
//! it works on a read-only mount and as any user who may read the files. What it finds may be
//! outdated at once: a segment that vanishes was freed, or merged into another one, and the
//! directory is looked at again; a segment that is being written is read as far as it has come.
//!
//! - `view.rs`: which segments there are, which of them count, and the marks;
//! - `held.rs`: the spools inside it;
//! - `walk.rs`: the segments one after the other, open for reading, and what lies between them;
//! - `select.rs`: the records of a part of the spool;
//! - `verify.rs`: whether all is there that ought to be.
//!
//! What it deliberately does not know: how a start repairs what it finds (`start.rs`).

mod held;
mod select;
mod verify;
mod view;
mod walk;

pub use held::{Held, books, held};
pub use select::{Selection, Selector};
pub use verify::{Damage, Verified, verify};
pub use view::{Segment, State, View, look};

use std::io;
use std::path::PathBuf;

/// Why a spool could not be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookError {
    #[error("there is no spool in {}", .0.display())]
    NoSpool(PathBuf),
    #[error("cannot read {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}
