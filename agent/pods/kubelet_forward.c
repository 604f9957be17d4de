/* /portForward: each connection is dialled on the pool inside the pod's network namespace and joined on the loop. */
#include "agent/pods/kubelet_int.h"

#include "lib/stream/stream.h"

#include <stdio.h>
#include <string.h>

enum { PORTS_MAX = 126, DIAL_MS = 10 * 1000 };

struct forward_op {
    struct kubelet_live live;
    struct kubelet_call *call;
    char pod_uid[64];
    int ports[PORTS_MAX];
    size_t n_ports;
    /* the loop's */
    struct stream_forward *forward; /* NULL: none yet, or closed */
    bool closed;
    size_t dialling;
};

struct dial {
    struct forward_op *op;
    struct stream_port *port; /* NULL: closed meanwhile; the loop's */
    int number, fd, rc;
    struct err err;
};

static void free_op(struct forward_op *op)
{
    struct kubelet_call *c = op->call;

    kubelet_live_remove(c->k, &op->live);
    free(op);
    kubelet_call_free(c);
}

static void free_when_done(struct forward_op *op)
{
    if (op->closed && op->dialling == 0)
        free_op(op);
}

/* --- one connection --- */

static void fail(struct forward_op *op, struct stream_port *p, int number, const char *why)
{
    AUTO_FREE char *text = mem_printf("error forwarding port %d to pod %s, uid : %s", number, op->pod_uid, why);

    stream_port_fail(p, text);
}

static void dialled(void *arg)
{
    struct dial *d = arg;
    struct forward_op *op = d->op;

    if (d->port) {
        stream_port_set(d->port, NULL);
        if (d->rc == 0)
            stream_port_connect(d->port, d->fd);
        else
            fail(op, d->port, d->number, d->err.msg);
    } else if (d->rc == 0) {
        close(d->fd);
    }
    free(d);
    op->dialling--;
    free_when_done(op);
}

static void dial(void *arg)
{
    struct dial *d = arg;
    struct kubelet_api *k = d->op->call->k;
    AUTO(arena) struct arena *arena = arena_new();
    struct ctx background = ctx_background(arena), ctx = ctx_with_timeout(&background, DIAL_MS);

    d->rc = k->runtime.dial(&ctx, k->runtime.arg, d->op->pod_uid, d->number, &d->fd, &d->err);
    loop_post(k->loop, dialled, d);
}

static void on_port(void *arg, struct stream_port *p, int port)
{
    struct forward_op *op = arg;
    struct dial *d = MEM_NEW(struct dial);

    *d = (struct dial){ .op = op, .port = p, .number = port, .fd = -1 };
    stream_port_set(p, d);
    if (pool_run(op->call->k->pool, dial, d, &d->err) == 0) {
        op->dialling++;
        return;
    }
    stream_port_set(p, NULL);
    fail(op, p, port, d->err.msg);
    free(d);
}

static void on_port_close(void *arg, struct stream_port *p)
{
    struct dial *d = stream_port_arg(p);

    (void)arg;
    if (d)
        d->port = NULL;
}

/* --- all of them --- */

static void on_close(void *arg)
{
    struct forward_op *op = arg;

    op->forward = NULL;
    op->closed = true;
    free_when_done(op);
}

static void close_live(struct kubelet_live *l)
{
    struct forward_op *op = (struct forward_op *)l; /* its first member */

    if (op->forward)
        stream_forward_close(op->forward);
}

static void accept_forward(void *arg)
{
    static const struct stream_forward_ops ops = { on_port, on_port_close, on_close };
    struct forward_op *op = arg;

    op->live.close = close_live;
    kubelet_live_add(op->call->k, &op->live);
    if (kubelet_stopping(op->call->k))
        http_reply(op->call->request, 503, NULL, NULL);
    else if (stream_forward_accept(op->call->request, op->ports, op->n_ports, &ops, op))
        return;
    free_op(op);
}

/* "port" comes again, and may be a comma list. */
static int read_ports(struct forward_op *op, struct err *err)
{
    const struct url_query *q = &op->call->query;

    for (size_t i = 0; i < q->n; i++) {
        if (strcmp(q->at[i].name, "port") && strcmp(q->at[i].name, "ports"))
            continue;
        for (const char *p = q->at[i].value; *p;) {
            char *end = NULL;
            long port = strtol(p, &end, 10);

            if (end == p || (*end && *end != ',') || port < 1 || port > 65535)
                return err_set(err, ERR_BAD_REQUEST, "unable to parse \"%s\" as a port", q->at[i].value);
            if (op->n_ports == PORTS_MAX)
                return err_set(err, ERR_BAD_REQUEST, "more than %d ports", PORTS_MAX);
            op->ports[op->n_ports++] = (int)port;
            p = *end ? end + 1 : end;
        }
    }
    return 0;
}

void kubelet_forward(struct kubelet_call *c)
{
    struct forward_op *op = MEM_NEW(struct forward_op);
    struct err err = { 0 };
    int rc;

    op->call = c;
    rc = read_ports(op, &err);
    if (rc == 0)
        rc = c->k->world.find_pod(c->k->world.arg, c->segment[1], c->segment[2], c->n_segments == 4 ? c->segment[3] : "", op->pod_uid, &err);
    if (rc == 0) {
        loop_post(c->k->loop, accept_forward, op);
        return;
    }
    free(op);
    kubelet_fail(c, &err);
}
