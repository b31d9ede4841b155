/* What every part of the recorder uses: the shared segment, and the C library behind us. */
#define _GNU_SOURCE
#include <features.h>
#if !defined __GLIBC__ || !(defined __x86_64__ || defined __aarch64__)
#error "the recorder is for the GNU C library on x86_64 and aarch64"
#endif
#include <alloca.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAGIC "reprokit ring 1"
#define SEGMENT "REPROKIT_RECORDER"        /* names the segment's file to children */
#define SECRET "REPROKIT_HASH_SECRET"      /* the key that string hashes are to follow from, in hexadecimal */
#define SECRET_SIZE 24                     /* what Python asks the kernel for, in one piece */
#define SLOTS 65536u                       /* a power of two */
#define SLOT_TEXT 112u
#define MARKS 16384u                       /* a power of two */
#define PROBES 16u
#define PATH 2048u                         /* longer paths are not noted but counted as lost */
#define COPY_LIMIT (64l << 20)             /* bytes of one file that may be copied on the user's path */
#define EPOCH_LIMIT (1l << 30)             /* and of all of them in one cell */
#define STALLED_MS 50                      /* a writer that takes longer between two marks is taken for dead */
#define VARIABLES 4096u                    /* environments beyond it are passed on as they are */
#define EXPORT __attribute__((visibility("default")))
#define LIKELY(x) __builtin_expect(!!(x), 1)

/* One slot of the ring. `mark` is its number (counted from the beginning of the ring's life) plus one, and
 * is written last: a slot is whole if and only if it bears the number that the reader expects. */
struct slot {
    _Atomic uint64_t mark;
    uint32_t sum;
    uint8_t part, parts;
    uint16_t used;
    char text[SLOT_TEXT];
};

struct segment {
    char magic[16];
    uint32_t owner;
    _Atomic uint32_t on;
    _Atomic uint32_t epoch;                /* a cell, roughly: what was written in it is its own product */
    _Atomic uint32_t half;                 /* futex: changes when the ring is half full */
    _Alignas(64) _Atomic uint64_t reserved;
    _Alignas(64) _Atomic uint64_t taken;
    _Alignas(64) _Atomic uint64_t lost;
    _Atomic uint64_t copies;               /* number of the next pre-image */
    _Atomic int64_t copied;                /* bytes copied in this epoch */
    _Atomic int64_t shift;                 /* what a frozen clock is off, in nanoseconds; see conditions.h */
    _Atomic uint32_t closed;               /* no connection to another machine; see conditions.h */
    char folder[1024];                     /* where pre-images go */
    char noise[32768];                     /* entries: 'p' | 's' | 'n', two bytes of length, text; ended by a 0 */
    _Atomic uint64_t owed[MARKS];          /* files whose bytes the agent still needs, by inode */
    _Atomic uint64_t known[MARKS];         /* states of files it has, and files written in this epoch */
    struct slot slots[SLOTS];
};

/* -- the C library behind us ---------------------------------------------------------------------------------- */

#define NAMES(X)                                                                                                     \
    X(open) X(open64) X(openat) X(openat64) X(__open_2) X(__open64_2) X(__openat_2) X(__openat64_2) X(creat)          \
    X(creat64) X(fopen) X(fopen64) X(freopen) X(freopen64) X(mkstemp) X(mkstemp64) X(mkostemp) X(mkostemp64)          \
    X(mkstemps) X(mkstemps64) X(mkostemps) X(mkostemps64) X(rename) X(renameat) X(renameat2) X(link) X(linkat)        \
    X(unlink) X(unlinkat) X(remove) X(truncate) X(truncate64) X(opendir) X(execve) X(execv) X(execvp) X(execvpe)      \
    X(execl) X(execlp) X(execle) X(fexecve) X(posix_spawn) X(posix_spawnp) X(system) X(popen) X(connect)              \
    X(getrandom) X(syscall) CONDITIONED(X)

#ifdef CONDITIONS
#define CONDITIONED(X)                                                                                               \
    X(clock_gettime) X(clock_nanosleep) X(sem_timedwait) X(sem_clockwait) X(pthread_cond_timedwait)                   \
    X(pthread_cond_clockwait) X(pthread_mutex_timedlock) X(getaddrinfo) X(sendto) X(sendmsg)
int sem_clockwait(sem_t *, clockid_t, const struct timespec *); /* not in the headers of older systems */
int pthread_cond_clockwait(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
#else
#define CONDITIONED(X)
#endif

int __open_2(const char *, int);
int __open64_2(const char *, int);
int __openat_2(int, const char *, int);
int __openat64_2(int, const char *, int);
int renameat2(int, const char *, int, const char *, unsigned); /* not in the headers of older systems, as the next */
ssize_t getrandom(void *, size_t, unsigned);
#ifndef GRND_NONBLOCK
#define GRND_NONBLOCK 1
#endif

static struct {
#define X(name) __typeof__(&name) name;
    NAMES(X)
#undef X
    void *(*dlsym)(void *, const char *);
} real;

static struct segment *_Atomic segment;
static __thread int hushed __attribute__((tls_model("initial-exec")));
static char library[PATH];                 /* this file's own path */
static char segment_path[PATH];
static int preloaded;
static pid_t started_as;                   /* the process that this program began as */
static unsigned char secret[SECRET_SIZE];
static _Atomic int has_secret;

static void resolve(void);

#define REAL(name) (LIKELY(real.syscall != NULL) ? real.name : (resolve(), real.name))
#define SYS(...) REAL(syscall)(__VA_ARGS__)

static struct segment *active(void)
{
    struct segment *s = atomic_load_explicit(&segment, memory_order_acquire);
    return s != NULL && !hushed && atomic_load_explicit(&s->on, memory_order_relaxed) ? s : NULL;
}
