#ifndef AGENT_IMAGES_NAME_H
#define AGENT_IMAGES_NAME_H
/* name - an image name taken apart. Thread: any. Source: the reference grammar of distribution-spec 1.1 and Docker's short names. */
#include "agent/images/images.h"

struct image_name {
    char *canonical, *registry, *repository; /* "docker.io/library/nginx:latest", "docker.io", "library/nginx" */
    char *tag, *digest;                      /* "" when absent; a name with neither gets "latest" */
};
CHECK_RC int image_name_read(const char *text, struct image_name *ret, struct err *err); /* as image_name_parse */
void image_name_clear(struct image_name *n);
static inline void auto_image_name(struct image_name *n)
{
    image_name_clear(n);
}
/* What a manifest is asked for by: the digest, else the tag. Borrowed. */
const char *image_name_object(const struct image_name *n);
/* "docker.io/library/nginx@sha256:…"; free. */
char *image_name_with_digest(const struct image_name *n, const char *digest);

#endif
