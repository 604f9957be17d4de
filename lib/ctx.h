#ifndef LIB_CTX_H
#define LIB_CTX_H
/*
 * ctx - what travels with one piece of work: deadline, cancel flag, clock, caller, request id, memory.
 *
 * Whatever can block takes `struct ctx *` first. A ctx lives on its owner's stack; children copy it and tighten it.
 * Thread: the owner's; only the cancel flag may be set by others.
 */
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/mem.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Who calls. Strings are borrowed and live as long as the ctx. */
struct user {
    const char *name; /* "system:anonymous" when nobody proved to be somebody */
    const char *uid;  /* "" when unknown */
    const char *const *groups;
    size_t n_groups;
    const char *const *extra; /* key, value, key, value …; a key may come again */
    size_t n_extra;           /* number of pairs */
};

/* A flag that wakes those who wait for it through their own means; polled by ctx_check. */
struct ctx_cancel {
    _Atomic bool set;
};

struct ctx {
    const struct clock *clock;
    int64_t deadline_ms;            /* on clock's mono_ms; INT64_MAX: none */
    struct ctx_cancel *cancel;      /* NULL: cannot be cancelled */
    const struct user *user;        /* NULL: the program itself */
    struct arena *arena;            /* memory of this work; may be NULL in leaf libraries' tests */
    const char *request_id;         /* "" when there is none */
};

/* A ctx with the system clock, no deadline, no user. */
struct ctx ctx_background(struct arena *arena);

/* The same work with at most timeout_ms from now. */
struct ctx ctx_with_timeout(const struct ctx *parent, int64_t timeout_ms);

/* Units: milliseconds left, >= 0; INT64_MAX without a deadline. */
int64_t ctx_left_ms(const struct ctx *ctx);

/* Errors: TIMEOUT when the deadline has passed, CANCELED when the flag is set. */
CHECK_RC int ctx_check(const struct ctx *ctx, struct err *err);

#endif
