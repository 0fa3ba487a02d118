//! Runs a fuzzing function and holds it to its bound of memory: for the targets here and for
//! `tests/corpus.rs`.

use peak_alloc::PeakAlloc;
use waystation::spool::fuzzing::MEMORY;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// Panics when the function does, or when it had more than [`MEMORY`] at a moment. Measures the
/// whole process: one at a time.
pub fn run(target: fn(&[u8]), data: &[u8]) {
    ALLOCATED.reset_peak_usage();
    let before = ALLOCATED.current_usage();
    target(data);
    let most = ALLOCATED.peak_usage() - before;
    assert!(most <= MEMORY, "{} bytes made it allocate {most}", data.len());
}
