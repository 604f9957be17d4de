#ifndef AGENT_RUNTIME_RUNTIME_INT_H
#define AGENT_RUNTIME_RUNTIME_INT_H
/*
 * runtime_int - what the files of this room share.
 *
 * struct runtime's `lock` guards the map of pods, every pod's fields and its list of containers; it is never held across I/O.
 * A pod is reference-counted: the map, its link, jobs and callers hold it.
 */
#include "agent/runtime/cgroup.h"
#include "agent/runtime/runtime.h"
#include "embed/shim_protocol.h"
#include "lib/json.h"
#include "lib/map.h"

#include <pthread.h>

enum {
    RUNTIME_FORMAT = 1, /* of sandbox.json, container.json, exit.json */
    RECORD_MAX_BYTES = 64 * 1024,
    UID_MAX_BYTES = 64,
    PODS_MAX = 4096,
    RUNTIME_PATH_BYTES = 384,
};

struct link;

struct process_id {
    pid_t pid;          /* 0: none */
    uint64_t start;     /* field 22 of /proc/<pid>/stat */
    char boot_id[40];
};

struct runtime_container {
    struct runtime_container *next;
    struct container at;
    bool known;   /* to the shim: it was told of */
};

struct pod_event {
    struct pod_event *next;
    enum runtime_event_kind kind;
    char id[65];
};

struct pod {
    _Atomic int refs;
    struct runtime *rt;
    char uid[UID_MAX_BYTES + 1];
    char *ns, *name, *hostname, *cgroup;
    bool host_network, host_ipc, host_pid, share_pid;
    struct process_id shim;
    bool shim_is_child;
    pid_t init;          /* of the shared PID namespace */
    struct link *link;   /* NULL: no shim */
    bool busy;           /* a start or remove runs */
    bool removing;       /* its shim's end is no surprise */
    struct runtime_container *containers;
    struct pod_event *events, **events_end;
    bool delivering;
};

struct runtime {
    char *data_dir, *run_dir, *oci, *oci_root, *shim_path, *version;
    char instance[16];
    int pods_fd, run_fd; /* folders */
    const struct clock *clock;
    struct loop *loop;
    struct pool *pool;
    runtime_event_fn *on_event;
    void *arg;
    int64_t log_max_bytes;
    int log_max_files;
    int oom_score_adj_least; /* lower ones the kernel would refuse */
    char boot_id[40];
    struct cgroups *cgroups;
    pthread_mutex_t lock;
    pthread_cond_t idle; /* jobs or links became 0 */
    struct map *pods;
    int jobs, links;
    bool closing;
};

/* --- pod.c --- */
struct pod *pod_ref(struct pod *p);
void pod_unref(struct pod *p); /* NULL allowed */
AUTO_DEFINE(pod, struct pod *, pod_unref)
CHECK_RC int pod_find(struct runtime *rt, const char *uid, struct pod **ret, struct err *err); /* a reference. NOT_FOUND */
struct pod *pod_make(struct runtime *rt, const char *uid);             /* found or new; a reference */
void pod_forget(struct pod *p);                                        /* out of the map */
CHECK_RC int pod_check_uid(const char *uid, struct err *err);
/* Marks it as being started or removed. Errors: CONFLICT. */
CHECK_RC int pod_claim(struct pod *p, struct err *err);
void pod_release(struct pod *p);
void pod_event(struct pod *p, enum runtime_event_kind kind, const char *id);
/* The link with a reference. Errors: UNAVAILABLE when there is no shim. */
CHECK_RC int pod_link(struct pod *p, struct link **ret, struct err *err);
/* With the lock held. */
struct runtime_container *pod_container(struct pod *p, const char *id);
struct runtime_container *pod_container_add(struct pod *p, const struct container *c);
void pod_container_drop(struct pod *p, const char *id);
/* Runs fn(pod) on a worker with a reference and counted, so that runtime_close waits for it. */
void pod_job(struct pod *p, void (*fn)(void *pod));
void pod_job_end(struct pod *p);

/* --- lost.c --- */
/* Job: the link of a pod broke: connects anew, or cleans up behind a dead shim. */
void pod_lost(void *pod);
/* Kills and forgets what runs without its shim, marks it gone. */
void pod_bury(struct ctx *ctx, struct pod *p);
void pod_reap_shim(struct pod *p);

/* --- link.c --- */
struct reply {
    int64_t num[SHIM_NUMS];
    int fd; /* -1: none */
    char text[SHIM_TEXT_MAX + 1];
};
/* Connects to the pod's shim and hears its greeting: containers are noted, p->shim, p->init and p->link set.
 * Errors: UNAVAILABLE when nobody listens, IO with the shim's words when its set-up failed, TIMEOUT. */
CHECK_RC int link_open(struct ctx *ctx, struct pod *p, struct err *err);
void link_unref(struct link *l); /* NULL allowed */
AUTO_DEFINE(link, struct link *, link_unref)
void link_close(struct link *l); /* later, on the loop; keeps the caller's reference */
/* Sends and waits for the answer. w's frame id is set here. Errors: UNAVAILABLE (shim gone), TIMEOUT, CANCELED, TOO_LARGE; by the shim's
 * errno: NOT_FOUND (ESRCH), EXISTS, INVALID (EINVAL), CONFLICT (EBUSY), IO, with its text. */
CHECK_RC int link_call(struct ctx *ctx, struct link *l, struct shim_writer *w, const int *fds, int n_fds, struct reply *ret, struct err *err);

/* --- record.c --- */
CHECK_RC int record_write(int dir_fd, const char *name, const json_t *v, struct err *err);
CHECK_RC int record_read(int dir_fd, const char *name, json_t **ret, struct err *err); /* checks `format` */
CHECK_RC int record_sandbox_write(struct pod *p, struct err *err);
CHECK_RC int record_sandbox_read(struct pod *p, int dir_fd, struct err *err);
CHECK_RC int record_container_write(int dir_fd, const struct container *c, struct err *err);
CHECK_RC int record_container_read(int dir_fd, struct container *ret, struct err *err);
/* NOT_FOUND: it has not ended, as far as the disk knows. */
CHECK_RC int record_exit_read(int dir_fd, struct container *to, struct err *err);
CHECK_RC int record_gone_write(int dir_fd, const struct container *c, struct err *err);

/* --- files.c --- */
CHECK_RC int make_dirs(const char *path, mode_t mode, struct err *err); /* with parents */
CHECK_RC int remove_tree(int dir_fd, const char *name, struct err *err); /* follows nothing; NOT_FOUND is success */
CHECK_RC int process_identify(struct runtime *rt, pid_t pid, struct process_id *ret, struct err *err);
bool process_alive(struct runtime *rt, const struct process_id *id);

/* --- spec.c --- */
/* config.json of the OCI runtime specification 1.0.2. Errors: INVALID. */
CHECK_RC int spec_write(struct pod *p, const struct container_spec *spec, struct buf *to, struct err *err);
void spec_default_mounts(struct pod *p, const struct container_spec *spec, struct buf *to);
void spec_linux(struct pod *p, const struct container_spec *spec, struct buf *to);

/* --- container.c --- */
/* The OCI runtime's words as users know them; sets code INVALID when the command is at fault. */
CHECK_RC int container_start_error(const struct runtime *rt, const char *text, const char *verb, struct err *err);
void container_paths(const struct pod *p, const char *id, char *dir); /* RUNTIME_PATH_BYTES */
CHECK_RC int container_forget_files(struct pod *p, const char *id, struct err *err);

#endif
