/* OCI image layouts: index.json, blobs/sha256/. */
#include "agent/images/import_int.h"

#include "agent/images/digest.h"

#include <string.h>

enum { INDEX_DEPTH_MAX = 4 };

static void blob_path(const char *digest, char to[96])
{
    snprintf(to, 96, "blobs/sha256/%s", digest_hex(digest));
}

/* A small blob, checked against its digest. */
static int blob_read(const struct import *in, const char *digest, char **ret, size_t *ret_n, struct err *err)
{
    AUTO_FREE char *text = NULL;
    char path[96], got[DIGEST_CHARS + 1];

    blob_path(digest, path);
    int rc = import_read(in, path, &text, ret_n, err);
    if (rc < 0)
        return rc;
    digest_of(text, *ret_n, got);
    if (strcmp(got, digest) != 0)
        return err_set(err, ERR_INVALID, "%s of the archive has digest %s", path, got);
    *ret = TAKE(text);
    return 0;
}

static int image_of(struct ctx *ctx, struct import *in, const struct manifest *m, char **names, struct err *err)
{
    AUTO_FREE char *config = NULL;
    struct import_image i = { .names = names };
    char path[96];
    int rc = blob_read(in, m->config.digest, &config, &i.config_bytes, err);

    if (rc < 0)
        return rc;
    i.config = config;
    i.paths = mem_zalloc(sizeof(char *));
    i.digests = mem_zalloc(sizeof(char *));
    for (size_t k = 0; k < m->n; k++) {
        blob_path(m->at[k].digest, path);
        strv_add(&i.paths, path);
        strv_add(&i.digests, m->at[k].digest);
    }
    rc = import_image(ctx, in, &i, err);
    strv_free(i.paths);
    strv_free(i.digests);
    return rc;
}

/* One entry of index.json; an index in it is asked for our platform. */
static int import_entry(struct ctx *ctx, struct import *in, const struct descriptor *d, struct err *err)
{
    char *names[] = { d->name, NULL };
    char digest[DIGEST_CHARS + 1];

    memcpy(digest, d->digest, sizeof(digest));
    for (int depth = 0; depth < INDEX_DEPTH_MAX; depth++) {
        AUTO(manifest) struct manifest m = { 0 };
        AUTO_FREE char *text = NULL;
        size_t n = 0, at = 0;
        int rc = blob_read(in, digest, &text, &n, err);

        if (rc == 0)
            rc = manifest_parse(text, n, NULL, &m, err);
        if (rc < 0)
            return rc;
        if (!m.index)
            return image_of(ctx, in, &m, *d->name ? names : NULL, err);
        rc = manifest_choose(&m, in->im->os, in->im->arch, &at, err);
        if (rc < 0)
            return rc;
        memcpy(digest, m.at[at].digest, sizeof(digest));
    }
    return err_set(err, ERR_INVALID, "more than %d indexes in each other", INDEX_DEPTH_MAX);
}

/* Entries for other platforms are not ours, when one is for ours or none says. */
static bool is_foreign(const struct import *in, const struct descriptor *d)
{
    return (*d->os && strcmp(d->os, in->im->os) != 0) || (*d->arch && strcmp(d->arch, in->im->arch) != 0);
}

int import_oci(struct ctx *ctx, struct import *in, struct err *err)
{
    AUTO(manifest) struct manifest m = { 0 };
    AUTO_FREE char *text = NULL;
    size_t n = 0, taken = 0;
    int rc = import_read(in, "index.json", &text, &n, err);

    if (rc == 0)
        rc = manifest_parse(text, n, NULL, &m, err);
    if (rc == 0 && !m.index)
        rc = err_set(err, ERR_INVALID, "index.json is no index");
    for (size_t i = 0; rc == 0 && i < m.n; i++) {
        if (is_foreign(in, &m.at[i]))
            continue;
        rc = import_entry(ctx, in, &m.at[i], err);
        taken++;
    }
    if (rc == 0 && taken == 0)
        rc = err_set(err, ERR_NOT_FOUND, "no image for %s/%s in index.json", in->im->os, in->im->arch);
    return rc;
}
