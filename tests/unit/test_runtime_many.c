#include "runtime_fixture.h"

#include "lib/mem.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

enum { THREADS = 6, ROUNDS = 3 };

struct racer {
    struct rig *rig;
    int n;
};

static void *race(void *arg)
{
    struct racer *me = arg;
    struct rig *r = me->rig;
    struct err err = { 0 };

    for (int i = 0; i < ROUNDS; i++) {
        const char *const argv[] = { "/bin/busybox", "sh", "-c", "echo one; exec /bin/busybox sleep 100", NULL }, *const probe[] = { "/bin/busybox", "true", NULL };
        AUTO_FREE char *id = mem_printf("t%d-%d", me->n, i), *log = mem_printf("%s/%s.log", r->log_dir, id);
        struct container_spec spec = { .pod_uid = r->pod, .name = "app", .id = id, .attempt = i, .rootfs = r->rootfs, .argv = argv, .log_path = log };
        struct runtime_answer answer;
        CHECK_INT(runtime_container_start(&r->ctx, r->rt, &spec, &err), 0);
        CHECK_INT(runtime_exec_sync(&r->ctx, r->rt, r->pod, id, probe, &answer, &err), 0);
        CHECK_INT(answer.exit_code, 0);
        bytes_unref(answer.output);
        CHECK_INT(runtime_container_kill(&r->ctx, r->rt, r->pod, id, SIGKILL, &err), 0);
        while (runtime_container_remove(&r->ctx, r->rt, r->pod, id, &err) == -ERR_CONFLICT) /* until its end is known */
            nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
        CHECK(!rig_exists("%s/data/pods/%s/containers/%s", r->dir, r->pod, id));
    }
    return NULL;
}

TEST(runtime_many_at_once)
{
    struct rig *r = rig_open();
    pthread_t threads[THREADS];
    struct racer racers[THREADS];

    rig_sandbox(r);
    for (int i = 0; i < THREADS; i++) {
        racers[i] = (struct racer){ r, i };
        CHECK_INT(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    rig_wait_exits(r, THREADS * ROUNDS);
    struct container *list;
    struct err err = { 0 };
    size_t n;
    CHECK_INT(runtime_containers(r->rt, r->pod, &list, &n, &err), 0);
    CHECK_INT(n, 0);
    free(list);
    rig_close(r);
}

/* An agent of its own that starts containers until it is killed. Says "go" when the first runs. */
static void doomed_agent(struct rig *r, int round, int ready)
{
    struct err err = { 0 };

    CHECK_INT(loop_new("doomed", &r->loop, &err), 0);
    CHECK_INT(pool_new(NULL, &r->pool, &err), 0);
    rig_restart(r);
    char **uids;
    size_t n;
    CHECK_INT(runtime_recover(&r->ctx, r->rt, &uids, &n, &err), 0);
    CHECK_INT(write(ready, "g", 1), 1);
    rig_sandbox(r);
    for (int i = 0;; i++) {
        AUTO_FREE char *id = mem_printf("r%d-%d", round, i);
        rig_run(r, id, i % 2 ? "exit 7" : "exec /bin/busybox sleep 100");
    }
}

/* Where the agent is killed does not matter: what ran runs on, what was begun is finished or undone, and all of it can be removed. */
TEST(runtime_agent_killed_at_any_moment)
{
    struct rig *r = rig_open();
    pid_t shim = 0;

    /* Children make their own loops and pools: threads do not survive a fork. */
    runtime_close(r->rt);
    pool_free(r->pool);
    loop_free(r->loop);
    for (int round = 0; round < 8; round++) {
        int ends[2];
        char c;
        CHECK(pipe2(ends, O_CLOEXEC) == 0);
        pid_t pid = fork();
        if (pid == 0)
            doomed_agent(r, round, ends[1]);
        close(ends[1]);
        CHECK_INT(read(ends[0], &c, 1), 1);
        close(ends[0]);
        nanosleep(&(struct timespec){ .tv_nsec = round < 2 ? 3000000 * round : 17000000 * round }, NULL);
        CHECK_INT(kill(pid, SIGKILL), 0);
        CHECK_INT(waitpid(pid, NULL, 0), pid);
    }
    struct err err = { 0 };
    CHECK_INT(loop_new("rig", &r->loop, &err), 0);
    CHECK_INT(pool_new(NULL, &r->pool, &err), 0);
    rig_restart(r);
    char **uids;
    struct container *list;
    size_t n;
    CHECK_INT(runtime_recover(&r->ctx, r->rt, &uids, &n, &err), 0);
    CHECK_INT(n, 1);
    free(uids[0]);
    free(uids);
    shim = rig_sandbox(r).shim_pid;
    CHECK(shim > 0);
    CHECK_INT(runtime_containers(r->rt, r->pod, &list, &n, &err), 0);
    printf("# %zu containers\n", n);
    CHECK(n > 0);
    for (size_t i = 0; i < n; i++) {
        CHECK(!list[i].gone);
        bool sleeps = (strrchr(list[i].id, '-')[1] - '0') % 2 == 0 && strlen(strrchr(list[i].id, '-')) == 2;
        if (sleeps && list[i].state == CONTAINER_RUNNING)
            CHECK_INT(kill(list[i].pid, 0), 0);
        if (list[i].state == CONTAINER_EXITED)
            CHECK(list[i].exit_code == 7);
    }
    free(list);
    rig_close(r);
    char exe[64], target[64];
    snprintf(exe, sizeof(exe), "/proc/%d/exe", shim);
    CHECK(readlink(exe, target, sizeof(target)) < 0); /* gone, or not yet reaped by init */
}
