#ifndef SERVER_CONTROLLERS_SERVICE_INDEX_H
#define SERVER_CONTROLLERS_SERVICE_INDEX_H
/*
 * service_index - the selectors of services, so that a pod's change names the services it touches. Thread: any.
 */
#include "lib/bytes.h"
#include "lib/json.h"

struct service_index;
struct service_index *service_index_new(void);
void service_index_free(struct service_index *x);
void service_index_set(struct service_index *x, const json_t *service);
void service_index_del(struct service_index *x, const char *key);
/* Each service of the namespace whose selector takes these labels ("key\0value\0…"). */
void service_index_each(struct service_index *x, const char *ns, struct slice labels, void (*fn)(void *arg, const char *key), void *arg);

#endif
