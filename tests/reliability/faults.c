/* Preloaded: makes the n-th call of one kind fail, as a full disk or exhausted memory would. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NONE, WRITE, RENAME, LOCK, SYNC, MEMORY };

static int kind = NONE;
static long nth, seen, least;
static char folder[PATH_MAX];
static pthread_t owner;

/* From now on: call number n of this kind fails; files count below a folder, memory from some bytes on. */
void faults_arm(int which, long n, const char *below, long bytes)
{
  strncpy(folder, below, sizeof(folder) - 1);
  nth = n, seen = 0, least = bytes, owner = pthread_self(), kind = which;
}

long faults_disarm(void)
{
  kind = NONE;
  return seen;
}

static int counts(int which)
{
  return kind == which && __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST) == nth;
}

static int ours(int file)
{
  char link[64], path[PATH_MAX];
  if (kind == NONE) return 0;
  snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
  ssize_t n = readlink(link, path, sizeof(path) - 1);
  if (n <= 0) return 0;
  path[n] = 0;
  return strncmp(path, folder, strlen(folder)) == 0;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name)) dlsym(RTLD_NEXT, #name)
#define FAIL(number) do { errno = number; return -1; } while (0)

ssize_t write(int file, const void *data, size_t n)
{
  REAL(write);
  if (kind == WRITE && ours(file) && counts(WRITE)) FAIL(ENOSPC);
  return real(file, data, n);
}

ssize_t pwrite(int file, const void *data, size_t n, off_t at)
{
  REAL(pwrite);
  if (kind == WRITE && ours(file) && counts(WRITE)) FAIL(ENOSPC);
  return real(file, data, n, at);
}

ssize_t pwrite64(int file, const void *data, size_t n, off64_t at)
{
  REAL(pwrite64);
  if (kind == WRITE && ours(file) && counts(WRITE)) FAIL(ENOSPC);
  return real(file, data, n, at);
}

ssize_t writev(int file, const struct iovec *parts, int n)
{
  REAL(writev);
  if (kind == WRITE && ours(file) && counts(WRITE)) FAIL(ENOSPC);
  return real(file, parts, n);
}

int rename(const char *from, const char *to)
{
  REAL(rename);
  if (kind == RENAME && strncmp(to, folder, strlen(folder)) == 0 && counts(RENAME)) FAIL(EIO);
  return real(from, to);
}

int flock(int file, int how)
{
  static int (*real)(int, int);
  if (!real) real = (int (*)(int, int)) dlsym(RTLD_NEXT, "flock");
  if (kind == LOCK && ours(file) && counts(LOCK)) FAIL(ENOLCK);
  return real(file, how);
}

int fsync(int file)
{
  REAL(fsync);
  if (kind == SYNC && ours(file) && counts(SYNC)) FAIL(EIO);
  return real(file);
}

static int refused(size_t bytes)
{
  if (kind == MEMORY && (long) bytes >= least && pthread_equal(pthread_self(), owner) && counts(MEMORY)) {
    errno = ENOMEM;
    return 1;
  }
  return 0;
}

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

void *malloc(size_t n)
{
  return refused(n) ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t each)
{
  return refused(n * each) ? NULL : __libc_calloc(n, each);
}

void *realloc(void *old, size_t n)
{
  return refused(n) ? NULL : __libc_realloc(old, n);
}

int posix_memalign(void **place, size_t align, size_t n)
{
  if (refused(n)) return ENOMEM;
  *place = __libc_memalign(align, n);
  return *place ? 0 : ENOMEM;
}
