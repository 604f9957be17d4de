#include "server/scheduler/plugins.h"
#include "test.h"

static json_t *tree(const char *text)
{
    json_t *t = NULL;
    struct err err;

    if (json_read(text, strlen(text), NULL, NULL, &t, &err) < 0) {
        fprintf(stderr, "%s: %s\n", err.msg, text);
        exit(1);
    }
    return t;
}

static void add_node(struct cluster *c, const char *text)
{
    json_t *node = tree(text);

    cluster_set_node(c, node);
    json_decref(node);
}

static void add_pod(struct cluster *c, const char *text)
{
    json_t *pod = tree(text);

    cluster_set_pod(c, pod, NULL, false);
    json_decref(pod);
}

/* The first reason against the only node; "" when it fits. */
static void check_filter(const char *why, const char *node, const char *other, const char *pod, const char *want)
{
    struct cluster c;
    struct candidate x;
    struct arena *arena = arena_new();
    struct err err;
    const char *reasons[REASONS_MAX];
    bool preempt = false;
    json_t *p = tree(pod);

    fprintf(stderr, "# %s\n", why);
    cluster_init(&c);
    add_node(&c, node);
    if (other)
        add_pod(&c, other);
    CHECK_INT(candidate_init(&x, arena, &c, p, &err), 0);
    size_t n = plugin_filter(&x, &c, c.list[0], reasons, &preempt);
    CHECK_STR(n ? reasons[0] : "", want);
    candidate_clear(&x);
    cluster_clear(&c);
    arena_free(arena);
    json_decref(p);
}

#define NODE_PLAIN "{\"metadata\":{\"name\":\"a\",\"labels\":{\"disk\":\"ssd\",\"n\":\"5\"}},\"spec\":{},\"status\":{\"allocatable\":{\"cpu\":\"2\",\"memory\":\"1Gi\",\"pods\":\"2\"}}}"
#define NODE_TAINTED "{\"metadata\":{\"name\":\"a\"},\"spec\":{\"taints\":[{\"key\":\"k\",\"value\":\"v\",\"effect\":\"NoSchedule\"}]},\"status\":{\"allocatable\":{\"cpu\":\"2\",\"memory\":\"1Gi\",\"pods\":\"2\"}}}"
#define POD(spec) "{\"metadata\":{\"name\":\"p\",\"namespace\":\"d\"},\"spec\":{" spec "}}"
#define ASKS(cpu, memory) "\"containers\":[{\"resources\":{\"requests\":{\"cpu\":\"" cpu "\",\"memory\":\"" memory "\"}}}]"
#define BOUND(spec) "{\"metadata\":{\"name\":\"q\",\"namespace\":\"d\"},\"spec\":{\"nodeName\":\"a\"," spec "}}"

TEST(scheduler_filters)
{
    check_filter("fits", NODE_PLAIN, NULL, POD(ASKS("2", "1Gi")), "");
    check_filter("too much cpu", NODE_PLAIN, NULL, POD(ASKS("2100m", "1Mi")), "Insufficient cpu");
    check_filter("too much memory beside another", NODE_PLAIN, BOUND(ASKS("1", "600Mi")), POD(ASKS("1", "600Mi")), "Insufficient memory");
    check_filter("taint", NODE_TAINTED, NULL, POD(ASKS("1", "1Mi")), "node(s) had untolerated taint {k: v}");
    check_filter("tolerated", NODE_TAINTED, NULL, POD(ASKS("1", "1Mi") ",\"tolerations\":[{\"key\":\"k\",\"operator\":\"Exists\"}]"), "");
    check_filter("tolerated by value", NODE_TAINTED, NULL, POD(ASKS("1", "1Mi") ",\"tolerations\":[{\"key\":\"k\",\"value\":\"v\",\"effect\":\"NoSchedule\"}]"), "");
    check_filter("other value", NODE_TAINTED, NULL, POD(ASKS("1", "1Mi") ",\"tolerations\":[{\"key\":\"k\",\"value\":\"w\"}]"), "node(s) had untolerated taint {k: v}");
    check_filter("selector", NODE_PLAIN, NULL, POD(ASKS("1", "1Mi") ",\"nodeSelector\":{\"disk\":\"hdd\"}"), "node(s) didn't match Pod's node affinity/selector");
    check_filter("selector fits", NODE_PLAIN, NULL, POD(ASKS("1", "1Mi") ",\"nodeSelector\":{\"disk\":\"ssd\"}"), "");
    check_filter("host port taken", NODE_PLAIN, BOUND("\"containers\":[{\"ports\":[{\"hostPort\":80,\"protocol\":\"TCP\"}]}]"),
                 POD("\"containers\":[{\"ports\":[{\"hostPort\":80,\"protocol\":\"TCP\"}]}]"), "node(s) didn't have free ports for the requested pod ports");
    check_filter("same port, other protocol", NODE_PLAIN, BOUND("\"containers\":[{\"ports\":[{\"hostPort\":80,\"protocol\":\"UDP\"}]}]"),
                 POD("\"containers\":[{\"ports\":[{\"hostPort\":80,\"protocol\":\"TCP\"}]}]"), "");
}

TEST(scheduler_matches_affinity_terms)
{
    static const struct {
        const char *terms;
        bool want;
    } cases[] = {
        { "[{\"matchExpressions\":[{\"key\":\"disk\",\"operator\":\"In\",\"values\":[\"ssd\",\"nvme\"]}]}]", true },
        { "[{\"matchExpressions\":[{\"key\":\"disk\",\"operator\":\"NotIn\",\"values\":[\"ssd\"]}]}]", false },
        { "[{\"matchExpressions\":[{\"key\":\"none\",\"operator\":\"NotIn\",\"values\":[\"x\"]}]}]", true },
        { "[{\"matchExpressions\":[{\"key\":\"none\",\"operator\":\"Exists\"}]}]", false },
        { "[{\"matchExpressions\":[{\"key\":\"n\",\"operator\":\"Gt\",\"values\":[\"4\"]}]}]", true },
        { "[{\"matchExpressions\":[{\"key\":\"n\",\"operator\":\"Lt\",\"values\":[\"5\"]}]}]", false },
        { "[{\"matchFields\":[{\"key\":\"metadata.name\",\"operator\":\"In\",\"values\":[\"a\"]}]}]", true },
        { "[{}]", false }, /* an empty term selects nothing */
        { "[{\"matchExpressions\":[{\"key\":\"none\",\"operator\":\"Exists\"}]},{\"matchExpressions\":[{\"key\":\"disk\",\"operator\":\"Exists\"}]}]", true },
    };
    struct cluster c;

    cluster_init(&c);
    add_node(&c, NODE_PLAIN);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *terms = tree(cases[i].terms);

        fprintf(stderr, "# %s\n", cases[i].terms);
        CHECK_INT(plugin_matches_terms(terms, c.list[0]), cases[i].want);
        json_decref(terms);
    }
    cluster_clear(&c);
}

TEST(scheduler_accounts_for_pods_that_come_and_go)
{
    struct cluster c;

    cluster_init(&c);
    add_pod(&c, BOUND(ASKS("1", "100Mi"))); /* before its node is known */
    add_node(&c, NODE_PLAIN);
    CHECK_INT(c.list[0]->used_cpu, 1000);
    CHECK_INT(c.list[0]->used_pods, 1);
    add_pod(&c, BOUND(ASKS("500m", "100Mi"))); /* the same pod, changed */
    CHECK_INT(c.list[0]->used_cpu, 500);
    CHECK(cluster_del_pod(&c, "d/q"));
    CHECK(!cluster_del_pod(&c, "d/q"));
    CHECK_INT(c.list[0]->used_cpu, 0);
    CHECK_INT(c.list[0]->used_pods, 0);
    cluster_clear(&c);
}

TEST(scheduler_spreads_hard)
{
#define ZONED(name, zone) "{\"metadata\":{\"name\":\"" name "\",\"labels\":{\"zone\":\"" zone "\"}},\"status\":{\"allocatable\":{\"cpu\":\"8\",\"memory\":\"8Gi\",\"pods\":\"9\"}}}"
    struct cluster c;
    struct candidate x;
    struct arena *arena = arena_new();
    struct err err;
    const char *reasons[REASONS_MAX];
    bool preempt = false;
    json_t *pod = tree("{\"metadata\":{\"name\":\"p\",\"namespace\":\"d\",\"labels\":{\"app\":\"w\"}},\"spec\":{\"topologySpreadConstraints\":[{\"maxSkew\":1,"
                       "\"topologyKey\":\"zone\",\"whenUnsatisfiable\":\"DoNotSchedule\",\"labelSelector\":{\"matchLabels\":{\"app\":\"w\"}}}]}}");

    cluster_init(&c);
    add_node(&c, ZONED("a", "1"));
    add_node(&c, ZONED("b", "2"));
    add_pod(&c, "{\"metadata\":{\"name\":\"q\",\"namespace\":\"d\",\"labels\":{\"app\":\"w\"}},\"spec\":{\"nodeName\":\"a\"}}");
    CHECK_INT(candidate_init(&x, arena, &c, pod, &err), 0);
    CHECK_INT(plugin_filter(&x, &c, c.list[0], reasons, &preempt), 1);
    CHECK_STR(reasons[0], "node(s) didn't match pod topology spread constraints");
    CHECK_INT(plugin_filter(&x, &c, c.list[1], reasons, &preempt), 0);
    candidate_clear(&x);
    cluster_clear(&c);
    arena_free(arena);
    json_decref(pod);
}
