#include "agent/pods/plan.h"

#include "test.h"

static const char *const names[] = { "admit", "cgroup", "volumes", "sandbox", "network", "pull", "start", "stop", "term", "kill",
                                     "report", "clean", "delete", "forget" };

/* The plan as text: "pull0 cgroup @500". */
static void check_plan(const struct plan_in *in, const char *want)
{
    struct plan p;
    char text[512] = "";

    plan_pod(in, &p);
    for (size_t i = 0; i < p.n; i++) {
        char word[32];
        enum plan_step s = p.at[i].step;

        if (s >= STEP_PULL && s <= STEP_KILL)
            snprintf(word, sizeof(word), "%s%zu ", names[s], p.at[i].unit);
        else
            snprintf(word, sizeof(word), "%s ", names[s]);
        strcat(text, word);
    }
    if (p.again_at_ms != INT64_MAX) {
        char word[32];

        snprintf(word, sizeof(word), "@%lld ", (long long)p.again_at_ms);
        strcat(text, word);
    }
    if (*text)
        text[strlen(text) - 1] = 0;
    CHECK_STR(text, want);
}

#define READY .admitted = true, .cgroup = true, .volumes = true, .sandbox = true, .network = true, .network_up = true, .look_at_ms = INT64_MAX, \
              .now_ms = 1000
#define MAIN   { .kind = UNIT_MAIN, .image = IMAGE_READY }
#define RUNS   .seen = SEEN_RUNNING, .started = true, .image = IMAGE_READY
#define DONE   .seen = SEEN_EXITED, .ok = true, .image = IMAGE_READY
#define FAILED .seen = SEEN_EXITED, .image = IMAGE_READY

TEST(pods_plan_prepares_in_order_and_pulls_meanwhile)
{
    struct plan_unit u[] = { { .kind = UNIT_MAIN }, { .kind = UNIT_MAIN, .image = IMAGE_PULLING } };
    struct plan_in in = { .units = u, .n_units = 2, .look_at_ms = INT64_MAX, .network_up = true, .now_ms = 1000 };

    check_plan(&in, "admit");
    in.admitted = true;
    check_plan(&in, "pull0 cgroup");
    in.cgroup = true;
    check_plan(&in, "pull0 volumes");
    in.retry_at_ms = 1500;
    check_plan(&in, "pull0 @1500");
    in.retry_at_ms = 0;
    in.volumes = true;
    u[0].image = IMAGE_PULLING;
    check_plan(&in, "sandbox");
    in.sandbox = true;
    in.network_up = false;
    check_plan(&in, "");
    in.network_up = true;
    check_plan(&in, "network");
    in.network = true;
    check_plan(&in, "");
    u[1].image = IMAGE_READY;
    check_plan(&in, "start1");
}

TEST(pods_plan_runs_init_containers_one_after_the_other)
{
    struct plan_unit u[] = { { .kind = UNIT_INIT }, { .kind = UNIT_SIDECAR }, { .kind = UNIT_INIT }, MAIN };
    struct plan_in in = { READY, .units = u, .n_units = 4 };

    check_plan(&in, "pull0");
    u[0] = (struct plan_unit){ .kind = UNIT_INIT, RUNS };
    check_plan(&in, "");
    u[0] = (struct plan_unit){ .kind = UNIT_INIT, FAILED, .restart = true, .retry_at_ms = 3000 };
    check_plan(&in, "@3000");
    u[0] = (struct plan_unit){ .kind = UNIT_INIT, DONE };
    check_plan(&in, "pull1");
    u[1] = (struct plan_unit){ .kind = UNIT_SIDECAR, .seen = SEEN_RUNNING };
    check_plan(&in, ""); /* its startup probe has not passed */
    u[1].started = true;
    check_plan(&in, "pull2");
    u[2] = (struct plan_unit){ .kind = UNIT_INIT, DONE };
    check_plan(&in, "start3");
    u[3] = (struct plan_unit){ .kind = UNIT_MAIN, RUNS };
    check_plan(&in, "");
    u[1] = (struct plan_unit){ .kind = UNIT_SIDECAR, FAILED, .restart = true };
    check_plan(&in, "start1"); /* a sidecar comes back while the others run */
}

TEST(pods_plan_init_failure_without_restart_ends_the_pod)
{
    struct plan_unit u[] = { { .kind = UNIT_INIT, FAILED }, MAIN };
    struct plan_in in = { READY, .units = u, .n_units = 2 };

    check_plan(&in, "report");
    in.reported = true;
    check_plan(&in, "clean");
    in.cleaned = true;
    check_plan(&in, "");
}

TEST(pods_plan_a_new_sandbox_runs_init_containers_again)
{
    struct plan_unit u[] = { { .kind = UNIT_INIT, DONE, .stale = true }, { .kind = UNIT_MAIN, FAILED, .stale = true, .restart = true },
                             { .kind = UNIT_MAIN, DONE, .stale = true } };
    struct plan_in in = { READY, .units = u, .n_units = 3 };

    check_plan(&in, "start0");
    u[0].stale = false;
    check_plan(&in, "start1"); /* and what was done for good stays so */
}

TEST(pods_plan_restarts_with_back_off)
{
    struct plan_unit u[] = { { .kind = UNIT_MAIN, FAILED, .restart = true, .retry_at_ms = 11000 }, { .kind = UNIT_MAIN, RUNS } };
    struct plan_in in = { READY, .units = u, .n_units = 2 };

    check_plan(&in, "@11000");
    in.now_ms = 11000;
    check_plan(&in, "start0");
    u[0].restart = false;
    check_plan(&in, ""); /* the other one runs on */
}

TEST(pods_plan_unhealthy_is_stopped_then_killed)
{
    struct plan_unit u[] = { { .kind = UNIT_MAIN, RUNS, .unhealthy = true } };
    struct plan_in in = { READY, .units = u, .n_units = 1 };

    check_plan(&in, "stop0");
    u[0].stop = STOP_HOOK;
    u[0].stop_by_ms = 5000;
    check_plan(&in, "@5000");
    u[0].stop = STOP_HOOK_DONE;
    check_plan(&in, "term0");
    u[0].stop = STOP_TERM;
    check_plan(&in, "@5000");
    in.now_ms = 5000;
    check_plan(&in, "kill0");
    u[0].stop = STOP_KILL;
    u[0].stop_by_ms = 10000;
    check_plan(&in, "@10000");
}

TEST(pods_plan_deletion_ends_sidecars_last)
{
    struct plan_unit u[] = { { .kind = UNIT_SIDECAR, RUNS }, { .kind = UNIT_SIDECAR, RUNS }, { .kind = UNIT_MAIN, RUNS }, { .kind = UNIT_EPHEMERAL, RUNS } };
    struct plan_in in = { READY, .units = u, .n_units = 4, .ending = true, .deleting = true };

    check_plan(&in, "stop2 stop3");
    u[2].stop = u[3].stop = STOP_TERM;
    u[2].stop_by_ms = u[3].stop_by_ms = 31000;
    check_plan(&in, "@31000");
    u[2] = (struct plan_unit){ .kind = UNIT_MAIN, FAILED, .restart = true };
    u[3].seen = SEEN_EXITED;
    check_plan(&in, "stop1");
    u[1].seen = SEEN_EXITED;
    check_plan(&in, "stop0");
    u[0].seen = SEEN_EXITED;
    check_plan(&in, "report");
    in.reported = true;
    check_plan(&in, "clean");
    in.cleaned = true;
    check_plan(&in, "delete");
    in.deleted = true;
    check_plan(&in, "");
    in.gone = true;
    check_plan(&in, "forget");
}

TEST(pods_plan_finished_mains_end_sidecars)
{
    struct plan_unit u[] = { { .kind = UNIT_SIDECAR, RUNS }, { .kind = UNIT_MAIN, DONE } };
    struct plan_in in = { READY, .units = u, .n_units = 2 };

    check_plan(&in, "stop0");
    CHECK(!plan_finished(&in));
    u[0].seen = SEEN_EXITED;
    CHECK(plan_finished(&in));
}

TEST(pods_plan_an_orphan_is_taken_away)
{
    struct plan_in in = { .admitted = true, .gone = true, .ending = true, .look_at_ms = INT64_MAX };

    check_plan(&in, "clean");
    in.cleaned = true;
    check_plan(&in, "forget");
}
