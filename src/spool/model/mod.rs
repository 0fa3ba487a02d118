//! Does the spool, whatever happens to it, behave like a list?
//!
//! Random operations run against the spool and against a model of a few lines
//! (`expected.rs`), which are compared after each: the books, all that can be read from the
//! watermark on, in order, and that no id ever names two values.
//!
//! - `operation.rs`: what may happen; `trial.rs`: one case; `leaving.rs`, `ending.rs`: how records
//!   leave in it, and how its processes end and begin;
//! - `memory.rs`: a medium that loses what was not synced; `disk.rs`: a directory from outside.
//!
//! Each of these was taken away once, and within 1,000 cases the test failed: the sync of a commit
//! (`segment.rs`); a block is whole only with all of its parts (`scan.rs`); a store that failed is
//! left (`writer.rs`), a segment ends where the next begins (`start.rs`), the marks are written
//! before one is begun (`writer.rs`) and before one is freed (`keeper.rs`); a watermark that is
//! written is no higher than it is, and passes what was removed (`shared.rs`); a loss is listed,
//! and what was handed out is remembered (`removal.rs`). That nothing below the watermark is read
//! (`removal.rs`) takes some thousand; a test in `tests/library/removal.rs` holds it by itself.
//! What it does not see: of two generations of a segment the higher one counts; the keeper is too
//! quick at removing the other (`tests/library/spool.rs` lays both out).
//!
//! `WAYSTATION_MODEL_CASES` asks for more cases, `WAYSTATION_MODEL_SEED` for those of a run before:
//! a failure prints it, and its operations after they were made few.

mod disk;
mod ending;
mod expected;
mod leaving;
mod memory;
mod operation;
mod trial;

use operation::case;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use trial::{Make, Trial};

/// Cases wait for the spool's threads more than they compute.
const THREADS: u32 = 4;

fn asked_for(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs so many cases; gives in how many of them the power went while parts were not synced.
fn run(make: Make, cases: u32, len: usize) -> u32 {
    let seed = asked_for("WAYSTATION_MODEL_SEED").unwrap_or_else(|| fastrand::u64(..));
    let cut_unsynced = AtomicU32::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (cut_unsynced, failures) = (&cut_unsynced, &failures);
            scope.spawn(move || {
                let mut bytes = [0; 32];
                bytes[..8].copy_from_slice(&seed.to_le_bytes());
                bytes[8..12].copy_from_slice(&thread.to_le_bytes());
                let config = Config {
                    cases: cases / THREADS,
                    failure_persistence: None,
                    max_shrink_iters: 2_000,
                    ..Config::default()
                };
                let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
                let mut runner = TestRunner::new_with_rng(config, random);
                let ran = runner.run(&case(segment_bytes(make), len), |case| {
                    let outcome = Trial::new(make, case.segment_bytes).run(&case)?;
                    cut_unsynced.fetch_add(u32::from(outcome.cut_unsynced), Relaxed);
                    Ok(())
                });
                if let Err(error) = ran {
                    failures.lock().unwrap().push(error.to_string());
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "WAYSTATION_MODEL_SEED={seed}\n{}", failures.join("\n"));
    cut_unsynced.into_inner()
}

/// So few that a case has many segments.
fn segment_bytes(make: Make) -> impl Strategy<Value = u64> {
    match make {
        Make::Memory => 200_u64..4_000,
        Make::Sled => 2_000_u64..20_000,
    }
}

#[test]
fn it_behaves_like_a_list_whatever_happens() {
    let cases = asked_for("WAYSTATION_MODEL_CASES").map_or(5_000, |n| n.try_into().unwrap());
    let cut_unsynced = run(Make::Memory, cases, 50);
    assert!(cut_unsynced * 2 >= cases, "only {cut_unsynced} lost unsynced parts");
}

#[test]
fn it_behaves_like_a_list_on_sled() {
    run(Make::Sled, 200, 50);
}
