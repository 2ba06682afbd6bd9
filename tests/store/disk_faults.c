/* Preloaded by the journal's crash tests: one call to the disk fails, or is the last one. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WRITES = 1, SYNCS = 2, NAMES = 4 };
enum { FAIL_ONCE, FAIL_FROM_HERE, SHORT_WRITE, DIE };

static int watched, deed, failure;
static long calls, strike;

void disk_faults_arm(int kinds, int action, int error, long at) {
    watched = kinds;
    deed = action;
    failure = error;
    calls = 0;
    strike = at;
}

int disk_faults_struck(void) { return watched && calls >= strike; }

static int struck(int kind) {
    if (!(watched & kind)) return 0;
    calls++;
    if (calls != strike && !(deed == FAIL_FROM_HERE && calls > strike)) return 0;
    if (deed == DIE) kill(getpid(), SIGKILL);
    errno = failure;
    return 1;
}

static int is_directory(int fd) {
    struct stat found;
    return fstat(fd, &found) == 0 && S_ISDIR(found.st_mode);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) {
    if (!struck(WRITES)) return REAL(pwrite64)(fd, bytes, size, at);
    if (deed == SHORT_WRITE && size > 1) REAL(pwrite64)(fd, bytes, size / 2, at);
    return -1;
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) {
    return pwrite64(fd, bytes, size, at);
}

int fsync(int fd) { return !is_directory(fd) && struck(SYNCS) ? -1 : REAL(fsync)(fd); }

int fdatasync(int fd) { return !is_directory(fd) && struck(SYNCS) ? -1 : REAL(fdatasync)(fd); }

int unlink(const char *path) { return struck(NAMES) ? -1 : REAL(unlink)(path); }

int rename(const char *old, const char *new) { return struck(NAMES) ? -1 : REAL(rename)(old, new); }
