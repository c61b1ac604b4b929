/* Moves the wall clock of every program that is started with it (LD_PRELOAD) by the seconds that a file holds.

   Only what asks for the time of day is answered otherwise: monotonic time, sleeps and timeouts stay as they are.
   The file TEST_CLOCK_FILE holds one 64-bit number of nanoseconds and is mapped, so that a change counts at once. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static const volatile int64_t nothing;
static const volatile int64_t *offset = &nothing;

int tds_clock_use(const char *path)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    void *mapped;

    if (file < 0)
        return -1;
    mapped = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped == MAP_FAILED)
        return -1;
    offset = mapped;
    return 0;
}

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("TEST_CLOCK_FILE");

    if (path == NULL || tds_clock_use(path) != 0)
        abort(); /* a test at the wrong time is worse than none */
}

int clock_gettime(clockid_t clock, struct timespec *at)
{
    int failed = (int)syscall(SYS_clock_gettime, clock, at);
    int64_t moved;

    if (failed || *offset == 0 || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
        return failed;
    moved = at->tv_sec * SECOND + at->tv_nsec + *offset;
    at->tv_sec = moved / SECOND;
    at->tv_nsec = moved % SECOND;
    return 0;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
    struct timespec now;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (at != NULL)
        *at = now.tv_sec;
    return now.tv_sec;
}
