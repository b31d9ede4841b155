/* The native recorder: notes which files a process and its children open, write, rename and remove.
 *
 * It is put in front of the C library, either by LD_PRELOAD (from the process's start) or later by
 * rewriting the tables through which loaded objects call it (rk_patch). Without a segment it does
 * nothing but call on. With one, every use of a file that is not noise becomes an event in a ring
 * in shared memory, which the agent in the owner process empties (reprokit/capture/files/recorder.py).
 *
 * What makes it safe to carry into any program:
 *   - no file descriptor stays open: programs close and fork as they like;
 *   - no lock and no allocation on the way of an event: it may happen between vfork and exec, or in a
 *     signal handler; a full ring drops the event and counts it, and never waits;
 *   - its own work is done by bare system calls, and errno is left as the user's call left it;
 *   - its variables are taken out of the environment at start and given to children by the calls that
 *     start them, so no program sees them.
 */
#include "state.h"

#include "ring.h"

#include "files.h"

#include "conditions.h"

#include "starts.h"

#include "linkage.h"

/* -- what the agent calls ------------------------------------------------------------------------------------------ */

/* Take a segment file into this process; `own` makes it anew, in the place of the one that an earlier run of this
 * process had: a thread may still have the address of that. */
static int attach(const char *path, int own)
{
    struct stat st;
    struct segment *before = atomic_load(&segment);
    int again = own && before != NULL && before->owner == (uint32_t)getpid();
    long fd = SYS(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
    if (fd < 0)
        return 0;
    void *at = MAP_FAILED;
    if (look(fd, "", &st, AT_EMPTY_PATH) && st.st_size == sizeof(struct segment) && st.st_uid == geteuid())
        at = mmap(again ? before : NULL, sizeof(struct segment), PROT_READ | PROT_WRITE, MAP_SHARED | (again ? MAP_FIXED : 0), fd, 0);
    SYS(SYS_close, fd);
    if (at == MAP_FAILED)
        return 0;
    struct segment *s = at;
    if (own)
        memcpy(s->magic, MAGIC, sizeof MAGIC), s->owner = getpid();
    else if (memcmp(s->magic, MAGIC, sizeof MAGIC) != 0)
        return munmap(at, sizeof *s), 0;
    strcpy(segment_path, path);
    atomic_store(&segment, s);
    return 1;
}

EXPORT unsigned long rk_size(void) { return sizeof(struct segment); }
EXPORT int rk_preloaded(void) { return preloaded; }
EXPORT void rk_hush(int by) { hushed += by; }

/* Begin a run in a segment of this process's own; with no path, in the one it has. */
EXPORT int rk_begin(const char *path, const char *folder, const char *noise, unsigned long size)
{
    char own[PATH];
    /* A run inside a run: from here on the outer one sees nothing of this process, and hears of it as of a program
     * that was started and never said a word. */
    if (path != NULL && active() != NULL && SYS(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", memset(own, 0, PATH), PATH - 1) > 0)
        note(EXEC, own, "", 1, "");
    if (path != NULL && (strlen(path) >= PATH || !attach(path, 1)))
        return 0;
    struct segment *s = atomic_load(&segment);
    if (s == NULL || s->owner != (uint32_t)getpid() || size >= sizeof s->noise || strlen(folder) >= sizeof s->folder)
        return 0;
    memcpy(s->noise, noise, size);
    s->noise[size] = 0;
    strcpy(s->folder, folder);
    for (unsigned i = 0; i < MARKS; i++)
        s->owed[i] = s->known[i] = 0;
    atomic_store(&s->taken, atomic_load(&s->reserved));
    atomic_store(&s->lost, 0);
    atomic_store(&s->copied, 0);
    if (!preloaded)
        rk_patch();                        /* what was loaded since the last run */
    atomic_store(&s->on, 1);
    return 1;
}

EXPORT void rk_end(void)
{
    struct segment *s = atomic_load(&segment);
    if (s == NULL)
        return;
    atomic_store(&s->on, 0);
    atomic_fetch_add(&s->half, 1);
    SYS(SYS_futex, &s->half, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

EXPORT int rk_pending(void)
{
    struct segment *s = atomic_load(&segment);
    return s != NULL && atomic_load(&s->reserved) != atomic_load(&s->taken);
}

EXPORT unsigned long rk_take_lost(void)
{
    struct segment *s = atomic_load(&segment);
    return s == NULL ? 0 : atomic_exchange(&s->lost, 0);
}

EXPORT void rk_new_epoch(void)
{
    struct segment *s = atomic_load(&segment);
    if (s != NULL)
        atomic_fetch_add(&s->epoch, 1), atomic_store(&s->copied, 0);
}

EXPORT void rk_protect(const char *path, int on)
{
    struct segment *s = atomic_load(&segment);
    struct stat st;
    if (s == NULL || !look(AT_FDCWD, path, &st, 0))
        return;
    if (on)
        add(s->owed, inode_of(&st));
    else
        drop(s->owed, inode_of(&st)), add(s->known, state_of(&st));
}

/* Wait until the ring is half full, or the run is ended; returns 0 then. */
EXPORT int rk_wait(void)
{
    struct segment *s = atomic_load(&segment);
    uint32_t now = atomic_load(&s->half);
    if (atomic_load(&s->on) && atomic_load(&s->reserved) - atomic_load(&s->taken) <= SLOTS / 2)
        SYS(SYS_futex, &s->half, FUTEX_WAIT, now, NULL, NULL, 0);
    return atomic_load(&s->on);
}

/* Copy one slot out, when it is whole. A writer may have been killed in the middle, or be about to go on. */
static int take_slot(struct segment *s, uint64_t number, struct slot *to)
{
    const struct timespec pause = {0, 200000};
    struct slot *from = &s->slots[number % SLOTS];
    for (int i = 0; atomic_load_explicit(&from->mark, memory_order_acquire) != number + 1; i++) {
        if (i >= STALLED_MS * 5)
            return 0;
        nanosleep(&pause, NULL);
    }
    memcpy(to, from, sizeof *to);
    return to->sum == sum_of(to, number) && to->used <= SLOT_TEXT && to->part < to->parts;
}

/* Copy whole events to `to`, each behind its length (4 bytes); returns the bytes used. One reader at a time. */
EXPORT unsigned long rk_take(char *to, unsigned long room)
{
    struct segment *s = atomic_load(&segment);
    struct slot slot;
    unsigned long size = 0, begun = 0;     /* where the event that is being put together begins */
    unsigned next = 0, parts = 0;          /* the part that has to come now; 0 of 0: a new event */
    uint64_t at, end;
    if (s == NULL)
        return 0;
    at = atomic_load(&s->taken), end = atomic_load(&s->reserved);
    for (; at < end && size + (256 - next) * SLOT_TEXT + 4 <= room; at++) {
        int whole = take_slot(s, at, &slot);
        if (!whole || (next > 0 && (slot.part != next || slot.parts != parts)))
            atomic_fetch_add(&s->lost, 1), size = begun, next = parts = 0;
        if (whole && (slot.part == 0 || next > 0)) {
            if (slot.part == 0)
                begun = size, size += 4, parts = slot.parts;
            memcpy(to + size, slot.text, slot.used);
            size += slot.used;
            next = slot.part + 1;
            if (next == parts) {
                uint32_t length = size - begun - 4;
                memcpy(to + begun, &length, 4);
                begun = size, next = parts = 0;
            }
        }
        if (next == 0)                     /* never in the middle of an event: the next call begins here */
            atomic_store(&s->taken, at + 1);
    }
    return begun;
}

/* -- the start of a program ------------------------------------------------------------------------------------------ */

static void forget(const char *name)
{
    char **to = environ;
    for (char **from = environ; from != NULL && *from != NULL; from++)
        if (!is_named(*from, name))
            *to++ = *from;
    if (to != NULL)
        *to = NULL;
}

/* Take this library out of LD_PRELOAD; what the user had put there stays. */
static void restore_preload(void)
{
    char *value = variable("LD_PRELOAD"), *found = value == NULL ? NULL : strstr(value, library);
    if (found == NULL)
        return;
    char *rest = found + strlen(library);
    if (found == value && *rest == 0)
        forget("LD_PRELOAD");
    else if (*rest == 0)
        found[-1] = 0;
    else
        memmove(found, rest + 1, strlen(rest));
}

static int hex_of(char c) { return c >= 'a' ? c - 'a' + 10 : c - '0'; }

static void take_secret(void)
{
    const char *hex = variable(SECRET), *seed = variable("PYTHONHASHSEED");
    if (hex != NULL && strspn(hex, "0123456789abcdef") == 2 * SECRET_SIZE && hex[2 * SECRET_SIZE] == 0 &&
        (seed == NULL || strcmp(seed, "random") == 0)) {
        for (int i = 0; i < SECRET_SIZE; i++)
            secret[i] = hex_of(hex[2 * i]) << 4 | hex_of(hex[2 * i + 1]);
        has_secret = 1;
    }
}

__attribute__((constructor)) static void begin(void)
{
    resolve();
    started_as = getpid();
    if (!preloaded) {
        rk_patch();                        /* now: while this runs, no other thread can be loading an object */
        return;
    }
    const char *path = variable(SEGMENT);
    if (path != NULL && strlen(path) < PATH && attach(path, 0))
        note(HELLO, "", "", 1, "");
    take_secret();
    restore_preload();
    forget(SEGMENT);
    forget(SECRET);
}
