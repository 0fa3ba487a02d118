// A clock that is set: preloaded into a process, this moves its clock of the day by the seconds that
// the file CLOCK_OFFSET says, as if somebody had set the box's. The clock that only counts is left
// alone. A wait for a time of day waits for it on the clock as it is set by then, as the kernel's do:
// when the clock is set back, it lasts longer.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
// The file is looked at again after so long, and a wait for a time looks at the clock.
#define LOOK 20000000LL

static long long kernels(clockid_t clock) {
    struct timespec now;
    syscall(SYS_clock_gettime, clock, &now);
    return now.tv_sec * SECOND + now.tv_nsec;
}

static long long offset(void) {
    static atomic_llong looked, seconds;
    long long now = kernels(CLOCK_MONOTONIC);
    if (now - atomic_load(&looked) > LOOK) {
        const char *file = getenv("CLOCK_OFFSET");
        char text[32] = "";
        int fd = file == NULL ? -1 : (int)syscall(SYS_openat, AT_FDCWD, file, O_RDONLY);
        // An empty file is just being written.
        if (fd >= 0 && syscall(SYS_read, fd, text, sizeof text - 1) > 0) atomic_store(&seconds, atoll(text));
        if (fd >= 0) syscall(SYS_close, fd);
        atomic_store(&looked, now);
    }
    return atomic_load(&seconds) * SECOND;
}

static long long day(void) { return kernels(CLOCK_REALTIME) + offset(); }

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE) {
        return (int)syscall(SYS_clock_gettime, clock, time);
    }
    long long now = day();
    time->tv_sec = now / SECOND;
    time->tv_nsec = now % SECOND;
    return 0;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    (void)zone;
    long long now = day();
    time->tv_sec = now / SECOND;
    time->tv_usec = now % SECOND / 1000;
    return 0;
}

time_t time(time_t *out) {
    time_t now = day() / SECOND;
    if (out != NULL) *out = now;
    return now;
}

typedef int timed_wait(cnd_t *, mtx_t *, const struct timespec *);

int cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *until) {
    static _Atomic(timed_wait *) real;
    if (atomic_load(&real) == NULL) atomic_store(&real, (timed_wait *)dlsym(RTLD_NEXT, "cnd_timedwait"));
    long long end = until->tv_sec * SECOND + until->tv_nsec;
    for (;;) {
        long long left = end - day(), now = kernels(CLOCK_REALTIME);
        long long step = now + (left < 0 ? 0 : left < LOOK ? left : LOOK);
        struct timespec slice = {.tv_sec = step / SECOND, .tv_nsec = step % SECOND};
        int result = atomic_load(&real)(condition, mutex, &slice);
        if (result != thrd_timedout || end <= day()) return result;
    }
}
