/* Manifests and blobs: which host has them, and whether they are what they should be. */
#include "agent/images/remote_int.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { RETRY_FIRST_MS = 250, RETRY_MOST_MS = 4000 };

void remote_manifest_clear(struct remote_manifest *m)
{
    bytes_unref(m->text);
    free(m->type);
    *m = (struct remote_manifest){ 0 };
}

/* What a status that is no success means. `what`: the image name. */
static int refused(const struct remote *r, const char *method, const struct http_answer *a, const char *host, struct err *err)
{
    if (a->status == 404)
        return err_set(err, ERR_NOT_FOUND, "%s: not found", r->name->canonical);
    if (a->status == 401 || a->status == 403)
        return err_set(err, ERR_UNAUTHORIZED, "pull access denied, repository does not exist or may require authorization: "
                       "server message: insufficient_scope: authorization failed");
    enum err_code code = a->status == 429 ? ERR_TOO_MANY : a->status >= 500 ? ERR_UNAVAILABLE : ERR_IO;
    return err_set(err, code, "unexpected status from %s request to %s: %d %s", method, host, a->status, http_status_text(a->status));
}

static bool worth_again(const struct err *err)
{
    return !err->sys && (err->code == ERR_UNAVAILABLE || err->code == ERR_TOO_MANY || err->code == ERR_IO);
}

/* A refused connection and an unknown name will be the same in a second; the pod's back-off tries again. */
static bool no_such_host(const struct err *err)
{
    return strstr(err->msg, "dial tcp") != NULL;
}

static int manifest_call(struct ctx *ctx, struct remote *r, size_t host, const char *object, bool head, struct http_answer *ret,
                         struct err *err)
{
    AUTO_FREE char *path = mem_printf("manifests/%s", object);
    struct remote_call call = { .method = head ? "HEAD" : "GET", .accept = manifest_accept, .max_bytes = MANIFEST_MAX_BYTES };
    int rc = 0;

    for (int again = 0; again < 3; again++) {
        struct http_answer a = { 0 };

        if (again)
            rc = turns_pause(ctx, r->im->turns, RETRY_FIRST_MS << again, err);
        if (again && rc < 0)
            return rc;
        rc = remote_ask(ctx, r, host, path, &call, &a, err);
        if (rc < 0 && err->code != ERR_UNAUTHORIZED && err->code != ERR_CANCELED)
            rc = err_wrap(err, "failed to do request");
        if (rc == 0 && a.status == 200) {
            *ret = a;
            return 0;
        }
        if (rc == 0) {
            rc = refused(r, call.method, &a, r->hosts[host].host, err);
            http_answer_clear(&a);
        }
        if (!worth_again(err) || no_such_host(err))
            break;
    }
    return rc;
}

/* Mirrors come first; the error worth telling is the registry's own, unless it says less than a mirror's. */
static int first_that_has(struct ctx *ctx, struct remote *r, const char *object, bool head, struct http_answer *ret, struct err *err)
{
    struct err best = { 0 };

    for (size_t i = 0; i < r->n_hosts; i++) {
        int rc = manifest_call(ctx, r, i, object, head, ret, err);

        if (rc == 0 || err->code == ERR_CANCELED || ctx_left_ms(ctx) == 0)
            return rc;
        if (best.code == ERR_NONE || best.code == ERR_NOT_FOUND)
            best = *err;
    }
    *err = best;
    return -(int)best.code;
}

int remote_digest(struct ctx *ctx, struct remote *r, const char *object, char ret[DIGEST_CHARS + 1], struct err *err)
{
    struct http_answer a = { 0 };
    int rc = first_that_has(ctx, r, object, true, &a, err);

    if (rc < 0)
        return rc;
    const char *digest = http_headers_get(&a.headers, "docker-content-digest");
    /* Not every registry says it: then the manifest itself has to tell. */
    snprintf(ret, DIGEST_CHARS + 1, "%s", digest_ok(digest) ? digest : "");
    http_answer_clear(&a);
    return 0;
}

int remote_manifest(struct ctx *ctx, struct remote *r, const char *object, struct remote_manifest *ret, struct err *err)
{
    struct http_answer a = { 0 };
    struct remote_manifest m = { 0 };
    int rc = first_that_has(ctx, r, object, false, &a, err);

    if (rc < 0)
        return rc;
    const char *type = http_headers_get(&a.headers, "content-type"), *says = http_headers_get(&a.headers, "docker-content-digest");
    digest_of(a.body->at, a.body->n, m.digest);
    if (digest_ok(object))
        says = object;
    if (says && digest_ok(says) && strcmp(says, m.digest) != 0)
        rc = err_set(err, ERR_INVALID, "failed to validate manifest %s: its digest is %s", says, m.digest);
    if (rc == 0) {
        m.type = mem_strdup(type ? type : "");
        m.text = bytes_ref(a.body);
        *ret = m;
    }
    http_answer_clear(&a);
    return rc;
}

/* --- blobs --- */

struct download {
    struct remote *r;
    const struct ctx *caller;
    struct ctx ctx; /* its deadline moves with what comes */
    int fd;
    int64_t size, got;
    struct sha256 *hash;
    bool overflow;
};

static void move_deadline(struct download *d)
{
    int64_t idle = clock_mono_ms(d->ctx.clock) + IDLE_MS;

    d->ctx.deadline_ms = idle < d->caller->deadline_ms ? idle : d->caller->deadline_ms;
}

static int take_data(void *arg, const void *data, size_t n, struct err *err)
{
    struct download *d = arg;

    if ((int64_t)n > d->size - d->got) {
        d->overflow = true;
        return err_set(err, ERR_INVALID, "more than the %lld bytes that were announced", (long long)d->size);
    }
    for (size_t at = 0; at < n;) {
        ssize_t done = pwrite(d->fd, (const char *)data + at, n - at, d->got + (int64_t)at);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return err_sys(err, errno, "write the blob");
        at += (size_t)done;
    }
    sha256_add(d->hash, data, n);
    d->got += (int64_t)n;
    move_deadline(d);
    return 0;
}

static void start_over(struct download *d)
{
    unsigned char lost[SHA256_BYTES];

    sha256_end(d->hash, lost);
    d->hash = sha256_new();
    d->got = 0;
    d->overflow = false;
}

/* One request for what is missing. */
static int get_rest(struct download *d, size_t host, const char *digest, bool resume, struct err *err)
{
    AUTO_FREE char *path = mem_printf("blobs/%s", digest), *range = NULL;
    struct http_answer a = { 0 };
    struct ctx caller = *d->caller;

    if (!resume)
        start_over(d);
    else if (d->got > 0)
        range = mem_printf("bytes=%lld-", (long long)d->got);
    struct remote_call call = { .method = "GET", .range = range, .max_bytes = TOKEN_MAX_BYTES, .fn = take_data, .arg = d, .progress = &d->ctx };
    int rc = remote_ask(&caller, d->r, host, path, &call, &a, err);
    if (rc < 0)
        return rc;
    if (a.status / 100 != 2)
        rc = refused(d->r, "GET", &a, d->r->hosts[host].host, err);
    else if (d->got < d->size)
        rc = err_set(err, ERR_UNAVAILABLE, "unexpected EOF: %lld of %lld bytes came", (long long)d->got, (long long)d->size);
    http_answer_clear(&a);
    return rc;
}

/* As long as bytes come it goes on; without progress a few times. */
static int from_host(struct download *d, size_t host, const char *digest, struct err *err)
{
    bool resume = true;
    int rc = -ERR_IO;

    for (int fruitless = 0; fruitless < TRIES_MAX; fruitless++) {
        int64_t before = d->got;

        rc = get_rest(d, host, digest, resume, err);
        if (rc == 0)
            return 0;
        if (d->overflow && resume && before > 0) {
            resume = false; /* the range was ignored: the whole came again behind what was there */
            continue;
        }
        if (!worth_again(err) && err->code != ERR_TIMEOUT)
            return rc;
        if (ctx_left_ms(d->caller) == 0 || no_such_host(err))
            return rc;
        if (resume && d->got > before)
            fruitless = -1;
        struct err lost;
        int wait = fruitless < 0 ? 0 : RETRY_FIRST_MS << fruitless;
        struct ctx caller = *d->caller;
        if (turns_pause(&caller, d->r->im->turns, wait < RETRY_MOST_MS ? wait : RETRY_MOST_MS, &lost) < 0) {
            *err = lost;
            return -(int)lost.code;
        }
    }
    return rc;
}

static int check_digest(struct download *d, const char *digest, struct err *err)
{
    unsigned char raw[SHA256_BYTES];
    char got[DIGEST_CHARS + 1];

    sha256_end(TAKE(d->hash), raw);
    digest_text(raw, got);
    if (strcmp(got, digest) != 0)
        return err_set(err, ERR_INVALID, "failed commit on ref \"layer-%s\": unexpected commit digest %s, expected %s: failed precondition",
                       digest, got, digest);
    return 0;
}

int remote_blob(struct ctx *ctx, struct remote *r, const char *digest, int64_t size, int fd, struct err *err)
{
    struct download d = { .r = r, .caller = ctx, .ctx = *ctx, .fd = fd, .size = size, .hash = sha256_new() };
    int rc = -ERR_NOT_FOUND;

    for (size_t i = 0; rc < 0 && i < r->n_hosts; i++) {
        rc = from_host(&d, i, digest, err);
        if (rc == 0)
            rc = check_digest(&d, digest, err);
        if (rc < 0 && (err->code == ERR_CANCELED || err->sys || ctx_left_ms(ctx) == 0))
            break;
        if (rc < 0 && i + 1 < r->n_hosts) {
            /* The next host begins anew: this one's bytes may be what is wrong. */
            if (!d.hash)
                d.hash = sha256_new();
            start_over(&d);
        }
    }
    if (d.hash) {
        unsigned char lost[SHA256_BYTES];
        sha256_end(d.hash, lost);
    }
    return rc;
}
