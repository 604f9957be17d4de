/* Query options that every verb reads the same way. */
#include "server/api/api_int.h"

#include "lib/k8s/status.h"

#include <string.h>

static const char *options_kind(enum api_verb v)
{
    switch (v) {
    case VERB_CREATE: return "CreateOptions";
    case VERB_UPDATE: return "UpdateOptions";
    case VERB_PATCH: return "PatchOptions";
    case VERB_DELETE:
    case VERB_DELETECOLLECTION: return "DeleteOptions";
    case VERB_NONE:
    case VERB_GET:
    case VERB_LIST:
    case VERB_WATCH: break;
    }
    return "ListOptions";
}

int api_options_end(struct api_request *r, struct field_errors *errs, struct err *err)
{
    return field_errors_end(errs, "meta.k8s.io", options_kind(r->route.verb), "", err);
}

int api_option_bad(struct api_request *r, enum field_error_type type, const char *field, const char *why, struct err *err)
{
    struct field_errors errs = { .arena = r->arena };

    field_error(&errs, type, NULL, why, "%s", field);
    return api_options_end(r, &errs, err);
}

static bool any_of(const char *v, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(v, list[i]) == 0)
            return true;
    return false;
}

static void read_manager(struct api_request *r)
{
    r->field_manager = api_query(r, "fieldManager");
    if (!r->field_manager || !*r->field_manager) {
        /* as upstream: the user agent up to the slash */
        const char *ua = r->user_agent ? r->user_agent : "unknown";

        r->field_manager = arena_strndup(r->arena, ua, strcspn(ua, "/"));
    }
}

int api_read_options(struct api_request *r, struct err *err)
{
    static const char *const dry_runs[] = { "All" }, *const validations[] = { "", "Ignore", "Strict", "Warn" };
    const char *dry = api_query(r, "dryRun"), *v = api_query(r, "fieldValidation");
    struct field_errors errs = { .arena = r->arena };

    if (r->route.verb == VERB_GET || r->route.verb == VERB_LIST || r->route.verb == VERB_WATCH)
        dry = v = NULL; /* no options of a read */
    if (dry && *dry && !any_of(dry, dry_runs, ARRAY_LEN(dry_runs))) {
        AUTO(json) json_t *shown = json_pack("[s]", dry);

        field_error(&errs, FIELD_NOT_SUPPORTED, shown, "supported values: \"All\"", "dryRun");
    }
    if (v && !any_of(v, validations, ARRAY_LEN(validations)))
        field_not_supported(&errs, v, validations, ARRAY_LEN(validations), "fieldValidation");
    r->dry_run = dry && *dry;
    r->field_validation = v && *v ? v : "Warn";
    read_manager(r);
    return api_options_end(r, &errs, err);
}
