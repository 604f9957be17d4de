#include "server/auth/authn.h"

#include "lib/json.h"
#include "lib/k8s/meta.h"
#include "lib/map.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { CACHE_MAX = 1024, STATIC_MAX = 8, TOKEN_MAX_BYTES = 16 * 1024 };

/* A token whose signature was found good; what may end it (time, the bound objects) is looked at on each request. */
struct verified {
    char *claims;
    size_t n;
};

struct static_user {
    char *name, *password;
    char **groups;
    size_t n_groups;
};

struct authn {
    struct authn_options o;
    char *issuer;
    char **audiences;
    pthread_mutex_t lock; /* guards the cache */
    struct map *cache;    /* sha256 of the token, hex -> struct verified */
    struct static_user statics[STATIC_MAX];
    size_t n_statics;
};

static void verified_free(void *p)
{
    free(((struct verified *)p)->claims);
    free(p);
}

int authn_new(const struct authn_options *options, struct authn **ret, struct err *err)
{
    size_t n = 0;

    if (options->n_keys == 0)
        return err_set(err, ERR_BAD_REQUEST, "no service account key");
    struct authn *a = MEM_NEW(struct authn);
    a->o = *options;
    a->issuer = mem_strdup(options->issuer);
    while (options->audiences && options->audiences[n])
        n++;
    a->audiences = mem_zalloc((n + 1) * sizeof(*a->audiences));
    for (size_t i = 0; i < n; i++)
        a->audiences[i] = mem_strdup(options->audiences[i]);
    a->cache = map_new(verified_free);
    pthread_mutex_init(&a->lock, NULL);
    *ret = a;
    return 0;
}

static void strings_free(char **at)
{
    for (char **s = at; s && *s; s++)
        free(*s);
    free(at);
}

void authn_free(struct authn *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < a->n_statics; i++) {
        free(a->statics[i].name);
        free(a->statics[i].password);
        strings_free(a->statics[i].groups);
    }
    strings_free(a->audiences);
    free(a->issuer);
    map_free(a->cache);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

void authn_set_static(struct authn *a, const char *user, const char *password, const char *const *groups)
{
    struct static_user *s = NULL;
    size_t n = 0;

    for (size_t i = 0; i < a->n_statics; i++)
        if (strcmp(a->statics[i].name, user) == 0)
            s = &a->statics[i];
    if (!s) {
        if (a->n_statics == STATIC_MAX)
            return;
        s = &a->statics[a->n_statics++];
    } else {
        free(s->name);
        free(s->password);
        strings_free(s->groups);
    }
    while (groups[n])
        n++;
    *s = (struct static_user){ mem_strdup(user), mem_strdup(password), mem_zalloc((n + 1) * sizeof(char *)), n };
    for (size_t i = 0; i < n; i++)
        s->groups[i] = mem_strdup(groups[i]);
}

/* --- users --- */

static const struct user *user_new(struct ctx *ctx, const char *name, const char *uid, const char *const *groups, size_t n,
                                   const char *const *extra, size_t n_extra)
{
    struct user *u = arena_alloc(ctx->arena, sizeof(*u));
    const char **all = arena_alloc(ctx->arena, (n + 2) * sizeof(*all));
    size_t k = 0;
    bool has = false;

    for (size_t i = 0; i < n; i++) {
        all[k++] = arena_strdup(ctx->arena, groups[i]);
        has |= strcmp(groups[i], "system:authenticated") == 0;
    }
    if (!has)
        all[k++] = "system:authenticated";
    *u = (struct user){ arena_strdup(ctx->arena, name), arena_strdup(ctx->arena, uid), all, k, extra, n_extra };
    return u;
}

static const struct user anonymous = {
    .name = "system:anonymous", .uid = "", .groups = (const char *const[]){ "system:unauthenticated" }, .n_groups = 1,
};

static int refuse(struct err *err)
{
    return err_set(err, ERR_UNAUTHORIZED, "Unauthorized");
}

/* --- service-account tokens --- */

static void cache_key(const char *token, size_t n, char ret[SHA256_HEX_BYTES])
{
    sha256_hex(token, n, ret);
}

/* Claims of a token whose signature is good; from the cache where it was seen before. */
static int verified_claims(struct authn *a, const char *token, json_t **ret, struct err *err)
{
    char key[SHA256_HEX_BYTES];
    size_t n = strlen(token);
    AUTO(buf) struct buf claims = { 0 };

    if (n > TOKEN_MAX_BYTES)
        return refuse(err);
    cache_key(token, n, key);
    pthread_mutex_lock(&a->lock);
    struct verified *v = map_get(a->cache, key);
    if (v)
        buf_add(&claims, v->claims, v->n);
    pthread_mutex_unlock(&a->lock);
    if (!v) {
        if (jwt_verify(a->o.keys, a->o.n_keys, token, n, &claims, err) < 0)
            return refuse(err);
        v = MEM_NEW(struct verified);
        v->n = buf_len(&claims);
        v->claims = slice_dup((struct slice){ buf_at(&claims), v->n });
        LOCK_SCOPE(&a->lock);
        if (map_len(a->cache) >= CACHE_MAX) {
            map_free(a->cache);
            a->cache = map_new(verified_free);
        }
        map_set(a->cache, key, v);
    }
    if (json_read(buf_at(&claims), buf_len(&claims), NULL, NULL, ret, err) < 0 || !json_is_object(*ret))
        return refuse(err);
    return 0;
}

static bool claims_audience(const json_t *aud, const char *want)
{
    size_t i = 0;
    json_t *v = NULL;

    if (json_is_string(aud))
        return strcmp(json_string_value(aud), want) == 0;
    json_array_foreach((json_t *)aud, i, v) if (json_is_string(v) && strcmp(json_string_value(v), want) == 0) return true;
    return false;
}

/* The object in the store that a token is bound to: still there, the same uid, not long past its deletion. */
static int check_object(struct ctx *ctx, struct authn *a, const char *prefix, const char *ns, const char *name, const char *uid,
                        struct err *err)
{
    AUTO(buf) struct buf key = { 0 };
    struct store_row row = { 0 };
    AUTO(json) json_t *o = NULL;
    int64_t deleted_us = 0;

    buf_printf(&key, "/registry/%s/%s%s%s", prefix, ns, *ns ? "/" : "", name);
    if (store_get(ctx, a->o.store, (struct slice){ buf_at(&key), buf_len(&key) }, 0, &row, NULL, err) < 0)
        return err->code == ERR_NOT_FOUND ? refuse(err) : -(int)err->code;
    int rc = json_read(row.value->at, row.value->n, NULL, NULL, &o, err);
    store_row_clear(&row);
    if (rc < 0 || strcmp(meta_uid(o), uid) != 0)
        return refuse(err);
    const char *when = json_str(o, "metadata.deletionTimestamp");
    enum { LEEWAY_US = 60000000 };
    if (when && clock_parse(when, strlen(when), &deleted_us) == 0 && deleted_us + LEEWAY_US < clock_wall_us(a->o.clock))
        return refuse(err);
    return 0;
}

static int check_times(struct authn *a, const json_t *claims, struct err *err)
{
    int64_t now = clock_wall_s(a->o.clock);

    if (json_int_or(claims, "exp", 0) <= now || json_int_or(claims, "nbf", 0) > now)
        return refuse(err);
    if (strcmp(json_str_or(claims, "iss", ""), a->issuer) != 0)
        return refuse(err);
    return 0;
}

/* kubernetes.io holds a dot: json_at would cut it. */
static const json_t *private_claims(const json_t *claims)
{
    return json_object_get(claims, "kubernetes.io");
}

static int check_bound(struct ctx *ctx, struct authn *a, const json_t *k, struct err *err)
{
    static const struct {
        const char *claim, *prefix;
        bool namespaced;
    } bound[] = {
        { "serviceaccount", "serviceaccounts", true },
        { "pod", "pods", true },
        { "secret", "secrets", true },
    };
    const char *ns = json_str_or(k, "namespace", "");

    for (size_t i = 0; i < ARRAY_LEN(bound); i++) {
        const json_t *ref = json_object_get(k, bound[i].claim);

        if (ref && check_object(ctx, a, bound[i].prefix, ns, json_str_or(ref, "name", ""), json_str_or(ref, "uid", ""), err) < 0)
            return -(int)err->code;
    }
    const json_t *node = json_object_get(k, "node");
    if (node && !json_object_get(k, "pod"))
        return check_object(ctx, a, "minions", "", json_str_or(node, "name", ""), json_str_or(node, "uid", ""), err);
    return 0;
}

static const char *const *extra_of(struct ctx *ctx, const json_t *claims, const json_t *k, size_t *ret_n)
{
    static const char *const paths[][2] = {
        { "authentication.kubernetes.io/node-name", "node.name" },
        { "authentication.kubernetes.io/node-uid", "node.uid" },
        { "authentication.kubernetes.io/pod-name", "pod.name" },
        { "authentication.kubernetes.io/pod-uid", "pod.uid" },
    };
    const char **extra = arena_alloc(ctx->arena, 2 * (ARRAY_LEN(paths) + 1) * sizeof(*extra));
    size_t n = 0;
    const char *jti = json_str(claims, "jti");

    if (jti) {
        extra[2 * n] = "authentication.kubernetes.io/credential-id";
        extra[2 * n++ + 1] = arena_printf(ctx->arena, "JTI=%s", jti);
    }
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        const char *v = json_str(k, paths[i][1]);

        if (!v)
            continue;
        extra[2 * n] = paths[i][0];
        extra[2 * n++ + 1] = arena_strdup(ctx->arena, v);
    }
    *ret_n = n;
    return extra;
}

static int check_token(struct ctx *ctx, struct authn *a, const char *token, const char *const *audiences, const struct user **ret,
                       const char *const **ret_audiences, struct err *err)
{
    AUTO(json) json_t *claims = NULL;
    size_t n = 0, n_extra = 0;

    if (verified_claims(a, token, &claims, err) < 0 || check_times(a, claims, err) < 0)
        return -(int)err->code;
    const json_t *k = private_claims(claims), *aud = json_object_get(claims, "aud");
    const char *ns = json_str_or(k, "namespace", ""), *name = json_str_or(k, "serviceaccount.name", "");
    AUTO_FREE char *subject = mem_printf("system:serviceaccount:%s:%s", ns, name);
    if (!*ns || !*name || strcmp(json_str_or(claims, "sub", ""), subject) != 0)
        return refuse(err);

    const char *const *wanted = audiences ? audiences : (const char *const *)a->audiences;
    size_t n_wanted = 0;
    while (wanted[n_wanted])
        n_wanted++;
    const char **both = arena_alloc(ctx->arena, (n_wanted + 1) * sizeof(*both));
    for (size_t i = 0; i < n_wanted; i++)
        if (claims_audience(aud, wanted[i]))
            both[n++] = arena_strdup(ctx->arena, wanted[i]);
    if (n == 0 || check_bound(ctx, a, k, err) < 0)
        return refuse(err);

    const char *groups[] = { "system:serviceaccounts", arena_printf(ctx->arena, "system:serviceaccounts:%s", ns) };
    const char *const *extra = extra_of(ctx, claims, k, &n_extra);
    *ret = user_new(ctx, subject, json_str_or(k, "serviceaccount.uid", ""), groups, ARRAY_LEN(groups), extra, n_extra);
    if (ret_audiences)
        *ret_audiences = both;
    return 0;
}

/* --- static users of the join protocol --- */

static int check_static(struct ctx *ctx, struct authn *a, const char *user, const char *password, const struct user **ret,
                        struct err *err)
{
    for (size_t i = 0; i < a->n_statics; i++) {
        const struct static_user *s = &a->statics[i];
        size_t n = strlen(s->password);

        if ((!*user || strcmp(user, s->name) == 0) && strlen(password) == n && constant_time_eq(password, s->password, n)) {
            *ret = user_new(ctx, s->name, "", (const char *const *)s->groups, s->n_groups, NULL, 0);
            return 0;
        }
    }
    return refuse(err);
}

static int check_basic(struct ctx *ctx, struct authn *a, const char *text, const struct user **ret, struct err *err)
{
    AUTO(buf) struct buf plain = { 0 };

    if (base64_read(text, strlen(text), &plain) < 0)
        return refuse(err);
    AUTO_FREE char *user = buf_take_str(&plain);
    char *colon = strchr(user, ':');
    if (!colon)
        return refuse(err);
    *colon = '\0';
    return check_static(ctx, a, user, colon + 1, ret, err);
}

static int check_bearer(struct ctx *ctx, struct authn *a, const char *token, const struct user **ret, struct err *err)
{
    struct err none;

    while (*token == ' ')
        token++;
    if (check_static(ctx, a, "", token, ret, &none) == 0)
        return 0;
    return check_token(ctx, a, token, NULL, ret, NULL, err);
}

static int check_header(struct ctx *ctx, struct authn *a, const char *header, const struct user **ret, struct err *err)
{
    if (strncasecmp(header, "Bearer ", 7) == 0)
        return check_bearer(ctx, a, header + 7, ret, err);
    if (strncasecmp(header, "Basic ", 6) == 0)
        return check_basic(ctx, a, header + 6, ret, err);
    return refuse(err);
}

int authn_check(struct ctx *ctx, struct authn *a, const struct authn_request *q, const struct user **ret, struct err *err)
{
    if (q->has_cert && q->cert_common_name && *q->cert_common_name) {
        *ret = user_new(ctx, q->cert_common_name, "", q->cert_organizations, q->n_cert_organizations, NULL, 0);
        return 0;
    }
    if (q->authorization && *q->authorization)
        return check_header(ctx, a, q->authorization, ret, err);
    if (q->bearer_protocol && *q->bearer_protocol) {
        AUTO(buf) struct buf token = { 0 };

        if (base64_read(q->bearer_protocol, strlen(q->bearer_protocol), &token) < 0)
            return refuse(err);
        return check_bearer(ctx, a, buf_at(&token), ret, err);
    }
    if (q->cert_error)
        return refuse(err);
    *ret = &anonymous;
    return 0;
}

int authn_review(struct ctx *ctx, struct authn *a, const char *token, const char *const *audiences, const struct user **ret,
                 const char *const **ret_audiences, struct err *err)
{
    return check_token(ctx, a, token, audiences, ret, ret_audiences, err);
}

/* --- issuing --- */

static json_t *named(const char *name, const char *uid)
{
    json_t *o = json_object();

    json_object_set_new(o, "name", json_string(name));
    json_object_set_new(o, "uid", json_string(uid ? uid : ""));
    return o;
}

int authn_issue(struct ctx *ctx, struct authn *a, const struct authn_token_spec *spec, struct buf *ret_token, int64_t *ret_expires_at_s,
                struct err *err)
{
    int64_t now = clock_wall_s(a->o.clock);
    AUTO(json) json_t *claims = json_object();
    json_t *k = json_object(), *aud = json_array();
    AUTO(buf) struct buf text = { 0 };
    char jti[37];

    (void)ctx;
    for (const char *const *s = spec->audiences ? spec->audiences : (const char *const *)a->audiences; *s; s++)
        json_array_append_new(aud, json_string(*s));
    uid_new(jti);
    json_object_set_new(claims, "aud", aud);
    json_object_set_new(claims, "exp", json_integer(now + spec->expires_s));
    json_object_set_new(claims, "iat", json_integer(now));
    json_object_set_new(claims, "iss", json_string(a->issuer));
    json_object_set_new(claims, "jti", json_string(jti));
    json_object_set_new(k, "namespace", json_string(spec->ns));
    if (spec->bound_kind && strcmp(spec->bound_kind, "Node") == 0)
        json_object_set_new(k, "node", named(spec->bound_name, spec->bound_uid));
    else if (spec->node_name)
        json_object_set_new(k, "node", named(spec->node_name, spec->node_uid));
    if (spec->bound_kind && strcmp(spec->bound_kind, "Pod") == 0)
        json_object_set_new(k, "pod", named(spec->bound_name, spec->bound_uid));
    if (spec->bound_kind && strcmp(spec->bound_kind, "Secret") == 0)
        json_object_set_new(k, "secret", named(spec->bound_name, spec->bound_uid));
    json_object_set_new(k, "serviceaccount", named(spec->service_account, spec->service_account_uid));
    json_object_set_new(claims, "kubernetes.io", k);
    json_object_set_new(claims, "nbf", json_integer(now));
    json_object_set_new(claims, "sub", json_strf("system:serviceaccount:%s:%s", spec->ns, spec->service_account));
    json_write(claims, &text);
    *ret_expires_at_s = now + spec->expires_s;
    return jwt_sign(a->o.keys[0], buf_at(&text), buf_len(&text), ret_token, err);
}

void authn_openid_config(struct authn *a, const char *api_url, struct buf *to)
{
    AUTO(json) json_t *o = json_object();

    json_object_set_new(o, "issuer", json_string(a->issuer));
    json_object_set_new(o, "jwks_uri", json_strf("%s/openid/v1/jwks", *api_url ? api_url : a->issuer));
    json_object_set_new(o, "response_types_supported", json_pack("[s]", "id_token"));
    json_object_set_new(o, "subject_types_supported", json_pack("[s]", "public"));
    json_object_set_new(o, "id_token_signing_alg_values_supported", json_pack("[s]", "ES256"));
    json_write(o, to);
}

void authn_jwks(struct authn *a, struct buf *to)
{
    buf_str(to, "{\"keys\":[");
    for (size_t i = 0; i < a->o.n_keys; i++) {
        if (i)
            buf_char(to, ',');
        jwt_key_jwk(a->o.keys[i], to);
    }
    buf_str(to, "]}");
}
