#ifndef AGENT_NETWORK_DNS_ZONE_H
#define AGENT_NETWORK_DNS_ZONE_H
/*
 * dns_zone - the cluster's names: Services and their endpoints, as DNS sees them.
 *
 * Thread: any (one lock). Source: Kubernetes DNS-Based Service Discovery 1.1.0.
 */
#include "agent/network/dns_message.h"
#include "lib/json.h"

struct dns_zone;

struct dns_zone *dns_zone_new(const char *domain); /* "cluster.local" */
void dns_zone_free(struct dns_zone *z);            /* NULL allowed */

/* What informers say; see lib/k8s/informer.h. arg is the zone. */
void dns_zone_service_set(void *arg, const json_t *object, bool first);
void dns_zone_service_delete(void *arg, const json_t *last);
void dns_zone_slice_set(void *arg, const json_t *object, bool first);
void dns_zone_slice_delete(void *arg, const json_t *last);

/* Adds the records for a question and returns true; false when the name is not the cluster's. ExternalName services give the CNAME alone,
 * with its target in *ret_chase (DNS_NAME_BYTES): whoever asked for addresses wants those of the target, too. */
bool dns_zone_answer(struct dns_zone *z, const struct dns_query *q, struct dns_reply *r, enum dns_code *ret_code, char *ret_chase);

#endif
