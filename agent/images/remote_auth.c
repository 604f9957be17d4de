/* Challenges and their answers. */
#include "agent/images/remote_int.h"

#include "lib/json.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

void challenge_clear(struct challenge *c)
{
    free(c->scheme);
    free(c->realm);
    free(c->service);
    free(c->scope);
    free(c->error);
    *c = (struct challenge){ 0 };
}

static bool is_token_char(char c)
{
    return isalnum((unsigned char)c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static const char *skip(const char *at, const char *set)
{
    return at + strspn(at, set);
}

/* A token or a quoted string. */
static char *read_value(const char **at)
{
    struct buf text = { 0 };

    if (**at != '"') {
        while (is_token_char(**at) || (**at && strchr("/:=", **at)))
            buf_char(&text, *(*at)++);
        return buf_take_str(&text);
    }
    for ((*at)++; **at && **at != '"'; (*at)++) {
        if (**at == '\\' && (*at)[1])
            (*at)++;
        buf_char(&text, **at);
    }
    if (**at == '"')
        (*at)++;
    return buf_take_str(&text);
}

static void take_parameter(struct challenge *c, const char *name, size_t n, char *value)
{
    const struct {
        const char *name;
        char **to;
    } known[] = { { "realm", &c->realm }, { "service", &c->service }, { "scope", &c->scope }, { "error", &c->error } };

    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (strlen(known[i].name) != n || strncasecmp(known[i].name, name, n) != 0 || *known[i].to)
            continue;
        *known[i].to = value;
        return;
    }
    free(value);
}

/* Parameters up to the next scheme, which is a word without "=" behind it. */
static const char *read_parameters(const char *at, struct challenge *c)
{
    for (;;) {
        const char *name = skip(at, " \t,"), *end = name;

        while (is_token_char(*end))
            end++;
        const char *eq = skip(end, " \t");
        if (end == name || *eq != '=')
            return name;
        at = skip(eq + 1, " \t");
        take_parameter(c, name, (size_t)(end - name), read_value(&at));
    }
}

void challenge_parse(const char *text, struct challenge *ret)
{
    struct challenge best = { 0 };

    for (const char *at = skip(text, " \t,"); *at;) {
        struct challenge c = { 0 };
        const char *end = at;

        while (is_token_char(*end))
            end++;
        if (end == at)
            break;
        bool bearer = end - at == 6 && strncasecmp(at, "bearer", 6) == 0, basic = end - at == 5 && strncasecmp(at, "basic", 5) == 0;
        at = read_parameters(end, &c);
        if ((bearer && c.realm) || (basic && !best.scheme)) {
            challenge_clear(&best);
            c.scheme = mem_strdup(bearer ? "bearer" : "basic");
            best = c;
            if (bearer)
                break;
        } else {
            challenge_clear(&c);
        }
    }
    *ret = best;
}

struct credentials {
    const char *username, *password, *token;
};

static void credentials_of(const struct remote *r, size_t i, struct credentials *c)
{
    struct registry_config config;

    *c = (struct credentials){ r->username, r->password, r->token };
    if (r->own_auth)
        return;
    registry_config_of(r->im->registries, r->hosts[i].host, &config);
    *c = (struct credentials){ config.username, config.password, config.identity_token };
}

static char *basic_header(const struct credentials *c)
{
    AUTO_FREE char *both = mem_printf("%s:%s", c->username, c->password);
    struct buf text = { 0 };

    buf_str(&text, "Basic ");
    base64_write(both, strlen(both), &text);
    return buf_take_str(&text);
}

static void add_pair(struct buf *to, const char *name, const char *value)
{
    if (buf_len(to))
        buf_char(to, '&');
    buf_printf(to, "%s=", name);
    url_encode(slice_of(value), to);
}

static int token_of(const struct http_answer *answer, const char *realm, char **ret, struct err *err)
{
    AUTO(json) json_t *v = NULL;

    if (answer->status != 200)
        return err_set(err, answer->status == 401 || answer->status == 403 ? ERR_UNAUTHORIZED : err_code_of(answer->status, NULL),
                       "failed to fetch oauth token: unexpected status from GET request to %.150s: %d %s", realm, answer->status,
                       http_status_text(answer->status));
    int rc = json_read(answer->body->at, answer->body->n, NULL, NULL, &v, err);
    if (rc < 0) {
        err->code = ERR_UNAUTHORIZED;
        return err_wrap(err, "failed to fetch oauth token");
    }
    const char *token = json_str(v, "token");
    if (!token || !*token)
        token = json_str(v, "access_token");
    if (!token || !*token || strpbrk(token, "\r\n"))
        return err_set(err, ERR_UNAUTHORIZED, "failed to fetch oauth token: authorization server did not include a token in the response");
    *ret = mem_printf("Bearer %s", token);
    return 0;
}

static int fetch_token(struct ctx *ctx, struct remote *r, size_t i, const struct challenge *c, const struct credentials *who, char **ret,
                       struct err *err)
{
    AUTO(buf) struct buf query = { 0 };
    AUTO_FREE char *scope = mem_printf("repository:%s:pull", r->hosts[i].repository), *url = NULL, *basic = NULL;
    bool refresh = who->token && *who->token, named = who->username && *who->username;
    struct http_answer answer = { 0 };

    if ((refresh || named) && strcmp(r->hosts[i].scheme, "https") == 0 && strncasecmp(c->realm, "https://", 8) != 0)
        return err_set(err, ERR_UNAUTHORIZED, "the registry sends credentials to a realm without TLS: %.200s", c->realm);
    if (c->service)
        add_pair(&query, "service", c->service);
    add_pair(&query, "scope", c->scope && *c->scope ? c->scope : scope);
    if (refresh) {
        add_pair(&query, "grant_type", "refresh_token");
        add_pair(&query, "refresh_token", who->token);
        add_pair(&query, "client_id", "rancherd");
    } else if (named) {
        add_pair(&query, "account", who->username);
        basic = basic_header(who);
    }
    url = refresh ? mem_strdup(c->realm) : mem_printf("%s%c%s", c->realm, strchr(c->realm, '?') ? '&' : '?', buf_at(&query));
    struct remote_call call = { .method = refresh ? "POST" : "GET", .url = url, .authorization = basic, .max_bytes = TOKEN_MAX_BYTES,
                                .form = refresh ? buf_at(&query) : NULL };
    int rc = remote_send(ctx, r, &call, &answer, err);
    if (rc < 0)
        return err_wrap(err, "failed to fetch oauth token");
    rc = token_of(&answer, c->realm, ret, err);
    http_answer_clear(&answer);
    return rc;
}

int remote_authorize(struct ctx *ctx, struct remote *r, size_t i, const struct http_headers *answer, char **ret, struct err *err)
{
    AUTO(buf) struct buf all = { 0 };
    struct challenge c = { 0 };
    struct credentials who;
    int rc;

    for (size_t k = 0; k < answer->n; k++)
        if (strcmp(answer->at[k].name, "www-authenticate") == 0)
            buf_printf(&all, "%s%s", buf_len(&all) ? ", " : "", answer->at[k].value);
    challenge_parse(buf_at(&all), &c);
    credentials_of(r, i, &who);
    if (c.scheme && strcmp(c.scheme, "bearer") == 0) {
        rc = fetch_token(ctx, r, i, &c, &who, ret, err);
        if (rc < 0)
            rc = err_wrap(err, "failed to authorize");
    } else if (c.scheme && who.username && *who.username) {
        *ret = basic_header(&who);
        rc = 0;
    } else {
        rc = err_set(err, ERR_UNAUTHORIZED, "pull access denied, repository does not exist or may require authorization: "
                     "authorization failed: no basic auth credentials");
    }
    challenge_clear(&c);
    return rc;
}
