/*
 * LIST: a resumable producer. Each step is one short read transaction at the same revision; over HTTP the next step runs when the socket has drained,
 * so memory does not grow with the list (DESIGN §2).
 */
#include "server/api/api_int.h"

#include "lib/crypto.h"
#include "lib/k8s/status.h"

#include <stdio.h>
#include <string.h>

enum { STEP_BYTES = 256 * 1024 };

struct list {
    struct api_request *r;
    struct api_filter filter;
    struct api_media media;
    struct store_range range;
    struct buf prefix, from, to, out, last; /* last: key of the last row given out */
    int64_t limit, given;
    bool more;             /* another matching row exists behind the limit */
    bool meta_last;        /* metadata stands behind the items: the continue token is not known before */
    bool begun, done;
    bool conversion;
    /* streaming */
    pthread_mutex_t lock; /* guards the two below */
    bool stepping, closed;
};

/* --- continue tokens: {"v":"meta.k8s.io/v1","rv":…,"start":"ns/name\0"}, as upstream's --- */

static int bad_token(struct api_request *r, struct err *err)
{
    return status_bad_request(&r->ctx, err, "continue key is not valid: illegal base64 data");
}

static int read_token(struct list *l, const char *token, struct err *err)
{
    AUTO(buf) struct buf text = { 0 };
    AUTO(json) json_t *tree = NULL;
    struct err ignored;

    if (base64_read(token, strlen(token), &text) < 0 || json_read(buf_at(&text), buf_len(&text), NULL, NULL, &tree, &ignored) < 0)
        return bad_token(l->r, err);
    json_t *start = json_object_get(tree, "start");
    if (strcmp(json_str_or(tree, "v", ""), "meta.k8s.io/v1") != 0 || !json_is_string(start) || json_string_length(start) == 0)
        return bad_token(l->r, err);
    l->range.at_revision = json_int_or(tree, "rv", 0);
    if (l->range.at_revision == 0)
        return status_bad_request(&l->r->ctx, err, "continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)");
    if (l->range.at_revision < 0)
        l->range.at_revision = 0; /* inconsistent continuation: from there on as it is now */
    buf_cut(&l->from, 0);
    buf_add(&l->from, buf_at(&l->prefix), buf_len(&l->prefix));
    buf_add(&l->from, json_string_value(start), json_string_length(start));
    return 0;
}

static void write_token(struct slice start, int64_t revision, struct buf *to)
{
    AUTO(buf) struct buf text = { 0 };
    AUTO(json) json_t *tree = json_object();

    json_object_set_new(tree, "v", json_string("meta.k8s.io/v1"));
    json_object_set_new(tree, "rv", json_integer(revision));
    json_object_set_new(tree, "start", json_stringn_nocheck(start.at, start.n));
    json_write(tree, &text);
    base64url_write(buf_at(&text), buf_len(&text), to);
}

/* Where the list goes on behind the last row. */
static void write_next_token(const struct list *l, int64_t revision, struct buf *to)
{
    AUTO(buf) struct buf start = { 0 };
    size_t n = buf_len(&l->prefix);

    buf_add(&start, buf_at(&l->last) + n, buf_len(&l->last) - n);
    buf_char(&start, '\0');
    write_token((struct slice){ buf_at(&start), buf_len(&start) }, revision, to);
}

/* The revision is compacted. Who was given a token gets one that goes on from there in the current state (rv -1). */
static int expired(const struct list *l, struct err *err)
{
    const char *token = api_query(l->r, "continue");
    size_t n = buf_len(&l->prefix);
    AUTO(buf) struct buf next = { 0 };

    if (!token || !*token)
        return err_set(err, ERR_EXPIRED, "The resourceVersion for the provided list is too old.");
    write_token((struct slice){ buf_at(&l->from) + n, buf_len(&l->from) - n }, -1, &next);
    struct k8s_status *st = arena_alloc(l->r->arena, sizeof(*st));
    st->go_on = arena_strdup(l->r->arena, buf_at(&next));
    st->message = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the "
                  "continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing "
                  "with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the "
                  "time the first chunk was returned and now may show up in the list.";
    int rc = err_set(err, ERR_EXPIRED, "%s", st->message);
    err->status = st;
    return rc;
}

/* --- options --- */

static int read_revision(struct list *l, struct err *err)
{
    struct api_request *r = l->r;
    const char *rv = api_query(r, "resourceVersion"), *match = api_query(r, "resourceVersionMatch");
    const char *token = api_query(r, "continue");
    char *end = NULL;

    if (token && *token) {
        if (rv && *rv && strcmp(rv, "0") != 0)
            return status_bad_request(&r->ctx, err, "specifying resource version is not allowed when using continue");
        return read_token(l, token, err);
    }
    if (match && *match && (!rv || !*rv))
        return api_option_bad(r, FIELD_FORBIDDEN, "resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided", err);
    if (!rv || !*rv)
        return 0;
    int64_t want = strtoll(rv, &end, 10);
    if (*end || want < 0)
        return status_bad_request(&r->ctx, err, "invalid resource version: resourceVersion: Invalid value: \"%s\": strconv.ParseUint: parsing \"%s\": "
                                                "invalid syntax", rv, rv);
    if (match && *match && strcmp(match, "Exact") != 0 && strcmp(match, "NotOlderThan") != 0)
        return status_bad_request(&r->ctx, err,
                                  "resourceVersionMatch: Unsupported value: \"%s\": supported values: \"Exact\", \"NotOlderThan\"", match);
    if (want > store_revision(r->api->o.store))
        return err_set(err, ERR_TIMEOUT, "Too large resource version: %lld, current: %lld", (long long)want,
                       (long long)store_revision(r->api->o.store));
    const char *limit = api_query(r, "limit");
    if (want > 0 && ((match && strcmp(match, "Exact") == 0) || (!match && limit && strtoll(limit, NULL, 10) > 0)))
        l->range.at_revision = want;
    return 0;
}

/* Before a value is read: most rows of a selector's list never are. */
static bool wanted(void *arg, struct slice key, const struct bytes *facts)
{
    struct list *l = arg;
    struct slice ns = { "", 0 };
    const char *slash = memrchr(key.at, '/', key.n);
    struct slice name = { slash + 1, (size_t)(key.at + key.n - slash - 1) };

    if (l->r->route.resource->namespaced) {
        const char *before = memrchr(key.at, '/', (size_t)(slash - key.at));

        ns = (struct slice){ before + 1, (size_t)(slash - before - 1) };
    }
    return api_filter_match(&l->filter, ns, name, facts);
}

static int read_options(struct list *l, struct err *err)
{
    struct api_request *r = l->r;
    const char *limit = api_query(r, "limit");
    const struct schema_resource *res = r->route.resource;

    if (api_filter(r, &l->filter, err) < 0 || api_negotiate(r, true, &l->media, err) < 0)
        return -(int)err->code;
    if (limit && *limit) {
        char *end = NULL;

        l->limit = strtoll(limit, &end, 10);
        if (*end || l->limit < 0)
            return status_bad_request(&r->ctx, err, "Invalid value: \"%s\": limit must be a non-negative integer", limit);
    }
    key_write(r->route.stored, l->filter.ns, NULL, &l->prefix);
    buf_add(&l->from, buf_at(&l->prefix), buf_len(&l->prefix));
    key_range_end((struct slice){ buf_at(&l->prefix), buf_len(&l->prefix) }, &l->to);
    if (l->filter.name && (l->filter.ns || !res->namespaced)) {
        buf_str(&l->from, l->filter.name);
        buf_clear(&l->to);
        buf_add(&l->to, buf_at(&l->from), buf_len(&l->from));
        buf_char(&l->to, '\0');
    }
    if (read_revision(l, err) < 0)
        return -(int)err->code;
    l->meta_last = l->limit > 0;
    l->conversion = kind_conversion(res->group, res->version, res->kind) != NULL;
    l->range.from = (struct slice){ buf_at(&l->from), buf_len(&l->from) };
    l->range.to = (struct slice){ buf_at(&l->to), buf_len(&l->to) };
    l->range.max_bytes = STEP_BYTES;
    l->range.want = wanted;
    return 0;
}

/* --- rows --- */

static int row_tree(struct list *l, const struct store_row *row, struct err *err)
{
    struct api_request *r = l->r;
    AUTO(json) json_t *tree = NULL;

    if (api_tree(r, row->value, row->mod_revision, &tree, err) < 0)
        return -(int)err->code;
    if (l->media.form == FORM_TABLE)
        table_row(&r->ctx, r->route.resource, r->route.ops, tree, &l->media, &l->out);
    else if (l->media.form == FORM_PARTIAL)
        partial_object(tree, &l->out);
    else {
        json_object_del(tree, "kind");
        json_object_del(tree, "apiVersion");
        json_write(tree, &l->out);
    }
    return 0;
}

static int on_row(void *arg, const struct store_row *row, bool *stop, struct err *err)
{
    struct list *l = arg;
    struct slice key = { row->key->at, row->key->n };

    if (l->limit > 0 && l->given == l->limit) {
        l->more = true;
        *stop = true;
        return 0;
    }
    if (l->given++)
        buf_char(&l->out, ',');
    if (l->limit > 0) {
        buf_cut(&l->last, 0);
        buf_slice(&l->last, key);
    }
    if (l->media.form != FORM_JSON || l->conversion)
        return row_tree(l, row, err);
    api_splice((struct slice){ row->value->at, row->value->n }, row->mod_revision, true, &l->out);
    return 0;
}

static void write_meta(struct list *l, int64_t remaining)
{
    int64_t revision = l->range.at_revision ? l->range.at_revision : l->range.revision;

    buf_printf(&l->out, "\"metadata\":{\"resourceVersion\":\"%lld\"", (long long)revision);
    if (l->more) {
        buf_str(&l->out, ",\"continue\":\"");
        write_next_token(l, revision, &l->out);
        buf_char(&l->out, '"');
        if (remaining > 0)
            buf_printf(&l->out, ",\"remainingItemCount\":%lld", (long long)remaining);
    }
    buf_char(&l->out, '}');
}

static void write_begin(struct list *l)
{
    const struct schema_resource *res = l->r->route.resource;

    switch (l->media.form) {
    case FORM_TABLE: table_begin(res, &l->out); break;
    case FORM_PARTIAL: buf_str(&l->out, "{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"meta.k8s.io/v1\","); break;
    case FORM_JSON:
        buf_printf(&l->out, "{\"kind\":\"%sList\",\"apiVersion\":\"%s\",", res->kind, api_version_text(l->r->arena, res));
        break;
    }
    if (!l->meta_last) {
        write_meta(l, 0);
        buf_char(&l->out, ',');
    }
    if (l->media.form == FORM_TABLE) {
        table_columns(res, &l->out);
        buf_str(&l->out, ",\"rows\":[");
    } else {
        buf_str(&l->out, "\"items\":[");
    }
}

/* What is left behind the page; only told without selectors, as upstream. */
static int64_t remaining(struct list *l)
{
    int64_t n = 0;
    struct err err;

    if (!l->more || l->filter.labels || l->filter.n_terms || l->filter.name)
        return 0;
    buf_char(&l->last, '\0');
    struct slice from = { buf_at(&l->last), buf_len(&l->last) };
    if (store_count(&l->r->ctx, l->r->api->o.store, from, l->range.to, l->range.at_revision, &n, &err) < 0)
        n = 0; /* a hint only: optional in the API */
    buf_cut(&l->last, buf_len(&l->last) - 1);
    return n;
}

static void write_end(struct list *l)
{
    buf_char(&l->out, ']');
    if (l->meta_last) {
        buf_char(&l->out, ',');
        write_meta(l, remaining(l));
    }
    buf_str(&l->out, "}\n");
}

/* One short read transaction. */
static int step(struct list *l, struct err *err)
{
    struct buf rows = { 0 };

    if (!l->begun) {
        /* The revision is known after the first read: rows first, then the head before them. */
        if (store_range(&l->r->ctx, l->r->api->o.store, &l->range, on_row, l, err) < 0)
            return -(int)err->code;
        rows = l->out;
        l->out = (struct buf){ 0 };
        write_begin(l);
        buf_add(&l->out, buf_at(&rows), buf_len(&rows));
        buf_clear(&rows);
        l->begun = true;
    } else if (store_range(&l->r->ctx, l->r->api->o.store, &l->range, on_row, l, err) < 0) {
        return -(int)err->code;
    }
    if (l->more || !l->range.more) {
        write_end(l);
        l->done = true;
    }
    return 0;
}

static void list_free(struct list *l)
{
    store_range_end(&l->range);
    buf_clear(&l->prefix);
    buf_clear(&l->from);
    buf_clear(&l->to);
    buf_clear(&l->out);
    buf_clear(&l->last);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* --- streaming over HTTP --- */

static void stream_free(struct list *l)
{
    struct api_request *r = l->r;

    list_free(l);
    http_request_unref(r->http);
    api_request_free(r);
}

static void stream_step(void *arg);

/* Hands the next step to the pool unless the client is gone or the step runs already. */
static void schedule(struct list *l)
{
    struct err err;
    bool free_now = false, run = false;

    pthread_mutex_lock(&l->lock);
    if (!l->stepping && l->closed)
        free_now = true;
    else if (!l->stepping && !l->done)
        run = l->stepping = true;
    pthread_mutex_unlock(&l->lock);
    if (free_now) {
        stream_free(l);
    } else if (run && pool_run(l->r->api->o.pool, stream_step, l, &err) < 0) {
        pthread_mutex_lock(&l->lock);
        l->stepping = false;
        pthread_mutex_unlock(&l->lock);
        http_stream_abort(l->r->http); /* the client sees a broken answer, never a short list */
    }
}

static void send_out(struct list *l)
{
    struct bytes *piece = buf_take(&l->out);

    http_stream_write(l->r->http, piece);
    bytes_unref(piece);
}

static void stream_step(void *arg)
{
    struct list *l = arg;
    struct err err;
    bool full = false;

    while (!full && !l->done) {
        if (step(l, &err) < 0) {
            log_warn("list broken off", "resource=%s err=%s", l->r->route.resource->resource, log_q(err.msg));
            l->done = true;
            http_stream_abort(l->r->http);
            break;
        }
        send_out(l);
        if (l->done)
            http_stream_end(l->r->http);
        full = http_stream_queued(l->r->http) > CONN_HIGH_BYTES;
    }
    pthread_mutex_lock(&l->lock);
    l->stepping = false;
    bool closed = l->closed, drained = !l->done && http_stream_queued(l->r->http) <= CONN_LOW_BYTES;
    pthread_mutex_unlock(&l->lock);
    if (closed)
        stream_free(l);
    else if (drained)
        schedule(l); /* it drained while we were looking */
}

static void on_drain(void *arg)
{
    schedule(arg);
}

static void on_close(void *arg)
{
    struct list *l = arg;

    pthread_mutex_lock(&l->lock);
    l->closed = true;
    bool free_now = !l->stepping;
    atomic_store(&l->r->cancel.set, true);
    pthread_mutex_unlock(&l->lock);
    if (free_now)
        stream_free(l);
}

static void stream(struct list *l)
{
    static const struct http_stream_ops ops = { on_drain, on_close };
    struct api_request *r = l->r;
    struct http_headers headers = { 0 };

    *r->streaming = true;
    r->ctx.deadline_ms = INT64_MAX; /* the client's pace; the revision is held for 60 s at most */
    l->stepping = true;
    api_answer_headers(r, &headers);
    api_release_slot(r);
    http_on_cancel(r->http, NULL, NULL);
    http_request_ref(r->http); /* a step may still write when the stream has closed */
    http_stream_begin(r->http, 200, &headers, &ops, l);
    http_headers_clear(&headers);
    send_out(l);
    stream_step(l);
}

int api_list(struct api_request *r, struct err *err)
{
    struct list *l = MEM_NEW(struct list);
    int rc = 0;

    l->r = r;
    pthread_mutex_init(&l->lock, NULL);
    rc = read_options(l, err);
    while (rc == 0 && !l->done) {
        rc = step(l, err);
        if (rc == 0 && !l->done && r->http && !l->media.yaml && !l->media.pretty && strcmp(r->method, "GET") == 0) {
            stream(l);
            return 0;
        }
    }
    if (rc == 0) {
        r->answer.status = 200;
        r->answer.body = buf_take(&l->out);
        if (l->media.yaml || l->media.pretty) {
            AUTO(json) json_t *tree = NULL;
            struct buf text = { 0 };

            rc = json_read(r->answer.body->at, r->answer.body->n, NULL, NULL, &tree, err);
            if (rc == 0) {
                if (l->media.yaml)
                    yaml_write(tree, &text);
                else
                    json_write_pretty(tree, 2, &text);
                bytes_unref(r->answer.body);
                r->answer.body = buf_take(&text);
                r->answer.content_type = l->media.yaml ? "application/yaml" : "application/json";
            }
        }
    }
    if (rc < 0 && err->code == ERR_EXPIRED)
        rc = expired(l, err);
    list_free(l);
    return rc;
}
