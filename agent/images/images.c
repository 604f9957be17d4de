#include "agent/images/images_int.h"

#include "agent/images/folder.h"
#include "lib/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

static const char *own_arch(void)
{
    static const struct {
        const char *machine, *arch;
    } table[] = { { "x86_64", "amd64" }, { "aarch64", "arm64" }, { "armv7l", "arm" }, { "armv6l", "arm" },
                  { "riscv64", "riscv64" }, { "s390x", "s390x" }, { "ppc64le", "ppc64le" }, { "i686", "386" } };
    struct utsname name;

    if (uname(&name) == 0)
        for (size_t i = 0; i < ARRAY_LEN(table); i++)
            if (strcmp(table[i].machine, name.machine) == 0)
                return table[i].arch;
    return "amd64";
}

static int open_folder(int at, const char *path, mode_t mode, int *ret, struct err *err)
{
    if (mkdirat(at, path, mode) < 0 && errno != EEXIST)
        return err_sys(err, errno, "make folder %s", path);
    int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open folder %s", path);
    *ret = fd;
    return 0;
}

/* Newer formats are not ours to touch. */
static int check_format(struct images *im, struct err *err)
{
    AUTO_FREE char *text = NULL;
    char now[16];
    size_t n = 0;
    int rc = file_read(im->dir_fd, "format", sizeof(now), &text, &n, err);

    if (rc == -ERR_NOT_FOUND) {
        snprintf(now, sizeof(now), "%d\n", STORE_FORMAT);
        return file_replace(im->dir_fd, "format", now, strlen(now), err);
    }
    if (rc < 0)
        return rc;
    long format = strtol(text, NULL, 10);
    if (format != STORE_FORMAT)
        return err_set(err, ERR_INVALID, "%s has format %ld, this program knows %d", im->dir, format, STORE_FORMAT);
    return 0;
}

static int open_folders(struct images *im, struct err *err)
{
    AUTO_FD int unused = -1, unused2 = -1, import = -1;
    int rc = open_folder(AT_FDCWD, im->dir, 0711, &im->dir_fd, err);

    if (rc == 0)
        rc = open_folder(AT_FDCWD, im->import_dir, 0755, &import, err);
    if (rc == 0)
        rc = check_format(im, err);
    if (rc == 0)
        rc = open_folder(im->dir_fd, "images", 0700, &im->images_fd, err);
    if (rc == 0)
        rc = open_folder(im->dir_fd, "layers", 0700, &im->layers_fd, err);
    if (rc == 0)
        rc = open_folder(im->dir_fd, "rw", 0700, &im->rw_fd, err);
    if (rc == 0)
        rc = open_folder(im->dir_fd, "tmp", 0700, &im->tmp_fd, err);
    if (rc == 0)
        rc = open_folder(im->dir_fd, "l", 0700, &unused, err);
    if (rc == 0)
        rc = open_folder(im->dir_fd, "empty", 0755, &unused2, err);
    return rc == 0 ? folder_empty(im->dir_fd, "tmp", err) : rc;
}

static char *absolute(const char *path)
{
    char here[PATH_MAX];

    return *path == '/' || !getcwd(here, sizeof(here)) ? mem_strdup(path) : mem_printf("%s/%s", here, path);
}

int images_open(const struct images_options *options, struct images **ret, struct err *err)
{
    struct images *im = MEM_NEW(struct images);
    AUTO_FREE char *base = absolute(options->data_dir);

    im->dir_fd = im->layers_fd = im->tmp_fd = im->rw_fd = im->images_fd = -1;
    im->dir = mem_printf("%s/images-store", base);
    im->import_dir = mem_printf("%s/images", base);
    im->os = mem_strdup(options->platform_os ? options->platform_os : "linux");
    im->arch = mem_strdup(options->platform_arch ? options->platform_arch : own_arch());
    im->clock = options->clock ? options->clock : &clock_system;
    im->loop = options->loop;
    im->pool = options->pool;
    im->turns = turns_new();
    pthread_mutex_init(&im->lock, NULL);
    im->by_id = map_new((void (*)(void *))image_free);
    im->by_name = map_new(NULL);
    im->mounts = map_new(free);
    im->pins = map_new(free);
    int rc = registries_read(options->registries_file, &im->registries, err);
    if (rc == 0)
        rc = open_folders(im, err);
    if (rc == 0)
        rc = store_load(im, err);
    if (rc < 0) {
        images_close(im);
        return err_wrap(err, "open the image store");
    }
    *ret = im;
    return 0;
}

void images_close(struct images *im)
{
    if (!im)
        return;
    int *fds[] = { &im->dir_fd, &im->layers_fd, &im->tmp_fd, &im->rw_fd, &im->images_fd };

    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        if (*fds[i] >= 0)
            close(TAKE_FD(*fds[i]));
    map_free(im->by_name);
    map_free(im->by_id);
    map_free(im->mounts);
    map_free(im->pins);
    registries_free(im->registries);
    turns_free(im->turns);
    pthread_mutex_destroy(&im->lock);
    free(im->dir);
    free(im->import_dir);
    free(im->os);
    free(im->arch);
    free(im);
}

int images_find(struct images *im, const char *name, struct image_info *ret, struct err *err)
{
    AUTO(image_name) struct image_name n = { 0 };
    struct err lost; /* an id is no name */

    ERR_IGNORE(image_name_read(name, &n, &lost));
    LOCK_SCOPE(&im->lock);
    struct image *i = store_lookup(im, name);

    if (!i)
        return err_set(err, ERR_NOT_FOUND, "image \"%.300s\": not found", name);
    image_info_for(&i->info, n.canonical ? n.canonical : "", ret);
    return 0;
}

void images_each(struct images *im, images_each_fn *fn, void *arg)
{
    size_t pos = 0, n = 0;
    const char *key;
    void *value;

    /* Copies, so that fn runs without the lock. */
    pthread_mutex_lock(&im->lock);
    struct image_info *all = mem_zalloc((map_len(im->by_id) + 1) * sizeof(*all));
    while (map_next(im->by_id, &pos, &key, &value))
        image_info_copy(&((struct image *)value)->info, &all[n++]);
    pthread_mutex_unlock(&im->lock);
    for (size_t i = 0; i < n; i++) {
        fn(arg, &all[i]);
        image_info_clear(&all[i]);
    }
    free(all);
}
