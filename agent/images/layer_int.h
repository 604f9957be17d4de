#ifndef AGENT_IMAGES_LAYER_INT_H
#define AGENT_IMAGES_LAYER_INT_H
/* What reading and writing of a layer share. */
#include "agent/images/layer.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>

enum { LAYER_PATH_MAX = 4095 };

/* Writing into one folder. */
struct layer_writer {
    const struct layer_job *job;
    int parent_fd;         /* of the entry before; -1 */
    struct buf parent;     /* its path */
    struct buf times;      /* struct timespec and path of each folder; set at the end, as filling a folder changes its time */
    struct buf *opaque;
    int64_t bytes_left, entries_left;
};
void layer_writer_clear(struct layer_writer *w);
static inline void auto_layer_writer(struct layer_writer *w)
{
    layer_writer_clear(w);
}

/* The entry and its data. a: where the data is read from. */
CHECK_RC int layer_write_entry(struct layer_writer *w, struct archive *a, struct archive_entry *e, struct err *err);
CHECK_RC int layer_write_times(struct layer_writer *w, struct err *err);

/* "./a//b/../c/" -> "a/c". INVALID when it leaves the top or is too long. */
CHECK_RC int layer_path_clean(const char *path, char to[LAYER_PATH_MAX + 1], struct err *err);
/* The folder, made (with the owner and mode it has below) where it is missing. Borrowed: valid until the next call. */
CHECK_RC int layer_parent(struct layer_writer *w, const char *path, int *ret_fd, struct err *err);
void layer_parent_forget(struct layer_writer *w);
/* Owner, extended attributes, mode, time, on an open file or folder (never O_PATH). */
CHECK_RC int layer_attributes(struct layer_writer *w, int fd, struct archive_entry *e, struct err *err);
int layer_fill(struct layer_writer *w, struct archive *a, int fd, struct archive_entry *e, struct err *err);

#endif
