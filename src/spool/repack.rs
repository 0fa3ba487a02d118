//! The repacker: what waits for long takes less room.
//!
//! A commit of few records compresses badly, and a segment of few commits is mostly sled's own
//! file. So sealed segments that have waited for a while are written anew in blocks of up to
//! 1 MiB, and small neighbours become one segment (`plan.rs` decides which, `rewrite.rs` does
//! it). Where Kafka is there nothing gets old enough, and nothing is written twice.
//!
//! It must not be noticed: its thread has the lowest priority of the usual kind and works in small
//! steps, a fiftieth of a processor while little waits for it, never more than a tenth. It gives up
//! its copy as soon as there is little room or the drain comes to what it copies. (Not `SCHED_IDLE`:
//! on a busy box a thread of that kind may hold one of the spool's locks for as long as others want
//! the processor.) Whatever goes wrong here costs the copy and nothing else.
//!
//! It deliberately knows nothing of what records mean, and removes none.

mod pacer;
mod plan;
mod rewrite;
#[cfg(test)]
mod stuck;
#[cfg(test)]
mod tests;

use super::mutex::lock;
use super::shared::Shared;
use pacer::Pacer;
use plan::{Learnt, Plan, Rules};
use rewrite::{Rewritten, Stopped};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Much: so many full segments.
const MUCH: u64 = 4;
/// How often it looks whether there is something to do.
const LOOK: Duration = Duration::from_secs(1);
/// How long it keeps off a disk that fails or has no room.
const KEEP_OFF: Duration = Duration::from_secs(30);
/// Of a segment that cannot be copied: more than anything takes.
const LEAVE_ALONE: u64 = 1_000_000;
/// The lowest priority of the usual kind.
const NICE: i32 = 19;
/// How long a close waits for its end.
const PATIENCE: Duration = Duration::from_secs(5);

/// The repacker's thread. A panic in it (sled has some) ends the repacking until the next start.
pub fn run(shared: &Shared) {
    // On Linux a priority is a thread's, and None the calling one.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::warn!("the repacker runs at the priority of all others: {error}");
    }
    if catch_unwind(AssertUnwindSafe(|| work(shared))).is_err() {
        tracing::error!("the repacking of the spool failed; it goes on at the next start");
    }
    *lock(&shared.repack_step) = None;
    shared.repacked.ring();
}

/// Waits for its end: it comes at its next step, and what it had not finished is removed. Where the
/// disk does not let go of it, the end of the process does, and the next start removes its copy.
pub fn join(shared: &Shared, thread: JoinHandle<()>) -> thread::Result<()> {
    if shared.repacked.rung_within(PATIENCE) {
        return thread.join();
    }
    tracing::warn!("the repacker is stuck at its copy; everything else is closed");
    Ok(())
}

fn work(shared: &Shared) {
    let look = LOOK.min(shared.config.repack_after / 4).max(Duration::from_millis(5));
    let mut learnt = Learnt::new();
    let mut sleep = look;
    while !shared.repacking.rung_within(sleep) {
        sleep = look;
        let rules = Rules { after: shared.config.repack_after, full: shared.config.segment_bytes };
        let entries = lock(&shared.catalog).entries().to_vec();
        learnt.retain(|id, _| entries.iter().any(|entry| entry.id == *id));
        let plan = {
            let books = lock(&shared.books);
            let untouched = |first, end| books.are_untouched(first, end);
            plan::choose(&entries, Instant::now(), rules, &learnt, untouched)
        };
        drop(entries);
        let Some(plan) = plan else { continue };
        let much_waits = plan.due > rules.full.saturating_mul(MUCH);
        let mut pacer = Pacer::begin(shared, much_waits);
        let rewritten = rewrite::rewrite(shared, &plan, &mut |_| pacer.step());
        *lock(&shared.repack_step) = None;
        match rewritten {
            Ok(Rewritten { id, from, to }) => {
                tracing::debug!(
                    "{id}: {} segments of {from} bytes are now {to}",
                    plan.sources.len()
                );
                sleep = Duration::ZERO;
            }
            Err(Stopped::Closing) => return,
            Err(Stopped::Wanted) => {}
            Err(Stopped::NoRoom) => {
                tracing::debug!("there is no room to repack {}", plan.sources[0].id);
                sleep = KEEP_OFF.min(4 * look);
            }
            Err(Stopped::Larger(percent)) => {
                rewrite::settle(shared, &plan);
                learn(&mut learnt, &plan, percent);
            }
            Err(stays @ Stopped::Stays(_)) => {
                tracing::error!("{stays}; the repacking goes on at the next start");
                return;
            }
            Err(Stopped::Damaged) => learn(&mut learnt, &plan, LEAVE_ALONE),
            Err(Stopped::Io(error)) => {
                tracing::warn!("cannot repack {}: {error}", plan.sources[0].id);
                sleep = KEEP_OFF;
            }
        }
    }
}

/// Remembers what became of the segments of a plan: never the same as was expected, so that the
/// same plan is not made again for ever.
fn learn(learnt: &mut Learnt, plan: &Plan, percent: u64) {
    for id in plan.ids() {
        let known = learnt.entry(id).or_insert(plan::PACKED);
        *known = percent.max(*known + 2);
    }
}
