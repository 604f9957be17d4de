#ifndef LIB_SPAWN_INT_H
#define LIB_SPAWN_INT_H
/*
 * spawn_int - the child's side of spawn: what happens between fork and exec.
 *
 * Everything here runs in a child of a process with many threads: system calls only, no allocation, no lock, no errno of ours
 * kept. The child may share its parent's memory (vfork), so it writes to its own stack alone.
 */
#include "lib/spawn.h"

enum spawn_step {
    SPAWN_SESSION,
    SPAWN_PARENT,
    SPAWN_CGROUP,
    SPAWN_NULL,
    SPAWN_FDS,
    SPAWN_NETNS,
    SPAWN_MNTNS,
    SPAWN_CWD,
    SPAWN_EXEC,
};

/* What a child that cannot go on writes to its parent. */
struct spawn_failure {
    int step; /* enum spawn_step */
    int sys;
};

struct spawn_child {
    const struct spawn *spec;
    pid_t parent;
    int report;               /* write end, close-on-exec; in spawn_call closed before fn */
    const char *const *paths; /* to try in this order; ends with NULL; NULL: no program but fn */
    int (*fn)(void *arg);
    void *arg;
};

_Noreturn void spawn_child_main(const struct spawn_child *child);

#endif
