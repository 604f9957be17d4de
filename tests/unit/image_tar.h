#ifndef TESTS_IMAGE_TAR_H
#define TESTS_IMAGE_TAR_H
/* image_tar - writes tar archives byte by byte, so that they can be as bad as an attacker's. */
#include "lib/bytes.h"

struct tar_entry {
    const char *name;
    char type;          /* '0' file, '1' hard link, '2' symbolic link, '3' character device, '4' block, '5' folder, '6' pipe */
    const char *data;   /* of files; the target of links */
    unsigned mode;      /* 0: 0644, 0755 for folders */
    unsigned uid, gid;
    unsigned major, minor;
    long mtime;
    long long size;     /* of files: what the header says; 0: data's length */
    const char *xattr, *xattr_value; /* one attribute, in a pax header before */
};
void tar_add(struct buf *to, const struct tar_entry *e);
void tar_end(struct buf *to);

#endif
