#include "server/controllers/service_index.h"

#include "lib/k8s/meta.h"
#include "lib/k8s/selector.h"
#include "lib/map.h"

#include <pthread.h>
#include <string.h>

struct entry {
    char *ns;
    struct arena *arena; /* the selector's */
    struct selector *selector;
};

struct service_index {
    pthread_mutex_t lock;
    struct map *at; /* key -> struct entry */
};

static void entry_free(void *p)
{
    struct entry *e = p;

    free(e->ns);
    arena_free(e->arena);
    free(e);
}

struct service_index *service_index_new(void)
{
    struct service_index *x = MEM_NEW(struct service_index);

    pthread_mutex_init(&x->lock, NULL);
    x->at = map_new(entry_free);
    return x;
}

void service_index_free(struct service_index *x)
{
    if (!x)
        return;
    map_free(x->at);
    pthread_mutex_destroy(&x->lock);
    free(x);
}

void service_index_set(struct service_index *x, const json_t *service)
{
    AUTO_FREE char *key = meta_key(service);
    const json_t *selector = json_at(service, "spec.selector");

    if (json_object_size(selector) == 0) {
        service_index_del(x, key);
        return;
    }
    struct entry *e = MEM_NEW(struct entry);
    e->ns = mem_strdup(meta_namespace(service));
    e->arena = arena_new();
    e->selector = selector_of_map(e->arena, selector);
    LOCK_SCOPE(&x->lock);
    map_set(x->at, key, e);
}

void service_index_del(struct service_index *x, const char *key)
{
    LOCK_SCOPE(&x->lock);

    map_del(x->at, key);
}

void service_index_each(struct service_index *x, const char *ns, struct slice labels, void (*fn)(void *arg, const char *key), void *arg)
{
    size_t pos = 0;
    const char *key = NULL;
    void *v = NULL;
    LOCK_SCOPE(&x->lock);

    while (map_next(x->at, &pos, &key, &v)) {
        const struct entry *e = v;

        if (strcmp(e->ns, ns) == 0 && selector_match_flat(e->selector, labels))
            fn(arg, key);
    }
}
