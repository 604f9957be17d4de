/* Kinds of the groups beside core. */
#include "tests/unit/test.h"

#include "lib/k8s/meta.h"
#include "server/schema/kind.h"
#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/cron_check.h"
#include "tests/unit/kinds_fixture.h"

TEST(kinds_ages_are_short)
{
    static const struct {
        int64_t s;
        const char *want;
    } cases[] = {
        { -5, "<invalid>" }, { -1, "0s" },      { 0, "0s" },          { 119, "119s" },       { 120, "2m" },       { 125, "2m5s" },
        { 600, "10m" },      { 10799, "179m" }, { 10800, "3h" },      { 11000, "3h3m" },     { 30000, "8h" },     { 172799, "47h" },
        { 172800, "2d" },    { 180000, "2d2h" }, { 8 * 86400, "8d" }, { 730 * 86400, "2y" }, { 735 * 86400, "2y5d" }, { 3650 * 86400, "10y" },
    };
    char text[CELL_AGE_BYTES];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        CHECK_STR(cell_duration(cases[i].s, text), cases[i].want);
}

TEST(kinds_deployment_defaults_and_checks)
{
    struct kinds f = kinds_open();
    static const char text[] = "{kind: Deployment, apiVersion: apps/v1, metadata: {name: d, namespace: default}, spec: {selector: {matchLabels: "
                               "{a: b}}, template: {metadata: {labels: {a: %s}}, spec: {containers: [{name: c, image: i}]}}}}";
    json_t *d = kinds_new(&f, "apps", "Deployment", arena_printf(f.arena, text, "b"));

    CHECK_INT(json_int_or(d, "spec.replicas", 0), 1);
    CHECK_INT(json_int_or(d, "spec.progressDeadlineSeconds", 0), 600);
    CHECK_INT(json_int_or(d, "spec.revisionHistoryLimit", 0), 10);
    CHECK_STR(json_str_or(d, "spec.strategy.type", ""), "RollingUpdate");
    CHECK_STR(json_str_or(d, "spec.strategy.rollingUpdate.maxSurge", ""), "25%");
    CHECK_STR(json_str_or(d, "spec.template.spec.restartPolicy", ""), "Always");
    CHECK(!json_at(d, "spec.template.spec.enableServiceLinks"));
    CHECK_STR(kinds_errors(&f, d, NULL), "");

    json_t *bad = kinds_new(&f, "apps", "Deployment", arena_printf(f.arena, text, "c"));
    CHECK_STR(kinds_errors(&f, bad, NULL),
              "spec.template.metadata.labels: Invalid value: {\"a\":\"c\"}: `selector` does not match template `labels`");
    json_t *other = kinds_new(&f, "apps", "Deployment", arena_printf(f.arena, text, "b"));
    json_put(other, "spec.selector.matchLabels", json_pack("{s:s}", "x", "y"));
    json_put(other, "spec.template.metadata.labels", json_pack("{s:s}", "x", "y"));
    CHECK_STR(kinds_errors(&f, other, d), "spec.selector: Invalid value: {\"matchLabels\":{\"x\":\"y\"}}: field is immutable");
    json_put(d, "spec.template.spec.restartPolicy", json_string("Never"));
    CHECK_STR(kinds_errors(&f, d, NULL), "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"");
    kinds_close(&f);
}

TEST(kinds_workload_rows)
{
    struct kinds f = kinds_open();
    json_t *d = kinds_read(&f, "{kind: Deployment, apiVersion: apps/v1, metadata: {name: d, creationTimestamp: '2026-01-01T00:00:00Z'}, spec: "
                               "{replicas: 3, selector: {matchLabels: {a: b}}, template: {spec: {containers: [{name: x, image: i}, {name: z, image: j}]}}},"
                               " status: {readyReplicas: 2, updatedReplicas: 3, availableReplicas: 2}}");
    const json_t *cells = kinds_cells(&f, "apps", "Deployment", d);
    AUTO(buf) struct buf text = { 0 };

    json_write(cells, &text);
    CHECK_STR(buf_at(&text), "[\"d\",\"2/3\",3,2,\"5m\",\"x,z\",\"i,j\",\"a=b\"]");
    kinds_close(&f);
}

TEST(kinds_jobs_select_their_pods)
{
    struct kinds f = kinds_open();
    json_t *job = kinds_new(&f, "batch", "Job", "{kind: Job, apiVersion: batch/v1, metadata: {name: j, uid: u-1}, spec: {template: {spec: "
                                                "{restartPolicy: Never, containers: [{name: c, image: i}]}}}}");
    const json_t *labels = json_at(job, "spec.template.metadata.labels");

    CHECK_INT(json_int_or(job, "spec.completions", 0), 1);
    CHECK_INT(json_int_or(job, "spec.backoffLimit", 0), 6);
    CHECK_STR(json_str_or(job, "spec.completionMode", ""), "NonIndexed");
    CHECK_STR(json_string_value(json_object_get(labels, "batch.kubernetes.io/job-name")), "j");
    CHECK_STR(json_string_value(json_object_get(json_at(job, "spec.selector.matchLabels"), "batch.kubernetes.io/controller-uid")), "u-1");
    CHECK(json_equal(labels, json_at(job, "metadata.labels")));
    CHECK_STR(kinds_errors(&f, job, NULL), "");
    struct err err;
    CHECK(kind_ops("batch", "Job")->begin(&f.ctx, NULL, job, NULL, false, &err) == 0);
    json_put(job, "spec.template.spec.restartPolicy", json_string("Always"));
    CHECK(strstr(kinds_errors(&f, job, NULL), "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""));
    kinds_close(&f);
}

TEST(kinds_cron_schedules)
{
    static const struct {
        const char *text, *why; /* NULL: fine */
    } cases[] = {
        { "* * * * *", NULL },          { "*/5 0-23/2 1,15 jan-mar mon", NULL }, { "@hourly", NULL }, { "@every 1h30m", NULL },
        { "? * * * *", NULL },          { "TZ=UTC 0 0 * * *", NULL },
        { "* * * *", "expected exactly 5 fields, found 4: [* * * *]" },
        { "60 * * * *", "end of range (60) above maximum (59): 60" },
        { "5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1" },
        { "*/0 * * * *", "step of range should be a positive number: */0" },
        { "x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax" },
        { "@never", "unrecognized descriptor: @never" },
        { "", "empty spec string" },
        { "1-2-3 * * * *", "too many hyphens: 1-2-3" },
    };
    struct arena *a = arena_new();

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *why = cron_invalid(a, cases[i].text);

        CHECK_STR(why ? why : "", cases[i].why ? cases[i].why : "");
    }
    arena_free(a);
}

TEST(kinds_autoscalers_keep_all_through_version_1)
{
    struct kinds f = kinds_open();
    json_t *hpa = kinds_new(&f, "autoscaling", "HorizontalPodAutoscaler",
                            "{kind: HorizontalPodAutoscaler, apiVersion: autoscaling/v2, metadata: {name: h}, spec: {maxReplicas: 5, scaleTargetRef: "
                            "{kind: Deployment, name: d}, behavior: {scaleDown: {stabilizationWindowSeconds: 5}}, metrics: [{type: Resource, resource: "
                            "{name: cpu, target: {type: Utilization, averageUtilization: 50}}}, {type: Pods, pods: {metric: {name: rps}, target: {type: "
                            "AverageValue, averageValue: '10'}}}]}}");
    const struct kind_conversion *c = kind_conversion("autoscaling", "v1", "HorizontalPodAutoscaler");
    AUTO(json) json_t *before = json_deep_copy(hpa);

    CHECK_STR(kinds_errors(&f, hpa, NULL), "");
    const json_t *cells = kinds_cells(&f, "autoscaling", "HorizontalPodAutoscaler", hpa);
    CHECK_STR(json_string_value(json_array_get(cells, 1)), "Deployment/d");
    CHECK_STR(json_string_value(json_array_get(cells, 2)), "cpu: <unknown>/50%, <unknown>/10");
    c->from_storage(hpa);
    CHECK_STR(json_str_or(hpa, "apiVersion", ""), "autoscaling/v1");
    CHECK_INT(json_int_or(hpa, "spec.targetCPUUtilizationPercentage", 0), 50);
    CHECK(meta_annotation(hpa, "autoscaling.alpha.kubernetes.io/metrics") != NULL);
    CHECK(!json_at(hpa, "spec.metrics") && !json_at(hpa, "spec.behavior"));
    c->to_storage(hpa);
    CHECK(json_equal(json_at(hpa, "spec.behavior"), json_at(before, "spec.behavior")));
    /* the processor's metric comes last, as upstream has it */
    CHECK(json_equal(json_array_get(json_at(hpa, "spec.metrics"), 0), json_array_get(json_at(before, "spec.metrics"), 1)));
    CHECK(json_equal(json_array_get(json_at(hpa, "spec.metrics"), 1), json_array_get(json_at(before, "spec.metrics"), 0)));
    CHECK(!json_at(hpa, "metadata.annotations"));
    kinds_close(&f);
}

TEST(kinds_bindings_get_their_groups)
{
    struct kinds f = kinds_open();
    json_t *b = kinds_new(&f, "rbac.authorization.k8s.io", "ClusterRoleBinding",
                          "{kind: ClusterRoleBinding, apiVersion: rbac.authorization.k8s.io/v1, metadata: {name: 'system:x'}, roleRef: {kind: "
                          "ClusterRole, name: admin}, subjects: [{kind: User, name: u}, {kind: ServiceAccount, name: s, namespace: ns}]}");

    CHECK_STR(json_str_or(b, "roleRef.apiGroup", ""), "rbac.authorization.k8s.io");
    CHECK_STR(json_str_or(json_array_get(json_object_get(b, "subjects"), 0), "apiGroup", ""), "rbac.authorization.k8s.io");
    CHECK(!json_object_get(json_array_get(json_object_get(b, "subjects"), 1), "apiGroup"));
    CHECK_STR(kinds_errors(&f, b, NULL), "");
    CHECK(kind_ops("rbac.authorization.k8s.io", "ClusterRoleBinding")->name_invalid("system:x") == NULL);
    const json_t *cells = kinds_cells(&f, "rbac.authorization.k8s.io", "ClusterRoleBinding", b);
    CHECK_STR(json_string_value(json_array_get(cells, 1)), "ClusterRole/admin");
    CHECK_STR(json_string_value(json_array_get(cells, 5)), "ns/s");
    json_put(b, "roleRef.kind", json_string("Role"));
    CHECK_STR(kinds_errors(&f, b, NULL), "roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\"");
    kinds_close(&f);
}

TEST(kinds_certificate_requests_name_their_maker)
{
    struct kinds f = kinds_open();
    const char *groups[] = { "g1", "g2" };
    struct user user = { .name = "ann", .uid = "", .groups = groups, .n_groups = 2 };

    f.ctx.user = &user;
    json_t *r = kinds_new(&f, "certificates.k8s.io", "CertificateSigningRequest",
                          "{kind: CertificateSigningRequest, apiVersion: certificates.k8s.io/v1, metadata: {name: r}, spec: {request: eA==, signerName: "
                          "kubernetes.io/kubelet-serving, username: mallory, usages: [server auth]}}");
    CHECK_STR(json_str_or(r, "spec.username", ""), "ann");
    CHECK_INT(json_array_size(json_at(r, "spec.groups")), 2);
    CHECK(strstr(kinds_errors(&f, r, NULL), "spec.request: Invalid value: \"eA==\": PEM block type must be CERTIFICATE REQUEST"));
    json_put(r, "spec.usages", json_pack("[s]", "flying"));
    CHECK(strstr(kinds_errors(&f, r, NULL), "spec.usages[0]: Unsupported value: \"flying\": supported values: \"any\""));
    kinds_close(&f);
}

TEST(kinds_ingress_and_policies)
{
    struct kinds f = kinds_open();
    json_t *i = kinds_new(&f, "networking.k8s.io", "Ingress", "{kind: Ingress, apiVersion: networking.k8s.io/v1, metadata: {name: i}, spec: {rules: "
                                                              "[{host: a.example.com, http: {paths: [{path: x, pathType: Prefix, backend: {service: {name: s}}}]}}]}}");
    const char *errors = kinds_errors(&f, i, NULL);

    CHECK(strstr(errors, "spec.rules[0].http.paths[0].path: Invalid value: \"x\": must be an absolute path"));
    CHECK(strstr(errors, "spec.rules[0].http.paths[0].backend: Required value: port name or number is required"));
    json_t *p = kinds_new(&f, "networking.k8s.io", "NetworkPolicy", "{kind: NetworkPolicy, apiVersion: networking.k8s.io/v1, metadata: {name: p}, spec: "
                                                                    "{podSelector: {}, egress: [{ports: [{port: 53}]}]}}");
    CHECK_INT(json_array_size(json_at(p, "spec.policyTypes")), 2);
    CHECK_STR(kinds_errors(&f, p, NULL), "");
    kinds_close(&f);
}

TEST(kinds_definitions_name_themselves)
{
    struct kinds f = kinds_open();
    json_t *d = kinds_new(&f, "apiextensions.k8s.io", "CustomResourceDefinition",
                          "{kind: CustomResourceDefinition, apiVersion: apiextensions.k8s.io/v1, metadata: {name: widgets.example.com}, spec: {group: "
                          "example.com, scope: Namespaced, names: {plural: widgets, kind: Widget}, versions: [{name: v1, served: true, storage: true, "
                          "schema: {openAPIV3Schema: {type: object}}}]}}");

    CHECK_STR(json_str_or(d, "spec.names.singular", ""), "widget");
    CHECK_STR(json_str_or(d, "spec.names.listKind", ""), "WidgetList");
    CHECK_STR(json_string_value(json_array_get(json_at(d, "status.storedVersions"), 0)), "v1");
    CHECK_STR(kinds_errors(&f, d, NULL), "");
    const json_t *cells = kinds_cells(&f, "apiextensions.k8s.io", "CustomResourceDefinition", d);
    CHECK_STR(json_string_value(json_array_get(cells, 2)), "v1(storage)");
    kinds_close(&f);
}
