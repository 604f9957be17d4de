#include "lib/ctx.h"

struct ctx ctx_background(struct arena *arena)
{
    return (struct ctx){ .clock = &clock_system, .deadline_ms = INT64_MAX, .arena = arena, .request_id = "" };
}

struct ctx ctx_with_timeout(const struct ctx *parent, int64_t timeout_ms)
{
    struct ctx child = *parent;
    int64_t at = clock_mono_ms(parent->clock) + timeout_ms;

    if (at < child.deadline_ms)
        child.deadline_ms = at;
    return child;
}

int64_t ctx_left_ms(const struct ctx *ctx)
{
    if (ctx->deadline_ms == INT64_MAX)
        return INT64_MAX;
    int64_t left = ctx->deadline_ms - clock_mono_ms(ctx->clock);
    return left > 0 ? left : 0;
}

int ctx_check(const struct ctx *ctx, struct err *err)
{
    if (ctx->cancel && atomic_load(&ctx->cancel->set))
        return err_set(err, ERR_CANCELED, "context canceled");
    if (ctx_left_ms(ctx) == 0)
        return err_set(err, ERR_TIMEOUT, "context deadline exceeded");
    return 0;
}
