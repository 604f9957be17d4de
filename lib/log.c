#include "lib/log.h"

#include "lib/clock.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The one place with state outside struct server and struct agent: logging must work before they exist. */
static struct {
    enum log_level least;
    int fd;
} out = { LOG_INFO, 2 };

/* Repeats: a message may come PER_WINDOW times a window; what is over is counted and told with the next one. */
enum { SLOTS = 64, WINDOW_MS = 10000, PER_WINDOW = 20 };

static struct {
    _Atomic uint64_t window; /* its number */
    _Atomic int seen, left_out;
} slots[SLOTS];

void log_setup(enum log_level least, int fd)
{
    out.least = least;
    out.fd = fd;
}

bool log_on(enum log_level level)
{
    return level >= out.least;
}

static bool over_limit(const char *msg, int *ret_left_out)
{
    uint64_t h = 1469598103934665603u, window = (uint64_t)clock_mono_ms(&clock_system) / WINDOW_MS;

    for (const char *c = msg; *c; c++)
        h = (h ^ (unsigned char)*c) * 1099511628211u;
    h %= SLOTS;
    *ret_left_out = 0;
    if (atomic_exchange(&slots[h].window, window) != window) {
        atomic_store(&slots[h].seen, 0);
        *ret_left_out = atomic_exchange(&slots[h].left_out, 0);
    }
    if (atomic_fetch_add(&slots[h].seen, 1) < PER_WINDOW)
        return false;
    atomic_fetch_add(&slots[h].left_out, 1);
    return true;
}

void log_line(enum log_level level, const char *msg, const char *fmt, ...)
{
    static const char *const names[] = { "debug", "info", "warning", "error" };
    char line[2048], when[CLOCK_TEXT_BYTES];
    int64_t us = clock_wall_us(&clock_system);
    int left_out = 0;
    va_list args;

    if (!log_on(level) || (level > LOG_DEBUG && over_limit(msg, &left_out)))
        return;
    clock_time_text(us / 1000000, when);
    when[strlen(when) - 1] = '\0';
    int n = snprintf(line, sizeof(line), "time=%s.%03dZ level=%s msg=\"%s\" ", when, (int)(us / 1000 % 1000),
                     names[level], msg);
    va_start(args, fmt);
    n += vsnprintf(line + n, sizeof(line) - (size_t)n, fmt, args);
    va_end(args);
    if (n > (int)sizeof(line) - 40)
        n = (int)sizeof(line) - 40;
    if (left_out > 0)
        n += snprintf(line + n, sizeof(line) - (size_t)n, " left_out=%d", left_out);
    while (n > 0 && line[n - 1] == ' ')
        n--;
    line[n++] = '\n';
    if (write(out.fd, line, (size_t)n) < 0) {
        /* nowhere to tell */
    }
}

const char *log_q(const char *value)
{
    enum { BUFFERS = 8, BYTES = 512 };
    static _Thread_local char pool[BUFFERS][BYTES];
    static _Thread_local unsigned next;
    char *to = pool[next++ % BUFFERS];
    size_t n = 0;

    if (!value)
        value = "";
    if (*value && strlen(value) < BYTES && !strpbrk(value, " \"\\=\n\r\t"))
        return memcpy(to, value, strlen(value) + 1);
    to[n++] = '"';
    for (const char *c = value; *c && n < BYTES - 6; c++) {
        if (*c == '"' || *c == '\\') {
            to[n++] = '\\';
            to[n++] = *c;
        } else if (*c == '\n') {
            to[n++] = '\\';
            to[n++] = 'n';
        } else if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            to[n++] = ' ';
        } else {
            to[n++] = *c;
        }
    }
    to[n++] = '"';
    to[n] = '\0';
    return to;
}
