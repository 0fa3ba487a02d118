//! Runs a fuzzing function and holds it to its bound of memory: for the targets here and for
//! `tests/corpus.rs`.

use peak_alloc::PeakAlloc;
use waystation::spool::fuzzing::MEMORY;

/// Bytes that one message or batch may have allocated at any moment, whatever it says. What is
/// measured is at most 64 KiB long, as a message is.
#[allow(dead_code, reason = "not every target reads what was posted")]
pub const POSTED: usize = 4 << 20;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// Panics when the function does, or when it had more than [`MEMORY`] at a moment. Measures the
/// whole process: one at a time.
#[allow(dead_code, reason = "not every target reads a spool")]
pub fn run(target: fn(&[u8]), data: &[u8]) {
    within(MEMORY, target, data);
}

/// The same with another bound.
pub fn within(memory: usize, target: impl FnOnce(&[u8]), data: &[u8]) {
    ALLOCATED.reset_peak_usage();
    let before = ALLOCATED.current_usage();
    target(data);
    let most = ALLOCATED.peak_usage() - before;
    assert!(most <= memory, "{} bytes made it allocate {most}", data.len());
}
