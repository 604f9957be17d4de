#include "lib/k8s/informer.h"

#include "lib/k8s/meta.h"
#include "lib/log.h"
#include "lib/map.h"
#include "lib/mem.h"

#include <assert.h>
#include <string.h>

enum {
    PAGE_ROWS = 500,
    PENDING_MAX_BYTES = 16 * 1024 * 1024, /* more waiting events than this: forget them and list anew */
    BACKOFF_FIRST_MS = 100,
    BACKOFF_MAX_MS = 30000,
    CALL_TIMEOUT_MS = 60000,
};

struct handler {
    struct informer_handler h;
    void *arg;
    struct handler *next;
};

struct pending {
    struct bytes *line;
    struct pending *next;
};

struct informer {
    struct informers *set;
    struct informer *next;
    struct object_ref ref;
    char *label_selector, *field_selector;
    struct handler *handlers;
    /* guarded by set->lock */
    struct client_watch *watch;
    struct pending *first, **last;
    size_t pending_bytes;
    struct loop_timer *timer;
    bool scheduled, running, watch_ended, relist, synced;
    /* the job's own */
    struct map *known; /* key -> uid */
    char *version;
    int64_t backoff_ms;
};

struct informers {
    struct informers_options o;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* synced, or an informer came to rest */
    struct informer *informers;
    struct ctx_cancel cancel;
    bool started, stopping;
};

struct informers *informers_new(const struct informers_options *options)
{
    struct informers *set = MEM_NEW(struct informers);
    pthread_condattr_t attr;

    set->o = *options;
    pthread_mutex_init(&set->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&set->changed, &attr);
    pthread_condattr_destroy(&attr);
    return set;
}

static bool same(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static struct informer *informer_find(struct informers *set, const struct object_ref *ref, const char *labels, const char *fields)
{
    for (struct informer *i = set->informers; i; i = i->next)
        if (same(i->ref.group, ref->group) && same(i->ref.resource, ref->resource) && same(i->ref.version, ref->version) &&
            same(i->ref.ns, ref->ns) && same(i->label_selector, labels) && same(i->field_selector, fields))
            return i;
    return NULL;
}

void informers_add(struct informers *set, const struct object_ref *ref, const struct client_list_opts *selectors,
                   const struct informer_handler *handler, void *arg)
{
    const char *labels = selectors ? selectors->label_selector : NULL;
    const char *fields = selectors ? selectors->field_selector : NULL;
    struct informer *inf = informer_find(set, ref, labels, fields);
    struct handler *h = MEM_NEW(struct handler), **end = NULL;

    assert(!set->started);
    if (!inf) {
        inf = MEM_NEW(struct informer);
        inf->set = set;
        inf->ref = (struct object_ref){ mem_strdup(ref->group), mem_strdup(ref->version), mem_strdup(ref->resource),
                                        mem_strdup(ref->ns), NULL, NULL };
        inf->label_selector = mem_strdup(labels);
        inf->field_selector = mem_strdup(fields);
        inf->known = map_new(free);
        inf->last = &inf->first;
        inf->relist = true;
        inf->next = set->informers;
        set->informers = inf;
    }
    h->h = *handler;
    h->arg = arg;
    for (end = &inf->handlers; *end; end = &(*end)->next)
        ;
    *end = h;
}

/* --- the job: lists, or takes what the watch brought --- */

static void job(void *arg);

/* set->lock held. */
static void schedule(struct informer *inf)
{
    struct err err;

    if (inf->scheduled || inf->running || inf->set->stopping)
        return;
    inf->scheduled = true;
    if (pool_run(inf->set->o.pool, job, inf, &err) < 0) {
        inf->scheduled = false;
        log_warn("informer not scheduled", "resource=%s err=%s", inf->ref.resource, log_q(err.msg));
    }
}

static void on_timer(void *arg)
{
    struct informer *inf = arg;
    LOCK_SCOPE(&inf->set->lock);

    inf->timer = NULL;
    schedule(inf);
    pthread_cond_broadcast(&inf->set->changed);
}

/* set->lock held. */
static void drop_pending(struct informer *inf)
{
    while (inf->first) {
        struct pending *p = inf->first;

        inf->first = p->next;
        bytes_unref(p->line);
        free(p);
    }
    inf->last = &inf->first;
    inf->pending_bytes = 0;
}

static void on_event(void *arg, struct bytes *line)
{
    struct informer *inf = arg;
    LOCK_SCOPE(&inf->set->lock);

    if (inf->relist || inf->set->stopping)
        return;
    if (inf->pending_bytes + line->n > PENDING_MAX_BYTES) {
        drop_pending(inf);
        inf->relist = true;
        if (inf->watch)
            client_watch_close(inf->set->o.client, inf->watch);
        return;
    }
    struct pending *p = MEM_NEW(struct pending);
    p->line = bytes_ref(line);
    *inf->last = p;
    inf->last = &p->next;
    inf->pending_bytes += line->n;
    schedule(inf);
}

static void on_end(void *arg, const struct err *why)
{
    struct informer *inf = arg;
    LOCK_SCOPE(&inf->set->lock);

    inf->watch = NULL;
    inf->watch_ended = true;
    if (why && (why->code == ERR_EXPIRED || why->code == ERR_GONE))
        inf->relist = true;
    schedule(inf);
    pthread_cond_broadcast(&inf->set->changed);
}

static void tell_set(struct informer *inf, const json_t *object)
{
    for (struct handler *h = inf->handlers; h; h = h->next)
        if (h->h.on_set)
            h->h.on_set(h->arg, object, !inf->synced);
}

static void tell_delete(struct informer *inf, const json_t *last)
{
    for (struct handler *h = inf->handlers; h; h = h->next)
        if (h->h.on_delete)
            h->h.on_delete(h->arg, last);
}

static void forget(struct informer *inf, const char *key, const char *uid)
{
    const char *slash = strchr(key, '/');
    AUTO(json) json_t *last = json_object();

    if (slash)
        json_put(last, "metadata.namespace", json_stringn(key, (size_t)(slash - key)));
    json_put(last, "metadata.name", json_string(slash ? slash + 1 : key));
    json_put(last, "metadata.uid", json_string(uid));
    tell_delete(inf, last);
}

static void note_set(struct informer *inf, const json_t *object)
{
    AUTO_FREE char *key = meta_key(object);
    const char *uid = meta_uid(object), *known = map_get(inf->known, key);

    /* Deleted and made again within a gap: two objects, so the first one's end is told. */
    if (known && strcmp(known, uid) != 0) {
        AUTO_FREE char *old = mem_strdup(known);
        forget(inf, key, old);
    }
    if (!known || strcmp(known, uid) != 0)
        map_set(inf->known, key, mem_strdup(uid));
    tell_set(inf, object);
}

static void set_version(struct informer *inf, const char *version)
{
    if (!*version)
        return;
    free(inf->version);
    inf->version = mem_strdup(version);
}

/* Items of lists carry neither kind nor apiVersion: handlers see whole objects. */
static void complete_item(json_t *item, const char *list_kind, const char *api_version)
{
    size_t n = strlen(list_kind);

    if (!json_object_get(item, "kind") && n > 4)
        json_object_set_new(item, "kind", json_stringn(list_kind, n - 4));
    if (!json_object_get(item, "apiVersion"))
        json_object_set_new(item, "apiVersion", json_string(api_version));
}

static int list_page(struct informer *inf, struct ctx *ctx, struct map *seen, char **token, struct err *err)
{
    AUTO(json) json_t *list = NULL;
    struct client_list_opts opts = {
        .label_selector = inf->label_selector,
        .field_selector = inf->field_selector,
        .limit = PAGE_ROWS,
        .continue_token = *token,
    };
    size_t i = 0;
    json_t *item = NULL;

    if (client_list(ctx, inf->set->o.client, &inf->ref, &opts, &list, err) < 0)
        return err_wrap(err, "list %s", inf->ref.resource);
    json_array_foreach(json_object_get(list, "items"), i, item)
    {
        complete_item(item, json_str_or(list, "kind", ""), json_str_or(list, "apiVersion", ""));
        AUTO_FREE char *key = meta_key(item);
        map_set(seen, key, inf);
        note_set(inf, item);
    }
    free(*token);
    *token = mem_strdup(json_str(list, "metadata.continue"));
    if (*token && !**token) {
        free(*token);
        *token = NULL;
    }
    set_version(inf, json_str_or(list, "metadata.resourceVersion", ""));
    return 0;
}

static int list_all(struct informer *inf, struct ctx *ctx, struct err *err)
{
    struct map *seen = map_new(NULL);
    char *token = NULL;
    int rc = 0;

    do
        rc = list_page(inf, ctx, seen, &token, err);
    while (rc == 0 && token);
    free(token);
    if (rc == 0) {
        size_t pos = 0;
        const char *key = NULL;
        void *uid = NULL;

        while (map_next(inf->known, &pos, &key, &uid))
            if (!map_get(seen, key)) {
                AUTO_FREE char *k = mem_strdup(key), *u = mem_strdup(uid);
                map_del(inf->known, k);
                forget(inf, k, u);
            }
    }
    map_free(seen);
    return rc;
}

/* One line of the watch. An ERROR event means that the stream is no use any more: list anew when expired. */
static int take_line(struct informer *inf, const struct bytes *line, struct err *err)
{
    AUTO(json) json_t *event = NULL;

    if (json_read(line->at, line->n, NULL, NULL, &event, err) < 0)
        return err_wrap(err, "watch of %s", inf->ref.resource);
    const char *type = json_str_or(event, "type", "");
    json_t *object = json_object_get(event, "object");

    if (strcmp(type, "ERROR") == 0)
        return err_set(err, json_int_or(object, "code", 0) == 410 ? ERR_EXPIRED : ERR_UNAVAILABLE, "watch of %s: %s",
                       inf->ref.resource, json_str_or(object, "message", "error event"));
    set_version(inf, meta_resource_version(object));
    if (strcmp(type, "ADDED") == 0 || strcmp(type, "MODIFIED") == 0) {
        note_set(inf, object);
    } else if (strcmp(type, "DELETED") == 0) {
        AUTO_FREE char *key = meta_key(object);
        map_del(inf->known, key);
        tell_delete(inf, object);
    }
    inf->backoff_ms = 0;
    return 0;
}

static struct pending *take_pending(struct informer *inf)
{
    LOCK_SCOPE(&inf->set->lock);
    struct pending *all = TAKE(inf->first);

    inf->last = &inf->first;
    inf->pending_bytes = 0;
    return all;
}

static int take_all(struct informer *inf, struct err *err)
{
    struct pending *all = NULL;
    int rc = 0;

    while ((all = take_pending(inf)))
        while (all) {
            struct pending *p = all;

            all = p->next;
            if (rc == 0 && !atomic_load(&inf->set->cancel.set))
                rc = take_line(inf, p->line, err);
            bytes_unref(p->line);
            free(p);
        }
    return rc;
}

static void mark_synced(struct informer *inf)
{
    if (inf->synced)
        return;
    for (struct handler *h = inf->handlers; h; h = h->next)
        if (h->h.on_sync)
            h->h.on_sync(h->arg);
    LOCK_SCOPE(&inf->set->lock);
    inf->synced = true;
    pthread_cond_broadcast(&inf->set->changed);
}

static void watch_from_version(struct informer *inf)
{
    static const struct client_watch_cb cb = { on_event, on_end };
    struct client_list_opts opts = {
        .label_selector = inf->label_selector,
        .field_selector = inf->field_selector,
        .resource_version = inf->version,
    };
    LOCK_SCOPE(&inf->set->lock);

    if (inf->watch || inf->set->stopping)
        return;
    inf->watch_ended = false;
    inf->watch = client_watch(inf->set->o.client, &inf->ref, &opts, &cb, inf);
}

/* What the pass is to do, read once. */
static bool needs_list(struct informer *inf, bool *ret_ended)
{
    LOCK_SCOPE(&inf->set->lock);

    *ret_ended = inf->watch_ended;
    return inf->relist;
}

static void set_relist(struct informer *inf, bool to)
{
    LOCK_SCOPE(&inf->set->lock);

    inf->relist = to;
    if (to && inf->watch)
        client_watch_close(inf->set->o.client, inf->watch);
}

static bool watching(struct informer *inf)
{
    LOCK_SCOPE(&inf->set->lock);

    return inf->watch != NULL;
}

static int pass(struct informer *inf, struct ctx *ctx, struct err *err)
{
    bool ended = false;
    int rc = take_all(inf, err);

    if (rc < 0) {
        set_relist(inf, true);
        return rc;
    }
    if (needs_list(inf, &ended)) {
        if (watching(inf))
            return 0; /* its end comes and schedules the next pass */
        if (list_all(inf, ctx, err) < 0)
            return -(int)err->code;
        set_relist(inf, false);
        mark_synced(inf);
        ended = true;
    }
    if (ended)
        watch_from_version(inf);
    return 0;
}

/* set->lock held. */
static void retry_later(struct informer *inf)
{
    inf->backoff_ms = inf->backoff_ms ? inf->backoff_ms * 2 : BACKOFF_FIRST_MS;
    if (inf->backoff_ms > BACKOFF_MAX_MS)
        inf->backoff_ms = BACKOFF_MAX_MS;
    if (!inf->timer)
        inf->timer = loop_timer_start(inf->set->o.loop, inf->backoff_ms, on_timer, inf);
}

static void job(void *arg)
{
    struct informer *inf = arg;
    struct informers *set = inf->set;
    struct err err;

    pthread_mutex_lock(&set->lock);
    inf->scheduled = false;
    inf->running = true;
    bool stopping = set->stopping, ended = inf->watch_ended && inf->synced && !inf->relist;
    pthread_mutex_unlock(&set->lock);

    AUTO(arena) struct arena *arena = arena_new();
    struct ctx base = ctx_background(arena), ctx;
    base.clock = set->o.clock;
    base.cancel = &set->cancel;
    ctx = ctx_with_timeout(&base, CALL_TIMEOUT_MS);
    int rc = stopping ? 0 : pass(inf, &ctx, &err);

    LOCK_SCOPE(&set->lock);
    inf->running = false;
    if (rc < 0 && !set->stopping) {
        log_debug("informer retries", "resource=%s err=%s", inf->ref.resource, log_q(err.msg));
        retry_later(inf);
    } else if (!set->stopping && (inf->first || (inf->watch_ended && !inf->watch))) {
        /* A watch that ends again at once must not spin. */
        if (ended && !inf->first)
            retry_later(inf);
        else
            schedule(inf);
    }
    pthread_cond_broadcast(&set->changed);
}

void informers_start(struct informers *set)
{
    LOCK_SCOPE(&set->lock);

    set->started = true;
    for (struct informer *i = set->informers; i; i = i->next)
        schedule(i);
}

static bool synced_locked(struct informers *set)
{
    for (struct informer *i = set->informers; i; i = i->next)
        if (!i->synced)
            return false;
    return true;
}

bool informers_synced(struct informers *set)
{
    LOCK_SCOPE(&set->lock);

    return synced_locked(set);
}

int informers_wait(struct ctx *ctx, struct informers *set, struct err *err)
{
    LOCK_SCOPE(&set->lock);

    while (!synced_locked(set)) {
        struct timespec until;

        if (ctx_check(ctx, err) < 0)
            return err_wrap(err, "waiting for the first lists");
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += 100000000; /* the cancel flag has no wake-up of its own */
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pool_wait_begin();
        pthread_cond_timedwait(&set->changed, &set->lock, &until);
        pool_wait_end();
    }
    return 0;
}

static bool at_rest(struct informers *set)
{
    for (struct informer *i = set->informers; i; i = i->next)
        if (i->watch || i->scheduled || i->running)
            return false;
    return true;
}

void informers_stop(struct informers *set)
{
    pthread_mutex_lock(&set->lock);
    set->stopping = true;
    atomic_store(&set->cancel.set, true);
    for (struct informer *i = set->informers; i; i = i->next) {
        struct loop_timer *timer = TAKE(i->timer);

        if (i->watch)
            client_watch_close(set->o.client, i->watch);
        if (timer) { /* a timer that runs now takes the lock: let it */
            pthread_mutex_unlock(&set->lock);
            loop_timer_cancel(timer);
            pthread_mutex_lock(&set->lock);
        }
    }
    while (!at_rest(set))
        pthread_cond_wait(&set->changed, &set->lock);
    pthread_mutex_unlock(&set->lock);
}

static void informer_free(struct informer *inf)
{
    while (inf->handlers) {
        struct handler *h = inf->handlers;

        inf->handlers = h->next;
        free(h);
    }
    drop_pending(inf);
    map_free(inf->known);
    free((char *)inf->ref.group);
    free((char *)inf->ref.version);
    free((char *)inf->ref.resource);
    free((char *)inf->ref.ns);
    free(inf->label_selector);
    free(inf->field_selector);
    free(inf->version);
    free(inf);
}

void informers_free(struct informers *set)
{
    if (!set)
        return;
    informers_stop(set);
    while (set->informers) {
        struct informer *i = set->informers;

        set->informers = i->next;
        informer_free(i);
    }
    pthread_mutex_destroy(&set->lock);
    pthread_cond_destroy(&set->changed);
    free(set);
}
