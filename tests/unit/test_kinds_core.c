/* Kinds of the core group: defaults, preparation, checks, rows. */
#include "tests/unit/test.h"

#include "lib/k8s/object.h"
#include "server/schema/kind.h"
#include "tests/unit/kinds_fixture.h"

static const char pod_text[] =
    "{kind: Pod, apiVersion: v1, metadata: {name: web, namespace: default, creationTimestamp: '2026-01-01T00:00:00Z'},"
    " spec: {containers: [{name: web, image: 'nginx', resources: {limits: {cpu: 100m, memory: 10Mi}},"
    " ports: [{containerPort: 80}], livenessProbe: {httpGet: {port: 80}}}], volumes: [{name: a}]}}";

TEST(kinds_pod_gets_upstreams_defaults)
{
    struct kinds f = kinds_open();
    json_t *pod = kinds_new(&f, "", "Pod", pod_text);

    CHECK_STR(json_str_or(pod, "spec.restartPolicy", ""), "Always");
    CHECK_STR(json_str_or(pod, "spec.dnsPolicy", ""), "ClusterFirst");
    CHECK_STR(json_str_or(pod, "spec.schedulerName", ""), "default-scheduler");
    CHECK_INT(json_int_or(pod, "spec.terminationGracePeriodSeconds", 0), 30);
    CHECK(json_is_true(json_at(pod, "spec.enableServiceLinks")));
    CHECK(json_is_object(json_at(pod, "spec.securityContext")));
    const json_t *c = json_array_get(json_at(pod, "spec.containers"), 0);
    CHECK_STR(json_str_or(c, "imagePullPolicy", ""), "Always");
    CHECK_STR(json_str_or(c, "terminationMessagePath", ""), "/dev/termination-log");
    CHECK_STR(json_str_or(c, "resources.requests.cpu", ""), "100m");
    CHECK_STR(json_str_or(c, "livenessProbe.httpGet.path", ""), "/");
    CHECK_INT(json_int_or(c, "livenessProbe.periodSeconds", 0), 10);
    CHECK(json_is_object(json_at(json_array_get(json_at(pod, "spec.volumes"), 0), "emptyDir")));
    CHECK_STR(json_str_or(pod, "status.phase", ""), "Pending");
    CHECK_STR(json_str_or(pod, "status.qosClass", ""), "Guaranteed");
    CHECK_STR(kinds_errors(&f, pod, NULL), "");
    kinds_close(&f);
}

TEST(kinds_pull_policy_depends_on_the_tag)
{
    static const struct {
        const char *image, *policy;
    } cases[] = {
        { "a", "Always" },          { "a:latest", "Always" },       { "a:1", "IfNotPresent" },
        { "r:5000/a", "Always" },   { "r:5000/a:1", "IfNotPresent" }, { "a@sha256:00", "IfNotPresent" },
        { "a:latest@sha256:00", "Always" },
    };
    struct kinds f = kinds_open();

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *pod = kinds_new(&f, "", "Pod",
                                  arena_printf(f.arena, "{kind: Pod, apiVersion: v1, metadata: {name: a}, spec: {containers: [{name: a, image: '%s'}]}}",
                                               cases[i].image));

        CHECK_STR(json_str_or(json_array_get(json_at(pod, "spec.containers"), 0), "imagePullPolicy", ""), cases[i].policy);
    }
    kinds_close(&f);
}

TEST(kinds_pod_grace_is_the_pods_unless_it_never_ran)
{
    struct kinds f = kinds_open();
    json_t *pod = kinds_new(&f, "", "Pod", pod_text);
    const struct kind_ops *ops = kind_ops("", "Pod");

    CHECK_INT(ops->grace(pod, -1), 0);
    json_put(pod, "spec.nodeName", json_string("n"));
    CHECK_INT(ops->grace(pod, -1), 30);
    CHECK_INT(ops->grace(pod, 5), 5);
    CHECK_INT(ops->grace(pod, 0), 0);
    json_put(pod, "status.phase", json_string("Succeeded"));
    CHECK_INT(ops->grace(pod, 5), 0);
    kinds_close(&f);
}

TEST(kinds_bad_pods_are_refused_in_upstreams_words)
{
    static const struct {
        const char *spec, *want;
    } cases[] = {
        { "{}", "spec.containers: Required value" },
        { "{containers: [{name: A, image: a}]}", "spec.containers[0].name: Invalid value: \"A\": a lowercase RFC 1123 label" },
        { "{containers: [{name: a}]}", "spec.containers[0].image: Required value" },
        { "{containers: [{name: a, image: a}, {name: a, image: a}]}", "spec.containers[1].name: Duplicate value: \"a\"" },
        { "{containers: [{name: a, image: a, ports: [{containerPort: 70000}]}]}",
          "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive" },
        { "{containers: [{name: a, image: a, volumeMounts: [{name: v, mountPath: /v}]}]}",
          "spec.containers[0].volumeMounts[0].name: Not found: \"v\"" },
        { "{containers: [{name: a, image: a, resources: {requests: {cpu: 2}, limits: {cpu: 1}}}]}",
          "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1" },
        { "{containers: [{name: a, image: a}], tolerations: [{operator: Equal}]}",
          "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty" },
        { "{containers: [{name: a, image: a, livenessProbe: {}}]}",
          "spec.containers[0].livenessProbe: Required value: must specify a handler type" },
        { "{containers: [{name: a, image: a}], volumes: [{name: v, emptyDir: {}, hostPath: {path: /x}}]}",
          "may not specify more than 1 volume type" },
        { "{containers: [{name: a, image: a}], initContainers: [{name: b, image: a, lifecycle: {preStop: {exec: {command: [a]}}}}]}",
          "spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always" },
        { "{containers: [{name: a, image: a, env: [{name: X, value: v, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}]}",
          "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty" },
        { "{containers: [{name: a, image: a}], dnsPolicy: None}",
          "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None" },
    };
    struct kinds f = kinds_open();

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *pod = kinds_new(&f, "", "Pod", arena_printf(f.arena, "{kind: Pod, apiVersion: v1, metadata: {name: a}, spec: %s}",
                                                              cases[i].spec));
        const char *got = kinds_errors(&f, pod, NULL);

        if (!strstr(got, cases[i].want))
            fprintf(stderr, "case %zu: got %s\n", i, got);
        CHECK(strstr(got, cases[i].want) != NULL);
    }
    kinds_close(&f);
}

TEST(kinds_a_pods_spec_is_mostly_fixed)
{
    struct kinds f = kinds_open();
    json_t *old = kinds_new(&f, "", "Pod", pod_text), *pod = kinds_new(&f, "", "Pod", pod_text);

    json_object_set_new(json_array_get(json_at(pod, "spec.containers"), 0), "image", json_string("nginx:2"));
    CHECK_STR(kinds_errors(&f, pod, old), "");
    json_put(pod, "spec.hostname", json_string("other"));
    CHECK(strstr(kinds_errors(&f, pod, old), "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"));
    kinds_close(&f);
}

TEST(kinds_pod_status_cell)
{
    static const struct {
        const char *more, *want; /* ready, status, restarts */
    } cases[] = {
        { "status: {phase: Pending}", "0/1 Pending 0" },
        { "status: {phase: Running, conditions: [{type: Ready, status: 'True'}], containerStatuses: [{name: a, ready: true, restartCount: 2,"
          " state: {running: {}}, lastState: {terminated: {exitCode: 1, finishedAt: '2026-01-01T00:00:00Z'}}}]}", "1/1 Running 2 (5m ago)" },
        { "status: {phase: Running, containerStatuses: [{name: a, restartCount: 3, state: {waiting: {reason: CrashLoopBackOff}}}]}",
          "0/1 CrashLoopBackOff 3" },
        { "status: {phase: Failed, reason: Evicted}", "0/1 Evicted 0" },
        { "status: {phase: Succeeded, containerStatuses: [{name: a, state: {terminated: {exitCode: 0, reason: Completed}}}]}",
          "0/1 Completed 0" },
        { "status: {phase: Running, containerStatuses: [{name: a, state: {terminated: {exitCode: 3}}}]}", "0/1 ExitCode:3 0" },
        { "status: {phase: Pending, initContainerStatuses: [{name: i, state: {running: {}}}]}", "0/1 Init:0/1 0" },
        { "status: {phase: Pending, initContainerStatuses: [{name: i, restartCount: 1, state: {waiting: {reason: CrashLoopBackOff}}}]}",
          "0/1 Init:CrashLoopBackOff 1" },
        { "status: {phase: Pending, conditions: [{type: PodScheduled, status: 'False', reason: SchedulingGated}]}", "0/1 SchedulingGated 0" },
    };
    struct kinds f = kinds_open();

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *pod = kinds_read(&f, arena_printf(f.arena, "{kind: Pod, apiVersion: v1, metadata: {name: a, creationTimestamp: "
                                                             "'2026-01-01T00:00:00Z'}, spec: {initContainers: [{name: i}], containers: "
                                                             "[{name: a}]}, %s}", cases[i].more));
        const json_t *cells = kinds_cells(&f, "", "Pod", pod);

        CHECK_INT(json_array_size(cells), 9);
        CHECK_STR(arena_printf(f.arena, "%s %s %s", json_string_value(json_array_get(cells, 1)), json_string_value(json_array_get(cells, 2)),
                               json_string_value(json_array_get(cells, 3))),
                  cases[i].want);
        CHECK_STR(json_string_value(json_array_get(cells, 4)), "5m");
    }
    kinds_close(&f);
}

TEST(kinds_service_defaults_and_row)
{
    struct kinds f = kinds_open();
    json_t *s = kinds_new(&f, "", "Service",
                            "{kind: Service, apiVersion: v1, metadata: {name: web, creationTimestamp: '2026-01-01T00:00:00Z'},"
                            " spec: {type: NodePort, selector: {b: '2', a: '1'}, ports: [{port: 80}]}}");

    CHECK_STR(json_str_or(s, "spec.sessionAffinity", ""), "None");
    CHECK_STR(json_str_or(s, "spec.internalTrafficPolicy", ""), "Cluster");
    CHECK_STR(json_str_or(s, "spec.externalTrafficPolicy", ""), "Cluster");
    json_t *port = json_array_get(json_at(s, "spec.ports"), 0);
    CHECK_INT(json_int_or(port, "targetPort", 0), 80);
    CHECK_STR(json_str_or(port, "protocol", ""), "TCP");
    CHECK_STR(kinds_errors(&f, s, NULL), "");
    json_object_set_new(port, "nodePort", json_integer(30080));
    json_put(s, "spec.clusterIPs", json_pack("[s]", "10.43.0.9"));
    const json_t *cells = kinds_cells(&f, "", "Service", s);
    CHECK_INT(json_array_size(cells), 7);
    CHECK_STR(json_string_value(json_array_get(cells, 2)), "10.43.0.9");
    CHECK_STR(json_string_value(json_array_get(cells, 3)), "<none>");
    CHECK_STR(json_string_value(json_array_get(cells, 4)), "80:30080/TCP");
    CHECK_STR(json_string_value(json_array_get(cells, 6)), "a=1,b=2");
    kinds_close(&f);
}

TEST(kinds_namespaces_are_held_by_their_finalizer)
{
    struct kinds f = kinds_open();
    json_t *n = kinds_new(&f, "", "Namespace", "{kind: Namespace, apiVersion: v1, metadata: {name: x}}");
    const struct kind_ops *ops = kind_ops("", "Namespace");

    CHECK_STR(json_str_or(n, "status.phase", ""), "Active");
    CHECK_STR(json_string_value(json_object_get(json_at(n, "metadata.labels"), "kubernetes.io/metadata.name")), "x");
    CHECK(ops->held(n));
    ops->terminating(n);
    CHECK_STR(json_str_or(n, "status.phase", ""), "Terminating");
    kinds_close(&f);
}

TEST(kinds_secrets_take_text_and_check_their_type)
{
    struct kinds f = kinds_open();
    json_t *s = kinds_new(&f, "", "Secret", "{kind: Secret, apiVersion: v1, metadata: {name: x}, stringData: {a: hello}}");

    CHECK_STR(json_str_or(s, "type", ""), "Opaque");
    CHECK_STR(json_str_or(s, "data.a", ""), "aGVsbG8=");
    CHECK(!json_object_get(s, "stringData"));
    json_object_set_new(s, "type", json_string("kubernetes.io/tls"));
    CHECK_STR(kinds_errors(&f, s, NULL), "[data[tls.crt]: Required value, data[tls.key]: Required value]");
    json_object_set_new(s, "type", json_string("kubernetes.io/dockerconfigjson"));
    json_put(s, "data", json_object());
    json_object_set_new(json_at(s, "data"), ".dockerconfigjson", json_string("e30="));
    CHECK_STR(kinds_errors(&f, s, NULL), "");
    kinds_close(&f);
}

TEST(kinds_frozen_config_maps_do_not_change)
{
    struct kinds f = kinds_open();
    json_t *old = kinds_new(&f, "", "ConfigMap", "{kind: ConfigMap, apiVersion: v1, metadata: {name: x}, data: {a: b}, immutable: true}");
    json_t *now = kinds_new(&f, "", "ConfigMap", "{kind: ConfigMap, apiVersion: v1, metadata: {name: x}, data: {a: c}, immutable: true}");

    CHECK_STR(kinds_errors(&f, now, old), "data: Forbidden: field is immutable when `immutable` is set");
    now = kinds_new(&f, "", "ConfigMap", "{kind: ConfigMap, apiVersion: v1, metadata: {name: x}, data: {'a/b': c}}");
    CHECK(strstr(kinds_errors(&f, now, NULL), "data[a/b]: Invalid value: \"a/b\": a valid config key must consist of"));
    kinds_close(&f);
}

TEST(kinds_events_of_both_groups_are_one)
{
    struct kinds f = kinds_open();
    json_t *e = kinds_read(&f, "{kind: Event, apiVersion: events.k8s.io/v1, metadata: {name: e, namespace: default}, regarding: {kind: Pod,"
                                 " name: p, namespace: default}, note: hi, reason: R, type: Normal, reportingController: c,"
                                 " reportingInstance: i, action: A, eventTime: '2026-01-01T00:00:00.000000Z'}");
    const struct kind_conversion *c = kind_conversion("events.k8s.io", "v1", "Event");

    c->to_storage(e);
    CHECK_STR(json_str_or(e, "apiVersion", ""), "v1");
    CHECK_STR(json_str_or(e, "involvedObject.name", ""), "p");
    CHECK_STR(json_str_or(e, "message", ""), "hi");
    const json_t *cells = kinds_cells(&f, "", "Event", e);
    CHECK_INT(json_array_size(cells), 10);
    CHECK_STR(json_string_value(json_array_get(cells, 0)), "5m");
    CHECK_STR(json_string_value(json_array_get(cells, 3)), "pod/p");
    CHECK_STR(json_string_value(json_array_get(cells, 5)), "c, i");
    CHECK_STR(json_string_value(json_array_get(cells, 9)), "e");
    c->from_storage(e);
    CHECK_STR(json_str_or(e, "regarding.name", ""), "p");
    CHECK_STR(json_str_or(e, "note", ""), "hi");
    CHECK(!json_object_get(e, "message"));
    CHECK_STR(kind_ops("events.k8s.io", "Event")->field_stored("regarding.name"), "involvedObject.name");
    kinds_close(&f);
}

TEST(kinds_nodes_show_status_and_roles)
{
    struct kinds f = kinds_open();
    json_t *n = kinds_read(&f, "{kind: Node, apiVersion: v1, metadata: {name: n, creationTimestamp: '2026-01-01T00:00:00Z', labels:"
                                 " {node-role.kubernetes.io/worker: '', node-role.kubernetes.io/control-plane: 'true'}}, spec: {unschedulable: true},"
                                 " status: {conditions: [{type: Ready, status: 'True'}], addresses: [{type: InternalIP, address: 10.0.0.1}],"
                                 " nodeInfo: {kubeletVersion: v1, kernelVersion: '6.1', architecture: amd64}}}");
    const json_t *cells = kinds_cells(&f, "", "Node", n);

    CHECK_INT(json_array_size(cells), 10);
    CHECK_STR(json_string_value(json_array_get(cells, 1)), "Ready,SchedulingDisabled");
    CHECK_STR(json_string_value(json_array_get(cells, 2)), "control-plane,worker");
    CHECK_STR(json_string_value(json_array_get(cells, 5)), "10.0.0.1");
    CHECK_STR(json_string_value(json_array_get(cells, 8)), "6.1 (amd64)");
    kinds_close(&f);
}
