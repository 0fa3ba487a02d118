//! Waits in librdkafka that last as long as they should, whatever the box's clock is set to.
//!
//! librdkafka waits by C11's `cnd_timedwait` for a time of day (`cnd_timedwait_ms` in its
//! `tinycthread_extra.c`). When the clock is set back meanwhile, by NTP or by hand, each of its threads
//! that is in such a wait sleeps on for as long as the clock was set back: between two tries to
//! connect, for hours or years. So its calls are answered here: what is left is waited for on the
//! clock that only counts. Nothing else in the process calls that function; Rust's own waits
//! use that clock anyway.
//!
//! The invariant: a wait ends, at the latest, when the time is over that was left when it began.
#![expect(
    unsafe_code,
    reason = "a function of C is defined, for callers in C, by means of another"
)]

use libc::{CLOCK_MONOTONIC, CLOCK_REALTIME, c_int, clockid_t, timespec};
use libc::{pthread_cond_t, pthread_mutex_t};

unsafe extern "C" {
    /// glibc, from 2.30 on; the `libc` crate does not have it.
    fn pthread_cond_clockwait(
        condition: *mut pthread_cond_t,
        mutex: *mut pthread_mutex_t,
        clock: clockid_t,
        until: *const timespec,
    ) -> c_int;
}

const SECOND: i64 = 1_000_000_000;

// C11's results, as glibc's threads.h numbers them.
const SUCCESS: c_int = 0;
const ERROR: c_int = 2;
const TIMED_OUT: c_int = 4;

/// Keeps the definition below in the program: to be called once, where it begins.
pub fn do_not_depend_on_the_clock() {
    let ours: unsafe extern "C" fn(_, _, _) -> _ = cnd_timedwait;
    std::hint::black_box(ours);
}

/// In the place of glibc's, whose conditions and mutexes of C11 are those of POSIX.
///
/// # Safety
///
/// As glibc's: the pointers are those of an initialised condition and its mutex, held by this
/// thread, and of a time.
#[unsafe(no_mangle)]
unsafe extern "C" fn cnd_timedwait(
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's pointer, see above.
    let until = unsafe { *until };
    let left = nanos(until).saturating_sub(now(CLOCK_REALTIME)).max(0);
    let end = now(CLOCK_MONOTONIC).saturating_add(left);
    let end = timespec { tv_sec: end / SECOND, tv_nsec: end % SECOND };
    // SAFETY: the caller's pointers are handed on, and `end` lives until it returns.
    match unsafe { pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, &raw const end) } {
        0 => SUCCESS,
        libc::ETIMEDOUT => TIMED_OUT,
        _ => ERROR,
    }
}

fn now(clock: clockid_t) -> i64 {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes into `now`; it cannot fail for the two clocks that every Linux has.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    nanos(now)
}

fn nanos(time: timespec) -> i64 {
    time.tv_sec.saturating_mul(SECOND).saturating_add(time.tv_nsec)
}
