#ifndef LIB_CLOCK_H
#define LIB_CLOCK_H
/*
 * clock - the time, injected so that tests can own it. Thread: any.
 *
 * Units: wall_us is microseconds since 1970 UTC; mono_ms is milliseconds of a clock that never steps.
 */
#include <stddef.h>
#include <stdint.h>

struct clock {
    void *arg;
    int64_t (*wall_us)(void *arg);
    int64_t (*mono_ms)(void *arg);
};

extern const struct clock clock_system;

int64_t clock_wall_us(const struct clock *c);
int64_t clock_wall_s(const struct clock *c);
int64_t clock_mono_ms(const struct clock *c);

enum { CLOCK_TEXT_BYTES = 40 };

/* RFC 3339 in UTC as Kubernetes writes metav1.Time ("2026-01-02T03:04:05Z") and MicroTime
 * ("2026-01-02T03:04:05.000000Z"). Returns `to`, which has CLOCK_TEXT_BYTES. */
char *clock_time_text(int64_t wall_s, char *to);
char *clock_micro_text(int64_t wall_us, char *to);

/* Parses any RFC 3339 time (offsets and fractions included).
 * Returns 0 and microseconds since 1970 in *ret_us; -1 when it is none. */
int clock_parse(const char *text, size_t n, int64_t *ret_us);

#endif
