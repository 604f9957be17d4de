#ifndef EMBED_SHIM_PROTOCOL_H
#define EMBED_SHIM_PROTOCOL_H
/*
 * shim_protocol - the wire between the agent and a pod's shim: one frame a packet on a SOCK_SEQPACKET socket.
 *
 * Used by both sides; libc only. A frame is a fixed head, eight numbers whose meaning the type gives, and a list of
 * NUL-terminated strings. Descriptors travel beside it (SCM_RIGHTS). Numbers of types and places in a frame never change
 * once released; a newer side adds types, numbers and strings at the end, and what is absent is 0 or "".
 *
 * On every new connection the shim speaks first: HELLO, a CONTAINER for each container it knows, READY. Then the agent sends requests
 * with ids of its own (> 0), each answered by one REPLY with the same id, in any order; the shim adds CONTAINER (id 0) when one ends.
 * Several agents may be connected; events go to all. Thread: any; the functions are pure.
 */
#include <stddef.h>
#include <stdint.h>

enum {
    SHIM_PROTOCOL_FORMAT = 1, /* said in HELLO; an agent speaks to every format up to its own */
    SHIM_FRAME_MAX = 96 * 1024,
    SHIM_STRINGS_MAX = 4096,
    SHIM_NUMS = 8,
    SHIM_FDS_MAX = 4,
    SHIM_TEXT_MAX = 480, /* of an error text; longer is cut */
};

enum shim_frame_type {
    /* Shim to agent. */
    SHIM_HELLO = 1,     /* num: format, pid, start time (field 22 of /proc/<pid>/stat), errno of the set-up (0: fine), pid of the
                           pod's init (0: each container has its own). str: what failed, "" */
    SHIM_CONTAINER = 2, /* num: enum shim_state, pid, created_us, started_us, finished_us, exit code, signal, oom killed. str: id */
    SHIM_READY = 3,
    SHIM_REPLY = 4,     /* num: errno (0: done), then by request. str: why it failed */
    /* Agent to shim. */
    SHIM_START = 16,    /* num: flags, log max bytes, log max files. str: id, bundle, log path, memory cgroup folder (where OOM kills are
                           counted; "": nowhere). REPLY num 1: pid, 2: created_us, 3: started_us */
    SHIM_KILL = 17,     /* num: signal. str: id. ESRCH: not running */
    SHIM_REMOVE = 18,   /* str: id. Answered when the OCI runtime has forgotten it. EBUSY: still running */
    SHIM_EXEC = 19,     /* num: flags, timeout_ms (0: none). str: id, work folder, argv … . fds: control, then in, out, err as flagged.
                           REPLY num 1: pid. The control socket gets "exit <code>\n", then EOF; "timeout\n" comes before it when time ran out.
                           What the agent writes there: "resize <cols> <rows>\n", "kill\n" */
    SHIM_ATTACH = 20,   /* num: flags. str: id. fds as for EXEC; control hears "exit <code>\n" when the container ends */
    SHIM_DIAL = 21,     /* num: port. REPLY carries one descriptor */
    SHIM_ROTATE = 22,   /* str: id. Closes the log and opens its path again */
    SHIM_SHUTDOWN = 23, /* Kills all containers, answers when the OCI runtime has forgotten them, and ends */
};

enum shim_flags {
    SHIM_TTY = 1,
    SHIM_IN = 2,
    SHIM_OUT = 4,
    SHIM_ERR = 8,
    SHIM_STDIN_ONCE = 16,
};

enum shim_state { SHIM_STATE_CREATED, SHIM_STATE_RUNNING, SHIM_STATE_EXITED };

struct shim_frame {
    uint32_t type;
    uint32_t n_strings;
    uint64_t id;
    int64_t num[SHIM_NUMS];
};

/* A frame being built in `at`, which has room for `cap` bytes. */
struct shim_writer {
    char *at;
    size_t n, cap; /* n > cap: it did not fit */
};
void shim_frame_begin(struct shim_writer *w, char *at, size_t cap, uint32_t type, uint64_t id);
void shim_frame_num(struct shim_writer *w, int index, int64_t value);
void shim_frame_str(struct shim_writer *w, const char *s); /* NULL is "" */
/* Bytes to send, or 0 when it did not fit. */
size_t shim_frame_end(const struct shim_writer *w);

/* Checks a packet and copies its head. Returns 0, -1 when it is no frame. */
int shim_frame_read(const char *at, size_t n, struct shim_frame *ret);

/* The strings of a packet that passed shim_frame_read, borrowed from it. */
struct shim_strings {
    const char *at;
    uint32_t left;
};
struct shim_strings shim_frame_strings(const char *at, const struct shim_frame *f);
const char *shim_strings_next(struct shim_strings *s); /* NULL at the end */

#endif
