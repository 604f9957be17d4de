#include "agent/pods/node_int.h"

#include "lib/k8s/meta.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/queue.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

enum { LOOK_MS = 10000, REPORT_MS = 300000, LEASE_S = 40, LEASE_MS = 10000, CALL_MS = 20000, GC_MS = 300000, GC_ABOVE = 85, GC_TO = 80 };

struct node {
    struct node_options o;
    struct queue *queue;
    pthread_mutex_t lock; /* guards what follows */
    char *pod_cidr;       /* NULL: none yet */
    bool network;
    char *network_error;
    /* of the pass "status" alone */
    json_t *conditions;   /* {"status":{"conditions":…}} as last sent */
    uint64_t sent;        /* hash of the rest of the status */
    int64_t sent_ms;
    bool ready_told;
    /* of the pass "lease" */
    json_t *lease;
};

static struct object_ref node_ref(struct node *n, const char *sub)
{
    return (struct object_ref){ "", "v1", "nodes", NULL, n->o.agent->node_name, sub };
}

static struct node_facts facts_of(struct node *n, struct arena *a)
{
    LOCK_SCOPE(&n->lock);
    return (struct node_facts){ .agent = n->o.agent, .runtime = n->o.runtime, .images = n->o.images, .network = n->network,
                                .network_error = n->network_error ? arena_strdup(a, n->network_error) : NULL };
}

/* --- register --- */

/* An old Node of ours: labels and annotations that are ours again; user's stay, and so do its taints. */
static int adopt(struct node *n, struct ctx *ctx, const json_t *meta, struct err *err)
{
    struct object_ref ref = node_ref(n, NULL);
    AUTO(json) json_t *patch = json_object();
    json_t *m = json_object();

    json_object_set(m, "labels", json_object_get(meta, "labels"));
    json_object_set(m, "annotations", json_object_get(meta, "annotations"));
    json_object_set_new(patch, "metadata", m);
    if (client_patch(ctx, n->o.client, &ref, CLIENT_PATCH_STRATEGIC, patch, NULL, NULL, err) < 0)
        return err_wrap(err, "update node %s", n->o.agent->node_name);
    return 0;
}

static int register_node(struct node *n, struct ctx *ctx, struct err *err)
{
    struct node_facts f = facts_of(n, ctx->arena);
    struct object_ref ref = { "", "v1", "nodes", NULL, NULL, NULL };
    AUTO(json) json_t *node = json_object();
    json_t *meta = node_metadata(n->o.agent), *taints = node_taints(n->o.agent);

    json_object_set_new(node, "kind", json_string("Node"));
    json_object_set_new(node, "apiVersion", json_string("v1"));
    json_object_set_new(node, "metadata", meta);
    if (taints)
        json_put(node, "spec.taints", taints);
    json_object_set_new(node, "status", node_status(&f));
    (void)node_conditions(&f, node);
    int rc = client_create(ctx, n->o.client, &ref, node, NULL, err);
    if (rc < 0 && err->code == ERR_EXISTS)
        rc = adopt(n, ctx, meta, err);
    else if (rc < 0)
        return err_wrap(err, "register node %s", n->o.agent->node_name);
    if (rc < 0)
        return rc;
    n->sent = 0;
    queue_add(n->queue, "status");
    queue_add(n->queue, "lease");
    return 0;
}

/* --- status --- */

static uint64_t hash_of(const json_t *o)
{
    AUTO(buf) struct buf text = { 0 };
    uint64_t h = 0xcbf29ce484222325u;

    json_write(o, &text);
    for (size_t i = 0; i < buf_len(&text); i++)
        h = (h ^ (unsigned char)buf_at(&text)[i]) * 0x100000001b3u;
    return h;
}

/* Lists that strategic merge would merge are replaced. */
static void replace_list(json_t *status, const char *name)
{
    json_t *directive = json_object();

    json_object_set_new(directive, "$patch", json_string("replace"));
    json_array_insert_new(json_object_get(status, name), 0, directive);
}

static void tell_ready(struct node *n, const struct node_facts *f)
{
    AUTO(json) json_t *about = NULL;

    if (n->ready_told == f->network)
        return;
    n->ready_told = f->network;
    about = json_object();
    json_object_set_new(about, "kind", json_string("Node"));
    json_object_set_new(about, "apiVersion", json_string("v1"));
    json_put(about, "metadata.name", json_text(slice_of(n->o.agent->node_name)));
    json_put(about, "metadata.uid", json_text(slice_of(n->o.agent->node_name)));
    event_record(n->o.events, about, NULL, "Normal", f->network ? "NodeReady" : "NodeNotReady", "Node %s status is now: %s", n->o.agent->node_name,
                 f->network ? "NodeReady" : "NodeNotReady");
    log_info(f->network ? "node ready" : "node not ready", "node=%s", n->o.agent->node_name);
}

static int report_status(struct node *n, struct ctx *ctx, int64_t *again, struct err *err)
{
    struct node_facts f = facts_of(n, ctx->arena);
    struct object_ref ref = node_ref(n, "status");
    int64_t now = clock_mono_ms(n->o.agent->clock);
    AUTO(json) json_t *patch = json_object();
    json_t *status = node_status(&f);

    json_object_set_new(patch, "status", status);
    uint64_t hash = hash_of(status);
    bool changed = node_conditions(&f, n->conditions);
    *again = LOOK_MS;
    if (!changed && hash == n->sent && now - n->sent_ms < REPORT_MS)
        return 0;
    replace_list(status, "addresses");
    json_object_set(status, "conditions", json_at(n->conditions, "status.conditions"));
    if (client_patch(ctx, n->o.client, &ref, CLIENT_PATCH_STRATEGIC, patch, NULL, NULL, err) < 0) {
        n->sent = 0;
        if (err->code == ERR_NOT_FOUND) {
            queue_add(n->queue, "register");
            return 0;
        }
        return err_wrap(err, "status of node %s", n->o.agent->node_name);
    }
    n->sent = hash;
    n->sent_ms = now;
    tell_ready(n, &f);
    return 0;
}

/* --- lease --- */

static json_t *new_lease(struct node *n)
{
    json_t *lease = json_object();

    json_object_set_new(lease, "kind", json_string("Lease"));
    json_object_set_new(lease, "apiVersion", json_string("coordination.k8s.io/v1"));
    json_put(lease, "metadata.name", json_text(slice_of(n->o.agent->node_name)));
    json_put(lease, "metadata.namespace", json_string("kube-node-lease"));
    json_put(lease, "spec.holderIdentity", json_text(slice_of(n->o.agent->node_name)));
    json_put(lease, "spec.leaseDurationSeconds", json_integer(LEASE_S));
    return lease;
}

/* The lease belongs to the Node, so that it goes with it. */
static void own_lease(struct node *n, struct ctx *ctx, json_t *lease)
{
    struct object_ref ref = node_ref(n, NULL);
    AUTO(json) json_t *node = NULL;
    struct err none;

    if (client_get(ctx, n->o.client, &ref, &node, &none) < 0)
        return; /* the lease works without */
    json_object_set_new(node, "kind", json_string("Node"));
    json_object_set_new(node, "apiVersion", json_string("v1"));
    json_t *owners = json_array();
    json_array_append_new(owners, meta_owner_ref(node, false, false));
    json_put(lease, "metadata.ownerReferences", owners);
}

static int renew_lease(struct node *n, struct ctx *ctx, int64_t *again, struct err *err)
{
    struct object_ref all = { "coordination.k8s.io", "v1", "leases", "kube-node-lease", NULL, NULL };
    struct object_ref ref = { "coordination.k8s.io", "v1", "leases", "kube-node-lease", n->o.agent->node_name, NULL };
    char text[CLOCK_TEXT_BYTES];
    json_t *made = NULL;
    int rc = 0;

    *again = LEASE_MS;
    if (!n->lease && client_get(ctx, n->o.client, &ref, &n->lease, err) < 0) {
        if (err->code != ERR_NOT_FOUND)
            return err_wrap(err, "lease of node %s", n->o.agent->node_name);
        AUTO(json) json_t *lease = new_lease(n);
        own_lease(n, ctx, lease);
        json_put(lease, "spec.renewTime", json_string(clock_micro_text(clock_wall_us(n->o.agent->clock), text)));
        rc = client_create(ctx, n->o.client, &all, lease, &made, err);
    } else {
        json_put(n->lease, "spec.renewTime", json_string(clock_micro_text(clock_wall_us(n->o.agent->clock), text)));
        rc = client_update(ctx, n->o.client, &ref, n->lease, &made, err);
    }
    json_decref(n->lease);
    n->lease = rc == 0 ? made : NULL;
    if (rc < 0 && err->code == ERR_NOT_FOUND) {
        *again = 0;
        return 0;
    }
    return rc < 0 ? err_wrap(err, "lease of node %s", n->o.agent->node_name) : 0;
}

/* --- network --- */

static int annotate(struct node *n, struct ctx *ctx, const char *const *pairs, struct err *err)
{
    struct object_ref ref = node_ref(n, NULL);
    AUTO(json) json_t *patch = json_object();
    json_t *notes = json_object();

    json_put(patch, "metadata.annotations", notes);
    for (size_t i = 0; pairs[i]; i += 2)
        json_object_set_new(notes, pairs[i], json_text(slice_of(pairs[i + 1])));
    if (client_patch(ctx, n->o.client, &ref, CLIENT_PATCH_MERGE, patch, NULL, NULL, err) < 0)
        return err_wrap(err, "annotate node %s", n->o.agent->node_name);
    return 0;
}

static int open_network(struct node *n, struct ctx *ctx, struct err *err)
{
    const char *const *notes = NULL;
    char cidr[64] = "";

    pthread_mutex_lock(&n->lock);
    bool done = n->network || !n->pod_cidr;
    (void)snprintf(cidr, sizeof(cidr), "%s", n->pod_cidr ? n->pod_cidr : "");
    pthread_mutex_unlock(&n->lock);
    if (done)
        return 0;
    int rc = n->o.on_pod_cidr(n->o.arg, ctx, cidr, &notes, err);
    pthread_mutex_lock(&n->lock);
    n->network = rc == 0;
    free(n->network_error);
    n->network_error = rc < 0 ? mem_strdup(err->msg) : NULL;
    pthread_mutex_unlock(&n->lock);
    queue_add(n->queue, "status");
    if (rc < 0)
        return err_wrap(err, "pod network %s", cidr);
    return notes ? annotate(n, ctx, notes, err) : 0;
}

static void on_node(void *arg, const json_t *object, bool first)
{
    struct node *n = arg;
    const char *cidr = json_str_or(object, "spec.podCIDR", "");
    LOCK_SCOPE(&n->lock);

    (void)first;
    if (!*cidr || n->pod_cidr)
        return;
    n->pod_cidr = mem_strdup(cidr);
    queue_add(n->queue, "network");
}

static void on_node_gone(void *arg, const json_t *last)
{
    struct node *n = arg;

    (void)last;
    queue_add(n->queue, "register");
}

/* --- images --- */

/* Above 85 % of the disk used, images nobody uses go until 80 % are. */
static int collect_images(struct node *n, struct ctx *ctx, int64_t *again, struct err *err)
{
    struct statvfs fs = { 0 };
    int64_t freed = 0;

    *again = GC_MS;
    if (statvfs(n->o.agent->data_dir, &fs) < 0 || fs.f_blocks == 0)
        return 0;
    int64_t all = (int64_t)fs.f_blocks * (int64_t)fs.f_frsize, used = all - (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
    if (used <= all / 100 * GC_ABOVE)
        return 0;
    if (images_gc(ctx, n->o.images, used - all / 100 * GC_TO, &freed, err) < 0)
        return err_wrap(err, "image garbage collection");
    log_info("images collected", "bytes=%lld", (long long)freed);
    return 0;
}

static int pass(void *arg, struct ctx *ctx, const char *key, int64_t *again, struct err *err)
{
    struct node *n = arg;

    if (strcmp(key, "register") == 0)
        return register_node(n, ctx, err);
    if (strcmp(key, "status") == 0)
        return report_status(n, ctx, again, err);
    if (strcmp(key, "lease") == 0)
        return renew_lease(n, ctx, again, err);
    if (strcmp(key, "images") == 0)
        return collect_images(n, ctx, again, err);
    return open_network(n, ctx, err);
}

int node_open(const struct node_options *options, struct node **ret, struct err *err)
{
    static const struct informer_handler handler = { on_node, on_node_gone, NULL };
    const struct agent_options *a = options->agent;
    struct node *n = MEM_NEW(struct node);
    AUTO_FREE char *field = mem_printf("metadata.name=%s", a->node_name);
    struct object_ref ref = { "", "v1", "nodes", NULL, NULL, NULL };
    struct client_list_opts selectors = { .field_selector = field };

    (void)err;
    n->o = *options;
    pthread_mutex_init(&n->lock, NULL);
    n->conditions = json_object();
    json_object_set_new(n->conditions, "status", json_object());
    n->queue = queue_new(&(struct queue_options){ .name = "node", .pool = a->pool, .loop = a->loop, .clock = a->clock, .workers = 4,
                                                  .deadline_ms = CALL_MS, .backoff_max_ms = 5000 }, pass, n);
    informers_add(options->informers, &ref, &selectors, &handler, n);
    *ret = n;
    return 0;
}

void node_start(struct node *n)
{
    queue_add(n->queue, "register");
    queue_add(n->queue, "images");
}

void node_close(struct node *n)
{
    if (!n)
        return;
    queue_free(n->queue);
    json_decref(n->conditions);
    json_decref(n->lease);
    free(n->pod_cidr);
    free(n->network_error);
    pthread_mutex_destroy(&n->lock);
    free(n);
}
