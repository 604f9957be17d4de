/* Imports, mounts, users, collection, and what a restart finds. */
#include "agent/images/digest.h"
#include "agent/images/folder.h"
#include "agent/images/images.h"
#include "lib/mem.h"
#include "tests/unit/image_tar.h"
#include "tests/unit/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

struct store {
    char dir[64];
    struct images *im;
    struct ctx ctx;
};

static bool have_root(void)
{
    if (geteuid() == 0)
        return true;
    printf("# skip: unpacking and mounting need root\n");
    return false;
}

static void reopen(struct store *s)
{
    struct images_options options = { .data_dir = s->dir, .clock = &clock_system };
    struct err err = { 0 };

    images_close(s->im);
    s->im = NULL;
    if (images_open(&options, &s->im, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
}

/* A failed check ends the process: what the test mounted and made goes all the same. */
static char made[64], made_deep[400];

static void remove_made(void)
{
    struct images_options options = { .data_dir = *made_deep ? made_deep : made, .clock = &clock_system };
    struct ctx ctx = ctx_background(NULL);
    struct images *im;
    struct err err;

    if (access(made, F_OK) < 0)
        return;
    if (images_open(&options, &im, &err) == 0) {
        ERR_IGNORE(images_retain(&ctx, im, NULL, 0, &err));
        images_close(im);
    }
    ERR_IGNORE(folder_remove(AT_FDCWD, made, NULL, &err));
}

static void store_begin(struct store *s)
{
    *s = (struct store){ .ctx = ctx_background(NULL) };
    snprintf(s->dir, sizeof(s->dir), "/tmp/images-store-XXXXXX");
    CHECK(mkdtemp(s->dir) != NULL);
    snprintf(made, sizeof(made), "%s", s->dir);
    atexit(remove_made);
    reopen(s);
}

static void store_end(struct store *s)
{
    struct err err = { 0 };

    images_close(s->im);
    if (folder_remove(AT_FDCWD, s->dir, NULL, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
}

static int entries(const struct store *s, const char *folder)
{
    char path[128];
    int n = 0;

    snprintf(path, sizeof(path), "%s/images-store/%s", s->dir, folder);
    DIR *dir = opendir(path);
    CHECK(dir != NULL);
    for (struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

static void save(const char *path, struct buf *data)
{
    FILE *f = fopen(path, "we");

    CHECK(f && fwrite(buf_at(data), 1, buf_len(data), f) == buf_len(data) && fclose(f) == 0);
    buf_clear(data);
}

/* A docker archive with these layers (tars; emptied) and this "config" part. Gives the id. */
static char *archive(const char *path, const char *tag, struct buf *layers, size_t n, const char *config)
{
    struct buf tar = { 0 }, text = { 0 }, manifest = { 0 };
    char digest[DIGEST_CHARS + 1], name[32];

    buf_printf(&text, "{\"os\":\"linux\",\"config\":%s,\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[", config);
    buf_printf(&manifest, "[{\"Config\":\"c.json\",\"RepoTags\":[\"%s\"],\"Layers\":[", tag);
    for (size_t i = 0; i < n; i++) {
        tar_end(&layers[i]);
        digest_of(buf_at(&layers[i]), buf_len(&layers[i]), digest);
        buf_printf(&text, "%s\"%s\"", i ? "," : "", digest);
        buf_printf(&manifest, "%s\"%zu/layer.tar\"", i ? "," : "", i);
        snprintf(name, sizeof(name), "%zu/layer.tar", i);
        /* Data with NULs: the header first, then the bytes. */
        tar_add(&tar, &(struct tar_entry){ .name = name, .type = '0', .size = (long long)buf_len(&layers[i]) });
        buf_add(&tar, buf_at(&layers[i]), buf_len(&layers[i]));
        buf_clear(&layers[i]);
    }
    buf_str(&text, "]}}");
    buf_str(&manifest, "]}]");
    digest_of(buf_at(&text), buf_len(&text), digest);
    tar_add(&tar, &(struct tar_entry){ .name = "c.json", .type = '0', .data = buf_at(&text) });
    tar_add(&tar, &(struct tar_entry){ .name = "manifest.json", .type = '0', .data = buf_at(&manifest) });
    tar_end(&tar);
    save(path, &tar);
    buf_clear(&text);
    buf_clear(&manifest);
    return mem_strdup(digest);
}

static void import(struct store *s, const char *path, const char *want)
{
    char **names = NULL;
    struct err err = { 0 };

    if (images_import(&s->ctx, s->im, path, &names, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    CHECK(names[0] != NULL);
    CHECK_STR(names[0], want);
    for (size_t i = 0; names[i]; i++)
        free(names[i]);
    free(names);
}

/* Two layers: the second removes, replaces and adds. */
static char *demo(struct store *s, const char *tag, const char *text)
{
    struct buf layers[2] = { 0 };
    char path[128];

    tar_add(&layers[0], &(struct tar_entry){ .name = "etc/passwd", .type = '0', .data = "root:x:0:0::/:/bin/sh\nweb:x:33:34::/:/bin/sh\n" });
    tar_add(&layers[0], &(struct tar_entry){ .name = "etc/group", .type = '0', .data = "root:x:0:\nadm:x:4:web,other\nlogs:x:40:web\n" });
    tar_add(&layers[0], &(struct tar_entry){ .name = "old", .type = '0', .data = "old" });
    tar_add(&layers[0], &(struct tar_entry){ .name = "d/lower", .type = '0', .data = "lower" });
    tar_add(&layers[1], &(struct tar_entry){ .name = ".wh.old", .type = '0' });
    tar_add(&layers[1], &(struct tar_entry){ .name = "d/.wh..wh..opq", .type = '0' });
    tar_add(&layers[1], &(struct tar_entry){ .name = "d/upper", .type = '0', .data = text });
    snprintf(path, sizeof(path), "%s/demo.tar", s->dir);
    char *id = archive(path, tag, layers, 2, "{\"Entrypoint\":[\"/a\"],\"Cmd\":[\"b\",\"c\"],\"Env\":[\"X=1\"],\"User\":\"web\",\"WorkingDir\":\"/w\","
                       "\"StopSignal\":\"SIGQUIT\",\"Volumes\":{\"/data\":{}}}");
    return id;
}

static char *demo_import(struct store *s, const char *tag, const char *canonical, const char *text)
{
    char path[128];
    char *id = demo(s, tag, text);

    snprintf(path, sizeof(path), "%s/demo.tar", s->dir);
    import(s, path, canonical);
    unlink(path);
    return id;
}

static bool exists(const char *root, const char *path)
{
    char full[512];
    struct stat st;

    snprintf(full, sizeof(full), "%s/%s", root, path);
    return lstat(full, &st) == 0;
}

static int mounts_of(const char *path)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    char line[4096];
    int n = 0;

    CHECK(f != NULL);
    while (fgets(line, sizeof(line), f))
        n += strstr(line, path) != NULL;
    fclose(f);
    return n;
}

static void mount_key(struct store *s, const char *id, const char *key, char **ret)
{
    struct err err = { 0 };

    if (images_mount(&s->ctx, s->im, id, key, ret, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
}

TEST(images_store_import_and_mount)
{
    struct store s;
    struct image_info info;
    struct err err = { 0 };
    char *root, *again;

    if (!have_root())
        return;
    store_begin(&s);
    char *id = demo_import(&s, "demo:1", "docker.io/library/demo:1", "upper");
    CHECK_INT(images_find(s.im, "demo:1", &info, &err), 0);
    CHECK_STR(info.id, id);
    CHECK_STR(info.entrypoint[0], "/a");
    CHECK_STR(info.cmd[1], "c");
    CHECK(info.cmd[2] == NULL);
    CHECK_STR(info.volumes[0], "/data");
    CHECK_STR(info.user, "web");
    CHECK_STR(info.stop_signal, "SIGQUIT");
    CHECK_STR(info.repo_digest, "");
    CHECK(info.size_bytes > 2048);
    image_info_clear(&info);
    mount_key(&s, id, "c1", &root);
    CHECK(exists(root, "d/upper") && !exists(root, "d/lower") && !exists(root, "old") && exists(root, "etc/passwd"));
    /* Written by the container; kept over restarts of the agent, without a second mount. */
    char path[512];
    snprintf(path, sizeof(path), "%s/written", root);
    FILE *f = fopen(path, "we");
    CHECK(f != NULL);
    fclose(f);
    reopen(&s);
    mount_key(&s, id, "c1", &again);
    CHECK_STR(again, root);
    CHECK(exists(root, "written"));
    CHECK_INT(mounts_of(root), 1);
    CHECK_INT(images_remove(&s.ctx, s.im, "demo:1", &err), -ERR_CONFLICT);
    CHECK_INT(images_unmount(&s.ctx, s.im, "c1", &err), 0);
    CHECK_INT(images_unmount(&s.ctx, s.im, "c1", &err), 0);
    CHECK(mounts_of(root) == 0 && entries(&s, "rw") == 0 && entries(&s, "tmp") == 0);
    CHECK_INT(images_remove(&s.ctx, s.im, id, &err), 0);
    CHECK_INT(images_find(s.im, "demo:1", &info, &err), -ERR_NOT_FOUND);
    CHECK(entries(&s, "layers") == 0 && entries(&s, "images") == 0);
    CHECK_INT(images_mount(&s.ctx, s.im, id, "c2", &again, &err), -ERR_NOT_FOUND);
    CHECK_INT(images_mount(&s.ctx, s.im, id, "../c2", &again, &err), -ERR_BAD_REQUEST);
    free(root);
    free(again);
    free(id);
    store_end(&s);
}

/* As after a restart of the machine: the mount is gone, its folders are there. */
TEST(images_store_mounts_again)
{
    struct store s;
    struct err err = { 0 };
    char *root, path[512];

    if (!have_root())
        return;
    store_begin(&s);
    char *id = demo_import(&s, "demo:1", "docker.io/library/demo:1", "x");
    mount_key(&s, id, "k", &root);
    snprintf(path, sizeof(path), "%s/written", root);
    FILE *f = fopen(path, "we");
    CHECK(f != NULL && fclose(f) == 0 && umount2(root, 0) == 0);
    CHECK(!exists(root, "etc"));
    reopen(&s);
    free(root);
    mount_key(&s, id, "k", &root);
    CHECK(exists(root, "etc/passwd") && exists(root, "written"));
    CHECK_INT(images_unmount(&s.ctx, s.im, "k", &err), 0);
    free(root);
    free(id);
    store_end(&s);
}

TEST(images_store_retains_known_keys)
{
    static const char *const keep[] = { "k1", "never" };
    struct store s;
    struct err err = { 0 };
    char *root, path[160];

    if (!have_root())
        return;
    store_begin(&s);
    char *id = demo_import(&s, "demo:1", "docker.io/library/demo:1", "x");
    mount_key(&s, id, "k2", &root);
    free(root);
    mount_key(&s, id, "k1", &root);
    snprintf(path, sizeof(path), "%s/images-store/rw/half", s.dir);
    CHECK(mkdir(path, 0700) == 0);
    reopen(&s);
    CHECK_INT(images_retain(&s.ctx, s.im, keep, 2, &err), 0);
    CHECK_INT(entries(&s, "rw"), 1);
    CHECK_INT(mounts_of(s.dir), 1);
    CHECK(exists(root, "etc/passwd"));
    CHECK_INT(images_retain(&s.ctx, s.im, NULL, 0, &err), 0);
    CHECK(entries(&s, "rw") == 0 && mounts_of(s.dir) == 0 && entries(&s, "tmp") == 0);
    free(root);
    free(id);
    store_end(&s);
}

TEST(images_store_empty_and_many_layers)
{
    enum { MANY = 120 };
    static struct buf layers[MANY];
    struct store s;
    struct err err = { 0 };
    char path[128], name[16], *root;

    if (!have_root())
        return;
    store_begin(&s);
    snprintf(path, sizeof(path), "%s/x.tar", s.dir);
    char *id = archive(path, "empty:1", NULL, 0, "{}");
    import(&s, path, "docker.io/library/empty:1");
    mount_key(&s, id, "e", &root);
    CHECK(exists(root, "."));
    free(root);
    free(id);
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        tar_add(&layers[i], &(struct tar_entry){ .name = name, .type = '0', .data = "x" });
    }
    id = archive(path, "many:1", layers, MANY, "{}");
    import(&s, path, "docker.io/library/many:1");
    mount_key(&s, id, "m", &root);
    CHECK(exists(root, "f0") && exists(root, "f119"));
    CHECK_INT(images_unmount(&s.ctx, s.im, "m", &err), 0);
    CHECK_INT(images_unmount(&s.ctx, s.im, "e", &err), 0);
    free(root);
    free(id);
    store_end(&s);
}

/* Too long for the kernel's newer way of mounting: the older one does it. */
TEST(images_store_long_paths)
{
    struct images_options options = { .clock = &clock_system };
    struct store s;
    struct err err = { 0 };
    struct image_info info;
    char deep[400], from[128], to[480], *root, **names;

    if (!have_root())
        return;
    store_begin(&s);
    char *id = demo(&s, "demo:1", "upper");
    snprintf(from, sizeof(from), "%s/demo.tar", s.dir);
    snprintf(deep, sizeof(deep), "%s/%0120d/", s.dir, 0);
    CHECK(mkdir(deep, 0755) == 0);
    snprintf(deep, sizeof(deep), "%s/%0120d/%0120d", s.dir, 0, 0);
    CHECK(mkdir(deep, 0755) == 0);
    images_close(s.im);
    snprintf(made_deep, sizeof(made_deep), "%s", deep);
    options.data_dir = deep;
    CHECK_INT(images_open(&options, &s.im, &err), 0);
    CHECK_INT(images_import(&s.ctx, s.im, from, &names, &err), 0);
    free(names[0]);
    free(names);
    for (int i = 0; i < 2; i++) {
        mount_key(&s, id, "long", &root);
        CHECK(exists(root, "d/upper") && !exists(root, "old"));
        CHECK_INT(mounts_of(root), 1);
        free(root);
    }
    CHECK_INT(images_unmount(&s.ctx, s.im, "long", &err), 0);
    CHECK_INT(images_remove(&s.ctx, s.im, "demo:1", &err), 0);
    CHECK_INT(images_find(s.im, id, &info, &err), -ERR_NOT_FOUND);
    snprintf(to, sizeof(to), "%s/images-store/l", deep);
    CHECK(rmdir(to) == 0); /* no link is left */
    free(id);
    store_end(&s);
}

TEST(images_store_moved_tag)
{
    struct store s;
    struct image_info info;
    struct err err = { 0 };

    if (!have_root())
        return;
    store_begin(&s);
    char *a = demo_import(&s, "demo:1", "docker.io/library/demo:1", "first");
    char *b = demo_import(&s, "demo:1", "docker.io/library/demo:1", "second");
    CHECK(strcmp(a, b) != 0);
    for (int round = 0; round < 2; round++) {
        CHECK_INT(images_find(s.im, "demo:1", &info, &err), 0);
        CHECK_STR(info.id, b);
        image_info_clear(&info);
        CHECK_INT(images_find(s.im, a, &info, &err), 0);
        CHECK(info.names[0] == NULL);
        image_info_clear(&info);
        reopen(&s);
    }
    CHECK_INT(entries(&s, "layers"), 3); /* the lower one is shared */
    free(a);
    free(b);
    store_end(&s);
}

TEST(images_store_collects)
{
    struct store s;
    struct image_info info;
    struct err err = { 0 };
    int64_t freed = 0;
    char *root, path[160];

    if (!have_root())
        return;
    store_begin(&s);
    char *a = demo_import(&s, "a:1", "docker.io/library/a:1", "one");
    char *b = demo_import(&s, "b:1", "docker.io/library/b:1", "two");
    mount_key(&s, b, "user", &root);
    free(root);
    /* A layer without an image, as after a crash, and something unfinished. */
    snprintf(path, sizeof(path), "%s/images-store/layers/%064d", s.dir, 7);
    CHECK(mkdir(path, 0755) == 0);
    snprintf(path, sizeof(path), "%s/images-store/tmp/layer-9", s.dir);
    CHECK(mkdir(path, 0755) == 0);
    reopen(&s);
    CHECK_INT(entries(&s, "tmp"), 0);
    CHECK_INT(entries(&s, "layers"), 4);
    CHECK_INT(images_gc(&s.ctx, s.im, 1, &freed, &err), 0);
    CHECK_INT(entries(&s, "layers"), 3); /* the orphan was enough */
    CHECK(freed > 0);
    CHECK_INT(images_gc(&s.ctx, s.im, INT64_MAX, &freed, &err), 0);
    CHECK_INT(entries(&s, "layers"), 2);
    CHECK_INT(images_find(s.im, "a:1", &info, &err), -ERR_NOT_FOUND);
    CHECK_INT(images_find(s.im, "b:1", &info, &err), 0);
    image_info_clear(&info);
    CHECK_INT(images_unmount(&s.ctx, s.im, "user", &err), 0);
    CHECK_INT(images_gc(&s.ctx, s.im, INT64_MAX, &freed, &err), 0);
    CHECK_INT(entries(&s, "layers"), 0);
    free(a);
    free(b);
    store_end(&s);
}

TEST(images_store_users)
{
    static const struct {
        const char *user;
        int64_t uid, gid;
        size_t groups;
    } table[] = {
        { "", 0, 0, 0 }, { "web", 33, 34, 2 }, { "33", 33, 34, 2 }, { "1000", 1000, 0, 0 }, { "1000:50", 1000, 50, 0 },
        { "web:adm", 33, 4, 2 }, { "web:77", 33, 77, 2 }, { "root:logs", 0, 40, 0 },
    };
    struct store s;
    struct err err = { 0 };
    int64_t uid, gid, *groups;
    size_t n;
    char *root;

    if (!have_root())
        return;
    store_begin(&s);
    char *id = demo_import(&s, "demo:1", "docker.io/library/demo:1", "x");
    mount_key(&s, id, "u", &root);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        CHECK_INT(images_user(root, table[i].user, &uid, &gid, &groups, &n, &err), 0);
        CHECK_INT(uid, table[i].uid);
        CHECK_INT(gid, table[i].gid);
        CHECK_INT(n, table[i].groups);
        free(groups);
    }
    CHECK_INT(images_user(root, "nobody", &uid, &gid, &groups, &n, &err), -ERR_NOT_FOUND);
    CHECK_STR(err.msg, "unable to find user nobody: no matching entries in passwd file");
    CHECK_INT(images_user(root, "web:none", &uid, &gid, &groups, &n, &err), -ERR_NOT_FOUND);
    /* The container's files are its own to break: links out, pipes. */
    char path[512];
    snprintf(path, sizeof(path), "%s/etc/passwd", root);
    CHECK(unlink(path) == 0 && symlink("../../../../../../../../etc/passwd", path) == 0);
    CHECK_INT(images_user(root, "daemon", &uid, &gid, &groups, &n, &err), -ERR_NOT_FOUND);
    CHECK(unlink(path) == 0 && mkfifo(path, 0600) == 0);
    CHECK_INT(images_user(root, "web", &uid, &gid, &groups, &n, &err), -ERR_INVALID);
    CHECK_INT(images_unmount(&s.ctx, s.im, "u", &err), 0);
    free(root);
    free(id);
    store_end(&s);
}

TEST(images_store_import_folder)
{
    struct store s;
    struct image_info info;
    struct err err = { 0 };
    char from[128], to[128];
    struct stat before, after;
    int64_t freed;

    if (!have_root())
        return;
    store_begin(&s);
    char *id = demo(&s, "folder/x:2", "x");
    snprintf(from, sizeof(from), "%s/demo.tar", s.dir);
    snprintf(to, sizeof(to), "%s/images/demo.tar", s.dir);
    CHECK(rename(from, to) == 0);
    snprintf(to, sizeof(to), "%s/images/bad.tar", s.dir);
    FILE *f = fopen(to, "we");
    CHECK(f && fputs("no archive", f) >= 0 && fclose(f) == 0);
    CHECK_INT(images_import_folder(&s.ctx, s.im, &err), 0); /* the bad one is logged */
    CHECK_INT(images_find(s.im, "folder/x:2", &info, &err), 0);
    CHECK_STR(info.id, id);
    image_info_clear(&info);
    snprintf(from, sizeof(from), "%s/images-store/images/%s.json", s.dir, digest_hex(id));
    CHECK(stat(from, &before) == 0);
    reopen(&s);
    CHECK_INT(images_import_folder(&s.ctx, s.im, &err), 0);
    CHECK(stat(from, &after) == 0 && after.st_ino == before.st_ino); /* known: not imported again */
    CHECK_INT(images_gc(&s.ctx, s.im, INT64_MAX, &freed, &err), 0);
    CHECK_INT(images_find(s.im, id, &info, &err), 0); /* pinned */
    image_info_clear(&info);
    free(id);
    store_end(&s);
}

TEST(images_store_refuses_bad_archives)
{
    struct store s;
    struct buf layer = { 0 };
    struct err err = { 0 };
    char path[128], **names;

    if (!have_root())
        return;
    store_begin(&s);
    snprintf(path, sizeof(path), "%s/x.tar", s.dir);
    tar_add(&layer, &(struct tar_entry){ .name = "../../x", .type = '0', .data = "evil" });
    free(archive(path, "bad:1", &layer, 1, "{}"));
    CHECK_INT(images_import(&s.ctx, s.im, path, &names, &err), -ERR_INVALID);
    CHECK(strstr(err.msg, "the name leaves the layer") != NULL);
    CHECK(entries(&s, "layers") == 0 && entries(&s, "tmp") == 0 && entries(&s, "images") == 0);
    tar_add(&layer, &(struct tar_entry){ .name = "manifest.json", .type = '2', .data = "/etc/passwd" });
    tar_end(&layer);
    save(path, &layer);
    CHECK(images_import(&s.ctx, s.im, path, &names, &err) < 0);
    tar_add(&layer, &(struct tar_entry){ .name = "other", .type = '0', .data = "x" });
    tar_end(&layer);
    save(path, &layer);
    CHECK_INT(images_import(&s.ctx, s.im, path, &names, &err), -ERR_INVALID);
    CHECK(strstr(err.msg, "neither an OCI layout nor a docker archive") != NULL);
    /* Another layer than the configuration names. */
    tar_add(&layer, &(struct tar_entry){ .name = "0", .type = '0', .data = "no tar" });
    tar_add(&layer, &(struct tar_entry){ .name = "l", .type = '0', .size = 1024 });
    tar_end(&layer);
    tar_add(&layer, &(struct tar_entry){ .name = "c.json", .type = '0', .data = "{\"rootfs\":{\"diff_ids\":[\"sha256:"
                    "00000000000000000000000000000000000000000000000000000000000000aa\"]}}" });
    tar_add(&layer, &(struct tar_entry){ .name = "manifest.json", .type = '0', .data = "[{\"Config\":\"c.json\",\"Layers\":[\"l\"]}]" });
    tar_end(&layer);
    save(path, &layer);
    CHECK_INT(images_import(&s.ctx, s.im, path, &names, &err), -ERR_INVALID);
    CHECK(strstr(err.msg, "wrong diff id calculated on extraction") != NULL);
    CHECK(entries(&s, "layers") == 0 && entries(&s, "tmp") == 0);
    CHECK_INT(images_import(&s.ctx, s.im, "/nonexistent.tar", &names, &err), -ERR_NOT_FOUND);
    store_end(&s);
}
