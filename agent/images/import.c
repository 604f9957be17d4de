/* Archives: unpacked into a temporary folder as layers are (hostile as well), then read from there. */
#include "agent/images/import_int.h"

#include "agent/images/layer.h"
#include "agent/images/folder.h"
#include "lib/json.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum { IMPORT_ENTRIES_MAX = 100000, IMAGES_MAX = 1000 };

int import_open(const struct import *in, const char *path, int *ret_fd, int64_t *ret_bytes, struct err *err)
{
    AUTO_FD int fd = folder_open(in->root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, errno, "open %.200s of the archive", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%.200s of the archive is no file", path);
    *ret_bytes = st.st_size;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int import_read(const struct import *in, const char *path, char **ret, size_t *ret_n, struct err *err)
{
    AUTO_FD int fd = -1;
    int64_t size = 0;
    int rc = import_open(in, path, &fd, &size, err);

    if (rc < 0)
        return rc;
    if (size > MANIFEST_MAX_BYTES)
        return err_set(err, ERR_TOO_LARGE, "%.200s of the archive is over %d bytes", path, MANIFEST_MAX_BYTES);
    AUTO_FREE char *text = mem_alloc((size_t)size + 1);
    if (pread(fd, text, (size_t)size, 0) != size)
        return err_set(err, ERR_IO, "read %.200s of the archive: cut", path);
    text[size] = '\0';
    *ret = TAKE(text);
    *ret_n = (size_t)size;
    return 0;
}

/* s says which layer; its blob is found here. */
static int add_layer(struct ctx *ctx, struct import *in, const char *path, struct layer_source *s, int64_t *size, struct err *err)
{
    AUTO_FD int fd = -1;
    int64_t bytes = 0;
    int rc = import_open(in, path, &fd, &bytes, err);

    if (rc < 0)
        return rc;
    *size += bytes;
    s->blob_fd = fd;
    return layer_add(ctx, in->im, s, err);
}

static void take_names(struct import *in, const struct import_image *i, struct image *image)
{
    for (size_t k = 0; i->names && i->names[k]; k++) {
        AUTO(image_name) struct image_name name = { 0 };
        struct err lost; /* "latest" and such: a tag without a name says nothing */

        if (strpbrk(i->names[k], "/:") && image_name_read(i->names[k], &name, &lost) == 0 && !strv_has(image->info.names, name.canonical))
            strv_add(&image->info.names, name.canonical);
    }
    for (size_t k = 0; image->info.names[k]; k++)
        strv_add(&in->names, image->info.names[k]);
    if (!image->info.names[0])
        strv_add(&in->names, image->info.id);
}

static int put(struct ctx *ctx, struct import *in, struct image *image, struct err *err)
{
    AUTO_FREE char *first = mem_strdup(image->info.names[0]);
    char **more = strv_copy(image->info.names);
    int rc = 0;

    /* A name at a time, as each may have to be taken from another image. */
    for (size_t k = 1; rc == 0 && more[k]; k++) {
        struct image *again = MEM_NEW(struct image);

        image_info_copy(&image->info, &again->info);
        strv_free(again->info.names);
        again->info.names = mem_zalloc(sizeof(char *));
        again->chains = strv_copy(image->chains);
        again->pinned = image->pinned;
        rc = store_put(ctx, in->im, again, more[k], NULL, err);
    }
    strv_free(more);
    if (rc < 0) {
        image_free(image);
        return rc;
    }
    return store_put(ctx, in->im, image, first, NULL, err);
}

int import_image(struct ctx *ctx, struct import *in, const struct import_image *i, struct err *err)
{
    AUTO(image_config) struct image_config c = { 0 };
    int rc = image_config_parse(i->config, i->config_bytes, &c, err);
    int64_t size = (int64_t)i->config_bytes;

    if (rc < 0)
        return rc;
    if (strv_len(i->paths) != c.n)
        return err_set(err, ERR_INVALID, "mismatched image rootfs and manifest layers: %zu and %zu", c.n, strv_len(i->paths));
    char **chains = layer_chains(c.diff_ids);
    for (size_t k = 0; k < c.n; k++)
        layer_pin(in->im, chains[k]);
    for (size_t k = 0; rc == 0 && k < c.n; k++) {
        struct layer_source s = { .diff_id = c.diff_ids[k], .blob_digest = i->digests ? i->digests[k] : NULL, .chains = chains, .n = k };

        rc = add_layer(ctx, in, i->paths[k], &s, &size, err);
    }
    if (rc == 0) {
        struct image *image = MEM_NEW(struct image);

        image->info = c.info;
        c.info = (struct image_info){ 0 };
        image->info.size_bytes = size;
        image->chains = strv_copy(chains);
        image->pinned = in->pinned;
        take_names(in, i, image);
        rc = put(ctx, in, image, err);
    }
    for (size_t k = 0; k < c.n; k++)
        layer_unpin(in->im, chains[k]);
    strv_free(chains);
    return rc;
}

/* --- docker save --- */

static int docker_one(struct ctx *ctx, struct import *in, const json_t *v, struct err *err)
{
    AUTO_FREE char *config = NULL;
    const char *path = json_str(v, "Config");
    struct import_image i = { 0 };
    int rc = path ? import_read(in, path, &config, &i.config_bytes, err) : err_set(err, ERR_INVALID, "manifest.json: no Config");

    i.config = config;
    if (rc == 0)
        rc = strv_read(json_at(v, "Layers"), "Layers", &i.paths, err);
    if (rc == 0)
        rc = strv_read(json_at(v, "RepoTags"), "RepoTags", &i.names, err);
    if (rc == 0)
        rc = import_image(ctx, in, &i, err);
    strv_free(i.paths);
    strv_free(i.names);
    return rc;
}

int import_docker(struct ctx *ctx, struct import *in, struct err *err)
{
    AUTO_FREE char *text = NULL;
    AUTO(json) json_t *v = NULL;
    size_t n = 0;
    int rc = import_read(in, "manifest.json", &text, &n, err);

    if (rc == 0)
        rc = json_read(text, n, NULL, NULL, &v, err);
    if (rc < 0)
        return rc;
    if (!json_is_array(v) || json_array_size(v) > IMAGES_MAX)
        return err_set(err, ERR_INVALID, "manifest.json is no list of at most %d images", IMAGES_MAX);
    for (size_t k = 0; rc == 0 && k < json_array_size(v); k++)
        rc = docker_one(ctx, in, json_array_get(v, k), err);
    return rc;
}

/* --- whichever --- */

static int unpack_archive(struct ctx *ctx, struct import *in, const char *path, struct err *err)
{
    AUTO_FD int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct layer_job job = { .blob_fd = fd, .root_fd = in->root_fd, .layers_fd = -1, .plain = true, .entries_max = IMPORT_ENTRIES_MAX };
    struct layer_result result = { 0 };
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, errno, "open %s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%s is no file", path);
    return layer_unpack(ctx, &job, &result, err);
}

static bool has(const struct import *in, const char *name)
{
    AUTO_FD int fd = folder_open(in->root_fd, name, O_PATH, 0);

    return fd >= 0;
}

static int import_from(struct ctx *ctx, struct import *in, const char *path, struct err *err)
{
    int rc = unpack_archive(ctx, in, path, err);

    if (rc < 0)
        return rc;
    if (has(in, "index.json") && has(in, "oci-layout"))
        return import_oci(ctx, in, err);
    if (has(in, "manifest.json"))
        return import_docker(ctx, in, err);
    return err_set(err, ERR_INVALID, "neither an OCI layout nor a docker archive");
}

int import_archive(struct ctx *ctx, struct images *im, const char *path, bool pinned, char ***ret_names, struct err *err)
{
    AUTO_FREE char *tmp = tmp_name(im, "import");
    struct import in = { .im = im, .root_fd = -1, .pinned = pinned, .names = mem_zalloc(sizeof(char *)) };
    struct err lost;
    int rc = 0;

    if (mkdirat(im->tmp_fd, tmp, 0700) < 0)
        rc = err_sys(err, errno, "make folder %s", tmp);
    if (rc == 0) {
        in.root_fd = openat(im->tmp_fd, tmp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        rc = in.root_fd < 0 ? err_sys(err, errno, "open folder %s", tmp) : import_from(ctx, &in, path, err);
    }
    if (in.root_fd >= 0)
        close(in.root_fd);
    ERR_IGNORE(folder_remove(im->tmp_fd, tmp, NULL, &lost)); /* images_open looks again */
    if (rc < 0) {
        strv_free(in.names);
        return err_wrap(err, "import %s", path);
    }
    *ret_names = in.names;
    return 0;
}

int images_import(struct ctx *ctx, struct images *im, const char *path, char ***ret_names, struct err *err)
{
    return import_archive(ctx, im, path, false, ret_names, err);
}
