#ifndef TESTS_RUNTIME_FIXTURE_H
#define TESTS_RUNTIME_FIXTURE_H
/*
 * runtime_fixture - a real runtime in a temporary folder: shim, OCI runtime, busybox as root file system.
 *
 * Needs root and an OCI runtime; without them rig_open says why and ends the case well. Whatever a case leaves is killed and removed
 * by a watcher process when the case ends, also when it failed.
 */
#include "agent/runtime/runtime.h"
#include "test.h"

#include <pthread.h>

struct rig {
    char dir[128], pod[64], cgroup[96], rootfs[160], log_dir[160];
    struct arena *arena;
    struct ctx ctx;
    struct loop *loop;
    struct pool *pool;
    struct runtime *rt;
    int64_t log_max_bytes;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int exits, gone;
    int watcher; /* closed with us */
};

struct rig *rig_open(void);
void rig_close(struct rig *r);    /* removes the sandbox, closes */
void rig_reopen(struct rig *r);   /* a new agent: closes the runtime, opens and recovers */
void rig_restart(struct rig *r);  /* opens the runtime anew where nothing is to be recovered; close it before */
int rig_count(const char *dir, const char *prefix); /* files that begin so */
struct sandbox rig_sandbox(struct rig *r);
/* A container that runs busybox's shell with this script. */
struct container_spec rig_spec(struct rig *r, const char *id, const char *const *argv);
void rig_run(struct rig *r, const char *id, const char *script);
void rig_wait_exits(struct rig *r, int n);
void rig_wait_gone(struct rig *r, int n);
struct container rig_container(struct rig *r, const char *id);
char *rig_file(const char *path); /* its text; free */
bool rig_exists(const char *fmt, ...) PRINTF_LIKE(1, 2);
int64_t rig_ms(void);

#endif
