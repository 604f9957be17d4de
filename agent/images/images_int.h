#ifndef AGENT_IMAGES_INT_H
#define AGENT_IMAGES_INT_H
/*
 * What the files of the image room share.
 *
 *   images-store/
 *     format            number of the layout
 *     images/<id>.json  one image; replaced atomically; its time tells when it was last used
 *     layers/<chain>/   one unpacked layer, whole; mode 0700 keeps set-uid files in it from the host's users
 *     rw/<key>/         upper/ work/ rootfs/ image (the id) of one container
 *     tmp/              what is not finished, or going; emptied by images_open
 *     l/<short>         links to layers, for mounts that must be short
 *     empty/            the layer of images without one
 *     imported.json     which files of the import folder are known
 */
#include "agent/images/images.h"
#include "agent/images/manifest.h"
#include "agent/images/name.h"
#include "agent/images/registries.h"
#include "agent/images/turns.h"
#include "lib/map.h"

enum { STORE_FORMAT = 1, HEX_CHARS = 64, RECORD_MAX_BYTES = 1 << 20 };

struct image {
    struct image_info info;
    char **chains;        /* hex, the lowest first; ends with NULL */
    bool pinned;          /* imported from the folder: never collected */
    int64_t last_used_s;
};
void image_free(struct image *i);

struct images {
    char *dir;            /* <data-dir>/images-store */
    char *import_dir;     /* <data-dir>/images */
    int dir_fd, layers_fd, tmp_fd, rw_fd, images_fd;
    char *os, *arch;
    struct registries *registries;
    const struct clock *clock;
    struct loop *loop;
    struct pool *pool;
    struct turns *turns;  /* pull/<name>, layer/<chain>, records/, rw/<key>, import/<path>, gc/ */
    _Atomic unsigned next_tmp;
    pthread_mutex_t lock; /* guards what follows */
    struct map *by_id;    /* "sha256:…" -> struct image */
    struct map *by_name;  /* canonical name or digest name -> struct image, borrowed */
    struct map *mounts;   /* key -> image id */
    struct map *pins;     /* chain -> how many pulls need it kept (struct pin) */
};

/* --- store.c: the records --- */

CHECK_RC int store_load(struct images *im, struct err *err);
/* Takes `image` in: joins it with the one of the same id, moves `name` (NULL: none) to it. Steals image. ret: a copy of what is kept; may be NULL. */
CHECK_RC int store_put(struct ctx *ctx, struct images *im, struct image *image, const char *name, struct image_info *ret, struct err *err);
/* Called with im->lock. NULL when absent. */
struct image *store_lookup(struct images *im, const char *name);
/* Takes the image out and removes its record. Only with the "records" turn. */
CHECK_RC int store_drop(struct images *im, const char *id, struct err *err);
void image_info_copy(const struct image_info *from, struct image_info *to);
/* The same as seen under a canonical name: the digest is the latest of that name's repository, where there is one. */
void image_info_for(const struct image_info *from, const char *name, struct image_info *to);
void store_touch(struct images *im, const char *id); /* used now */

/* --- layers.c: unpacked layers --- */

/* Keeps a layer from being collected until unpin, if it is there or not. */
void layer_pin(struct images *im, const char *chain);
void layer_unpin(struct images *im, const char *chain);
bool layer_present(const struct images *im, const char *chain);
/* Unpacks blob_fd as layer chains[n]; chains below are there. Verifies diff_id; blob_digest NULL: not verified. Joined with others at the same. */
struct layer_source {
    int blob_fd;
    const char *diff_id, *blob_digest;
    char **chains;
    size_t n;
};
CHECK_RC int layer_add(struct ctx *ctx, struct images *im, const struct layer_source *s, struct err *err);
/* The chain names of diff ids; ends with NULL. */
char **layer_chains(char **diff_ids);
/* A new name in tmp/. */
char *tmp_name(struct images *im, const char *kind);

static inline void auto_image(struct image **i)
{
    image_free(*i);
}

#endif
