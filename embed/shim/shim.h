#ifndef EMBED_SHIM_SHIM_H
#define EMBED_SHIM_SHIM_H
/*
 * shim - the small program that holds one pod: namespaces, children, logs, streams, exit records.
 *
 * One thread, one epoll loop, libc only, linked statically. It outlives the agent, which speaks to it by
 * embed/shim_protocol.h. Everything hangs off struct shim, which main owns.
 * One event is taken from the kernel at a time, so a handler may free any source.
 */
#include "embed/shim_protocol.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/types.h>

enum {
    LOG_LINE_MAX = 16 * 1024, /* longer lines are written in parts (CRI) */
    READ_MAX = 16 * 1024,
    SINK_MAX = 4 * 1024,
    CONTAINERS_MAX = 512,
    SESSIONS_MAX = 256,
    CONNS_MAX = 8,
    ORPHANS_MAX = 256,
};

struct shim;

/* A descriptor in the loop; fd -1: none. */
struct source {
    int fd;
    void (*ready)(struct source *s, uint32_t events);
    int epoll;
    bool watched;
};

/* An agent's connection. Requests remember its serial, never its address. */
struct conn {
    struct source src; /* first */
    struct shim *shim;
    struct conn *next;
    uint64_t serial;
};

/* Who waits for an answer. */
struct asker {
    uint64_t conn, request;
};

/* A run of the OCI runtime. */
struct job {
    struct job *next;
    struct shim *shim;
    pid_t pid;
    void (*done)(struct job *j, int status);
    void *arg;
    struct asker asker;
};

struct console {
    int listener, folder; /* -1: none */
};

struct log {
    int fd;
    char *path;
    int64_t size, max_bytes;
    int max_files;
};

/* What a process writes: a pipe or a terminal's master; goes to a log and to the sessions that listen. */
struct stream {
    struct source src; /* first */
    struct container *c; /* whose; or */
    struct session *s;   /* a terminal exec's */
    const char *name;    /* "stdout", "stderr" */
    char *part;          /* the beginning of a line */
    size_t n_part;
    int paused;          /* sessions that lag behind */
};

/* What a process reads. */
struct sink {
    struct source src; /* first; watched only while something is left to write */
    struct container *c;
    struct session *s;
    char *left;
    size_t n_left, done;
    bool end; /* close it once all is written */
};

struct container {
    struct container *next;
    struct shim *shim;
    char *id, *bundle, *cgroup;
    int flags;
    enum shim_state state;
    pid_t pid;
    int64_t created_us, started_us, finished_us;
    int exit_code, signal;
    bool oom_killed, deleted, killed;
    struct log log;
    struct stream out, err;
    struct sink in;
    struct asker remover;
};

/* An exec or an attach. */
struct session {
    struct session *next;
    struct shim *shim;
    struct container *c; /* NULL once the container is gone */
    bool exec, started, exited, timed_out;
    int flags, exit_code, serial;
    pid_t pid;
    struct source control, in, timer;
    struct output {
        struct source src;
        struct session *s;
        struct stream *of; /* listens to it; NULL: no longer */
        char *left;
        size_t n_left;
    } out, err;
    struct stream tty;
    struct sink tty_in;
    struct console console; /* while it starts */
    struct winsize size;    /* asked for before it started */
    char *dir;              /* where its files are while it starts */
    char line[64];
    size_t n_line;
};

struct orphan {
    pid_t pid;
    int status;
};

struct shim {
    int epoll;
    struct source signals, listener, grace;
    const char *oci, *oci_root, *dir; /* the runtime's program and its state; the pod's folder */
    pid_t init;                       /* holds the shared PID namespace; 0: none */
    int setup_errno;
    char setup_text[SHIM_TEXT_MAX + 1];
    struct conn *conns;
    struct container *containers;
    struct session *sessions;
    struct job *jobs;
    struct orphan orphans[ORPHANS_MAX]; /* ended before we knew whose they were; kept while jobs run */
    size_t n_orphans;
    uint64_t serial;
    bool ending, ended;
    struct asker ender;
    char *buffer; /* SHIM_FRAME_MAX bytes; of the handler that runs */
};

/* --- loop.c --- */
int source_add(struct shim *sh, struct source *s, int fd, uint32_t events);
void source_watch(struct shim *sh, struct source *s, uint32_t events);
void source_close(struct source *s); /* fd -1 afterwards */
int fd_nonblock(int fd);
int64_t wall_us(void);
void *must(void *p); /* ends the program when memory is out */
char *must_dup(const char *s);

/* --- setup.c --- */
/* Namespaces, host name, loopback, sysctls, as argv says. Failures are kept for HELLO. */
void setup(struct shim *sh, char **argv);

/* --- conn.c --- */
void conn_listen(struct shim *sh);
/* sys 0: done. nums (n of them) follow the errno; fd -1: none. A lost asker is no error. */
void reply(struct shim *sh, struct asker to, int sys, const char *text, const int64_t *nums, int n, int fd);
void tell_container(struct shim *sh, const struct container *c); /* all connections */
bool asker_there(const struct shim *sh, struct asker a);

/* --- job.c --- */
/* Runs the OCI runtime with args (NULL-terminated, behind its global options; `log` is where it writes its log).
 * fds: its three standard streams, -1: /dev/null. Returns an errno. */
int job_run(struct shim *sh, const struct job *like, const char *log, const char *const *args, const int fds[3]);
void jobs_reap(struct source *s, uint32_t events);
void jobs_kill(struct shim *sh); /* runs that hang */
/* Exit status of a child that ended before its pid was known. */
bool orphan_take(struct shim *sh, pid_t pid, int *ret_status);
pid_t pid_from_file(const char *dir, const char *name); /* removes it; 0: none */
/* The last error line the runtime logged, or a line that names the status; at most SHIM_TEXT_MAX. Removes the file. */
void job_error(const char *dir, const char *name, int status, char *to);
void exit_status(int status, int *ret_code, int *ret_signal);

/* --- container.c --- */
void container_start(struct shim *sh, struct asker a, const struct shim_frame *f, struct shim_strings strings);
void container_kill(struct shim *sh, struct asker a, const struct shim_frame *f, struct shim_strings strings);
void container_remove(struct shim *sh, struct asker a, struct shim_strings strings);
void container_rotate(struct shim *sh, struct asker a, struct shim_strings strings);
struct container *container_find(struct shim *sh, const char *id);
bool container_reaped(struct shim *sh, pid_t pid, int status);
void shutdown_begin(struct shim *sh, struct asker a);
void shutdown_step(struct shim *sh);

/* --- log.c --- */
int log_open(struct log *l); /* an errno */
void log_close(struct log *l);
/* Splits into lines; what has no end yet stays with the stream. */
void log_write(struct log *l, struct stream *from, const char *data, size_t n);
void log_flush(struct log *l, struct stream *from); /* an unfinished line, as a part */
int log_reopen(struct log *l);

/* --- stream.c --- */
void stream_open(struct shim *sh, struct stream *st, int fd);
void stream_drain(struct shim *sh, struct stream *st); /* what can be read now, then closed */
void sink_open(struct sink *k, int fd);
void sink_close(struct sink *k);
void session_input(struct session *s); /* watches its in again */
struct sink *session_sink(struct session *s);
void output_drop(struct output *o); /* no longer listens; what is left is lost */

/* --- session.c --- */
void session_exec(struct shim *sh, struct asker a, const struct shim_frame *f, struct shim_strings strings, int *fds);
void session_attach(struct shim *sh, struct asker a, const struct shim_frame *f, struct shim_strings strings, int *fds);
bool session_reaped(struct shim *sh, pid_t pid, int status);
void session_finish(struct session *s); /* says how it ended once everything is written; may free s */
void sessions_of_exited(struct container *c);
void sessions_forget(struct container *c);

/* --- console.c --- */
/* A socket the runtime sends a terminal's master to. The path for the runtime goes to `path` (CONSOLE_PATH_BYTES). Returns an errno. */
enum { CONSOLE_PATH_BYTES = 64 };
int console_listen(struct console *k, const char *dir, const char *name, char *path);
int console_take(struct console *k, const char *name); /* the master or -1; closes and removes the listener */

/* --- dial.c --- */
void dial(struct shim *sh, struct asker a, const struct shim_frame *f);

#endif
