//! Is there room among the dead letters for one more body that is no message?
//!
//! Such a body becomes a letter in its turn, which may be behind an outage, and waits in the spool
//! until then. So those that wait count as well, and a quarter of the room is left to records that
//! Kafka refuses: whoever posts what is no message cannot bring it about that nothing can be set aside any more,
//! and that everybody's records wait for a hand.
//!
//! Those that an earlier process left waiting are not known here, nor those of a topic that is held;
//! where they are many, the letters may be full all the same, and the forwarder waits, as ever. The
//! letters are counted where files are read again (`reload.rs`), never by the thread that serves: there may
//! be thousands, on a slow disk. It does not know what is wrong with a body, nor how a letter is kept.

use super::reload::Look;
use crate::dead;
use crate::spool::{Append, SpoolWriter};
use std::collections::VecDeque;
use std::ops::{Add, AddAssign};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two looks at the letters, at least: there may be thousands.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Bytes of a letter beside the body.
const AROUND: u64 = 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Keeping {
    writer: SpoolWriter,
    /// What bodies may take of the letters.
    most: Share,
    state: Mutex<State>,
}

/// A part of the letters: how many, and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Share {
    letters: u64,
    bytes: u64,
}

impl Share {
    fn one(bytes: u64) -> Self {
        Self { letters: 1, bytes }
    }
}

impl Add for Share {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self { letters: self.letters + more.letters, bytes: self.bytes + more.bytes }
    }
}

impl AddAssign for Share {
    fn add_assign(&mut self, more: Self) {
        *self = *self + more;
    }
}

#[derive(Debug, Default)]
struct State {
    /// A body came since the letters were looked at.
    asked: bool,
    looked_at: Option<Instant>,
    /// The letters there were then, and those that came of bodies since.
    there: Share,
    /// Those that came of bodies since the look that is under way, or was the last, began.
    since: Share,
    /// On their way: the promise of each, and the bytes that it will count. In the order of the spool.
    waiting: VecDeque<(Append, u64)>,
    /// All of them.
    on_their_way: Share,
}

impl Keeping {
    /// Of no letters, as far as is known.
    pub fn new(writer: SpoolWriter, config: dead::Config) -> Self {
        let most = Share {
            letters: dead::MOST as u64 / 4 * 3,
            bytes: config.max_size - config.max_size.div_ceil(4),
        };
        Self { writer, most, state: Mutex::default() }
    }

    /// Counts the letters, and again at every look: a hand may have made room.
    pub fn keep_up(self: &Arc<Self>) -> Look {
        let keeping = Arc::clone(self);
        keeping.state().asked = true;
        keeping.look();
        Box::new(move || keeping.look())
    }

    /// Appends a body of so many bytes with `put`, if there is room for it.
    pub fn append<E>(
        &self,
        len: usize,
        put: impl FnOnce() -> Result<Append, E>,
    ) -> Result<Option<Append>, E> {
        let mut state = self.state();
        state.asked = true;
        self.settle(&mut state);
        let bytes = dead::counted(len as u64 + AROUND);
        let with = state.there + state.on_their_way + Share::one(bytes);
        if with.letters > self.most.letters || with.bytes > self.most.bytes {
            return Ok(None);
        }
        let append = put()?;
        state.waiting.push_back((append.again(), bytes));
        state.on_their_way += Share::one(bytes);
        Ok(Some(append))
    }

    /// Those at the front of the waiting that have become letters, or never will.
    fn settle(&self, state: &mut State) {
        while let Some((append, bytes)) = state.waiting.front()
            && let Some(outcome) = append.outcome()
        {
            if outcome.as_ref().is_ok_and(|id| !self.writer.is_done_with(id.sequence)) {
                return;
            }
            let (became, one) = (outcome.is_ok(), Share::one(*bytes));
            state.waiting.pop_front();
            state.on_their_way.letters -= one.letters;
            state.on_their_way.bytes -= one.bytes;
            if became {
                state.there += one;
                state.since += one;
            }
        }
    }

    /// Counts the letters, unless nobody has asked for room, or it was done just now.
    fn look(&self) {
        let is_due = {
            let mut state = self.state();
            let is_due = state.asked && state.looked_at.is_none_or(|at| at.elapsed() >= LOOK_EVERY);
            if is_due {
                state.asked = false;
            }
            is_due
        };
        if is_due {
            self.count();
            self.state().looked_at = Some(Instant::now());
        }
    }

    /// Counts the letters: it may take as long as the disk does.
    fn count(&self) {
        {
            let mut state = self.state();
            // What has become a letter by now will be found.
            self.settle(&mut state);
            state.since = Share::default();
        }
        match dead::list_all(self.writer.dir()) {
            Ok(letters) => {
                let found = letters.iter().map(|found| Share::one(found.bytes));
                let found = found.fold(Share::default(), Share::add);
                let mut state = self.state();
                // Some of these may have been found already: the next look tells.
                state.there = found + state.since;
            }
            Err(error) => tracing::warn!("cannot list the dead letters: {error}"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Millis, NewRecord, Reception, Route};
    use crate::spool::{self, AppendError, Spool};
    use std::path::Path;

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
        keeping.count();
        assert_eq!(keeping.state().there, Share::default());
        settled(&keep().unwrap());
        // What became a letter before a look is found by it, and counts once.
        while reader.next_block().unwrap().is_some() {}
        reader.advance_watermark(reader.end());
        keeping.count();
        let state = keeping.state();
        assert_eq!((state.there, state.on_their_way), (Share::default(), Share::default()));
        drop(state);
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
