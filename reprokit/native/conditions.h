/* What a replay may be run under: the clock as it was, and no network. Part of recorder.c, and nothing in it unless it
 * is built with -DCONDITIONS: only replays that ask for this carry it.
 *
 * Both are in the shared segment, so that they hold for the kernel and for its children alike. The clock is that of
 * the system with an offset: it goes on as time does, and time.monotonic() is left alone. Waiting until a moment of
 * that clock is what some C libraries and Pythons do for a timeout; such a moment is given to the system as its own.
 */
#ifndef CONDITIONS
#define REFUSED(address, size)
#define SHIFTED_CALL(number, a)
#else

/* -- the clock --------------------------------------------------------------------------------------------------- */

#define SECOND 1000000000ll
#define EPOCH 1000000000                   /* seconds: a moment beyond it is of the calendar, not since the start */

static int64_t shift_now(void)
{
    struct segment *s = atomic_load_explicit(&segment, memory_order_acquire);
    return s == NULL ? 0 : atomic_load_explicit(&s->shift, memory_order_relaxed);
}

static struct timespec moved(struct timespec at, int64_t by)
{
    int64_t part = at.tv_nsec + by % SECOND;
    at.tv_sec += by / SECOND + (part >= SECOND) - (part < 0);
    at.tv_nsec = part + (part < 0 ? SECOND : 0) - (part >= SECOND ? SECOND : 0);
    return at;
}

static int is_calendar(clockid_t clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE; }

EXPORT int clock_gettime(clockid_t clock, struct timespec *at)
{
    int result = REAL(clock_gettime)(clock, at);
    if (result == 0 && is_calendar(clock))
        *at = moved(*at, shift_now());
    return result;
}

/* The C library's own are chosen when a program starts and are no plain functions: they are not called. */
EXPORT int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
    struct timespec now;
    if (zone != NULL)
        memset(zone, 0, sizeof(struct timezone));
    if (clock_gettime(CLOCK_REALTIME, &now) == 0)
        at->tv_sec = now.tv_sec, at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

EXPORT time_t time(time_t *at)
{
    struct timespec now = {0};
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (at != NULL)
        *at = now.tv_sec;
    return now.tv_sec;
}

EXPORT int timespec_get(struct timespec *at, int base)
{
    return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, at) == 0 ? base : 0;
}

#define SHIFTED_CALL(number, a)                                                                                      \
    if (number == SYS_clock_gettime && a[1] != 0)                                                                    \
        return clock_gettime(a[0], (void *)a[1]);

/* The moment at which the system's clock will be where the shifted one is to be. */
static struct timespec due(const struct timespec *at)
{
    return at->tv_sec < EPOCH ? *at : moved(*at, -shift_now());
}

#define UNTIL(call, ...)                                                                                             \
    struct timespec moment = due(at);                                                                                \
    return REAL(call)(__VA_ARGS__, &moment);

EXPORT int sem_timedwait(sem_t *restrict sem, const struct timespec *restrict at) { UNTIL(sem_timedwait, sem) }
EXPORT int sem_clockwait(sem_t *restrict sem, clockid_t clock, const struct timespec *restrict at)
{
    UNTIL(sem_clockwait, sem, clock)
}
EXPORT int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                                  const struct timespec *restrict at)
{
    UNTIL(pthread_cond_timedwait, cond, mutex)
}
EXPORT int pthread_cond_clockwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex, clockid_t clock,
                                  const struct timespec *restrict at)
{
    UNTIL(pthread_cond_clockwait, cond, mutex, clock)
}
EXPORT int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict at)
{
    UNTIL(pthread_mutex_timedlock, mutex)
}

EXPORT int clock_nanosleep(clockid_t clock, int flags, const struct timespec *at, struct timespec *left)
{
    struct timespec moment;
    if (flags & TIMER_ABSTIME)
        moment = due(at), at = &moment;
    return REAL(clock_nanosleep)(clock, flags, at, left);
}

/* Let the calendar say this many nanoseconds more than the system's, here and in all children. */
EXPORT int rk_shift(int64_t by)
{
    struct segment *s = atomic_load(&segment);
    if (s != NULL)
        atomic_store(&s->shift, by);
    return s != NULL;
}

/* -- the network ------------------------------------------------------------------------------------------------- */

static int is_closed(void)
{
    struct segment *s = atomic_load_explicit(&segment, memory_order_acquire);
    return s != NULL && atomic_load_explicit(&s->closed, memory_order_relaxed);
}

/* Whether an address is one of this machine's own interfaces. */
static int is_own_address(const struct sockaddr *address)
{
    struct ifaddrs *list, *i;
    int found = 0;
    if (getifaddrs(&list) != 0)
        return 0;
    for (i = list; i != NULL && !found; i = i->ifa_next)
        if (i->ifa_addr == NULL || i->ifa_addr->sa_family != address->sa_family)
            ;
        else if (address->sa_family == AF_INET)
            found = ((struct sockaddr_in *)i->ifa_addr)->sin_addr.s_addr == ((const struct sockaddr_in *)address)->sin_addr.s_addr;
        else
            found = memcmp(&((struct sockaddr_in6 *)i->ifa_addr)->sin6_addr, &((const struct sockaddr_in6 *)address)->sin6_addr, 16) == 0;
    freeifaddrs(list);
    return found;
}

static int is_local(const struct sockaddr *address, socklen_t size)
{
    if (address->sa_family == AF_INET && size >= sizeof(struct sockaddr_in)) {
        uint32_t ip = ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr);
        return ip == 0 || ip >> 24 == 127 || is_own_address(address);
    }
    if (address->sa_family == AF_INET6 && size >= sizeof(struct sockaddr_in6)) {
        const struct in6_addr *ip = &((const struct sockaddr_in6 *)address)->sin6_addr;
        struct sockaddr_in inside = {.sin_family = AF_INET};
        if (IN6_IS_ADDR_LOOPBACK(ip) || IN6_IS_ADDR_UNSPECIFIED(ip))
            return 1;
        if (!IN6_IS_ADDR_V4MAPPED(ip))
            return is_own_address(address);
        memcpy(&inside.sin_addr, ip->s6_addr + 12, 4);
        return is_local((const void *)&inside, sizeof inside);
    }
    return 1;                              /* sockets of the file system, of the kernel */
}

static int is_refused(const struct sockaddr *address, socklen_t size)
{
    if (LIKELY(!is_closed()) || address == NULL)
        return 0;
    int error = errno, refused = !is_local(address, size);
    errno = refused ? ENETUNREACH : error; /* what a machine without a network says */
    return refused;
}

#define REFUSED(address, size)                                                                                       \
    if (is_refused(address, size))                                                                                   \
        return -1;

EXPORT ssize_t sendto(int fd, const void *data, size_t length, int flags, const struct sockaddr *to, socklen_t size)
{
    REFUSED(to, size)
    return REAL(sendto)(fd, data, length, flags, to, size);
}
EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    if (message != NULL)
        REFUSED(message->msg_name, message->msg_namelen)
    return REAL(sendmsg)(fd, message, flags);
}

/* Names are asked of other machines from within the C library: a name that is neither this machine's nor an address
 * is not known, as it is without a network. */
EXPORT int getaddrinfo(const char *restrict node, const char *restrict service, const struct addrinfo *restrict hints,
                       struct addrinfo **restrict result)
{
    char own[256] = "";
    unsigned char binary[16];
    if (is_closed() && node != NULL && strcasecmp(node, "localhost") != 0 && strchr(node, ':') == NULL &&
        inet_pton(AF_INET, node, binary) != 1 && (gethostname(own, sizeof own - 1) != 0 || strcasecmp(node, own) != 0)) {
        if (active() != NULL && strlen(node) < PATH)
            note(CONNECT, node, "", 1, "");
        return EAI_AGAIN;
    }
    return REAL(getaddrinfo)(node, service, hints, result);
}

EXPORT int rk_network(int closed)
{
    struct segment *s = atomic_load(&segment);
    if (s != NULL)
        atomic_store(&s->closed, closed);
    return s != NULL;
}
#endif
