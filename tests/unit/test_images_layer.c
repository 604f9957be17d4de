/* Unpacking: good layers, and bad ones that must stay inside. */
#include "agent/images/layer.h"
#include "agent/images/folder.h"
#include "lib/mem.h"
#include "tests/unit/image_tar.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <zlib.h>

/* base/in is the layer's folder, base/out what it must not touch. */
struct place {
    char base[64];
    int base_fd, in_fd;
};

static bool have_root(void)
{
    if (geteuid() == 0)
        return true;
    printf("# skip: unpacking needs root\n");
    return false;
}

/* A failed check ends the process: what the test made goes all the same. */
static char made[64];

static void remove_made(void)
{
    struct err err;

    ERR_IGNORE(folder_remove(AT_FDCWD, made, NULL, &err));
}

static void place_open(struct place *p)
{
    snprintf(p->base, sizeof(p->base), "/tmp/images-layer-XXXXXX");
    CHECK(mkdtemp(p->base) != NULL);
    if (!*made)
        atexit(remove_made);
    snprintf(made, sizeof(made), "%s", p->base);
    p->base_fd = open(p->base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(p->base_fd >= 0 && mkdirat(p->base_fd, "in", 0755) == 0 && mkdirat(p->base_fd, "out", 0755) == 0);
    p->in_fd = openat(p->base_fd, "in", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(p->in_fd >= 0);
}

static void place_close(struct place *p)
{
    struct err err;

    close(p->in_fd);
    close(p->base_fd);
    CHECK_INT(folder_remove(AT_FDCWD, p->base, NULL, &err), 0);
}

static int blob_fd(const void *data, size_t n)
{
    int fd = memfd_create("blob", MFD_CLOEXEC);

    CHECK(fd >= 0 && write(fd, data, n) == (ssize_t)n && lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static int unpack_job(struct place *p, struct layer_job job, const void *data, size_t n, struct layer_result *ret, struct err *err)
{
    struct ctx ctx = ctx_background(NULL);

    job.blob_fd = blob_fd(data, n);
    job.root_fd = p->in_fd;
    int rc = layer_unpack(&ctx, &job, ret, err);
    close(job.blob_fd);
    return rc;
}

static int unpack(struct place *p, struct buf *tar, struct layer_result *ret, struct err *err)
{
    struct layer_job job = { .layers_fd = -1 };

    tar_end(tar);
    int rc = unpack_job(p, job, buf_at(tar), buf_len(tar), ret, err);
    buf_clear(tar);
    return rc;
}

static void must_unpack(struct place *p, struct buf *tar)
{
    struct layer_result r;
    struct err err = { 0 };

    if (unpack(p, tar, &r, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
}

static struct stat look(struct place *p, const char *path)
{
    struct stat st;

    if (fstatat(p->in_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(1);
    }
    return st;
}

static bool absent(int fd, const char *path)
{
    struct stat st;

    return fstatat(fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
}

static void content_is(struct place *p, const char *path, const char *want)
{
    char got[256];
    int fd = openat(p->in_fd, path, O_RDONLY | O_NOFOLLOW);

    CHECK(fd >= 0);
    ssize_t n = read(fd, got, sizeof(got) - 1);
    close(fd);
    CHECK(n >= 0);
    got[n] = '\0';
    CHECK_STR(got, want);
}

TEST(images_layer_attributes)
{
    struct place p;
    struct buf tar = { 0 };
    char value[64] = "", link[64] = "";

    if (!have_root())
        return;
    place_open(&p);
    tar_add(&tar, &(struct tar_entry){ .name = "./", .type = '5', .mode = 0711, .uid = 3, .mtime = 77 });
    tar_add(&tar, &(struct tar_entry){ .name = "./bin/", .type = '5', .mtime = 1000 });
    tar_add(&tar, &(struct tar_entry){ .name = "bin/su", .type = '0', .data = "program", .mode = 04755, .uid = 1, .gid = 2, .mtime = 1234, .xattr = "user.note", .xattr_value = "hello" });
    tar_add(&tar, &(struct tar_entry){ .name = "bin/sh", .type = '1', .data = "bin/su" });
    tar_add(&tar, &(struct tar_entry){ .name = "/etc/link", .type = '2', .data = "../../../out/x", .uid = 9, .mtime = 5 });
    tar_add(&tar, &(struct tar_entry){ .name = "dev/null", .type = '3', .mode = 0666, .major = 1, .minor = 3 });
    tar_add(&tar, &(struct tar_entry){ .name = "run/pipe", .type = '6', .mode = 0600 });
    tar_add(&tar, &(struct tar_entry){ .name = "n\xc3\xa4me", .type = '0', .data = "utf8", .xattr = "trusted.overlay.opaque", .xattr_value = "y" });
    must_unpack(&p, &tar);
    struct stat st = look(&p, "bin/su");
    CHECK_INT(st.st_mode & 07777, 04755);
    CHECK(st.st_uid == 1 && st.st_gid == 2 && st.st_mtime == 1234 && st.st_nlink == 2);
    CHECK_INT(look(&p, "bin/sh").st_ino, st.st_ino);
    CHECK_INT(look(&p, "bin").st_mtime, 1000);
    st = look(&p, "dev/null");
    CHECK(S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3) && (st.st_mode & 0777) == 0666);
    CHECK(S_ISFIFO(look(&p, "run/pipe").st_mode));
    st = look(&p, "etc/link");
    CHECK(S_ISLNK(st.st_mode) && st.st_uid == 9);
    CHECK(readlinkat(p.in_fd, "etc/link", link, sizeof(link) - 1) > 0);
    CHECK_STR(link, "../../../out/x");
    CHECK(fstat(p.in_fd, &st) == 0 && (st.st_mode & 07777) == 0711 && st.st_uid == 3);
    int fd = openat(p.in_fd, "bin/su", O_RDONLY);
    CHECK(fgetxattr(fd, "user.note", value, sizeof(value)) == 5 && memcmp(value, "hello", 5) == 0);
    close(fd);
    /* What steers overlayfs is not the image's to set. */
    fd = openat(p.in_fd, "n\xc3\xa4me", O_RDONLY);
    CHECK(fd >= 0 && fgetxattr(fd, "trusted.overlay.opaque", value, sizeof(value)) < 0);
    close(fd);
    place_close(&p);
}

TEST(images_layer_whiteouts)
{
    struct place p;
    struct buf tar = { 0 };
    char value[8];

    if (!have_root())
        return;
    place_open(&p);
    tar_add(&tar, &(struct tar_entry){ .name = "a/.wh.gone", .type = '0' });
    tar_add(&tar, &(struct tar_entry){ .name = "b/.wh..wh..opq", .type = '0' });
    tar_add(&tar, &(struct tar_entry){ .name = "b/new", .type = '0', .data = "x" });
    tar_add(&tar, &(struct tar_entry){ .name = ".wh.c", .type = '0' });
    tar_add(&tar, &(struct tar_entry){ .name = "c/d", .type = '5' }); /* a folder where a whiteout was is opaque */
    tar_add(&tar, &(struct tar_entry){ .name = "c2/", .type = '5' });
    tar_add(&tar, &(struct tar_entry){ .name = ".wh.c2", .type = '0' });
    tar_add(&tar, &(struct tar_entry){ .name = ".wh..wh.plnk", .type = '0' });
    struct layer_result r;
    struct err err = { 0 };
    /* "c" is a device by now: no folder may be made through it. */
    CHECK(unpack(&p, &tar, &r, &err) < 0);
    CHECK(S_ISCHR(look(&p, "c").st_mode));
    place_close(&p);
    place_open(&p);
    tar_add(&tar, &(struct tar_entry){ .name = "a/.wh.gone", .type = '0' });
    tar_add(&tar, &(struct tar_entry){ .name = "b/.wh..wh..opq", .type = '0' });
    tar_add(&tar, &(struct tar_entry){ .name = "b/new", .type = '0', .data = "x" });
    tar_add(&tar, &(struct tar_entry){ .name = ".wh.c", .type = '0' });
    tar_add(&tar, &(struct tar_entry){ .name = "c/", .type = '5' });
    tar_add(&tar, &(struct tar_entry){ .name = "c2/", .type = '5' });
    tar_add(&tar, &(struct tar_entry){ .name = ".wh.c2", .type = '0' });
    tar_add(&tar, &(struct tar_entry){ .name = ".wh..wh.plnk", .type = '0' });
    must_unpack(&p, &tar);
    struct stat st = look(&p, "a/gone");
    CHECK(S_ISCHR(st.st_mode) && st.st_rdev == 0);
    CHECK(absent(p.in_fd, ".wh..wh.plnk") && absent(p.in_fd, "b/.wh..wh..opq"));
    static const char *const opaque[] = { "in/b", "in/c", "in/c2" };
    for (size_t i = 0; i < ARRAY_LEN(opaque); i++) {
        char path[128];

        snprintf(path, sizeof(path), "%s/%s", p.base, opaque[i]);
        CHECK(lgetxattr(path, "trusted.overlay.opaque", value, sizeof(value)) == 1 && value[0] == 'y');
    }
    place_close(&p);
}

TEST(images_layer_replaces_entries)
{
    struct place p;
    struct buf tar = { 0 };

    if (!have_root())
        return;
    place_open(&p);
    tar_add(&tar, &(struct tar_entry){ .name = "a/b/c", .type = '0', .data = "one" });
    tar_add(&tar, &(struct tar_entry){ .name = "a/b/c", .type = '0', .data = "second" });
    tar_add(&tar, &(struct tar_entry){ .name = "a/b", .type = '0', .data = "file now" });
    tar_add(&tar, &(struct tar_entry){ .name = "l", .type = '2', .data = "a" });
    tar_add(&tar, &(struct tar_entry){ .name = "l/through", .type = '0', .data = "in a" });
    tar_add(&tar, &(struct tar_entry){ .name = "l", .type = '5' });
    tar_add(&tar, &(struct tar_entry){ .name = "l/own", .type = '0', .data = "in l" });
    tar_add(&tar, &(struct tar_entry){ .name = "x/../y/./z", .type = '0', .data = "z" });
    must_unpack(&p, &tar);
    content_is(&p, "a/b", "file now");
    content_is(&p, "a/through", "in a");
    content_is(&p, "l/own", "in l");
    content_is(&p, "y/z", "z");
    CHECK(S_ISDIR(look(&p, "l").st_mode) && absent(p.in_fd, "x"));
    place_close(&p);
}

/* Whatever an archive tries, what is beside the layer stays as it was. */
TEST(images_layer_hostile)
{
    static const struct {
        struct tar_entry at[4];
        bool fails;
    } table[] = {
        { { { .name = "../out/x", .type = '0', .data = "evil" } }, true },
        { { { .name = "a/../../out/x", .type = '0', .data = "evil" } }, true },
        { { { .name = "..", .type = '5' } }, true },
        { { { .name = "up", .type = '2', .data = "../out" }, { .name = "up/x", .type = '0', .data = "evil" } }, true },           /* "out" does not exist inside */
        { { { .name = "up", .type = '2', .data = ".." }, { .name = "up/out/x", .type = '0', .data = "inside" } }, false },         /* the layer is its own top */
        { { { .name = "abs", .type = '2', .data = "/tmp" }, { .name = "abs/images-evil", .type = '0', .data = "inside" } }, true },
        { { { .name = "out", .type = '5' }, { .name = "up", .type = '2', .data = "../../../../out" }, { .name = "up/x", .type = '0', .data = "inside" } }, false },
        { { { .name = "h", .type = '1', .data = "../out/keep" } }, true },
        { { { .name = "up", .type = '2', .data = "../out" }, { .name = "h", .type = '1', .data = "up/keep" } }, true },
        { { { .name = "s", .type = '2', .data = "../out/keep" }, { .name = "h", .type = '1', .data = "s" }, { .name = "h", .type = '0', .data = "new" } }, false }, /* a link to a link; then replaced */
        { { { .name = "s", .type = '2', .data = "../out/keep" }, { .name = "s", .type = '0', .data = "new" } }, false },           /* never written through */
        { { { .name = "p", .type = '2', .data = "/proc/self/root" }, { .name = "p/out/x", .type = '0', .data = "evil" } }, true },
        { { { .name = ".wh...", .type = '0' } }, true },
        { { { .name = ".wh.", .type = '0' } }, true },
        { { { .name = ".", .type = '0', .data = "evil" } }, true },
        { { { .name = "loop", .type = '2', .data = "loop" }, { .name = "loop/x", .type = '0', .data = "evil" } }, true },
        { { { .name = "file", .type = '0', .data = "x" }, { .name = "file/x", .type = '0', .data = "evil" } }, true },
        { { { .name = "h", .type = '0', .data = "x" }, { .name = "h", .type = '1', .data = "h" } }, true },
        { { { .name = "h", .type = '1', .data = "nothing" } }, true },
        { { { .name = "big", .type = '0', .data = "x", .size = 0777777777777LL } }, true },                /* more than there is */
    };

    if (!have_root())
        return;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct place p;
        struct buf tar = { 0 };
        struct layer_result r;
        struct err err = { 0 };
        char path[128], keep[16] = "";

        place_open(&p);
        int fd = openat(p.base_fd, "out/keep", O_RDWR | O_CREAT, 0600);
        CHECK(fd >= 0 && write(fd, "kept", 4) == 4);
        for (size_t k = 0; k < 4 && table[i].at[k].name; k++)
            tar_add(&tar, &table[i].at[k]);
        int rc = unpack(&p, &tar, &r, &err);
        if ((rc < 0) != table[i].fails) {
            fprintf(stderr, "archive %zu: %s\n", i, rc < 0 ? err.msg : "was taken");
            exit(1);
        }
        struct stat st;
        CHECK(pread(fd, keep, sizeof(keep) - 1, 0) == 4 && fstat(fd, &st) == 0 && st.st_nlink == 1);
        CHECK_STR(keep, "kept");
        close(fd);
        CHECK(absent(p.base_fd, "out/x") && absent(AT_FDCWD, "/tmp/images-evil"));
        snprintf(path, sizeof(path), "%s/x", p.base);
        CHECK(absent(AT_FDCWD, path));
        place_close(&p);
    }
}

TEST(images_layer_compressions)
{
    struct place p;
    struct buf tar = { 0 };
    unsigned char packed[4096];
    struct layer_job job = { .layers_fd = -1, .hash_blob = true };
    struct layer_result r, plain;
    struct err err = { 0 };
    char want[DIGEST_CHARS + 1];

    if (!have_root())
        return;
    place_open(&p);
    tar_add(&tar, &(struct tar_entry){ .name = "f", .type = '0', .data = "text" });
    tar_end(&tar);
    z_stream z = { .next_in = (unsigned char *)buf_at(&tar), .avail_in = (unsigned)buf_len(&tar), .next_out = packed, .avail_out = sizeof(packed) };
    CHECK(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) == Z_OK && deflate(&z, Z_FINISH) == Z_STREAM_END);
    size_t n = z.total_out;
    deflateEnd(&z);
    CHECK_INT(unpack_job(&p, job, packed, n, &r, &err), 0);
    content_is(&p, "f", "text");
    digest_of(buf_at(&tar), buf_len(&tar), want);
    CHECK_STR(r.diff_id, want);
    digest_of(packed, n, want);
    CHECK_STR(r.blob_digest, want);
    CHECK_INT(unpack_job(&p, job, buf_at(&tar), buf_len(&tar), &plain, &err), 0);
    CHECK_STR(plain.diff_id, r.diff_id);
    /* Cut, and damaged. */
    CHECK_INT(unpack_job(&p, job, packed, n - 9, &r, &err), -ERR_INVALID);
    packed[n / 2] ^= 0x55;
    CHECK(unpack_job(&p, job, packed, n, &r, &err) < 0);
    CHECK_INT(unpack_job(&p, job, "no archive at all", 17, &r, &err), -ERR_INVALID);
    CHECK_INT(unpack_job(&p, job, "", 0, &r, &err), 0);
    buf_clear(&tar);
    place_close(&p);
}

TEST(images_layer_limits)
{
    struct place p;
    struct buf tar = { 0 };
    struct layer_result r;
    struct err err = { 0 };

    if (!have_root())
        return;
    place_open(&p);
    for (int i = 0; i < 3; i++) {
        char name[16];

        snprintf(name, sizeof(name), "f%d", i);
        tar_add(&tar, &(struct tar_entry){ .name = name, .type = '0', .data = "0123456789" });
    }
    tar_end(&tar);
    struct layer_job job = { .layers_fd = -1, .entries_max = 3, .bytes_max = 30 };
    CHECK_INT(unpack_job(&p, job, buf_at(&tar), buf_len(&tar), &r, &err), 0);
    CHECK(r.bytes == 30 && r.entries == 3);
    job.entries_max = 2;
    CHECK_INT(unpack_job(&p, job, buf_at(&tar), buf_len(&tar), &r, &err), -ERR_TOO_LARGE);
    job.entries_max = 3;
    job.bytes_max = 29;
    CHECK_INT(unpack_job(&p, job, buf_at(&tar), buf_len(&tar), &r, &err), -ERR_TOO_LARGE);
    buf_clear(&tar);
    place_close(&p);
}

/* A folder the archive does not name is as the layer below has it, not as we like. */
TEST(images_layer_parents_from_below)
{
    static const char *const below[] = { "top", "bottom" };
    struct place p;
    struct buf tar = { 0 };
    struct layer_result r;
    struct err err = { 0 };

    if (!have_root())
        return;
    place_open(&p);
    CHECK(mkdirat(p.base_fd, "out/top", 0755) == 0 && mkdirat(p.base_fd, "out/bottom", 0755) == 0);
    CHECK(mkdirat(p.base_fd, "out/bottom/tmp", 0755) == 0 && fchmodat(p.base_fd, "out/bottom/tmp", 01777, 0) == 0);
    CHECK(fchownat(p.base_fd, "out/bottom/tmp", 5, 6, 0) == 0);
    int layers = openat(p.base_fd, "out", O_RDONLY | O_DIRECTORY);
    struct layer_job job = { .layers_fd = layers, .below = below, .n_below = 2 };
    tar_add(&tar, &(struct tar_entry){ .name = "tmp/x", .type = '0', .data = "x" });
    tar_add(&tar, &(struct tar_entry){ .name = "srv/x", .type = '0', .data = "x" });
    tar_end(&tar);
    CHECK_INT(unpack_job(&p, job, buf_at(&tar), buf_len(&tar), &r, &err), 0);
    struct stat st = look(&p, "tmp");
    CHECK((st.st_mode & 07777) == 01777 && st.st_uid == 5 && st.st_gid == 6);
    CHECK_INT(look(&p, "srv").st_mode & 07777, 0755);
    buf_clear(&tar);
    close(layers);
    place_close(&p);
}

/* Nobody unpacks on when the program was killed. */
TEST(images_layer_child_dies_with_us)
{
    struct place p;
    int feed[2], alive[2];
    char c;

    if (!have_root())
        return;
    place_open(&p);
    CHECK(pipe2(feed, O_CLOEXEC) == 0 && pipe2(alive, O_CLOEXEC) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct ctx ctx = ctx_background(NULL);
        /* The child holds it as one of its descriptors: its end is the end of the pipe. */
        struct layer_job job = { .blob_fd = feed[0], .root_fd = p.in_fd, .layers_fd = alive[1] };
        struct layer_result r;
        struct err err;

        _exit(layer_unpack(&ctx, &job, &r, &err) < 0);
    }
    close(alive[1]);
    close(feed[0]);
    struct buf tar = { 0 };
    tar_add(&tar, &(struct tar_entry){ .name = "first", .type = '0', .data = "x" });
    tar_add(&tar, &(struct tar_entry){ .name = "second", .type = '0', .size = 1 << 20 });
    CHECK(write(feed[1], buf_at(&tar), buf_len(&tar)) == (ssize_t)buf_len(&tar));
    buf_clear(&tar);
    struct stat st;
    while (fstatat(p.in_fd, "first", &st, 0) < 0 && waitpid(pid, NULL, WNOHANG) == 0)
        poll(NULL, 0, 5);
    CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
    CHECK_INT(read(alive[0], &c, 1), 0);
    close(alive[0]);
    close(feed[1]);
    place_close(&p);
}

TEST(images_tree_removes_deep_folders)
{
    struct place p;
    struct err err = { 0 };

    place_open(&p);
    int fd = dup(p.in_fd);
    for (int i = 0; i < 3000; i++) {
        CHECK(mkdirat(fd, "d", 0700) == 0);
        int next = openat(fd, "d", O_RDONLY | O_DIRECTORY);

        CHECK(next >= 0);
        close(fd);
        fd = next;
    }
    close(fd);
    CHECK(symlinkat("../out", p.in_fd, "link") == 0);
    CHECK_INT(folder_remove(p.base_fd, "in", NULL, &err), 0);
    CHECK(absent(p.base_fd, "in") && !absent(p.base_fd, "out"));
    CHECK_INT(folder_remove(p.base_fd, "in", NULL, &err), 0);
    place_close(&p);
}
