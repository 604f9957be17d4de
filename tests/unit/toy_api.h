#ifndef TESTS_TOY_API_H
#define TESTS_TOY_API_H
/* toy_api - a client whose server is a table of objects by path; POST answers from the same table. Thread: the test's. */
#include "lib/k8s/client.h"

struct toy_api {
    struct map *objects; /* "GET /api/v1/…" to JSON text (malloc) */
    int calls;           /* all of them */
    bool down;           /* every call fails UNAVAILABLE */
    char last_body[4096];
};

void toy_api_init(struct toy_api *t);
void toy_api_clear(struct toy_api *t);
/* call: "GET /path" or "POST /path"; json NULL removes it (404). */
void toy_api_set(struct toy_api *t, const char *call, const char *json);
struct client *toy_api_client(struct toy_api *t); /* client_free */
json_t *toy_json(const char *text);               /* CHECKs that it can be read; ' stands for " */

#endif
