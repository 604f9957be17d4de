#include "agent/join.h"

#include "lib/crypto.h"
#include "lib/file.h"
#include "lib/http/client.h"
#include "lib/json.h"
#include "lib/k8s/join_token.h"
#include "lib/k8s/status.h"
#include "lib/log.h"
#include "lib/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { PEM_MAX_BYTES = 256 * 1024, DAY_S = 86400, RENEW_DAYS = 120, RETRY_MS = 500, TIMEOUT_MS = 10000 };

struct join {
    const struct join_options *o;
    struct ctx *ctx;
    int dir_fd; /* <data-dir>/agent */
    struct join_token token;
    char *password; /* the node's */
    char *server_ca;
    struct tls_ctx *tls;
    struct http_client *http;
};

/* --- files --- */

static int read_text(int dir_fd, const char *name, char **ret, struct err *err)
{
    size_t n = 0;

    return file_read(dir_fd, name, PEM_MAX_BYTES, ret, &n, err);
}

static int write_text(int dir_fd, const char *name, const char *text, struct err *err)
{
    return file_replace(dir_fd, name, text, strlen(text), err);
}

static int make_dirs(const char *path, struct err *err)
{
    AUTO_FREE char *part = mem_strdup(path);

    for (char *at = part + 1;; at++) {
        char c = *at;

        if (c && c != '/')
            continue;
        *at = '\0';
        if (mkdir(part, 0755) < 0 && errno != EEXIST)
            return err_sys(err, errno, "make %s", part);
        if (!c)
            return 0;
        *at = c;
    }
}

/* The machine's own secret: the first one to join under a name keeps it. */
static int node_password(struct join *j, struct err *err)
{
    static const char dir[] = "/etc/rancher/node";
    AUTO_FREE char *own = mem_printf("%s/agent/etc/rancher/node", j->o->data_dir);
    unsigned char raw[16];
    char hex[2 * sizeof(raw) + 2];

    /* One password a machine, as K3s; a second node on the same machine (another data folder with a folder of that name) brings its own. */
    AUTO_FD int fd = open(own, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        if (make_dirs(dir, err) < 0)
            return -(int)err->code;
        fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (fd < 0)
        return err_sys(err, errno, "open %s", dir);
    if (read_text(fd, "password", &j->password, err) == 0) {
        j->password[strcspn(j->password, "\r\n")] = '\0';
        return 0;
    }
    if (err->code != ERR_NOT_FOUND)
        return err_wrap(err, "node password");
    random_bytes(raw, sizeof(raw));
    hex_of(raw, sizeof(raw), hex);
    AUTO_FREE char *line = mem_printf("%s\n", hex);
    if (write_text(fd, "password", line, err) < 0)
        return err_wrap(err, "node password");
    j->password = mem_strdup(hex);
    return 0;
}

/* --- trust --- */

static int get(struct join *j, struct http_client *http, const char *path, struct http_answer *ret, struct err *err)
{
    struct ctx ctx = ctx_with_timeout(j->ctx, TIMEOUT_MS);
    struct http_call call = { .method = "GET", .path = path };

    return http_call(&ctx, http, &call, ret, err);
}

static int download_ca(struct join *j, struct err *err)
{
    struct tls_ctx *tls = NULL;
    struct http_client *http = NULL;
    struct http_answer answer = { 0 };
    int rc = tls_ctx_new(&(struct tls_config){ .insecure = true, .clock = j->o->clock }, &tls, err);

    if (rc == 0)
        rc = http_client_new(&(struct http_client_options){ .loop = j->o->loop, .url = j->o->server_url, .tls = tls, .http1_only = true },
                             &http, err);
    if (rc == 0)
        rc = get(j, http, "/cacerts", &answer, err);
    if (rc == 0 && answer.status != 200)
        rc = err_set(err, ERR_UNAVAILABLE, "%s/cacerts answered %d", j->o->server_url, answer.status);
    if (rc == 0)
        j->server_ca = mem_strdup(answer.body->at);
    http_answer_clear(&answer);
    http_client_free(http);
    tls_ctx_unref(tls);
    return rc;
}

static int check_ca(struct join *j, struct err *err)
{
    char hash[65];

    join_token_hash(j->server_ca, hash);
    if (!*j->token.ca_hash) {
        log_warn("cluster CA not checked", "reason=%s", log_q("the token has no CA hash; use the full token from the server"));
        return 0;
    }
    if (strcmp(hash, j->token.ca_hash) != 0)
        return err_set(err, ERR_CONFLICT, "token CA hash does not match the Cluster CA certificate hash: %s != %s", j->token.ca_hash, hash);
    return 0;
}

static int open_client(struct join *j, struct err *err)
{
    if (tls_ctx_new(&(struct tls_config){ .ca_pem = j->server_ca, .clock = j->o->clock }, &j->tls, err) < 0)
        return err_wrap(err, "cluster CA");
    struct http_client_options o = { .loop = j->o->loop, .url = j->o->server_url, .tls = j->tls, .http1_only = true };
    return http_client_new(&o, &j->http, err);
}

/* --- the supervisor's endpoints --- */

static char *basic_auth(const struct join *j)
{
    AUTO_FREE char *plain = mem_printf("%s:%s", *j->token.user ? j->token.user : "node", j->token.password);
    AUTO(buf) struct buf text = { 0 };

    buf_str(&text, "Basic ");
    base64_write(plain, strlen(plain), &text);
    return buf_take_str(&text);
}

static int call(struct join *j, const char *method, const char *name, struct bytes *body, char **ret, struct err *err)
{
    AUTO_FREE char *path = mem_printf("/v1-rancherd/%s", name);
    AUTO_FREE char *auth = basic_auth(j);
    AUTO(buf) struct buf ips = { 0 };
    struct http_answer answer = { 0 };
    struct ctx ctx = ctx_with_timeout(j->ctx, TIMEOUT_MS);

    for (const char *const *ip = j->o->node_ips; ip && *ip; ip++)
        buf_printf(&ips, "%s%s", buf_len(&ips) ? "," : "", *ip);
    const char *headers[] = { "authorization", auth, "rancherd-node-name", j->o->node_name, "rancherd-node-password", j->password,
                              "rancherd-node-ip", buf_at(&ips), NULL };
    struct http_call c = { .method = method, .path = path, .body = body, .headers = headers, .content_type = body ? "application/pkcs10" : NULL };
    if (http_call(&ctx, j->http, &c, &answer, err) < 0)
        return err_wrap(err, "%s", name);
    int rc = 0;
    if (answer.status >= 400) {
        rc = status_read(j->ctx, answer.status, (struct slice){ answer.body->at, answer.body->n }, err);
        rc = err_wrap(err, "%s", name);
    } else {
        *ret = mem_strdup(answer.body->at);
    }
    http_answer_clear(&answer);
    return rc;
}

/* Whether a certificate of an earlier start goes on being good. */
static bool still_good(struct join *j, const char *name)
{
    AUTO_FREE char *pem = NULL;
    struct cert_info info = { 0 };
    struct err err;

    if (read_text(j->dir_fd, name, &pem, &err) < 0 || cert_info(pem, &info, &err) < 0)
        return false;
    bool good = info.not_after_s - clock_wall_s(j->o->clock) > (int64_t)RENEW_DAYS * DAY_S;
    for (const char *const *ip = j->o->node_ips; good && info.server_auth && ip && *ip; ip++) {
        bool found = false;

        for (char **have = info.ips; have && *have; have++)
            found |= strcmp(*have, *ip) == 0;
        good = found;
    }
    cert_info_clear(&info);
    return good;
}

static int fetch_cert(struct join *j, const char *kind, struct err *err)
{
    AUTO_FREE char *key_name = mem_printf("%s.key", kind), *cert_name = mem_printf("%s.crt", kind);
    AUTO_FREE char *key = NULL, *pem = NULL;
    AUTO(bytes) struct bytes *csr = NULL;

    if (still_good(j, cert_name) && faccessat(j->dir_fd, key_name, R_OK, 0) == 0)
        return 0;
    if (read_text(j->dir_fd, key_name, &key, err) < 0) {
        if (err->code != ERR_NOT_FOUND)
            return -(int)err->code;
        key = key_new_pem();
        if (write_text(j->dir_fd, key_name, key, err) < 0)
            return -(int)err->code;
    }
    if (csr_new(j->o->node_name, NULL, key, &csr, err) < 0)
        return err_wrap(err, "request for %s", kind);
    if (call(j, "POST", cert_name, csr, &pem, err) < 0)
        return -(int)err->code;
    return write_text(j->dir_fd, cert_name, pem, err);
}

static int fetch_all(struct join *j, struct err *err)
{
    static const char *const kinds[] = { "serving-kubelet", "client-kubelet", "client-kube-proxy", "client-k3s-controller" };
    AUTO_FREE char *config = NULL, *client_ca = NULL;

    if (call(j, "GET", "config", NULL, &config, err) < 0 || write_text(j->dir_fd, "config.json", config, err) < 0 ||
        call(j, "GET", "client-ca.crt", NULL, &client_ca, err) < 0 || write_text(j->dir_fd, "client-ca.crt", client_ca, err) < 0 ||
        write_text(j->dir_fd, "server-ca.crt", j->server_ca, err) < 0)
        return -(int)err->code;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (fetch_cert(j, kinds[i], err) < 0)
            return -(int)err->code;
    return 0;
}

static int from_server(struct join *j, struct err *err)
{
    free(TAKE(j->server_ca));
    if (download_ca(j, err) < 0 || check_ca(j, err) < 0 || open_client(j, err) < 0)
        return -(int)err->code;
    int rc = fetch_all(j, err);
    http_client_free(TAKE(j->http));
    tls_ctx_unref(TAKE(j->tls));
    return rc;
}

/* --- results --- */

static int load(struct join *j, struct join_result *ret, struct err *err)
{
    AUTO_FREE char *config = NULL;
    AUTO(json) json_t *tree = NULL;
    struct {
        const char *name;
        char **to;
    } files[] = {
        { "server-ca.crt", &ret->server_ca_pem },           { "client-ca.crt", &ret->client_ca_pem },
        { "client-kubelet.crt", &ret->client_cert_pem },    { "client-kubelet.key", &ret->client_key_pem },
        { "serving-kubelet.crt", &ret->serving_cert_pem },  { "serving-kubelet.key", &ret->serving_key_pem },
        { "config.json", &config },
    };

    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        if (read_text(j->dir_fd, files[i].name, files[i].to, err) < 0)
            return err_wrap(err, "%s/agent/%s", j->o->data_dir, files[i].name);
    if (json_read(config, strlen(config), NULL, NULL, &tree, err) < 0)
        return err_wrap(err, "%s/agent/config.json", j->o->data_dir);
    ret->cluster_cidr = mem_strdup(json_str_or(tree, "ClusterIPRange", ""));
    ret->service_cidr = mem_strdup(json_str_or(tree, "ServiceIPRange", ""));
    ret->cluster_dns = mem_strdup(json_str_or(tree, "ClusterDNS", ""));
    ret->cluster_domain = mem_strdup(json_str_or(tree, "ClusterDomain", "cluster.local"));
    return 0;
}

void join_result_clear(struct join_result *r)
{
    char *all[] = { r->server_ca_pem, r->client_ca_pem,   r->client_cert_pem, r->client_key_pem, r->serving_cert_pem,
                    r->serving_key_pem, r->cluster_cidr, r->service_cidr,    r->cluster_dns,    r->cluster_domain };

    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        free(all[i]);
    *r = (struct join_result){ 0 };
}

/* Whether waiting may help: a server that is starting, not one that says no. */
static bool worth_waiting(const struct err *err)
{
    return err->sys || err->code == ERR_UNAVAILABLE || err->code == ERR_IO || err->code == ERR_TIMEOUT || err->code == ERR_TOO_MANY;
}

static int run(struct join *j, struct join_result *ret, struct err *err)
{
    bool cached = still_good(j, "client-kubelet.crt") && still_good(j, "serving-kubelet.crt");
    struct join_result loaded = { 0 };
    int rc = 0;

    while (j->o->token && (rc = from_server(j, err)) < 0 && worth_waiting(err) && !cached) {
        struct timespec pause = { 0, RETRY_MS * 1000000L };
        struct err late;

        if (ctx_check(j->ctx, &late) < 0)
            return rc;
        log_info("waiting for the server", "url=%s err=%s", j->o->server_url, log_q(err->msg));
        nanosleep(&pause, NULL); /* start-up, on the main thread: nothing to be woken by */
    }
    if (rc < 0 && !(cached && worth_waiting(err)))
        return rc;
    if (rc < 0)
        log_warn("server not reached, going on with what is here", "url=%s err=%s", j->o->server_url, log_q(err->msg));
    rc = load(j, &loaded, err);
    if (rc < 0) {
        join_result_clear(&loaded);
        return rc;
    }
    *ret = loaded;
    return 0;
}

int join_run(struct ctx *ctx, const struct join_options *options, struct join_result *ret, struct err *err)
{
    AUTO_FREE char *dir = mem_printf("%s/agent", options->data_dir);
    struct join j = { .o = options, .ctx = ctx, .dir_fd = -1 };
    int rc = make_dirs(dir, err);

    if (rc == 0 && (j.dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        rc = err_sys(err, errno, "open %s", dir);
    if (rc == 0 && options->token)
        rc = join_token_parse(options->token, &j.token, err);
    if (rc == 0)
        rc = node_password(&j, err);
    if (rc == 0)
        rc = run(&j, ret, err);
    if (j.dir_fd >= 0)
        close(j.dir_fd);
    http_client_free(j.http);
    tls_ctx_unref(j.tls);
    join_token_clear(&j.token);
    free(j.password);
    free(j.server_ca);
    return rc < 0 ? err_wrap(err, "join %s", options->server_url) : 0;
}
