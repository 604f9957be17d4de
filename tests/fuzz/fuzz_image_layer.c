/* An archive as a layer: whatever it says, nothing beside the layer's folder changes, and what it unpacked can be removed. Runs without a child and
 * without devices' privileges where it is not root. */
#include "agent/images/folder.h"
#include "agent/images/layer.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int entries(int fd)
{
    DIR *dir = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    int count = 0;

    assert(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static void check_beside(int base)
{
    struct stat st;

    assert(entries(base) == 4); /* ".", "..", in, keep */
    assert(fstatat(base, "keep", &st, AT_SYMLINK_NOFOLLOW) == 0);
    assert(S_ISREG(st.st_mode) && st.st_size == 4 && st.st_nlink == 1 && (st.st_mode & 07777) == 0600);
}

static void run(int base, const uint8_t *data, size_t n, bool plain)
{
    int root, blob = memfd_create("blob", MFD_CLOEXEC);
    struct layer_result r = { 0 };
    struct err err = { 0 };

    assert(blob >= 0 && write(blob, data, n) == (ssize_t)n && lseek(blob, 0, SEEK_SET) == 0);
    assert(mkdirat(base, "in", 0700) == 0);
    root = openat(base, "in", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert(root >= 0);
    struct layer_job job = { .blob_fd = blob, .root_fd = root, .layers_fd = -1, .plain = plain, .hash_blob = true,
                             .bytes_max = 1 << 20, .entries_max = 200 };
    if (layer_unpack_here(&job, &r, &err) == 0) {
        assert(digest_ok(r.diff_id) && digest_ok(r.blob_digest));
        assert(r.bytes >= 0 && r.bytes <= job.bytes_max && r.entries >= 0 && r.entries <= job.entries_max);
        buf_clear(&r.opaque);
    } else {
        assert(err.code != ERR_NONE && err.msg[0]);
    }
    close(root);
    close(blob);
    check_beside(base);
    assert(folder_remove(base, "in", NULL, &err) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char dir[] = "/tmp/fuzz-layer-XXXXXX";
    struct err err;

    assert(mkdtemp(dir));
    int base = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int keep = openat(base, "keep", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert(base >= 0 && keep >= 0 && write(keep, "kept", 4) == 4);
    close(keep);
    run(base, data, n, n & 1);
    close(base);
    assert(folder_remove(AT_FDCWD, dir, NULL, &err) == 0);
    return 0;
}
