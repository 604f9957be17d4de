#include "lib/http/conn.h"

#include "lib/mem.h"

struct relay_side {
    struct conn *conn; /* NULL: closed */
    struct relay_side *other;
    struct relay *relay;
    bool ended;
};

struct relay {
    struct relay_side a, b;
    void (*on_end)(void *arg);
    void *arg;
};

static void relay_data(struct conn *c, void *arg, const char *data, size_t n)
{
    struct relay_side *side = arg;

    if (!side->other->conn)
        return;
    conn_write(side->other->conn, data, n);
    if (conn_queued(side->other->conn) > CONN_HIGH_BYTES)
        conn_pause(c);
}

static void relay_drain(struct conn *c, void *arg)
{
    struct relay_side *side = arg;

    (void)c;
    if (side->other->conn)
        conn_resume(side->other->conn);
}

static void relay_eof(struct conn *c, void *arg)
{
    struct relay_side *side = arg;

    side->ended = true;
    if (!side->other->conn) {
        conn_close(c);
        return;
    }
    conn_shutdown(side->other->conn);
    if (side->other->ended) {
        conn_close(c);
        conn_close(side->other->conn);
    }
}

static void relay_close(struct conn *c, void *arg, const struct err *why)
{
    struct relay_side *side = arg;
    struct relay *r = side->relay;

    (void)c;
    side->conn = NULL;
    if (side->other->conn && why)
        conn_abort(side->other->conn, why);
    else if (side->other->conn)
        conn_close(side->other->conn);
    if (side->other->conn)
        return;
    if (r->on_end)
        r->on_end(r->arg);
    free(r);
}

static const struct conn_ops relay_ops = {
    .on_data = relay_data, .on_drain = relay_drain, .on_eof = relay_eof, .on_close = relay_close
};

void conn_relay(struct conn *a, struct conn *b, void (*on_end)(void *arg), void *arg)
{
    struct relay *r = MEM_NEW(struct relay);

    r->a = (struct relay_side){ .conn = a, .other = &r->b, .relay = r };
    r->b = (struct relay_side){ .conn = b, .other = &r->a, .relay = r };
    r->on_end = on_end;
    r->arg = arg;
    conn_set_ops(a, &relay_ops, &r->a);
    conn_set_ops(b, &relay_ops, &r->b);
    conn_resume(a);
    conn_resume(b);
}
