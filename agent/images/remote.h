#ifndef AGENT_IMAGES_REMOTE_H
#define AGENT_IMAGES_REMOTE_H
/*
 * remote - one image's content at its registry and the mirrors of it, for the time of one pull.
 *
 * Asks the endpoints in order, answers challenges (Basic; Bearer with a token from the realm), follows redirects without telling other hosts
 * who we are. A registry that is silent: 30 s for an answer to begin, 60 s between two pieces of a blob. Connections and tokens end with it.
 * Source: OCI distribution-spec 1.1; Docker registry token authentication; RFC 6750. Thread: any workers at once. Blocks: on the network.
 */
#include "agent/images/images_int.h"

#include "agent/images/digest.h"

struct remote;

struct remote_auth { /* borrowed; "" or NULL: none */
    const char *username, *password, *token;
};
/* auth NULL: what registries.yaml says. name stays the caller's and must live as long. */
CHECK_RC int remote_new(struct images *im, const struct image_name *name, const struct remote_auth *auth, struct remote **ret,
                        struct err *err);
void remote_free(struct remote *r); /* NULL allowed */
static inline void auto_remote(struct remote **r)
{
    remote_free(*r);
}

/* The digest behind a tag, without the manifest. Errors as remote_manifest. */
CHECK_RC int remote_digest(struct ctx *ctx, struct remote *r, const char *object, char ret[DIGEST_CHARS + 1], struct err *err);
/* A manifest by tag or digest; the digest of what came is checked. Errors: NOT_FOUND, UNAUTHORIZED, UNAVAILABLE, TIMEOUT, INVALID, IO. */
struct remote_manifest {
    struct bytes *text;
    char *type; /* Content-Type */
    char digest[DIGEST_CHARS + 1];
};
CHECK_RC int remote_manifest(struct ctx *ctx, struct remote *r, const char *object, struct remote_manifest *ret, struct err *err);
void remote_manifest_clear(struct remote_manifest *m);
static inline void auto_remote_manifest(struct remote_manifest *m)
{
    remote_manifest_clear(m);
}
/* A blob into fd (from offset 0), size and digest checked; goes on where a broken connection left it. */
CHECK_RC int remote_blob(struct ctx *ctx, struct remote *r, const char *digest, int64_t size, int fd, struct err *err);

#endif
