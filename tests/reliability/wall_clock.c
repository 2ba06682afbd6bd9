/* Preloaded by the tests of the wall clock: it jumps a day ahead or back every few readings. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>

enum { DAY = 86400, READINGS = 7 };

static time_t jumped(void) {
    static const time_t jumps[] = {0, DAY, -DAY, 2 * DAY, -DAY, DAY};
    static unsigned long calls;
    return jumps[__atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED) / READINGS % 6];
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int clock_gettime(clockid_t clock, struct timespec *found) {
    int failed = REAL(clock_gettime)(clock, found);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) found->tv_sec += jumped();
    return failed;
}

int gettimeofday(struct timeval *found, void *zone) {
    int failed = REAL(gettimeofday)(found, zone);
    if (!failed) found->tv_sec += jumped();
    return failed;
}

time_t time(time_t *found) {
    time_t now = REAL(time)(NULL) + jumped();
    if (found) *found = now;
    return now;
}
