/* The records of images: in memory for lookups, one file each on disk. */
#include "agent/images/images_int.h"

#include "agent/images/digest.h"
#include "lib/file.h"
#include "lib/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

void image_free(struct image *i)
{
    if (!i)
        return;
    image_info_clear(&i->info);
    strv_free(i->chains);
    free(i);
}

void image_info_copy(const struct image_info *from, struct image_info *to)
{
    *to = (struct image_info){
        .id = mem_strdup(from->id),
        .repo_digest = mem_strdup(from->repo_digest),
        .names = strv_copy(from->names),
        .entrypoint = strv_copy(from->entrypoint),
        .cmd = strv_copy(from->cmd),
        .env = strv_copy(from->env),
        .volumes = strv_copy(from->volumes),
        .working_dir = mem_strdup(from->working_dir),
        .user = mem_strdup(from->user),
        .stop_signal = mem_strdup(from->stop_signal),
        .size_bytes = from->size_bytes,
    };
}

void image_info_for(const struct image_info *from, const char *name, struct image_info *to)
{
    size_t n = strcspn(name, "@");
    const char *slash = strrchr(name, '/'), *colon = strchr(slash ? slash : name, ':');

    image_info_copy(from, to);
    if (colon && (size_t)(colon - name) < n)
        n = (size_t)(colon - name);
    for (size_t i = strv_len(from->names); i-- > 0;) {
        if (strncmp(from->names[i], name, n) != 0 || from->names[i][n] != '@')
            continue;
        free(to->repo_digest);
        to->repo_digest = mem_strdup(from->names[i]);
        return;
    }
}

static json_t *list_json(char **v)
{
    json_t *list = json_array();

    for (size_t i = 0; v && v[i]; i++)
        json_array_append_new(list, json_text(slice_of(v[i])));
    return list;
}

static struct {
    const char *key;
    size_t offset;
} const lists[] = {
    { "names", offsetof(struct image, info.names) },         { "entrypoint", offsetof(struct image, info.entrypoint) },
    { "cmd", offsetof(struct image, info.cmd) },             { "env", offsetof(struct image, info.env) },
    { "volumes", offsetof(struct image, info.volumes) },     { "layers", offsetof(struct image, chains) },
}, texts[] = {
    { "id", offsetof(struct image, info.id) },               { "repoDigest", offsetof(struct image, info.repo_digest) },
    { "workingDir", offsetof(struct image, info.working_dir) }, { "user", offsetof(struct image, info.user) },
    { "stopSignal", offsetof(struct image, info.stop_signal) },
};

static void record_text(const struct image *i, struct buf *to)
{
    AUTO(json) json_t *v = json_object();

    json_put(v, "format", json_integer(STORE_FORMAT));
    for (size_t k = 0; k < ARRAY_LEN(texts); k++)
        json_put(v, texts[k].key, json_text(slice_of(*(char *const *)((const char *)i + texts[k].offset))));
    for (size_t k = 0; k < ARRAY_LEN(lists); k++)
        json_put(v, lists[k].key, list_json(*(char **const *)((const char *)i + lists[k].offset)));
    json_put(v, "size", json_integer(i->info.size_bytes));
    json_put(v, "pinned", json_boolean(i->pinned));
    json_write(v, to);
}

static void record_name(const char *id, char to[HEX_CHARS + 6])
{
    snprintf(to, HEX_CHARS + 6, "%.64s.json", digest_hex(id));
}

static int record_write(struct images *im, const struct image *i, struct err *err)
{
    AUTO(buf) struct buf text = { 0 };
    char name[HEX_CHARS + 6];

    record_text(i, &text);
    record_name(i->info.id, name);
    return file_replace(im->images_fd, name, buf_at(&text), buf_len(&text), err);
}

static int record_parse(const char *text, size_t n, struct image *i, struct err *err)
{
    AUTO(json) json_t *v = NULL;
    int rc = json_read(text, n, NULL, NULL, &v, err);

    if (rc < 0)
        return rc;
    int64_t format = json_int_or(v, "format", 0);
    if (format != STORE_FORMAT)
        return err_set(err, ERR_INVALID, "format %lld; this program knows %d", (long long)format, STORE_FORMAT);
    for (size_t k = 0; k < ARRAY_LEN(texts); k++)
        *(char **)((char *)i + texts[k].offset) = mem_strdup(json_str_or(v, texts[k].key, ""));
    for (size_t k = 0; rc == 0 && k < ARRAY_LEN(lists); k++)
        rc = strv_read(json_at(v, lists[k].key), lists[k].key, (char ***)((char *)i + lists[k].offset), err);
    i->info.size_bytes = json_int_or(v, "size", 0);
    i->pinned = json_bool_or(v, "pinned", false);
    for (size_t k = 0; rc == 0 && i->chains[k]; k++)
        if (strlen(i->chains[k]) != HEX_CHARS || strspn(i->chains[k], "0123456789abcdef") != HEX_CHARS)
            rc = err_set(err, ERR_INVALID, "layer \"%.80s\"", i->chains[k]);
    return rc == 0 && !digest_ok(i->info.id) ? err_set(err, ERR_INVALID, "id \"%.80s\"", i->info.id) : rc;
}

/* Called with the lock, or before anybody else is there. */
static void index_image(struct images *im, struct image *i)
{
    map_set(im->by_id, i->info.id, i);
    for (size_t k = 0; i->info.names[k]; k++)
        map_set(im->by_name, i->info.names[k], i);
}

static int load_one(struct images *im, const char *file, struct err *err)
{
    AUTO_FREE char *text = NULL;
    AUTO(image) struct image *i = MEM_NEW(struct image);
    struct stat st = { 0 };
    size_t n = 0;
    int rc = file_read(im->images_fd, file, RECORD_MAX_BYTES, &text, &n, err);

    if (rc == 0)
        rc = record_parse(text, n, i, err);
    if (rc < 0)
        return err_wrap(err, "image record %s", file);
    for (size_t k = 0; i->chains[k]; k++)
        if (!layer_present(im, i->chains[k]))
            return err_set(err, ERR_NOT_FOUND, "image record %s: layer %s is gone", file, i->chains[k]);
    if (fstatat(im->images_fd, file, &st, 0) == 0)
        i->last_used_s = st.st_mtim.tv_sec;
    index_image(im, TAKE(i));
    return 0;
}

static void auto_closedir(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

static int open_dir(int at, const char *name, DIR **ret, struct err *err)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return err_sys(err, errno, "open %s", name);
    *ret = fdopendir(fd);
    if (!*ret) {
        close(fd);
        return err_set(err, ERR_IO, "open %s: no memory", name);
    }
    return 0;
}

static int load_mounts(struct images *im, struct err *err)
{
    AUTO(closedir) DIR *dir = NULL;
    int rc = open_dir(im->rw_fd, ".", &dir, err);

    if (rc < 0)
        return rc;
    for (struct dirent *e; (e = readdir(dir));) {
        AUTO_FREE char *path = mem_printf("%s/image", e->d_name), *id = NULL;
        size_t n = 0;
        struct err lost;

        if (e->d_name[0] == '.')
            continue;
        /* Without it images_mount did not get far; the key can still be unmounted. */
        if (file_read(im->rw_fd, path, DIGEST_CHARS, &id, &n, &lost) == 0 && digest_ok(id))
            map_set(im->mounts, e->d_name, mem_strdup(id));
    }
    return 0;
}

int store_load(struct images *im, struct err *err)
{
    AUTO(closedir) DIR *dir = NULL;
    int rc = open_dir(im->images_fd, ".", &dir, err);

    if (rc < 0)
        return rc;
    for (struct dirent *e; (e = readdir(dir));) {
        struct err why;

        if (e->d_name[0] == '.')
            continue;
        /* One that can't be read is pulled again; it must not keep the node down. */
        if (load_one(im, e->d_name, &why) < 0) {
            log_warn("image record dropped", "err=%s", log_q(why.msg));
            (void)unlinkat(im->images_fd, e->d_name, 0);
        }
    }
    return load_mounts(im, err);
}

struct image *store_lookup(struct images *im, const char *name)
{
    char id[DIGEST_CHARS + 1];
    struct image_name n = { 0 };
    struct err err;

    if (digest_ok(name))
        return map_get(im->by_id, name);
    if (strlen(name) == HEX_CHARS && strspn(name, "0123456789abcdef") == HEX_CHARS) {
        snprintf(id, sizeof(id), "sha256:%s", name);
        return map_get(im->by_id, id);
    }
    if (image_name_read(name, &n, &err) < 0)
        return NULL;
    struct image *i = map_get(im->by_name, n.canonical);
    image_name_clear(&n);
    return i;
}

/* Called with the lock. What the kept one learns from the new. */
static void join(struct images *im, struct image *kept, struct image *image)
{
    for (size_t k = 0; image->info.names[k]; k++) {
        const char *name = image->info.names[k];
        struct image *old = map_get(im->by_name, name);

        if (old && old != kept)
            strv_del(old->info.names, name);
        if (!strv_has(kept->info.names, name))
            strv_add(&kept->info.names, name);
        map_set(im->by_name, name, kept);
    }
    if (*image->info.repo_digest && !*kept->info.repo_digest) {
        free(kept->info.repo_digest);
        kept->info.repo_digest = TAKE(image->info.repo_digest);
    }
    kept->pinned |= image->pinned;
}

/* Copies for writing outside the lock: the record, and that of the image the name is taken from. */
static struct image *record_copy(const struct image *i)
{
    struct image *copy = MEM_NEW(struct image);

    image_info_copy(&i->info, &copy->info);
    copy->chains = strv_copy(i->chains);
    copy->pinned = i->pinned;
    return copy;
}

int store_put(struct ctx *ctx, struct images *im, struct image *image, const char *name, struct image_info *ret, struct err *err)
{
    AUTO(turn) struct turn turn = { 0 };
    AUTO(image) struct image *given = image, *now = NULL, *loser = NULL;
    int rc = turn_begin(ctx, im->turns, "records", "", &turn, err);

    if (rc < 0)
        return rc;
    if (name && !strv_has(given->info.names, name))
        strv_add(&given->info.names, name);
    /* The files first: what is in memory only must not be told of. */
    pthread_mutex_lock(&im->lock);
    struct image *old = name ? map_get(im->by_name, name) : NULL, *same = map_get(im->by_id, given->info.id);
    now = record_copy(same ? same : given);
    for (size_t k = 0; given->info.names[k]; k++)
        if (!strv_has(now->info.names, given->info.names[k]))
            strv_add(&now->info.names, given->info.names[k]);
    if (!*now->info.repo_digest && *given->info.repo_digest) {
        free(now->info.repo_digest);
        now->info.repo_digest = mem_strdup(given->info.repo_digest);
    }
    now->pinned |= given->pinned;
    if (old && old != same) {
        loser = record_copy(old);
        strv_del(loser->info.names, name);
    }
    pthread_mutex_unlock(&im->lock);
    /* A crash in between: the name is nobody's, and is pulled again. */
    if (loser)
        rc = record_write(im, loser, err);
    if (rc == 0)
        rc = record_write(im, now, err);
    if (rc < 0)
        return err_wrap(err, "keep image %s", given->info.id);
    LOCK_SCOPE(&im->lock);
    if (ret)
        image_info_for(&now->info, name ? name : "", ret);
    if (same) {
        join(im, same, given);
        same->last_used_s = clock_wall_s(im->clock);
        return 0;
    }
    if (old)
        strv_del(old->info.names, name);
    given->last_used_s = clock_wall_s(im->clock);
    index_image(im, TAKE(given));
    return 0;
}

int store_drop(struct images *im, const char *id, struct err *err)
{
    char file[HEX_CHARS + 6];

    record_name(id, file);
    if (unlinkat(im->images_fd, file, 0) < 0 && errno != ENOENT)
        return err_sys(err, errno, "remove image record %s", file);
    if (fsync(im->images_fd) < 0)
        return err_sys(err, errno, "sync the image records");
    LOCK_SCOPE(&im->lock);
    struct image *i = map_take(im->by_id, id);
    for (size_t k = 0; i && i->info.names[k]; k++)
        map_del(im->by_name, i->info.names[k]);
    image_free(i);
    return 0;
}

void store_touch(struct images *im, const char *id)
{
    char file[HEX_CHARS + 6];

    record_name(id, file);
    /* Only the order of collection hangs on it. */
    (void)utimensat(im->images_fd, file, NULL, 0);
    LOCK_SCOPE(&im->lock);
    struct image *i = map_get(im->by_id, id);
    if (i)
        i->last_used_s = clock_wall_s(im->clock);
}
