#include "lib/http/message.h"

#include "lib/mem.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

enum { QUERY_PAIRS_MAX = 1000, PORT_MAX = 65535 };

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* One allocation: the name, its NUL, the value, its NUL. */
static struct http_header pair_new(struct slice name, struct slice value)
{
    struct http_header h;

    h.name = mem_alloc(name.n + value.n + 2);
    if (name.n)
        memcpy(h.name, name.at, name.n);
    h.name[name.n] = '\0';
    h.value = h.name + name.n + 1;
    if (value.n)
        memcpy(h.value, value.at, value.n);
    h.value[value.n] = '\0';
    return h;
}

void http_headers_add_n(struct http_headers *h, struct slice name, struct slice value)
{
    if (h->n == h->cap) {
        h->cap = h->cap ? h->cap * 2 : 8;
        h->at = mem_realloc(h->at, h->cap * sizeof(*h->at));
    }
    struct http_header *new = &h->at[h->n++];

    *new = pair_new(name, value);
    for (char *p = new->name; *p; p++)
        *p = lower(*p);
}

void http_headers_add(struct http_headers *h, const char *name, const char *value)
{
    http_headers_add_n(h, slice_of(name), slice_of(value));
}

void http_headers_set(struct http_headers *h, const char *name, const char *value)
{
    size_t kept = 0;

    for (size_t i = 0; i < h->n; i++) {
        if (strcasecmp(h->at[i].name, name) == 0)
            free(h->at[i].name);
        else
            h->at[kept++] = h->at[i];
    }
    h->n = kept;
    http_headers_add(h, name, value);
}

const char *http_headers_get(const struct http_headers *h, const char *name)
{
    for (size_t i = 0; i < h->n; i++)
        if (strcasecmp(h->at[i].name, name) == 0)
            return h->at[i].value;
    return NULL;
}

static bool list_has(const char *list, const char *token)
{
    size_t n = strlen(token);

    while (*list) {
        list += strspn(list, " \t,");
        size_t len = strcspn(list, ",");
        size_t end = len;

        while (end && (list[end - 1] == ' ' || list[end - 1] == '\t'))
            end--;
        if (end == n && strncasecmp(list, token, n) == 0)
            return true;
        list += len;
    }
    return false;
}

bool http_headers_has_token(const struct http_headers *h, const char *name, const char *token)
{
    for (size_t i = 0; i < h->n; i++)
        if (strcasecmp(h->at[i].name, name) == 0 && list_has(h->at[i].value, token))
            return true;
    return false;
}

void http_headers_clear(struct http_headers *h)
{
    for (size_t i = 0; i < h->n; i++)
        free(h->at[i].name);
    free(h->at);
    *h = (struct http_headers){ 0 };
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int url_decode(struct slice s, bool plus, struct buf *to)
{
    char *p = buf_space(to, s.n);
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        char c = s.at[i];

        if (c == '%') {
            int high = i + 2 < s.n ? hex_value(s.at[i + 1]) : -1;
            int low = i + 2 < s.n ? hex_value(s.at[i + 2]) : -1;

            if (high < 0 || low < 0)
                return -1;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        p[n++] = c;
    }
    buf_used(to, n);
    return 0;
}

void url_encode(struct slice s, struct buf *to)
{
    static const char hex[] = "0123456789ABCDEF";

    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.at[i];

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("-._~", c))) {
            buf_char(to, (char)c);
        } else {
            buf_char(to, '%');
            buf_char(to, hex[c >> 4]);
            buf_char(to, hex[c & 15]);
        }
    }
}

static int query_pair(struct slice part, struct url_query *q)
{
    AUTO(buf) struct buf name = { 0 };
    AUTO(buf) struct buf value = { 0 };
    const char *eq = memchr(part.at, '=', part.n);
    size_t n = eq ? (size_t)(eq - part.at) : part.n;

    if (q->n == QUERY_PAIRS_MAX)
        return -1;
    if (url_decode((struct slice){ part.at, n }, true, &name) < 0)
        return -1;
    if (eq && url_decode((struct slice){ eq + 1, part.n - n - 1 }, true, &value) < 0)
        return -1;
    if ((q->n & (q->n - 1)) == 0) /* grows at 0, 1, 2, 4, … */
        q->at = mem_realloc(q->at, (q->n ? q->n * 2 : 1) * sizeof(*q->at));
    q->at[q->n++] = pair_new((struct slice){ buf_at(&name), buf_len(&name) },
                             (struct slice){ buf_at(&value), buf_len(&value) });
    return 0;
}

int url_query_parse(struct slice raw, struct url_query *ret)
{
    struct url_query q = { 0 };

    while (raw.n) {
        const char *amp = memchr(raw.at, '&', raw.n);
        size_t n = amp ? (size_t)(amp - raw.at) : raw.n;

        if (n && query_pair((struct slice){ raw.at, n }, &q) < 0) {
            url_query_clear(&q);
            return -1;
        }
        n += amp != NULL;
        raw = (struct slice){ raw.at + n, raw.n - n };
    }
    *ret = q;
    return 0;
}

const char *url_query_get(const struct url_query *q, const char *name)
{
    for (size_t i = 0; i < q->n; i++)
        if (strcmp(q->at[i].name, name) == 0)
            return q->at[i].value;
    return NULL;
}

void url_query_clear(struct url_query *q)
{
    for (size_t i = 0; i < q->n; i++)
        free(q->at[i].name);
    free(q->at);
    *q = (struct url_query){ 0 };
}

static const struct {
    const char *scheme;
    int port;
} schemes[] = { { "http", 80 }, { "https", 443 }, { "ws", 80 }, { "wss", 443 } };

static int url_scheme(const char *text, size_t n, struct url *u, struct err *err)
{
    if (n == 0)
        return err_set(err, ERR_BAD_REQUEST, "the scheme is missing");
    for (size_t i = 0; i < n; i++) {
        char c = lower(text[i]);
        bool letter = c >= 'a' && c <= 'z';

        if (!letter && (i == 0 || !((c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.')))
            return err_set(err, ERR_BAD_REQUEST, "bad character in the scheme");
    }
    u->scheme = slice_dup((struct slice){ text, n });
    for (char *p = u->scheme; *p; p++)
        *p = lower(*p);
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
        if (strcmp(u->scheme, schemes[i].scheme) == 0)
            u->port = schemes[i].port;
    return 0;
}

static int url_part(struct slice s, char **ret)
{
    AUTO(buf) struct buf text = { 0 };

    if (url_decode(s, false, &text) < 0 || memchr(buf_at(&text), '\0', buf_len(&text)))
        return -1;
    *ret = buf_take_str(&text);
    return 0;
}

static int url_user(struct slice s, struct url *u, struct err *err)
{
    const char *colon = memchr(s.at, ':', s.n);
    size_t n = colon ? (size_t)(colon - s.at) : s.n;

    if (url_part((struct slice){ s.at, n }, &u->user) < 0 ||
        (colon && url_part((struct slice){ colon + 1, s.n - n - 1 }, &u->password) < 0))
        return err_set(err, ERR_BAD_REQUEST, "bad escape in the user name or password");
    return 0;
}

static int url_port(struct slice s, struct url *u, struct err *err)
{
    int port = 0;

    if (s.n == 0)
        return 0; /* "host:" has the default port */
    for (size_t i = 0; i < s.n; i++) {
        if (s.at[i] < '0' || s.at[i] > '9')
            return err_set(err, ERR_BAD_REQUEST, "the port is not a number");
        port = port * 10 + (s.at[i] - '0');
        if (port > PORT_MAX)
            return err_set(err, ERR_BAD_REQUEST, "the port is over %d", PORT_MAX);
    }
    u->port = port;
    return 0;
}

static int url_host(struct slice s, struct url *u, struct err *err)
{
    const char *end;

    if (s.n && s.at[0] == '[') {
        const char *close = memchr(s.at, ']', s.n);

        if (!close)
            return err_set(err, ERR_BAD_REQUEST, "'[' without ']' in the host");
        u->host = slice_dup((struct slice){ s.at + 1, (size_t)(close - s.at - 1) });
        end = close + 1;
    } else {
        const char *colon = memchr(s.at, ':', s.n);

        end = colon ? colon : s.at + s.n;
        u->host = slice_dup((struct slice){ s.at, (size_t)(end - s.at) });
    }
    if (!*u->host)
        return err_set(err, ERR_BAD_REQUEST, "the host is missing");
    for (const char *p = u->host; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 0x7f || strchr("<>\"\\^`{|}", *p))
            return err_set(err, ERR_BAD_REQUEST, "bad character in the host");
    if (end == s.at + s.n)
        return 0;
    if (*end != ':')
        return err_set(err, ERR_BAD_REQUEST, "garbage after the host");
    return url_port((struct slice){ end + 1, s.n - (size_t)(end + 1 - s.at) }, u, err);
}

static int url_fill(const char *text, struct url *u, struct err *err)
{
    const char *sep = strstr(text, "://");

    if (!sep)
        return err_set(err, ERR_BAD_REQUEST, "'://' is missing");
    int rc = url_scheme(text, (size_t)(sep - text), u, err);
    if (rc < 0)
        return rc;
    const char *authority = sep + 3;
    size_t n = strcspn(authority, "/?#");
    const char *rest = authority + n;
    const char *at = memrchr(authority, '@', n);
    size_t n_user = at ? (size_t)(at - authority) : 0;

    if (at && (rc = url_user((struct slice){ authority, n_user }, u, err)) < 0)
        return rc;
    const char *host = at ? at + 1 : authority;
    rc = url_host((struct slice){ host, (size_t)(rest - host) }, u, err);
    if (rc < 0)
        return rc;
    size_t n_path = strcspn(rest, "#");
    for (size_t i = 0; i < n_path; i++)
        if ((unsigned char)rest[i] <= ' ' || rest[i] == 0x7f)
            return err_set(err, ERR_BAD_REQUEST, "space or control character in the path");
    u->path = mem_printf("%s%.*s", *rest == '/' ? "" : "/", (int)n_path, rest);
    return 0;
}

int url_parse(const char *text, struct url *ret, struct err *err)
{
    enum { URL_BYTES_MAX = 64 * 1024 };
    struct url u = { 0 };
    int rc = strnlen(text, URL_BYTES_MAX + 1) > URL_BYTES_MAX
                 ? err_set(err, ERR_BAD_REQUEST, "longer than %d bytes", URL_BYTES_MAX)
                 : url_fill(text, &u, err);

    if (rc < 0) {
        url_clear(&u);
        return err_wrap(err, "parse URL \"%.100s\"", text);
    }
    *ret = u;
    return 0;
}

void url_clear(struct url *u)
{
    free(u->scheme);
    free(u->host);
    free(u->path);
    free(u->user);
    free(u->password);
    *u = (struct url){ 0 };
}

/* Source: the IANA registry of HTTP status codes. */
static const struct {
    int status;
    const char *text;
} statuses[] = {
    { 100, "Continue" },
    { 101, "Switching Protocols" },
    { 200, "OK" },
    { 201, "Created" },
    { 202, "Accepted" },
    { 203, "Non-Authoritative Information" },
    { 204, "No Content" },
    { 205, "Reset Content" },
    { 206, "Partial Content" },
    { 300, "Multiple Choices" },
    { 301, "Moved Permanently" },
    { 302, "Found" },
    { 303, "See Other" },
    { 304, "Not Modified" },
    { 307, "Temporary Redirect" },
    { 308, "Permanent Redirect" },
    { 400, "Bad Request" },
    { 401, "Unauthorized" },
    { 402, "Payment Required" },
    { 403, "Forbidden" },
    { 404, "Not Found" },
    { 405, "Method Not Allowed" },
    { 406, "Not Acceptable" },
    { 407, "Proxy Authentication Required" },
    { 408, "Request Timeout" },
    { 409, "Conflict" },
    { 410, "Gone" },
    { 411, "Length Required" },
    { 412, "Precondition Failed" },
    { 413, "Request Entity Too Large" },
    { 414, "Request URI Too Long" },
    { 415, "Unsupported Media Type" },
    { 416, "Requested Range Not Satisfiable" },
    { 417, "Expectation Failed" },
    { 421, "Misdirected Request" },
    { 422, "Unprocessable Entity" },
    { 425, "Too Early" },
    { 426, "Upgrade Required" },
    { 428, "Precondition Required" },
    { 429, "Too Many Requests" },
    { 431, "Request Header Fields Too Large" },
    { 500, "Internal Server Error" },
    { 501, "Not Implemented" },
    { 502, "Bad Gateway" },
    { 503, "Service Unavailable" },
    { 504, "Gateway Timeout" },
    { 505, "HTTP Version Not Supported" },
    { 507, "Insufficient Storage" },
};

const char *http_status_text(int status)
{
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++)
        if (statuses[i].status == status)
            return statuses[i].text;
    return "";
}
