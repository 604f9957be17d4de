/* Bodies in: JSON and YAML, strictness as fieldValidation says. */
#include "server/api/api_int.h"

#include "lib/k8s/object.h"
#include "lib/k8s/protobuf.h"

#include <string.h>

enum { COMPLAINTS_MAX = 64 };

struct complaints {
    struct api_request *r;
    const char *at[COMPLAINTS_MAX];
    size_t n;
};

static void complain(struct complaints *c, const char *text)
{
    if (c->n < COMPLAINTS_MAX)
        c->at[c->n++] = text;
}

static void on_duplicate(void *arg, const char *path)
{
    struct complaints *c = arg;

    complain(c, arena_printf(c->r->arena, "duplicate field \"%s\"", path));
}

static void on_unknown(void *arg, const char *message)
{
    struct complaints *c = arg;

    complain(c, arena_strdup(c->r->arena, message));
}

/* The media type without parameters. */
static bool media_is(const char *content_type, const char *media)
{
    size_t n = strcspn(content_type, "; ");

    return n == strlen(media) && strncasecmp(content_type, media, n) == 0;
}

static int read_protobuf(struct api_request *r, const struct schema_type *type, json_t **ret, struct err *err)
{
    struct protobuf_envelope e;

    if (protobuf_open((struct slice){ r->body->at, r->body->n }, &e, err) < 0 || protobuf_read(type, e.raw, ret, err) < 0)
        return -(int)err->code;
    if (*e.kind)
        json_object_set_new(*ret, "kind", json_string(e.kind));
    if (*e.api_version)
        json_object_set_new(*ret, "apiVersion", json_string(e.api_version));
    return 0;
}

/* type: what a protobuf body would hold; NULL: it cannot be protobuf. */
static int read_body(struct api_request *r, const struct schema_type *media_type, struct complaints *c, json_t **ret, struct err *err)
{
    const char *type = r->content_type ? r->content_type : "application/json";
    int rc = 0;

    if (r->body->n > BODY_MAX_BYTES)
        return err_set(err, ERR_TOO_LARGE, "Request entity too large: limit is %d", BODY_MAX_BYTES);
    if (media_is(type, "application/json") || strstr(type, "-patch+json") || !*type)
        rc = json_read(r->body->at, r->body->n, on_duplicate, c, ret, err);
    else if (media_is(type, "application/yaml") || strstr(type, "-patch+yaml"))
        rc = yaml_read(r->body->at, r->body->n, on_duplicate, c, ret, err);
    else if (media_type && media_is(type, "application/vnd.kubernetes.protobuf"))
        rc = read_protobuf(r, media_type, ret, err);
    else
        return err_set(err, ERR_MEDIA_TYPE,
                       "the body of the request was in an unknown format - accepted media types include: application/json, "
                       "application/yaml, application/vnd.kubernetes.protobuf");
    return rc;
}

static int judge(struct api_request *r, const struct complaints *c, const char *kind, const char *version, struct err *err)
{
    AUTO(buf) struct buf text = { 0 };

    if (c->n == 0 || strcmp(r->field_validation, "Ignore") == 0)
        return 0;
    if (strcmp(r->field_validation, "Warn") == 0) {
        for (size_t i = 0; i < c->n; i++)
            api_warn(r, "%s", c->at[i]);
        return 0;
    }
    for (size_t i = 0; i < c->n; i++)
        buf_printf(&text, "%s%s", i ? ", " : "", c->at[i]);
    if (!kind)
        return status_bad_request(&r->ctx, err, "strict decoding error: %s", buf_at(&text));
    return status_bad_request(&r->ctx, err, "%s in version \"%s\" cannot be handled as a %s: strict decoding error: %s", kind, version,
                              kind, buf_at(&text));
}

int api_decode_body(struct api_request *r, json_t **ret, struct err *err)
{
    struct complaints c = { .r = r };
    AUTO(json) json_t *tree = NULL;

    if (read_body(r, schema_kind(r->api->schema, "", "v1", "DeleteOptions"), &c, &tree, err) < 0 || judge(r, &c, NULL, NULL, err) < 0)
        return -(int)err->code;
    *ret = TAKE(tree);
    return 0;
}

static const char *version_part(const char *api_version)
{
    const char *slash = strchr(api_version, '/');

    return slash ? slash + 1 : api_version;
}

/* Bodies may leave kind and apiVersion out; what they say must fit. */
static int check_kind(struct api_request *r, json_t *tree, const char *api_version, const char *kind, struct err *err)
{
    const char *got_kind = json_str_or(tree, "kind", ""), *got_version = json_str_or(tree, "apiVersion", "");

    if (*got_version && strcmp(got_version, api_version) != 0)
        return status_bad_request(&r->ctx, err, "the API version in the data (%s) does not match the expected API version (%s)",
                                  got_version, api_version);
    if (*got_kind && strcmp(got_kind, kind) != 0)
        return status_bad_request(&r->ctx, err, "%s in version \"%s\" cannot be handled as a %s: no kind \"%s\" is registered for it",
                                  got_kind, version_part(api_version), kind, got_kind);
    json_object_set_new(tree, "kind", json_string(kind));
    json_object_set_new(tree, "apiVersion", json_string(api_version));
    return 0;
}

int api_decode_object(struct api_request *r, const struct schema_type *type, const char *api_version, const char *kind,
                      json_t **ret, struct err *err)
{
    struct complaints c = { .r = r };
    AUTO(json) json_t *tree = NULL;

    if (read_body(r, type, &c, &tree, err) < 0) {
        if (err->code != ERR_BAD_REQUEST)
            return -(int)err->code;
        AUTO_FREE char *why = mem_strdup(err->msg);
        return status_bad_request(&r->ctx, err, "the object provided is unrecognized (must be of type %s): couldn't get version/kind; %s",
                                  kind, why);
    }
    if (!json_is_object(tree))
        return status_bad_request(&r->ctx, err,
                                  "the object provided is unrecognized (must be of type %s): couldn't get version/kind; json parse "
                                  "error: json: cannot unmarshal non-object value",
                                  kind);
    if (check_kind(r, tree, api_version, kind, err) < 0)
        return -(int)err->code;
    if (object_prune_keeping(type, tree, on_unknown, &c, &r->kept_empty, err) < 0) {
        AUTO_FREE char *why = mem_strdup(err->msg);
        return status_bad_request(&r->ctx, err, "%s in version \"%s\" cannot be handled as a %s: %s", kind,
                                  version_part(api_version), kind, why);
    }
    if (judge(r, &c, kind, version_part(api_version), err) < 0)
        return -(int)err->code;
    object_default(type, tree);
    *ret = TAKE(tree);
    return 0;
}

static int normalize(struct api_request *r, json_t *object, bool *ret_kept, struct err *err)
{
    const struct schema_resource *res = r->route.resource;
    struct complaints c = { .r = r };
    int rc = ret_kept ? object_prune_keeping(res->type, object, on_unknown, &c, ret_kept, err)
                      : object_prune(res->type, object, on_unknown, &c, err);

    if (rc < 0) {
        AUTO_FREE char *why = mem_strdup(err->msg);
        return status_bad_request(&r->ctx, err, "%s in version \"%s\" cannot be handled as a %s: %s", res->kind, res->version, res->kind,
                                  why);
    }
    if (judge(r, &c, res->kind, res->version, err) < 0)
        return -(int)err->code;
    object_default(res->type, object);
    if (r->route.ops->default_)
        r->route.ops->default_(object);
    return 0;
}

int api_normalize(struct api_request *r, json_t *object, struct err *err)
{
    return normalize(r, object, NULL, err);
}

int api_normalize_keeping(struct api_request *r, json_t *object, struct err *err)
{
    return normalize(r, object, &r->kept_empty, err);
}
