#include "lib/k8s/join_token.h"
#include "test.h"

TEST(join_token_forms)
{
    static const char hash[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    struct join_token t;
    struct err err;
    char text[200];

    snprintf(text, sizeof(text), "K10%s::server:pass:word", hash);
    CHECK_INT(join_token_parse(text, &t, &err), 0);
    CHECK_STR(t.ca_hash, hash);
    CHECK_STR(t.user, "server");
    CHECK_STR(t.password, "pass:word");
    join_token_clear(&t);
    CHECK_INT(join_token_parse("plain", &t, &err), 0);
    CHECK_STR(t.ca_hash, "");
    CHECK_STR(t.user, "");
    CHECK_STR(t.password, "plain");
    join_token_clear(&t);
    CHECK_INT(join_token_parse("K10abc::server:x", &t, &err), -ERR_BAD_REQUEST);
    CHECK_INT(join_token_parse("", &t, &err), -ERR_BAD_REQUEST);
    snprintf(text, sizeof(text), "K10%s::nocolon", hash);
    CHECK_INT(join_token_parse(text, &t, &err), -ERR_BAD_REQUEST);
}
