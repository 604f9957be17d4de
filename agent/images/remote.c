/* Clients, requests and redirects. */
#include "agent/images/remote_int.h"

#include "lib/file.h"
#include "lib/pool.h"

#include <fcntl.h>
#include <string.h>
#include <strings.h>

enum { PEM_MAX_BYTES = 4 << 20 };

int remote_new(struct images *im, const struct image_name *name, const struct remote_auth *auth, struct remote **ret, struct err *err)
{
    struct registry_host *hosts;
    size_t n;
    int rc = registry_hosts(im->registries, name->registry, name->repository, &hosts, &n, err);

    if (rc < 0)
        return rc;
    struct remote *r = MEM_NEW(struct remote);
    r->im = im;
    r->name = name;
    r->hosts = hosts;
    r->n_hosts = n;
    r->authorization = mem_zalloc(n * sizeof(char *));
    r->own_auth = auth != NULL;
    if (auth) {
        r->username = mem_strdup(auth->username ? auth->username : "");
        r->password = mem_strdup(auth->password ? auth->password : "");
        r->token = mem_strdup(auth->token ? auth->token : "");
    }
    pthread_mutex_init(&r->lock, NULL);
    *ret = r;
    return 0;
}

void remote_free(struct remote *r)
{
    if (!r)
        return;
    for (struct remote_client *c; (c = r->clients);) {
        r->clients = c->next;
        http_client_free(c->http);
        free(c->origin);
        free(c);
    }
    for (size_t i = 0; i < r->n_hosts; i++)
        free(r->authorization[i]);
    free(r->authorization);
    registry_hosts_free(r->hosts, r->n_hosts);
    free(r->username);
    free(r->password);
    free(r->token);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* --- TLS --- */

/* The system's authorities, where the distributions keep them. */
static void add_system_cas(struct buf *to)
{
    static const char *const files[] = { "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
                                         "/etc/pki/tls/cacert.pem", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem" };

    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        AUTO_FREE char *text = NULL;
        size_t n;
        struct err lost; /* the next may be there */

        if (file_read(AT_FDCWD, files[i], PEM_MAX_BYTES, &text, &n, &lost) < 0)
            continue;
        buf_add(to, text, n);
        buf_char(to, '\n');
        return;
    }
}

static int read_pem(const char *file, const char *what, char **ret, struct err *err)
{
    size_t n;

    if (!*file)
        return 0;
    return file_read(AT_FDCWD, file, PEM_MAX_BYTES, ret, &n, err) < 0 ? err_wrap(err, "%s", what) : 0;
}

static int make_tls(struct remote *r, const char *host, struct tls_ctx **ret, struct err *err)
{
    static const char *const alpn[] = { "h2", "http/1.1", NULL };
    AUTO_FREE char *ca = NULL, *cert = NULL, *key = NULL;
    AUTO(buf) struct buf cas = { 0 };
    struct registry_config c;

    registry_config_of(r->im->registries, host, &c);
    int rc = read_pem(c.ca_file, "ca_file", &ca, err);
    if (rc == 0)
        rc = read_pem(c.cert_file, "cert_file", &cert, err);
    if (rc == 0)
        rc = read_pem(c.key_file, "key_file", &key, err);
    if (rc < 0)
        return err_wrap(err, "TLS of registry %s", host);
    if (!c.insecure)
        add_system_cas(&cas);
    if (ca)
        buf_str(&cas, ca);
    struct tls_config config = { .cert_pem = cert, .key_pem = key, .ca_pem = buf_len(&cas) ? buf_at(&cas) : NULL, .insecure = c.insecure,
                                 .alpn = alpn, .clock = r->im->clock };
    rc = tls_ctx_new(&config, ret, err);
    return rc < 0 ? err_wrap(err, "TLS of registry %s", host) : 0;
}

static struct http_client *client_known(struct remote *r, const char *origin)
{
    LOCK_SCOPE(&r->lock);
    for (struct remote_client *c = r->clients; c; c = c->next)
        if (strcmp(c->origin, origin) == 0)
            return c->http;
    return NULL;
}

/* Two threads may make one each; the second is the spare then, and goes with the remote. */
int remote_client(struct remote *r, const char *scheme, const char *host, struct http_client **ret, struct err *err)
{
    AUTO_FREE char *origin = mem_printf("%s://%s", scheme, host);
    struct http_client_options options = { .loop = r->im->loop, .url = origin };
    struct tls_ctx *tls = NULL;
    int rc = 0;

    *ret = client_known(r, origin);
    if (*ret)
        return 0;
    if (strcmp(scheme, "https") == 0)
        rc = make_tls(r, host, &tls, err);
    options.tls = tls;
    if (rc == 0)
        rc = http_client_new(&options, ret, err);
    tls_ctx_unref(tls);
    if (rc < 0)
        return rc;
    struct remote_client *c = MEM_NEW(struct remote_client);
    c->http = *ret;
    c->origin = TAKE(origin);
    LOCK_SCOPE(&r->lock);
    c->next = r->clients;
    r->clients = c;
    return 0;
}

/* --- requests --- */

static int split_url(const char *url, char **ret_scheme, char **ret_host, const char **ret_path, struct err *err)
{
    size_t scheme = strncasecmp(url, "https://", 8) == 0 ? 5 : strncasecmp(url, "http://", 7) == 0 ? 4 : 0;
    const char *host = url + scheme + 3;
    size_t n = scheme ? strcspn(host, "/?#") : 0;

    if (n == 0 || strlen(url) > URL_MAX_CHARS || memchr(host, '@', n))
        return err_set(err, ERR_INVALID, "no usable URL: \"%.200s\"", url);
    *ret_scheme = mem_strdup(scheme == 5 ? "https" : "http");
    *ret_host = slice_dup((struct slice){ host, n });
    *ret_path = host + n;
    return 0;
}

/* Go's words for a method: "Head", "Get", "Post". */
static const char *method_word(const char *method)
{
    return *method == 'H' ? "Head" : *method == 'P' ? "Post" : "Get";
}

/* Our deadline on a silent peer is the peer's fault; the caller's is the caller's. */
static int said(const struct ctx *caller, const struct remote_call *call, const char *url, bool body, struct err *err)
{
    if (err->code == ERR_TIMEOUT && ctx_left_ms(caller) > 0)
        ERR_IGNORE(err_set(err, ERR_TIMEOUT, "%s", body ? "no data came for 60 s" : "net/http: timeout awaiting response headers"));
    else if (err->code == ERR_TIMEOUT)
        ERR_IGNORE(err_set(err, ERR_TIMEOUT, "context deadline exceeded"));
    return err_wrap(err, "%s \"%.180s\"", method_word(call->method), url);
}

static int send_once(struct ctx *ctx, struct remote *r, const struct remote_call *call, const char *url, const char *authorization,
                     struct http_answer *ret, struct err *err)
{
    AUTO_FREE char *scheme = NULL, *host = NULL, *target = NULL;
    AUTO(bytes) struct bytes *body = call->form ? bytes_new(call->form, strlen(call->form)) : NULL;
    const char *path = "", *headers[8];
    struct http_client *client;
    size_t n = 0;
    struct ctx bounded = ctx_with_timeout(ctx, ANSWER_MS);
    int rc = split_url(url, &scheme, &host, &path, err);

    if (rc == 0)
        rc = remote_client(r, scheme, host, &client, err);
    if (rc < 0)
        return rc;
    target = mem_printf("%s%.*s", *path == '/' ? "" : "/", (int)strcspn(path, "#"), path);
    if (authorization) {
        headers[n++] = "authorization";
        headers[n++] = authorization;
    }
    if (call->range) {
        headers[n++] = "range";
        headers[n++] = call->range;
    }
    headers[n++] = "user-agent";
    headers[n++] = "rancherd/" RANCHERD_VERSION;
    headers[n] = NULL;
    struct http_call http = { .method = call->method, .path = target, .accept = call->accept, .body = body, .headers = headers,
                              .content_type = body ? "application/x-www-form-urlencoded" : NULL, .max_bytes = call->max_bytes };
    struct ctx *use = call->progress ? call->progress : &bounded;
    if (call->progress)
        use->deadline_ms = bounded.deadline_ms;
    rc = call->fn ? http_download(use, client, &http, call->fn, call->arg, ret, err) : http_call(use, client, &http, ret, err);
    return rc < 0 ? said(ctx, call, url, call->progress && use->deadline_ms != bounded.deadline_ms, err) : 0;
}

static bool is_redirect(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* Where a redirect leads, absolute. NULL: nowhere. */
static char *redirect_target(const char *from, const char *to)
{
    const char *host = strstr(from, "://"), *path = host ? strpbrk(host + 3, "/?#") : NULL;
    size_t origin = path ? (size_t)(path - from) : strlen(from);

    if (!to)
        return NULL;
    if (strncasecmp(to, "https://", 8) == 0 || strncasecmp(to, "http://", 7) == 0)
        return mem_strdup(to);
    if (strncmp(to, "//", 2) == 0 && host)
        return mem_printf("%.*s:%s", (int)(host - from), from, to);
    if (*to == '/')
        return mem_printf("%.*s%s", (int)origin, from, to);
    return NULL; /* relative to the path: no registry does that */
}

static bool same_origin(const char *a, const char *b)
{
    size_t n = strcspn(a + 8, "/?#") + 8;

    return strncasecmp(a, b, n) == 0 && strchr("/?#", b[n]);
}

int remote_send(struct ctx *ctx, struct remote *r, const struct remote_call *call, struct http_answer *ret, struct err *err)
{
    AUTO_FREE char *url = mem_strdup(call->url);
    const char *authorization = call->authorization;

    for (int hop = 0; hop <= REDIRECTS_MAX; hop++) {
        struct http_answer answer = { 0 };
        int rc = send_once(ctx, r, call, url, authorization, &answer, err);

        if (rc < 0)
            return rc;
        char *next = is_redirect(answer.status) ? redirect_target(url, http_headers_get(&answer.headers, "location")) : NULL;
        if (!next) {
            *ret = answer;
            return 0;
        }
        http_answer_clear(&answer);
        bool down = strncmp(url, "https://", 8) == 0 && strncasecmp(next, "http://", 7) == 0;
        if (!same_origin(url, next))
            authorization = NULL; /* and never again, wherever it leads from there */
        free(url);
        url = next;
        if (down && call->form)
            return err_set(err, ERR_UNAUTHORIZED, "%s leads a credential to plain HTTP", call->url);
    }
    return err_set(err, ERR_UNAVAILABLE, "%s \"%.180s\": stopped after %d redirects", method_word(call->method), call->url, REDIRECTS_MAX);
}

static char *known_authorization(struct remote *r, size_t i)
{
    LOCK_SCOPE(&r->lock);
    return mem_strdup(r->authorization[i]);
}

static void remember(struct remote *r, size_t i, const char *authorization)
{
    LOCK_SCOPE(&r->lock);
    free(r->authorization[i]);
    r->authorization[i] = mem_strdup(authorization);
}

int remote_ask(struct ctx *ctx, struct remote *r, size_t i, const char *path, const struct remote_call *call, struct http_answer *ret,
               struct err *err)
{
    const struct registry_host *h = &r->hosts[i];
    AUTO_FREE char *url = mem_printf("%s://%s%s/%s/%s%s%s", h->scheme, h->host, h->prefix, h->repository, path, h->mirror ? "?ns=" : "",
                                     h->mirror ? r->name->registry : "");
    AUTO_FREE char *authorization = known_authorization(r, i), *fresh = NULL;
    struct remote_call with = *call;
    struct http_answer answer = { 0 };

    with.url = url;
    with.authorization = authorization;
    int rc = remote_send(ctx, r, &with, &answer, err);
    if (rc < 0)
        return rc;
    if (answer.status == 401) {
        rc = remote_authorize(ctx, r, i, &answer.headers, &fresh, err);
        http_answer_clear(&answer);
        if (rc < 0)
            return rc;
        remember(r, i, fresh);
        with.authorization = fresh;
        rc = remote_send(ctx, r, &with, &answer, err);
        if (rc < 0)
            return rc;
    }
    *ret = answer;
    return 0;
}
