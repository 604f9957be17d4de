/* The callers' side of a write: copy it, queue it, wait for the writer. */
#include "datastore/sqlite_int.h"

#include "lib/mem.h"

#include <string.h>

void sql_txn_unref(struct txn *t)
{
    if (atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < t->n; i++) {
        bytes_unref(t->ops[i].value);
        bytes_unref(t->ops[i].facts);
    }
    store_row_clear(&t->live);
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->cond);
    free(t);
}

void sql_txn_finish(struct txn *t)
{
    pthread_mutex_lock(&t->lock);
    t->done = true;
    pthread_cond_signal(&t->cond);
    pthread_mutex_unlock(&t->lock);
    sql_txn_unref(t);
}

static int check_op(const struct store_op *op, struct err *err)
{
    if (op->key.n == 0)
        return err_set(err, ERR_BAD_REQUEST, "empty key");
    if (op->key.n > STORE_KEY_MAX_BYTES)
        return err_set(err, ERR_TOO_LARGE, "key of %zu bytes, the limit is %d", op->key.n, STORE_KEY_MAX_BYTES);
    if (op->kind != STORE_PUT)
        return 0;
    if (!op->value)
        return err_set(err, ERR_BAD_REQUEST, "put without a value");
    if (op->value->n > STORE_VALUE_MAX_BYTES || (op->facts && op->facts->n > STORE_VALUE_MAX_BYTES))
        return err_set(err, ERR_TOO_LARGE, "value of %zu bytes, the limit is %d", op->value->n, STORE_VALUE_MAX_BYTES);
    return 0;
}

static int check_ops(const struct store_op *ops, size_t n, size_t *ret_keys, size_t *ret_bytes, struct err *err)
{
    size_t keys = 0, bytes = 0;

    if (n == 0)
        return err_set(err, ERR_BAD_REQUEST, "empty transaction");
    if (n > STORE_OPS_MAX)
        return err_set(err, ERR_TOO_LARGE, "transaction of %zu steps, the limit is %d", n, STORE_OPS_MAX);
    for (size_t i = 0; i < n; i++) {
        int rc = check_op(&ops[i], err);
        if (rc < 0)
            return rc;
        keys += ops[i].key.n;
        if (ops[i].kind == STORE_PUT)
            bytes += ops[i].value->n + (ops[i].facts ? ops[i].facts->n : 0);
    }
    if (bytes + keys > STORE_TXN_MAX_BYTES)
        return err_set(err, ERR_TOO_LARGE, "transaction of %zu bytes, the limit is %d", bytes + keys, STORE_TXN_MAX_BYTES);
    *ret_keys = keys;
    *ret_bytes = bytes + keys;
    return 0;
}

/* Its own copy: the caller may leave when its time is over while the writer works on it. */
static int txn_new(const struct store_op *ops, size_t n, struct txn **ret, struct err *err)
{
    size_t keys = 0, bytes = 0;
    int rc = check_ops(ops, n, &keys, &bytes, err);

    if (rc < 0)
        return rc;
    struct txn *t = mem_try_alloc(sizeof(*t) + n * sizeof(*ops) + keys);
    if (!t)
        return err_set(err, ERR_UNAVAILABLE, "out of memory");
    memset(t, 0, sizeof(*t));
    atomic_init(&t->refs, 1);
    pthread_mutex_init(&t->lock, NULL);
    sql_cond_init(&t->cond);
    t->ops = (struct store_op *)(t + 1);
    t->n = n;
    t->n_bytes = bytes;
    t->failed = -1;
    memcpy(t->ops, ops, n * sizeof(*ops));
    char *at = (char *)(t->ops + n);
    for (size_t i = 0; i < n; i++) {
        bool put = ops[i].kind == STORE_PUT;
        memcpy(at, ops[i].key.at, ops[i].key.n);
        t->ops[i].key.at = at;
        at += ops[i].key.n;
        t->ops[i].value = bytes_ref(put ? ops[i].value : NULL);
        t->ops[i].facts = bytes_ref(put ? ops[i].facts : NULL);
    }
    *ret = t;
    return 0;
}

static int enqueue(struct store *s, struct txn *t, struct err *err)
{
    LOCK_SCOPE(&s->lock);
    if (s->closing)
        return err_set(err, ERR_UNAVAILABLE, "the datastore is closing");
    if (s->queued >= s->queue_max)
        return err_set(err, ERR_UNAVAILABLE, "the datastore has %lld writes waiting, no more are taken", (long long)s->queued);
    atomic_fetch_add(&t->refs, 1);
    *s->tail = t;
    s->tail = &t->next;
    if (s->queued++ == 0)
        pthread_cond_signal(&s->work);
    return 0;
}

static int txn_wait(struct ctx *ctx, struct txn *t, struct err *err)
{
    LOCK_SCOPE(&t->lock);
    while (!t->done) {
        int rc = ctx_check(ctx, err);
        if (rc < 0)
            return rc;
        sql_cond_wait_ms(&t->cond, &t->lock, sql_wait_slice_ms(ctx));
    }
    return 0;
}

/* Takes t back if the writer has not taken it. */
static bool take_back(struct store *s, struct txn *t)
{
    LOCK_SCOPE(&s->lock);
    for (struct txn **at = &s->head; *at; at = &(*at)->next) {
        if (*at != t)
            continue;
        *at = t->next;
        if (!t->next)
            s->tail = at;
        s->queued--;
        sql_txn_unref(t); /* not the last: the caller has one */
        return true;
    }
    return false;
}

static int enqueue_and_wait(struct ctx *ctx, struct store *s, struct txn *t, struct err *err)
{
    int rc = enqueue(s, t, err);

    if (rc < 0)
        return rc;
    rc = txn_wait(ctx, t, err);
    if (rc < 0)
        return err_wrap(err, take_back(s, t) ? "write not begun" : "write under way, its outcome is unknown");
    return 0;
}

int store_txn(struct ctx *ctx, struct store *s, const struct store_op *ops, size_t n, int64_t *ret_revision, int *ret_failed,
              struct store_row *ret_live, struct err *err)
{
    struct txn *t = NULL;
    int rc = txn_new(ops, n, &t, err);

    if (rc < 0)
        return rc;
    t->want_live = ret_live != NULL;
    rc = enqueue_and_wait(ctx, s, t, err);
    if (rc == 0) { /* the writer is through with it */
        if (t->rc < 0) {
            *err = t->err;
            if (ret_failed && t->failed >= 0)
                *ret_failed = t->failed;
            if (ret_live) {
                *ret_live = t->live;
                t->live = (struct store_row){ 0 };
            }
        } else if (ret_revision) {
            *ret_revision = t->revision;
        }
        rc = t->rc;
    }
    sql_txn_unref(t);
    return rc;
}
