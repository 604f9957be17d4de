#ifndef AGENT_RUNTIME_CGROUP_H
#define AGENT_RUNTIME_CGROUP_H
/*
 * cgroup - control groups of version 1 (every mounted controller) and version 2, behind one set of calls.
 *
 * Paths are relative to each hierarchy's root, without a leading slash. Thread: any. Blocks: cgroup_kill until the processes are gone.
 * Source: kernel Documentation/admin-guide/cgroup-v1, cgroup-v2.rst; the weight formula is the one kubelet and runc use.
 */
#include "agent/runtime/runtime.h"

struct cgroups;

CHECK_RC int cgroups_open(struct cgroups **ret, struct err *err);
struct cgroups *cgroups_open_v2(const char *root); /* version 2 at that folder */
void cgroups_close(struct cgroups *c); /* NULL allowed */
bool cgroups_v2(const struct cgroups *c);

CHECK_RC int cgroup_set(struct cgroups *c, const char *cgroup, const struct container_resources *r, struct err *err);
CHECK_RC int cgroup_remove(struct cgroups *c, const char *cgroup, struct err *err); /* with what is below */
CHECK_RC int cgroup_usage(struct cgroups *c, const char *cgroup, struct cgroup_usage *ret, struct err *err);
/* Kills everything in and below it and waits until it is gone. NOT_FOUND is success. */
CHECK_RC int cgroup_kill(struct ctx *ctx, struct cgroups *c, const char *cgroup, struct err *err);
/* The folder where memory is accounted, or "" when there is none. Returns to, which has n bytes. */
char *cgroup_memory_dir(const struct cgroups *c, const char *cgroup, char *to, size_t n);

#endif
