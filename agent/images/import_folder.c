/* <data-dir>/agent/images: archives to import and lists of images to pull. */
#include "agent/images/import_int.h"

#include "lib/file.h"
#include "lib/json.h"
#include "lib/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum { LIST_MAX_BYTES = 1 << 20, KNOWN_MAX_BYTES = 4 << 20 };
static const char known_name[] = "imported.json";

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), t = strlen(tail);

    return n > t && strcmp(s + n - t, tail) == 0;
}

static bool is_archive(const char *name)
{
    static const char *const tails[] = { ".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst" };

    for (size_t i = 0; i < ARRAY_LEN(tails); i++)
        if (ends_with(name, tails[i]))
            return true;
    return false;
}

static bool is_list(const char *name)
{
    return ends_with(name, ".txt");
}

static int wanted(const struct dirent *e)
{
    if (e->d_name[0] == '.')
        return 0;
    if (is_archive(e->d_name) || is_list(e->d_name))
        return 1;
    /* K3s takes these too. */
    if (ends_with(e->d_name, ".lz4") || ends_with(e->d_name, ".bz2") || ends_with(e->d_name, ".tbz"))
        log_warn("image file not imported", "file=%s err=%s", log_q(e->d_name), log_q("this compression is not supported; use .tar, .tar.gz or .tar.zst"));
    return 0;
}

static int pull_list(struct ctx *ctx, struct images *im, const char *path, struct err *err)
{
    AUTO_FREE char *text = NULL;
    size_t n = 0;
    int rc = file_read(AT_FDCWD, path, LIST_MAX_BYTES, &text, &n, err);

    if (rc < 0)
        return rc;
    char *at = text;
    for (char *line; (line = strsep(&at, "\n"));) {
        struct image_info info = { 0 };
        struct err why;

        line += strspn(line, " \t\r");
        line[strcspn(line, " \t\r")] = '\0';
        if (!*line || *line == '#')
            continue;
        int one = images_find(im, line, &info, &why);
        if (one < 0)
            one = images_pull(ctx, im, line, NULL, 0, &info, &why);
        if (one == 0)
            image_info_clear(&info);
        else
            log_warn("image of a list not pulled", "file=%s image=%s err=%s", log_q(path), log_q(line), log_q(why.msg));
        if (one < 0 && rc == 0) {
            *err = why;
            rc = one;
        }
    }
    return rc;
}

static int import_file(struct ctx *ctx, struct images *im, const char *path, struct err *err)
{
    char **names = NULL;

    if (is_list(path))
        return pull_list(ctx, im, path, err);
    int rc = import_archive(ctx, im, path, true, &names, err);
    for (size_t i = 0; rc == 0 && names[i]; i++)
        log_info("image imported", "file=%s image=%s", log_q(path), log_q(names[i]));
    if (rc == 0)
        strv_free(names);
    return rc;
}

/* What is known of earlier starts: file -> "size mtime". Never NULL. */
static json_t *known_read(struct images *im)
{
    AUTO_FREE char *text = NULL;
    json_t *v = NULL;
    size_t n;
    struct err lost; /* then all is imported again, which changes nothing */

    if (file_read(im->dir_fd, known_name, KNOWN_MAX_BYTES, &text, &n, &lost) < 0 || json_read(text, n, NULL, NULL, &v, &lost) < 0)
        return json_object();
    if (json_is_object(v))
        return v;
    json_decref(v);
    return json_object();
}

static int known_write(struct images *im, const json_t *known, struct err *err)
{
    AUTO(buf) struct buf text = { 0 };

    json_write(known, &text);
    return file_replace(im->dir_fd, known_name, buf_at(&text), buf_len(&text), err);
}

/* 1 when it was new and came in. */
static int look_at(struct ctx *ctx, struct images *im, const char *name, json_t *known, json_t *now)
{
    AUTO_FREE char *path = mem_printf("%s/%s", im->import_dir, name), *mark = NULL;
    const char *before = json_string_value(json_object_get(known, name));
    struct err err;
    struct stat st;

    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return 0;
    mark = mem_printf("%lld %lld.%09ld", (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    bool same = before && strcmp(before, mark) == 0;
    if (!same && import_file(ctx, im, path, &err) < 0) {
        log_warn("image file not imported", "file=%s err=%s", log_q(path), log_q(err.msg));
        return 0;
    }
    json_object_set_new(now, name, json_text(slice_of(mark)));
    return !same;
}

int images_import_folder(struct ctx *ctx, struct images *im, struct err *err)
{
    AUTO(turn) struct turn turn = { 0 };
    struct dirent **list = NULL;
    int changed = 0, rc = turn_begin(ctx, im->turns, "import", "", &turn, err);

    if (rc < 0)
        return rc;
    int n = scandir(im->import_dir, &list, wanted, alphasort);
    if (n < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "read %s", im->import_dir);
    AUTO(json) json_t *known = known_read(im);
    AUTO(json) json_t *now = json_object();
    for (int i = 0; i < n; i++) {
        if (rc == 0)
            rc = ctx_check(ctx, err);
        if (rc == 0)
            changed += look_at(ctx, im, list[i]->d_name, known, now);
        free(list[i]);
    }
    free(list);
    if (rc == 0 && (changed || json_object_size(now) != json_object_size(known)))
        rc = known_write(im, now, err);
    return rc;
}
