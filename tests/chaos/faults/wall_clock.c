/* Shifts the wall clock of a process, by a whole number of seconds that a file holds and that may change at any time.
 *
 * Preloaded, with CHAOS_CLOCK naming a file of eight bytes. Only CLOCK_REALTIME moves: the monotonic clock does not, as
 * when somebody sets a machine's clock. Waits until a point of wall-clock time end when the shifted clock gets there,
 * also if it jumps meanwhile: they are cut into slices, after each of which the waiter wakes up for nothing, which
 * every user of these calls must bear.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SLICE_NANOSECONDS 200000000L

static const volatile long long *shift;
static const char *mapped;

static long long shifted_by(void) {
  const char *path = getenv("CHAOS_CLOCK"); /* set anew, it has another address: forked children have their own */
  if (path == NULL) return 0;
  if (path != mapped) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    void *found = mmap(NULL, sizeof(long long), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (found == MAP_FAILED) return 0;
    shift = found;
    mapped = path;
  }
  return *shift;
}

static int true_clock(clockid_t clock, struct timespec *now) { return (int)syscall(SYS_clock_gettime, clock, now); }

int clock_gettime(clockid_t clock, struct timespec *now) {
  int failed = true_clock(clock, now);
  if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += shifted_by();
  return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec exact;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &exact);
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *where) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (where != NULL) *where = now.tv_sec;
  return now.tv_sec;
}

/* Returns whether the shifted clock has reached `until`; else sets `slice` to the true time at which to look again. */
static int reached(const struct timespec *until, struct timespec *slice) {
  struct timespec now;
  true_clock(CLOCK_REALTIME, slice);
  now = *slice;
  now.tv_sec += shifted_by();
  long long left = (until->tv_sec - now.tv_sec) * 1000000000LL + (until->tv_nsec - now.tv_nsec);
  if (left <= 0) return 1;
  slice->tv_nsec += left < SLICE_NANOSECONDS ? left : SLICE_NANOSECONDS;
  if (slice->tv_nsec >= 1000000000L) {
    slice->tv_sec += 1;
    slice->tv_nsec -= 1000000000L;
  }
  return 0;
}

typedef int (*cond_wait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
typedef int (*cond_clockwait)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
typedef int (*sem_wait_until)(sem_t *, const struct timespec *);

int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until) {
  static cond_wait real;
  if (real == NULL) real = (cond_wait)dlsym(RTLD_NEXT, "pthread_cond_timedwait");
  struct timespec slice;
  if (until->tv_sec < 1000000000L) return real(cond, mutex, until); /* on the monotonic clock */
  if (reached(until, &slice)) slice = (struct timespec){0, 0};      /* lets go of the mutex, and times out */
  int result = real(cond, mutex, &slice);
  return result == ETIMEDOUT && !reached(until, &slice) ? 0 : result;
}

int pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until) {
  static cond_clockwait real;
  if (real == NULL) real = (cond_clockwait)dlsym(RTLD_NEXT, "pthread_cond_clockwait");
  if (clock != CLOCK_REALTIME) return real(cond, mutex, clock, until);
  struct timespec slice;
  if (reached(until, &slice)) slice = (struct timespec){0, 0};
  int result = real(cond, mutex, clock, &slice);
  return result == ETIMEDOUT && !reached(until, &slice) ? 0 : result;
}

int sem_timedwait(sem_t *semaphore, const struct timespec *until) {
  static sem_wait_until real;
  if (real == NULL) real = (sem_wait_until)dlsym(RTLD_NEXT, "sem_timedwait");
  struct timespec slice;
  while (1) {
    if (reached(until, &slice)) slice = (struct timespec){0, 0};
    int result = real(semaphore, &slice);
    if (result == 0 || errno != ETIMEDOUT || reached(until, &slice)) return result;
  }
}

long syscall(long number, ...) {
  static long (*real)(long, ...);
  if (real == NULL) real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
  va_list list;
  long a[6];
  va_start(list, number);
  for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
  va_end(list);
  struct timespec slice, *until = (struct timespec *)a[3];
  if (number != SYS_futex || !(a[1] & FUTEX_CLOCK_REALTIME) || until == NULL)
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  if (reached(until, &slice)) slice = (struct timespec){0, 0};
  long result = real(number, a[0], a[1], a[2], &slice, a[4], a[5]);
  if (result == -1 && errno == ETIMEDOUT && !reached(until, &slice)) errno = EINTR;
  return result;
}
