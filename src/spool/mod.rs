//! The spool: an ordered, durable, bounded queue of records on the box's own disk.
//!
//! [`open`] gives two halves, a [`SpoolWriter`] for the handlers and a [`SpoolReader`] for the
//! forwarder, and [`Acks`], which wakes the handlers. What it guarantees:
//!
//! - when an [`Append`] resolves to `Ok`, the record survives `kill -9` and a power cut;
//! - the reader sees records in the order of their sequences, and only durable ones;
//! - a record leaves only when the owner of the reader says that it was delivered, or it is
//!   written down why (see `progress.rs`), so that the books balance;
//! - memory does not depend on how much waits.
//!
//! What it assumes of the medium: what `fdatasync` has returned for stays. A disk that lies about
//! its cache costs what was in that cache; the start lists what it can know to be missing.
//!
//! What it costs on the disk, in bytes a byte of JSON, for commits of 1, 20 and 128 records
//! (`tests/library/repack.rs` and the benchmark, whose vehicles differ): 1.9 to 2.0, 0.25 and 0.14 to 0.15
//! at first, and at most 0.15, 0.13 and 0.14 once it has waited for a minute and was repacked;
//! the progress takes 128 KiB whatever waits. What it costs in wear: blocks of 1.06, 0.20 and 0.13
//! bytes are written, each once, and each commit is synced; to repack, 0.10 to 0.12 bytes more are
//! written, and nothing for what is delivered before, or is in large blocks already.
//!
//! What holds where the medium breaks that, and for a directory from elsewhere:
//!
//! - every block whose parts are intact in a segment's bytes is read, whatever stands around them;
//! - what is missing up to the acknowledged-through mark is lost by name, once, and its file ends
//!   in quarantine. The mark is written about once a second and at a close: after any other stop
//!   what was acknowledged behind it, and damaged, cannot be told from what was never written
//!   ([`OpenReport::uncertain_from`]);
//! - a segment that cannot be read for now (no permission) is neither skipped nor in the way of
//!   new records: the reader waits for it, and behind the last one sequences are left free for what
//!   it may hold beyond the mark;
//! - a progress file that is lost or older than the segments costs repeats, never a gap; and since
//!   every start has a random epoch of its own, no id of a record is given twice, not even by two
//!   copies of one directory (see `start.rs`);
//! - what was written by a newer program is set aside whole, and a new spool is begun.
//!
//! # Layout
//!
//! - `batch.rs`: what waits for its commit; `writer.rs`: the commit thread;
//! - `block.rs`, `part.rs`, `wire.rs`: a group commit as bytes;
//! - `segment.rs`, `store.rs`: the tail on the disk; `catalog.rs`: all segments; `scan.rs`,
//!   `reader.rs`: reading them;
//! - `removal.rs`: what leaves otherwise than by delivery; `claims.rs`: who may have what;
//!   `letters.rs`: dead letters that leave;
//! - `repack.rs`: old segments of small blocks written anew; `generations.rs`: which one counts;
//! - `held.rs`: spools inside a spool, of topics that are refused;
//! - `progress.rs`: how far it has come; `keeper.rs`: housekeeping; `start.rs`: after a stop;
//! - `fuzzing.rs`: what must hold for any bytes;
//! - [`outside`]: looking at a spool that another process may have open;
//! - `config.rs`: what is set; `depth.rs`: what waits; `dir.rs`: the directory; `aside.rs`: what is kept beside the spool;
//!   `ids.rs`: random numbers; `shared.rs`, `mutex.rs`: what all of them share.
//!
//! It deliberately knows nothing of HTTP, of GPS and of Kafka.

mod aside;
mod batch;
mod block;
mod catalog;
mod claims;
mod config;
mod depth;
mod dir;
#[doc(hidden)]
pub mod fuzzing;
mod generations;
mod held;
mod ids;
mod keeper;
mod letters;
#[cfg(test)]
mod model;
mod mutex;
pub mod outside;
mod part;
mod progress;
mod reader;
mod removal;
mod repack;
#[cfg(test)]
mod sample;
mod scan;
mod segment;
mod shared;
mod start;
mod store;
mod wire;
mod writer;

pub use batch::{Acks, Append, Together};
pub use block::Block;
pub use claims::{Held, HoldError};
pub use config::{Config, WhenFull};
pub use depth::Depth;
pub use held::held_dirs;
pub use letters::{Again, Unfinished};
pub use progress::{AT_ONCE as LETTERS_AT_ONCE, Buried};
pub use reader::{ReadError, SpoolReader};
pub use removal::Hold;
pub use store::start_threads;

use crate::ledger::Ledger;
use crate::record::{Epoch, NewRecord, Sequence};
use keeper::Chore;
use mutex::lock;
use shared::Shared;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Why a spool could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    #[error("the spool {} is in use by process {pid}; stop that one first", dir.display())]
    InUse { dir: PathBuf, pid: String },
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

/// Why a record was not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    #[error("the spool is full: {0}")]
    Full(String),
    #[error("too many records are waiting to be committed")]
    Busy,
    #[error("the spool cannot write to its disk: {0}")]
    Failed(String),
    #[error("the spool is closing")]
    Closing,
    #[error(
        "the record is larger than 1 MiB, than 2.5 MiB with its headers, or than may wait at all"
    )]
    TooLarge,
}

impl AppendError {
    fn from_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full(error.to_string())
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// How the process before this one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastStop {
    /// There was none: the spool is new.
    First,
    /// It closed the spool.
    Clean,
    /// It did not, and the machine has run on.
    Crash,
    /// It did not, and the machine was started anew.
    Power,
}

/// What was found at the start.
#[derive(Debug, Clone)]
pub struct OpenReport {
    /// 32 hex digits, for as long as the spool exists.
    pub spool_id: String,
    pub last_stop: LastStop,
    pub epoch: Epoch,
    pub ledger: Ledger,
    /// Sequences found missing at this start: first, end (exclusive).
    pub lost: Vec<(Sequence, Sequence)>,
    /// After a stop without a close: from here on nothing says what was acknowledged. What is there
    /// is taken for all that there was; damage behind it would not be noticed.
    pub uncertain_from: Option<Sequence>,
    /// Spools of a newer program that lie in `set-aside/`.
    pub set_aside: Vec<PathBuf>,
}

/// An open spool.
#[derive(Debug)]
pub struct Spool {
    pub writer: SpoolWriter,
    pub reader: SpoolReader,
    pub acks: Acks,
    pub report: OpenReport,
}

/// Opens the spool in `config.dir`, creating it when it is not there: takes the lock, makes a
/// spool of what an earlier process left, starts the commit thread and the keeper.
pub fn open(config: Config) -> Result<Spool, OpenError> {
    open_on(config, Arc::new(store::Sled), None)
}

/// [`open`], with databases of this make, in the directory of another spool or for itself.
fn open_on(
    config: Config,
    stores: Arc<dyn store::Stores>,
    within: Option<Arc<Shared>>,
) -> Result<Spool, OpenError> {
    let root = config.dir.clone();
    let wrong = |doing: &'static str| {
        let path = root.clone();
        move |source| OpenError::Io { doing, path, source }
    };
    dir::create(&config.dir).map_err(wrong("create"))?;
    let lock_file = dir::lock(&config.dir).map_err(|error| match error {
        dir::LockError::Held(pid) => OpenError::InUse { dir: config.dir.clone(), pid },
        dir::LockError::Io(source) => wrong("lock")(source),
    })?;
    aside::set_newer_aside(&config.dir).map_err(wrong("set aside the newer spool in"))?;
    let found = start::start(&config)?;
    let aside = aside::Aside::look(&config.dir).map_err(wrong("measure"))?;

    let mut epoch = [0; 8];
    ids::random(&mut epoch);
    let epoch = Epoch(u64::from_le_bytes(epoch));
    let progress = &found.books.progress;
    let report = OpenReport {
        spool_id: format!("{:032x}", u128::from_be_bytes(progress.spool_id)),
        last_stop: found.last_stop,
        epoch,
        ledger: progress.ledger(found.next),
        lost: found.lost,
        uncertain_from: found.uncertain_from,
        set_aside: aside.spools.clone(),
    };
    let other_bytes =
        dir::other_bytes(&config.dir, |_| false, |_| false).map_err(wrong("measure"))?;
    let shared = Arc::new(Shared {
        epoch,
        queue: batch::Queue::new(config.max_pending),
        ready: Arc::default(),
        catalog: Mutex::new(catalog::Catalog::new(found.entries)),
        published: found.next.0.into(),
        watermark: progress.watermark().0.into(),
        progress_file: Mutex::new(found.file),
        books: Mutex::new(found.books),
        readable: tokio::sync::Notify::new(),
        ahead: Mutex::default(),
        other_bytes: other_bytes.into(),
        measuring: Mutex::default(),
        inside: shared::Inside::default(),
        within,
        aside: Mutex::new(aside),
        free_asked: false.into(),
        stuck: Mutex::default(),
        _lock: lock_file,
        committing: Mutex::default(),
        keeping: Mutex::default(),
        repacking: shared::Bell::default(),
        repacked: shared::Bell::default(),
        repack_step: Mutex::default(),
        failure: std::sync::OnceLock::new(),
        stats: shared::Stats::default(),
        stores,
        config,
    });
    shared.look_for_room();

    let (chores, inbox) = mpsc::channel();
    let committer = writer::Committer::new(shared.clone(), chores.clone());
    let committer = committer.map_err(wrong("prepare to write"))?;
    let spawn = |name: &str| thread::Builder::new().name(name.to_owned());
    let kept = shared.clone();
    let keeper = spawn("keeper").spawn(move || keeper::run(&kept, &inbox));
    let commit = spawn("commit").spawn(move || committer.run());
    let repacked = shared.clone();
    let repack = spawn("repack").spawn(move || repack::run(&repacked));
    let running = Running {
        commit: commit.map_err(wrong("start a thread for"))?,
        keeper: keeper.map_err(wrong("start a thread for"))?,
        repack: repack.map_err(wrong("start a thread for"))?,
    };
    let owner = Owner {
        shared: shared.clone(),
        chores: chores.clone(),
        running: Mutex::new(Some(running)),
    };
    Ok(Spool {
        acks: shared.ready.acks(),
        reader: SpoolReader::new(shared, chores),
        writer: SpoolWriter { owner: Arc::new(owner) },
        report,
    })
}

/// The half that takes records. Cheap to clone; used from many handlers at once.
#[derive(Debug, Clone)]
pub struct SpoolWriter {
    owner: Arc<Owner>,
}

/// A spool that could not be closed in order; nothing acknowledged is lost by it.
#[derive(Debug, thiserror::Error)]
#[error("the spool was not closed cleanly: {0}")]
pub struct CloseError(String);

impl SpoolWriter {
    /// Puts the record into the open batch. Nothing is promised until the result resolves to
    /// `Ok`.
    pub fn append(&self, record: &NewRecord<'_>) -> Result<Append, AppendError> {
        self.owner.shared.queue.append(record)
    }

    /// To put several records into one batch: all of them become durable, or none does.
    pub fn together(&self) -> Together<'_> {
        self.owner.shared.queue.together()
    }

    /// Bytes of records that may wait for their commit in all.
    pub fn max_pending(&self) -> usize {
        self.owner.shared.config.max_pending
    }

    /// Why the next record would not be taken, if so.
    pub fn refusal(&self) -> Option<AppendError> {
        self.owner.shared.queue.refusal()
    }

    /// Why the spool cannot go on until the process is started again, if so.
    pub fn failure(&self) -> Option<String> {
        self.owner.shared.failure.get().cloned()
    }

    /// Why the spool makes no progress, if one of its threads has been at one piece of work (a
    /// commit, housekeeping) for longer than `limit`, or the repacker at a step for ten times that.
    pub fn stalled(&self, limit: Duration) -> Option<String> {
        let (what, elapsed) = self.owner.shared.stalled(limit)?;
        Some(format!("{what} of the spool has been under way for {} s", elapsed.as_secs()))
    }

    /// Keeps what waits of `first` to `end` (exclusive) from the reader, as far as it was never
    /// handed out, to be taken out by an operator's hand.
    pub fn hold(&self, first: Sequence, end: Sequence) -> Result<Hold, HoldError> {
        let Owner { shared, chores, .. } = &*self.owner;
        Hold::take(shared.clone(), chores.clone(), first, end)
    }

    pub fn depth(&self) -> Depth {
        self.owner.shared.depth()
    }

    pub fn ledger(&self) -> Ledger {
        self.owner.shared.ledger()
    }

    /// Commits what waits, seals the tail, writes the progress and joins the threads; blocks
    /// meanwhile. Later appends answer [`AppendError::Closing`]. A second call does nothing.
    pub fn close(&self) -> Result<(), CloseError> {
        self.owner.close()
    }
}

/// Owns the threads, and joins them.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    chores: Sender<Chore>,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    commit: JoinHandle<()>,
    keeper: JoinHandle<io::Result<()>>,
    repack: JoinHandle<()>,
}

impl Owner {
    fn close(&self) -> Result<(), CloseError> {
        let Some(running) = lock(&self.running).take() else { return Ok(()) };
        self.shared.queue.close();
        self.shared.repacking.ring();
        let committed = running.commit.join();
        // A keeper that has ended already says why when it is joined.
        let _ = self.chores.send(Chore::Close);
        let kept = running.keeper.join();
        let repacked = repack::join(&self.shared, running.repack);
        let (Ok(()), Ok(()), Ok(kept)) = (committed, repacked, kept) else {
            return Err(CloseError("one of its threads panicked".to_owned()));
        };
        kept.map_err(|error| CloseError(error.to_string()))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!("{error}");
        }
    }
}
