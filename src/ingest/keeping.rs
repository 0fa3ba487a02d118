//! Is there room among the dead letters for one more body that is no message?
//!
//! Such a body becomes a letter in its turn, which may be behind an outage, and waits in the spool
//! until then. So those that wait count as well, and a quarter of the room is left to records that
//! Kafka refuses: whoever posts what is no message cannot bring it about that nothing can be set aside any more,
//! and that everybody's records wait for a hand.
//!
//! Those that an earlier process left waiting are not known here, nor those of a topic that is held;
//! where they are many, the letters may be full all the same, and the forwarder waits, as ever. It does
//! not know what is wrong with a body, nor how a letter is kept.

use crate::dead;
use crate::spool::{Append, SpoolWriter};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two looks at the letters: a hand may have made room.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Bytes of a letter beside the body.
const AROUND: u64 = 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Keeping {
    writer: SpoolWriter,
    /// What bodies may take of the letters: how many, and bytes.
    most: Share,
    state: Mutex<State>,
}

/// A part of the letters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Share {
    letters: u64,
    bytes: u64,
}

#[derive(Debug, Default)]
struct State {
    looked_at: Option<Instant>,
    /// The letters there were then, and those that came of bodies since.
    there: Share,
    /// On their way: the promise of each, and the bytes that it will count. In the order of the spool.
    waiting: VecDeque<(Append, u64)>,
}

impl Keeping {
    pub fn new(writer: SpoolWriter, config: dead::Config) -> Self {
        let most = Share {
            letters: dead::MOST as u64 / 4 * 3,
            bytes: config.max_size - config.max_size.div_ceil(4),
        };
        Self { writer, most, state: Mutex::default() }
    }

    /// Appends a body of so many bytes with `put`, if there is room for it.
    pub fn append<E>(
        &self,
        len: usize,
        put: impl FnOnce() -> Result<Append, E>,
    ) -> Result<Option<Append>, E> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.settle(|append| match append.outcome()? {
            Ok(id) => self.writer.is_done_with(id.sequence).then_some(true),
            Err(_) => Some(false),
        });
        if state.looked_at.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            let letters = dead::list_all(self.writer.dir()).unwrap_or_else(|error| {
                tracing::warn!("cannot list the dead letters: {error}");
                Vec::new()
            });
            state.looked_at = Some(Instant::now());
            state.there = Share {
                letters: letters.len() as u64,
                bytes: letters.iter().map(|found| found.bytes).sum(),
            };
        }
        let bytes = dead::counted(len as u64 + AROUND);
        let with = state.with(bytes);
        if with.letters > self.most.letters || with.bytes > self.most.bytes {
            return Ok(None);
        }
        let append = put()?;
        state.waiting.push_back((append.again(), bytes));
        Ok(Some(append))
    }
}

impl State {
    /// Those at the front that have become letters, or never will.
    fn settle(&mut self, became: impl Fn(&Append) -> Option<bool>) {
        while let Some(became) = self.waiting.front().and_then(|(append, _)| became(append)) {
            let bytes = self.waiting.pop_front().map_or(0, |(_, bytes)| bytes);
            if became {
                self.there.letters += 1;
                self.there.bytes += bytes;
            }
        }
    }

    /// All of them, with one more.
    fn with(&self, bytes: u64) -> Share {
        let waiting = self.waiting.iter().map(|(_, bytes)| bytes);
        Share {
            letters: self.there.letters + self.waiting.len() as u64 + 1,
            bytes: self.there.bytes + waiting.sum::<u64>() + bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Millis, NewRecord, Reception, Route};
    use crate::spool::{self, AppendError, Spool};
    use std::path::Path;
    use std::sync::Arc;

    fn append(writer: &SpoolWriter) -> Result<Append, AppendError> {
        let (at, clock_synchronised) = (Millis::now(), true);
        writer.append(&NewRecord {
            route: &Arc::new(Route { path: "/a".into(), topic: "t".into() }),
            key: None,
            timestamp: at,
            received: Reception { at, clock_synchronised },
            headers: &[],
            value: b"no message",
            origin: None,
        })
    }

    fn settled(append: &Append) {
        while append.outcome().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn open(dir: &Path) -> Spool {
        let config = spool::Config { min_free: 0, ..spool::Config::new(dir.join("spool")) };
        spool::open(config).unwrap()
    }

    /// Fails where those that wait are not counted, or not any more once they have become letters, or
    /// where the last quarter is not left to others.
    #[test]
    fn bodies_take_three_quarters_of_the_letters_those_that_wait_among_them() {
        let dir = tempfile::tempdir().unwrap();
        let Spool { writer, mut reader, .. } = open(dir.path());
        // Room for eight, of which bodies take six.
        let keeping = Keeping::new(writer.clone(), dead::Config { max_size: 8 * 4096 });
        let keep = || keeping.append(10, || append(&writer)).unwrap();
        for _ in 0..6 {
            settled(&keep().unwrap());
        }
        assert!(keep().is_none());
        assert_eq!(writer.ledger().accepted, 6);
        // In their turn they become letters, and count as such.
        while reader.next_block().unwrap().is_some() {}
        reader.advance_watermark(reader.end());
        assert!(keep().is_none());
        // Until somebody looks again: there is no letter at all.
        keeping.state.lock().unwrap().looked_at = None;
        assert!(keep().is_some());
        writer.close().unwrap();
    }

    /// Fails where a body that was not appended counts.
    #[test]
    fn what_could_not_be_appended_takes_no_room() {
        let dir = tempfile::tempdir().unwrap();
        let Spool { writer, .. } = open(dir.path());
        let keeping = Keeping::new(writer.clone(), dead::Config { max_size: 2 * 4096 });
        for _ in 0..3 {
            let refused = keeping.append(10, || Err::<Append, _>(AppendError::Busy));
            assert_eq!(refused.unwrap_err(), AppendError::Busy);
        }
        assert!(keeping.append(10, || append(&writer)).unwrap().is_some());
        assert!(keeping.append(10, || append(&writer)).unwrap().is_none());
        let none = Keeping::new(writer.clone(), dead::Config { max_size: 0 });
        assert!(none.append(10, || append(&writer)).unwrap().is_none());
        writer.close().unwrap();
    }
}
