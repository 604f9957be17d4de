#include "server/api/api.h"

#include "lib/crypto.h"
#include "lib/http/client.h"
#include "lib/k8s/meta.h"
#include "server/api/api_int.h"
#include "server/schema/kind_env.h"

#include <string.h>

enum { READS_MAX = 400, WRITES_MAX = 200, WAITING_MAX = 2000 };

static void observe(void *arg, const struct hub_event *e)
{
    struct api *a = arg;
    const struct schema_resource *r = e->resource;
    char ns[256], name[256];

    if (e->ns.n >= sizeof(ns) || e->name.n >= sizeof(name))
        return;
    memcpy(ns, e->ns.at, e->ns.n);
    ns[e->ns.n] = '\0';
    memcpy(name, e->name.at, e->name.n);
    name[e->name.n] = '\0';
    struct slice value = e->value ? (struct slice){ e->value->at, e->value->n } : (struct slice){ NULL, 0 };
    if (a->o.authz)
        authz_observe(a->o.authz, r->group, r->resource, ns, name, value);
    if (a->o.admission)
        admission_observe(a->o.admission, r->group, r->resource, ns, name, value);
}

int api_new(const struct api_options *options, struct api **ret, struct err *err)
{
    struct api *a = MEM_NEW(struct api);
    struct kind_env_options env = { options->store, options->service_cidr, options->node_port_first, options->node_port_last };
    AUTO(arena) struct arena *arena = arena_new();
    struct ctx ctx = ctx_background(arena);

    a->o = *options;
    a->o.reads_max = options->reads_max ? options->reads_max : READS_MAX;
    a->o.writes_max = options->writes_max ? options->writes_max : WRITES_MAX;
    a->schema = schema_builtin();
    a->last_waiting = &a->first_waiting;
    a->started_us = clock_wall_us(a->o.clock);
    a->kubelet_clients = map_new(NULL);
    pthread_mutex_init(&a->lock, NULL);
    if (kind_env_new(&env, &a->env, err) < 0 || kind_env_load(&ctx, a->env, err) < 0) {
        api_free(a);
        return err_wrap(err, "allocators");
    }
    a->hub = hub_new(&(struct hub_options){
        .schema = a->schema,
        .store = a->o.store,
        .loops = a->o.loops,
        .n_loops = a->o.n_loops,
        .observe = observe,
        .arg = a,
    });
    a->watches = watch_set_new(a);
    *ret = a;
    return 0;
}

void api_stop(struct api *a, int64_t grace_ms)
{
    (void)grace_ms;
    atomic_store(&a->stopping, true);
    watch_stop_all(a);
}

void api_free(struct api *a)
{
    size_t pos = 0;
    const char *key = NULL;
    void *client = NULL;

    if (!a)
        return;
    while (map_next(a->kubelet_clients, &pos, &key, &client))
        http_client_free(client);
    map_free(a->kubelet_clients);
    watch_set_free(a->watches);
    hub_free(a->hub);
    kind_env_free(a->env);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

void api_add_component(struct api *a, const char *name, int (*fn)(void *arg, struct err *err), void *arg)
{
    if (a->n_components < COMPONENTS_MAX)
        a->components[a->n_components++] = (struct ready_check){ name, fn, arg };
}

void api_add_ready_check(struct api *a, const char *name, int (*fn)(void *arg, struct err *err), void *arg)
{
    if (a->n_checks < READY_CHECKS_MAX)
        a->checks[a->n_checks++] = (struct ready_check){ name, fn, arg };
}

void api_set_kubelet(struct api *a, const struct api_kubelet *k)
{
    a->kubelet = *k;
}

/* --- the HTTP front: bounded numbers of reads and writes in flight, a bounded queue, then 429 --- */

static bool is_read(const struct api_request *r)
{
    return strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0;
}

static void start_http(void *arg);

/* lock held. */
static bool take_slot(struct api *a, struct api_request *r)
{
    if (is_read(r)) {
        if (a->reads >= a->o.reads_max)
            return false;
        a->reads++;
        r->counted_read = true;
    } else {
        if (a->writes >= a->o.writes_max)
            return false;
        a->writes++;
        r->counted_write = true;
    }
    return true;
}

static void too_many(struct api_request *r)
{
    struct err err;
    struct buf text = { 0 };

    ERR_IGNORE(err_set(&err, ERR_TOO_MANY, "Too many requests, please try again later."));
    status_write(&err, &text);
    r->answer = (struct api_answer){ .status = 429, .body = buf_take(&text) };
    api_reply(r);
    api_request_free(r);
}

static void run_on_pool(struct api *a, struct api_request *r)
{
    struct err err;

    if (pool_run(a->o.pool, start_http, r, &err) == 0)
        return;
    api_release_slot(r);
    too_many(r);
}

/* Gives the slot to the first one waiting that fits. Called once a request, or when it became long-running. */
void api_release_slot(struct api_request *r)
{
    struct api *a = r->api;
    struct api_request *next = NULL;

    if (!r->counted_read && !r->counted_write)
        return;
    pthread_mutex_lock(&a->lock);
    a->reads -= r->counted_read;
    a->writes -= r->counted_write;
    r->counted_read = r->counted_write = false;
    for (struct api_request **at = &a->first_waiting; *at; at = &(*at)->next)
        if (take_slot(a, *at)) {
            next = *at;
            *at = next->next;
            if (!*at)
                a->last_waiting = at;
            a->waiting--;
            break;
        }
    pthread_mutex_unlock(&a->lock);
    if (next)
        run_on_pool(a, next);
}

static void start_http(void *arg)
{
    struct api_request *r = arg;
    bool streaming = false;

    r->streaming = &streaming;
    api_request_run(r);
    if (streaming)
        return; /* the stream owns r now; it released the slot */
    api_release_slot(r);
    http_on_cancel(r->http, NULL, NULL);
    api_reply(r);
    api_request_free(r);
}

static void on_cancel(void *arg)
{
    atomic_store(&((struct api_request *)arg)->cancel.set, true);
}

static struct api_request *request_new(struct api *a)
{
    struct arena *arena = arena_new();
    struct api_request *r = arena_alloc(arena, sizeof(*r));
    char *id = arena_alloc(arena, 37);

    uid_new(id);
    r->api = a;
    r->arena = arena;
    r->ctx = ctx_background(arena);
    r->ctx.clock = a->o.clock;
    r->ctx.cancel = &r->cancel;
    r->ctx.request_id = id;
    atomic_fetch_add(&a->requests, 1);
    return r;
}

void api_serve(void *api, struct http_request *http)
{
    struct api *a = api;
    const struct http_request_info *info = http_request_info(http);
    struct api_request *r = request_new(a);

    r->http = http;
    r->method = arena_strdup(r->arena, info->method);
    r->path = (struct slice){ arena_strndup(r->arena, info->path.at, info->path.n), info->path.n };
    r->raw_query = info->query.n ? arena_strndup(r->arena, info->query.at, info->query.n) : NULL;
    r->accept = arena_strdup(r->arena, http_headers_get(info->headers, "accept"));
    r->content_type = arena_strdup(r->arena, http_headers_get(info->headers, "content-type"));
    r->user_agent = arena_strdup(r->arena, http_headers_get(info->headers, "user-agent"));
    r->body = bytes_ref(info->body);
    http_on_cancel(http, on_cancel, r);

    pthread_mutex_lock(&a->lock);
    bool now = take_slot(a, r), full = !now && a->waiting >= WAITING_MAX;
    if (!now && !full) {
        *a->last_waiting = r;
        a->last_waiting = &r->next;
        a->waiting++;
    }
    pthread_mutex_unlock(&a->lock);
    if (now) {
        run_on_pool(a, r);
    } else if (full) {
        http_on_cancel(http, NULL, NULL);
        too_many(r);
    }
}

/* --- the in-process transport --- */

struct local {
    struct api *api;
    struct arena *arena; /* the user lives in it */
    struct user user;
};

static struct api_request *local_request(struct local *l, const struct client_call *call)
{
    struct api_request *r = request_new(l->api);
    const char *q = strchr(call->path, '?');
    size_t n = q ? (size_t)(q - call->path) : strlen(call->path);

    r->method = arena_strdup(r->arena, call->method);
    r->path = (struct slice){ arena_strndup(r->arena, call->path, n), n };
    r->raw_query = q ? arena_strdup(r->arena, q + 1) : NULL;
    r->accept = call->accept ? call->accept : "application/json";
    r->content_type = call->content_type ? call->content_type : "application/json";
    r->user_agent = "rancherd";
    r->body = call->body ? bytes_ref(call->body) : bytes_new("", 0);
    r->user = &l->user;
    r->ctx.user = &l->user;
    return r;
}

static int local_call(void *self, struct ctx *ctx, const struct client_call *call, struct client_answer *ret, struct err *err)
{
    struct local *l = self;

    if (ctx_check(ctx, err) < 0)
        return err_wrap(err, "%s %s", call->method, call->path);
    struct api_request *r = local_request(l, call);
    bool streaming = false;

    r->streaming = &streaming;
    r->ctx.deadline_ms = ctx->deadline_ms;
    r->ctx.cancel = ctx->cancel ? ctx->cancel : &r->cancel;
    api_request_run(r);
    ret->status = r->answer.status ? r->answer.status : 200;
    ret->body = TAKE(r->answer.body);
    api_request_free(r);
    return 0;
}

static void local_watch_start(void *arg)
{
    struct api_request *r = arg;
    bool streaming = false;

    r->streaming = &streaming;
    api_request_run(r);
    if (!streaming)
        watch_local_refused(r);
}

static struct client_watch *local_watch(void *self, const struct client_call *call, const struct client_watch_cb *cb, void *arg)
{
    struct api_request *r = local_request(self, call);
    struct err err;

    r->watch_cb = arena_alloc(r->arena, sizeof(*cb));
    memcpy((void *)r->watch_cb, cb, sizeof(*cb));
    r->watch_arg = arg;
    r->accept = arena_strdup(r->arena, r->accept);
    r->watch_handle = watch_local_new(r->api);
    struct client_watch *handle = r->watch_handle;
    if (pool_run(r->api->o.pool, local_watch_start, r, &err) < 0)
        watch_local_fail_later(r, &err);
    return handle;
}

static void local_watch_close(void *self, struct client_watch *w)
{
    (void)self;
    watch_local_close(w);
}

static void local_free(void *self)
{
    arena_free(((struct local *)self)->arena);
}

struct client *api_client_new(struct api *a, const struct user *user)
{
    struct arena *arena = arena_new();
    struct local *l = arena_alloc(arena, sizeof(*l));
    const char **groups = arena_alloc(arena, (user->n_groups + 1) * sizeof(*groups));

    for (size_t i = 0; i < user->n_groups; i++)
        groups[i] = arena_strdup(arena, user->groups[i]);
    *l = (struct local){
        .api = a,
        .arena = arena,
        .user = { .name = arena_strdup(arena, user->name), .uid = user->uid ? arena_strdup(arena, user->uid) : "", .groups = groups,
                  .n_groups = user->n_groups },
    };
    return client_new(&(struct client_transport){
        .self = l, .call = local_call, .watch = local_watch, .watch_close = local_watch_close, .free = local_free,
    });
}
