#ifndef AGENT_VOLUMES_TREE_H
#define AGENT_VOLUMES_TREE_H
/*
 * tree - folders below an open directory, never leaving it: make, remove, hand to a group.
 *
 * No function follows a link in the last place; removal takes what is mounted inside off before it looks into it, so nothing behind a bind mount is touched.
 * Thread: any. Blocks: on disk. Limits: tree_chgrp refuses more than TREE_DEPTH_MAX folders; removal takes any depth, with as many descriptors.
 */
#include "lib/err.h"

#include <stdbool.h>
#include <sys/types.h>

enum { TREE_DEPTH_MAX = 128 };

/* Opens an absolute folder, made (0750) with its parents where absent. */
CHECK_RC int tree_open(const char *path, int *ret_fd, struct err *err);
/* Makes path (relative, no "..") below dir with its parents; existing ones are fine, links are not followed. ret_fd may be NULL. */
CHECK_RC int tree_make(int dir, const char *path, mode_t mode, int *ret_fd, struct err *err);
/* Removes name (file, link, folder with all it holds, what is mounted on it). Absent is success. */
CHECK_RC int tree_remove(int dir, const char *name, struct err *err);
/* What fsGroup means: every file below (and name itself) gets the group and its access; links only the group. */
CHECK_RC int tree_chgrp(int dir, const char *name, gid_t gid, bool readonly, struct err *err);
/* Whether something is mounted on dir/name (dir itself with name ""). */
CHECK_RC int tree_is_mount(int dir, const char *name, bool *ret, struct err *err);

#endif
