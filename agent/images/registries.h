#ifndef AGENT_IMAGES_REGISTRIES_H
#define AGENT_IMAGES_REGISTRIES_H
/*
 * registries - K3s' registries.yaml: which endpoints stand for a registry, what to say and to believe there.
 *
 * mirrors.<registry>.{endpoint[],rewrite{}}, configs.<host>.{auth{username,password,auth,identity_token},tls{ca_file,cert_file,key_file,
 * insecure_skip_verify}}; "*" in both. Limits: 1 MB, 64 endpoints, patterns with a match limit. Read once; immutable; any thread.
 * Source: docs.k3s.io, private registry; facts k3s-surface 2.1.
 */
#include "lib/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct registries;

/* path NULL or absent: nothing is configured. Errors: BAD_REQUEST naming file, line and key; IO. */
CHECK_RC int registries_read(const char *path, struct registries **ret, struct err *err);
void registries_free(struct registries *r); /* NULL allowed */

/* Where a registry's content can be got, in the order to try. Owner: registry_hosts_free. */
struct registry_host {
    char *scheme, *host; /* host with port: what Host: says */
    char *prefix;        /* "/v2", or an endpoint's own path */
    char *repository;    /* rewritten for this endpoint */
    bool mirror;         /* asked with ?ns=<registry> */
};
CHECK_RC int registry_hosts(const struct registries *r, const char *registry, const char *repository, struct registry_host **ret,
                            size_t *ret_n, struct err *err);
void registry_hosts_free(struct registry_host *h, size_t n);

/* What is said to a host; borrowed, "" when unset. */
struct registry_config {
    const char *username, *password, *identity_token;
    const char *ca_file, *cert_file, *key_file;
    bool insecure;
};
void registry_config_of(const struct registries *r, const char *host, struct registry_config *ret);

#endif
