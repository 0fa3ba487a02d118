//! A medium in memory that loses what was not synced: [`Stores`] for the model test.
//!
//! Parts wait in memory until a sync writes them into the segment's data file, so that a start, a
//! scan and the reader find the same bytes that sled would have left. When the power goes, any of
//! the parts that wait, whole or torn and in any order, may get there too.
//!
//! It fails on command, and as badly as a medium may: a store of which one call failed answers
//! `Ok` to everything from then on and writes nothing any more, as a kernel does that has thrown
//! away the pages it could not write. Whoever does not let go of it loses what it acknowledges.

use crate::spool::mutex::lock;
use crate::spool::part;
use crate::spool::store::{DATA_FILE, Store, Stores};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A call to a store, before or after which something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Create,
    /// After so many other parts.
    Put(u8),
    /// Before anything is written.
    Sync,
    /// After everything was written.
    Synced,
}

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Once,
    FromThenOn,
    Cut,
}

/// The medium of all stores of one process.
#[derive(Debug, Default)]
pub struct Medium {
    state: Mutex<State>,
    resumed: Condvar,
    /// Rung when the power goes at a call.
    pub cut: Notify,
}

#[derive(Debug, Default)]
struct State {
    armed: Option<(Call, Fault)>,
    /// Every call fails.
    broken: bool,
    off: bool,
    /// What a process without power does is nobody's business any more: its calls return.
    resumed: bool,
    unsynced: Vec<(Arc<File>, Vec<u8>)>,
}

/// What a start is given to make its stores with.
#[derive(Debug)]
pub struct Memory(pub Arc<Medium>);

#[derive(Debug)]
struct MemoryStore {
    medium: Arc<Medium>,
    data: Arc<File>,
    values: Mutex<Vec<Vec<u8>>>,
    /// A call failed: nothing it says is true any more.
    lies: AtomicBool,
}

impl Medium {
    /// From here on `call` goes wrong like this.
    pub fn arm(&self, call: Call, fault: Fault) {
        lock(&self.state).armed = Some((call, fault));
    }

    /// What was armed and did not happen will not; what was broken works again.
    pub fn repair(&self) {
        let mut state = lock(&self.state);
        (state.armed, state.broken) = (None, false);
    }

    /// Takes the power away: of what was not synced a part gets into the files, and nothing later.
    /// Gives how many parts were not synced.
    pub fn switch_off(&self, seed: u64) -> usize {
        let mut state = lock(&self.state);
        state.off = true;
        let mut random = fastrand::Rng::with_seed(seed);
        let mut unsynced = std::mem::take(&mut state.unsynced);
        let all = unsynced.len();
        match seed % 4 {
            0 => unsynced.clear(),
            1 => {}
            2 => unsynced.truncate(random.usize(0..=all)),
            _ => {
                random.shuffle(&mut unsynced);
                for (_, bytes) in &mut unsynced {
                    match random.u8(0..3) {
                        0 => bytes.clear(),
                        1 => bytes.truncate(random.usize(0..bytes.len())),
                        _ => {}
                    }
                }
            }
        }
        write_all(unsynced);
        all
    }

    /// Lets go of the calls that the power cut has stopped. They fail.
    pub fn resume(&self) {
        lock(&self.state).resumed = true;
        self.resumed.notify_all();
    }

    /// One call begins.
    fn enter(&self, call: Call) -> io::Result<MutexGuard<'_, State>> {
        let mut state = lock(&self.state);
        if let Some(fault) = state.due(call) {
            state.armed = None;
            match fault {
                Fault::Once => return Err(failed()),
                Fault::FromThenOn => state.broken = true,
                Fault::Cut => {
                    state.off = true;
                    self.cut.notify_one();
                }
            }
        }
        while state.off && !state.resumed {
            state = self.resumed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.off || state.broken { Err(failed()) } else { Ok(state) }
    }
}

impl State {
    /// What is to go wrong at this call, if anything.
    fn due(&mut self, call: Call) -> Option<Fault> {
        let (at, fault) = self.armed.as_mut()?;
        match (at, call) {
            (Call::Put(0), Call::Put(_)) => Some(*fault),
            (Call::Put(left), Call::Put(_)) => {
                *left -= 1;
                None
            }
            (at, call) => (*at == call).then_some(*fault),
        }
    }

    /// Takes the parts of one file out of those that wait.
    fn take(&mut self, data: &Arc<File>) -> Vec<(Arc<File>, Vec<u8>)> {
        self.unsynced.extract_if(.., |(file, _)| Arc::ptr_eq(file, data)).collect()
    }
}

fn failed() -> io::Error {
    io::Error::other("the medium was told to fail")
}

fn write_all(parts: Vec<(Arc<File>, Vec<u8>)>) {
    for (file, bytes) in parts {
        (&*file).write_all(&bytes).unwrap();
        // What stands between parts in sled's files is not a part.
        (&*file).write_all(&part::MAGIC[..3]).unwrap();
    }
}

impl Stores for Memory {
    fn create(&self, dir: &Path) -> io::Result<Box<dyn Store>> {
        drop(self.0.enter(Call::Create)?);
        let data = File::options().append(true).create_new(true).open(dir.join(DATA_FILE))?;
        Ok(Box::new(MemoryStore {
            medium: self.0.clone(),
            data: Arc::new(data),
            values: Mutex::default(),
            lies: false.into(),
        }))
    }
}

impl MemoryStore {
    fn enter(&self, call: Call) -> io::Result<MutexGuard<'_, State>> {
        let entered = self.medium.enter(call);
        if entered.is_err() {
            self.lies.store(true, Relaxed);
        }
        entered
    }
}

impl Store for MemoryStore {
    fn put(&self, place: usize, _: &part::Header, bytes: &[u8]) -> io::Result<()> {
        let mut values = lock(&self.values);
        assert_eq!(place, values.len(), "places are given in order");
        let mut state = self.enter(Call::Put(0))?;
        values.push(bytes.to_vec());
        if !self.lies.load(Relaxed) {
            state.unsynced.push((self.data.clone(), bytes.to_vec()));
        }
        Ok(())
    }

    fn get(&self, place: usize, _: &part::Header) -> io::Result<Option<Vec<u8>>> {
        Ok(lock(&self.values).get(place).cloned())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.enter(Call::Sync)?;
        write_all(state.take(&self.data));
        drop(state);
        self.enter(Call::Synced).map(drop)
    }

    fn disk_bytes(&self) -> io::Result<u64> {
        Ok(self.data.metadata()?.blocks() * 512)
    }

    fn is_whole(&self) -> io::Result<bool> {
        Ok(true)
    }
}
