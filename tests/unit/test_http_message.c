#include "lib/http/message.h"
#include "test.h"

#include "lib/mem.h"

TEST(http_message_headers)
{
    struct http_headers h = { 0 };

    http_headers_add(&h, "Content-Type", "application/json");
    http_headers_add(&h, "Connection", "keep-alive , Upgrade");
    http_headers_add(&h, "connection", "x");
    http_headers_add_n(&h, SLICE_LIT("X-Empty"), (struct slice){ NULL, 0 });
    CHECK_STR(h.at[0].name, "content-type");
    CHECK_STR(http_headers_get(&h, "CONTENT-type"), "application/json");
    CHECK_STR(http_headers_get(&h, "x-empty"), "");
    CHECK(http_headers_get(&h, "content") == NULL);
    CHECK(http_headers_has_token(&h, "Connection", "upgrade"));
    CHECK(http_headers_has_token(&h, "Connection", "keep-alive"));
    CHECK(http_headers_has_token(&h, "Connection", "X"));
    CHECK(!http_headers_has_token(&h, "Connection", "keep"));
    CHECK(!http_headers_has_token(&h, "Connection", ""));
    http_headers_set(&h, "Connection", "close");
    CHECK_INT(h.n, 3);
    CHECK_STR(http_headers_get(&h, "connection"), "close");
    for (int i = 0; i < 100; i++)
        http_headers_add(&h, "Many", "v");
    CHECK_INT(h.n, 103);
    http_headers_clear(&h);
    CHECK(h.at == NULL && h.n == 0);
}

TEST(http_message_escapes)
{
    static const struct {
        const char *in, *out; /* out NULL: refused */
        bool plus;
    } rows[] = {
        { "", "", false },       { "abc", "abc", false },   { "a%20b", "a b", false }, { "a+b", "a+b", false },
        { "a+b", "a b", true },  { "%2F%2f", "//", false }, { "%", NULL, false },      { "%1", NULL, false },
        { "%zz", NULL, false },  { "a%4", NULL, false },    { "%41%4", NULL, false },  { "%E2%82%AC", "\xe2\x82\xac", false },
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO(buf) struct buf to = { 0 };
        int rc = url_decode(slice_of(rows[i].in), rows[i].plus, &to);

        CHECK_INT(rc, rows[i].out ? 0 : -1);
        if (rows[i].out)
            CHECK_STR(buf_at(&to), rows[i].out);
    }
    AUTO(buf) struct buf to = { 0 };
    url_encode((struct slice){ "a b/\xe2~-._\0", 10 }, &to);
    CHECK_STR(buf_at(&to), "a%20b%2F%E2~-._%00");
}

TEST(http_message_query)
{
    struct url_query q = { 0 };

    CHECK_INT(url_query_parse(SLICE_LIT("a=1&b=x%3Dy+z&&c&a=2&=v"), &q), 0);
    CHECK_INT(q.n, 5);
    CHECK_STR(url_query_get(&q, "a"), "1");
    CHECK_STR(url_query_get(&q, "b"), "x=y z");
    CHECK_STR(url_query_get(&q, "c"), "");
    CHECK_STR(url_query_get(&q, ""), "v");
    CHECK(url_query_get(&q, "d") == NULL);
    url_query_clear(&q);
    CHECK_INT(url_query_parse(SLICE_LIT("a=%"), &q), -1);
    CHECK_INT(url_query_parse(SLICE_LIT(""), &q), 0);
    CHECK_INT(q.n, 0);

    AUTO(buf) struct buf many = { 0 };
    for (int i = 0; i < 1000; i++)
        buf_str(&many, "k=v&");
    CHECK_INT(url_query_parse((struct slice){ buf_at(&many), buf_len(&many) }, &q), 0);
    CHECK_INT(q.n, 1000);
    url_query_clear(&q);
    buf_str(&many, "k=v");
    CHECK_INT(url_query_parse((struct slice){ buf_at(&many), buf_len(&many) }, &q), -1);
}

TEST(http_message_url)
{
    static const struct {
        const char *in, *scheme, *host, *path;
        int port;
        const char *user, *password;
    } rows[] = {
        { "https://10.0.0.1:6443", "https", "10.0.0.1", "/", 6443, NULL, NULL },
        { "HTTP://Host/a/b?c=d#frag", "http", "Host", "/a/b?c=d", 80, NULL, NULL },
        { "https://[::1]:1/x", "https", "::1", "/x", 1, NULL, NULL },
        { "https://[fe80::1]", "https", "fe80::1", "/", 443, NULL, NULL },
        { "https://h?x=y", "https", "h", "/?x=y", 443, NULL, NULL },
        { "https://u%40:p%3a@h:/", "https", "h", "/", 443, "u@", "p:" },
        { "wss://u@h/a@b", "wss", "h", "/a@b", 443, "u", NULL },
        { "http://h:65535/", "http", "h", "/", 65535, NULL, NULL },
    };
    static const char *const bad[] = { "", "h", "//h", "://h", "1a://h", "http://", "http://:80", "http://[::1", "http://[::1]x",
                                       "http://h:65536", "http://h:8x", "http://h/a b", "http://h/\n", "http://a b/",
                                       "http://u%@h/", "http://u%00@h/", "http://h\x01/" };
    struct err err;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct url u;

        CHECK_INT(url_parse(rows[i].in, &u, &err), 0);
        CHECK_STR(u.scheme, rows[i].scheme);
        CHECK_STR(u.host, rows[i].host);
        CHECK_STR(u.path, rows[i].path);
        CHECK_INT(u.port, rows[i].port);
        CHECK(!u.user == !rows[i].user && !u.password == !rows[i].password);
        if (u.user)
            CHECK_STR(u.user, rows[i].user);
        if (u.password)
            CHECK_STR(u.password, rows[i].password);
        url_clear(&u);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct url u;

        CHECK_INT(url_parse(bad[i], &u, &err), -ERR_BAD_REQUEST);
        CHECK(strstr(err.msg, "parse URL") != NULL);
    }
    CHECK_STR(http_status_text(404), "Not Found");
    CHECK_STR(http_status_text(999), "");
}
