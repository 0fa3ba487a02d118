// A process that is killed at one call: preloaded into it, this counts the calls that change what
// lies under the directory KILL_UNDER, and raises SIGKILL instead of the one whose number is KILL_AT
// (from 1 on; 0 for none). With KILL_TORN set, a write gets half of its bytes out before. Which call
// it was is written to the file KILL_HIT; all of them, one a line, go to KILL_TRACE where that is set.
// With KILL_SOCKETS set, writes to sockets count as well, and with KILL_AFTER such a write is done before.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long calls;

#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))

// These two go around the functions below.
static void note(const char *variable, int flags, const char *call, const char *path) {
    const char *file = getenv(variable);
    char line[2 * PATH_MAX];
    if (file == NULL) return;
    int length = snprintf(line, sizeof line, "%s %s\n", call, path);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | flags, 0600);
    if (fd < 0 || syscall(SYS_write, fd, line, length) != length) abort();
    syscall(SYS_close, fd);
}

static void path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
}

// Whether this is the call.
static int chosen(const char *call, const char *path) {
    const char *under = getenv("KILL_UNDER"), *at = getenv("KILL_AT");
    if (under == NULL || at == NULL) return 0;
    size_t length = strlen(under);
    const char *inside = path + length;
    if (getenv("KILL_SOCKETS") != NULL && strncmp(path, "socket:", 7) == 0) inside = "socket";
    else if (strncmp(path, under, length) != 0 || (*inside != '/' && *inside != 0)) return 0;
    note("KILL_TRACE", O_APPEND, call, inside);
    if (atomic_fetch_add(&calls, 1) + 1 != atol(at)) return 0;
    note("KILL_HIT", O_TRUNC, call, inside);
    return 1;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static void at_path(const char *call, const char *path) {
    if (chosen(call, path)) die();
}

static void at_file(const char *call, int fd) {
    char path[PATH_MAX];
    path_of(fd, path);
    at_path(call, path);
}

static void at_place(const char *call, int directory, const char *name) {
    char path[PATH_MAX];
    if (name[0] == '/') {
        at_path(call, name);
        return;
    }
    path_of(directory, path);
    size_t length = strlen(path);
    snprintf(path + length, sizeof path - length, "/%s", name);
    at_path(call, path);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    char path[PATH_MAX];
    path_of(fd, path);
    if (chosen("write", path)) {
        if (getenv("KILL_TORN") != NULL) syscall(SYS_write, fd, bytes, length / 2);
        if (getenv("KILL_AFTER") != NULL) syscall(SYS_write, fd, bytes, length);
        die();
    }
    return REAL(write)(fd, bytes, length);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    char path[PATH_MAX];
    path_of(fd, path);
    if (chosen("write", path)) {
        if (getenv("KILL_AFTER") != NULL) REAL(writev)(fd, parts, count);
        die();
    }
    return REAL(writev)(fd, parts, count);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    char path[PATH_MAX];
    path_of(fd, path);
    if (chosen("pwrite", path)) {
        if (getenv("KILL_TORN") != NULL) REAL(pwrite64)(fd, bytes, length / 2, offset);
        die();
    }
    return REAL(pwrite64)(fd, bytes, length, offset);
}

int fsync(int fd) { at_file("fsync", fd); return REAL(fsync)(fd); }
int fdatasync(int fd) { at_file("fdatasync", fd); return REAL(fdatasync)(fd); }

int sync_file_range(int fd, off64_t from, off64_t length, unsigned flags) {
    at_file("sync_file_range", fd);
    return REAL(sync_file_range)(fd, from, length, flags);
}

int ftruncate64(int fd, off64_t length) { at_file("ftruncate", fd); return REAL(ftruncate64)(fd, length); }

int rename(const char *from, const char *to) {
    // Named by where it goes: that tells the trash from the quarantine.
    at_path("rename", to);
    return REAL(rename)(from, to);
}

int link(const char *from, const char *to) { at_path("link", to); return REAL(link)(from, to); }

int linkat(int from, const char *old, int to, const char *name, int flags) {
    at_place("link", to, name);
    return REAL(linkat)(from, old, to, name, flags);
}

int unlink(const char *path) { at_path("unlink", path); return REAL(unlink)(path); }
int rmdir(const char *path) { at_path("rmdir", path); return REAL(rmdir)(path); }

int unlinkat(int directory, const char *name, int flags) {
    at_place(flags & AT_REMOVEDIR ? "rmdir" : "unlink", directory, name);
    return REAL(unlinkat)(directory, name, flags);
}

int mkdir(const char *path, mode_t mode) { at_path("mkdir", path); return REAL(mkdir)(path, mode); }

int open64(const char *path, int flags, ...) {
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list rest;
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        va_end(rest);
        // One that is there already is not created.
        if (access(path, F_OK) != 0) at_path("create", path);
    }
    return REAL(open64)(path, flags, mode);
}
