#include "store_vfs.h"

#include "test.h"

#include <pthread.h>
#include <sqlite3.h>

enum { SHADOWS = 4 };

struct pending {
    struct pending *next;
    int64_t at; /* -1: truncation to n */
    int64_t n;
    unsigned char data[];
};

/* What is durable of a file, and what was written since. */
struct shadow {
    bool used, wal;
    unsigned char *data;
    int64_t n, cap;
    struct pending *first, **last;
};

struct store_vfs {
    sqlite3_vfs vfs; /* first: SQLite hands it back */
    sqlite3_vfs *real;
    char name[32];
    pthread_mutex_t lock;
    int64_t ops, nth, times;
    int code;
    bool only_syncs, track;
    struct shadow shadows[SHADOWS];
};

struct file {
    sqlite3_file base;
    struct store_vfs *v;
    struct shadow *shadow;
    sqlite3_file *real;
};

static struct file *file_of(sqlite3_file *f)
{
    return (struct file *)(void *)f;
}

static sqlite3_file *real(sqlite3_file *f)
{
    return file_of(f)->real;
}

static int fault(struct store_vfs *v, bool sync)
{
    if (v->only_syncs && !sync)
        return SQLITE_OK;
    int64_t n = ++v->ops;
    return v->nth && n >= v->nth && n < v->nth + v->times ? v->code : SQLITE_OK;
}

static void shadow_apply(struct shadow *s, int64_t at, const void *data, int64_t n)
{
    int64_t end = at + n;

    if (at < 0) { /* truncation */
        if (n < s->n)
            s->n = n;
        return;
    }
    if (end > s->cap) {
        s->cap = end * 2;
        s->data = realloc(s->data, (size_t)s->cap);
        CHECK(s->data != NULL);
    }
    if (end > s->n) {
        memset(s->data + s->n, 0, (size_t)(end - s->n));
        s->n = end;
    }
    memcpy(s->data + at, data, (size_t)n);
}

static void shadow_note(struct shadow *s, int64_t at, const void *data, int64_t n)
{
    size_t bytes = at < 0 ? 0 : (size_t)n;
    struct pending *p = malloc(sizeof(*p) + bytes);

    CHECK(p != NULL);
    *p = (struct pending){ .at = at, .n = n };
    if (bytes)
        memcpy(p->data, data, bytes);
    *s->last = p;
    s->last = &p->next;
}

static void shadow_drop(struct shadow *s)
{
    while (s->first) {
        struct pending *p = s->first;
        s->first = p->next;
        free(p);
    }
    s->last = &s->first;
}

static void shadow_sync(struct shadow *s)
{
    for (struct pending *p = s->first; p; p = p->next)
        shadow_apply(s, p->at, p->data, p->n);
    shadow_drop(s);
}

static int x_write(sqlite3_file *f, const void *data, int n, sqlite3_int64 at)
{
    struct file *file = file_of(f);

    pthread_mutex_lock(&file->v->lock);
    int rc = fault(file->v, false);
    if (rc == SQLITE_OK && file->shadow)
        shadow_note(file->shadow, at, data, n);
    pthread_mutex_unlock(&file->v->lock);
    return rc ? rc : real(f)->pMethods->xWrite(real(f), data, n, at);
}

static int x_truncate(sqlite3_file *f, sqlite3_int64 n)
{
    struct file *file = file_of(f);

    pthread_mutex_lock(&file->v->lock);
    int rc = fault(file->v, false);
    if (rc == SQLITE_OK && file->shadow)
        shadow_note(file->shadow, -1, NULL, n);
    pthread_mutex_unlock(&file->v->lock);
    return rc ? rc : real(f)->pMethods->xTruncate(real(f), n);
}

static int x_sync(sqlite3_file *f, int flags)
{
    struct file *file = file_of(f);

    pthread_mutex_lock(&file->v->lock);
    int rc = fault(file->v, true);
    if (rc == SQLITE_OK && file->shadow)
        shadow_sync(file->shadow);
    pthread_mutex_unlock(&file->v->lock);
    (void)flags; /* nothing here survives a real power cut */
    return rc;
}

static int x_close(sqlite3_file *f)
{
    return real(f)->pMethods->xClose(real(f));
}

static int x_read(sqlite3_file *f, void *data, int n, sqlite3_int64 at)
{
    return real(f)->pMethods->xRead(real(f), data, n, at);
}

static int x_size(sqlite3_file *f, sqlite3_int64 *n)
{
    return real(f)->pMethods->xFileSize(real(f), n);
}

static int x_lock(sqlite3_file *f, int kind)
{
    return real(f)->pMethods->xLock(real(f), kind);
}

static int x_unlock(sqlite3_file *f, int kind)
{
    return real(f)->pMethods->xUnlock(real(f), kind);
}

static int x_check(sqlite3_file *f, int *ret)
{
    return real(f)->pMethods->xCheckReservedLock(real(f), ret);
}

static int x_control(sqlite3_file *f, int op, void *arg)
{
    return real(f)->pMethods->xFileControl(real(f), op, arg);
}

static int x_sector(sqlite3_file *f)
{
    return real(f)->pMethods->xSectorSize(real(f));
}

/* Nothing is promised about torn or reordered writes. */
static int x_traits(sqlite3_file *f)
{
    (void)f;
    return 0;
}

static int x_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **ret)
{
    return real(f)->pMethods->xShmMap(real(f), page, size, extend, ret);
}

static int x_shm_lock(sqlite3_file *f, int at, int n, int flags)
{
    return real(f)->pMethods->xShmLock(real(f), at, n, flags);
}

static void x_shm_barrier(sqlite3_file *f)
{
    real(f)->pMethods->xShmBarrier(real(f));
}

static int x_shm_unmap(sqlite3_file *f, int del)
{
    return real(f)->pMethods->xShmUnmap(real(f), del);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = x_close,
    .xRead = x_read,
    .xWrite = x_write,
    .xTruncate = x_truncate,
    .xSync = x_sync,
    .xFileSize = x_size,
    .xLock = x_lock,
    .xUnlock = x_unlock,
    .xCheckReservedLock = x_check,
    .xFileControl = x_control,
    .xSectorSize = x_sector,
    .xDeviceCharacteristics = x_traits,
    .xShmMap = x_shm_map,
    .xShmLock = x_shm_lock,
    .xShmBarrier = x_shm_barrier,
    .xShmUnmap = x_shm_unmap,
};

/* One database in a test: its file and its WAL. */
static struct shadow *shadow_for(struct store_vfs *v, int flags)
{
    bool wal = (flags & SQLITE_OPEN_WAL) != 0;

    if (!v->track || !(flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_DB)))
        return NULL;
    for (int i = 0; i < SHADOWS; i++) {
        struct shadow *s = &v->shadows[i];
        if (s->used && s->wal != wal)
            continue;
        if (!s->used)
            *s = (struct shadow){ .used = true, .wal = wal, .last = &s->first };
        return s;
    }
    return NULL;
}

static int x_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *ret_flags)
{
    struct store_vfs *v = vfs->pAppData;
    struct file *file = file_of(f);

    *file = (struct file){ .v = v, .real = (sqlite3_file *)(void *)(file + 1) };
    int rc = v->real->xOpen(v->real, name, file->real, flags, ret_flags);
    if (rc != SQLITE_OK)
        return rc;
    file->base.pMethods = &methods;
    pthread_mutex_lock(&v->lock);
    file->shadow = shadow_for(v, flags);
    pthread_mutex_unlock(&v->lock);
    return rc;
}

struct store_vfs *store_vfs_new(const char *name)
{
    struct store_vfs *v = calloc(1, sizeof(*v));

    CHECK(v != NULL);
    v->real = sqlite3_vfs_find(NULL);
    v->vfs = *v->real;
    snprintf(v->name, sizeof(v->name), "%s", name);
    pthread_mutex_init(&v->lock, NULL);
    v->vfs.zName = v->name;
    v->vfs.pNext = NULL;
    v->vfs.pAppData = v;
    v->vfs.xOpen = x_open;
    v->vfs.szOsFile = (int)sizeof(struct file) + v->real->szOsFile;
    CHECK_INT(sqlite3_vfs_register(&v->vfs, 0), SQLITE_OK);
    return v;
}

void store_vfs_free(struct store_vfs *v)
{
    sqlite3_vfs_unregister(&v->vfs);
    for (int i = 0; i < SHADOWS; i++) {
        shadow_drop(&v->shadows[i]);
        free(v->shadows[i].data);
    }
    pthread_mutex_destroy(&v->lock);
    free(v);
}

void store_vfs_fail(struct store_vfs *v, int64_t nth, int64_t times, int code, bool only_syncs)
{
    pthread_mutex_lock(&v->lock);
    v->ops = 0;
    v->nth = nth;
    v->times = times;
    v->code = code;
    v->only_syncs = only_syncs;
    pthread_mutex_unlock(&v->lock);
}

int64_t store_vfs_ops(struct store_vfs *v)
{
    pthread_mutex_lock(&v->lock);
    int64_t ops = v->ops;
    pthread_mutex_unlock(&v->lock);
    return ops;
}

void store_vfs_track(struct store_vfs *v)
{
    v->track = true;
}

/* Each unsynced write is there whole, half or not at all. */
static void write_cut(const struct shadow *s, const char *path, unsigned *seed)
{
    struct shadow left = { .n = s->n, .cap = s->n + 1, .data = malloc((size_t)s->n + 1) };
    FILE *file = fopen(path, "w");

    CHECK(file != NULL && left.data != NULL);
    if (s->n)
        memcpy(left.data, s->data, (size_t)s->n);
    for (const struct pending *p = s->first; p; p = p->next) {
        int luck = rand_r(seed) % 3;
        if (luck == 0)
            shadow_apply(&left, p->at, p->data, p->n);
        else if (luck == 1 && p->at >= 0)
            shadow_apply(&left, p->at, p->data, p->n / 2);
    }
    CHECK_INT((int64_t)fwrite(left.data, 1, (size_t)left.n, file), left.n);
    fclose(file);
    free(left.data);
}

void store_vfs_power_cut(struct store_vfs *v, const char *path, unsigned seed)
{
    char wal[256];

    snprintf(wal, sizeof(wal), "%s-wal", path);
    pthread_mutex_lock(&v->lock);
    for (int i = 0; i < SHADOWS; i++)
        if (v->shadows[i].used)
            write_cut(&v->shadows[i], v->shadows[i].wal ? wal : path, &seed);
    pthread_mutex_unlock(&v->lock);
}
