/* CertificateApproval, CertificateSigning, CertificateSubjectRestriction. */
#include "server/admission/step.h"

#include "lib/crypto.h"
#include "lib/k8s/meta.h"
#include "server/auth/authz.h"

#include <string.h>

static const char group[] = "certificates.k8s.io", client_signer[] = "kubernetes.io/kube-apiserver-client";

/* May act for this signer by name, or for all of its domain. */
static bool may(struct ctx *ctx, struct admission *a, const char *verb, const char *signer)
{
    const char *slash = strchr(signer, '/');
    struct authz_request q = {
        .user = ctx->user, .verb = verb, .group = group, .version = "*", .resource = "signers", .subresource = "", .name = signer, .ns = "",
    };
    struct err denied;

    if (!ctx->user)
        return true; /* the program itself */
    if (!a->o.authz)
        return false;
    if (authz_check(ctx, a->o.authz, &q, NULL, &denied) == 0)
        return true;
    q.name = arena_printf(ctx->arena, "%.*s/*", (int)(slash ? slash - signer : (ptrdiff_t)strlen(signer)), signer);
    return authz_check(ctx, a->o.authz, &q, NULL, &denied) == 0;
}

static bool is_request(const struct admission_request *r, const char *sub)
{
    return (r->verb == ADMIT_CREATE || r->verb == ADMIT_UPDATE) && admission_is(r, group, "certificatesigningrequests", sub);
}

static int approval(struct ctx *ctx, struct admission *a, const struct admission_request *r, struct err *err)
{
    const char *signer = json_str_or(r->old, "spec.signerName", "");

    if (!is_request(r, "approval") || may(ctx, a, "approve", signer))
        return 0;
    return admission_forbid(ctx, r, err, "user not permitted to approve requests with signerName \"%s\"", signer);
}

static bool same(const json_t *a, const json_t *b, const char *path)
{
    const json_t *x = json_at(a, path), *y = json_at(b, path);

    return (!x && !y) || (json_is_array(x) && json_array_size(x) == 0 && !y) || (json_is_array(y) && json_array_size(y) == 0 && !x) ||
           (x && y && json_equal(x, y));
}

static int signing(struct ctx *ctx, struct admission *a, const struct admission_request *r, struct err *err)
{
    const char *signer = json_str_or(r->old, "spec.signerName", "");

    if (!is_request(r, "status") || (same(r->object, r->old, "status.certificate") && same(r->object, r->old, "status.conditions")) ||
        may(ctx, a, "sign", signer))
        return 0;
    return admission_forbid(ctx, r, err, "user not permitted to sign requests with signerName \"%s\"", signer);
}

static int subject(struct ctx *ctx, struct admission *a, const struct admission_request *r, struct err *err)
{
    const char *text = json_str_or(r->object, "spec.request", "");
    AUTO(buf) struct buf pem = { 0 };
    struct cert_info info = { 0 };
    struct err bad;
    bool masters = false;

    (void)a;
    if (r->verb != ADMIT_CREATE || !is_request(r, "") || strcmp(json_str_or(r->object, "spec.signerName", ""), client_signer) != 0)
        return 0;
    if (base64_read(text, strlen(text), &pem) < 0)
        return admission_forbid(ctx, r, err, "failed to parse CSR: PEM block type must be CERTIFICATE REQUEST");
    if (csr_info(buf_at(&pem), buf_len(&pem), &info, &bad) < 0)
        return admission_forbid(ctx, r, err, "failed to parse CSR: %s", bad.msg);
    for (char **o = info.organizations; o && *o; o++)
        masters |= strcmp(*o, "system:masters") == 0;
    cert_info_clear(&info);
    if (masters)
        return admission_forbid(ctx, r, err, "use of %s signer with system:masters group is not allowed", client_signer);
    return 0;
}

const struct admission_step admission_certificate_approval = { "CertificateApproval", NULL, approval };
const struct admission_step admission_certificate_signing = { "CertificateSigning", NULL, signing };
const struct admission_step admission_certificate_subject = { "CertificateSubjectRestriction", NULL, subject };
