#ifndef AGENT_IMAGES_FOLDER_H
#define AGENT_IMAGES_FOLDER_H
/*
 * folder - opening below a folder that somebody else filled, and removing such folders.
 *
 * Names in them are hostile: links, mounts and any depth. Thread: any. Blocks: on disk. Needs Linux 5.6 (openat2).
 */
#include "lib/err.h"

#include <stdint.h>

/* As if root_fd were "/": links and ".." stay inside; magic links are refused. resolve_more: further RESOLVE_* flags. -1 and errno. */
int folder_open(int root_fd, const char *path, int flags, uint64_t resolve_more);
/* Removes dir_fd/name and all below it, following nothing. Absent is success. *ret_freed (NULL allowed) grows by the disk space of what went. */
CHECK_RC int folder_remove(int dir_fd, const char *name, int64_t *ret_freed, struct err *err);
/* Removes what is in the folder, and keeps it. */
CHECK_RC int folder_empty(int dir_fd, const char *name, struct err *err);

#endif
