/* Calls that open, rename, remove and cut off files. Part of recorder.c. */

/* -- paths ---------------------------------------------------------------------------------------------------- */

static char *number(char *end, uint64_t value) /* writes it before `end`; snprintf is no signal-safe function */
{
    *--end = 0;
    do
        *--end = '0' + value % 10;
    while (value /= 10);
    return end;
}

static long link_of(int fd, char *out)
{
    char digits[24], name[40] = "/proc/self/fd/";
    strcat(name, number(digits + sizeof digits, fd));
    long size = SYS(SYS_readlinkat, AT_FDCWD, name, out, PATH - 1);
    if (size > 0)
        out[size] = 0;
    return size;
}

/* Write a path as `os.path.abspath` would: absolute, "." and ".." resolved by name, links kept. */
static int absolute(int dir, const char *path, char *out)
{
    size_t size = 0;
    if (path[0] != '/') {
        long got = dir == AT_FDCWD ? SYS(SYS_getcwd, out, PATH - 1) - 1 : link_of(dir, out);
        if (got <= 0 || out[0] != '/')     /* deleted, unreachable, or too long */
            return 0;
        size = got == 1 ? 0 : got;
    }
    while (*path) {
        size_t part = strcspn(path, "/");
        if (part == 2 && path[0] == '.' && path[1] == '.') {
            while (size > 0 && out[--size] != '/')
                ;
        } else if (part > 0 && !(part == 1 && path[0] == '.')) {
            if (size + part + 2 > PATH)
                return 0;
            out[size++] = '/';
            memcpy(out + size, path, part);
            size += part;
        }
        path += part;
        path += *path == '/';
    }
    if (size == 0)
        out[size++] = '/';
    out[size] = 0;
    return 1;
}

static int is_noise(struct segment *s, const char *path)
{
    size_t size = strlen(path), n;
    const char *end = s->noise + sizeof s->noise - 4;
    for (const char *at = s->noise; at < end && *at; at += 3 + n) {
        n = (unsigned char)at[1] | (size_t)(unsigned char)at[2] << 8;
        if (n > (size_t)(end - at))
            return 0;
        if (*at == 'n') {                  /* a folder of this name, anywhere */
            if (memmem(path, size, at + 3, n) != NULL)
                return 1;
        } else if (n > 1 && n <= size) {   /* one letter first: for most entries that is all */
            const char *from = *at == 'p' ? path : path + size - n;
            if (from[n / 2] == at[3 + n / 2] && memcmp(from, at + 3, n) == 0)
                return 1;
        }
    }
    return 0;
}

/* Resolve a path that may be data; count one that is too long. */
static int data_path(struct segment *s, int dir, const char *path, char *out)
{
    if (path == NULL || path[0] == 0)
        return 0;
    if (!absolute(dir, path, out)) {
        if (strlen(path) > PATH / 2)
            atomic_fetch_add(&s->lost, 1);
        return 0;
    }
    return !is_noise(s, out);
}

/* -- pre-images: the bytes of a file as they were before somebody changed it ------------------------------------ */

static int look(int dir, const char *path, struct stat *st, int flags)
{
    return SYS(SYS_newfstatat, dir, path, st, flags) == 0;
}

static int copy_bytes(struct segment *s, int from, int to, off_t size)
{
    struct rlimit limit;
    if (SYS(SYS_ioctl, to, FICLONE, from) == 0)
        return 1;
    if (size > COPY_LIMIT || atomic_fetch_add(&s->copied, size) + size > EPOCH_LIMIT)
        return 0;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < (rlim_t)size)
        return 0;                          /* the copy would kill the process by SIGXFSZ */
    for (off_t left = size; left > 0;) {
        long n = SYS(SYS_copy_file_range, from, NULL, to, NULL, left, 0);
        if (n <= 0)
            n = SYS(SYS_sendfile, to, from, NULL, left);
        if (n <= 0)
            return 0;
        left -= n;
    }
    return 1;
}

/* Keep the bytes of `path` under a name of ours, which is written to `name`; with `moves` the file itself stays
 * whole (it is removed or replaced), so that a second link is enough. */
static void keep(struct segment *s, const char *path, const struct stat *st, int moves, char *name)
{
    char digits[24], copy[sizeof s->folder + 32];
    const char *serial = number(digits + sizeof digits, atomic_fetch_add(&s->copies, 1));
    size_t size = strnlen(s->folder, sizeof s->folder - 1);
    memcpy(copy, s->folder, size);
    copy[size] = '/';
    strcpy(copy + size + 1, serial);
    if (!moves || SYS(SYS_linkat, AT_FDCWD, path, AT_FDCWD, copy, 0) != 0) {
        long from = SYS(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
        if (from < 0)
            return;
        long to = SYS(SYS_openat, AT_FDCWD, copy, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        int done = to >= 0 && copy_bytes(s, from, to, st->st_size);
        SYS(SYS_close, from);
        if (to >= 0)
            SYS(SYS_close, to);
        if (!done) {
            if (to >= 0)
                SYS(SYS_unlinkat, AT_FDCWD, copy, 0);
            return;
        }
    }
    strcpy(name, copy + size + 1);
}

static void discard(struct segment *s, const char *name)
{
    char copy[sizeof s->folder + 32];
    size_t size = strnlen(s->folder, sizeof s->folder - 1);
    if (name[0] == 0)
        return;
    memcpy(copy, s->folder, size);
    copy[size] = '/';
    strcpy(copy + size + 1, name);
    SYS(SYS_unlinkat, AT_FDCWD, copy, 0);
}

/* Old bytes are needed when somebody read them, or goes on from them, and the agent does not have them yet. */
static int is_needed(struct segment *s, const struct stat *st, int update)
{
    if (!S_ISREG(st->st_mode) || has(s->known, state_of(st)))
        return 0;
    return has(s->owed, inode_of(st)) || (update && !has(s->known, written_of(s, st)));
}

static void is_own(struct segment *s, const struct stat *st)
{
    drop(s->owed, inode_of(st));
    add(s->known, written_of(s, st));
}

/* -- opening -------------------------------------------------------------------------------------------------- */

struct use {
    struct segment *s;                     /* NULL: nothing to note */
    const char *given;
    int dir, flags, existed;
    char before[24];
    char path[PATH];
};

static void before_open(struct use *u, int dir, const char *path, int flags)
{
    struct stat st;
    u->s = active();
    if (LIKELY(u->s == NULL))
        return;
    int error = errno;
    u->dir = dir, u->given = path, u->flags = flags, u->existed = 1, u->before[0] = 0;
    if ((flags & O_TMPFILE) == O_TMPFILE || flags & O_PATH) {
        u->s = NULL;
    } else if ((flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC) {
        if (!data_path(u->s, dir, path, u->path)) {
            u->s = NULL;
        } else {
            u->existed = look(dir, path, &st, 0);
            if (u->existed && (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL) && is_needed(u->s, &st, !(flags & O_TRUNC)))
                keep(u->s, u->path, &st, 0, u->before);
        }
    }
    errno = error;
}

static void after_open(struct use *u, long fd)
{
    struct stat st;
    if (LIKELY(u->s == NULL))
        return;
    int error = errno, reads = (u->flags & O_ACCMODE) == O_RDONLY && !(u->flags & O_TRUNC);
    if (fd < 0 || (reads && !data_path(u->s, u->dir, u->given, u->path)) || !look(fd, "", &st, AT_EMPTY_PATH)) {
        discard(u->s, u->before);
    } else if (S_ISDIR(st.st_mode)) {
        note(LIST, u->path, "", 1, "");
    } else if (reads && (S_ISREG(st.st_mode) || S_ISFIFO(st.st_mode))) {
        if (!has(u->s->known, state_of(&st)) && !has(u->s->known, written_of(u->s, &st)))
            add(u->s->owed, inode_of(&st));
        note(READ, u->path, "", 1, "");
    } else if (!reads && (S_ISREG(st.st_mode) || S_ISFIFO(st.st_mode))) {
        is_own(u->s, &st);
        int in_place = !(u->flags & O_TRUNC) && u->existed, blind = (u->flags & O_ACCMODE) == O_WRONLY;
        note(!in_place ? WRITE : blind ? APPEND : UPDATE, u->path, "", u->existed, u->before);
    }
    errno = error;
}

#define GET_MODE                                                                                                     \
    mode_t mode = 0;                                                                                                 \
    if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) {                                                       \
        va_list list;                                                                                                \
        va_start(list, flags);                                                                                       \
        mode = va_arg(list, mode_t);                                                                                 \
        va_end(list);                                                                                                \
    }
#define OPENED(dir, path, flags, call)                                                                               \
    struct use use;                                                                                                  \
    before_open(&use, dir, path, flags);                                                                             \
    int fd = call;                                                                                                   \
    after_open(&use, fd);                                                                                            \
    return fd;

EXPORT int open(const char *path, int flags, ...)
{
    GET_MODE OPENED(AT_FDCWD, path, flags, REAL(open)(path, flags, mode))
}
EXPORT int open64(const char *path, int flags, ...)
{
    GET_MODE OPENED(AT_FDCWD, path, flags, REAL(open64)(path, flags, mode))
}
EXPORT int openat(int dir, const char *path, int flags, ...)
{
    GET_MODE OPENED(dir, path, flags, REAL(openat)(dir, path, flags, mode))
}
EXPORT int openat64(int dir, const char *path, int flags, ...)
{
    GET_MODE OPENED(dir, path, flags, REAL(openat64)(dir, path, flags, mode))
}
EXPORT int __open_2(const char *path, int flags) { OPENED(AT_FDCWD, path, flags, REAL(__open_2)(path, flags)) }
EXPORT int __open64_2(const char *path, int flags) { OPENED(AT_FDCWD, path, flags, REAL(__open64_2)(path, flags)) }
EXPORT int __openat_2(int dir, const char *path, int flags) { OPENED(dir, path, flags, REAL(__openat_2)(dir, path, flags)) }
EXPORT int __openat64_2(int dir, const char *path, int flags)
{
    OPENED(dir, path, flags, REAL(__openat64_2)(dir, path, flags))
}

#define CREATING (O_WRONLY | O_CREAT | O_TRUNC)
EXPORT int creat(const char *path, mode_t mode) { OPENED(AT_FDCWD, path, CREATING, REAL(creat)(path, mode)) }
EXPORT int creat64(const char *path, mode_t mode) { OPENED(AT_FDCWD, path, CREATING, REAL(creat64)(path, mode)) }

static int flags_of(const char *mode)
{
    int plus = strchr(mode, '+') != NULL, flags = plus ? O_RDWR : mode[0] == 'r' ? O_RDONLY : O_WRONLY;
    if (mode[0] == 'w')
        flags |= O_CREAT | O_TRUNC;
    else if (mode[0] == 'a')
        flags |= O_CREAT | O_APPEND;
    return strchr(mode, 'x') != NULL ? flags | O_EXCL : flags;
}

#define FOPENED(call)                                                                                                \
    struct use use;                                                                                                  \
    before_open(&use, AT_FDCWD, path, flags_of(mode));                                                               \
    FILE *file = call;                                                                                               \
    after_open(&use, file == NULL ? -1 : fileno(file));                                                              \
    return file;

EXPORT FILE *fopen(const char *path, const char *mode) { FOPENED(REAL(fopen)(path, mode)) }
EXPORT FILE *fopen64(const char *path, const char *mode) { FOPENED(REAL(fopen64)(path, mode)) }
EXPORT FILE *freopen(const char *path, const char *mode, FILE *old) { FOPENED(REAL(freopen)(path, mode, old)) }
EXPORT FILE *freopen64(const char *path, const char *mode, FILE *old) { FOPENED(REAL(freopen64)(path, mode, old)) }

/* The name of a temporary file is known only afterwards; it never existed before. */
#define TEMPORARY(name, parameters, ...)                                                                             \
    EXPORT int name parameters                                                                                       \
    {                                                                                                                \
        struct use use = {.s = active(), .given = template, .dir = AT_FDCWD, .flags = O_RDWR | O_CREAT | O_EXCL};   \
        int fd = REAL(name)(__VA_ARGS__);                                                                            \
        if (use.s != NULL && (fd < 0 || !data_path(use.s, AT_FDCWD, template, use.path)))                            \
            use.s = NULL;                                                                                            \
        after_open(&use, fd);                                                                                        \
        return fd;                                                                                                   \
    }
TEMPORARY(mkstemp, (char *template), template)
TEMPORARY(mkstemp64, (char *template), template)
TEMPORARY(mkostemp, (char *template, int flags), template, flags)
TEMPORARY(mkostemp64, (char *template, int flags), template, flags)
TEMPORARY(mkstemps, (char *template, int suffix), template, suffix)
TEMPORARY(mkstemps64, (char *template, int suffix), template, suffix)
TEMPORARY(mkostemps, (char *template, int suffix, int flags), template, suffix, flags)
TEMPORARY(mkostemps64, (char *template, int suffix, int flags), template, suffix, flags)

EXPORT DIR *opendir(const char *path)
{
    struct use use;
    before_open(&use, AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
    DIR *folder = REAL(opendir)(path);
    after_open(&use, folder == NULL ? -1 : dirfd(folder));
    return folder;
}

/* -- renaming, linking, removing, cutting off ------------------------------------------------------------------- */

struct move {
    struct segment *s;
    int existed, replaces;                 /* whether a file that is in the way goes */
    uint64_t inode;                        /* of that file */
    char before[24];
    char path[PATH], target[PATH];
};

/* Before `target` is replaced, or `path` is removed (without a target). */
static void before_move(struct move *m, int dir, const char *path, int to, const char *target)
{
    struct stat st;
    m->s = active(), m->before[0] = m->target[0] = 0, m->existed = 1, m->inode = 0;
    if (LIKELY(m->s == NULL))
        return;
    int error = errno, data = data_path(m->s, dir, path, m->path);
    if (target != NULL)
        data = data_path(m->s, to, target, m->target) || data;
    if (!data || m->path[0] != '/' || (target != NULL && m->target[0] != '/')) {
        m->s = NULL;
    } else {
        const char *loses = target != NULL ? m->target : m->path;
        m->existed = look(AT_FDCWD, loses, &st, AT_SYMLINK_NOFOLLOW);
        if (m->existed && m->replaces && st.st_nlink == 1) {
            m->inode = inode_of(&st);
            if (is_needed(m->s, &st, 0))
                keep(m->s, loses, &st, 1, m->before);
        }
    }
    errno = error;
}

static int after_move(struct move *m, char what, int result)
{
    if (LIKELY(m->s == NULL))
        return result;
    int error = errno;
    if (result == 0) {
        struct stat st;
        if (m->inode != 0)
            drop(m->s->owed, m->inode);
        if (what != REMOVE && look(AT_FDCWD, m->target, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode)
            && !has(m->s->known, written_of(m->s, &st)))
            add(m->s->owed, inode_of(&st));    /* whoever moves it uses its bytes */
        note(what, m->path, m->target, m->existed, m->before);
    } else {
        discard(m->s, m->before);
    }
    errno = error;
    return result;
}

#define MOVED(what, dir, path, to, target, call) MOVED_IF(what, what != LINK, dir, path, to, target, call)
#define MOVED_IF(what, replacing, dir, path, to, target, call)                                                       \
    struct move move;                                                                                                \
    move.path[0] = 0, move.replaces = replacing;                                                                     \
    before_move(&move, dir, path, to, target);                                                                       \
    return after_move(&move, what, call);

EXPORT int rename(const char *path, const char *target)
{
    MOVED(RENAME, AT_FDCWD, path, AT_FDCWD, target, REAL(rename)(path, target))
}
EXPORT int renameat(int dir, const char *path, int to, const char *target)
{
    MOVED(RENAME, dir, path, to, target, REAL(renameat)(dir, path, to, target))
}
static int rename_by_call(int dir, const char *path, int to, const char *target, unsigned flags)
{
    return SYS(SYS_renameat2, dir, path, to, target, flags);
}
EXPORT int renameat2(int dir, const char *path, int to, const char *target, unsigned flags)
{
    if (flags & RENAME_EXCHANGE) {         /* two moves, and nothing is lost */
        int result = rename_by_call(dir, path, to, target, flags);
        struct move move = {.s = result == 0 ? active() : NULL, .existed = 1};
        if (move.s != NULL && (data_path(move.s, dir, path, move.path) | data_path(move.s, to, target, move.target))) {
            note(RENAME, move.path, move.target, 1, "");
            note(RENAME, move.target, move.path, 1, "");
        }
        return result;
    }
    MOVED_IF(RENAME, !(flags & RENAME_NOREPLACE), dir, path, to, target, rename_by_call(dir, path, to, target, flags))
}
EXPORT int link(const char *path, const char *target)
{
    MOVED(LINK, AT_FDCWD, path, AT_FDCWD, target, REAL(link)(path, target))
}
EXPORT int linkat(int dir, const char *path, int to, const char *target, int flags)
{
    MOVED(LINK, dir, path, to, target, REAL(linkat)(dir, path, to, target, flags))
}
EXPORT int unlink(const char *path) { MOVED(REMOVE, AT_FDCWD, path, 0, NULL, REAL(unlink)(path)) }
EXPORT int remove(const char *path) { MOVED(REMOVE, AT_FDCWD, path, 0, NULL, REAL(remove)(path)) }
EXPORT int unlinkat(int dir, const char *path, int flags)
{
    if (flags & AT_REMOVEDIR)
        return REAL(unlinkat)(dir, path, flags);
    MOVED(REMOVE, dir, path, 0, NULL, REAL(unlinkat)(dir, path, flags))
}

static int after_cut(struct use *u, int result)
{
    struct stat st;
    int error = errno;
    if (u->s != NULL && result == 0 && look(AT_FDCWD, u->path, &st, 0)) {
        is_own(u->s, &st);
        note(u->flags & O_TRUNC ? WRITE : UPDATE, u->path, "", 1, u->before);
    } else if (u->s != NULL) {
        discard(u->s, u->before);
    }
    errno = error;
    return result;
}

#define CUT(call)                                                                                                    \
    struct use use;                                                                                                  \
    before_open(&use, AT_FDCWD, path, size == 0 ? O_WRONLY | O_TRUNC : O_WRONLY);                                     \
    return after_cut(&use, call);

EXPORT int truncate(const char *path, off_t size) { CUT(REAL(truncate)(path, size)) }
EXPORT int truncate64(const char *path, off64_t size) { CUT(REAL(truncate64)(path, size)) }
