#include "toy_api.h"

#include "lib/map.h"
#include "lib/mem.h"
#include "test.h"

static int toy_call(void *self, struct ctx *ctx, const struct client_call *call, struct client_answer *ret, struct err *err)
{
    struct toy_api *t = self;
    AUTO_FREE char *key = mem_printf("%s %s", call->method, call->path);
    const char *found = map_get(t->objects, key);

    (void)ctx;
    t->calls++;
    if (t->down)
        return err_set(err, ERR_UNAVAILABLE, "connection refused");
    if (call->body) {
        CHECK(call->body->n < sizeof(t->last_body));
        memcpy(t->last_body, call->body->at, call->body->n + 1);
    }
    const char *text = found ? found : "{\"kind\":\"Status\",\"status\":\"Failure\",\"message\":\"not there\",\"reason\":\"NotFound\",\"code\":404}";
    *ret = (struct client_answer){ .status = found ? 200 : 404, .body = bytes_new(text, strlen(text)) };
    return 0;
}

static void toy_free(void *self)
{
    (void)self;
}

void toy_api_init(struct toy_api *t)
{
    *t = (struct toy_api){ .objects = map_new(free) };
}

void toy_api_clear(struct toy_api *t)
{
    map_free(t->objects);
}

void toy_api_set(struct toy_api *t, const char *call, const char *json)
{
    if (!json) {
        map_del(t->objects, call);
        return;
    }
    char *copy = mem_strdup(json);
    for (char *p = copy; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    map_set(t->objects, call, copy);
}

struct client *toy_api_client(struct toy_api *t)
{
    struct client_transport transport = { .self = t, .call = toy_call, .free = toy_free };

    return client_new(&transport);
}

json_t *toy_json(const char *text)
{
    AUTO_FREE char *copy = mem_strdup(text);
    json_t *v = NULL;
    struct err err = { 0 };

    for (char *p = copy; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    if (json_read(copy, strlen(copy), NULL, NULL, &v, &err) < 0) {
        fprintf(stderr, "bad JSON in a test: %s\n", err.msg);
        exit(1);
    }
    return v;
}
