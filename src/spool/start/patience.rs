//! How long a start waits for a disk that does not answer.
//!
//! A bus that is reset, or a stick that is put back, answers again, and so does a machine that has
//! no file to spare for the moment. What is not answered by then is left to the reader, which comes
//! back to it as often as it takes, while records are taken: a dead region can take many minutes.

use crate::spool::block::Header;
use crate::spool::scan::{self, BadPages, Scanned};
use crate::spool::segment::SegmentId;
use crate::spool::store::DATA_FILE;
use rustix::io::Errno;
use std::cell::Cell;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// For how long, in all, it tries again.
const TRIES: Duration = Duration::from_secs(5);
const BETWEEN: Duration = Duration::from_millis(500);

/// See the module; for all segments of one start.
#[derive(Debug, Default)]
pub struct Patience {
    spent: Cell<Duration>,
}

impl Patience {
    /// The blocks of a segment's file, if all of it can be read; `None` when there is no such file.
    pub fn scan(&self, path: &Path) -> io::Result<Option<Scanned>> {
        let path = path.join(DATA_FILE);
        loop {
            let begun = Instant::now();
            let left = TRIES.saturating_sub(self.spent.get());
            let error = match Scanned::open_within(left, &path, &mut BadPages::default()) {
                Ok(scanned) if scanned.is_unreadable() => Errno::IO.into(),
                Ok(scanned) => return Ok(Some(scanned)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => error,
            };
            let may_pass = may_pass(&error) && !left.is_zero();
            if may_pass {
                thread::sleep(BETWEEN);
            }
            self.spent.set(self.spent.get() + begun.elapsed());
            if !may_pass {
                return Err(error);
            }
        }
    }

    /// A segment's intact blocks: one whose first commit failed has none.
    pub fn blocks_of(&self, path: &Path, id: SegmentId) -> io::Result<Vec<Header>> {
        let scanned = self.scan(path)?;
        let blocks = scanned.iter().flat_map(|scanned| &scanned.blocks).map(|found| found.header);
        Ok(blocks.filter(|block| block.first >= id.first).collect())
    }
}

/// Whether that may be over in a moment, without a hand.
fn may_pass(error: &io::Error) -> bool {
    let lacks = [Errno::NFILE, Errno::MFILE, Errno::NOMEM].map(Errno::raw_os_error);
    scan::is_bad_sector(error) || error.raw_os_error().is_some_and(|code| lacks.contains(&code))
}
