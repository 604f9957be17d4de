/* PATCH in its four forms. */
#include "server/api/api_int.h"

#include "lib/k8s/meta.h"
#include "lib/k8s/patch.h"
#include "lib/k8s/status.h"

#include <string.h>

enum patch_form { PATCH_JSON, PATCH_MERGE, PATCH_STRATEGIC, PATCH_APPLY };

struct patch_job {
    enum patch_form form;
    json_t *patch;
    bool force;
};

static int form_of(struct api_request *r, enum patch_form *ret, struct err *err)
{
    static const struct {
        const char *media;
        enum patch_form form;
    } forms[] = {
        { "application/json-patch+json", PATCH_JSON },
        { "application/merge-patch+json", PATCH_MERGE },
        { "application/strategic-merge-patch+json", PATCH_STRATEGIC },
        { "application/apply-patch+yaml", PATCH_APPLY },
    };
    const char *type = r->content_type ? r->content_type : "";
    size_t n = strcspn(type, "; ");

    for (size_t i = 0; i < ARRAY_LEN(forms); i++)
        if (strlen(forms[i].media) == n && strncasecmp(type, forms[i].media, n) == 0) {
            *ret = forms[i].form;
            return 0;
        }
    return err_set(err, ERR_MEDIA_TYPE,
                   "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, "
                   "application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml");
}

/* The apply configuration must say what it is, and be what the path says. */
static int check_config(struct api_request *r, json_t *config, struct err *err)
{
    const struct schema_resource *res = r->route.resource;
    const char *version = api_version_text(r->arena, res);

    if (!json_is_object(config))
        return status_bad_request(&r->ctx, err, "error decoding YAML: the apply configuration must be an object");
    if (!*json_str_or(config, "apiVersion", "") || !*json_str_or(config, "kind", ""))
        return status_bad_request(&r->ctx, err, "error decoding apply configuration: Object '%s' is missing in the apply configuration",
                                  *json_str_or(config, "kind", "") ? "apiVersion" : "Kind");
    if (strcmp(json_str_or(config, "apiVersion", ""), version) != 0 || strcmp(json_str_or(config, "kind", ""), res->kind) != 0)
        return status_bad_request(&r->ctx, err, "invalid object type: expected %s, Kind=%s, got %s, Kind=%s", version, res->kind,
                                  json_str_or(config, "apiVersion", ""), json_str_or(config, "kind", ""));
    if (!*meta_name(config))
        return status_bad_request(&r->ctx, err, "the name of the object (%s based on URL) was undeterminable: name must be provided", r->route.name);
    if (strcmp(meta_name(config), r->route.name) != 0)
        return status_bad_request(&r->ctx, err, "the name of the object (%s) does not match the name on the URL (%s)", meta_name(config),
                                  r->route.name);
    if (json_at(config, "metadata.managedFields") && json_array_size(json_at(config, "metadata.managedFields")) > 0)
        return status_bad_request(&r->ctx, err, "metadata.managedFields must be nil");
    return 0;
}

static int make(void *arg, struct api_request *r, const json_t *live, json_t **ret, struct err *err)
{
    struct patch_job *job = arg;
    const struct schema_type *type = r->route.resource->type;

    switch (job->form) {
    case PATCH_JSON: return patch_json(&r->ctx, live, job->patch, ret, err);
    case PATCH_MERGE: *ret = patch_merge(live, job->patch); return 0;
    case PATCH_STRATEGIC: return patch_strategic(&r->ctx, type, live, job->patch, ret, err);
    case PATCH_APPLY: break;
    }
    struct apply_manager m = {
        .name = r->field_manager,
        .subresource = r->route.sub ? r->route.sub->name : "",
        .api_version = api_version_text(r->arena, r->route.resource),
        .now_s = clock_wall_s(r->api->o.clock),
    };
    return apply_patch(&r->ctx, type, live, job->patch, &m, job->force, ret, err);
}

static int run(struct api_request *r, struct patch_job *job, struct err *err)
{
    AUTO(json) json_t *result = NULL;
    bool created = false;
    struct api_change c = {
        .make = make,
        .arg = job,
        .patch = true,
        .sub = r->route.sub ? r->route.sub->name : NULL,
        .may_create = job->form == PATCH_APPLY && !r->route.sub,
        .managed = job->form == PATCH_APPLY,
    };

    if (job->form == PATCH_APPLY && check_config(r, job->patch, err) < 0)
        return -(int)err->code;
    if (job->form != PATCH_JSON && !json_is_object(job->patch))
        return status_bad_request(&r->ctx, err, "json: cannot unmarshal non-object value into a patch");
    if (api_change(r, &c, &result, &created, err) < 0)
        return -(int)err->code;
    return api_answer_tree(r, created ? 201 : 200, result, err);
}

int api_patch(struct api_request *r, struct err *err)
{
    struct patch_job job = { 0 };

    if (form_of(r, &job.form, err) < 0)
        return -(int)err->code;
    if (job.form == PATCH_APPLY && !api_query(r, "fieldManager"))
        return api_option_bad(r, FIELD_REQUIRED, "fieldManager", "is required for apply patch", err);
    if (job.form != PATCH_APPLY && api_query(r, "force"))
        return api_option_bad(r, FIELD_FORBIDDEN, "force", "may not be specified for non-apply patch", err);
    job.force = api_query_true(r, "force");
    if (api_decode_body(r, &job.patch, err) < 0)
        return -(int)err->code;
    int rc = run(r, &job, err);
    json_decref(job.patch);
    return rc;
}
