#include "server/api/hub.h"

#include "lib/mem.h"
#include "server/api/keys.h"

#include <assert.h>
#include <string.h>

enum { RING_BYTES = 4 * 1024 * 1024, RING_SLOTS = 16384, BATCH = 64, EVENT_OVERHEAD = 256 };

struct hub_watcher {
    struct hub *hub;
    struct hub_watcher *next, *prev; /* in its loop's list; guarded by hub->lock */
    size_t loop_index;
    const struct schema_resource *resource;
    hub_deliver_fn *deliver;
    hub_behind_fn *behind;
    void *arg;
    uint64_t at;     /* sequence number of the next event to look at; guarded by hub->lock */
    _Atomic int64_t after; /* revision of the last event it has been past */
    _Atomic bool following, blocked;
};

struct hub_loop {
    struct hub *hub;
    struct loop *loop;
    struct hub_watcher *watchers;
    bool posted; /* a drain is on its way */
};

struct hub {
    struct hub_options o;
    pthread_mutex_t lock; /* guards the ring and the lists; never held across a callback */
    struct hub_event *ring[RING_SLOTS];
    uint64_t head, tail; /* events [head, tail) are held */
    size_t bytes;
    int64_t first_after; /* everything after this revision is in the ring */
    int64_t revision;
    int64_t n_watchers;
    struct hub_loop *loops;
};

void hub_event_ref(struct hub_event *e)
{
    atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
}

void hub_event_unref(struct hub_event *e)
{
    if (!e || atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) != 1)
        return;
    bytes_unref(e->key);
    bytes_unref(e->value);
    bytes_unref(e->facts);
    bytes_unref(e->prev_value);
    bytes_unref(e->prev_facts);
    for (size_t i = 0; i < ARRAY_LEN(e->lines); i++)
        bytes_unref(atomic_load(&e->lines[i]));
    free(e);
}

struct hub_event *hub_event_new(struct hub *h, const struct store_event *s)
{
    const struct schema_resource *resource = NULL;
    struct slice ns, name;

    if (!key_parse(h->o.schema, (struct slice){ s->row.key->at, s->row.key->n }, &resource, &ns, &name))
        return NULL;
    struct hub_event *e = MEM_NEW(struct hub_event);
    atomic_init(&e->refs, 1);
    e->revision = s->row.mod_revision;
    e->resource = resource;
    e->ns = ns;
    e->name = name;
    e->key = bytes_ref(s->row.key);
    e->value = s->row.deleted ? NULL : bytes_ref(s->row.value);
    e->facts = s->row.deleted ? NULL : bytes_ref(s->row.facts);
    e->prev_value = bytes_ref(s->prev_value);
    e->prev_facts = bytes_ref(s->prev_facts);
    e->prev_revision = s->prev_mod_revision;
    /* Both values are counted: the old one lives only for us. */
    e->weight = EVENT_OVERHEAD + e->key->n + (e->value ? e->value->n : 0) + (e->prev_value ? e->prev_value->n : 0);
    return e;
}

/* --- the ring --- */

static void drop_first(struct hub *h)
{
    struct hub_event *e = h->ring[h->head % RING_SLOTS];

    h->first_after = e->revision;
    h->bytes -= e->weight;
    h->head++;
    hub_event_unref(e);
}

static void push(struct hub *h, struct hub_event *e)
{
    while (h->tail > h->head && (h->tail - h->head >= RING_SLOTS || h->bytes + e->weight > h->o.ring_bytes))
        drop_first(h);
    h->ring[h->tail++ % RING_SLOTS] = e;
    h->bytes += e->weight;
}

static void drain(void *arg);

/* lock held. */
static void wake(struct hub_loop *l)
{
    if (l->posted || !l->watchers)
        return;
    l->posted = true;
    loop_post(l->loop, drain, l);
}

static void hub_commit(void *arg, const struct store_event *events, size_t n, int64_t revision)
{
    struct hub *h = arg;

    for (size_t i = 0; i < n; i++) {
        struct hub_event *e = hub_event_new(h, &events[i]);

        if (!e)
            continue;
        if (h->o.observe)
            h->o.observe(h->o.arg, e);
        LOCK_SCOPE(&h->lock);
        push(h, e);
    }
    LOCK_SCOPE(&h->lock);
    h->revision = revision;
    for (size_t i = 0; i < h->o.n_loops; i++)
        wake(&h->loops[i]);
}

/* --- delivery, on the loops --- */

/* Takes references to the next events of the watcher's resource. Returns how many; -1 when it fell behind. */
static int take_batch(struct hub_watcher *w, struct hub_event **to, uint64_t *ret_at)
{
    struct hub *h = w->hub;
    LOCK_SCOPE(&h->lock);
    int n = 0;

    if (w->at < h->head)
        return -1;
    while (w->at < h->tail && n < BATCH) {
        struct hub_event *e = h->ring[w->at % RING_SLOTS];

        ret_at[n] = w->at++;
        if (e->resource != w->resource || e->revision <= w->after)
            continue;
        hub_event_ref(e);
        to[n++] = e;
    }
    return n;
}

static void put_back(struct hub_watcher *w, uint64_t at)
{
    LOCK_SCOPE(&w->hub->lock);

    w->at = at;
    w->blocked = true;
}

/* Whether there is more to do for this watcher now. */
static bool deliver_batch(struct hub_watcher *w)
{
    struct hub_event *batch[BATCH];
    uint64_t at[BATCH + 1];
    int n = take_batch(w, batch, at), i = 0;

    if (n < 0) {
        w->following = false;
        w->behind(w->arg, w->after);
        return false;
    }
    for (; i < n; i++) {
        if (!w->deliver(w->arg, batch[i])) {
            put_back(w, at[i]);
            break;
        }
        w->after = batch[i]->revision;
    }
    bool more = i == n && n == BATCH;
    for (int k = 0; k < n; k++)
        hub_event_unref(batch[k]);
    return more;
}

static struct hub_watcher *first_watcher(struct hub_loop *l)
{
    LOCK_SCOPE(&l->hub->lock);

    l->posted = false;
    return l->watchers;
}

static struct hub_watcher *next_watcher(struct hub_watcher *w)
{
    LOCK_SCOPE(&w->hub->lock);

    return w->next;
}

static void drain(void *arg)
{
    struct hub_loop *l = arg;
    bool more = false;

    /* Watchers are freed on this loop only, but deliver may free its own: take the next one first. */
    for (struct hub_watcher *w = first_watcher(l), *next = NULL; w; w = next) {
        next = next_watcher(w);
        if (w->following && !w->blocked)
            more |= deliver_batch(w);
    }
    if (more) {
        LOCK_SCOPE(&l->hub->lock);
        wake(l);
    }
}

/* --- watchers --- */

struct hub *hub_new(const struct hub_options *options)
{
    struct hub *h = MEM_NEW(struct hub);

    h->o = *options;
    if (!h->o.ring_bytes)
        h->o.ring_bytes = RING_BYTES;
    pthread_mutex_init(&h->lock, NULL);
    h->loops = mem_zalloc(h->o.n_loops * sizeof(*h->loops));
    for (size_t i = 0; i < h->o.n_loops; i++)
        h->loops[i] = (struct hub_loop){ .hub = h, .loop = h->o.loops[i] };
    h->revision = h->first_after = store_revision(h->o.store);
    store_subscribe(h->o.store, hub_commit, h);
    return h;
}

void hub_free(struct hub *h)
{
    if (!h)
        return;
    store_subscribe(h->o.store, NULL, NULL);
    while (h->tail > h->head)
        drop_first(h);
    pthread_mutex_destroy(&h->lock);
    free(h->loops);
    free(h);
}

struct hub_watcher *hub_watcher_new(struct hub *h, struct loop *loop, const struct schema_resource *stored,
                                    hub_deliver_fn *deliver, hub_behind_fn *behind, void *arg)
{
    struct hub_watcher *w = MEM_NEW(struct hub_watcher);

    w->hub = h;
    w->resource = stored;
    w->deliver = deliver;
    w->behind = behind;
    w->arg = arg;
    while (h->loops[w->loop_index].loop != loop)
        w->loop_index++;
    LOCK_SCOPE(&h->lock);
    struct hub_loop *l = &h->loops[w->loop_index];
    w->next = l->watchers;
    if (w->next)
        w->next->prev = w;
    l->watchers = w;
    h->n_watchers++;
    return w;
}

/* First event after a revision: the ring is in order, so halve. lock held. */
static uint64_t seek(const struct hub *h, int64_t after)
{
    uint64_t lo = h->head, hi = h->tail;

    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;

        if (h->ring[mid % RING_SLOTS]->revision <= after)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

bool hub_follow(struct hub_watcher *w, int64_t after)
{
    struct hub *h = w->hub;
    LOCK_SCOPE(&h->lock);

    if (after < h->first_after)
        return false;
    w->at = seek(h, after);
    w->after = after;
    w->blocked = false;
    w->following = true;
    wake(&h->loops[w->loop_index]);
    return true;
}

void hub_resume(struct hub_watcher *w)
{
    struct hub *h = w->hub;
    LOCK_SCOPE(&h->lock);

    w->blocked = false;
    wake(&h->loops[w->loop_index]);
}

void hub_watcher_free(struct hub_watcher *w)
{
    if (!w)
        return;
    struct hub *h = w->hub;
    pthread_mutex_lock(&h->lock);
    struct hub_loop *l = &h->loops[w->loop_index];
    if (w->prev)
        w->prev->next = w->next;
    else
        l->watchers = w->next;
    if (w->next)
        w->next->prev = w->prev;
    h->n_watchers--;
    pthread_mutex_unlock(&h->lock);
    free(w);
}

int64_t hub_watcher_revision(struct hub_watcher *w)
{
    LOCK_SCOPE(&w->hub->lock);

    return w->following && w->at == w->hub->tail && w->hub->revision > w->after ? w->hub->revision : w->after;
}

int64_t hub_revision(struct hub *h)
{
    LOCK_SCOPE(&h->lock);

    return h->revision;
}

void hub_stats(struct hub *h, struct hub_stats *ret)
{
    LOCK_SCOPE(&h->lock);

    *ret = (struct hub_stats){ h->n_watchers, (int64_t)(h->tail - h->head), (int64_t)h->bytes };
}
