/* Numbers behind user and group names, from the passwd and group files of a root filesystem we do not trust. */
#include "agent/images/images.h"

#include "agent/images/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum { FILE_MAX_BYTES = 1 << 20, GROUPS_MAX = 1024, FIELDS = 7 };

/* The file's text; "" when there is none. */
static int read_text(int root, const char *path, char **ret, struct err *err)
{
    AUTO_FD int fd = folder_open(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    struct stat st;
    size_t used = 0;

    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)) {
        *ret = mem_strdup("");
        return 0;
    }
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, errno, "open %s of the image", path);
    if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX_BYTES)
        return err_set(err, ERR_INVALID, "%s of the image is no file of at most %d bytes", path, FILE_MAX_BYTES);
    char *text = mem_alloc((size_t)st.st_size + 1);
    while (used < (size_t)st.st_size) {
        ssize_t n = read(fd, text + used, (size_t)st.st_size - used);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        used += (size_t)n;
    }
    text[used] = '\0';
    *ret = text;
    return 0;
}

/* The next line's fields, cut at ':' in place. False at the end. */
static bool next_line(char **at, char *fields[FIELDS], size_t *ret_n)
{
    char *line = strsep(at, "\n");

    if (!line)
        return false;
    *ret_n = 0;
    for (char *f; *ret_n < FIELDS && (f = strsep(&line, ":"));)
        fields[(*ret_n)++] = f;
    return true;
}

static bool number(const char *text, int64_t *ret)
{
    char *end;

    if (!*text || strspn(text, "0123456789") != strlen(text))
        return false;
    errno = 0;
    *ret = strtoll(text, &end, 10);
    return errno == 0 && *ret < UINT32_MAX;
}

struct found {
    int64_t uid, gid;
    char *name; /* of the user; NULL when the files don't know him */
};

static int find_user(char *passwd, const char *user, struct found *f, struct err *err)
{
    char *fields[FIELDS];
    size_t n;
    int64_t uid, gid, wanted = -1;
    bool numeric = number(user, &wanted);

    for (char *at = passwd; next_line(&at, fields, &n);) {
        if (n < 4 || !number(fields[2], &uid) || !number(fields[3], &gid))
            continue;
        if (numeric ? uid != wanted : strcmp(fields[0], user) != 0)
            continue;
        *f = (struct found){ uid, gid, mem_strdup(fields[0]) };
        return 0;
    }
    if (!numeric)
        return err_set(err, ERR_NOT_FOUND, "unable to find user %.100s: no matching entries in passwd file", user);
    *f = (struct found){ wanted, 0, NULL };
    return 0;
}

static bool is_member(char *members, const char *name)
{
    for (char *m; (m = strsep(&members, ","));)
        if (strcmp(m, name) == 0)
            return true;
    return false;
}

struct groups {
    const char *wanted; /* name or number; NULL: none asked for */
    const char *member; /* whose groups; NULL: nobody's */
    int64_t gid;        /* of the wanted one; -1: not found */
    int64_t *at;
    size_t n;
};

static void find_groups(char *text, struct groups *g)
{
    char *fields[FIELDS];
    size_t n;
    int64_t gid;

    for (char *at = text; next_line(&at, fields, &n);) {
        if (n < 3 || !number(fields[2], &gid))
            continue;
        if (g->wanted && g->gid < 0 && strcmp(fields[0], g->wanted) == 0)
            g->gid = gid;
        if (!g->member || n < 4 || g->n == GROUPS_MAX || !is_member(fields[3], g->member))
            continue;
        g->at = mem_realloc(g->at, (g->n + 1) * sizeof(*g->at));
        g->at[g->n++] = gid;
    }
}

static int find_all(int root, const char *user, const char *group, struct found *f, struct groups *g, struct err *err)
{
    AUTO_FREE char *passwd = NULL, *text = NULL;
    int rc = read_text(root, "etc/passwd", &passwd, err);

    if (rc == 0)
        rc = read_text(root, "etc/group", &text, err);
    if (rc == 0)
        rc = find_user(passwd, *user ? user : "0", f, err);
    if (rc < 0)
        return rc;
    g->wanted = group;
    g->member = f->name;
    g->gid = -1;
    find_groups(text, g);
    if (!group)
        return 0;
    if (g->gid < 0 && !number(group, &g->gid))
        return err_set(err, ERR_NOT_FOUND, "unable to find group %.100s: no matching entries in group file", group);
    f->gid = g->gid;
    return 0;
}

int images_user(const char *rootfs, const char *user, int64_t *ret_uid, int64_t *ret_gid, int64_t **ret_groups, size_t *ret_n,
                struct err *err)
{
    AUTO_FREE char *name = mem_strdup(user);
    AUTO_FD int root = open(rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
    char *group = strchr(name, ':');
    struct found f = { 0 };
    struct groups g = { 0 };

    if (root < 0)
        return err_sys(err, errno, "open %s", rootfs);
    if (group)
        *group++ = '\0';
    int rc = find_all(root, name, group && *group ? group : NULL, &f, &g, err);
    free(f.name);
    if (rc < 0) {
        free(g.at);
        return rc;
    }
    *ret_uid = f.uid;
    *ret_gid = f.gid;
    *ret_groups = g.at;
    *ret_n = g.n;
    return 0;
}
