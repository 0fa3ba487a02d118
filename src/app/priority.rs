//! Who yields to whom where the processors do not suffice for all.
//!
//! Whoever posts a message waits for several threads in turn, each of which works for microseconds:
//! they are to run as soon as they are woken. A backlog that drains wants a processor and more, all the
//! time, and may as well wait: it has a lower weight. That alone is not enough: from Linux 6.6 on a
//! thread of any weight may finish its turn of some milliseconds before one that was woken
//! meanwhile (`RUN_TO_PARITY` in the kernel's `sched/features.h`), unless that one asks for shorter
//! turns, which it can from 6.12 on (`sched_runtime` in `sched_setattr(2)`).
//!
//! It deliberately knows no thread by name: a thread hands on what it has to those that it starts.
#![expect(unsafe_code, reason = "sched_setattr(2) has no safe wrapper")]

use std::io;

/// A weight of 110, where ingest has 1024 (`sched_prio_to_weight` in the kernel's `sched/core.c`). Under a
/// load that never ends the drain still has a tenth of the processors.
const NICE: i32 = 10;
/// Nanoseconds of a turn: the shortest that there is. Older kernels do not look at it.
const TURN: u64 = 100_000;

/// Makes this thread, and those that it starts from here on, run as soon as they are woken.
pub fn prompt() {
    set(0, TURN);
}

/// Makes this thread, and those that it starts from here on, yield to all others.
pub fn yielding() {
    // Turns as long as the kernel likes.
    set(NICE, 0);
}

fn set(nice: i32, turn: u64) {
    let attributes = libc::sched_attr {
        size: SIZE,
        sched_policy: libc::SCHED_OTHER.cast_unsigned(),
        sched_flags: 0,
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: turn,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads `size` bytes of what is pointed to, which lives until it returns; 0 is
    // the calling thread.
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if set != 0 {
        // All works as well; only not as soon. A service manager that has set a priority may forbid it.
        tracing::debug!("the priority stays as it is: {}", io::Error::last_os_error());
    }
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
        assert_eq!((one, next, nice()), (NICE, NICE, before));
    }
}
