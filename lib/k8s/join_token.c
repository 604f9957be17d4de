#include "lib/k8s/join_token.h"

#include "lib/bytes.h"
#include "lib/crypto.h"
#include "lib/mem.h"

#include <string.h>

int join_token_parse(const char *text, struct join_token *ret, struct err *err)
{
    const char *rest = text, *sep = NULL, *colon = NULL;

    *ret = (struct join_token){ 0 };
    if (strncmp(text, "K10", 3) == 0 && (sep = strstr(text, "::"))) {
        if (sep - text != 3 && sep - text != 3 + 64)
            return err_set(err, ERR_BAD_REQUEST, "invalid token CA hash length: allowed are 64 hex digits between K10 and ::");
        memcpy(ret->ca_hash, text + 3, (size_t)(sep - text - 3));
        rest = sep + 2;
        colon = strchr(rest, ':');
        if (!colon)
            return err_set(err, ERR_BAD_REQUEST, "invalid token format: allowed is K10<CA hash>::<user>:<password>");
        ret->user = slice_dup((struct slice){ rest, (size_t)(colon - rest) });
        rest = colon + 1;
    } else {
        ret->user = mem_strdup("");
    }
    ret->password = mem_strdup(rest);
    if (!*rest) {
        join_token_clear(ret);
        return err_set(err, ERR_BAD_REQUEST, "invalid token: the password is empty");
    }
    return 0;
}

void join_token_clear(struct join_token *t)
{
    free(t->user);
    free(t->password);
    *t = (struct join_token){ 0 };
}

void join_token_hash(const char *ca_pem, char ret[65])
{
    sha256_hex(ca_pem, strlen(ca_pem), ret);
}
