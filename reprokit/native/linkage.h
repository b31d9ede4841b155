/* Finding the C library's functions, and putting ours in their place in objects that are loaded already.
 *
 * Part of recorder.c. Own lookup instead of dlsym: that function moved from libdl to libc in glibc 2.34, and a
 * library built there could not be loaded on older systems.
 */

struct object {
    uintptr_t base;
    const ElfW(Sym) *symbols;
    const char *names;
    const uint32_t *hash;
    const ElfW(Half) *versions;
    const ElfW(Rela) *rela[2];             /* of data, of calls */
    size_t rela_size[2];
    uintptr_t relro, relro_end;            /* whole pages that the loader makes read-only when it is done */
    int is_self;
};

static void *wrapped_dlsym(void *handle, const char *name);

static const struct wrapper { const char *name; void *ours; void **behind; } wrappers[] = {
#define X(name) {#name, (void *)name, (void **)&real.name},
    NAMES(X)
#undef X
    {"dlsym", (void *)wrapped_dlsym, (void **)&real.dlsym},
};
#define WRAPPERS (sizeof wrappers / sizeof *wrappers)

static int read_object(const struct dl_phdr_info *info, struct object *o)
{
    const ElfW(Dyn) *dynamic = NULL;
    uintptr_t page = sysconf(_SC_PAGESIZE);
    memset(o, 0, sizeof *o);
    o->base = info->dlpi_addr;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        uintptr_t start = o->base + p->p_vaddr;
        if (p->p_type == PT_DYNAMIC)
            dynamic = (const void *)start;
        else if (p->p_type == PT_LOAD && (uintptr_t)wrappers >= start && (uintptr_t)wrappers < start + p->p_memsz)
            o->is_self = 1;
        else if (p->p_type == PT_GNU_RELRO)
            o->relro = start & -page, o->relro_end = (start + p->p_memsz) & -page;
    }
    if (dynamic == NULL)
        return 0;
    for (const ElfW(Dyn) *d = dynamic; d->d_tag != DT_NULL; d++) {
        uintptr_t value = d->d_un.d_ptr, at = value < o->base ? value + o->base : value; /* the loader adds the base, mostly */
        switch (d->d_tag) {
        case DT_SYMTAB: o->symbols = (const void *)at; break;
        case DT_STRTAB: o->names = (const void *)at; break;
        case DT_GNU_HASH: o->hash = (const void *)at; break;
        case DT_VERSYM: o->versions = (const void *)at; break;
        case DT_RELA: o->rela[0] = (const void *)at; break;
        case DT_RELASZ: o->rela_size[0] = value / sizeof(ElfW(Rela)); break;
        case DT_JMPREL: o->rela[1] = (const void *)at; break;
        case DT_PLTRELSZ: o->rela_size[1] = value / sizeof(ElfW(Rela)); break;
        }
    }
    return o->symbols != NULL && o->names != NULL;
}

/* Look a function up in one object by its GNU hash table; of several versions, the one new programs get. */
static void *lookup(const struct object *o, const char *name)
{
    if (o->hash == NULL)
        return NULL;
    uint32_t h = 5381, buckets = o->hash[0], offset = o->hash[1], bloom = o->hash[2];
    for (const char *c = name; *c; c++)
        h = h * 33 + (unsigned char)*c;
    const uint32_t *bucket = o->hash + 4 + bloom * (sizeof(uintptr_t) / 4), *chain = bucket + buckets;
    uint32_t i = buckets == 0 ? 0 : bucket[h % buckets];
    if (i < offset || i == 0)
        return NULL;
    for (;; i++) {
        uint32_t found = chain[i - offset];
        const ElfW(Sym) *symbol = &o->symbols[i];
        int hidden = o->versions != NULL && (o->versions[i] & 0x8000);
        if ((found | 1) == (h | 1) && !hidden && symbol->st_shndx != SHN_UNDEF &&
            ELF64_ST_TYPE(symbol->st_info) == STT_FUNC && strcmp(o->names + symbol->st_name, name) == 0)
            return (void *)(o->base + symbol->st_value);
        if (found & 1)
            return NULL;
    }
}

struct search { int self, libc, index; };

static int find_order(struct dl_phdr_info *info, size_t size, void *data)
{
    struct search *search = data;
    struct object o;
    (void)size;
    if (read_object(info, &o)) {
        if (o.is_self) {
            search->self = search->index;
            if (library[0] == 0 && strlen(info->dlpi_name) < sizeof library)
                strcpy(library, info->dlpi_name);
        } else if (search->libc < 0 && lookup(&o, "__libc_start_main") != NULL) {
            search->libc = search->index;
        }
    }
    search->index++;
    return 0;
}

static int find_functions(struct dl_phdr_info *info, size_t size, void *data)
{
    struct search *search = data;
    struct object o;
    (void)size;
    /* As RTLD_NEXT does: what comes behind us, so that other libraries in front of the C library keep their part. */
    int counts = preloaded ? search->index > search->self : search->index != search->self;
    search->index++;
    if (counts && read_object(info, &o) && !o.is_self)
        for (size_t i = 0; i < WRAPPERS; i++)
            if (*wrappers[i].behind == NULL && wrappers[i].behind != (void **)&real.syscall)
                *wrappers[i].behind = lookup(&o, wrappers[i].name);
    return 0;
}

static int find_syscall(struct dl_phdr_info *info, size_t size, void *data)
{
    struct search *search = data;
    struct object o;
    (void)size;
    int counts = preloaded ? search->index > search->self : search->index != search->self;
    search->index++;
    if (counts && read_object(info, &o) && !o.is_self)
        real.syscall = (__typeof__(&syscall))lookup(&o, "syscall");
    return real.syscall != NULL;
}

static int missing(void)
{
    errno = ENOSYS;
    return -1;
}

static void resolve(void)
{
    struct search search = {-1, -1, 0};
    dl_iterate_phdr(find_order, &search);
    preloaded = search.self >= 0 && search.self < search.libc;
    search.index = 0;
    dl_iterate_phdr(find_functions, &search);
    for (size_t i = 0; i < WRAPPERS; i++)
        if (*wrappers[i].behind == NULL && wrappers[i].behind != (void **)&real.syscall)
            *wrappers[i].behind = (void *)missing; /* a C library too old to have it: nobody can have called it */
    search.index = 0;
    dl_iterate_phdr(find_syscall, &search); /* last: REAL() takes it as the sign that all are there */
}

/* -- patching ------------------------------------------------------------------------------------------------------ */

#ifdef __x86_64__
enum { CALL = R_X86_64_JUMP_SLOT, DATA = R_X86_64_GLOB_DAT, ADDRESS = R_X86_64_64 };
#else
enum { CALL = R_AARCH64_JUMP_SLOT, DATA = R_AARCH64_GLOB_DAT, ADDRESS = R_AARCH64_ABS64 };
#endif

static atomic_flag patching = ATOMIC_FLAG_INIT;
static uintptr_t lowest, highest;          /* of the addresses to be replaced */
static _Atomic unsigned long long seen_adds; /* how many objects had ever been loaded at the last patch */
static unsigned long long seen_subs;       /* and unloaded */
static int patched;                        /* every object that was there at the beginning */
static uint64_t done[8192];                /* objects that need no look again; full: they are looked at again */

static int is_done(const struct dl_phdr_info *info, int now)
{
    uint64_t key = mixed(mixed(info->dlpi_addr, 1), (uintptr_t)info->dlpi_phdr);
    for (unsigned i = 0; i < PROBES; i++) {
        uint64_t *at = &done[(key / 2 + i) % (sizeof done / sizeof *done)];
        if (*at == key)
            return 1;
        if (*at == 0 && now)
            return *at = key, 1;
    }
    return 0;
}

/* Whether a page can be written. The call does to a word what an atomic `|= 0` would, and fails where that would
 * crash. The loader makes a finished object's tables read-only, so this tells one that it still works on. */
static int is_writable(uintptr_t at)
{
    uint32_t other = 0;
    return SYS(SYS_futex, &other, FUTEX_WAKE_OP, 0, 0L, at, FUTEX_OP(FUTEX_OP_OR, 0, FUTEX_OP_CMP_EQ, 0)) >= 0 ||
           errno != EFAULT;
}

static void *ours_of(const void *function)
{
    if ((uintptr_t)function >= lowest && (uintptr_t)function <= highest)
        for (size_t i = 0; i < WRAPPERS; i++)
            if (function == *wrappers[i].behind)
                return wrappers[i].ours;
    return (void *)function;
}

static void set_slot(_Atomic uintptr_t *slot, const struct object *o, const ElfW(Rela) *r)
{
    uintptr_t now = atomic_load_explicit(slot, memory_order_relaxed), ours = (uintptr_t)ours_of((void *)now);
    if (ours == now && ELF64_R_TYPE(r->r_info) == CALL) { /* not called yet: it leads to the loader */
        const char *name = o->names + o->symbols[ELF64_R_SYM(r->r_info)].st_name;
        for (size_t i = 0; i < WRAPPERS; i++)
            if (*name == *wrappers[i].name && strcmp(name, wrappers[i].name) == 0)
                ours = (uintptr_t)wrappers[i].ours;
    }
    if (ours != now)
        atomic_store(slot, ours);
}

static int patch_object(struct dl_phdr_info *info, size_t size, void *data)
{
    struct object o;
    const char *name = strrchr(info->dlpi_name, '/');
    (void)size, (void)data;
    if (seen_subs != info->dlpi_subs)      /* an address may belong to another object now */
        memset(done, 0, sizeof done), seen_subs = info->dlpi_subs;
    if (is_done(info, 0))
        return 0;
    name = name == NULL ? info->dlpi_name : name + 1;
    if (!read_object(info, &o) || o.is_self || strncmp(name, "ld-linux", 8) == 0 || strncmp(name, "libc.so", 7) == 0)
        return is_done(info, 1), 0;
    int closed = o.relro < o.relro_end && !is_writable(o.relro);
    if (patched && !closed) {              /* perhaps the loader still works on it: look again, if that can be told */
        if (o.relro < o.relro_end)
            seen_adds = 0;
        return 0;
    }
    is_done(info, 1);
    if (closed && mprotect((void *)o.relro, o.relro_end - o.relro, PROT_READ | PROT_WRITE) != 0)
        return 0;
    for (int table = 0; table < 2; table++)
        for (size_t i = 0; i < o.rela_size[table]; i++) {
            const ElfW(Rela) *r = &o.rela[table][i];
            unsigned type = ELF64_R_TYPE(r->r_info);
            if ((type == CALL || type == DATA || type == ADDRESS) && r->r_offset % sizeof(uintptr_t) == 0)
                set_slot((_Atomic uintptr_t *)(o.base + r->r_offset), &o, r);
        }
    if (closed)
        mprotect((void *)o.relro, o.relro_end - o.relro, PROT_READ);
    return 0;
}

static int count_objects(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)size;
    *(unsigned long long *)data = info->dlpi_adds;
    return 1;
}

/* Put our functions in front of the C library's in every object that is loaded. They stay there: without a run they
 * only call on. */
static void rk_patch(void)
{
    unsigned long long adds = 0;
    if (atomic_flag_test_and_set(&patching)) /* somebody is at it, or was when this process was forked */
        return;
    if (!patched) {
        lowest = UINTPTR_MAX;
        for (size_t i = 0; i < WRAPPERS; i++) {
            uintptr_t at = (uintptr_t)*wrappers[i].behind;
            lowest = at < lowest ? at : lowest, highest = at > highest ? at : highest;
        }
    }
    dl_iterate_phdr(count_objects, &adds);
    seen_adds = adds;
    dl_iterate_phdr(patch_object, NULL);
    patched = 1;
    atomic_flag_clear(&patching);
}

static __attribute__((noinline)) int patch_more(void)
{
    struct segment *s = atomic_load(&segment);
    unsigned long long adds = 0;
    int error = errno;
    if (s == NULL || !atomic_load(&s->on))
        return 0;
    dl_iterate_phdr(count_objects, &adds);
    if (adds != seen_adds)
        rk_patch();
    errno = error;
    return 1;
}

/* Whoever loads an object looks its functions up next: the moment to patch it. (Not dlopen itself: it searches by
 * the folder of its caller, which would be ours.) Where the C library looks at who asks, it is called last, as a
 * jump, so that it does not see us. */
static void *wrapped_dlsym(void *handle, const char *name)
{
    if (patch_more() && handle != RTLD_DEFAULT && handle != RTLD_NEXT)
        return ours_of(real.dlsym(handle, name));
    return real.dlsym(handle, name);
}
