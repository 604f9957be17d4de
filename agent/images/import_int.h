#ifndef AGENT_IMAGES_IMPORT_INT_H
#define AGENT_IMAGES_IMPORT_INT_H
/* What the parts of an import share. */
#include "agent/images/images_int.h"

struct import {
    struct images *im;
    int root_fd;   /* the archive's files, unpacked */
    bool pinned;
    char **names;  /* of what came; ends with NULL */
};

/* A whole small file of the archive. Errors: NOT_FOUND, TOO_LARGE, IO. */
CHECK_RC int import_read(const struct import *in, const char *path, char **ret, size_t *ret_n, struct err *err);
CHECK_RC int import_open(const struct import *in, const char *path, int *ret_fd, int64_t *ret_bytes, struct err *err);

/* One image: its configuration's text, the paths of its layers, the digests they must have (NULL: only what the configuration says). */
struct import_image {
    const char *config;
    size_t config_bytes;
    char **paths, **digests;
    char **names; /* as written in the archive */
};
CHECK_RC int import_image(struct ctx *ctx, struct import *in, const struct import_image *i, struct err *err);

CHECK_RC int import_oci(struct ctx *ctx, struct import *in, struct err *err);
CHECK_RC int import_docker(struct ctx *ctx, struct import *in, struct err *err);
/* images_import; pinned: never collected. */
CHECK_RC int import_archive(struct ctx *ctx, struct images *im, const char *path, bool pinned, char ***ret_names, struct err *err);

#endif
