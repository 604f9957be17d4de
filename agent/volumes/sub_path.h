#ifndef AGENT_VOLUMES_SUB_PATH_H
#define AGENT_VOLUMES_SUB_PATH_H
/* sub_path - a part of a volume, held so that links can't move it. Thread: any, one call at a time for one pod. Blocks: on disk. */
#include "agent/volumes/volumes.h"

/* Errors: as upstream words them; INVALID for paths that may not be. Owner: *ret free. */
CHECK_RC int sub_path_prepare(struct volumes *v, const char *uid, const char *volume_path, const struct volume_use *use, char **ret,
                              struct err *err);

#endif
