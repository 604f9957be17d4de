#include "server/supervisor/supervisor.h"

#include "lib/crypto.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/k8s/meta.h"
#include "lib/log.h"
#include "lib/mem.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { READS_MAX = 20, WRITES_MAX = 10, STATIC_MAX_BYTES = 64 * 1024 * 1024, PBKDF2_ROUNDS = 30000, SALT_BYTES = 8, IPS_MAX = 16 };

struct supervisor {
    struct supervisor_options o;
    _Atomic bool ready;
    _Atomic int reads, writes;
};

/* One request on a worker. */
struct call {
    struct supervisor *s;
    struct http_request *http;
    const char *method, *path; /* path behind the prefix */
    const struct user *user;
    struct ctx ctx;
    bool write;
    int status;
    const char *content_type;
    struct buf body;
};

typedef int call_fn(struct call *c, struct err *err);

struct supervisor *supervisor_new(const struct supervisor_options *options)
{
    struct supervisor *s = MEM_NEW(struct supervisor);

    s->o = *options;
    return s;
}

void supervisor_free(struct supervisor *s)
{
    free(s);
}

void supervisor_set_ready(struct supervisor *s)
{
    atomic_store(&s->ready, true);
}

static const char *header(const struct call *c, const char *name)
{
    return http_headers_get(http_request_info(c->http)->headers, name);
}

static bool in_group(const struct user *u, const char *group)
{
    for (size_t i = 0; i < u->n_groups; i++)
        if (strcmp(u->groups[i], group) == 0)
            return true;
    return false;
}

/* --- node passwords: a machine keeps the name it joined with --- */

static const char *node_header(const struct call *c, const char *what)
{
    AUTO_FREE char *ours = mem_printf("rancherd-node-%s", what), *theirs = mem_printf("k3s-node-%s", what);
    const char *v = header(c, ours);

    return v ? v : header(c, theirs);
}

static void hash_password(const char *password, const unsigned char *salt, char *to, size_t room)
{
    unsigned char digest[SHA256_BYTES];
    char salt_hex[2 * SALT_BYTES + 1], hex[SHA256_HEX_BYTES];

    pbkdf2_sha256(password, salt, SALT_BYTES, PBKDF2_ROUNDS, digest);
    snprintf(to, room, "$2:%s:%d:%s", hex_of(salt, SALT_BYTES, salt_hex), PBKDF2_ROUNDS, hex_of(digest, SHA256_BYTES, hex));
}

static bool password_fits(const char *password, const char *stored)
{
    unsigned char salt[SALT_BYTES];
    char again[200];

    if (strncmp(stored, "$2:", 3) != 0 || strlen(stored) < 3 + 2 * SALT_BYTES)
        return false;
    for (size_t i = 0; i < SALT_BYTES; i++) {
        unsigned v = 0;

        if (sscanf(stored + 3 + 2 * i, "%2x", &v) != 1)
            return false;
        salt[i] = (unsigned char)v;
    }
    hash_password(password, salt, again, sizeof(again));
    return strlen(again) == strlen(stored) && constant_time_eq(again, stored, strlen(stored));
}

static int new_password(struct call *c, const char *name, const char *password, struct err *err)
{
    unsigned char salt[SALT_BYTES];
    char hash[200];
    AUTO(buf) struct buf encoded = { 0 };
    struct object_ref ref = { "", "v1", "secrets", "kube-system", NULL, NULL };

    random_bytes(salt, sizeof(salt));
    hash_password(password, salt, hash, sizeof(hash));
    base64_write(hash, strlen(hash), &encoded);
    AUTO(json) json_t *secret = json_pack("{s:s,s:s,s:{s:s,s:s},s:b,s:s,s:{s:s}}", "kind", "Secret", "apiVersion", "v1", "metadata", "name",
                                          name, "namespace", "kube-system", "immutable", 1, "type", "Opaque", "data", "hash",
                                          buf_at(&encoded));
    return client_create(&c->ctx, c->s->o.client, &ref, secret, NULL, err);
}

static int check_password(struct call *c, const char *node, struct err *err)
{
    const char *password = node_header(c, "password");
    AUTO_FREE char *name = mem_printf("%s.node-password.k3s", node);
    struct object_ref ref = { "", "v1", "secrets", "kube-system", name, NULL };
    AUTO(json) json_t *secret = NULL;
    AUTO(buf) struct buf hash = { 0 };

    if (!password || !*password)
        return err_set(err, ERR_BAD_REQUEST, "node password not set");
    if (client_get(&c->ctx, c->s->o.client, &ref, &secret, err) < 0) {
        if (err->code != ERR_NOT_FOUND)
            return err_wrap(err, "node password of %s", node);
        return new_password(c, name, password, err);
    }
    const char *text = json_str_or(secret, "data.hash", "");
    if (base64_read(text, strlen(text), &hash) < 0 || !password_fits(password, buf_at(&hash)))
        return err_set(err, ERR_FORBIDDEN,
                       "Node password rejected, duplicate hostname or contents of '/etc/rancher/node/password' may not match server node-passwd entry, "
                       "try enabling a unique node name with the --with-node-id flag");
    return 0;
}

static int node_name(struct call *c, char ret[256], struct err *err)
{
    const char *v = node_header(c, "name");

    if (!v || !*v || strlen(v) > 253)
        return err_set(err, ERR_BAD_REQUEST, "node name not set");
    for (size_t i = 0; i <= strlen(v); i++)
        ret[i] = v[i] >= 'A' && v[i] <= 'Z' ? (char)(v[i] + 32) : v[i];
    const char *bad = name_is_dns_subdomain(ret);
    return bad ? err_set(err, ERR_BAD_REQUEST, "node name \"%s\": %s", ret, bad) : 0;
}

/* --- certificates --- */

static size_t split_ips(char *text, const char **ret)
{
    size_t n = 0;

    for (char *save = NULL, *ip = strtok_r(text, ", ", &save); ip && n < IPS_MAX; ip = strtok_r(NULL, ", ", &save))
        ret[n++] = ip;
    ret[n] = NULL;
    return n;
}

static int sign(struct call *c, const char *kind, bool with_password, struct err *err)
{
    struct bytes *csr = http_request_info(c->http)->body;
    const char *ips[IPS_MAX + 1] = { NULL };
    char node[256] = "";
    AUTO_FREE char *pem = NULL, *key = NULL, *ip_text = NULL;

    if (node_name(c, node, err) < 0 || (with_password && check_password(c, node, err) < 0))
        return -(int)err->code;
    ip_text = mem_strdup(node_header(c, "ip") ? node_header(c, "ip") : "");
    split_ips(ip_text, ips);
    if (csr->n == 0)
        key = key_new_pem();
    if (pki_sign_node(c->s->o.pki, kind, node, ips, csr->n ? csr->at : NULL, csr->n, key, &pem, err) < 0)
        return -(int)err->code;
    buf_str(&c->body, pem);
    if (key)
        buf_str(&c->body, key);
    return 0;
}

static int serving_kubelet(struct call *c, struct err *err)
{
    return sign(c, "serving-kubelet", true, err);
}

static int client_kubelet(struct call *c, struct err *err)
{
    return sign(c, "client-kubelet", true, err);
}

static int client_kube_proxy(struct call *c, struct err *err)
{
    return sign(c, "client-kube-proxy", false, err);
}

static int client_controller(struct call *c, struct err *err)
{
    return sign(c, "client-k3s-controller", false, err);
}

static int client_ca(struct call *c, struct err *err)
{
    (void)err;
    buf_str(&c->body, pki_cert(c->s->o.pki, PKI_CLIENT_CA));
    return 0;
}

static int server_ca(struct call *c, struct err *err)
{
    (void)err;
    buf_str(&c->body, pki_cert(c->s->o.pki, PKI_SERVER_CA));
    return 0;
}

/* --- what agents ask --- */

static int apiservers(struct call *c, struct err *err)
{
    (void)err;
    c->content_type = "application/json";
    buf_printf(&c->body, "[\"%s\"]", c->s->o.api_address);
    return 0;
}

static int config(struct call *c, struct err *err)
{
    const struct supervisor_options *o = &c->s->o;
    AUTO(json) json_t *t = json_pack("{s:s,s:s,s:s,s:s,s:i,s:s,s:s}", "ClusterIPRange", o->cluster_cidr, "ServiceIPRange", o->service_cidr,
                                     "ClusterDNS", o->cluster_dns, "ClusterDomain", o->cluster_domain, "HTTPSPort", o->port,
                                     "FlannelBackend", "vxlan", "EgressSelectorMode", "agent");

    (void)err;
    c->content_type = "application/json";
    json_write(t, &c->body);
    return 0;
}

static int readyz(struct call *c, struct err *err)
{
    if (!atomic_load(&c->s->ready))
        return err_set(err, ERR_UNAVAILABLE, "not ready");
    buf_str(&c->body, "ok");
    return 0;
}

static const struct {
    const char *path;
    call_fn *fn;
} endpoints[] = {
    { "serving-kubelet.crt", serving_kubelet },
    { "client-kubelet.crt", client_kubelet },
    { "client-kube-proxy.crt", client_kube_proxy },
    { "client-k3s-controller.crt", client_controller },
    { "client-rancherd-controller.crt", client_controller },
    { "client-ca.crt", client_ca },
    { "server-ca.crt", server_ca },
    { "apiservers", apiservers },
    { "config", config },
    { "readyz", readyz },
};

static const char *const unbuilt[] = { "connect", "server-bootstrap", "encrypt/status", "encrypt/config", "cert/cacerts", "token", "p2p" };

static int run(struct call *c, struct err *err)
{
    static const char *const allowed[] = { "rancherd:agent", "rancherd:server", "system:nodes", "system:bootstrappers", "system:masters" };
    const struct http_request_info *info = http_request_info(c->http);
    struct authn_request q = {
        .authorization = header(c, "authorization"),
        .has_cert = info->has_peer_cert,
        .cert_common_name = info->peer_cert.common_name,
        .cert_organizations = info->peer_cert.organizations,
        .n_cert_organizations = info->peer_cert.n_organizations,
        .cert_error = info->peer_cert_error,
    };
    bool ok = false;

    if (authn_check(&c->ctx, c->s->o.authn, &q, &c->user, err) < 0)
        return -(int)err->code;
    for (size_t i = 0; i < ARRAY_LEN(allowed); i++)
        ok |= in_group(c->user, allowed[i]);
    if (!ok)
        return strcmp(c->user->name, "system:anonymous") == 0 ? err_set(err, ERR_UNAUTHORIZED, "Unauthorized")
                                                              : err_set(err, ERR_FORBIDDEN, "forbidden: User \"%s\" cannot join", c->user->name);
    for (size_t i = 0; i < ARRAY_LEN(endpoints); i++)
        if (strcmp(c->path, endpoints[i].path) == 0)
            return endpoints[i].fn(c, err);
    for (size_t i = 0; i < ARRAY_LEN(unbuilt); i++)
        if (strcmp(c->path, unbuilt[i]) == 0)
            return err_set(err, ERR_UNAVAILABLE, "%s is not built into rancherd yet", c->path);
    return err_set(err, ERR_NOT_FOUND, "404 page not found");
}

static void reply(struct http_request *r, int status, const char *content_type, struct buf *body)
{
    struct http_headers h = { 0 };
    AUTO(bytes) struct bytes *b = buf_take(body);

    http_headers_add(&h, "content-type", content_type);
    http_reply(r, status, &h, b);
    http_headers_clear(&h);
}

static void job(void *arg)
{
    struct call *c = arg;
    struct err err;

    if (run(c, &err) < 0) {
        buf_clear(&c->body);
        status_write(&err, &c->body);
        c->status = err_http(&err);
        c->content_type = "application/json";
        if (c->status >= 500)
            log_warn("supervisor request failed", "path=%s err=%s", c->path, log_q(err.msg));
    }
    atomic_fetch_sub(c->write ? &c->s->writes : &c->s->reads, 1);
    reply(c->http, c->status, c->content_type, &c->body);
    arena_free(c->ctx.arena); /* c lives in it */
}

static void serve_api(struct supervisor *s, struct http_request *r, const char *path)
{
    const struct http_request_info *info = http_request_info(r);
    struct arena *arena = arena_new();
    struct call *c = arena_alloc(arena, sizeof(*c));
    struct err err;

    c->s = s;
    c->http = r;
    c->method = arena_strdup(arena, info->method);
    c->path = arena_strdup(arena, path);
    c->ctx = ctx_background(arena);
    c->ctx.clock = s->o.clock;
    c->status = 200;
    c->content_type = "text/plain";
    c->write = strcmp(info->method, "GET") != 0;
    struct ctx base = c->ctx;
    c->ctx = ctx_with_timeout(&base, 30000);
    int running = atomic_fetch_add(c->write ? &s->writes : &s->reads, 1);
    if (running >= (c->write ? WRITES_MAX : READS_MAX) || pool_run(s->o.pool, job, c, &err) < 0) {
        struct buf text = { 0 };

        atomic_fetch_sub(c->write ? &s->writes : &s->reads, 1);
        buf_str(&text, "too many requests, try again\n");
        reply(r, 429, "text/plain", &text);
        arena_free(arena);
    }
}

/* --- open to everybody --- */

struct static_call {
    struct supervisor *s;
    struct http_request *r;
    char *path;
};

static void static_job(void *arg)
{
    struct static_call *c = arg;
    AUTO_FD int dir = open(c->s->o.static_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO_FREE char *data = NULL;
    struct buf body = { 0 };
    size_t n = 0;
    struct err err;
    bool ok = dir >= 0 && !strstr(c->path, "..") && file_read(dir, c->path, STATIC_MAX_BYTES, &data, &n, &err) == 0;

    if (ok)
        buf_add(&body, data, n);
    else
        buf_str(&body, "404 page not found\n");
    reply(c->r, ok ? 200 : 404, ok ? "application/octet-stream" : "text/plain", &body);
    free(c->path);
    free(c);
}

static void serve_static(struct supervisor *s, struct http_request *r, struct slice rest)
{
    struct static_call *c = MEM_NEW(struct static_call);
    struct err err;

    *c = (struct static_call){ s, r, slice_dup(rest) };
    if (pool_run(s->o.pool, static_job, c, &err) < 0) {
        struct buf body = { 0 };

        reply(r, 503, "text/plain", &body);
        free(c->path);
        free(c);
    }
}

void supervisor_serve(void *arg, struct http_request *r)
{
    static const char *const prefixes[] = { "/v1-rancherd/", "/v1-k3s/" };
    struct supervisor *s = arg;
    struct slice path = http_request_info(r)->path;
    struct buf body = { 0 };

    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        size_t n = strlen(prefixes[i]);

        if (path.n > n && memcmp(path.at, prefixes[i], n) == 0) {
            AUTO_FREE char *rest = slice_dup((struct slice){ path.at + n, path.n - n });
            serve_api(s, r, rest);
            return;
        }
    }
    if (slice_is(path, "/cacerts")) {
        buf_str(&body, pki_cert(s->o.pki, PKI_SERVER_CA));
        reply(r, 200, "text/plain", &body);
    } else if (slice_is(path, "/ping")) {
        buf_str(&body, "pong");
        reply(r, 200, "text/plain", &body);
    } else if (path.n > 8 && memcmp(path.at, "/static/", 8) == 0) {
        serve_static(s, r, (struct slice){ path.at + 8, path.n - 8 });
    } else {
        s->o.next(s->o.next_arg, r);
    }
}
