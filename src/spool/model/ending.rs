//! How processes end and begin in a [`Trial`], and what must be true of the spool then.

use super::disk;
use super::expected::{Kept, State};
use super::memory::Memory;
use super::operation::Crash;
use super::trial::{Begun, Checked, Make, Open, Outcomes, Trial, outcomes};
use crate::record::Sequence;
use crate::spool::mutex::lock;
use crate::spool::store::{Sled, Stores};
use crate::spool::{AppendError, Config, LastStop, Spool, dir, open_on};
use futures_util::FutureExt;
use proptest::prelude::*;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

impl Trial {
    /// A process begins.
    fn begin_process(&mut self) -> Checked {
        self.medium = Arc::default();
        let stores: Arc<dyn Stores> = match self.make {
            Make::Memory => Arc::new(Memory(self.medium.clone())),
            Make::Sled => Arc::new(Sled),
        };
        let config = Config {
            min_free: 0,
            // Long enough for what is appended together to be one block, mostly.
            commit_delay: Duration::from_micros(50),
            segment_bytes: self.segment_bytes,
            ..Config::new(&self.dir)
        };
        let opened = open_on(config, stores, None);
        let opened = opened.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let Spool { writer, reader, acks, report } = opened;
        let acks = self.runtime.spawn(acks.run());
        self.open = Some(Open { writer, reader, report, acks });
        Ok(())
    }

    pub(super) fn first_start(&mut self) -> Checked {
        self.begin_process()?;
        self.started(LastStop::First, None)
    }

    /// A clean stop, and a start.
    pub(super) fn reopen(&mut self) -> Checked {
        let closed = self.open().writer.close();
        closed.map_err(|error| TestCaseError::fail(error.to_string()))?;
        self.leave();
        // What was refused is not there.
        self.model.limbo.clear();
        self.begin_process()?;
        self.started(LastStop::Clean, None)
    }

    /// The process is gone.
    fn leave(&mut self) {
        self.release();
        if let Some(open) = self.open.take() {
            // After a crash this is done behind its back, where it reaches nothing any more.
            let _ = open.writer.close();
            open.acks.abort();
        }
    }

    /// The process ends here, whatever it is at, while these are appended; and a start.
    pub(super) fn crash(&mut self, crash: &Crash, mut begun: Vec<Begun>) -> Checked {
        self.processes += 1;
        let next = self.root.path().join(self.processes.to_string());
        let outcomes = match self.make {
            Make::Memory => self.cut_power(&next, crash.seed, &mut begun),
            Make::Sled => self.kill(&next, &mut begun),
        };
        self.dir = next;
        self.settle(begun, outcomes, true)?;

        let ids = disk::segments(&self.dir);
        // The marks are written before a segment is begun.
        let newest = ids.last().map_or(0, |id| id.first.0);
        self.model.mark = self.model.mark.max(newest);
        let of_this_process = |first: u64| first >= self.begun_at;
        for id in disk::sealed(&self.dir).into_iter().rev().take(crash.unsealed) {
            let damaged = self.model.damaged.iter().any(|damage| damage.segment == id.first.0);
            if damaged || !of_this_process(id.first.0) {
                break;
            }
            disk::unseal(&self.dir.join(id.to_string()));
        }
        if crash.torn_progress {
            disk::tear_progress(&self.dir);
        }
        let mut vanished = None;
        for id in ids.iter().rev().take(crash.vanished) {
            if of_this_process(id.first.0) {
                fs::remove_dir_all(self.dir.join(id.to_string())).unwrap();
                self.model.damaged.retain(|damage| damage.segment != id.first.0);
                vanished = Some(id.first.0);
            }
        }
        for percent in &crash.starts {
            disk::interrupted_start(&self.dir, *percent);
        }
        self.begin_process()?;
        self.started(LastStop::Crash, vanished)
    }

    /// Of what was not synced, a part gets to the disk. Gives what became of the records: none can
    /// be acknowledged after it.
    fn cut_power(&mut self, next: &Path, seed: u64, begun: &mut [Begun]) -> Outcomes {
        let progress = next.join(dir::PROGRESS);
        let copy = next.join("progress.copy");
        {
            // While its file is locked nothing is written into the progress.
            let shared = self.shared();
            let _file = lock(&shared.progress_file);
            self.outcome.cut_unsynced |= self.medium.switch_off(seed) > 0;
            // From here on the process finds nothing by its path, and the file of the progress that
            // it holds open is not the one that counts.
            fs::rename(&self.dir, next).unwrap();
            fs::copy(&progress, &copy).unwrap();
        }
        self.medium.resume();
        self.leave();
        fs::rename(copy, progress).unwrap();
        fs::remove_file(next.join("lock")).unwrap();
        self.runtime.block_on(outcomes(begun))
    }

    /// What was written is there. Gives which records were acknowledged before.
    fn kill(&mut self, next: &Path, begun: &mut [Begun]) -> Outcomes {
        // The last first: what is acknowledged meanwhile is asked too early, and not too late.
        let so_far = begun.iter_mut().rev().map(|begun| match &mut begun.append {
            Ok(append) => append.now_or_never().unwrap_or(Err(AppendError::Closing)),
            Err(error) => Err(error.clone()),
        });
        let mut so_far: Outcomes = so_far.collect();
        so_far.reverse();
        {
            let shared = self.shared();
            let _file = lock(&shared.progress_file);
            // The keeper may be moving something.
            while disk::copy(&self.dir, next).is_err() {
                fs::remove_dir_all(next).unwrap();
            }
        }
        self.leave();
        fs::remove_dir_all(&self.dir).unwrap();
        so_far
    }

    /// What must be true at a start. From `vanished` on the disk has lost everything.
    fn started(&mut self, last_stop: LastStop, vanished: Option<u64>) -> Checked {
        self.in_flight.clear();
        let report = self.open().report.clone();
        prop_assert_eq!(report.last_stop, last_stop);
        let watermark = self.open().reader.watermark().0;
        let (before, durable) = (self.model.watermark, self.model.durable);
        self.model.start(watermark);

        let accepted = report.ledger.accepted;
        for at in report.lost.iter().flat_map(|(first, end)| first.0..end.0) {
            let is_gone = vanished.is_some_and(|from| from <= at);
            prop_assert!(is_gone || self.model.is_damaged(at), "{} is not lost", at);
            if at >= durable && self.model.at(at).state == State::Delivered {
                // The disk knew nothing of its delivery.
                self.model.at(at).state = State::Spooled;
            }
            self.model.change(at, at + 1, State::Lost);
        }
        if let Some(from) = vanished {
            let at_least = from.max(self.model.mark);
            prop_assert!((at_least..=self.model.len()).contains(&accepted), "{}", accepted);
            // The disk knew nothing of their delivery, and a start that was interrupted has listed
            // them as lost without telling anybody.
            self.model.undeliver(from.max(durable), accepted, report.ledger.delivered);
            self.model.change(from, accepted, State::Lost);
            self.model.forget(accepted);
        }
        // What was found lost at the watermark, it has passed.
        let known = self.model.past_removed(before);
        let at_least = if last_stop == LastStop::Clean { known } else { durable };
        prop_assert!(
            (at_least..=known).contains(&watermark),
            "the watermark is {} at a start, not in {}..={}",
            watermark,
            at_least,
            known
        );
        self.find_limbo(accepted)?;
        (self.model.mark, self.begun_at) = (accepted, accepted);
        self.compare_ledgers()
    }

    /// Records that were not acknowledged, and are there all the same, belong to the spool from now
    /// on: some of those in limbo, in their order.
    fn find_limbo(&mut self, accepted: u64) -> Checked {
        let claims = lock(&self.shared().books).claims.clone();
        let mut limbo = std::mem::take(&mut self.model.limbo).into_iter();
        prop_assert!(accepted >= self.model.len(), "{} acknowledged", self.model.len());
        let known = Sequence(self.model.len());
        self.open_mut().reader.rewind(known);
        while self.model.len() < accepted {
            let read = self.open_mut().reader.next_block();
            let read = read.map_err(|error| TestCaseError::fail(error.to_string()))?;
            let Some(block) = read else { break };
            for record in block.records() {
                prop_assert_eq!(record.sequence.0, self.model.len());
                prop_assert!(limbo.any(|value| value == record.value), "{}", record.id);
                prop_assert!(self.model.is_name_of(record.id, record.value), "{}", record.id);
                let value = record.value.to_vec();
                self.model.records.push(Kept { id: record.id, value, state: State::Spooled });
            }
        }
        prop_assert_eq!(self.model.len(), accepted, "found at the start");
        self.open_mut().reader.rewind(Sequence(0));
        lock(&self.shared().books).claims = claims;
        Ok(())
    }
}
