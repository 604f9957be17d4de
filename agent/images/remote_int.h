#ifndef AGENT_IMAGES_REMOTE_INT_H
#define AGENT_IMAGES_REMOTE_INT_H
/* What calls, authorization and content of a remote share. */
#include "agent/images/remote.h"

#include "lib/http/client.h"

enum { ANSWER_MS = 30000, IDLE_MS = 60000, REDIRECTS_MAX = 10, TRIES_MAX = 5, TOKEN_MAX_BYTES = 1 << 20, URL_MAX_CHARS = 8192 };

struct remote_client {
    char *origin; /* scheme://host */
    struct http_client *http;
    struct remote_client *next;
};

struct remote {
    struct images *im;
    const struct image_name *name;
    struct registry_host *hosts;
    size_t n_hosts;
    char *username, *password, *token; /* of the pull; NULL: by host */
    bool own_auth;
    pthread_mutex_t lock; /* guards what follows */
    struct remote_client *clients;
    char **authorization; /* a host: the header's value; NULL: not asked yet */
};

struct remote_call {
    const char *method;
    char *url;            /* absolute */
    const char *accept;   /* NULL */
    const char *authorization; /* NULL */
    const char *range;    /* NULL */
    const char *form;     /* body of a POST; NULL */
    size_t max_bytes;
    http_data_fn *fn;     /* NULL: the answer has the body */
    void *arg;
    struct ctx *progress; /* with fn: the ctx whose deadline fn moves on */
};
/* One request, redirects followed. Any status is a success. Errors carry `Get "url": …`. */
CHECK_RC int remote_send(struct ctx *ctx, struct remote *r, const struct remote_call *call, struct http_answer *ret, struct err *err);

/* The same to a path of host i under its repository, authorized; asks for a token when told to. */
CHECK_RC int remote_ask(struct ctx *ctx, struct remote *r, size_t i, const char *path, const struct remote_call *call, struct http_answer *ret,
                        struct err *err);
/* Turns WWW-Authenticate into the header that answers it. Owner: *ret free. Errors: UNAUTHORIZED. */
CHECK_RC int remote_authorize(struct ctx *ctx, struct remote *r, size_t i, const struct http_headers *answer, char **ret, struct err *err);

/* One challenge of the header that we can answer. Exposed for tests and the fuzzer. */
struct challenge {
    char *scheme, *realm, *service, *scope, *error; /* scheme "bearer" or "basic"; NULL when absent */
};
void challenge_parse(const char *text, struct challenge *ret); /* scheme NULL: nothing usable; a bearer goes before a basic */
void challenge_clear(struct challenge *c);

/* An origin's client; lives as long as the remote. */
CHECK_RC int remote_client(struct remote *r, const char *scheme, const char *host, struct http_client **ret, struct err *err);

#endif
