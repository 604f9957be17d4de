#ifndef LIB_SPAWN_H
#define LIB_SPAWN_H
/*
 * spawn - the one place that starts children: descriptors closed, signals reset, own process group.
 *
 * No pool thread changes namespace, root, cwd, umask or credentials: a child does (DESIGN decision 10).
 * Thread: any worker. Blocks: spawn_run until the child ends.
 */
#include "lib/bytes.h"
#include "lib/ctx.h"
#include "lib/err.h"

#include <sys/types.h>

enum { SPAWN_PASS_FDS_MAX = 32 };

struct spawn {
    const char *const *argv; /* ends with NULL; argv[0] looked up in PATH without a slash */
    const char *const *env;  /* ends with NULL; NULL: ours */
    const char *cwd;         /* NULL: / */
    int fd_in, fd_out, fd_err; /* -1: /dev/null */
    const int *pass_fds;       /* become 3, 4, … in the child; all others are closed there */
    size_t n_pass_fds;         /* at most SPAWN_PASS_FDS_MAX */
    int netns_fd, mntns_fd;    /* entered by the child before exec; -1: none */
    const char *cgroup_procs;  /* file the child writes its pid into first; NULL: none */
    bool new_session;          /* else a process group of its own */
    bool die_with_parent;      /* PR_SET_PDEATHSIG; holds until this process ends, whatever becomes of the calling thread */
};
#define SPAWN_INIT { .fd_in = -1, .fd_out = -1, .fd_err = -1, .netns_fd = -1, .mntns_fd = -1 }

/* Starts; *ret_pid is the caller's to wait for, and the number of its process group. Errors: NOT_FOUND (program), FORBIDDEN, IO. */
CHECK_RC int spawn_start(const struct spawn *spec, pid_t *ret_pid, struct err *err);

struct spawn_result {
    int exit_code; /* 128 + signal when killed */
    struct bytes *out, *err_out; /* each at most 1 MB, then cut */
};
/* Runs to the end, feeding `input` (NULL: none; SIGPIPE must be ignored or blocked, as in the program and on pool threads).
 * fd_out and fd_err are caught where they are -1. Kills the group when ctx ends. Ends with the child: what descendants that
 * outlive it write is lost. Gives its permit back meanwhile.
 * Errors: those of spawn_start, TIMEOUT, CANCELED. An exit code != 0 is no error. */
CHECK_RC int spawn_run(struct ctx *ctx, const struct spawn *spec, const struct bytes *input, struct spawn_result *ret,
                       struct err *err);
void spawn_result_clear(struct spawn_result *r);

/* In a forked child instead of a program: fn runs with the spec's namespaces, its result (0..255) is the exit code; what it writes
 * to fd_out is caught as by spawn_run. Its descriptors are those of the spec: pass_fds become 3, 4, …. fn may use only async-signal-safe means plus what it owns. */
CHECK_RC int spawn_call(struct ctx *ctx, const struct spawn *spec, int (*fn)(void *arg), void *arg,
                        struct spawn_result *ret, struct err *err);

#endif
