/* Unpacked layers: one folder each, put in place whole. */
#include "agent/images/images_int.h"

#include "agent/images/layer.h"
#include "agent/images/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

struct pin {
    int n;
};

void layer_pin(struct images *im, const char *chain)
{
    LOCK_SCOPE(&im->lock);
    struct pin *p = map_get(im->pins, chain);

    if (!p) {
        p = MEM_NEW(struct pin);
        map_set(im->pins, chain, p);
    }
    p->n++;
}

void layer_unpin(struct images *im, const char *chain)
{
    LOCK_SCOPE(&im->lock);
    struct pin *p = map_get(im->pins, chain);

    if (p && --p->n == 0)
        map_del(im->pins, chain);
}

bool layer_present(const struct images *im, const char *chain)
{
    return faccessat(im->layers_fd, chain, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

char **layer_chains(char **diff_ids)
{
    size_t n = strv_len(diff_ids);
    char **chains = mem_zalloc((n + 1) * sizeof(char *));
    char below[DIGEST_CHARS + 1] = "", chain[DIGEST_CHARS + 1];

    for (size_t i = 0; i < n; i++) {
        digest_chain(below, diff_ids[i], chain);
        memcpy(below, chain, sizeof(below));
        chains[i] = mem_strdup(digest_hex(chain));
    }
    return chains;
}

char *tmp_name(struct images *im, const char *kind)
{
    return mem_printf("%s-%u", kind, atomic_fetch_add(&im->next_tmp, 1));
}

static int unpack_to(struct ctx *ctx, struct images *im, const struct layer_source *s, int root_fd, struct err *err)
{
    const char *below[IMAGE_LAYERS_MAX];
    struct layer_result result = { 0 };
    struct layer_job job = { .blob_fd = s->blob_fd, .root_fd = root_fd, .layers_fd = im->layers_fd, .below = below,
                             .n_below = s->n, .hash_blob = s->blob_digest != NULL };

    for (size_t i = 0; i < s->n; i++)
        below[i] = s->chains[s->n - 1 - i];
    int rc = layer_unpack(ctx, &job, &result, err);
    if (rc < 0)
        return rc;
    if (s->blob_digest && strcmp(s->blob_digest, result.blob_digest) != 0)
        return err_set(err, ERR_INVALID, "the layer has digest %s, not %s", result.blob_digest, s->blob_digest);
    if (strcmp(s->diff_id, result.diff_id) != 0)
        return err_set(err, ERR_INVALID, "wrong diff id calculated on extraction \"%s\", want \"%s\"", result.diff_id, s->diff_id);
    return 0;
}

static int put_in_place(struct images *im, const char *tmp, const char *chain, struct err *err)
{
    if (renameat2(im->tmp_fd, tmp, im->layers_fd, chain, RENAME_NOREPLACE) < 0 && errno != EEXIST)
        return err_sys(err, errno, "put layer %s in place", chain);
    return fsync(im->layers_fd) < 0 ? err_sys(err, errno, "sync the layers' folder") : 0;
}

int layer_add(struct ctx *ctx, struct images *im, const struct layer_source *s, struct err *err)
{
    const char *chain = s->chains[s->n];
    AUTO(turn) struct turn turn = { 0 };
    AUTO_FREE char *tmp = tmp_name(im, "layer");
    int rc = turn_begin(ctx, im->turns, "layer", chain, &turn, err);
    struct err lost;

    if (rc < 0 || layer_present(im, chain))
        return rc;
    if (mkdirat(im->tmp_fd, tmp, 0755) < 0)
        return err_sys(err, errno, "make folder %s", tmp);
    AUTO_FD int root = openat(im->tmp_fd, tmp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    rc = root < 0 ? err_sys(err, errno, "open folder %s", tmp) : unpack_to(ctx, im, s, root, err);
    if (rc == 0)
        rc = put_in_place(im, tmp, chain, err);
    /* Gone when it was put in place; else images_open looks again. */
    ERR_IGNORE(folder_remove(im->tmp_fd, tmp, NULL, &lost));
    return rc < 0 ? err_wrap(err, "extract layer %s", s->diff_id) : 0;
}
