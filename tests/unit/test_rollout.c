#include "server/controllers/replicas.h"
#include "server/controllers/rollout.h"
#include "test.h"

TEST(rollout_numbers_round_as_upstream)
{
    CHECK_INT(rollout_number("25%", 0, 10, true), 3);
    CHECK_INT(rollout_number("25%", 0, 10, false), 2);
    CHECK_INT(rollout_number("0%", 0, 10, true), 0);
    CHECK_INT(rollout_number(NULL, 7, 10, true), 7);
    struct rollout r = { .replicas = 1 };
    rollout_resolve(&r);
    CHECK_INT(r.max_unavailable, 1); /* both zero would never move */
}

TEST(rollout_moves_within_surge_and_unavailability)
{
    static const struct {
        const char *why;
        struct rollout r;
        struct rollout_set now, old;
        int64_t want_now, want_old;
    } cases[] = {
        { "the new set grows by the surge first", { .replicas = 4, .max_surge = 1, .max_unavailable = 1 }, { 0 }, { .replicas = 4, .available = 4 }, 1, 4 },
        { "then the old one gives way", { .replicas = 4, .max_surge = 1, .max_unavailable = 1 }, { .replicas = 1, .available = 0 }, { .replicas = 4, .available = 4 }, 1, 3 },
        { "old pods that never came up go at once", { .replicas = 4, .max_surge = 1, .max_unavailable = 1 }, { .replicas = 1, .available = 1 }, { .replicas = 4, .available = 2 }, 1, 2 },
        { "nothing below what must be available", { .replicas = 4, .max_surge = 1, .max_unavailable = 0 }, { .replicas = 1, .available = 0 }, { .replicas = 4, .available = 4 }, 1, 4 },
        { "done", { .replicas = 3, .max_surge = 1 }, { .replicas = 3, .available = 3 }, { .replicas = 0 }, 3, 0 },
        { "recreate: the old one to nothing first", { .recreate = true, .replicas = 3 }, { .replicas = 0 }, { .replicas = 3, .available = 3, .pods = 3 }, 0, 0 },
        { "recreate: the new one when all are gone", { .recreate = true, .replicas = 3 }, { .replicas = 0 }, { .replicas = 0, .pods = 0 }, 3, 0 },
        { "recreate: pods that are still going hold it up", { .recreate = true, .replicas = 3 }, { .replicas = 0 }, { .replicas = 0, .pods = 1 }, 0, 0 },
        { "paused: a change of replicas is shared by size", { .paused = true, .replicas = 20 }, { .replicas = 5 }, { .replicas = 5 }, 10, 10 },
        { "scaled down", { .replicas = 2, .max_surge = 1 }, { .replicas = 5, .available = 5 }, { 0 }, 2, 0 },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rollout_set now = cases[i].now, old = cases[i].old;

        fprintf(stderr, "# %s\n", cases[i].why);
        rollout_plan(&cases[i].r, &now, &old, 1);
        CHECK_INT(now.want, cases[i].want_now);
        CHECK_INT(old.want, cases[i].want_old);
    }
}

/* Whatever the availability does, a rollout ends, and never leaves the bounds. */
TEST(rollout_converges)
{
    struct rollout r = { .replicas = 10, .max_surge = 3, .max_unavailable = 2 };
    struct rollout_set now = { 0 }, old = { .replicas = 10, .available = 10 };

    for (int step = 0; step < 40; step++) {
        rollout_plan(&r, &now, &old, 1);
        now.replicas = now.want;
        old.replicas = old.want;
        CHECK(now.replicas + old.replicas <= 13);
        if (old.available > old.replicas)
            old.available = old.replicas;
        CHECK(now.available + old.available >= 8);
        if (now.available < now.replicas && step % 2)
            now.available++;
    }
    for (int step = 0; step < 20; step++) {
        rollout_plan(&r, &now, &old, 1);
        now.replicas = now.available = now.want;
        old.replicas = old.available = old.want;
    }
    CHECK_INT(now.replicas, 10);
    CHECK_INT(old.replicas, 0);
}

TEST(replicas_plan_and_rank)
{
    struct replica pods[] = {
        { .name = "ready-old", .assigned = true, .ready = true, .phase = 'R', .created_s = 10, .ready_s = 20 },
        { .name = "pending", .phase = 'P', .created_s = 10 },
        { .name = "unready", .assigned = true, .phase = 'R', .created_s = 10 },
        { .name = "ready-new", .assigned = true, .ready = true, .phase = 'R', .created_s = 90, .ready_s = 99 },
        { .name = "doubled", .assigned = true, .ready = true, .doubled = true, .phase = 'R', .created_s = 10, .ready_s = 20 },
    };
    static const char *const order[] = { "pending", "unready", "doubled", "ready-new", "ready-old" };

    replicas_rank(pods, 5);
    for (size_t i = 0; i < 5; i++)
        CHECK_STR(pods[i].name, order[i]);
    CHECK_INT(replicas_plan(3, 1), 2);
    CHECK_INT(replicas_plan(0, 4), -4);
    CHECK_INT(replicas_plan(100000, 0), REPLICAS_BURST);
}
