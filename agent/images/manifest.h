#ifndef AGENT_IMAGES_MANIFEST_H
#define AGENT_IMAGES_MANIFEST_H
/*
 * manifest - indexes, manifests and image configurations as structs.
 *
 * Limits: 8 MB of text, 500 layers (what overlayfs takes), 1000 entries of an index. Only sha256.
 * Source: OCI image-spec 1.1; Docker image manifest v2 schema 2. Thread: any.
 */
#include "agent/images/images.h"

enum { MANIFEST_MAX_BYTES = 8 << 20, IMAGE_LAYERS_MAX = 500, INDEX_ENTRIES_MAX = 1000 };

struct descriptor {
    char *media_type, *digest; /* media_type "" when absent */
    int64_t size;              /* >= 0 */
    char *os, *arch, *variant; /* of the platform; "" when absent */
    char *name;                /* of an OCI layout's index: io.containerd.image.name, else the ref name; "" */
};

struct manifest {
    bool index; /* at: manifests; else config, and at: layers */
    struct descriptor config;
    struct descriptor *at;
    size_t n;
};

/* type: the answer's Content-Type; NULL: only what the text says. Errors: INVALID. */
CHECK_RC int manifest_parse(const char *text, size_t n, const char *type, struct manifest *ret, struct err *err);
void manifest_clear(struct manifest *m);
static inline void auto_manifest(struct manifest *m)
{
    manifest_clear(m);
}
/* The entry of an index for a platform, the best variant of it. NOT_FOUND: "no match for platform in manifest". */
CHECK_RC int manifest_choose(const struct manifest *index, const char *os, const char *arch, size_t *ret, struct err *err);
/* "application/vnd.oci…, …": what we ask for. */
extern const char manifest_accept[];

struct image_config {
    struct image_info info; /* id, entrypoint, cmd, env, volumes, working_dir, user, stop_signal; the rest empty */
    char **diff_ids;        /* ends with NULL */
    size_t n;
};
CHECK_RC int image_config_parse(const char *text, size_t n, struct image_config *ret, struct err *err);
void image_config_clear(struct image_config *c);
static inline void auto_image_config(struct image_config *c)
{
    image_config_clear(c);
}
/* Lists of strings that end with NULL. */
size_t strv_len(char **v);             /* NULL: 0 */
void strv_free(char **v);
bool strv_has(char **v, const char *s);
void strv_add(char ***v, const char *s);
bool strv_del(char **v, const char *s);
char **strv_copy(char **v);
/* A JSON list (or an object's keys) of strings. Errors: INVALID. */
CHECK_RC int strv_read(const json_t *v, const char *what, char ***ret, struct err *err);

#endif
