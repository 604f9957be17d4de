#ifndef AGENT_IMAGES_IMAGES_H
#define AGENT_IMAGES_IMAGES_H
/*
 * images - pull from registries (OCI distribution), import archives, keep unpacked layers, mount root filesystems.
 *
 * Blobs are verified against their digest while they stream; layers are unpacked by a short-lived child with no network and the least privileges
 * (libarchive reads, writing is ours with openat2) into <data-dir>/agent/images-store/layers/<chain id>; overlayfs puts them together.
 * A crash at any point leaves either a whole layer or something the next start removes.
 * Source: OCI image-spec 1.1, distribution-spec 1.1, Docker registry token authentication; K3s registries.yaml.
 * Layer:  agent/. Thread: any worker; pulls of one image are joined; calls block on network and disk.
 */
#include "lib/ctx.h"
#include "lib/json.h"
#include "lib/loop.h"
#include "lib/pool.h"

struct images;

struct images_options {
    const char *data_dir;        /* <data-dir>/agent: images-store/, images/ (tarballs to import) */
    const char *registries_file; /* registries.yaml; absent is fine */
    const char *default_registry; /* unused: K3s' system-default-registry is for system images, of which there are none */
    const char *platform_os, *platform_arch; /* NULL: linux and this machine's */
    const struct clock *clock;
    struct loop *loop;
    struct pool *pool;
};
/* Errors: BAD_REQUEST for registries.yaml, naming file, line and key; IO. Removes leftovers of a crash. */
CHECK_RC int images_open(const struct images_options *options, struct images **ret, struct err *err);
void images_close(struct images *im); /* NULL allowed */

/* A name as users write it → canonical: "nginx" → "docker.io/library/nginx:latest". INVALID with "couldn't parse image name …" (InvalidImageName).
 * Each ret may be NULL; tag and digest are "" when absent. Owner: the caller, each. */
CHECK_RC int image_name_parse(const char *text, char **ret_canonical, char **ret_registry, char **ret_repository, char **ret_tag,
                              char **ret_digest, struct err *err);

/* What a container needs to know. Owner: image_info_clear. */
struct image_info {
    char *id;           /* "sha256:…" of the config */
    char *repo_digest;  /* "docker.io/library/nginx@sha256:…"; "" for imported ones without */
    char **names;       /* all tags and digests; ends with NULL */
    char **entrypoint, **cmd, **env, **volumes; /* end with NULL */
    char *working_dir, *user, *stop_signal; /* "" when unset */
    int64_t size_bytes; /* of the compressed layers and config */
};
void image_info_clear(struct image_info *info);

/* A local image by name, digest or id. NOT_FOUND. */
CHECK_RC int images_find(struct images *im, const char *name, struct image_info *ret, struct err *err);

struct image_auth { /* from imagePullSecrets: tried in order, the longest matching registry prefix first */
    const char *registry, *username, *password, *token; /* token: identity/registry token; NULL */
};
/* Pulls (also when present: a moved tag is seen). Errors: NOT_FOUND / UNAUTHORIZED / UNAVAILABLE / TIMEOUT / IO with upstream's words:
 * `failed to pull and unpack image "…": failed to resolve reference "…": …: not found`. */
CHECK_RC int images_pull(struct ctx *ctx, struct images *im, const char *name, const struct image_auth *auths, size_t n_auths,
                         struct image_info *ret, struct err *err);
/* Imports one archive (docker save or OCI layout tar; .gz, .zst); ret_names (ends with NULL; free each) tells what came. */
CHECK_RC int images_import(struct ctx *ctx, struct images *im, const char *path, char ***ret_names, struct err *err);
/* Imports what is new in <data-dir>/agent/images (also image lists *.txt to pull); errors of single files are logged and the rest goes on. */
CHECK_RC int images_import_folder(struct ctx *ctx, struct images *im, struct err *err);

/* A root filesystem for a container: overlay of the image's layers and a writable layer, mounted at a path given back.
 * Idempotent for one key (container id). Owner: *ret_rootfs free. */
CHECK_RC int images_mount(struct ctx *ctx, struct images *im, const char *image_id, const char *key, char **ret_rootfs, struct err *err);
/* Unmounts and removes the writable layer. NOT_FOUND is success. */
CHECK_RC int images_unmount(struct ctx *ctx, struct images *im, const char *key, struct err *err);
/* After a start: unmounts every key but these, which a crash may have left between mount and container. What fails is logged and stays. */
CHECK_RC int images_retain(struct ctx *ctx, struct images *im, const char *const *keys, size_t n_keys, struct err *err);
/* The numbers behind a user name of the image ("www-data", "1000", "1000:50"): looks into the rootfs' passwd and group safely. */
CHECK_RC int images_user(const char *rootfs, const char *user, int64_t *ret_uid, int64_t *ret_gid, int64_t **ret_groups, size_t *ret_n,
                         struct err *err);

typedef void images_each_fn(void *arg, const struct image_info *info);
void images_each(struct images *im, images_each_fn *fn, void *arg); /* for the node's status */
/* Removes an image and layers nobody uses. CONFLICT while a container uses it. */
CHECK_RC int images_remove(struct ctx *ctx, struct images *im, const char *name, struct err *err);
/* Removes unused images, least recently used first, until bytes are freed; keeps those in use. */
CHECK_RC int images_gc(struct ctx *ctx, struct images *im, int64_t free_bytes, int64_t *ret_freed, struct err *err);

#endif
