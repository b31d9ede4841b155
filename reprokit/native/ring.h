/* Writing events into the ring, and small sets of files beside it. Part of recorder.c. */

/* What happened; the letters are recorder.py's too. */
enum { READ = 'r', WRITE = 'w', UPDATE = 'u', APPEND = 'a', RENAME = 'n', LINK = 'l', REMOVE = 'd', LIST = 'o', EXEC = 'x',
       HELLO = 'h', FAILED = 'f', CONNECT = 'c' };

struct head {
    uint32_t pid;
    uint8_t what, existed;
    uint16_t path, target, before;         /* lengths of the texts that follow */
} __attribute__((packed));

static uint32_t sum_of(const struct slot *slot, uint64_t number)
{
    uint64_t words[SLOT_TEXT / 8], sum = number ^ slot->part ^ (uint64_t)slot->parts << 8 ^ (uint64_t)slot->used << 16;
    memcpy(words, slot->text, SLOT_TEXT);
    for (unsigned i = 0; i < SLOT_TEXT / 8; i++)
        sum = (sum ^ words[i]) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(sum >> 32);
}

static void put(struct segment *s, uint64_t first, size_t *at, const void *bytes, size_t size)
{
    for (const char *from = bytes; size > 0;) {
        struct slot *slot = &s->slots[(first + *at / SLOT_TEXT) % SLOTS];
        size_t offset = *at % SLOT_TEXT, room = SLOT_TEXT - offset, n = size < room ? size : room;
        memcpy(slot->text + offset, from, n);
        from += n, size -= n, *at += n;
    }
}

static void note_of(pid_t pid, char what, const char *path, const char *target, int existed, const char *before)
{
    struct segment *s = active();
    if (s == NULL)
        return;
    struct head head = {pid, what, existed, strlen(path), strlen(target), strlen(before)};
    size_t size = sizeof head + head.path + head.target + head.before, at = 0;
    uint64_t parts = (size + SLOT_TEXT - 1) / SLOT_TEXT, first = atomic_load(&s->reserved), used;
    do {
        used = first + parts - atomic_load(&s->taken);
        if (used > SLOTS) {
            atomic_fetch_add(&s->lost, 1);
            return;
        }
    } while (!atomic_compare_exchange_weak(&s->reserved, &first, first + parts));
    put(s, first, &at, &head, sizeof head);
    put(s, first, &at, path, head.path);
    put(s, first, &at, target, head.target);
    put(s, first, &at, before, head.before);
    for (uint64_t i = 0; i < parts; i++) {
        struct slot *slot = &s->slots[(first + i) % SLOTS];
        slot->part = i, slot->parts = parts;
        slot->used = i + 1 < parts ? SLOT_TEXT : size - i * SLOT_TEXT;
        slot->sum = sum_of(slot, first + i);
        atomic_store_explicit(&slot->mark, first + i + 1, memory_order_release);
    }
    if (used > SLOTS / 2 && used - parts <= SLOTS / 2) { /* this event made it half full: wake the agent */
        atomic_fetch_add(&s->half, 1);
        SYS(SYS_futex, &s->half, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
}

static void note(char what, const char *path, const char *target, int existed, const char *before)
{
    note_of(getpid(), what, path, target, existed, before);
}

/* -- small sets of files in shared memory: a full one forgets an entry, which costs a copy and breaks nothing --- */

static uint64_t mixed(uint64_t a, uint64_t b)
{
    a = (a ^ b) * 0x9E3779B97F4A7C15u;
    return (a ^ a >> 29) | 1;              /* never 0, which is an empty place */
}

static uint64_t inode_of(const struct stat *st) { return mixed(mixed(st->st_dev, 1), st->st_ino); }

static uint64_t state_of(const struct stat *st)
{
    uint64_t times = mixed(st->st_mtim.tv_sec * 1000000000ull + st->st_mtim.tv_nsec,
                           st->st_ctim.tv_sec * 1000000000ull + st->st_ctim.tv_nsec);
    return mixed(mixed(inode_of(st), st->st_size), times);
}

static uint64_t written_of(struct segment *s, const struct stat *st)
{
    return mixed(inode_of(st), atomic_load(&s->epoch) + 2ull);
}

static int has(_Atomic uint64_t *set, uint64_t key)
{
    for (unsigned i = 0; i < PROBES; i++)
        if (atomic_load_explicit(&set[(key / 2 + i) % MARKS], memory_order_relaxed) == key)
            return 1;
    return 0;
}

static void add(_Atomic uint64_t *set, uint64_t key)
{
    if (has(set, key))
        return;
    for (unsigned i = 0; i < PROBES; i++) {
        uint64_t empty = 0;
        if (atomic_compare_exchange_strong(&set[(key / 2 + i) % MARKS], &empty, key))
            return;
    }
    atomic_store(&set[(key / 2 + (key >> 40) % PROBES) % MARKS], key);
}

static void drop(_Atomic uint64_t *set, uint64_t key)
{
    for (unsigned i = 0; i < PROBES; i++) {
        uint64_t found = key;
        atomic_compare_exchange_strong(&set[(key / 2 + i) % MARKS], &found, 0);
    }
}
