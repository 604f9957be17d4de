/*
 * WATCH: initial events from the store, then the log, then the hub's ring; ends at an event boundary (DESIGN §2).
 *
 * A watch belongs to its loop; while it reads the store a worker works for it (`busy`). Whoever of the two is last frees it.
 */
#include "server/api/api_int.h"

#include "lib/crypto.h"
#include "lib/k8s/status.h"

#include <assert.h>
#include <string.h>

enum {
    QUEUE_HIGH_BYTES = 1024 * 1024, /* more unsent bytes than this: wait for the socket */
    BOOKMARK_MS = 60000,
    TICK_MS = 1000,
    MIN_TIMEOUT_MS = 1800000, /* upstream's min-request-timeout; a watch lives one to two of it */
    STUCK_MS = 120000,        /* a reader that takes nothing for so long is cut off */
};

enum watch_state { WATCH_LIST, WATCH_LOG, WATCH_RING, WATCH_CLOSED };

struct client_watch { /* an in-process receiver's handle */
    struct api *api;
    pthread_mutex_t lock;
    struct watch *watch; /* once it runs */
    bool closed;
};

struct watch {
    struct api_request *r;
    struct watch *next, *prev; /* in its loop's list; loop thread */
    struct watch_loop *home;
    struct loop *loop;
    struct hub_watcher *hub; /* loop thread; NULL once closed */
    struct api_filter filter;
    struct api_media media;
    bool conversion, bookmarks, initial, initial_mark, table_columns_sent;
    _Atomic enum watch_state state;
    int64_t after; /* everything up to this revision has been sent */
    int64_t ends_ms, next_bookmark_ms, stuck_since_ms;
    struct store_range range;
    struct buf from, to;
    pthread_mutex_t lock; /* guards busy, closed, stalled */
    bool busy, closed, stalled;
};

struct watch_loop {
    struct watch_set *set;
    struct loop *loop;
    struct watch *first;
    bool ticking;
};

struct watch_set {
    struct api *api;
    struct watch_loop *loops;
    _Atomic bool stopping;
    _Atomic int64_t running;
};

/* --- sending --- */

static size_t queued(struct watch *w)
{
    return w->r->http ? http_stream_queued(w->r->http) : 0;
}

static void send_line(struct watch *w, struct bytes *line)
{
    if (w->r->http) {
        http_stream_write(w->r->http, line);
        return;
    }
    w->r->watch_cb->on_event(w->r->watch_arg, line);
}

static void send_text(struct watch *w, struct buf *text)
{
    struct bytes *line = buf_take(text);

    send_line(w, line);
    bytes_unref(line);
}

static const char *const type_names[] = { "ADDED", "MODIFIED", "DELETED" };
enum change { CHANGE_ADDED, CHANGE_MODIFIED, CHANGE_DELETED, CHANGE_NONE };

/* The object of an event in the form the client asked for. */
static int write_object(struct watch *w, struct slice value, int64_t revision, struct buf *to, struct err *err)
{
    struct api_request *r = w->r;
    AUTO(json) json_t *tree = NULL;
    AUTO(buf) struct buf text = { 0 };

    if (w->media.form == FORM_JSON)
        return api_text(r->api, r->route.resource, value, revision, to, err);
    if (api_text(r->api, r->route.resource, value, revision, &text, err) < 0 ||
        json_read(buf_at(&text), buf_len(&text), NULL, NULL, &tree, err) < 0)
        return -(int)err->code;
    if (w->media.form == FORM_PARTIAL) {
        partial_object(tree, to);
        return 0;
    }
    table_begin(r->route.resource, to);
    buf_printf(to, "\"metadata\":{\"resourceVersion\":\"%lld\"},", (long long)revision);
    if (!w->table_columns_sent)
        table_columns(r->route.resource, to);
    else
        buf_str(to, "\"columnDefinitions\":null");
    w->table_columns_sent = true;
    buf_str(to, ",\"rows\":[");
    table_row(&r->ctx, r->route.resource, r->route.ops, tree, &w->media, to);
    buf_str(to, "]}");
    return 0;
}

static void write_event(struct watch *w, enum change change, const struct bytes *value, int64_t revision, struct buf *to)
{
    struct err err;

    buf_printf(to, "{\"type\":\"%s\",\"object\":", type_names[change]);
    if (write_object(w, (struct slice){ value->at, value->n }, revision, to, &err) < 0) {
        buf_cut(to, 0);
        buf_str(to, "{\"type\":\"ERROR\",\"object\":");
        status_write(&err, to);
    }
    buf_str(to, "}\n");
}

static enum change change_of(const struct watch *w, const struct hub_event *e)
{
    bool had = e->prev_value && api_filter_match(&w->filter, e->ns, e->name, e->prev_facts);
    bool has = e->value && api_filter_match(&w->filter, e->ns, e->name, e->facts);

    if (has)
        return had ? CHANGE_MODIFIED : CHANGE_ADDED;
    return had ? CHANGE_DELETED : CHANGE_NONE;
}

/* The shared line: made once, whoever comes first. */
static void send_shared(struct watch *w, struct hub_event *e, enum change change)
{
    struct bytes *line = atomic_load(&e->lines[change]), *none = NULL;

    if (!line) {
        struct buf text = { 0 };

        write_event(w, change, change == CHANGE_DELETED ? e->prev_value : e->value, e->revision, &text);
        line = buf_take(&text);
        if (!atomic_compare_exchange_strong(&e->lines[change], &none, line)) {
            bytes_unref(line);
            line = none;
        }
    }
    send_line(w, line);
}

static void send_event(struct watch *w, struct hub_event *e)
{
    enum change change = change_of(w, e);
    struct buf text = { 0 };

    w->after = e->revision;
    if (change == CHANGE_NONE)
        return;
    if (w->media.form == FORM_JSON && !w->conversion) {
        send_shared(w, e, change);
        return;
    }
    write_event(w, change, change == CHANGE_DELETED ? e->prev_value : e->value, e->revision, &text);
    send_text(w, &text);
}

static void send_bookmark(struct watch *w, int64_t revision, bool initial_end)
{
    const struct schema_resource *res = w->r->route.resource;
    const char *version = api_version_text(w->r->arena, res), *kind = res->kind;
    struct buf text = { 0 };

    if (w->media.form == FORM_PARTIAL) {
        version = "meta.k8s.io/v1";
        kind = "PartialObjectMetadata";
    }
    buf_str(&text, "{\"type\":\"BOOKMARK\",\"object\":");
    if (w->media.form == FORM_TABLE) {
        buf_printf(&text, "{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{\"resourceVersion\":\"%lld\"},"
                          "\"columnDefinitions\":null,\"rows\":[]}",
                   (long long)revision);
    } else {
        buf_printf(&text, "{\"kind\":\"%s\",\"apiVersion\":\"%s\",\"metadata\":{\"resourceVersion\":\"%lld\"", kind, version,
                   (long long)revision);
        if (initial_end)
            buf_str(&text, ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}");
        buf_str(&text, "}}");
    }
    buf_str(&text, "}\n");
    send_text(w, &text);
}

static void send_error(struct watch *w, const struct err *err)
{
    struct buf text = { 0 };

    buf_str(&text, "{\"type\":\"ERROR\",\"object\":");
    status_write(err, &text);
    buf_str(&text, "}\n");
    send_text(w, &text);
}

/* --- ending --- */

static void watch_free(struct watch *w)
{
    store_range_end(&w->range);
    buf_clear(&w->from);
    buf_clear(&w->to);
    pthread_mutex_destroy(&w->lock);
    if (w->r->http)
        http_request_unref(w->r->http);
    api_request_free(w->r);
    free(w);
}

static void unlink_watch(struct watch *w)
{
    if (w->prev)
        w->prev->next = w->next;
    else
        w->home->first = w->next;
    if (w->next)
        w->next->prev = w->prev;
    atomic_fetch_sub(&w->home->set->running, 1);
}

/* The receiver is gone. Loop thread; once. */
static void watch_gone(struct watch *w)
{
    pthread_mutex_lock(&w->lock);
    w->closed = true;
    w->state = WATCH_CLOSED;
    atomic_store(&w->r->cancel.set, true);
    bool free_now = !w->busy;
    hub_watcher_free(TAKE(w->hub));
    pthread_mutex_unlock(&w->lock);
    unlink_watch(w);
    if (free_now)
        watch_free(w);
}

static void local_ended(struct client_watch *h, const struct client_watch_cb *cb, void *arg, const struct err *why)
{
    cb->on_end(arg, why);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

/* The end of an in-process watch that no worker works for. Loop thread. */
static void local_finish(struct watch *w)
{
    struct client_watch *h = w->r->watch_handle;
    const struct client_watch_cb cb = *w->r->watch_cb;
    void *arg = w->r->watch_arg;

    pthread_mutex_lock(&h->lock);
    h->watch = NULL;
    h->closed = true;
    pthread_mutex_unlock(&h->lock);
    hub_watcher_free(TAKE(w->hub));
    unlink_watch(w);
    watch_free(w);
    local_ended(h, &cb, arg, NULL);
}

/* Ends the stream in order. Loop thread. */
static void watch_end(struct watch *w)
{
    if (w->state == WATCH_CLOSED)
        return;
    w->state = WATCH_CLOSED;
    if (w->r->http) {
        http_stream_end(w->r->http); /* on_close comes */
        return;
    }
    pthread_mutex_lock(&w->lock);
    w->closed = true;
    atomic_store(&w->r->cancel.set, true);
    bool busy = w->busy; /* then the worker's leave finishes: nothing may come after on_end */
    pthread_mutex_unlock(&w->lock);
    if (!busy)
        local_finish(w);
}

/* A worker has left a watch whose receiver is gone or that was ended. */
static void finish_closed(struct watch *w)
{
    if (w->r->http)
        watch_free(w);
    else
        local_finish(w);
}

static void end_posted(void *arg)
{
    struct watch *w = arg;

    pthread_mutex_lock(&w->lock);
    w->busy = false;
    bool closed = w->closed;
    pthread_mutex_unlock(&w->lock);
    if (closed)
        finish_closed(w);
    else
        watch_end(w);
}

static void on_stream_close(void *arg)
{
    watch_gone(arg);
}

/* --- reading the store on a worker: initial objects, then the log up to the ring --- */

static void work(void *arg);

/* Loop thread or the worker that was busy. */
static void start_work(struct watch *w)
{
    struct err err;

    if (pool_run(w->r->api->o.pool, work, w, &err) == 0)
        return;
    send_error(w, &err);
    loop_post(w->loop, end_posted, w);
}

static int on_row(void *arg, const struct store_row *row, bool *stop, struct err *err)
{
    struct watch *w = arg;
    struct hub_event *e = hub_event_new(w->r->api->hub, &(struct store_event){ .row = *row });
    struct buf text = { 0 };

    (void)stop;
    (void)err;
    if (!e)
        return 0;
    if (api_filter_match(&w->filter, e->ns, e->name, e->facts)) {
        write_event(w, CHANGE_ADDED, e->value, row->mod_revision, &text);
        send_text(w, &text);
    }
    hub_event_unref(e);
    return 0;
}

static int on_log(void *arg, const struct store_event *event, struct err *err)
{
    struct watch *w = arg;
    struct hub_event *e = hub_event_new(w->r->api->hub, event);

    (void)err;
    if (e && e->resource == w->r->route.stored)
        send_event(w, e);
    hub_event_unref(e);
    return 0;
}

/* A closed watch stays closed. */
static void set_state(struct watch *w, enum watch_state to)
{
    LOCK_SCOPE(&w->lock);

    if (!w->closed && w->state != WATCH_CLOSED)
        w->state = to;
}

/* To the ring, when it reaches back far enough. The hub's watcher is there as long as the watch is not closed. */
static bool follow(struct watch *w)
{
    LOCK_SCOPE(&w->lock);

    if (w->closed || w->state == WATCH_CLOSED)
        return true;
    if (!hub_follow(w->hub, w->after))
        return false;
    w->state = WATCH_RING;
    return true;
}

static int list_step(struct watch *w, struct err *err)
{
    if (store_range(&w->r->ctx, w->r->api->o.store, &w->range, on_row, w, err) < 0)
        return -(int)err->code;
    if (w->range.more)
        return 0;
    w->after = w->range.at_revision ? w->range.at_revision : w->range.revision;
    store_range_end(&w->range);
    if (w->initial_mark)
        send_bookmark(w, w->after, true);
    set_state(w, WATCH_LOG);
    return 0;
}

static int log_step(struct watch *w, struct err *err)
{
    int64_t last = w->after;

    if (follow(w))
        return 0;
    if (store_log(&w->r->ctx, w->r->api->o.store, (struct slice){ buf_at(&w->from), buf_len(&w->from) },
                  (struct slice){ buf_at(&w->to), buf_len(&w->to) }, w->after, 0, on_log, w, &last, err) < 0)
        return -(int)err->code;
    w->after = last;
    return 0;
}

static bool is_closed(struct watch *w)
{
    LOCK_SCOPE(&w->lock);

    return w->closed;
}

/* The worker's leave: to the ring, to wait for the socket, or for good. */
static void finish_work(void *arg)
{
    struct watch *w = arg;

    pthread_mutex_lock(&w->lock);
    bool closed = w->closed, again = false;
    w->busy = false;
    if (!closed && (w->state == WATCH_LIST || w->state == WATCH_LOG)) {
        again = queued(w) <= QUEUE_HIGH_BYTES / 2;
        w->stalled = !again;
        w->busy = again;
    }
    pthread_mutex_unlock(&w->lock);
    if (closed)
        finish_closed(w);
    else if (again)
        start_work(w);
}

static void work(void *arg)
{
    struct watch *w = arg;
    struct err err;
    int rc = 0;

    w->r->ctx.deadline_ms = INT64_MAX;
    while (rc == 0 && !is_closed(w) && queued(w) <= QUEUE_HIGH_BYTES) {
        enum watch_state state = w->state;

        if (state != WATCH_LIST && state != WATCH_LOG)
            break;
        rc = state == WATCH_LIST ? list_step(w, &err) : log_step(w, &err);
    }
    if (rc < 0 && !is_closed(w)) {
        if (err.code == ERR_EXPIRED) {
            ERR_IGNORE(err_set(&err, ERR_EXPIRED, "too old resource version: %lld (%lld)", (long long)w->after,
                               (long long)store_compacted(w->r->api->o.store)));
        }
        send_error(w, &err);
        loop_post(w->loop, end_posted, w);
        return;
    }
    loop_post(w->loop, finish_work, w);
}

/* --- on the loop --- */

static bool deliver(void *arg, struct hub_event *e)
{
    struct watch *w = arg;

    if (queued(w) > QUEUE_HIGH_BYTES)
        return false;
    send_event(w, e);
    return true;
}

static void behind(void *arg, int64_t after)
{
    struct watch *w = arg;

    pthread_mutex_lock(&w->lock);
    w->after = after;
    w->state = WATCH_LOG;
    w->busy = true;
    pthread_mutex_unlock(&w->lock);
    start_work(w);
}

static void on_drain(void *arg)
{
    struct watch *w = arg;

    pthread_mutex_lock(&w->lock);
    bool resume = !w->closed && w->state == WATCH_RING, again = !w->closed && w->stalled && !w->busy;
    if (again) {
        w->stalled = false;
        w->busy = true;
    }
    pthread_mutex_unlock(&w->lock);
    w->stuck_since_ms = 0;
    if (resume && w->hub)
        hub_resume(w->hub);
    if (again)
        start_work(w);
}

static void tick(void *arg);

static void tick_watch(struct watch *w, int64_t now)
{
    if (w->state == WATCH_CLOSED)
        return;
    if (queued(w) > QUEUE_HIGH_BYTES) {
        if (!w->stuck_since_ms)
            w->stuck_since_ms = now;
        if (now - w->stuck_since_ms > STUCK_MS)
            http_stream_abort(w->r->http);
        return;
    }
    w->stuck_since_ms = 0;
    if (now >= w->ends_ms) {
        if (w->bookmarks && w->state == WATCH_RING)
            send_bookmark(w, hub_watcher_revision(w->hub), false);
        watch_end(w);
        return;
    }
    if (w->bookmarks && w->state == WATCH_RING && now >= w->next_bookmark_ms) {
        send_bookmark(w, hub_watcher_revision(w->hub), false);
        w->next_bookmark_ms = now + BOOKMARK_MS;
    }
}

static void tick(void *arg)
{
    struct watch_loop *l = arg;
    int64_t now = clock_mono_ms(l->set->api->o.clock);

    for (struct watch *w = l->first, *next = NULL; w; w = next) {
        next = w->next;
        tick_watch(w, now);
    }
    l->ticking = l->first != NULL && !atomic_load(&l->set->stopping);
    if (l->ticking)
        loop_timer_start(l->loop, TICK_MS, tick, l);
}

static struct watch_loop *home_of(struct watch_set *set, struct loop *loop)
{
    struct watch_loop *l = set->loops;

    while (l->loop != loop)
        l++;
    return l;
}

static void begin_on_loop(void *arg)
{
    static const struct http_stream_ops ops = { on_drain, on_stream_close };
    struct watch *w = arg;
    struct api_request *r = w->r;
    struct watch_loop *home = home_of(r->api->watches, w->loop);

    w->home = home;
    w->next = home->first;
    if (w->next)
        w->next->prev = w;
    home->first = w;
    atomic_fetch_add(&home->set->running, 1);
    if (!home->ticking) {
        home->ticking = true;
        loop_timer_start(home->loop, TICK_MS, tick, home);
    }
    w->hub = hub_watcher_new(r->api->hub, w->loop, r->route.stored, deliver, behind, w);
    w->busy = true;
    if (r->http) {
        struct http_headers headers = { 0 };

        api_answer_headers(r, &headers);
        http_request_ref(r->http); /* a worker may still write when the stream has closed */
        http_stream_begin(r->http, 200, &headers, &ops, w);
        http_headers_clear(&headers);
    } else {
        pthread_mutex_lock(&r->watch_handle->lock);
        r->watch_handle->watch = w;
        bool closed = r->watch_handle->closed;
        pthread_mutex_unlock(&r->watch_handle->lock);
        if (closed) {
            w->busy = false;
            watch_end(w);
            return;
        }
    }
    if (atomic_load(&home->set->stopping)) {
        w->busy = false;
        watch_end(w);
        return;
    }
    start_work(w);
}

/* --- options --- */

static int read_start(struct watch *w, struct err *err)
{
    struct api_request *r = w->r;
    const char *rv = api_query(r, "resourceVersion"), *match = api_query(r, "resourceVersionMatch");
    const char *initial = api_query(r, "sendInitialEvents");
    char *end = NULL;
    int64_t from = rv && *rv ? strtoll(rv, &end, 10) : 0;

    if ((end && *end) || from < 0)
        return status_bad_request(&r->ctx, err, "Invalid value: \"%s\": strconv.ParseUint: parsing \"%s\": invalid syntax", rv, rv);
    if (initial && *initial) {
        if (!match || strcmp(match, "NotOlderThan") != 0)
            return api_option_bad(r, FIELD_FORBIDDEN, "resourceVersionMatch",
                                  "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan", err);
        w->initial = w->initial_mark = api_query_true(r, "sendInitialEvents");
        if (!w->initial && from == 0)
            from = store_revision(r->api->o.store); /* from now on */
        w->initial_mark = w->initial && w->bookmarks;
    } else {
        if (match && *match)
            return api_option_bad(r, FIELD_FORBIDDEN, "resourceVersionMatch",
                                  "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided", err);
        w->initial = from == 0;
    }
    if (from > store_revision(r->api->o.store))
        return err_set(err, ERR_TIMEOUT, "Too large resource version: %lld, current: %lld", (long long)from,
                       (long long)store_revision(r->api->o.store));
    w->after = from;
    w->state = w->initial ? WATCH_LIST : WATCH_LOG; /* a compacted revision is told as the watch's first event, as upstream does */
    return 0;
}

static void read_timeout(struct watch *w)
{
    struct api_request *r = w->r;
    const char *text = api_query(r, "timeoutSeconds");
    int64_t now = clock_mono_ms(r->api->o.clock), s = text ? strtoll(text, NULL, 10) : 0;
    uint32_t spread = 0;

    random_bytes(&spread, sizeof(spread));
    w->next_bookmark_ms = now + BOOKMARK_MS;
    if (s > 0 && s < 86400 * 365)
        w->ends_ms = now + s * 1000;
    else
        w->ends_ms = r->http ? now + MIN_TIMEOUT_MS + spread % MIN_TIMEOUT_MS : INT64_MAX;
}

int api_watch(struct api_request *r, struct err *err)
{
    struct watch *w = MEM_NEW(struct watch);
    int rc = 0;

    w->r = r;
    pthread_mutex_init(&w->lock, NULL);
    w->bookmarks = api_query_true(r, "allowWatchBookmarks");
    rc = api_filter(r, &w->filter, err);
    if (rc == 0)
        rc = api_negotiate(r, true, &w->media, err);
    if (rc == 0)
        rc = read_start(w, err);
    if (rc == 0 && atomic_load(&r->api->stopping))
        rc = err_set(err, ERR_UNAVAILABLE, "the server is shutting down");
    if (rc < 0) {
        pthread_mutex_destroy(&w->lock);
        free(w);
        return rc;
    }
    read_timeout(w);
    w->conversion = r->route.stored != r->route.resource;
    key_write(r->route.stored, w->filter.ns, NULL, &w->from);
    key_range_end((struct slice){ buf_at(&w->from), buf_len(&w->from) }, &w->to);
    w->range.from = (struct slice){ buf_at(&w->from), buf_len(&w->from) };
    w->range.to = (struct slice){ buf_at(&w->to), buf_len(&w->to) };
    w->loop = r->http ? http_request_loop(r->http) : r->api->o.loops[0];
    *r->streaming = true;
    api_release_slot(r);
    if (r->http)
        http_on_cancel(r->http, NULL, NULL);
    loop_post(w->loop, begin_on_loop, w);
    return 0;
}

/* --- in-process handles --- */

struct client_watch *watch_local_new(struct api *a)
{
    struct client_watch *h = MEM_NEW(struct client_watch);

    h->api = a;
    pthread_mutex_init(&h->lock, NULL);
    return h;
}

static void close_posted(void *arg)
{
    struct client_watch *h = arg;
    struct watch *w = h->watch; /* set and cleared on this loop */

    if (w)
        watch_end(w);
}

void watch_local_close(struct client_watch *h)
{
    LOCK_SCOPE(&h->lock);

    if (h->closed)
        return;
    h->closed = true;
    if (h->watch)
        loop_post(h->api->o.loops[0], close_posted, h);
}

void watch_local_refused(struct api_request *r)
{
    struct client_watch *h = r->watch_handle;
    const struct client_watch_cb cb = *r->watch_cb;
    void *arg = r->watch_arg;
    struct err why;
    struct slice body = { r->answer.body ? r->answer.body->at : "", r->answer.body ? r->answer.body->n : 0 };

    ERR_IGNORE(status_read(&r->ctx, r->answer.status ? r->answer.status : 500, body, &why));
    why.status = NULL; /* it lives in the request's arena */
    api_request_free(r);
    local_ended(h, &cb, arg, &why);
}

static void fail_posted(void *arg)
{
    struct api_request *r = arg;
    struct buf text = { 0 };
    struct err err;

    ERR_IGNORE(err_set(&err, ERR_UNAVAILABLE, "the server is shutting down"));
    status_write(&err, &text);
    r->answer = (struct api_answer){ .status = 503, .body = buf_take(&text) };
    watch_local_refused(r);
}

void watch_local_fail_later(struct api_request *r, const struct err *err)
{
    (void)err;
    loop_post(r->api->o.loops[0], fail_posted, r);
}

/* --- all of them --- */

struct watch_set *watch_set_new(struct api *a)
{
    struct watch_set *set = MEM_NEW(struct watch_set);

    set->api = a;
    set->loops = mem_zalloc((a->o.n_loops + 1) * sizeof(*set->loops));
    for (size_t i = 0; i < a->o.n_loops; i++)
        set->loops[i] = (struct watch_loop){ .set = set, .loop = a->o.loops[i] };
    return set;
}

static void stop_on_loop(void *arg)
{
    struct watch_loop *l = arg;

    for (struct watch *w = l->first, *next = NULL; w; w = next) {
        next = w->next;
        watch_end(w);
    }
}

void watch_stop_all(struct api *a)
{
    atomic_store(&a->watches->stopping, true);
    for (size_t i = 0; i < a->o.n_loops; i++)
        loop_post(a->o.loops[i], stop_on_loop, &a->watches->loops[i]);
}

void watch_set_free(struct watch_set *set)
{
    if (!set)
        return;
    assert(atomic_load(&set->running) == 0);
    free(set->loops);
    free(set);
}
