/* Root filesystems: overlay mounts of the layers and a writable folder. */
#include "agent/images/images_int.h"

#include "agent/images/digest.h"
#include "agent/images/folder.h"
#include "lib/file.h"
#include "lib/log.h"
#include "lib/spawn.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

/* What the kernel takes for one value of fsconfig, and for all options of mount(2), with the NUL. */
enum { FSCONFIG_VALUE_BYTES = 256, MOUNT_DATA_BYTES = 4096, SHORT_CHARS = 13, KEY_MAX_CHARS = 200 };

static int key_check(const char *key, struct err *err)
{
    if (!*key || *key == '.' || strchr(key, '/') || strlen(key) > KEY_MAX_CHARS)
        return err_set(err, ERR_BAD_REQUEST, "\"%.100s\" is no key of a root filesystem", key);
    return 0;
}

static bool is_mounted(const char *path)
{
    struct statx st = { 0 };
    struct statfs fs;

    return statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &st) == 0 && (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) &&
           statfs(path, &fs) == 0 && fs.f_type == OVERLAYFS_SUPER_MAGIC;
}

static int make_dir(int at, const char *path, mode_t mode, struct err *err)
{
    return mkdirat(at, path, mode) < 0 && errno != EEXIST ? err_sys(err, errno, "make folder %s", path) : 0;
}

/* A short name of a layer: mounts by mount(2) have one page for all of them. */
static int short_link(struct images *im, const char *chain, char to[SHORT_CHARS + 3], struct err *err)
{
    char target[HEX_CHARS + 16], found[HEX_CHARS + 16];

    snprintf(to, SHORT_CHARS + 3, "l/%.*s", SHORT_CHARS, chain);
    snprintf(target, sizeof(target), "../layers/%s", chain);
    if (symlinkat(target, im->dir_fd, to) == 0)
        return 0;
    if (errno != EEXIST)
        return err_sys(err, errno, "link %s", to);
    ssize_t n = readlinkat(im->dir_fd, to, found, sizeof(found));
    if (n != (ssize_t)strlen(target) || memcmp(found, target, (size_t)n) != 0)
        return err_set(err, ERR_IO, "two layers with the short name %s", to);
    return 0;
}

/* Not "volatile": it would spare unmounts a sync, but mounting takes five times as long with it (◇ 0.4 and 2 ms and more), and mounting is what a
 * pod waits for. */

/* --- the way of Linux 6.7 and later: one option a layer, no limit on the whole --- */

static int set_option(int fs, const char *key, const char *value)
{
    return fsconfig(fs, FSCONFIG_SET_STRING, key, value, 0);
}

static int set_layers(struct images *im, int fs, char **chains)
{
    size_t n = strv_len(chains);
    char path[FSCONFIG_VALUE_BYTES];

    for (size_t i = 0; i < (n ? n : 1); i++) {
        const char *chain = n ? chains[n - 1 - i] : "";

        if (snprintf(path, sizeof(path), "%s/%s%s", im->dir, n ? "layers/" : "empty", chain) >= (int)sizeof(path))
            return -1;
        if (set_option(fs, "lowerdir+", path) < 0)
            return -1;
    }
    return 0;
}

/* 0; -1: this kernel can't, or a name is too long for it. */
static int mount_new(struct images *im, char **chains, const char *rw, const char *target)
{
    char upper[FSCONFIG_VALUE_BYTES], work[FSCONFIG_VALUE_BYTES];

    if (snprintf(upper, sizeof(upper), "%s/upper", rw) >= (int)sizeof(upper))
        return -1;
    snprintf(work, sizeof(work), "%s/work", rw);
    AUTO_FD int fs = fsopen("overlay", FSOPEN_CLOEXEC);
    if (fs < 0 || set_option(fs, "source", "overlay") < 0 || set_layers(im, fs, chains) < 0 ||
        set_option(fs, "upperdir", upper) < 0 || set_option(fs, "workdir", work) < 0 || set_option(fs, "index", "off") < 0 ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -1;
    AUTO_FD int mnt = fsmount(fs, FSMOUNT_CLOEXEC, 0);
    return mnt < 0 ? -1 : move_mount(mnt, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);
}

/* --- the old way: mount(2) with names relative to the store, from a child, as only it may change its folder --- */

struct old_mount {
    char options[MOUNT_DATA_BYTES];
    const char *target;
};

static int old_mount_child(void *arg)
{
    const struct old_mount *m = arg;

    return mount("overlay", m->target, "overlay", 0, m->options) < 0 ? errno : 0;
}

static int old_options(struct images *im, char **chains, const char *key, struct old_mount *m, struct err *err)
{
    AUTO(buf) struct buf text = { 0 };
    size_t n = strv_len(chains);
    char link[SHORT_CHARS + 3];

    buf_printf(&text, "index=off,upperdir=rw/%s/upper,workdir=rw/%s/work,lowerdir=%s", key, key, n ? "" : "empty");
    for (size_t i = 0; i < n; i++) {
        int rc = short_link(im, chains[n - 1 - i], link, err);
        if (rc < 0)
            return rc;
        buf_printf(&text, "%s%s", i ? ":" : "", link);
    }
    if (buf_len(&text) >= sizeof(m->options))
        return err_set(err, ERR_TOO_LARGE, "%zu layers are too many for this kernel", n);
    memcpy(m->options, buf_at(&text), buf_len(&text) + 1);
    return 0;
}

static int mount_old(struct ctx *ctx, struct images *im, char **chains, const char *key, const char *target, struct err *err)
{
    static const char *const argv[] = { "mount", NULL };
    struct spawn spec = SPAWN_INIT;
    struct spawn_result result = { 0 };
    struct old_mount m = { .target = target };
    int rc = old_options(im, chains, key, &m, err);

    if (rc < 0)
        return rc;
    spec.argv = argv;
    spec.cwd = im->dir;
    rc = spawn_call(ctx, &spec, old_mount_child, &m, &result, err);
    if (rc < 0)
        return rc;
    int sys = result.exit_code;
    spawn_result_clear(&result);
    return sys ? err_sys(err, sys, "mount overlay on %s", target) : 0;
}

/* --- the writable part --- */

/* The root folder of the container is the upper one: it gets what the topmost layer says of it. */
static int upper_like(struct images *im, int rw, const char *top, struct err *err)
{
    struct stat st = { .st_mode = 0755 };
    AUTO_FD int fd = -1;

    if (top && fstatat(im->layers_fd, top, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, errno, "look at layer %s", top);
    int rc = make_dir(rw, "upper", 0755, err);
    if (rc < 0)
        return rc;
    fd = openat(rw, "upper", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fchown(fd, st.st_uid, st.st_gid) < 0 || fchmod(fd, st.st_mode & 07777) < 0)
        return err_sys(err, errno, "make the writable layer");
    return 0;
}

/* Without sync: the folders are worth nothing after a power cut, as the container is gone. */
static int write_id(int rw, const char *id, struct err *err)
{
    AUTO_FD int fd = openat(rw, "image", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    size_t n = strlen(id);

    if (fd < 0)
        return err_sys(err, errno, "make the writable layer");
    return write(fd, id, n) == (ssize_t)n ? 0 : err_sys(err, errno ? errno : EIO, "make the writable layer");
}

static int make_rw(struct images *im, const char *key, const char *id, const char *top, struct err *err)
{
    struct stat st;
    int rc = make_dir(im->rw_fd, key, 0700, err);

    if (rc < 0)
        return rc;
    AUTO_FD int rw = openat(im->rw_fd, key, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (rw < 0)
        return err_sys(err, errno, "open folder %s", key);
    /* Of a mount before a restart of the machine: what it was in the middle of is worth nothing. */
    if (fstatat(rw, "upper", &st, AT_SYMLINK_NOFOLLOW) == 0) {
        rc = folder_remove(rw, "work", NULL, err);
        if (rc == 0)
            rc = make_dir(rw, "work", 0700, err);
        return rc < 0 ? rc : write_id(rw, id, err);
    }
    rc = write_id(rw, id, err);
    if (rc == 0)
        rc = make_dir(rw, "work", 0700, err);
    if (rc == 0)
        rc = make_dir(rw, "rootfs", 0755, err);
    return rc == 0 ? upper_like(im, rw, top, err) : rc;
}

/* Notes the container as a user of the image, in one step with the look-up: collection sees it from here on. */
static int claim(struct images *im, const char *image_id, const char *key, char ***ret_chains, struct err *err)
{
    LOCK_SCOPE(&im->lock);
    struct image *i = store_lookup(im, image_id);
    const char *before = map_get(im->mounts, key);

    if (!i)
        return err_set(err, ERR_NOT_FOUND, "image \"%.200s\": not found", image_id);
    if (before && strcmp(before, i->info.id) != 0)
        return err_set(err, ERR_CONFLICT, "root filesystem %s is one of image %s", key, before);
    map_set(im->mounts, key, mem_strdup(i->info.id));
    *ret_chains = strv_copy(i->chains);
    return 0;
}

static void auto_strv(char ***v)
{
    strv_free(*v);
}

int images_mount(struct ctx *ctx, struct images *im, const char *image_id, const char *key, char **ret_rootfs, struct err *err)
{
    AUTO_FREE char *rw = mem_printf("%s/rw/%s", im->dir, key), *target = mem_printf("%s/rootfs", rw), *id = NULL;
    AUTO(strv) char **chains = NULL;
    AUTO(turn) struct turn turn = { 0 };
    int rc = key_check(key, err);

    if (rc == 0)
        rc = turn_begin(ctx, im->turns, "rw", key, &turn, err);
    if (rc == 0)
        rc = claim(im, image_id, key, &chains, err);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&im->lock);
    id = mem_strdup(map_get(im->mounts, key));
    pthread_mutex_unlock(&im->lock);
    size_t n = strv_len(chains);
    if (!is_mounted(target)) {
        rc = make_rw(im, key, id, n ? chains[n - 1] : NULL, err);
        if (rc == 0 && mount_new(im, chains, rw, target) < 0)
            rc = mount_old(ctx, im, chains, key, target, err);
    }
    if (rc < 0)
        return err_wrap(err, "mount the root filesystem of %s", key);
    store_touch(im, id);
    *ret_rootfs = TAKE(target);
    return 0;
}

/* Mounts may lie on each other; one still busy goes when its last user does. */
static int unmount_all(const char *target, struct err *err)
{
    for (;;) {
        int rc = umount2(target, UMOUNT_NOFOLLOW);

        if (rc < 0 && errno == EBUSY)
            rc = umount2(target, UMOUNT_NOFOLLOW | MNT_DETACH);
        if (rc < 0 && (errno == EINVAL || errno == ENOENT)) /* no mount there; nothing there */
            return 0;
        if (rc < 0)
            return err_sys(err, errno, "unmount %s", target);
    }
}

int images_unmount(struct ctx *ctx, struct images *im, const char *key, struct err *err)
{
    AUTO_FREE char *target = mem_printf("%s/rw/%s/rootfs", im->dir, key), *tmp = tmp_name(im, "rw");
    AUTO(turn) struct turn turn = { 0 };
    int rc = key_check(key, err);

    if (rc == 0)
        rc = turn_begin(ctx, im->turns, "rw", key, &turn, err);
    if (rc < 0)
        return rc;
    rc = unmount_all(target, err);
    if (rc < 0)
        return rc;
    /* Out of rw/ in one step, so that a crash leaves no half of it there. */
    if (renameat2(im->rw_fd, key, im->tmp_fd, tmp, RENAME_NOREPLACE) < 0 && errno != ENOENT)
        return err_sys(err, errno, "remove root filesystem %s", key);
    pthread_mutex_lock(&im->lock);
    map_del(im->mounts, key);
    pthread_mutex_unlock(&im->lock);
    return folder_remove(im->tmp_fd, tmp, NULL, err);
}

static bool has_key(const char *const *keys, size_t n, const char *key)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

/* The keys there are, also those without a known image. Ends with NULL. */
static int list_keys(struct images *im, char ***ret, struct err *err)
{
    int fd = openat(im->rw_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

    if (!dir) {
        int sys = errno;
        if (fd >= 0)
            close(fd);
        return err_sys(err, sys, "read the writable layers");
    }
    *ret = mem_zalloc(sizeof(char *));
    for (struct dirent *e; (e = readdir(dir));)
        if (e->d_name[0] != '.')
            strv_add(ret, e->d_name);
    closedir(dir);
    return 0;
}

int images_retain(struct ctx *ctx, struct images *im, const char *const *keys, size_t n_keys, struct err *err)
{
    AUTO(strv) char **all = NULL;
    struct err why;
    int rc = list_keys(im, &all, err);

    for (size_t i = 0; rc == 0 && all[i]; i++) {
        rc = ctx_check(ctx, err);
        if (rc == 0 && !has_key(keys, n_keys, all[i]) && images_unmount(ctx, im, all[i], &why) < 0)
            log_warn("root filesystem of no container stays", "key=%s err=%s", log_q(all[i]), log_q(why.msg));
    }
    return rc;
}
