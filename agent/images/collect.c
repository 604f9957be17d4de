/* Removing images, and the layers nobody uses then. */
#include "agent/images/images_int.h"

#include "agent/images/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* Called with the lock. */
static bool image_used(struct images *im, const char *id)
{
    size_t pos = 0;
    const char *key;
    void *value;

    while (map_next(im->mounts, &pos, &key, &value))
        if (strcmp(value, id) == 0)
            return true;
    return false;
}

/* Called with the lock: no image has it, and no pull is about to. */
static bool layer_free(struct images *im, const char *chain)
{
    size_t pos = 0;
    const char *key;
    void *value;

    if (map_get(im->pins, chain))
        return false;
    while (map_next(im->by_id, &pos, &key, &value))
        if (strv_has(((struct image *)value)->chains, chain))
            return false;
    return true;
}

/* Out of the layers' folder while the lock is held (a rename, no work); the work comes after. */
static bool layer_take_out(struct images *im, const char *chain, const char *tmp)
{
    LOCK_SCOPE(&im->lock);
    return layer_free(im, chain) && renameat2(im->layers_fd, chain, im->tmp_fd, tmp, RENAME_NOREPLACE) == 0;
}

static int remove_layer(struct ctx *ctx, struct images *im, const char *chain, int64_t *freed, struct err *err)
{
    AUTO_FREE char *tmp = tmp_name(im, "gone"), *link = mem_printf("l/%.13s", chain);
    AUTO(turn) struct turn turn = { 0 };
    int rc = turn_begin(ctx, im->turns, "layer", chain, &turn, err);

    if (rc < 0 || !layer_take_out(im, chain, tmp))
        return rc;
    (void)unlinkat(im->dir_fd, link, 0); /* mostly there is none */
    return folder_remove(im->tmp_fd, tmp, freed, err);
}

static void auto_closedir(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

/* All layers nobody uses, also those a crash left without an image. */
static int sweep(struct ctx *ctx, struct images *im, int64_t *freed, struct err *err)
{
    int fd = openat(im->dir_fd, "layers", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO(closedir) DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

    if (!dir) {
        int sys = errno;
        if (fd >= 0)
            close(fd);
        return err_sys(err, sys, "open the layers' folder");
    }
    for (struct dirent *e; (errno = 0, e = readdir(dir));) {
        if (strlen(e->d_name) != HEX_CHARS)
            continue;
        pthread_mutex_lock(&im->lock);
        bool free_now = layer_free(im, e->d_name);
        pthread_mutex_unlock(&im->lock);
        int rc = free_now ? remove_layer(ctx, im, e->d_name, freed, err) : 0;
        if (rc < 0)
            return rc;
    }
    return errno ? err_sys(err, errno, "read the layers' folder") : 0;
}

/* The record goes; from then on the image can't be mounted. */
static int drop_image(struct ctx *ctx, struct images *im, const char *id, struct err *err)
{
    AUTO(turn) struct turn turn = { 0 };
    int rc = turn_begin(ctx, im->turns, "records", "", &turn, err);

    if (rc < 0)
        return rc;
    pthread_mutex_lock(&im->lock);
    bool used = image_used(im, id);
    struct image *i = used ? NULL : map_get(im->by_id, id);
    /* Nobody finds it any more, so nobody starts to use it while its record is removed. */
    for (size_t k = 0; i && i->info.names[k]; k++)
        map_del(im->by_name, i->info.names[k]);
    if (i)
        map_take(im->by_id, id);
    pthread_mutex_unlock(&im->lock);
    bool found = i != NULL;
    image_free(i);
    if (used)
        return err_set(err, ERR_CONFLICT, "image %s is used by a container", id);
    return found ? store_drop(im, id, err) : 0;
}

int images_remove(struct ctx *ctx, struct images *im, const char *name, struct err *err)
{
    AUTO_FREE char *id = NULL;
    int64_t freed = 0;

    pthread_mutex_lock(&im->lock);
    struct image *i = store_lookup(im, name);
    id = i ? mem_strdup(i->info.id) : NULL;
    pthread_mutex_unlock(&im->lock);
    if (!id)
        return err_set(err, ERR_NOT_FOUND, "image \"%.300s\": not found", name);
    int rc = drop_image(ctx, im, id, err);
    return rc < 0 ? rc : sweep(ctx, im, &freed, err);
}

/* The unused image used longest ago. */
static char *oldest_unused(struct images *im)
{
    struct image *best = NULL;
    size_t pos = 0;
    const char *key;
    void *value;

    LOCK_SCOPE(&im->lock);
    while (map_next(im->by_id, &pos, &key, &value)) {
        struct image *i = value;

        if (!i->pinned && (!best || i->last_used_s < best->last_used_s) && !image_used(im, i->info.id))
            best = i;
    }
    return best ? mem_strdup(best->info.id) : NULL;
}

int images_gc(struct ctx *ctx, struct images *im, int64_t free_bytes, int64_t *ret_freed, struct err *err)
{
    AUTO(turn) struct turn turn = { 0 };
    int64_t freed = 0;
    int rc = turn_begin(ctx, im->turns, "gc", "", &turn, err);

    if (rc == 0)
        rc = sweep(ctx, im, &freed, err);
    while (rc == 0 && freed < free_bytes) {
        AUTO_FREE char *id = oldest_unused(im);

        if (!id)
            break;
        rc = drop_image(ctx, im, id, err);
        if (rc == -ERR_CONFLICT)
            rc = 0; /* a container came in between: look again */
        else if (rc == 0)
            rc = sweep(ctx, im, &freed, err);
    }
    if (rc < 0)
        return rc;
    *ret_freed = freed;
    return 0;
}
