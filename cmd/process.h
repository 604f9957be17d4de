#ifndef CMD_PROCESS_H
#define CMD_PROCESS_H
/*
 * process - what the server and the agent commands have in common: log, signals, systemd, addresses, names. Thread: main.
 */
#include "cmd/flags.h"
#include "lib/loop.h"
#include "lib/pool.h"

struct process {
    struct loop *loop;
    struct pool *pool;
    int signals; /* signalfd of SIGTERM and SIGINT, blocked in every thread */
};

/* Log, blocked signals, limits, the loop and the pool. Before any other thread. */
CHECK_RC int process_start(const struct settings *s, struct process *ret, struct err *err);
void process_end(struct process *p);
/* Waits for SIGTERM or SIGINT. */
void process_wait(const struct process *p);
/* Tells systemd when it started us (NOTIFY_SOCKET): "READY=1", "STOPPING=1". */
void process_notify(const char *state);
/* "FATA"-like last line and exit code. */
int process_fail(const struct err *err);

/* The node's name: --node-name or the host's, lower case; with the id when asked. Owner: free. */
CHECK_RC int process_node_name(const struct settings *s, char **ret, struct err *err);
/* --node-ip or the address of the interface of the default route (else the first that is not loopback). Owner: free. */
CHECK_RC int process_node_ip(const struct settings *s, char **ret, struct err *err);
/* 8 hex that stand for this data folder on this machine. */
void process_instance(const char *data_dir, char ret[9]);
/* One token of --token, --token-file …; NULL when none. Owner: free. */
CHECK_RC int process_token(const struct settings *s, const char *flag, const char *file_flag, char **ret, struct err *err);

#endif
