/* The layers of one pull: workers fetch, the caller unpacks. */
#include "agent/images/pull_int.h"

#include "lib/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

enum { LOOK_MS = 100 };

struct item {
    const struct descriptor *d;
    const char *chain;
    int fd;             /* the blob; -1: none (yet), or the layer is there */
    bool done;
    struct turn turn;   /* held from before the download to after the unpacking: who wants the same layer waits for ours */
};

/* Holding the turn of one layer, a pull waits only for turns of layers below it: so no two wait for each other. */
struct batch {
    struct pull *p;
    struct ctx ctx;             /* of the workers: a cancel flag of its own */
    struct ctx_cancel cancel;
    struct item *items;
    size_t n;
    pthread_mutex_t lock;       /* guards what follows */
    pthread_cond_t changed;
    size_t next, unpacked;      /* the item to fetch next; the one being unpacked */
    int workers;
    bool failed;
    struct err why;
};

static void wait_changed(struct batch *b)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOOK_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_cond_timedwait(&b->changed, &b->lock, &until);
}

static int fetch(struct batch *b, struct item *it, struct err *err)
{
    struct images *im = b->p->im;
    struct ctx ctx = b->ctx;
    int rc = turn_begin(&ctx, im->turns, "get", it->chain, &it->turn, err);

    if (rc < 0 || layer_present(im, it->chain))
        return rc;
    /* Without a name: a crash leaves nothing. */
    AUTO_FD int fd = openat(im->tmp_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, errno, "make a file for a layer");
    rc = remote_blob(&ctx, b->p->remote, it->d->digest, it->d->size, fd, err);
    if (rc < 0)
        return err_wrap(err, "failed to copy");
    if (lseek(fd, 0, SEEK_SET) < 0)
        return err_sys(err, errno, "rewind a layer");
    it->fd = TAKE_FD(fd);
    return 0;
}

/* The next item, or NULL when there is no more to do. Called with the lock. */
static struct item *next_item(struct batch *b)
{
    while (!b->failed && b->next < b->n && b->next >= b->unpacked + PULL_AHEAD) {
        pool_wait_begin();
        wait_changed(b);
        pthread_mutex_unlock(&b->lock);
        pool_wait_end();
        pthread_mutex_lock(&b->lock);
    }
    return b->failed || b->next >= b->n ? NULL : &b->items[b->next++];
}

static void worker(void *arg)
{
    struct batch *b = arg;
    struct item *it;

    pthread_mutex_lock(&b->lock);
    while ((it = next_item(b))) {
        struct err err = { 0 };

        pthread_mutex_unlock(&b->lock);
        int rc = fetch(b, it, &err);
        pthread_mutex_lock(&b->lock);
        it->done = rc == 0;
        if (rc < 0 && !b->failed) {
            b->failed = true;
            b->why = err;
            b->cancel.set = true;
        }
        pthread_cond_broadcast(&b->changed);
    }
    b->workers--;
    pthread_cond_broadcast(&b->changed); /* b is gone when the lock is given back */
    pthread_mutex_unlock(&b->lock);
}

static int await_item(struct ctx *ctx, struct batch *b, struct item *it, struct err *err)
{
    int rc = 0;

    pool_wait_begin();
    pthread_mutex_lock(&b->lock);
    while (rc == 0 && !it->done && !b->failed) {
        wait_changed(b);
        rc = ctx_check(ctx, err);
    }
    if (rc == 0 && !it->done) {
        *err = b->why;
        rc = -(int)err->code;
    }
    pthread_mutex_unlock(&b->lock);
    pool_wait_end();
    return rc;
}

static int unpack_all(struct ctx *ctx, struct batch *b, char **diff_ids, char **chains, struct err *err)
{
    for (size_t i = 0; i < b->n; i++) {
        struct item *it = &b->items[i];
        int rc = await_item(ctx, b, it, err);

        if (rc == 0 && it->fd >= 0) {
            struct layer_source s = { .blob_fd = it->fd, .diff_id = diff_ids[i], .chains = chains, .n = i };

            rc = layer_add(ctx, b->p->im, &s, err);
            close(TAKE_FD(it->fd));
            rc = rc < 0 ? err_wrap(err, "failed to unpack") : 0;
        }
        auto_turn(&it->turn);
        if (rc < 0)
            return rc;
        LOCK_SCOPE(&b->lock);
        b->unpacked = i + 1;
        pthread_cond_broadcast(&b->changed);
    }
    return 0;
}

/* How many run; none when nothing is missing. */
static int start_workers(struct batch *b, struct err *err)
{
    size_t missing = 0;
    int rc = 0, want;

    for (size_t i = 0; i < b->n; i++)
        missing += !layer_present(b->p->im, b->items[i].chain);
    if (missing == 0)
        return 0;
    want = missing < PULL_DOWNLOADS ? (int)missing : PULL_DOWNLOADS;
    for (int i = 0; i < want && rc == 0; i++) {
        pthread_mutex_lock(&b->lock);
        b->workers++;
        pthread_mutex_unlock(&b->lock);
        rc = pool_run(b->p->im->pool, worker, b, err);
        if (rc == 0)
            continue;
        LOCK_SCOPE(&b->lock);
        b->workers--;
        rc = b->workers > 0 ? 1 : rc; /* those that run do it all */
    }
    return rc < 0 ? rc : 1;
}

static void finish(struct batch *b)
{
    pool_wait_begin();
    pthread_mutex_lock(&b->lock);
    b->failed = true;
    b->cancel.set = true;
    pthread_cond_broadcast(&b->changed);
    while (b->workers > 0)
        pthread_cond_wait(&b->changed, &b->lock);
    pthread_mutex_unlock(&b->lock);
    pool_wait_end();
    for (size_t i = 0; i < b->n; i++) {
        auto_turn(&b->items[i].turn);
        if (b->items[i].fd >= 0)
            close(TAKE_FD(b->items[i].fd));
    }
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->lock);
    free(b->items);
}

int pull_layers(struct ctx *ctx, struct pull *p, const struct manifest *m, char **diff_ids, char **chains, struct err *err)
{
    struct batch b = { .p = p, .ctx = *ctx, .n = m->n, .items = mem_zalloc((m->n + 1) * sizeof(struct item)) };
    pthread_condattr_t attr;

    for (size_t i = 0; i < m->n; i++)
        b.items[i] = (struct item){ .d = &m->at[i], .chain = chains[i], .fd = -1 };
    b.ctx.cancel = &b.cancel;
    b.ctx.arena = NULL;
    pthread_mutex_init(&b.lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&b.changed, &attr);
    pthread_condattr_destroy(&attr);
    int rc = start_workers(&b, err);
    if (rc > 0)
        rc = unpack_all(ctx, &b, diff_ids, chains, err);
    finish(&b);
    return rc;
}
