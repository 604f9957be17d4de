#ifndef AGENT_PODS_LOGS_H
#define AGENT_PODS_LOGS_H
/*
 * logs - reads container logs in the CRI format ("<RFC 3339 time> stdout|stderr F|P <text>"): tail, since, limits, follow over rotation.
 *
 * A follower holds no thread: inotify on the loop wakes it, pieces are read on the pool, log_reader_ended tells it that nothing more will come.
 * Source: CRI logging format (design-proposals kubelet-cri-logging); upstream's pkg/kubelet/kuberuntime/logs for options' meaning.
 */
#include "lib/bytes.h"
#include "lib/clock.h"
#include "lib/ctx.h"
#include "lib/loop.h"
#include "lib/pool.h"

#include <stdbool.h>

struct log_options {
    bool follow, timestamps;
    int64_t since_us;    /* wall clock; 0: all */
    int64_t tail_lines;  /* -1: all */
    int64_t limit_bytes; /* -1: none */
    const char *stream;  /* "stdout", "stderr"; NULL: both */
};

/* Where pieces go. Thread: a pool worker, one call at a time. */
struct log_sink {
    void (*on_data)(void *arg, struct bytes *piece); /* references piece when it keeps it; at most 64 KB */
    void (*on_end)(void *arg, const struct err *why); /* why NULL: whole; the last call; the reader is gone after it */
};

struct log_reader;
struct log_reader_options {
    struct loop *loop;
    struct pool *pool;
    const char *path; /* <n>.log; rotated ones (<n>.log.<time>[.gz]) are read too where tail or since reach back */
    bool ended;       /* the container ended already: follow stops at the end of the file */
    bool paused;      /* nothing comes before log_reader_resume */
    struct log_options read;
};
/* Errors: NOT_FOUND. */
CHECK_RC int log_reader_start(const struct log_reader_options *options, const struct log_sink *sink, void *arg, struct log_reader **ret, struct err *err);
/* Any thread, before on_end. */
void log_reader_ended(struct log_reader *r);  /* read to the end, then on_end */
void log_reader_pause(struct log_reader *r);  /* back-pressure */
void log_reader_resume(struct log_reader *r);
void log_reader_close(struct log_reader *r);  /* on_end still comes, with CANCELED */

/* The last lines of a log (terminationMessagePolicy FallbackToLogsOnError: 80 lines, 2048 bytes), plain text, appended. Errors: NOT_FOUND, IO. */
CHECK_RC int log_tail(const char *path, int lines, size_t max_bytes, struct buf *to, struct err *err);

#endif
