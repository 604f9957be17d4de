#include "lib/k8s/event.h"

#include "lib/k8s/meta.h"
#include "lib/log.h"
#include "lib/map.h"
#include "lib/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    QUEUE_MAX = 1000,       /* waiting events; the oldest is dropped */
    SEEN_MAX = 4096,        /* remembered (object, type, reason, message); then all is forgotten */
    BURST = 25,             /* of one source and object */
    REFILL_MS = 300000,     /* one more in five minutes */
    MESSAGE_MAX_BYTES = 1024,
    CALL_TIMEOUT_MS = 30000,
};

/* One fact to tell; owned by the queue until it is sent. */
struct entry {
    struct entry *next;
    json_t *event; /* a whole core/v1 Event without name and count */
    char *key;     /* correlation */
    char *object;  /* spam key */
};

struct seen {
    char *name; /* of the Event object */
    int count;
};

struct bucket {
    int tokens;
    int64_t refilled_ms;
};

struct events {
    struct client *client;
    const struct clock *clock;
    struct pool_family *family;
    char *component, *host;
    pthread_mutex_t lock; /* guards the queue */
    struct entry *first, **last;
    int waiting;
    bool running;
    struct ctx_cancel cancel;
    /* the job's own: only one runs */
    struct map *seen, *buckets;
};

static void seen_free(void *p)
{
    free(((struct seen *)p)->name);
    free(p);
}

struct events *events_new(struct client *client, struct pool *pool, const struct clock *clock, const char *component,
                          const char *host)
{
    struct events *e = MEM_NEW(struct events);

    e->client = client;
    e->clock = clock;
    e->family = pool_family_new(pool, "events", 1);
    e->component = mem_strdup(component);
    e->host = mem_strdup(host);
    e->last = &e->first;
    e->seen = map_new(seen_free);
    e->buckets = map_new(free);
    pthread_mutex_init(&e->lock, NULL);
    return e;
}

static void entry_free(struct entry *en)
{
    json_decref(en->event);
    free(en->key);
    free(en->object);
    free(en);
}

void events_free(struct events *e)
{
    if (!e)
        return;
    atomic_store(&e->cancel.set, true);
    pool_family_free(e->family);
    while (e->first) {
        struct entry *en = e->first;

        e->first = en->next;
        entry_free(en);
    }
    map_free(e->seen);
    map_free(e->buckets);
    pthread_mutex_destroy(&e->lock);
    free(e->component);
    free(e->host);
    free(e);
}

static json_t *reference(const json_t *about, const char *field_path)
{
    json_t *ref = json_object();
    static const char *const paths[][2] = {
        { "kind", "kind" },
        { "namespace", "metadata.namespace" },
        { "name", "metadata.name" },
        { "uid", "metadata.uid" },
        { "apiVersion", "apiVersion" },
        { "resourceVersion", "metadata.resourceVersion" },
    };

    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        const char *v = json_str(about, paths[i][1]);
        if (v)
            json_object_set_new(ref, paths[i][0], json_string(v));
    }
    if (field_path)
        json_object_set_new(ref, "fieldPath", json_string(field_path));
    return ref;
}

static bool spam(struct events *e, const char *object)
{
    struct bucket *b = map_get(e->buckets, object);
    int64_t now = clock_mono_ms(e->clock);

    if (!b) {
        if (map_len(e->buckets) >= SEEN_MAX) {
            map_free(e->buckets);
            e->buckets = map_new(free);
        }
        b = MEM_NEW(struct bucket);
        *b = (struct bucket){ BURST, now };
        map_set(e->buckets, object, b);
    }
    int64_t more = (now - b->refilled_ms) / REFILL_MS;
    if (more > 0) {
        b->tokens = b->tokens + more > BURST ? BURST : b->tokens + (int)more;
        b->refilled_ms += more * REFILL_MS;
    }
    if (b->tokens <= 0)
        return true;
    b->tokens--;
    return false;
}

static int send_again(struct events *e, struct ctx *ctx, struct entry *en, struct seen *s, struct err *err)
{
    AUTO(json) json_t *patch = json_object();
    struct object_ref ref = { "", "v1", "events", json_str_or(en->event, "metadata.namespace", "default"), s->name, NULL };

    s->count++;
    json_object_set_new(patch, "count", json_integer(s->count));
    json_object_set(patch, "lastTimestamp", json_object_get(en->event, "lastTimestamp"));
    json_object_set(patch, "message", json_object_get(en->event, "message"));
    return client_patch(ctx, e->client, &ref, CLIENT_PATCH_STRATEGIC, patch, NULL, NULL, err);
}

static int send_new(struct events *e, struct ctx *ctx, struct entry *en, struct err *err)
{
    struct object_ref ref = { "", "v1", "events", json_str_or(en->event, "metadata.namespace", "default"), NULL, NULL };

    json_object_set_new(en->event, "count", json_integer(1));
    if (client_create(ctx, e->client, &ref, en->event, NULL, err) < 0)
        return -(int)err->code;
    if (map_len(e->seen) >= SEEN_MAX) {
        map_free(e->seen);
        e->seen = map_new(seen_free);
    }
    struct seen *s = MEM_NEW(struct seen);
    s->name = mem_strdup(meta_name(en->event));
    s->count = 1;
    map_set(e->seen, en->key, s);
    return 0;
}

static void send(struct events *e, struct entry *en)
{
    AUTO(arena) struct arena *arena = arena_new();
    struct ctx base = ctx_background(arena), ctx;
    struct err err;
    struct seen *s = map_get(e->seen, en->key);

    if (spam(e, en->object))
        return;
    base.clock = e->clock;
    base.cancel = &e->cancel;
    ctx = ctx_with_timeout(&base, CALL_TIMEOUT_MS);
    if (s && send_again(e, &ctx, en, s, &err) == 0)
        return;
    /* The Event may have expired meanwhile: a new one. A namespace that is going away takes none: nobody to tell. */
    if (send_new(e, &ctx, en, &err) < 0)
        log_debug("event not recorded", "object=%s err=%s", en->object, log_q(err.msg));
}

static struct entry *next_entry(struct events *e)
{
    LOCK_SCOPE(&e->lock);
    struct entry *en = e->first;

    if (!en || atomic_load(&e->cancel.set)) {
        e->running = false;
        return NULL;
    }
    e->first = en->next;
    if (!e->first)
        e->last = &e->first;
    e->waiting--;
    return en;
}

static void job(void *arg)
{
    struct events *e = arg;
    struct entry *en = NULL;

    while ((en = next_entry(e))) {
        send(e, en);
        entry_free(en);
    }
}

static void enqueue(struct events *e, struct entry *en)
{
    struct entry *drop = NULL;
    bool start = false;
    struct err err;

    pthread_mutex_lock(&e->lock);
    *e->last = en;
    e->last = &en->next;
    if (++e->waiting > QUEUE_MAX) {
        drop = e->first;
        e->first = drop->next;
        e->waiting--;
    }
    if (!e->running)
        start = e->running = true;
    pthread_mutex_unlock(&e->lock);
    if (drop)
        entry_free(drop);
    if (start && pool_family_run(e->family, job, e, &err) < 0) {
        LOCK_SCOPE(&e->lock);
        e->running = false; /* the next event tries again */
    }
}

void event_record(struct events *e, const json_t *about, const char *field_path, const char *type, const char *reason,
                  const char *fmt, ...)
{
    char message[MESSAGE_MAX_BYTES], when[CLOCK_TEXT_BYTES];
    int64_t us = clock_wall_us(e->clock);
    const char *ns = meta_namespace(about);
    va_list args;

    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    clock_time_text(us / 1000000, when);

    json_t *ev = json_object();
    json_object_set_new(ev, "kind", json_string("Event"));
    json_object_set_new(ev, "apiVersion", json_string("v1"));
    json_put(ev, "metadata.name", json_strf("%s.%llx", meta_name(about), (unsigned long long)us * 1000));
    json_put(ev, "metadata.namespace", json_string(*ns ? ns : "default"));
    json_object_set_new(ev, "involvedObject", reference(about, field_path));
    json_object_set_new(ev, "reason", json_string(reason));
    json_t *text = json_string(message);
    json_object_set_new(ev, "message", text ? text : json_string("(message is not valid UTF-8)"));
    json_put(ev, "source.component", json_string(e->component));
    if (*e->host)
        json_put(ev, "source.host", json_string(e->host));
    json_object_set_new(ev, "firstTimestamp", json_string(when));
    json_object_set_new(ev, "lastTimestamp", json_string(when));
    json_object_set_new(ev, "type", json_string(type));
    json_object_set_new(ev, "reportingComponent", json_string(e->component));
    json_object_set_new(ev, "reportingInstance", json_string(e->host));

    struct entry *en = MEM_NEW(struct entry);
    en->event = ev;
    en->object = mem_printf("%s/%s/%s/%s", json_str_or(about, "kind", ""), ns, meta_name(about), meta_uid(about));
    en->key = mem_printf("%s|%s|%s|%s|%s", en->object, field_path ? field_path : "", type, reason, message);
    enqueue(e, en);
}
