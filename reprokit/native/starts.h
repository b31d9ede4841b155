/* Calls that start programs, connect, and give random bytes. Part of recorder.c. */

/* -- starting programs: children get the recorder, whatever environment they are given --------------------------- */

#ifdef __x86_64__
#define OUR_MACHINE EM_X86_64
#else
#define OUR_MACHINE EM_AARCH64
#endif
#define LOOKED_AT (64u << 10)              /* names of needed libraries stand near the beginning of a program */

/* Whether the beginning of a program says that it is one of ours, and that a loader starts it: one without would not
 * take our variables away, and show them. */
static int is_loaded(const unsigned char *part, long size)
{
    ElfW(Ehdr) head;
    ElfW(Phdr) entry;
    memcpy(&head, part, sizeof head);
    if (head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_machine != OUR_MACHINE || head.e_phentsize != sizeof entry)
        return 0;
    for (unsigned i = 0; i < head.e_phnum && head.e_phoff + (i + 1) * sizeof entry <= (size_t)size; i++) {
        memcpy(&entry, part + head.e_phoff + i * sizeof entry, sizeof entry);
        if (entry.p_type == PT_INTERP)
            return 1;
    }
    return 0;
}

/* Whether a program takes this library in silence: the loader of a 32-bit one would complain aloud, and one that is
 * built with the address sanitizer refuses to run behind another library. */
static int is_alike(const char *path)
{
    unsigned char part[4096];
    int alike = 1;
    long fd = SYS(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0), size;
    if (fd < 0)
        return 1;
    /* By parts that overlap; not mapped, because a file that is cut off meanwhile would kill the process. */
    for (unsigned at = 0; at < LOOKED_AT && alike; at += sizeof part - 16) {
        size = SYS(SYS_pread64, fd, part, sizeof part, at);
        if (at == 0 && (size < 64 || memcmp(part, ELFMAG, SELFMAG) != 0))
            break;                         /* a script */
        if (size <= 0)
            break;
        alike = (at > 0 || is_loaded(part, size)) && memmem(part, size, "libasan.so", 10) == NULL;
    }
    SYS(SYS_close, fd);
    return alike;
}

/* As getenv; bash has one of its own, which knows no environment before it has started. */
static char *variable(const char *name)
{
    size_t size = strlen(name);
    for (char **at = environ; at != NULL && *at != NULL; at++)
        if (strncmp(*at, name, size) == 0 && (*at)[size] == '=')
            return *at + size + 1;
    return NULL;
}

/* Find a program as execvp does; "" when there is none. */
static void find_program(const char *file, int search, char *out)
{
    char path[PATH];
    const char *at = variable("PATH");
    out[0] = 0;
    if (!search || strchr(file, '/') != NULL) {
        if (!absolute(AT_FDCWD, file, out) || SYS(SYS_faccessat, AT_FDCWD, out, X_OK) != 0)
            out[0] = 0;
        return;
    }
    for (at = at == NULL ? "/bin:/usr/bin" : at;; at++) {
        size_t size = strcspn(at, ":"), name = strlen(file);
        if (size + name + 2 <= sizeof path) {
            memcpy(path, at, size);
            path[size] = '/';
            memcpy(path + size + (size > 0), file, name + 1);
            if (absolute(AT_FDCWD, path, out) && SYS(SYS_faccessat, AT_FDCWD, out, X_OK) == 0)
                return;
        }
        out[0] = 0;
        at += size;
        if (*at == 0)
            return;
    }
}

enum { BY_PATH = 0, SEARCHED = 1, BECOMES = 2 }; /* the last: in place of this process, not as a child */

struct start {
    struct segment *s;
    int how;
    char **variables;                      /* the environment to start with */
    char path[PATH];
    char ours[2 * PATH + 64], where[PATH + 32], key[2 * SECRET_SIZE + 32];
};

static int is_named(const char *entry, const char *name)
{
    size_t size = strlen(name);
    return strncmp(entry, name, size) == 0 && entry[size] == '=';
}

static size_t count(char *const *list)
{
    size_t n = 0;
    while (list != NULL && list[n] != NULL)
        n++;
    return n;
}

/* Look at a program that is about to be started, and say how many places its environment needs; 0: as it is. */
static size_t before_start(struct start *t, const char *file, int how, char *const *variables)
{
    int error = errno;
    size_t n = count(variables);
    t->s = active();
    t->how = how;
    t->variables = (char **)variables;
    t->path[0] = 0;
    /* Without a segment, what this process becomes (a shim that starts the interpreter, say) still carries on. */
    int carries = t->s != NULL || (preloaded && !hushed && how & BECOMES && getpid() == started_as);
    if (carries)
        find_program(file, how & SEARCHED, t->path);
    if (!carries || t->path[0] == 0 || n > VARIABLES || !is_alike(t->path))
        n = 0;
    else
        n += 4;
    errno = error;
    return n;
}

static void fill(struct start *t, char **to)
{
    size_t n = 0;
    const char *user = NULL;
    for (char **from = t->variables; from != NULL && *from != NULL; from++) {
        if (is_named(*from, "LD_PRELOAD"))
            user = *from + strlen("LD_PRELOAD=");
        else if (!is_named(*from, SEGMENT))
            to[n++] = *from;
    }
    strcat(strcpy(t->ours, "LD_PRELOAD="), library);
    if (user != NULL && strstr(user, library) != NULL)
        strncat(strcpy(t->ours, "LD_PRELOAD="), user, 2 * PATH);
    else if (user != NULL && strlen(user) < PATH)
        strcat(strcat(t->ours, ":"), user);
    to[n++] = t->ours;
    if (t->s != NULL)
        to[n++] = strcat(strcpy(t->where, SEGMENT "="), segment_path);
    if (has_secret && t->how & BECOMES && getpid() == started_as) {
        char *hex = t->key + strlen(strcpy(t->key, SECRET "="));
        for (int i = 0; i < SECRET_SIZE; i++) {
            *hex++ = "0123456789abcdef"[secret[i] >> 4];
            *hex++ = "0123456789abcdef"[secret[i] & 15];
        }
        *hex = 0;
        to[n++] = t->key;
    }
    to[n] = NULL;
    t->variables = to;
}

#define STARTING(file, how, env)                                                                                  \
    struct start start;                                                                                              \
    size_t places = before_start(&start, file, how, env);                                                        \
    if (places > 0)                                                                                                  \
        fill(&start, alloca(places * sizeof(char *)));

static int after_exec(struct start *t, int result) /* reached only when it failed */
{
    int error = errno;
    if (t->s != NULL && t->path[0])
        note(FAILED, t->path, "", 1, "");
    errno = error;
    return result;
}

#define EXECUTED(file, search, env, call)                                                                            \
    STARTING(file, BECOMES | search, env)                                                                            \
    if (start.s != NULL && start.path[0])                                                                            \
        note(EXEC, start.path, "", 1, "");                                                                           \
    return after_exec(&start, call);

EXPORT int execve(const char *path, char *const argv[], char *const env[])
{
    EXECUTED(path, BY_PATH, env, REAL(execve)(path, argv, start.variables))
}
EXPORT int execv(const char *path, char *const argv[])
{
    EXECUTED(path, BY_PATH, environ, REAL(execve)(path, argv, start.variables))
}
EXPORT int execvpe(const char *file, char *const argv[], char *const env[])
{
    EXECUTED(file, SEARCHED, env, REAL(execvpe)(file, argv, start.variables))
}
EXPORT int execvp(const char *file, char *const argv[]) { return execvpe(file, argv, environ); }
EXPORT int fexecve(int fd, char *const argv[], char *const env[])
{
    char path[PATH];
    if (link_of(fd, path) <= 0)
        path[0] = 0;
    EXECUTED(path, BY_PATH, env, REAL(fexecve)(fd, argv, start.variables))
}

/* execl and its like: the arguments as an array, and what stands behind them. */
#define LISTED(first)                                                                                                \
    va_list list;                                                                                                    \
    size_t n = 1;                                                                                                    \
    va_start(list, first);                                                                                           \
    for (const char *at = first; at != NULL; n++)                                                                    \
        at = va_arg(list, const char *);                                                                             \
    va_end(list);                                                                                                    \
    char **argv = alloca(n * sizeof(char *));                                                                        \
    va_start(list, first);                                                                                           \
    argv[0] = (char *)first;                                                                                         \
    for (size_t i = 1; i < n; i++)                                                                                   \
        argv[i] = va_arg(list, char *);                                                       \
    char *const *env = environ;

EXPORT int execl(const char *path, const char *first, ...)
{
    LISTED(first)
    va_end(list);
    return execve(path, argv, env);
}
EXPORT int execlp(const char *file, const char *first, ...)
{
    LISTED(first)
    va_end(list);
    return execvpe(file, argv, env);
}
EXPORT int execle(const char *path, const char *first, ...)
{
    LISTED(first)
    env = va_arg(list, char *const *);
    va_end(list);
    return execve(path, argv, env);
}

#define SPAWNED(how, name)                                                                                        \
    STARTING(path, how, env)                                                                                         \
    pid_t child = 0;                                                                                                 \
    int result = REAL(name)(&child, path, actions, attributes, argv, start.variables);                               \
    if (pid != NULL && result == 0)                                                                                  \
        *pid = child;                                                                                                \
    if (result == 0 && start.s != NULL && start.path[0])                                                             \
        note_of(child, EXEC, start.path, "", 1, "");                                                                 \
    return result;

EXPORT int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                       const posix_spawnattr_t *attributes, char *const argv[], char *const env[])
{
    SPAWNED(BY_PATH, posix_spawn)
}
EXPORT int posix_spawnp(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                        const posix_spawnattr_t *attributes, char *const argv[], char *const env[])
{
    SPAWNED(SEARCHED, posix_spawnp)
}

/* The C library's own would start the shell behind our back. */
EXPORT int system(const char *command)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static int running;
    static struct sigaction old_int, old_quit;
    if (command == NULL || active() == NULL)
        return REAL(system)(command);
    char *const argv[] = {"sh", "-c", (char *)command, NULL};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigset_t child, old, defaults;
    posix_spawnattr_t attributes;
    int status = -1;
    pid_t pid;
    pthread_mutex_lock(&lock);
    if (running++ == 0) {
        sigaction(SIGINT, &ignore, &old_int);
        sigaction(SIGQUIT, &ignore, &old_quit);
    }
    sigemptyset(&defaults);
    if (old_int.sa_handler != SIG_IGN)
        sigaddset(&defaults, SIGINT);
    if (old_quit.sa_handler != SIG_IGN)
        sigaddset(&defaults, SIGQUIT);
    pthread_mutex_unlock(&lock);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, &old); /* of this thread only, on Linux */
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &old);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    int error = posix_spawn(&pid, "/bin/sh", NULL, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    if (error != 0)
        status = 127 << 8;
    else
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
    pthread_mutex_lock(&lock);
    if (--running == 0) {
        sigaction(SIGINT, &old_int, NULL);
        sigaction(SIGQUIT, &old_quit, NULL);
    }
    pthread_mutex_unlock(&lock);
    sigprocmask(SIG_SETMASK, &old, NULL);
    if (error != 0)
        errno = error;
    return status;
}

/* popen takes no environment: its child gets the one that stands in `environ` for this moment. On the heap, and left
 * there if another thread changed the environment meanwhile and so took it over. */
EXPORT FILE *popen(const char *command, const char *mode)
{
    struct start *start = active() == NULL ? NULL : malloc(sizeof *start);
    size_t places = start == NULL ? 0 : before_start(start, "/bin/sh", BY_PATH, environ);
    char **old = environ, **list = places == 0 ? NULL : malloc(places * sizeof *list);
    if (list != NULL) {
        fill(start, list);
        environ = list;
    }
    FILE *file = REAL(popen)(command, mode);
    if (list != NULL && environ != list)
        return file;
    environ = old;
    free(list);
    free(start);
    return file;
}

/* -- the network, and the key of string hashes -------------------------------------------------------------------- */

EXPORT int connect(int fd, const struct sockaddr *address, socklen_t size)
{
    char text[INET6_ADDRSTRLEN + 8] = "", digits[8];
    uint16_t port = 0;
    if (active() != NULL && address != NULL) {
        int error = errno;
        if (address->sa_family == AF_INET && size >= sizeof(struct sockaddr_in)) {
            const struct sockaddr_in *in = (const void *)address;
            inet_ntop(AF_INET, &in->sin_addr, text, sizeof text), port = ntohs(in->sin_port);
        } else if (address->sa_family == AF_INET6 && size >= sizeof(struct sockaddr_in6)) {
            const struct sockaddr_in6 *in = (const void *)address;
            inet_ntop(AF_INET6, &in->sin6_addr, text, sizeof text), port = ntohs(in->sin6_port);
        }
        if (text[0])
            note(CONNECT, strcat(strcat(text, ":"), number(digits + sizeof digits, port)), "", 1, "");
        errno = error;
    }
    REFUSED(address, size)
    return REAL(connect)(fd, address, size);
}

/* Python asks for this many bytes in this way once, at its start, and for nothing else. */
static int gives_secret(void *to, size_t size, unsigned flags)
{
    int there = 1;
    if (LIKELY(!has_secret) || size != SECRET_SIZE || flags != GRND_NONBLOCK || getpid() != started_as)
        return 0;
    if (!atomic_compare_exchange_strong(&has_secret, &there, 0))
        return 0;
    memcpy(to, secret, SECRET_SIZE);
    return 1;
}

EXPORT ssize_t getrandom(void *to, size_t size, unsigned flags)
{
    return gives_secret(to, size, flags) ? (ssize_t)size : REAL(getrandom)(to, size, flags);
}

/* A Python that was built on an older system asks through here. */
EXPORT long syscall(long number, ...)
{
    long a[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_getrandom && gives_secret((void *)a[0], a[1], a[2]))
        return a[1];
    SHIFTED_CALL(number, a)
    return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
