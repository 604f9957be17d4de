#ifndef LIB_K8S_EVENT_H
#define LIB_K8S_EVENT_H
/*
 * event - core/v1 Events about objects, with the correlation client-go does: repeats of one (object, type, reason, message) raise
 * `count` by patch; more than 25 of one source and object are dropped, refilled one in 5 minutes.
 * Never fails its caller: events are written on a family of the pool, bounded, the oldest dropped.
 * Source: k8s.io/client-go tools/record. Thread: any.
 */
#include "lib/k8s/client.h"
#include "lib/pool.h"

struct events;
struct events *events_new(struct client *client, struct pool *pool, const struct clock *clock, const char *component,
                          const char *host); /* component "kubelet", host node name or "" */
void events_free(struct events *e);
/* about: the object tree (kind, apiVersion, metadata are read). type "Normal" or "Warning". field_path NULL or "spec.containers{web}". */
void event_record(struct events *e, const json_t *about, const char *field_path, const char *type, const char *reason,
                  const char *fmt, ...) PRINTF_LIKE(6, 7);

#endif
