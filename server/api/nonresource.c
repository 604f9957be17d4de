/* Paths that are no resources: health, version, discovery, OpenAPI, keys of the issuer, metrics. */
#include "server/api/api_int.h"

#include "lib/k8s/discovery.h"
#include "lib/k8s/openapi.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>

static int answer(struct api_request *r, const char *content_type, struct buf *text)
{
    r->answer.status = 200;
    r->answer.content_type = content_type;
    r->answer.body = buf_take(text);
    return 0;
}

static int unknown(struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "the server could not find the requested resource");
}

/* --- health --- */

static bool excluded(struct api_request *r, const char *name)
{
    for (size_t i = 0; i < r->query.n; i++)
        if (strcmp(r->query.at[i].name, "exclude") == 0 && strcmp(r->query.at[i].value, name) == 0)
            return true;
    return false;
}

static bool check_line(struct api_request *r, const char *name, int (*fn)(void *arg, struct err *err), void *arg, struct buf *to)
{
    struct err why;

    if (excluded(r, name)) {
        buf_printf(to, "[+]%s excluded: ok\n", name);
        return true;
    }
    if (!fn || fn(arg, &why) == 0) {
        buf_printf(to, "[+]%s ok\n", name);
        return true;
    }
    buf_printf(to, "[-]%s failed: reason withheld\n", name);
    return false;
}

int api_check_store(struct api_request *r, struct err *err)
{
    struct store_row row = { 0 };
    struct ctx ctx = ctx_with_timeout(&r->ctx, 2000);
    int rc = store_get(&ctx, r->api->o.store, SLICE_LIT("/registry/health"), 0, &row, NULL, err);

    store_row_clear(&row);
    return rc < 0 && err->code != ERR_NOT_FOUND ? rc : 0;
}

static int check_store(void *arg, struct err *err)
{
    return api_check_store(arg, err);
}

static int check_running(void *arg, struct err *err)
{
    struct api_request *r = arg;

    return atomic_load(&r->api->stopping) ? err_set(err, ERR_UNAVAILABLE, "shutting down") : 0;
}

static int health(struct api_request *r, const char *name, const char *only, bool ready)
{
    struct buf text = { 0 };
    bool ok = true;
    size_t found = 0;

    if (!*only || strcmp(only, "ping") == 0)
        ok &= check_line(r, "ping", NULL, NULL, &text), found++;
    if (!*only || strcmp(only, "etcd") == 0)
        ok &= check_line(r, "etcd", check_store, r, &text), found++;
    for (size_t i = 0; ready && i < r->api->n_checks; i++)
        if (!*only || strcmp(only, r->api->checks[i].name) == 0)
            ok &= check_line(r, r->api->checks[i].name, r->api->checks[i].fn, r->api->checks[i].arg, &text), found++;
    if (ready && (!*only || strcmp(only, "shutdown") == 0))
        ok &= check_line(r, "shutdown", check_running, r, &text), found++;
    if (found == 0) {
        buf_str(&text, "404 page not found\n");
        r->answer.status = 404;
    } else {
        r->answer.status = ok ? 200 : 500;
        if (ok && !api_query_true(r, "verbose")) {
            buf_cut(&text, 0);
            buf_str(&text, "ok");
        } else {
            buf_printf(&text, "%s check %s\n", name, ok ? "passed" : "failed");
        }
    }
    r->answer.content_type = "text/plain; charset=utf-8";
    r->answer.body = buf_take(&text);
    return 0;
}

/* --- version --- */

static int version(struct api_request *r)
{
    struct buf text = { 0 };

    buf_printf(&text,
               "{\n  \"major\": \"1\",\n  \"minor\": \"37\",\n  \"emulationMajor\": \"1\",\n  \"emulationMinor\": \"37\",\n"
               "  \"minCompatibilityMajor\": \"1\",\n  \"minCompatibilityMinor\": \"36\",\n  \"gitVersion\": \"%s\",\n"
               "  \"gitCommit\": \"\",\n  \"gitTreeState\": \"clean\",\n  \"buildDate\": \"\",\n  \"goVersion\": \"\",\n"
               "  \"compiler\": \"gcc\",\n  \"platform\": \"linux/"
#if defined(__x86_64__)
               "amd64"
#elif defined(__aarch64__)
               "arm64"
#else
               "unknown"
#endif
               "\"\n}",
               r->api->o.version);
    return answer(r, "application/json", &text);
}

/* --- discovery and OpenAPI --- */

static bool wants_aggregated(struct api_request *r)
{
    return r->accept && strstr(r->accept, "as=APIGroupDiscoveryList") && strstr(r->accept, "v=v2") &&
           (!strstr(r->accept, "v=v2beta1") || strstr(r->accept, "v=v2;") || strstr(r->accept, "v=v2,"));
}

static int aggregated(struct api_request *r, bool core)
{
    struct buf text = { 0 };

    discovery_aggregated(r->api->schema, core, &text);
    return answer(r, "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", &text);
}

static int discovery_path(struct api_request *r, const char *path, struct err *err)
{
    struct buf text = { 0 };
    char group[128] = "", ver[64] = "";

    if (strcmp(path, "/api") == 0) {
        if (wants_aggregated(r))
            return aggregated(r, true);
        discovery_core_versions(r->http ? http_request_info(r->http)->host : "", &text);
        return answer(r, NULL, &text);
    }
    if (strcmp(path, "/apis") == 0) {
        if (wants_aggregated(r))
            return aggregated(r, false);
        discovery_groups(r->api->schema, &text);
        return answer(r, NULL, &text);
    }
    int rc = -1;
    if (sscanf(path, "/api/%63[^/]", ver) == 1)
        rc = discovery_resources(r->api->schema, "", ver, &text);
    else if (sscanf(path, "/apis/%127[^/]/%63[^/]", group, ver) == 2)
        rc = discovery_resources(r->api->schema, group, ver, &text);
    else if (sscanf(path, "/apis/%127[^/]", group) == 1)
        rc = discovery_group(r->api->schema, group, &text);
    if (rc < 0) {
        buf_clear(&text);
        return unknown(err);
    }
    return answer(r, NULL, &text);
}

static int openapi_path(struct api_request *r, const char *path, struct err *err)
{
    struct buf text = { 0 };
    char group[128] = "", ver[64] = "";

    if (strcmp(path, "/openapi/v2") == 0) {
        if (r->accept && strstr(r->accept, "application/com.github.proto-openapi.spec.v2")) {
            openapi_v2_proto(r->api->schema, r->api->o.version, &text);
            return answer(r, OPENAPI_V2_PROTO, &text);
        }
        if (r->accept && *r->accept && !strstr(r->accept, "json") && !strstr(r->accept, "*/*"))
            return err_set(err, ERR_NOT_ACCEPTABLE, "only the following media types are accepted: application/json, " OPENAPI_V2_PROTO);
        openapi_v2(r->api->schema, r->api->o.version, &text);
        return answer(r, "application/json", &text);
    }
    if (strcmp(path, "/openapi/v3") == 0 || strcmp(path, "/openapi/v3/") == 0) {
        openapi_v3_index(r->api->schema, &text);
        return answer(r, "application/json", &text);
    }
    int rc = -1;
    if (sscanf(path, "/openapi/v3/apis/%127[^/]/%63[^/]", group, ver) == 2 || sscanf(path, "/openapi/v3/api/%63[^/]", ver) == 1)
        rc = openapi_v3(r->api->schema, group, ver, &text);
    if (rc < 0) {
        buf_clear(&text);
        return unknown(err);
    }
    return answer(r, "application/json", &text);
}

/* --- metrics: Prometheus text, with what an operator of the store and the hub needs first --- */

static void gauge(struct buf *to, const char *name, const char *help, int64_t v)
{
    buf_printf(to, "# HELP %s %s\n# TYPE %s gauge\n%s %lld\n", name, help, name, name, (long long)v);
}

static int metrics(struct api_request *r)
{
    struct buf text = { 0 };
    struct store_stats st;
    struct hub_stats hub;
    struct pool_stats pool;
    struct mallinfo2 mem = mallinfo2();

    store_stats(r->api->o.store, &st);
    hub_stats(r->api->hub, &hub);
    pool_stats(r->api->o.pool, &pool);
    gauge(&text, "apiserver_requests_total", "Requests served since the start", atomic_load(&r->api->requests));
    gauge(&text, "apiserver_longrunning_requests", "Watches being served", hub.watchers);
    gauge(&text, "apiserver_storage_objects", "Live keys in the store", st.keys);
    gauge(&text, "apiserver_storage_size_bytes", "Size of the store's file", st.db_bytes);
    gauge(&text, "rancherd_store_revision", "Last committed revision", st.revision);
    gauge(&text, "rancherd_store_compacted_revision", "Reads below it fail with 410", st.compacted);
    gauge(&text, "rancherd_store_wal_bytes", "Size of the write-ahead log", st.wal_bytes);
    gauge(&text, "rancherd_store_commits_total", "Commits since the start", st.commits);
    gauge(&text, "rancherd_store_memory_bytes", "Memory of the store's engine", st.memory_bytes);
    gauge(&text, "rancherd_hub_ring_bytes", "Bytes held for watchers", hub.ring_bytes);
    gauge(&text, "rancherd_hub_ring_events", "Events held for watchers", hub.ring_events);
    gauge(&text, "rancherd_pool_threads", "Worker threads", pool.threads);
    gauge(&text, "rancherd_pool_queued", "Jobs waiting for a worker", (int64_t)pool.queued);
    gauge(&text, "rancherd_heap_used_bytes", "Allocated by malloc", (int64_t)mem.uordblks);
    gauge(&text, "rancherd_heap_free_bytes", "Held by malloc, not in use", (int64_t)mem.fordblks);
    return answer(r, "text/plain; version=0.0.4; charset=utf-8", &text);
}

static int root_paths(struct api_request *r)
{
    static const char *const paths[] = { "/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/healthz", "/livez", "/metrics",
                                         "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version" };
    struct buf text = { 0 };

    buf_str(&text, "{\n  \"paths\": [");
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        buf_printf(&text, "%s\n    \"%s\"", i ? "," : "", paths[i]);
    buf_str(&text, "\n  ]\n}");
    return answer(r, "application/json", &text);
}

static bool below(const char *path, const char *prefix, const char **ret_rest)
{
    size_t n = strlen(prefix);

    if (strncmp(path, prefix, n) != 0 || (path[n] && path[n] != '/'))
        return false;
    *ret_rest = path[n] ? path + n + 1 : "";
    return true;
}

int api_nonresource(struct api_request *r, struct err *err)
{
    const char *path = arena_strndup(r->arena, r->path.at, r->path.n), *rest = NULL;
    struct buf text = { 0 };
    size_t n = strlen(path);

    if (strcmp(r->method, "GET") != 0 && strcmp(r->method, "HEAD") != 0)
        return n > 1 ? err_set(err, ERR_METHOD, "the server does not allow this method on the requested resource") : unknown(err);
    if (below(path, "/healthz", &rest) || below(path, "/livez", &rest))
        return health(r, path[1] == 'h' ? "healthz" : "livez", rest, false);
    if (below(path, "/readyz", &rest))
        return health(r, "readyz", rest, true);
    if (strcmp(path, "/version") == 0 || strcmp(path, "/version/") == 0)
        return version(r);
    if (below(path, "/openapi", &rest))
        return openapi_path(r, path, err);
    if (below(path, "/api", &rest) || below(path, "/apis", &rest)) {
        if (path[n - 1] == '/')
            path = arena_strndup(r->arena, path, n - 1);
        return discovery_path(r, path, err);
    }
    if (strcmp(path, "/metrics") == 0)
        return metrics(r);
    if (strcmp(path, "/.well-known/openid-configuration") == 0) {
        authn_openid_config(r->api->o.authn, "", &text);
        return answer(r, "application/json", &text);
    }
    if (strcmp(path, "/openid/v1/jwks") == 0) {
        authn_jwks(r->api->o.authn, &text);
        return answer(r, "application/jwk-set+json", &text);
    }
    if (strcmp(path, "/") == 0)
        return root_paths(r);
    return unknown(err);
}
