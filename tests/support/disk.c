// A disk that fails: preloaded into the service, this stands between it and the kernel.
//
// While the file FAIL exists in the directory DISK_FAULTS, each sync of a segment's data fails
// with EIO, and while FAIL_PROGRESS exists each one of the progress, which adds a byte to that file;
// while HANG exists there, neither it nor a sync of the progress returns. HANG_WRITE and
// HANG_FLUSH are the same for what sled does by itself: its writes, and the sync_file_range that its
// flush ends in.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int wanted(const char *name) {
    const char *directory = getenv("DISK_FAULTS");
    char path[4096];
    if (directory == NULL) return 0;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return access(path, F_OK) == 0;
}

static int is_of(int fd, const char *end) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    size_t tail = strlen(end);
    if (length < (ssize_t)tail) return 0;
    path[length] = 0;
    return strcmp(path + length - tail, end) == 0;
}

static int is_data(int fd) { return is_of(fd, "/db"); }
static int is_progress(int fd) { return is_of(fd, "/progress"); }

static int failed(const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", getenv("DISK_FAULTS"), name);
    int noted = open(path, O_WRONLY | O_APPEND);
    if (noted >= 0) {
        if (write(noted, ".", 1) != 1) abort();
        close(noted);
    }
    errno = EIO;
    return -1;
}

static int faulty_sync(int fd, const char *name) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    while ((is_data(fd) || is_progress(fd)) && wanted("HANG")) usleep(10000);
    if (is_data(fd) && wanted("FAIL")) {
        errno = EIO;
        return -1;
    }
    if (is_progress(fd) && wanted("FAIL_PROGRESS")) return failed("FAIL_PROGRESS");
    return real(fd);
}

int fdatasync(int fd) { return faulty_sync(fd, "fdatasync"); }
int fsync(int fd) { return faulty_sync(fd, "fsync"); }

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    while (is_data(fd) && wanted("HANG_WRITE")) usleep(10000);
    return ((typeof(&pwrite64))dlsym(RTLD_NEXT, "pwrite64"))(fd, bytes, length, offset);
}

int sync_file_range(int fd, off64_t from, off64_t length, unsigned flags) {
    while (is_data(fd) && wanted("HANG_FLUSH")) usleep(10000);
    return ((typeof(&sync_file_range))dlsym(RTLD_NEXT, "sync_file_range"))(fd, from, length, flags);
}
