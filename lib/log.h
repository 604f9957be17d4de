#ifndef LIB_LOG_H
#define LIB_LOG_H
/*
 * log - one `key=value` line an event, to standard error or a file. Thread: any.
 *
 * Only cmd/, loop edges and reconcile drivers log, once. Secrets never. Repeats of one key are limited
 * and the number left out is told later (DESIGN: decision 15).
 *
 *   log_info("node ready", "node=%s ms=%lld", name, ms)  ->
 *   time=2026-01-02T03:04:05.123Z level=info msg="node ready" node=a ms=12
 */
#include "lib/err.h"

#include <stdbool.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_setup(enum log_level least, int fd); /* before other threads start; default: info to 2 */
bool log_on(enum log_level level);
void log_line(enum log_level level, const char *msg, const char *fmt, ...) PRINTF_LIKE(3, 4);

#define log_debug(msg, ...)                                                   \
    do {                                                                      \
        if (log_on(LOG_DEBUG))                                                \
            log_line(LOG_DEBUG, msg, __VA_ARGS__);                            \
    } while (0)
#define log_info(msg, ...)  log_line(LOG_INFO, msg, __VA_ARGS__)
#define log_warn(msg, ...)  log_line(LOG_WARN, msg, __VA_ARGS__)
#define log_error(msg, ...) log_line(LOG_ERROR, msg, __VA_ARGS__)

/* A value as it stands behind key=: quoted when it holds spaces, quotes or control characters.
 * Returns one of a few thread-local buffers; at most 8 live in one log call. Cut at 512 bytes. */
const char *log_q(const char *value);

#endif
