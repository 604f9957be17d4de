#ifndef AGENT_RUNTIME_RUNTIME_H
#define AGENT_RUNTIME_RUNTIME_H
/*
 * runtime - pod sandboxes and containers: one shim process a pod (embed/shim), containers by an OCI runtime (runc, crun).
 *
 * The shim is the only holder of the pod's net, ipc and uts namespaces, outlives the agent, reaps every child, writes and rotates the logs,
 * keeps the streams, runs exec probes, and writes an exit record to disk before it tells anyone. After a restart of the agent
 * runtime_recover finds everything again from disk and the shims. A process is pid + start time + boot id.
 * The wire between agent and shim is embed/shim_protocol.h (versioned; an agent speaks to every version released).
 *
 * Layer:  agent/; knows no Kubernetes object: the pod life cycle (agent/pods) translates.
 * Thread: any worker; calls block on the shim and the OCI runtime, never on a grace period or an exit: those come as events.
 */
#include "lib/bytes.h"
#include "lib/ctx.h"
#include "lib/loop.h"
#include "lib/pool.h"

#include <sys/types.h>

struct runtime;

/* What happened without being asked; on a pool worker, in order for one pod. */
enum runtime_event_kind {
    RUNTIME_EXITED,    /* a container ended; look at it with runtime_container */
    RUNTIME_SHIM_GONE, /* the shim died: its containers were killed */
};
typedef void runtime_event_fn(void *arg, enum runtime_event_kind kind, const char *pod_uid, const char *container_id);

struct runtime_options {
    const char *data_dir; /* <data-dir>/agent: pods/<uid>/ holds bundles, records and logs' state */
    const char *run_dir;  /* tmpfs: sockets */
    const char *bin_dir;  /* where the embedded shim is installed: <data-dir>/bin/<hash> */
    const char *instance; /* 8 hex: part of every machine-global name */
    const char *oci_runtime; /* path or name; "runc" */
    const struct clock *clock;
    struct loop *loop;
    struct pool *pool;
    runtime_event_fn *on_event;
    void *arg;
    int64_t log_max_bytes; /* of one container log file; 0: 10 MiB */
    int log_max_files;     /* 0: 5 */
};
/* Errors: NOT_FOUND (no OCI runtime, named), IO. */
CHECK_RC int runtime_open(const struct runtime_options *options, struct runtime **ret, struct err *err);
void runtime_close(struct runtime *rt); /* shims and containers go on; NULL allowed */
const char *runtime_version(struct runtime *rt); /* "rancherd://1.37.2-…" for nodeInfo.containerRuntimeVersion */

/* --- sandboxes --- */
struct sandbox_spec {
    const char *pod_uid, *pod_ns, *pod_name, *hostname;
    bool host_network, host_ipc, host_pid, share_pid;
    const char *cgroup;              /* parent of the containers' cgroups, relative to each controller's root: "kubepods-<instance>/burstable/pod<uid>" */
    const char *const *sysctls;      /* name, value, …, NULL; NULL allowed */
    int user_ns_uid;                 /* first host uid of the pod's user namespace; 0: none */
};
struct sandbox {
    pid_t shim_pid;
    char netns[64];                  /* "/proc/<pid>/ns/net" */
    bool running;
};
/* Idempotent: an existing, living sandbox is found again; after RUNTIME_SHIM_GONE a new shim takes over, the records of old containers stay.
 * Errors: CONFLICT while another start or remove of this pod runs; INVALID; IO with the shim's words. */
CHECK_RC int runtime_sandbox_start(struct ctx *ctx, struct runtime *rt, const struct sandbox_spec *spec, struct sandbox *ret, struct err *err);
CHECK_RC int runtime_sandbox(struct runtime *rt, const char *pod_uid, struct sandbox *ret, struct err *err); /* NOT_FOUND */
/* Kills what is left, ends the shim, removes cgroups, mounts and records of the pod. NOT_FOUND is success. */
CHECK_RC int runtime_sandbox_remove(struct ctx *ctx, struct runtime *rt, const char *pod_uid, struct err *err);

/* --- containers --- */
struct container_mount {
    const char *source, *target; /* bind mounts; source "" with type for tmpfs, proc … */
    const char *type;            /* NULL: bind */
    bool readonly, recursive_readonly;
    const char *propagation;     /* "rprivate", "rslave", "rshared"; NULL: rprivate */
    const char *options;         /* more, comma list; NULL */
};
struct container_resources {
    int64_t cpu_shares;      /* 0: default */
    int64_t cpu_quota_us, cpu_period_us; /* 0: none */
    int64_t memory_bytes;    /* limit; 0: none */
    int64_t pids;            /* 0: none */
    const char *cpuset;      /* NULL: none */
    const char *const *hugepages; /* size, limit, …, NULL; NULL allowed */
};
struct container_spec {
    const char *pod_uid, *name, *id; /* id: 64 hex, made by the caller, unique for each attempt */
    int attempt;
    const char *rootfs;          /* mounted by agent/images */
    const char *const *argv, *const *env, *const *labels; /* end with NULL */
    const char *cwd;             /* "": / */
    int64_t uid, gid;
    const int64_t *groups;
    size_t n_groups;
    const struct container_mount *mounts; /* beside the standard ones (proc, sys, dev …) */
    size_t n_mounts;
    const char *const *devices;  /* host path, container path, permissions, …, NULL */
    const char *const *capabilities; /* the exact set, CAP_…; ends with NULL */
    bool privileged, readonly_root, no_new_privs, tty, stdin_open, stdin_once;
    bool host_cgroup_ns;
    const char *const *masked_paths, *const *readonly_paths; /* end with NULL; NULL: the defaults */
    const char *seccomp;         /* JSON of the runtime spec's linux.seccomp; NULL: unconfined */
    const char *apparmor;        /* NULL: none */
    int oom_score_adj;
    struct container_resources resources;
    const char *log_path;        /* <log dir>/<ns>_<name>_<uid>/<container>/<attempt>.log, CRI format */
};
enum container_state { CONTAINER_CREATED, CONTAINER_RUNNING, CONTAINER_EXITED };
struct container {
    char name[64], id[65];
    int attempt;
    enum container_state state;
    pid_t pid;
    int64_t created_us, started_us, finished_us; /* wall clock; 0: not yet */
    int exit_code, signal;  /* once exited; 137 with signal 9 */
    bool oom_killed;
    bool gone;              /* exited because its shim died or the machine restarted: exit 255 */
    char log_path[512];
};
/* Creates and starts. Errors: with the OCI runtime's words, e.g. `failed to create containerd task`-like upstream texts: exec: "x": executable file not found in $PATH. Coded
 * INVALID when the command can't be run (StartError / ContainerCannotRun, exit 127/126 or 128), IO else. */
CHECK_RC int runtime_container_start(struct ctx *ctx, struct runtime *rt, const struct container_spec *spec, struct err *err);
CHECK_RC int runtime_container_kill(struct ctx *ctx, struct runtime *rt, const char *pod_uid, const char *id, int signal, struct err *err);
/* Of an exited container: bundle and records go, its log stays. */
CHECK_RC int runtime_container_remove(struct ctx *ctx, struct runtime *rt, const char *pod_uid, const char *id, struct err *err);
CHECK_RC int runtime_container(struct runtime *rt, const char *pod_uid, const char *id, struct container *ret, struct err *err);
/* All containers of a pod (latest attempts and kept older ones), by name then attempt. Owner: free(*ret). */
CHECK_RC int runtime_containers(struct runtime *rt, const char *pod_uid, struct container **ret, size_t *ret_n, struct err *err);
CHECK_RC int runtime_container_update(struct ctx *ctx, struct runtime *rt, const char *pod_uid, const char *id,
                                      const struct container_resources *r, struct err *err);

/* Pods that have a sandbox or records on this node. Owner: each and the list with free. Called once at start, before anything else: reconnects to living
 * shims, notes what ended while the agent was away. */
CHECK_RC int runtime_recover(struct ctx *ctx, struct runtime *rt, char ***ret_pod_uids, size_t *ret_n, struct err *err);

/* --- running commands and streams --- */
/* Exec with an answer (probes, hooks). Errors: TIMEOUT (the command was killed), INVALID (it can't be run), NOT_FOUND (no such container runs). */
struct runtime_answer {
    struct bytes *output; /* stdout, at most 16 KB; the caller's */
    int exit_code;
};
CHECK_RC int runtime_exec_sync(struct ctx *ctx, struct runtime *rt, const char *pod_uid, const char *id, const char *const *argv,
                               struct runtime_answer *ret, struct err *err);

/* An exec or attach session: pipes to relay (non-blocking; the caller's to close), -1 where not asked for. With tty, out carries both.
 * Read out and err to their ends beside control: what a command left running in the background may hold them open after "exit". */
struct runtime_session {
    int fd_in, fd_out, fd_err;
    int fd_control; /* a socket; write "resize <cols> <rows>\n"; reads "exit <code>\n" at the end (exec, and attach when the container ends), then EOF.
                       Closing it ends an attach and hangs up an exec's terminal */
};
struct runtime_session_spec {
    const char *pod_uid, *id;
    const char *const *argv; /* NULL: attach */
    bool tty, in, out, err;
};
CHECK_RC int runtime_session(struct ctx *ctx, struct runtime *rt, const struct runtime_session_spec *spec, struct runtime_session *ret, struct err *err);
/* A TCP connection to 127.0.0.1:port inside the pod's network namespace (port-forward). */
CHECK_RC int runtime_dial(struct ctx *ctx, struct runtime *rt, const char *pod_uid, int port, int *ret_fd, struct err *err);
/* Closes and opens the log file anew, now (kubelet's reopen); rotation itself is the shim's. */
CHECK_RC int runtime_log_rotate(struct ctx *ctx, struct runtime *rt, const char *pod_uid, const char *id, struct err *err);

/* --- cgroups (v1 and v2) --- */
/* Makes or updates a cgroup; parents too. resources NULL: just there. */
CHECK_RC int runtime_cgroup_set(struct runtime *rt, const char *cgroup, const struct container_resources *r, struct err *err);
CHECK_RC int runtime_cgroup_remove(struct runtime *rt, const char *cgroup, struct err *err); /* kills nothing; NOT_FOUND is success */
struct cgroup_usage {
    int64_t cpu_ns, memory_bytes, working_set_bytes, rss_bytes, oom_kills, pids;
};
CHECK_RC int runtime_cgroup_usage(struct runtime *rt, const char *cgroup, struct cgroup_usage *ret, struct err *err);

#endif
