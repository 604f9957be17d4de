#ifndef LIB_K8S_JOIN_TOKEN_H
#define LIB_K8S_JOIN_TOKEN_H
/*
 * join_token - the token a machine joins with, taken apart: both sides need it. Thread: any.
 * Source: K3s' token form: K10<64 hex>::<user>:<password>, or a bare password.
 */
#include "lib/err.h"

struct join_token {
    char ca_hash[65]; /* "" in the short form: the CA is not checked */
    char *user, *password;
};
/* Errors: BAD_REQUEST saying what the form is. */
CHECK_RC int join_token_parse(const char *text, struct join_token *ret, struct err *err);
void join_token_clear(struct join_token *t);
/* The hash that pins a CA bundle: SHA-256 of the PEM bytes. */
void join_token_hash(const char *ca_pem, char ret[65]);

#endif
