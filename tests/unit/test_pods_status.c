#include "agent/pods/status.h"

#include "lib/mem.h"
#include "test.h"

static json_t *tree(const char *text)
{
    json_t *v = NULL;
    struct err err = { 0 };

    if (json_read(text, strlen(text), NULL, NULL, &v, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    return v;
}

static const char *cond(const json_t *status, const char *type, const char *field)
{
    size_t i = 0;
    json_t *c = NULL;

    json_array_foreach(json_at(status, "conditions"), i, c)
        if (strcmp(json_str_or(c, "type", ""), type) == 0)
            return json_str_or(c, field, "");
    return "absent";
}

static const char pod_text[] = "{\"metadata\":{\"name\":\"p\",\"uid\":\"u\",\"generation\":3},\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":\"busybox\"},"
                               "{\"name\":\"b\",\"image\":\"busybox\",\"volumeMounts\":[{\"name\":\"v\",\"mountPath\":\"/v\",\"readOnly\":true}]}]}}";
static const char *const ips[] = { "10.0.0.1", NULL };

struct fixture {
    json_t *pod;
    struct status_run runs[2];
    struct status_unit units[2];
    struct status_in in;
    struct status_memory memory;
};

static void begin(struct fixture *f)
{
    *f = (struct fixture){ .pod = tree(pod_text) };
    for (size_t i = 0; i < 2; i++) {
        const json_t *c = json_array_get(json_at(f->pod, "spec.containers"), i);

        f->units[i] = (struct status_unit){ .name = json_str(c, "name"), .kind = UNIT_MAIN, .spec = c };
        f->runs[i] = (struct status_run){ .id = "0123", .seen = SEEN_RUNNING, .started_us = 1000000 };
    }
    f->in = (struct status_in){ .pod = f->pod, .units = f->units, .n_units = 2, .host_ips = ips, .pod_ip = "", .start_us = 1000000,
                                .now_us = 5000000 };
    status_remember(&f->memory, f->pod);
}

TEST(pods_status_waiting_for_containers)
{
    struct fixture f;

    begin(&f);
    f.units[0].wait_reason = "ErrImagePull";
    f.units[0].wait_message = "not found";
    AUTO(json) json_t *s = status_build(&f.in, &f.memory);
    CHECK_STR(json_str(s, "phase"), "Pending");
    CHECK_STR(json_str(s, "hostIP"), "10.0.0.1");
    CHECK(!json_at(s, "podIP"));
    CHECK_INT(json_int_or(s, "observedGeneration", 0), 3);
    const json_t *a = json_array_get(json_at(s, "containerStatuses"), 0), *b = json_array_get(json_at(s, "containerStatuses"), 1);
    CHECK_STR(json_str(a, "state.waiting.reason"), "ErrImagePull");
    CHECK_STR(json_str(a, "state.waiting.message"), "not found");
    CHECK_STR(json_str(b, "state.waiting.reason"), "ContainerCreating");
    CHECK(!json_bool_or(a, "started", true));
    CHECK_STR(cond(s, "Ready", "status"), "False");
    CHECK_STR(cond(s, "Ready", "message"), "containers with unready status: [a b]");
    CHECK_STR(cond(s, "Initialized", "status"), "True");
    CHECK_STR(cond(s, "PodReadyToStartContainers", "status"), "False");
    CHECK_STR(cond(s, "PodScheduled", "status"), "True");
    json_decref(f.pod);
}

TEST(pods_status_running_and_ready_keeps_transition_times)
{
    struct fixture f;

    begin(&f);
    f.in.sandbox = true;
    f.in.pod_ip = "10.42.0.5";
    for (size_t i = 0; i < 2; i++) {
        f.units[i].now = &f.runs[i];
        f.units[i].started = true;
    }
    f.units[0].ready = true;
    AUTO(json) json_t *s = status_build(&f.in, &f.memory);
    CHECK_STR(json_str(s, "phase"), "Running");
    CHECK_STR(cond(s, "ContainersReady", "message"), "containers with unready status: [b]");
    f.units[1].ready = true;
    f.in.now_us = 9000000;
    AUTO(json) json_t *r = status_build(&f.in, &f.memory);
    CHECK_STR(cond(r, "Ready", "status"), "True");
    CHECK_STR(cond(r, "Ready", "lastTransitionTime"), "1970-01-01T00:00:09Z");
    CHECK_STR(cond(r, "PodReadyToStartContainers", "lastTransitionTime"), "1970-01-01T00:00:05Z");
    CHECK_STR(json_str(json_array_get(json_at(r, "podIPs"), 0), "ip"), "10.42.0.5");
    const json_t *b = json_array_get(json_at(r, "containerStatuses"), 1);
    CHECK_STR(json_str(b, "containerID"), "rancherd://0123");
    CHECK_STR(json_str(b, "state.running.startedAt"), "1970-01-01T00:00:01Z");
    CHECK_STR(json_str(json_array_get(json_at(b, "volumeMounts"), 0), "recursiveReadOnly"), "Disabled");
    json_decref(f.pod);
}

TEST(pods_status_crash_loop_shows_the_last_end)
{
    struct fixture f;
    char message[] = "boom";

    begin(&f);
    f.runs[0] = (struct status_run){ .id = "ab", .seen = SEEN_EXITED, .exit_code = 137, .oom_killed = true, .started_us = 1000000,
                                     .finished_us = 2000000, .message = message };
    f.units[0].now = &f.runs[0];
    f.units[0].restart = true;
    f.units[0].restart_count = 4;
    f.units[1].now = &f.runs[1];
    AUTO(json) json_t *s = status_build(&f.in, &f.memory);
    const json_t *a = json_array_get(json_at(s, "containerStatuses"), 0);
    CHECK_STR(json_str(a, "state.terminated.reason"), "OOMKilled"); /* before it backs off */
    f.units[0].wait_reason = "CrashLoopBackOff";
    AUTO(json) json_t *t = status_build(&f.in, &f.memory);
    a = json_array_get(json_at(t, "containerStatuses"), 0);
    CHECK_STR(json_str(a, "state.waiting.reason"), "CrashLoopBackOff");
    CHECK_STR(json_str(a, "lastState.terminated.message"), "boom");
    CHECK_INT(json_int_or(a, "lastState.terminated.exitCode", 0), 137);
    CHECK_INT(json_int_or(a, "restartCount", 0), 4);
    CHECK_STR(json_str(t, "phase"), "Running");
    json_decref(f.pod);
}

TEST(pods_status_final_phases)
{
    struct fixture f;

    begin(&f);
    for (size_t i = 0; i < 2; i++) {
        f.runs[i].seen = SEEN_EXITED;
        f.units[i].now = &f.runs[i];
    }
    f.in.finished = true;
    AUTO(json) json_t *s = status_build(&f.in, &f.memory);
    CHECK_STR(json_str(s, "phase"), "Succeeded");
    CHECK_STR(cond(s, "Ready", "reason"), "PodCompleted");
    CHECK_STR(cond(s, "Initialized", "reason"), "PodCompleted");
    f.runs[1].exit_code = 1;
    AUTO(json) json_t *t = status_build(&f.in, &f.memory);
    CHECK_STR(json_str(t, "phase"), "Failed");
    CHECK_STR(cond(t, "ContainersReady", "reason"), "PodFailed");
    f.in.fail_reason = "DeadlineExceeded";
    f.in.fail_message = "too long";
    AUTO(json) json_t *u = status_build(&f.in, &f.memory);
    CHECK_STR(json_str(u, "reason"), "DeadlineExceeded");
    json_decref(f.pod);
}

TEST(pods_status_patch_names_what_fades)
{
    AUTO(json) json_t *pod = tree("{\"metadata\":{\"uid\":\"u\"},\"status\":{\"message\":\"m\",\"podIPs\":[{\"ip\":\"10.42.0.1\"}],"
                                  "\"conditions\":[{\"type\":\"Ready\",\"status\":\"False\",\"reason\":\"ContainersNotReady\"}]}}");
    AUTO(json) json_t *status = tree("{\"podIPs\":[{\"ip\":\"10.42.0.2\"}],\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}]}");
    AUTO(json) json_t *patch = status_patch(pod, status);
    AUTO(buf) struct buf text = { 0 };

    json_write(patch, &text);
    CHECK_STR(buf_at(&text), "{\"metadata\":{\"uid\":\"u\"},\"status\":{\"podIPs\":[{\"ip\":\"10.42.0.2\"},{\"$patch\":\"delete\",\"ip\":\"10.42.0.1\"}],"
                             "\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\",\"reason\":null}],\"message\":null}}");
}
