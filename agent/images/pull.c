/* Pulls: resolve, choose the platform, fetch layers (three at a time), unpack them in order, keep the record. */
#include "agent/images/pull_int.h"

#include "agent/images/folder.h"
#include "lib/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

enum { INDEX_DEPTH_MAX = 4 };

/* --- manifest and configuration --- */

/* The name's local image when the registry still means it. */
static bool still_same(struct images *im, const struct image_name *name, const char *digest, struct image_info *ret)
{
    AUTO_FREE char *full = image_name_with_digest(name, digest);

    LOCK_SCOPE(&im->lock);
    struct image *i = map_get(im->by_name, name->canonical);
    if (!i || !strv_has(i->info.names, full))
        return false;
    image_info_for(&i->info, full, ret);
    i->last_used_s = clock_wall_s(im->clock);
    return true;
}

static bool is_local(struct images *im, const char *name)
{
    LOCK_SCOPE(&im->lock);
    return map_get(im->by_name, name) != NULL;
}

/* *ret_top: the digest the name stands for; m: the image's manifest for our platform. */
static int find_manifest(struct ctx *ctx, struct pull *p, struct manifest *m, char ret_top[DIGEST_CHARS + 1], struct err *err)
{
    AUTO_FREE char *object = mem_strdup(image_name_object(p->name));

    for (int depth = 0; depth < INDEX_DEPTH_MAX; depth++) {
        AUTO(remote_manifest) struct remote_manifest text = { 0 };
        AUTO(manifest) struct manifest found = { 0 };
        size_t i = 0;
        int rc = remote_manifest(ctx, p->remote, object, &text, err);

        if (rc == 0)
            rc = manifest_parse(text.text->at, text.text->n, text.type, &found, err);
        if (rc < 0)
            return rc;
        if (depth == 0)
            memcpy(ret_top, text.digest, DIGEST_CHARS + 1);
        if (!found.index) {
            *m = found;
            found = (struct manifest){ 0 };
            return 0;
        }
        rc = manifest_choose(&found, p->im->os, p->im->arch, &i, err);
        if (rc < 0)
            return rc;
        free(object);
        object = mem_strdup(found.at[i].digest);
    }
    return err_set(err, ERR_INVALID, "more than %d indexes in each other", INDEX_DEPTH_MAX);
}

static int get_config(struct ctx *ctx, struct pull *p, const struct descriptor *d, struct image_config *ret, struct err *err)
{
    AUTO_FD int fd = memfd_create("config", MFD_CLOEXEC);
    AUTO_FREE char *text = NULL;

    if (d->size > MANIFEST_MAX_BYTES)
        return err_set(err, ERR_INVALID, "the image configuration has more than %d bytes", MANIFEST_MAX_BYTES);
    if (fd < 0)
        return err_sys(err, errno, "hold the image configuration");
    int rc = remote_blob(ctx, p->remote, d->digest, d->size, fd, err);
    if (rc < 0)
        return rc;
    text = mem_alloc((size_t)d->size + 1);
    if (pread(fd, text, (size_t)d->size, 0) != d->size)
        return err_set(err, ERR_IO, "read the image configuration: cut");
    return image_config_parse(text, (size_t)d->size, ret, err);
}

/* --- the image --- */

static struct image *make_image(struct pull *p, const struct manifest *m, struct image_config *c, char **chains, const char *top)
{
    struct image *i = MEM_NEW(struct image);
    AUTO_FREE char *full = image_name_with_digest(p->name, top);

    i->info = c->info;
    c->info = (struct image_info){ 0 };
    free(i->info.repo_digest);
    i->info.repo_digest = mem_strdup(full);
    strv_add(&i->info.names, full);
    i->info.size_bytes = m->config.size;
    for (size_t k = 0; k < m->n; k++)
        i->info.size_bytes += m->at[k].size;
    i->chains = strv_copy(chains);
    return i;
}

static int with_layers(struct ctx *ctx, struct pull *p, const struct manifest *m, const char *top, struct image_info *ret, struct err *err)
{
    AUTO(image_config) struct image_config c = { 0 };
    int rc = get_config(ctx, p, &m->config, &c, err);

    if (rc < 0)
        return err_wrap(err, "failed to copy");
    if (c.n != m->n)
        return err_set(err, ERR_INVALID, "mismatched image rootfs and manifest layers: %zu and %zu", c.n, m->n);
    char **chains = layer_chains(c.diff_ids);
    for (size_t i = 0; chains[i]; i++)
        layer_pin(p->im, chains[i]);
    rc = pull_layers(ctx, p, m, c.diff_ids, chains, err);
    if (rc == 0)
        rc = store_put(ctx, p->im, make_image(p, m, &c, chains, top), p->name->canonical, ret, err);
    for (size_t i = 0; chains[i]; i++)
        layer_unpin(p->im, chains[i]);
    strv_free(chains);
    return rc;
}

static int pull_with(struct ctx *ctx, struct images *im, const struct image_name *name, const struct remote_auth *auth,
                     struct image_info *ret, struct err *err)
{
    AUTO(remote) struct remote *remote = NULL;
    AUTO(manifest) struct manifest m = { 0 };
    struct pull p = { .im = im, .name = name };
    char top[DIGEST_CHARS + 1] = "";
    int rc = remote_new(im, name, auth, &remote, err);

    p.remote = remote;
    if (rc == 0 && is_local(im, name->canonical)) {
        rc = remote_digest(ctx, remote, image_name_object(name), top, err);
        if (rc == 0 && *top && still_same(im, name, top, ret))
            return 0;
    }
    if (rc == 0)
        rc = find_manifest(ctx, &p, &m, top, err);
    if (rc < 0)
        return err_wrap(err, "failed to resolve reference \"%.150s\"", name->canonical);
    return with_layers(ctx, &p, &m, top, ret, err);
}

/* --- credentials --- */

static const struct image_auth **choose(const struct image_name *name, const struct image_auth *auths, size_t n, size_t *ret_n)
{
    AUTO_FREE char *full = mem_printf("%s/%s", name->registry, name->repository);
    const struct image_auth **list = mem_zalloc((n + 1) * sizeof(*list));
    size_t used = 0;

    for (size_t i = 0; i < n; i++) {
        size_t length = pull_auth_match(auths[i].registry, full), at = used;

        if (length == 0)
            continue;
        /* The longest first; equal ones in their order. */
        while (at > 0 && pull_auth_match(list[at - 1]->registry, full) < length) {
            list[at] = list[at - 1];
            at--;
        }
        list[at] = &auths[i];
        used++;
    }
    *ret_n = used;
    return list;
}

int images_pull(struct ctx *ctx, struct images *im, const char *text, const struct image_auth *auths, size_t n_auths,
                struct image_info *ret, struct err *err)
{
    AUTO(image_name) struct image_name name = { 0 };
    AUTO(turn) struct turn turn = { 0 };
    size_t n = 0;
    int rc = image_name_read(text, &name, err);

    if (rc < 0)
        return rc;
    AUTO_FREE const struct image_auth **list = choose(&name, auths, n_auths, &n);
    rc = turn_begin(ctx, im->turns, "pull", name.canonical, &turn, err);
    if (rc == 0 && n == 0)
        rc = pull_with(ctx, im, &name, NULL, ret, err);
    else if (rc == 0)
        rc = -ERR_UNAUTHORIZED;
    for (size_t i = 0; n > 0 && i < n && rc < 0 && (i == 0 || (err->code != ERR_CANCELED && ctx_left_ms(ctx) > 0)); i++) {
        struct remote_auth auth = { list[i]->username, list[i]->password, list[i]->token };

        if (i == 0 && !turn.of)
            break; /* the turn did not come */
        rc = pull_with(ctx, im, &name, &auth, ret, err);
    }
    if (rc == 0)
        return 0;
    if (err->code == ERR_INVALID)
        err->code = ERR_IO; /* INVALID is said of the name alone */
    return err_wrap(err, "failed to pull and unpack image \"%.150s\"", name.canonical);
}
