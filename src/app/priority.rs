//! Who yields to whom where the processors do not suffice for all.
//!
//! Whoever posts a message waits for several threads in turn, each of which works for microseconds:
//! they are to run as soon as they are woken. A backlog that drains wants a processor and more, all the
//! time, and may as well wait: it has a lower weight. That alone is not enough: from Linux 6.6 on a
//! thread of any weight may finish its turn of some milliseconds before one that was woken
//! meanwhile (`RUN_TO_PARITY` in the kernel's `sched/features.h`), unless that one asks for shorter
//! turns, which it can from 6.12 on (`sched_runtime` in `sched_setattr(2)`).
//!
//! What an operator has set stays: a policy other than the usual ones is left alone, and a niceness is only
//! added to. A thread of the drain holds no lock for longer than it takes to read or write a few words,
//! so that nobody waits for one that yields, but for the note before a commit of exactly-once. It
//! deliberately knows no thread by name: a thread hands on what it has to those that it starts.
#![expect(unsafe_code, reason = "sched_getattr(2) and sched_setattr(2) have no safe wrappers")]

use std::io;

/// Added to the drain's niceness: a weight of 110 beside 1024 (`sched_prio_to_weight` in the kernel's
/// `sched/core.c`).
const NICER: i32 = 10;
/// The highest niceness.
const NICEST: i32 = 19;
/// Nanoseconds of a turn: the shortest that there is. Older kernels do not look at it.
const TURN: u64 = 100_000;

/// Makes this thread, and those that it starts from here on, run as soon as they are woken.
pub fn prompt() {
    change(|attributes| attributes.sched_runtime = TURN);
}

/// Makes this thread, and those that it starts from here on, yield to the others.
pub fn yielding() {
    change(|attributes| {
        attributes.sched_nice = (attributes.sched_nice + NICER).min(NICEST);
        // Turns as long as the kernel likes.
        attributes.sched_runtime = 0;
    });
}

fn change(change: impl FnOnce(&mut libc::sched_attr)) {
    if let Err(error) = try_change(change) {
        // All works as well; only not as soon.
        tracing::info!("the priority of a thread stays as it is: {error}");
    }
}

fn try_change(change: impl FnOnce(&mut libc::sched_attr)) -> io::Result<()> {
    let mut attributes = libc::sched_attr {
        size: SIZE,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    let place = &raw mut attributes;
    // SAFETY: the kernel writes at most SIZE bytes to where `attributes` lies; 0 is the calling thread.
    done(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, place, SIZE, 0) })?;
    let usual = [libc::SCHED_OTHER, libc::SCHED_BATCH].map(i32::cast_unsigned);
    if !usual.contains(&attributes.sched_policy) {
        return Ok(());
    }
    change(&mut attributes);
    let place = &raw const attributes;
    // SAFETY: the kernel reads SIZE bytes of `attributes`, which lives until it returns.
    done(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, place, 0) })
}

fn done(result: libc::c_long) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[expect(clippy::cast_possible_truncation, reason = "48 bytes")]
const SIZE: u32 = size_of::<libc::sched_attr>() as u32;

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the calling thread: field 19 of stat, see `proc_pid_stat(5)`.
    fn nice() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        fields.split_whitespace().nth(16).unwrap().parse().unwrap()
    }

    #[test]
    fn a_thread_that_yields_hands_that_on_and_leaves_its_maker_as_it_is() {
        let before = nice();
        let (one, next) = std::thread::spawn(|| {
            prompt();
            yielding();
            (nice(), std::thread::spawn(nice).join().unwrap())
        })
        .join()
        .unwrap();
        let lower = (before + NICER).min(NICEST);
        assert_eq!((one, next, nice()), (lower, lower, before));
    }
}
