#include "agent/images/registries.h"

#include "lib/crypto.h"
#include "lib/file.h"
#include "lib/http/message.h"
#include "lib/json.h"
#include "lib/mem.h"

#include <ctype.h>
#include <fcntl.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { FILE_MAX_BYTES = 1 << 20, ENDPOINTS_MAX = 64, MATCH_LIMIT = 100000, REPOSITORY_MAX = 1024 };

struct registries {
    json_t *v;      /* the file; auth texts decoded into username and password */
    char *file, *text;
};

void registries_free(struct registries *r)
{
    if (!r)
        return;
    json_decref(r->v);
    free(r->file);
    free(r->text);
    free(r);
}

/* --- reading and checking --- */

/* The line a key stands on: of the parents' keys one after the other, then its own. 1 when it is not found so (flow style). */
static int line_of(const char *text, const char *const *keys, size_t n)
{
    int line = 0, found = 1;
    size_t at = 0;

    for (const char *s = text; *s && at < n;) {
        size_t len = strcspn(s, "\n"), k = strlen(keys[at]);
        const char *word = s + strspn(s, " \t-\"'");

        line++;
        if (strncmp(word, keys[at], k) == 0 && strchr("\"':", word[k]) && word[k]) {
            found = line;
            at++;
        }
        s += len + (s[len] == '\n');
    }
    return found;
}

static int bad_key(const struct registries *r, const char *a, const char *b, const char *c, const char *want, struct err *err)
{
    const char *keys[] = { a, b ? b : "", c ? c : "" };
    size_t n = c ? 3 : b ? 2 : 1;

    return err_set(err, ERR_BAD_REQUEST, "%s: line %d: %s%s%s%s%s: %s", r->file, line_of(r->text, keys, n), a, b ? "." : "", b ? b : "",
                   c ? "." : "", c ? c : "", want);
}

static bool object_or_none(const json_t *v)
{
    return !v || json_is_null(v) || json_is_object(v);
}

static int check_strings(const struct registries *r, const char *part, const char *name, const char *key, json_t *v, struct err *err)
{
    const char *field;
    json_t *item;

    json_object_foreach(v, field, item) {
        if (strcmp(field, "insecure_skip_verify") == 0 ? !json_is_boolean(item) : !json_is_string(item) && !json_is_null(item))
            return bad_key(r, part, name, field, strcmp(field, "insecure_skip_verify") == 0 ? "expected true or false" : "expected a text", err);
    }
    return object_or_none(v) ? 0 : bad_key(r, part, name, key, "expected a map", err);
}

static bool pattern_ok(const char *pattern, char why[128])
{
    int code;
    PCRE2_SIZE at;
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, 0, &code, &at, NULL);

    if (!re)
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, 128);
    pcre2_code_free(re);
    return re != NULL;
}

static int check_mirror(const struct registries *r, const char *name, json_t *v, struct err *err)
{
    json_t *endpoints = json_object_get(v, "endpoint"), *rewrite = json_object_get(v, "rewrite"), *item;
    const char *pattern;
    char why[128], text[160];

    if (!object_or_none(v))
        return bad_key(r, "mirrors", name, NULL, "expected a map", err);
    if (endpoints && !json_is_null(endpoints) && !json_is_array(endpoints))
        return bad_key(r, "mirrors", name, "endpoint", "expected a list", err);
    if (json_array_size(endpoints) > ENDPOINTS_MAX)
        return bad_key(r, "mirrors", name, "endpoint", "more than 64 endpoints", err);
    for (size_t i = 0; i < json_array_size(endpoints); i++)
        if (!json_is_string(json_array_get(endpoints, i)))
            return bad_key(r, "mirrors", name, "endpoint", "expected texts", err);
    if (!object_or_none(rewrite))
        return bad_key(r, "mirrors", name, "rewrite", "expected a map", err);
    json_object_foreach(rewrite, pattern, item) {
        if (!json_is_string(item))
            return bad_key(r, "mirrors", name, "rewrite", "expected texts", err);
        if (!pattern_ok(pattern, why)) {
            snprintf(text, sizeof(text), "bad pattern: %s", why);
            return bad_key(r, "mirrors", name, "rewrite", text, err);
        }
    }
    return 0;
}

/* `auth` is base64 of "user:password". */
static int open_auth(const struct registries *r, const char *name, json_t *auth, struct err *err)
{
    AUTO(buf) struct buf text = { 0 };
    const char *both = json_string_value(json_object_get(auth, "auth"));

    if (!both || !*both)
        return 0;
    const char *colon = base64_read(both, strlen(both), &text) == 0 ? strchr(buf_at(&text), ':') : NULL;
    if (!colon)
        return bad_key(r, "configs", name, "auth", "expected base64 of user:password", err);
    json_object_set_new(auth, "username", json_text((struct slice){ buf_at(&text), (size_t)(colon - buf_at(&text)) }));
    json_object_set_new(auth, "password", json_text(slice_of(colon + 1)));
    return 0;
}

static int check_config(const struct registries *r, const char *name, json_t *v, struct err *err)
{
    json_t *auth = json_object_get(v, "auth"), *tls = json_object_get(v, "tls");

    if (!object_or_none(v))
        return bad_key(r, "configs", name, NULL, "expected a map", err);
    int rc = check_strings(r, "configs", name, "auth", auth, err);
    if (rc == 0)
        rc = check_strings(r, "configs", name, "tls", tls, err);
    return rc == 0 ? open_auth(r, name, auth, err) : rc;
}

static int check(const struct registries *r, struct err *err)
{
    json_t *mirrors = json_object_get(r->v, "mirrors"), *configs = json_object_get(r->v, "configs"), *item;
    const char *name;
    int rc = 0;

    if (!object_or_none(r->v))
        return err_set(err, ERR_BAD_REQUEST, "%s: line 1: expected a map", r->file);
    if (!object_or_none(mirrors))
        return bad_key(r, "mirrors", NULL, NULL, "expected a map", err);
    if (!object_or_none(configs))
        return bad_key(r, "configs", NULL, NULL, "expected a map", err);
    json_object_foreach(mirrors, name, item)
        if (rc == 0)
            rc = check_mirror(r, name, item, err);
    json_object_foreach(configs, name, item)
        if (rc == 0)
            rc = check_config(r, name, item, err);
    return rc;
}

int registries_read(const char *path, struct registries **ret, struct err *err)
{
    struct registries *r = MEM_NEW(struct registries);
    size_t n = 0;
    int rc = path ? file_read(AT_FDCWD, path, FILE_MAX_BYTES, &r->text, &n, err) : -ERR_NOT_FOUND;

    r->file = mem_strdup(path ? path : "");
    if (rc == -ERR_NOT_FOUND) {
        *ret = r;
        return 0;
    }
    if (rc == 0 && yaml_read(r->text, n, NULL, NULL, &r->v, err) < 0) {
        err->code = ERR_BAD_REQUEST;
        rc = err_wrap(err, "%s", path);
    }
    if (rc == 0)
        rc = check(r, err);
    if (rc < 0) {
        registries_free(r);
        return rc;
    }
    *ret = r;
    return 0;
}

/* --- asking --- */

static bool is_loopback(const char *host)
{
    size_t n = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");

    return (n == 9 && strncmp(host, "localhost", n) == 0) || strncmp(host, "127.", 4) == 0 || (n == 5 && strncmp(host, "[::1]", n) == 0);
}

static const char *port_of(const char *host)
{
    const char *end = strchr(host, ']'), *colon = strrchr(end ? end : host, ':');

    return colon ? colon + 1 : "";
}

/* Plain HTTP is for our own machine only, unless somebody wrote http://. */
static const char *scheme_for(const char *host)
{
    return (is_loopback(host) && strcmp(port_of(host), "443") != 0) || strcmp(port_of(host), "80") == 0 ? "http" : "https";
}

/* *ret: free. The first pattern that matches decides. */
static char *rewrite(const json_t *rules, const char *repository)
{
    const char *pattern;
    json_t *item;

    json_object_foreach((json_t *)rules, pattern, item) {
        int code;
        PCRE2_SIZE at, n = REPOSITORY_MAX;
        char out[REPOSITORY_MAX];
        pcre2_code *re = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, 0, &code, &at, NULL);
        pcre2_match_context *limits = pcre2_match_context_create(NULL);

        pcre2_set_match_limit(limits, MATCH_LIMIT);
        int hits = re ? pcre2_substitute(re, (PCRE2_SPTR)repository, PCRE2_ZERO_TERMINATED, 0,
                                         PCRE2_SUBSTITUTE_GLOBAL | PCRE2_SUBSTITUTE_UNSET_EMPTY | PCRE2_SUBSTITUTE_UNKNOWN_UNSET, NULL, limits,
                                         (PCRE2_SPTR)json_string_value(item), PCRE2_ZERO_TERMINATED, (PCRE2_UCHAR *)out, &n)
                      : 0;
        pcre2_match_context_free(limits);
        pcre2_code_free(re);
        if (hits > 0)
            return slice_dup((struct slice){ out, n });
    }
    return mem_strdup(repository);
}

static int endpoint_read(const struct registries *r, const char *text, struct registry_host *h, struct err *err)
{
    const char *rest = strstr(text, "://");
    size_t n;

    if (rest && strncmp(text, "http://", 7) != 0 && strncmp(text, "https://", 8) != 0)
        return err_set(err, ERR_BAD_REQUEST, "%s: endpoint %.200s: neither http nor https", r->file, text);
    rest = rest ? rest + 3 : text;
    n = strcspn(rest, "/");
    if (n == 0 || memchr(rest, '@', n) || strpbrk(rest, "?# "))
        return err_set(err, ERR_BAD_REQUEST, "%s: endpoint %.200s: no usable URL", r->file, text);
    h->host = slice_dup((struct slice){ rest, n });
    h->scheme = rest != text ? slice_dup((struct slice){ text, (size_t)(rest - text) - 3 }) : mem_strdup(scheme_for(h->host));
    const char *path = rest + n;
    size_t len = strlen(path);
    while (len > 0 && path[len - 1] == '/')
        len--;
    h->prefix = len == 0 ? mem_strdup("/v2") : slice_dup((struct slice){ path, len });
    return 0;
}

void registry_hosts_free(struct registry_host *h, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(h[i].scheme);
        free(h[i].host);
        free(h[i].prefix);
        free(h[i].repository);
    }
    free(h);
}

int registry_hosts(const struct registries *r, const char *registry, const char *repository, struct registry_host **ret,
                   size_t *ret_n, struct err *err)
{
    const json_t *mirrors = json_object_get(r->v, "mirrors"), *mirror = json_object_get(mirrors, registry);
    const char *own = strcmp(registry, "docker.io") == 0 ? "registry-1.docker.io" : registry;

    if (!mirror)
        mirror = json_object_get(mirrors, "*");
    const json_t *endpoints = json_object_get(mirror, "endpoint"), *rules = json_object_get(mirror, "rewrite");
    size_t n = json_array_size(endpoints);
    struct registry_host *h = mem_zalloc((n + 1) * sizeof(*h));

    for (size_t i = 0; i < n; i++) {
        int rc = endpoint_read(r, json_string_value(json_array_get(endpoints, i)), &h[i], err);
        if (rc < 0) {
            registry_hosts_free(h, n + 1);
            return rc;
        }
        h[i].mirror = true;
        h[i].repository = rewrite(rules, repository);
    }
    h[n].host = mem_strdup(own);
    h[n].scheme = mem_strdup(scheme_for(own));
    h[n].prefix = mem_strdup("/v2");
    h[n].repository = mem_strdup(repository);
    *ret = h;
    *ret_n = n + 1;
    return 0;
}

void registry_config_of(const struct registries *r, const char *host, struct registry_config *ret)
{
    const json_t *configs = json_object_get(r->v, "configs"), *c = json_object_get(configs, host);

    if (!c && strcmp(host, "registry-1.docker.io") == 0)
        c = json_object_get(configs, "docker.io");
    if (!c)
        c = json_object_get(configs, "*");
    *ret = (struct registry_config){
        .username = json_str_or(c, "auth.username", ""),
        .password = json_str_or(c, "auth.password", ""),
        .identity_token = json_str_or(c, "auth.identity_token", ""),
        .ca_file = json_str_or(c, "tls.ca_file", ""),
        .cert_file = json_str_or(c, "tls.cert_file", ""),
        .key_file = json_str_or(c, "tls.key_file", ""),
        .insecure = json_bool_or(c, "tls.insecure_skip_verify", false),
    };
}
