#ifndef LIB_LOOP_H
#define LIB_LOOP_H
/*
 * loop - one libuv loop on a thread of its own: sockets, TLS records, framing, delivery, timers. Never blocks.
 *
 * Thread: loop_post and loop_timer_* from any; everything else on the loop's own thread (loop_inside).
 */
#include "lib/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct loop;

CHECK_RC int loop_new(const char *thread_name, struct loop **ret, struct err *err); /* starts the thread */
/* Runs what was posted, drops timers, closes the handles left (their memory stays their owners'), joins; NULL allowed; not from inside. */
void loop_free(struct loop *l);
uv_loop_t *loop_uv(struct loop *l);
bool loop_inside(const struct loop *l);
/* Runs fn(arg) on the loop, in the order of posting. Wakes the loop once for many posts. */
void loop_post(struct loop *l, void (*fn)(void *arg), void *arg);

/* One-shot timers on the real monotonic clock; fn runs on the loop and the timer is gone after it (valid until fn is back:
 * who cancels from another thread shares a lock with fn). fn may start and cancel timers. */
struct loop_timer;
struct loop_timer *loop_timer_start(struct loop *l, int64_t after_ms, void (*fn)(void *arg), void *arg);
/* true: fn will not run. false: it runs already (on the loop's thread), and may not have got to a lock yet. NULL allowed. */
bool loop_timer_cancel(struct loop_timer *t);

#endif
