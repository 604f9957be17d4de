/* When a shim does not answer any more: either only the connection broke, or it is dead and its containers with it. */
#include "agent/runtime/runtime_int.h"

#include "lib/log.h"
#include "lib/mem.h"
#include "lib/spawn.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { BURY_MS = 30000 };

/* The OCI runtime's own state of a container whose shim is gone. */
static void forget_state(struct ctx *ctx, struct pod *p, const char *id)
{
    const char *const argv[] = { p->rt->oci, "--root", p->rt->oci_root, "delete", "--force", id, NULL };
    struct spawn s = SPAWN_INIT;
    struct spawn_result r = { 0 };
    struct err err;

    s.argv = argv;
    if (spawn_run(ctx, &s, NULL, &r, &err) < 0)
        log_warn("container left in the OCI runtime", "pod=%s container=%s err=%s", p->uid, id, log_q(err.msg));
    spawn_result_clear(&r);
}

static void mark_gone(struct pod *p, const char *id)
{
    AUTO_FREE char *path = mem_printf("%s/containers/%s", p->uid, id);
    AUTO_FD int fd = openat(p->rt->pods_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct container at;
    struct err err;

    pthread_mutex_lock(&p->rt->lock);
    struct runtime_container *c = pod_container(p, id);
    if (c)
        at = c->at;
    pthread_mutex_unlock(&p->rt->lock);
    if (!c)
        return;
    /* It may have ended just before its shim, which then left a record. */
    if (fd < 0 || record_exit_read(fd, &at, &err) < 0) {
        at.state = CONTAINER_EXITED;
        at.gone = true;
        at.exit_code = 255;
        at.finished_us = clock_wall_us(p->rt->clock);
        if (at.started_us == 0)
            at.started_us = at.created_us;
        if (fd >= 0 && record_gone_write(fd, &at, &err) < 0)
            log_warn("exit record not written", "pod=%s container=%s err=%s", p->uid, id, log_q(err.msg));
    }
    pthread_mutex_lock(&p->rt->lock);
    c = pod_container(p, id);
    if (c)
        c->at = at;
    pthread_mutex_unlock(&p->rt->lock);
}

/* The next container that is not known to have ended; false: none. */
static bool next_living(struct pod *p, char id[65])
{
    LOCK_SCOPE(&p->rt->lock);

    for (struct runtime_container *c = p->containers; c; c = c->next)
        if (c->at.state != CONTAINER_EXITED) {
            memcpy(id, c->at.id, 65);
            return true;
        }
    return false;
}

void pod_bury(struct ctx *ctx, struct pod *p)
{
    char id[65];
    struct err err;

    if (p->cgroup && *p->cgroup && cgroup_kill(ctx, p->rt->cgroups, p->cgroup, &err) < 0)
        log_warn("containers of a dead shim not killed", "pod=%s err=%s", p->uid, log_q(err.msg));
    while (next_living(p, id)) {
        mark_gone(p, id);
        forget_state(ctx, p, id);
    }
}

void pod_lost(void *arg)
{
    struct pod *p = arg;
    AUTO(arena) struct arena *arena = arena_new();
    struct ctx ctx = ctx_background(arena), wait = ctx_with_timeout(&ctx, BURY_MS);
    struct err err;

    if (pod_claim(p, &err) < 0)
        return; /* it is being removed, or started anew, which looks for itself */
    bool alive = process_alive(p->rt, &p->shim);
    if (alive && link_open(&wait, p, &err) == 0) {
        pod_release(p);
        return;
    }
    if (process_alive(p->rt, &p->shim))
        kill(p->shim.pid, SIGKILL); /* it lives but does not talk: as good as dead, and its containers are lost to us */
    pod_reap_shim(p);
    pod_bury(&wait, p);
    pod_release(p);
    log_warn("shim gone", "pod=%s", p->uid);
    pod_event(p, RUNTIME_SHIM_GONE, "");
}
