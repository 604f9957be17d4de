#ifndef AGENT_IMAGES_LAYER_H
#define AGENT_IMAGES_LAYER_H
/*
 * layer - unpacks one archive (tar; gzip, zstd or plain) into a folder that nothing in it can leave.
 *
 * libarchive reads, writing is ours: each name is resolved with the folder as its root (openat2), links are made but never followed out of it,
 * whiteouts become overlayfs' (a 0:0 device; the opaque mark), extended attributes are taken from a short list only.
 * Limits: 64 GB and 2,000,000 entries a layer unless set lower, names and link targets of 4095 bytes.
 * Source: OCI image-spec 1.1 layer.md; Linux filesystems/overlayfs.
 */
#include "agent/images/digest.h"
#include "lib/bytes.h"
#include "lib/ctx.h"

#include <locale.h>

struct layer_job {
    int blob_fd;                     /* read from where it stands to its end */
    int root_fd;                     /* the empty folder */
    int layers_fd;                   /* folder of the layers below; -1: none */
    const char *const *below;        /* their names there, the topmost first; for the owners of folders this archive does not name */
    size_t n_below;
    bool plain;                      /* no layer: no whiteouts, no devices, owner and modes ours */
    bool hash_blob;                  /* tell the digest of the compressed bytes too */
    int64_t bytes_max, entries_max;  /* 0: the limits above */
    locale_t locale;                 /* layer_unpack's own: one of UTF-8; else names beyond ASCII are refused */
};

struct layer_result {
    char diff_id[DIGEST_CHARS + 1];     /* of the uncompressed archive */
    char blob_digest[DIGEST_CHARS + 1]; /* "" unless asked for */
    int64_t bytes, entries;
    struct buf opaque; /* NUL-ended paths of folders that hide what is below them */
};

/* In a child of its own: no network, the folder as its root directory, the fewest capabilities, resource limits. What it wrote is on disk after this.
 * Thread: any worker. Blocks: CPU and disk of the size of the archive.
 * Errors: INVALID (the archive, with the entry's name), TOO_LARGE, IO, TIMEOUT, CANCELED. Owner: ret->opaque is empty. */
CHECK_RC int layer_unpack(struct ctx *ctx, const struct layer_job *job, struct layer_result *ret, struct err *err);

/* --- for the child and the fuzzer: here and now, with the caller's privileges --- */

/* Opaque folders are only listed. Owner: buf_clear(&ret->opaque). */
CHECK_RC int layer_unpack_here(const struct layer_job *job, struct layer_result *ret, struct err *err);

#endif
