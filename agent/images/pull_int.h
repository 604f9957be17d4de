#ifndef AGENT_IMAGES_PULL_INT_H
#define AGENT_IMAGES_PULL_INT_H
/* What the parts of a pull share. */
#include "agent/images/remote.h"

struct pull {
    struct images *im;
    const struct image_name *name;
    struct remote *remote;
};

enum { PULL_DOWNLOADS = 3, PULL_AHEAD = 8 };

/* Fetches what is missing, PULL_DOWNLOADS at a time and at most PULL_AHEAD ahead of unpacking, which goes in order. */
CHECK_RC int pull_layers(struct ctx *ctx, struct pull *p, const struct manifest *m, char **diff_ids, char **chains, struct err *err);

/* How much of "registry/repository" a credential's registry names ("https://index.docker.io/v1/", "*.example.com", "host:5000/team"); 0: none. */
size_t pull_auth_match(const char *registry, const char *full);

#endif
