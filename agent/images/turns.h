#ifndef AGENT_IMAGES_TURNS_H
#define AGENT_IMAGES_TURNS_H
/* turns - one at a time per key, for work that takes long (no lock is held meanwhile). Thread: any worker. Blocks: until the turn comes. */
#include "lib/ctx.h"

struct turns;
struct turns *turns_new(void);
void turns_free(struct turns *t); /* NULL allowed; nobody holds a turn */
/* Errors: TIMEOUT, CANCELED. */
CHECK_RC int turn_take(struct ctx *ctx, struct turns *t, const char *key, struct err *err);
void turn_give(struct turns *t, const char *key);

/* A turn to the end of the scope. */
struct turn {
    struct turns *of; /* NULL: none held */
    char *key;
};
CHECK_RC int turn_begin(struct ctx *ctx, struct turns *t, const char *kind, const char *key, struct turn *ret, struct err *err);
void auto_turn(struct turn *t);

/* Waits `ms` (for a second try), less when the ctx ends: then its error. */
CHECK_RC int turns_pause(struct ctx *ctx, struct turns *t, int64_t ms, struct err *err);

#endif
