/* Reads the archive: one libarchive reader takes the compression off, its output is hashed and feeds a second one that knows tar only. */
#include "agent/images/layer_int.h"

#include "lib/mem.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { READ_BYTES = 64 * 1024, ENTRIES_MAX = 2000000 };
static const int64_t bytes_max_default = 64LL << 30;

struct source {
    int fd;
    struct archive *outer;
    struct sha256 *tar_hash, *blob_hash; /* NULL: not wanted */
    char buf[READ_BYTES];
};

static void source_clear(struct source *s)
{
    unsigned char lost[SHA256_BYTES];

    if (s->outer)
        archive_read_free(s->outer);
    if (s->tar_hash)
        sha256_end(s->tar_hash, lost);
    if (s->blob_hash)
        sha256_end(s->blob_hash, lost);
}

static void auto_source(struct source **s)
{
    source_clear(*s);
    free(*s);
}

static void auto_archive(struct archive **a)
{
    if (*a)
        archive_read_free(*a);
}

static la_ssize_t read_blob(struct archive *a, void *arg, const void **ret)
{
    struct source *s = arg;
    ssize_t n;

    while ((n = read(s->fd, s->buf, sizeof(s->buf))) < 0 && errno == EINTR)
        ;
    if (n < 0)
        archive_set_error(a, errno, "read: %s", strerrordesc_np(errno));
    if (n > 0 && s->blob_hash)
        sha256_add(s->blob_hash, s->buf, (size_t)n);
    *ret = s->buf;
    return n;
}

static la_ssize_t read_tar(struct archive *a, void *arg, const void **ret)
{
    struct source *s = arg;
    const void *at = NULL;
    size_t n = 0;
    la_int64_t offset;
    int rc;

    do
        rc = archive_read_data_block(s->outer, &at, &n, &offset);
    while (rc == ARCHIVE_OK && n == 0);
    if (rc == ARCHIVE_EOF)
        return 0;
    if (rc != ARCHIVE_OK) {
        archive_set_error(a, EINVAL, "%s", archive_error_string(s->outer) ? archive_error_string(s->outer) : "can't decompress");
        return -1;
    }
    sha256_add(s->tar_hash, at, n);
    *ret = at;
    return (la_ssize_t)n;
}

static int refused(struct archive *a, const char *what, struct err *err)
{
    const char *why = archive_error_string(a);

    return err_set(err, ERR_INVALID, "%s: %s", what, why ? why : "broken");
}

/* *ret_empty: a blob without a byte. */
static int open_outer(struct source *s, bool *ret_empty, struct err *err)
{
    struct archive_entry *e;

    s->outer = archive_read_new();
    if (!s->outer)
        return err_set(err, ERR_IO, "no memory");
    archive_read_support_filter_gzip(s->outer);
    archive_read_support_filter_zstd(s->outer);
    archive_read_support_format_raw(s->outer);
    archive_read_support_format_empty(s->outer);
    if (archive_read_open(s->outer, s, NULL, read_blob, NULL) != ARCHIVE_OK)
        return refused(s->outer, "decompress the layer", err);
    int rc = archive_read_next_header(s->outer, &e);
    *ret_empty = rc == ARCHIVE_EOF;
    return rc == ARCHIVE_OK || rc == ARCHIVE_EOF ? 0 : refused(s->outer, "decompress the layer", err);
}

static int each_entry(struct layer_writer *w, struct archive *tar, struct err *err)
{
    for (;;) {
        struct archive_entry *e;
        int rc = archive_read_next_header(tar, &e);

        if (rc == ARCHIVE_EOF)
            return 0;
        /* A warning without such a locale is a name that could not be told. */
        if (rc != ARCHIVE_OK && !(rc == ARCHIVE_WARN && w->job->locale))
            return refused(tar, "read the layer's tar", err);
        if (w->entries_left-- <= 0)
            return err_set(err, ERR_TOO_LARGE, "the layer has too many entries");
        rc = layer_write_entry(w, tar, e, err);
        if (rc < 0)
            return err_wrap(err, "unpack \"%.200s\"", archive_entry_pathname(e) ? archive_entry_pathname(e) : "");
    }
}

/* What stands behind the tar's end belongs to the hashes. */
static int read_rest(struct source *s, struct archive *tar, struct err *err)
{
    const void *at;
    la_ssize_t n;

    while ((n = read_tar(tar, s, &at)) > 0)
        ;
    if (n < 0)
        return refused(tar, "read the layer to its end", err);
    while (s->blob_hash && (n = read_blob(tar, s, &at)) > 0)
        ;
    return n < 0 ? refused(tar, "read the layer to its end", err) : 0;
}

static void finish_hash(struct sha256 **hash, char *ret)
{
    unsigned char raw[SHA256_BYTES];

    *ret = '\0';
    if (*hash) {
        sha256_end(TAKE(*hash), raw);
        digest_text(raw, ret);
    }
}

static int read_archive(struct source *s, struct layer_writer *w, struct err *err)
{
    AUTO(archive) struct archive *tar = archive_read_new();
    bool empty = false;
    int rc = tar ? open_outer(s, &empty, err) : err_set(err, ERR_IO, "no memory");

    if (rc < 0 || empty)
        return rc;
    archive_read_support_format_tar(tar);
    archive_read_support_format_empty(tar);
    if (archive_read_open(tar, s, NULL, read_tar, NULL) != ARCHIVE_OK)
        return refused(tar, "read the layer's tar", err);
    rc = each_entry(w, tar, err);
    if (rc == 0)
        rc = read_rest(s, tar, err);
    return rc == 0 ? layer_write_times(w, err) : rc;
}

int layer_unpack_here(const struct layer_job *job, struct layer_result *ret, struct err *err)
{
    AUTO(source) struct source *s = MEM_NEW(struct source);
    AUTO(layer_writer) struct layer_writer w = { .job = job, .parent_fd = -1 };
    struct buf opaque = { 0 };
    int64_t bytes = job->bytes_max ? job->bytes_max : bytes_max_default;
    int64_t entries = job->entries_max ? job->entries_max : ENTRIES_MAX;

    w.bytes_left = bytes;
    w.entries_left = entries;
    w.opaque = &opaque;
    s->fd = job->blob_fd;
    s->tar_hash = sha256_new();
    s->blob_hash = job->hash_blob ? sha256_new() : NULL;
    int rc = read_archive(s, &w, err);
    if (rc < 0) {
        buf_clear(&opaque);
        return rc;
    }
    finish_hash(&s->tar_hash, ret->diff_id);
    finish_hash(&s->blob_hash, ret->blob_digest);
    ret->bytes = bytes - w.bytes_left;
    ret->entries = entries - w.entries_left;
    ret->opaque = opaque;
    return 0;
}
