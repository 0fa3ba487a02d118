//! One case: a spool and its model, driven by the same operations and compared after each.
//!
//! What the spool does by the clock (the keeper's round) is asked of it here, so that a case waits
//! for nothing but the spool's own threads.

use super::expected::Model;
use super::memory::{Call, Fault, Medium};
use super::operation::{Case, Crash, Operation};
use crate::record::{Millis, NewRecord, Reception, RecordId, Route, Sequence};
use crate::spool::keeper::Chore;
use crate::spool::mutex::lock;
use crate::spool::shared::Shared;
use crate::spool::{Append, AppendError, Hold, OpenReport, SpoolReader, SpoolWriter};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// What the stores of a case are made of.
#[derive(Debug, Clone, Copy)]
pub enum Make {
    Memory,
    /// It cannot be told to fail.
    Sled,
}

/// How a case went.
#[derive(Debug, Default, Clone, Copy)]
pub struct Outcome {
    /// The power went while parts were not synced.
    pub cut_unsynced: bool,
}

/// A process.
pub struct Open {
    pub writer: SpoolWriter,
    pub reader: SpoolReader,
    pub report: OpenReport,
    pub acks: JoinHandle<()>,
}

pub type Outcomes = Vec<Result<RecordId, AppendError>>;
pub type Checked<T = ()> = Result<T, TestCaseError>;

/// See the module.
pub struct Trial {
    pub(super) make: Make,
    pub(super) medium: Arc<Medium>,
    pub(super) root: TempDir,
    pub(super) dir: PathBuf,
    /// How many processes there were.
    pub(super) processes: usize,
    pub(super) runtime: Runtime,
    pub(super) route: Arc<Route>,
    pub(super) segment_bytes: u64,
    pub(super) hold: Option<Hold>,
    pub(super) open: Option<Open>,
    pub(super) model: Model,
    /// Handed out and not below the watermark: sequence, and whether it was acknowledged.
    pub(super) in_flight: Vec<(u64, bool)>,
    /// Where the segments of this process begin.
    pub(super) begun_at: u64,
    pub(super) serial: u64,
    pub(super) outcome: Outcome,
}

impl Drop for Trial {
    /// A failed check must not leave the commit thread waiting for power.
    fn drop(&mut self) {
        self.medium.switch_off(0);
        self.medium.resume();
    }
}

impl Trial {
    pub fn new(make: Make, segment_bytes: u64) -> Self {
        let shm = std::path::Path::new("/dev/shm");
        let root = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() };
        let root = root.unwrap();
        Self {
            make,
            medium: Arc::default(),
            dir: root.path().join("0"),
            root,
            processes: 0,
            runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
            route: Arc::new(Route { path: "/endpoint".to_owned(), topic: "test".to_owned() }),
            segment_bytes,
            hold: None,
            open: None,
            model: Model::default(),
            in_flight: Vec::new(),
            begun_at: 0,
            serial: 0,
            outcome: Outcome::default(),
        }
    }

    pub fn run(mut self, case: &Case) -> Checked<Outcome> {
        self.first_start()?;
        for (step, operation) in case.operations().enumerate() {
            let done = self.apply(operation).and_then(|()| self.check());
            done.map_err(|error| {
                TestCaseError::fail(format!("step {step}, {operation:?}: {error}"))
            })?;
        }
        self.release();
        self.look()?;
        self.compare_ledgers()?;
        self.reopen()?;
        self.look()?;
        Ok(self.outcome)
    }

    fn apply(&mut self, operation: &Operation) -> Checked {
        match operation {
            Operation::Append { lens } => {
                let (begun, outcomes) = self.append(lens);
                self.settle(begun, outcomes, false)
            }
            Operation::AppendFailing { lens, call, from_then_on } => {
                self.append_failing(lens, *call, *from_then_on)
            }
            Operation::AppendCut { lens, call, crash } => self.append_cut(lens, *call, crash),
            Operation::Read { blocks } => self.read(*blocks).map(drop),
            Operation::Deliver { percent, seed } => {
                self.deliver(*percent, *seed);
                Ok(())
            }
            Operation::Rewind { seed } => {
                self.rewind(*seed);
                Ok(())
            }
            Operation::Free => self.free(),
            Operation::Save => {
                self.shared().save_progress().unwrap();
                (self.model.durable, self.model.mark) = (self.model.watermark, self.model.len());
                Ok(())
            }
            Operation::Reopen => self.reopen(),
            Operation::Crash(crash) => {
                if !crash.racing {
                    self.settle_keeper();
                }
                self.crash(crash, Vec::new())
            }
            Operation::DropOldest => self.drop_oldest(),
            Operation::Hold { from, to } => self.take_hold(*from, *to),
            Operation::Export { from, to } => self.export(*from, *to),
            Operation::Release => {
                self.release();
                Ok(())
            }
            Operation::Damage { seed } => {
                self.damage(*seed);
                Ok(())
            }
        }
    }

    /// Begins to append records of these lengths, each with a value of its own.
    fn begin(&mut self, lens: &[usize]) -> Vec<Begun> {
        let mut begun = Vec::new();
        for len in lens {
            self.serial += 1;
            let mut value = self.serial.to_le_bytes().to_vec();
            let mut random = fastrand::Rng::with_seed(self.serial);
            value.resize_with(value.len() + len, || random.u8(..));
            let received = Reception { at: Millis(1), clock_synchronised: true };
            let record = NewRecord {
                route: &self.route,
                key: None,
                timestamp: Millis(1),
                received,
                headers: &[],
                value: &value,
                origin: None,
            };
            let append = self.open().writer.append(&record);
            begun.push(Begun { value, append });
        }
        begun
    }

    /// Appends, and waits until it is known what became of each.
    fn append(&mut self, lens: &[usize]) -> (Vec<Begun>, Outcomes) {
        let mut begun = self.begin(lens);
        let outcomes = self.runtime.block_on(outcomes(&mut begun));
        (begun, outcomes)
    }

    /// Tells the model. Unless they `may_fail`, all of them must have been kept.
    pub(super) fn settle(
        &mut self,
        begun: Vec<Begun>,
        outcomes: Outcomes,
        may_fail: bool,
    ) -> Checked {
        for (Begun { value, .. }, outcome) in begun.into_iter().zip(outcomes) {
            match outcome {
                Ok(id) => {
                    prop_assert_eq!(id.sequence.0, self.model.len());
                    prop_assert!(self.model.is_name_of(id, &value), "{} named another value", id);
                    self.model.keep(id, value);
                }
                Err(error) => {
                    prop_assert!(may_fail, "{}", error);
                    self.model.limbo.push(value);
                }
            }
        }
        Ok(())
    }

    fn append_failing(&mut self, lens: &[usize], call: Call, from_then_on: bool) -> Checked {
        self.medium.arm(call, if from_then_on { Fault::FromThenOn } else { Fault::Once });
        let (begun, outcomes) = self.append(lens);
        self.medium.repair();
        self.settle(begun, outcomes, from_then_on)?;
        // What the keeper does in its round.
        self.shared().look_for_room();
        prop_assert_eq!(self.open().writer.refusal(), None);
        Ok(())
    }

    fn append_cut(&mut self, lens: &[usize], call: Call, crash: &Crash) -> Checked {
        if !crash.racing {
            self.settle_keeper();
        }
        self.medium.arm(call, Fault::Cut);
        let mut begun = self.begin(lens);
        if matches!(self.make, Make::Memory) {
            let medium = self.medium.clone();
            self.runtime.block_on(async {
                tokio::select! {
                    () = medium.cut.notified() => {}
                    _ = outcomes(&mut begun) => {}
                }
            });
        }
        self.crash(crash, begun)
    }

    // -------------------------------------------------------------------------- checking

    fn check(&mut self) -> Checked {
        prop_assert_eq!(self.open().writer.failure(), None);
        prop_assert_eq!(self.open().reader.watermark().0, self.model.watermark);
        self.compare_ledgers()?;
        // Looking would find it; that is left to the operations.
        if self.model.has_hidden_damage() { Ok(()) } else { self.look() }
    }

    pub(super) fn compare_ledgers(&self) -> Checked {
        let ledger = self.open().writer.ledger();
        prop_assert!(ledger.balances(), "{:?}", ledger);
        prop_assert_eq!(ledger, self.model.ledger());
        Ok(())
    }

    /// Compares all that can be read from the watermark on, and leaves it as if nobody had looked.
    pub(super) fn look(&mut self) -> Checked {
        let claims = lock(&self.shared().books).claims.clone();
        let handed = self.model.handed;
        let position = self.open().reader.position();
        self.open_mut().reader.rewind(Sequence(0));
        let mut at = self.model.watermark;
        while self.read_block(&mut at)?.is_some() {}
        self.open_mut().reader.rewind(position);
        lock(&self.shared().books).claims = claims;
        self.model.handed = handed;
        Ok(())
    }

    /// Reads one block and compares it with what the model has from `at` on, which is moved behind
    /// it; gives its sequences.
    pub(super) fn read_block(&mut self, at: &mut u64) -> Checked<Option<Vec<u64>>> {
        let read = self.open_mut().reader.next_block();
        let read = read.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let Some(block) = read else {
            prop_assert_eq!(self.model.next(*at), None, "no more is read");
            return Ok(None);
        };
        let mut sequences = Vec::new();
        for record in block.records() {
            let expected = self.model.next(*at);
            prop_assert_eq!(Some(record.sequence.0), expected, "read, expected");
            *at = record.sequence.0 + 1;
            prop_assert!(self.model.is_name_of(record.id, record.value), "{}", record.id);
            let kept = self.model.at(record.sequence.0);
            prop_assert_eq!(kept.id, record.id);
            prop_assert!(kept.value == record.value, "{} has another value", record.id);
            sequences.push(record.sequence.0);
        }
        prop_assert_eq!(block.end().0, *at);
        self.model.handed = self.model.handed.max(*at);
        Ok(Some(sequences))
    }

    pub(super) fn open(&self) -> &Open {
        self.open.as_ref().unwrap()
    }

    pub(super) fn open_mut(&mut self) -> &mut Open {
        self.open.as_mut().unwrap()
    }

    /// What is held is given back.
    pub(super) fn release(&mut self) {
        (self.hold, self.model.held) = (None, None);
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        self.open().writer.owner.shared.clone()
    }

    /// Waits until the keeper has done all that it was asked for up to now.
    pub(super) fn settle_keeper(&self) {
        let shared = self.shared();
        let asked = || shared.free_asked.load(Relaxed);
        // One that was asked for with the flag, one that may have been without (by a hold), and
        // one that is sure to come behind both.
        for _ in 0..2 {
            wait_until(|| !asked());
            shared.free_asked.store(true, Relaxed);
            self.open().writer.owner.chores.send(Chore::Free).unwrap();
        }
        wait_until(|| !asked() && lock(&shared.keeping).is_none());
    }
}

/// A record on its way.
pub(super) struct Begun {
    pub value: Vec<u8>,
    pub append: Result<Append, AppendError>,
}

/// What became of each. Can be asked for again.
pub(super) async fn outcomes(begun: &mut [Begun]) -> Outcomes {
    let mut outcomes = Vec::new();
    for Begun { append, .. } in begun {
        outcomes.push(match append {
            Ok(append) => append.await,
            Err(error) => Err(error.clone()),
        });
    }
    outcomes
}

pub(super) fn wait_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain");
        std::thread::yield_now();
    }
}
