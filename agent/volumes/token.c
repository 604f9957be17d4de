/* Service-account tokens: asked for when there is none, or when the one that lies in the volume has lived most of its time. What a token says
 * of itself (iat, exp) decides, so a restarted agent asks for none anew. */
#include "agent/volumes/volumes_int.h"

#include "lib/crypto.h"
#include "lib/file.h"
#include "lib/k8s/meta.h"
#include "lib/mem.h"

#include <fcntl.h>
#include <string.h>

enum { TOKEN_MAX_BYTES = 64 * 1024, RETRY_MS = 30 * 1000 };

struct token {
    char *text;
    size_t n;
    int64_t issued_s, expires_s; /* 0: it does not say */
};

/* The claims of a JWT without looking at its signature: it is our own file. */
static void read_times(struct token *t)
{
    AUTO(buf) struct buf claims = { 0 };
    AUTO(json) json_t *tree = NULL;
    const char *begin = memchr(t->text, '.', t->n), *end;
    struct err err = { 0 };

    if (!begin)
        return;
    begin++;
    end = memchr(begin, '.', t->n - (size_t)(begin - t->text));
    if (!end || base64_read(begin, (size_t)(end - begin), &claims) < 0)
        return;
    if (json_read(buf_at(&claims), buf_len(&claims), NULL, NULL, &tree, &err) < 0)
        return;
    t->issued_s = json_int_or(tree, "iat", 0);
    t->expires_s = json_int_or(tree, "exp", 0);
}

static int ask(struct volume_job *j, const json_t *source, int64_t lifetime_s, struct token *ret, struct err *err)
{
    const char *account = json_str_or(j->pod, "spec.serviceAccountName", "default");
    const char *audience = json_str_or(source, "audience", "");
    struct object_ref ref = { .group = "", .version = "v1", .resource = "serviceaccounts", .ns = meta_namespace(j->pod), .name = account, .sub = "token" };
    AUTO(json) json_t *request = json_pack("{s:s, s:s, s:{s:[], s:I, s:{s:s, s:s, s:s, s:s}}}", "apiVersion", "authentication.k8s.io/v1",
                                           "kind", "TokenRequest", "spec", "audiences", "expirationSeconds", (json_int_t)lifetime_s,
                                           "boundObjectRef", "apiVersion", "v1", "kind", "Pod", "name", meta_name(j->pod), "uid",
                                           meta_uid(j->pod));
    AUTO(json) json_t *answer = NULL;
    int rc;

    if (!request)
        return err_set(err, ERR_INVALID, "failed to fetch token: the pod's name is no text");
    if (*audience)
        json_array_append_new(json_at(request, "spec.audiences"), json_text(slice_of(audience)));
    rc = client_create(j->ctx, j->v->client, &ref, request, &answer, err);
    if (rc < 0)
        return err_wrap(err, "failed to fetch token");
    const char *text = json_str(answer, "status.token");
    if (!text)
        return err_set(err, ERR_UNAVAILABLE, "failed to fetch token: the answer holds none");
    ret->text = mem_strdup(text);
    ret->n = strlen(text);
    read_times(ret);
    return 0;
}

static bool read_old(int dir, const char *path, struct token *ret)
{
    struct err why = { 0 };

    if (dir < 0 || *path == '/' || strstr(path, ".."))
        return false;
    if (file_read(dir, path, TOKEN_MAX_BYTES, &ret->text, &ret->n, &why) < 0)
        return false; /* none yet, or no longer: a new one is asked for */
    read_times(ret);
    return true;
}

/* When a token is to be replaced: after four fifths of its time, or a day. */
static int64_t renew_at_s(const struct token *t, int64_t lifetime_s)
{
    int64_t life = t->expires_s - t->issued_s < lifetime_s ? t->expires_s - t->issued_s : lifetime_s;
    int64_t most = 24 * 3600;

    return t->issued_s + (life * 4 / 5 < most ? life * 4 / 5 : most);
}

int payload_token(struct volume_job *j, const json_t *source, mode_t mode, int dir, struct map *to, struct err *err)
{
    int64_t lifetime_s = json_int_or(source, "expirationSeconds", 3600), now_s = clock_wall_s(j->v->clock), again_ms;
    const char *path = json_str_or(source, "path", "");
    struct token old = { 0 }, fresh = { 0 };
    struct err why = { 0 };
    bool kept = read_old(dir, path, &old), own = j->fs_user >= 0 || j->fs_group >= 0;

    if (!kept || !old.issued_s || now_s >= renew_at_s(&old, lifetime_s)) {
        if (ask(j, source, lifetime_s, &fresh, &why) < 0 && !(kept && old.expires_s > now_s)) {
            free(old.text);
            *err = why;
            return -(int)why.code;
        }
    }
    struct token *t = fresh.text ? &fresh : &old; /* while the server can't be reached a token goes on to its end */
    again_ms = !t->issued_s ? lifetime_s * 800 : (renew_at_s(t, lifetime_s) - now_s) * 1000;
    if (again_ms < RETRY_MS)
        again_ms = RETRY_MS;
    if (j->again_ms < 0 || again_ms < j->again_ms)
        j->again_ms = again_ms;
    struct payload_file f = { .mode = own ? 0600 : mode, .uid = j->fs_user, .data = bytes_new(t->text, t->n) };
    free(old.text);
    free(fresh.text);
    return payload_set(to, path, &f, err);
}
