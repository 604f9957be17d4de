/* Certificate requests and trust bundles. Source: upstream pkg/apis/certificates, pkg/registry/certificates. */
#include "server/schema/kinds/kinds.h"

#include "lib/crypto.h"
#include "lib/k8s/meta.h"
#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/set.h"

#include <string.h>

static const char certificates_group[] = "certificates.k8s.io";

/* --- CertificateSigningRequest --- */

static void add_extra(json_t *extra, const char *key, const char *value)
{
    json_t *values = json_object_get(extra, key);

    if (!values) {
        values = json_array();
        json_object_set_new(extra, key, values);
    }
    json_array_append_new(values, json_text(slice_of(value)));
}

/* Who asks is the server's to say. */
static void request_prepare_create(struct ctx *ctx, json_t *request)
{
    static const char *const told[] = { "username", "uid", "groups", "extra" };
    json_t *spec = json_object_get(request, "spec");
    const struct user *user = ctx->user;

    json_object_del(request, "status");
    if (!json_is_object(spec))
        return;
    for (size_t i = 0; i < ARRAY_LEN(told); i++)
        json_object_del(spec, told[i]);
    if (!user)
        return;
    json_object_set_new(spec, "username", json_text(slice_of(user->name)));
    if (user->uid && *user->uid)
        json_object_set_new(spec, "uid", json_text(slice_of(user->uid)));
    json_t *groups = json_array();
    for (size_t i = 0; i < user->n_groups; i++)
        json_array_append_new(groups, json_text(slice_of(user->groups[i])));
    json_object_set_new(spec, "groups", groups);
    for (size_t i = 0; i < user->n_extra; i++)
        add_extra(set_object(spec, "extra"), user->extra[2 * i], user->extra[2 * i + 1]);
}

static void request_prepare_update(struct ctx *ctx, json_t *request, const json_t *old)
{
    (void)ctx;
    set_from(request, old, "spec");
}

/* Times of conditions that writers left out. */
static void fill_times(struct ctx *ctx, json_t *request, const json_t *old)
{
    char now[CLOCK_TEXT_BYTES];
    size_t i, j;
    json_t *c, *was;

    clock_time_text(clock_wall_s(ctx->clock), now);
    json_array_foreach(json_at(request, "status.conditions"), i, c)
    {
        const char *since = now;

        set_text(c, "lastUpdateTime", now);
        json_array_foreach(json_at(old, "status.conditions"), j, was)
            if (is_text(was, "type", json_str_or(c, "type", "")) && is_text(was, "status", json_str_or(c, "status", "")))
                since = json_str_or(was, "lastTransitionTime", now);
        set_text(c, "lastTransitionTime", since);
    }
}

static size_t count_conditions(const json_t *request, const char *type)
{
    size_t i, n = 0;
    json_t *c;

    json_array_foreach(json_at(request, "status.conditions"), i, c) n += is_text(c, "type", type);
    return n;
}

/* Approval is another subresource's: existing decisions stay as they are. */
static void keep_decision(json_t *request, const json_t *old, const char *type)
{
    json_t *list = json_at(request, "status.conditions"), *c, *was;
    size_t i, j, seen = 0;

    if (count_conditions(request, type) != count_conditions(old, type))
        return;
    json_array_foreach(json_at(old, "status.conditions"), j, was)
    {
        size_t n = 0;

        if (!is_text(was, "type", type))
            continue;
        json_array_foreach(list, i, c)
            if (is_text(c, "type", type) && n++ == seen) {
                json_array_set_new(list, i, json_deep_copy(was));
                break;
            }
        seen++;
    }
}

static void request_prepare_status(struct ctx *ctx, json_t *request, const json_t *old)
{
    keep_decision(request, old, "Approved");
    keep_decision(request, old, "Denied");
    fill_times(ctx, request, old);
}

static void check_usages(struct field_errors *errs, const json_t *usages)
{
    static const char *const known[] = {
        "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment", "decipher only",
        "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement",
        "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing", "timestamping",
    };
    size_t i;
    json_t *v;

    if (json_array_size(usages) == 0)
        field_error(errs, FIELD_REQUIRED, NULL, "", "spec.usages");
    json_array_foreach(usages, i, v)
    {
        check_one_of(errs, v, true, known, ARRAY_LEN(known), check_path(errs, "spec.usages[%zu]", i));
        for (size_t j = 0; j < i; j++)
            if (json_equal(v, json_array_get(usages, j))) {
                field_error(errs, FIELD_DUPLICATE, v, "", "spec.usages[%zu]", i);
                break;
            }
    }
}

/* "domain/path" of at most 571 bytes. */
static const char *signer_invalid(const char *s)
{
    const char *slash = strchr(s, '/');
    char domain[256];

    if (!slash || !slash[1])
        return "must be a fully qualified domain and path of the form 'example.com/signer-name'";
    if (strlen(s) > 571 || (size_t)(slash - s) >= sizeof(domain))
        return "must be no more than 571 bytes";
    memcpy(domain, s, (size_t)(slash - s));
    domain[slash - s] = '\0';
    if (!strchr(domain, '.'))
        return "should be a domain with at least two segments separated by dots";
    return name_is_dns_subdomain(domain);
}

static void request_validate(struct ctx *ctx, const json_t *request, struct field_errors *errs)
{
    const json_t *spec = json_object_get(request, "spec"), *text = json_object_get(spec, "request"),
                 *signer = json_object_get(spec, "signerName"), *seconds = json_object_get(spec, "expirationSeconds");
    AUTO(buf) struct buf csr = { 0 };
    struct cert_info info = { 0 };
    struct err err;

    (void)ctx;
    if (!json_is_string(text) || base64_read(json_string_value(text), json_string_length(text), &csr) < 0 || !strstr(buf_at(&csr), "BEGIN CERTIFICATE REQUEST"))
        field_error(errs, FIELD_INVALID, text, "PEM block type must be CERTIFICATE REQUEST", "spec.request");
    else if (csr_info(buf_at(&csr), buf_len(&csr), &info, &err) < 0)
        field_error(errs, FIELD_INVALID, text, err.msg, "spec.request");
    cert_info_clear(&info);
    check_usages(errs, json_object_get(spec, "usages"));
    if (is_text(spec, "signerName", "kubernetes.io/legacy-unknown"))
        field_error(errs, FIELD_INVALID, signer, "the legacy signerName is not allowed via this API version", "spec.signerName");
    else if (json_string_length(signer))
        check_name(errs, signer, signer_invalid, "spec.signerName");
    if (seconds && json_integer_value(seconds) < 600)
        field_error(errs, FIELD_INVALID, seconds, "may not specify a duration less than 600 seconds (10 minutes)", "spec.expirationSeconds");
}

static void request_validate_status(struct ctx *ctx, const json_t *request, const json_t *old, struct field_errors *errs)
{
    static const char *const fixed[] = { "Approved", "Denied", "Failed" };

    (void)ctx;
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
        size_t now = count_conditions(request, fixed[i]), was = count_conditions(old, fixed[i]);

        if (now < was)
            field_error(errs, FIELD_FORBIDDEN, NULL, arena_printf(errs->arena, "updates may not remove a condition of type \"%s\"", fixed[i]),
                        "status.conditions");
        else if (now > was && i < 2)
            field_error(errs, FIELD_FORBIDDEN, NULL, arena_printf(errs->arena, "updates may not add a condition of type \"%s\"", fixed[i]),
                        "status.conditions");
    }
    if (*json_str_or(old, "status.certificate", "") && !same_member(request, old, "status.certificate"))
        field_error(errs, FIELD_FORBIDDEN, NULL, "updates may not modify existing certificate content", "status.certificate");
}

static void request_cells(struct ctx *ctx, const json_t *request, json_t *cells)
{
    const json_t *seconds = json_at(request, "spec.expirationSeconds");
    const char *decision = count_conditions(request, "Denied") ? "Denied" : count_conditions(request, "Approved") ? "Approved" : "Pending";
    char text[CELL_AGE_BYTES];

    cell_age(ctx, cells, request);
    cell_path(cells, request, "spec.signerName", "<none>");
    cell_path(cells, request, "spec.username", "");
    cell_text(cells, seconds ? cell_duration(json_integer_value(seconds), text) : "<none>");
    cell_format(cells, "%s%s%s", decision, count_conditions(request, "Failed") ? ",Failed" : "",
                *json_str_or(request, "status.certificate", "") ? ",Issued" : "");
}

static const char *const signer_fields[] = { "spec.signerName", NULL };

/* --- ClusterTrustBundle, PodCertificateRequest --- */

static void bundle_cells(struct ctx *ctx, const json_t *bundle, json_t *cells)
{
    (void)ctx;
    cell_path(cells, bundle, "spec.signerName", "<none>");
}

static void bundle_validate_update(struct ctx *ctx, const json_t *bundle, const json_t *old, struct field_errors *errs)
{
    (void)ctx;
    check_immutable(errs, bundle, old, "spec.signerName");
}

static void pod_request_validate_update(struct ctx *ctx, const json_t *request, const json_t *old, struct field_errors *errs)
{
    (void)ctx;
    check_immutable(errs, request, old, "spec");
}

static void pod_request_cells(struct ctx *ctx, const json_t *request, json_t *cells)
{
    static const char *const states[] = { "Issued", "Denied", "Failed" };
    const char *state = "Pending";

    for (size_t i = 0; i < ARRAY_LEN(states); i++)
        if (condition_get(request, states[i]))
            state = states[i];
    cell_path(cells, request, "spec.podName", "");
    cell_path(cells, request, "spec.serviceAccountName", "");
    cell_path(cells, request, "spec.nodeName", "");
    cell_path(cells, request, "spec.signerName", "");
    cell_text(cells, state);
    cell_labels(ctx, cells, json_at(request, "spec.unverifiedUserAnnotations"));
}

static const char *const pod_request_fields[] = { "spec.signerName", "spec.podName", "spec.nodeName", NULL };

const struct kind_ops kinds_certificates[] = {
    { .group = certificates_group, .kind = "CertificateSigningRequest", .prepare_create = request_prepare_create,
      .prepare_update = request_prepare_update, .prepare_status = request_prepare_status, .validate = request_validate,
      .validate_status = request_validate_status, .cells = request_cells, .fields = signer_fields, .unconditional_update = true,
      .no_generation = true },
    { .group = certificates_group, .kind = "ClusterTrustBundle", .validate_update = bundle_validate_update, .cells = bundle_cells,
      .fields = signer_fields, .no_generation = true },
    { .group = certificates_group, .kind = "PodCertificateRequest", .validate_update = pod_request_validate_update,
      .cells = pod_request_cells, .fields = pod_request_fields, .no_generation = true },
    { 0 },
};
