#include "agent/volumes/tree.h"
#include "agent/volumes/volumes.h"

#include "lib/bytes.h"
#include "lib/crypto.h"
#include "lib/file.h"
#include "lib/map.h"
#include "lib/mem.h"
#include "test.h"
#include "toy_api.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

/* A world in a mount namespace of its own on a tmpfs: the end of the process cleans up. */
struct world {
    struct toy_api api;
    struct client *client;
    struct volumes *v;
    struct ctx ctx;
    struct clock clock;
    int64_t wall_us;
};

static int64_t world_wall(void *arg)
{
    return ((struct world *)arg)->wall_us;
}

static int64_t world_mono(void *arg)
{
    (void)arg;
    return clock_mono_ms(&clock_system);
}

static json_t *world_allocatable(void *arg)
{
    (void)arg;
    return toy_json("{'cpu':'2','memory':'64Mi'}");
}

#define BASE "/tmp/rancherd-volumes-test"

static bool private_mounts(void)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0) {
        printf("# skipped: needs root for mounts\n");
        return false;
    }
    CHECK(!mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    CHECK(!mkdir(BASE, 0755) || errno == EEXIST);
    CHECK(!mount("tmpfs", BASE, "tmpfs", 0, NULL));
    return true;
}

static void world_open(struct world *w)
{
    struct err err = { 0 };

    *w = (struct world){ .wall_us = 1767323045LL * 1000000 };
    toy_api_init(&w->api);
    w->client = toy_api_client(&w->api);
    w->clock = (struct clock){ .arg = w, .wall_us = world_wall, .mono_ms = world_mono };
    w->ctx = ctx_background(arena_new());
    struct volumes_options o = { .data_dir = BASE "/agent", .client = w->client, .clock = &w->clock, .allocatable = world_allocatable };
    CHECK_INT(volumes_open(&o, &w->v, &err), 0);
}

static void world_close(struct world *w)
{
    volumes_close(w->v);
    arena_free(w->ctx.arena);
    client_free(w->client);
    toy_api_clear(&w->api);
}

static json_t *pod_with(const char *volumes, const char *more)
{
    AUTO_FREE char *text = mem_printf("{'metadata':{'name':'web','namespace':'shop','uid':'u-1','labels':{'b':'2','a':'x\\\"y'},"
                                      "'annotations':{'Big.io/K':'v'}},'spec':{'nodeName':'n1','serviceAccountName':'default','volumes':[%s]%s}}",
                                      volumes, more);
    return toy_json(text);
}

static int64_t setup(struct world *w, const json_t *pod)
{
    struct err err = { 0 };
    int64_t again = -2;

    if (volumes_setup(&w->ctx, w->v, pod, &again, &err) < 0) {
        fprintf(stderr, "setup: %s\n", err.msg);
        exit(1);
    }
    return again;
}

static char *path_of(struct world *w, const json_t *pod, const char *volume, const char *sub)
{
    struct volume_use use = { .volume = volume, .sub_path = sub, .container = "c" };
    struct err err = { 0 };
    char *path = NULL;

    if (volumes_path(&w->ctx, w->v, pod, &use, &path, &err) < 0) {
        fprintf(stderr, "path: %s\n", err.msg);
        exit(1);
    }
    return path;
}

/* Content of dir/name; NULL: none. */
static char *text_at(const char *dir, const char *name)
{
    AUTO_FREE char *path = name ? mem_printf("%s/%s", dir, name) : mem_strdup(dir);
    struct err err = { 0 };
    char *text = NULL;
    size_t n;

    return file_read(AT_FDCWD, path, 1 << 20, &text, &n, &err) < 0 ? NULL : text;
}

static void check_text(const char *dir, const char *name, const char *want)
{
    AUTO_FREE char *text = text_at(dir, name);

    if (!text) {
        fprintf(stderr, "%s/%s is not there\n", dir, name ? name : "");
        exit(1);
    }
    CHECK_STR(text, want);
}

static mode_t mode_at(const char *dir, const char *name)
{
    AUTO_FREE char *path = mem_printf("%s/%s", dir, name);
    struct stat st;

    CHECK(!stat(path, &st));
    return st.st_mode & 07777;
}

static char *link_at(const char *dir, const char *name)
{
    AUTO_FREE char *path = mem_printf("%s/%s", dir, name);
    char to[256] = "";
    ssize_t n = readlink(path, to, sizeof(to) - 1);

    return n < 0 ? NULL : mem_strdup(to);
}

#define CM "GET /api/v1/namespaces/shop/configmaps/cm"

TEST(volumes_config_map_changes_whole)
{
    struct world w;

    if (!private_mounts())
        return;
    world_open(&w);
    AUTO(json) json_t *pod = pod_with("{'name':'v','configMap':{'name':'cm','defaultMode':416}}", "");
    toy_api_set(&w.api, CM, "{'data':{'a':'one','gone':'x'},'binaryData':{'b':'AAE='}}");
    CHECK_INT(setup(&w, pod), -1);
    AUTO_FREE char *dir = path_of(&w, pod, "v", NULL);
    check_text(dir, "a", "one");
    CHECK_INT(mode_at(dir, "a"), 0640);
    AUTO_FREE char *first = link_at(dir, "..data"), *a = link_at(dir, "a");
    CHECK_STR(a, "..data/a");
    CHECK(!strncmp(first, "..2026_01_02_03_04_05.", 22));

    setup(&w, pod); /* nothing changed: nothing is written */
    AUTO_FREE char *second = link_at(dir, "..data");
    CHECK_STR(second, first);

    toy_api_set(&w.api, CM, "{'data':{'a':'two'},'binaryData':{'b':'AAE='}}");
    setup(&w, pod);
    AUTO_FREE char *third = link_at(dir, "..data");
    CHECK(strcmp(third, first));
    check_text(dir, "a", "two");
    CHECK(!text_at(dir, "gone"));
    CHECK(!link_at(dir, "gone"));
    CHECK(!text_at(dir, first)); /* the old folder is gone */
    struct stat st;
    AUTO_FREE char *old = mem_printf("%s/%s", dir, first);
    CHECK(lstat(old, &st) && errno == ENOENT);

    struct err err = { 0 };
    CHECK_INT(volumes_teardown(&w.ctx, w.v, "u-1", &err), 0);
    CHECK(access(BASE "/agent/pods/u-1", F_OK));
    CHECK_INT(volumes_teardown(&w.ctx, w.v, "u-1", &err), 0); /* again is fine */
    world_close(&w);
}

TEST(volumes_items_optional_and_errors)
{
    static const struct {
        const char *volume, *error; /* NULL: fine */
        enum err_code code;
    } cases[] = {
        { "{'name':'v','configMap':{'name':'nope'}}", "MountVolume.SetUp failed for volume \"v\" : configmap \"nope\" not found", ERR_NOT_FOUND },
        { "{'name':'v','configMap':{'name':'nope','optional':true}}", NULL, 0 },
        { "{'name':'v','secret':{'secretName':'nope'}}", "MountVolume.SetUp failed for volume \"v\" : secret \"nope\" not found", ERR_NOT_FOUND },
        { "{'name':'v','configMap':{'name':'cm','items':[{'key':'z','path':'z'}]}}",
          "MountVolume.SetUp failed for volume \"v\" : configmap references non-existent config key: z", ERR_INVALID },
        { "{'name':'v','configMap':{'name':'cm','optional':true,'items':[{'key':'z','path':'z'}]}}", NULL, 0 },
        { "{'name':'v','secret':{'secretName':'s','items':[{'key':'z','path':'z'}]}}",
          "MountVolume.SetUp failed for volume \"v\" : references non-existent secret key: z", ERR_INVALID },
        { "{'name':'v','configMap':{'name':'cm','items':[{'key':'a','path':'../../x'}]}}",
          "MountVolume.SetUp failed for volume \"v\" : invalid path: must not contain '..': ../../x", ERR_INVALID },
        { "{'name':'v','configMap':{'name':'cm','items':[{'key':'a','path':'/x'}]}}",
          "MountVolume.SetUp failed for volume \"v\" : invalid path: must be relative path: /x", ERR_INVALID },
        { "{'name':'v','configMap':{'name':'cm','items':[{'key':'a','path':'..x'}]}}",
          "MountVolume.SetUp failed for volume \"v\" : invalid path: must not start with '..': ..x", ERR_INVALID },
        { "{'name':'../v','emptyDir':{}}", "MountVolume.SetUp failed for volume \"../v\" : the volume's name can't be a folder", ERR_INVALID },
        { "{'name':'v','nfs':{}}", "MountVolume.SetUp failed for volume \"v\" : volumes of the type nfs are not supported by rancherd yet", ERR_INVALID },
        { "{'name':'v','emptyDir':{'medium':'Tape'}}", "MountVolume.SetUp failed for volume \"v\" : unknown storage medium \"Tape\"", ERR_INVALID },
        { "{'name':'v','hostPath':{'path':'/proc/../x'}}", "MountVolume.SetUp failed for volume \"v\" : invalid HostPath `/proc/../x`: must not contain '..'", ERR_INVALID },
        { "{'name':'v','hostPath':{'path':'/dev/null','type':'Directory'}}",
          "MountVolume.SetUp failed for volume \"v\" : hostPath type check failed: /dev/null is not a directory, it's a CharDevice", ERR_INVALID },
        { "{'name':'v','hostPath':{'path':'/dev/null','type':'CharDevice'}}", NULL, 0 },
    };
    struct world w;

    if (!private_mounts())
        return;
    world_open(&w);
    toy_api_set(&w.api, CM, "{'data':{'a':'one'}}");
    toy_api_set(&w.api, "GET /api/v1/namespaces/shop/secrets/s", "{'data':{'k':'c2VjcmV0'}}");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(json) json_t *pod = pod_with(cases[i].volume, "");
        struct err err = { 0 };
        int64_t again;
        int rc = volumes_setup(&w.ctx, w.v, pod, &again, &err);

        CHECK_STR(err.msg, cases[i].error ? cases[i].error : "");
        CHECK_INT(rc, -(int)cases[i].code);
        CHECK_INT(volumes_teardown(&w.ctx, w.v, "u-1", &err), 0);
    }
    world_close(&w);
    CHECK(!umount(BASE)); /* nothing of ours is left mounted below */
}

TEST(volumes_secret_in_memory_with_group)
{
    struct world w;
    struct statfs fs;
    struct stat st;

    if (!private_mounts())
        return;
    world_open(&w);
    toy_api_set(&w.api, "GET /api/v1/namespaces/shop/secrets/s", "{'data':{'k':'c2VjcmV0'}}");
    AUTO(json) json_t *pod = pod_with("{'name':'v','secret':{'secretName':'s','defaultMode':256,'items':[{'key':'k','path':'deep/er/k'}]}}",
                                      ",'securityContext':{'fsGroup':777}");
    setup(&w, pod);
    AUTO_FREE char *dir = path_of(&w, pod, "v", NULL);
    CHECK_STR(dir, BASE "/agent/memory/u-1/v");
    CHECK(volumes_readonly(pod, "v"));
    check_text(dir, "deep/er/k", "secret");
    AUTO_FREE char *deep = link_at(dir, "deep");
    CHECK_STR(deep, "..data/deep");
    CHECK_INT(mode_at(dir, "deep/er/k"), 0440);
    CHECK(!statfs(dir, &fs) && fs.f_type == 0x01021994);
    CHECK(!stat(dir, &st) && st.st_gid == 777 && (st.st_mode & S_ISGID));
    setup(&w, pod);
    struct err err = { 0 };
    CHECK_INT(volumes_teardown(&w.ctx, w.v, "u-1", &err), 0);
    CHECK(access(dir, F_OK));
    world_close(&w);
}

/* A JWT that only tells its times; signed by nobody. */
static char *token_of(int64_t iat, int64_t exp)
{
    AUTO(buf) struct buf claims = { 0 }, text = { 0 };

    buf_printf(&claims, "{\"iat\":%lld,\"exp\":%lld}", (long long)iat, (long long)exp);
    buf_str(&text, "e30.");
    base64url_write(buf_at(&claims), buf_len(&claims), &text);
    buf_str(&text, ".c2ln");
    return buf_take_str(&text);
}

static void serve_token(struct world *w, const char *token)
{
    AUTO_FREE char *answer = mem_printf("{'status':{'token':'%s'}}", token);

    toy_api_set(&w->api, "POST /api/v1/namespaces/shop/serviceaccounts/default/token", answer);
}

TEST(volumes_projected_token_is_kept_and_renewed)
{
    struct world w;

    if (!private_mounts())
        return;
    world_open(&w);
    int64_t now = w.wall_us / 1000000;
    AUTO_FREE char *first = token_of(now, now + 31536000), *second = token_of(now + 3000, now + 6607);
    AUTO(json) json_t *pod =
        pod_with("{'name':'v','projected':{'sources':[{'serviceAccountToken':{'expirationSeconds':3607,'path':'token'}},"
                 "{'configMap':{'name':'cm','items':[{'key':'ca.crt','path':'ca.crt'}]}},"
                 "{'downwardAPI':{'items':[{'path':'namespace','fieldRef':{'fieldPath':'metadata.namespace'}},"
                 "{'path':'mem','resourceFieldRef':{'containerName':'c','resource':'limits.memory','divisor':'1Mi'}}]}}]}}",
                 ",'containers':[{'name':'c','securityContext':{'runAsUser':1234}}]");
    toy_api_set(&w.api, CM, "{'data':{'ca.crt':'PEM'}}");
    serve_token(&w, first);
    int64_t again = setup(&w, pod);
    CHECK_INT(again, 3607 * 4 / 5 * 1000);
    AUTO_FREE char *dir = path_of(&w, pod, "v", NULL);
    check_text(dir, "token", first);
    check_text(dir, "ca.crt", "PEM");
    check_text(dir, "namespace", "shop");
    check_text(dir, "mem", "64");
    struct stat st;
    AUTO_FREE char *file = mem_printf("%s/token", dir);
    CHECK(!stat(file, &st) && st.st_uid == 1234 && (st.st_mode & 07777) == 0600);
    CHECK(strstr(w.api.last_body, "\"boundObjectRef\":{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":\"web\",\"uid\":\"u-1\"}"));

    int calls = w.api.calls; /* fresh: only the config map is read, also by an agent that has just started */
    setup(&w, pod);
    CHECK_INT(w.api.calls, calls + 1);

    w.wall_us += 2900LL * 1000000;
    w.api.down = true; /* the token goes on while the server can't be asked; the config map can't be read */
    struct err err = { 0 };
    CHECK_INT(volumes_setup(&w.ctx, w.v, pod, &again, &err), -ERR_UNAVAILABLE);
    check_text(dir, "token", first);
    w.api.down = false;
    serve_token(&w, second);
    w.wall_us += 100LL * 1000000;
    setup(&w, pod);
    check_text(dir, "token", second);
    CHECK_INT(volumes_teardown(&w.ctx, w.v, "u-1", &err), 0);
    world_close(&w);
}

TEST(volumes_empty_dirs)
{
    struct world w;
    struct statfs fs;
    struct stat st;

    if (!private_mounts())
        return;
    world_open(&w);
    AUTO(json) json_t *pod = pod_with("{'name':'disk','emptyDir':{}},{'name':'mem','emptyDir':{'medium':'Memory','sizeLimit':'1Mi'}}",
                                      ",'securityContext':{'fsGroup':55}");
    CHECK_INT(setup(&w, pod), -1);
    AUTO_FREE char *disk = path_of(&w, pod, "disk", NULL), *mem = path_of(&w, pod, "mem", NULL);
    CHECK(!stat(disk, &st) && (st.st_mode & 07777) == 02777 && st.st_gid == 55);
    CHECK(!stat(mem, &st) && (st.st_mode & 07777) == 02777 && st.st_gid == 55);
    CHECK(!statfs(mem, &fs) && fs.f_blocks * (uint64_t)fs.f_bsize == 1024 * 1024);
    AUTO_FREE char *file = mem_printf("%s/x", disk);
    CHECK(!mkdir(file, 0700));
    setup(&w, pod); /* keeps what is there */
    CHECK(!access(file, F_OK));
    CHECK_INT(mode_at(disk, "x"), 02700);
    struct err err = { 0 };
    CHECK_INT(volumes_teardown(&w.ctx, w.v, "u-1", &err), 0);
    CHECK(access(BASE "/agent/pods/u-1", F_OK));
    world_close(&w);
    CHECK(!umount(BASE));
}

TEST(volumes_sub_path_stays_inside)
{
    struct world w;

    if (!private_mounts())
        return;
    world_open(&w);
    AUTO(json) json_t *pod = pod_with("{'name':'d','emptyDir':{}},{'name':'cm','configMap':{'name':'cm'}}", "");
    toy_api_set(&w.api, CM, "{'data':{'f':'one'}}");
    setup(&w, pod);
    AUTO_FREE char *d = path_of(&w, pod, "d", NULL), *made = path_of(&w, pod, "d", "sub/deep");
    CHECK_STR(made, BASE "/agent/pods/u-1/volume-subpaths/d/c/0");
    CHECK_INT(mode_at(d, "sub/deep"), 0777);
    AUTO_FREE char *in = mem_printf("%s/seen", made);
    CHECK(!mkdir(in, 0755));
    CHECK_INT(mode_at(d, "sub/deep/seen"), 0755);

    /* A link to the host: it leads inside the volume, where there is nothing. */
    AUTO_FREE char *evil = mem_printf("%s/evil", d);
    CHECK(!symlink("/etc", evil));
    struct volume_use use = { .volume = "d", .sub_path = "evil", .container = "c", .mount_index = 1 };
    struct err err = { 0 };
    char *path = NULL;
    CHECK(volumes_path(&w.ctx, w.v, pod, &use, &path, &err) < 0);
    CHECK_STR(err.msg, "failed to prepare subPath for volumeMount \"d\" of container \"c\"");
    use.sub_path = "../x";
    err = (struct err){ 0 };
    CHECK_INT(volumes_path(&w.ctx, w.v, pod, &use, &path, &err), -ERR_INVALID);
    CHECK_STR(err.msg, "unable to provision SubPath `../x`: must not contain '..'");
    use.sub_path = "/x";
    CHECK_INT(volumes_path(&w.ctx, w.v, pod, &use, &path, &err), -ERR_INVALID);

    /* A file of a config map: the mount follows at the container's next start. */
    use = (struct volume_use){ .volume = "cm", .sub_path = "f", .container = "c", .mount_index = 2 };
    CHECK_INT(volumes_path(&w.ctx, w.v, pod, &use, &path, &err), 0);
    check_text(path, NULL, "one");
    toy_api_set(&w.api, CM, "{'data':{'f':'two'}}");
    setup(&w, pod);
    check_text(path, NULL, "one");
    free(path);
    CHECK_INT(volumes_path(&w.ctx, w.v, pod, &use, &path, &err), 0);
    check_text(path, NULL, "two");
    free(path);

    CHECK_INT(volumes_teardown(&w.ctx, w.v, "u-1", &err), 0);
    CHECK(access(BASE "/agent/pods/u-1", F_OK));
    world_close(&w);
    CHECK(!umount(BASE));
}

/* What a bind mount leads to is never removed with the pod; folders of any depth go. */
TEST(volumes_teardown_spares_the_host)
{
    struct world w;
    struct err err = { 0 };

    if (!private_mounts())
        return;
    world_open(&w);
    CHECK(!mkdir(BASE "/host", 0755) && !mkdir(BASE "/host/keep", 0755));
    AUTO(json) json_t *pod = pod_with("{'name':'h','hostPath':{'path':'" BASE "/host'}},{'name':'d','emptyDir':{}},"
                                      "{'name':'new','hostPath':{'path':'" BASE "/made/by/us','type':'DirectoryOrCreate'}}", "");
    setup(&w, pod);
    CHECK(!access(BASE "/made/by/us", F_OK));
    AUTO_FREE char *held = path_of(&w, pod, "h", "keep"), *d = path_of(&w, pod, "d", NULL);
    AUTO_FREE char *other = mem_printf("%s/m", d);
    CHECK(!mkdir(other, 0755) && !mount(BASE "/host", other, NULL, MS_BIND, NULL));
    AUTO_FD int at = open(d, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 1000; i++) {
        int next;
        CHECK(!mkdirat(at, "deep", 0755) || errno == EEXIST);
        next = openat(at, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        CHECK(next >= 0);
        close(at);
        at = next;
    }
    close(TAKE_FD(at));
    CHECK_INT(volumes_teardown(&w.ctx, w.v, "u-1", &err), 0);
    CHECK(access(held, F_OK));
    CHECK(!access(BASE "/host/keep", F_OK));
    world_close(&w);
    CHECK(!umount(BASE));
}

TEST(volumes_claim_and_nested_mount_points)
{
    struct world w;

    if (!private_mounts())
        return;
    world_open(&w);
    CHECK(!mkdir(BASE "/pv", 0755));
    toy_api_set(&w.api, CM, "{'data':{'a':'one'}}");
    AUTO(json) json_t *pod = pod_with("{'name':'p','persistentVolumeClaim':{'claimName':'pvc','readOnly':true}},{'name':'cm','configMap':{'name':'cm'}}",
                                      ",'containers':[{'name':'c','volumeMounts':[{'name':'cm','mountPath':'/etc/cm/'},"
                                      "{'name':'p','mountPath':'/etc/cm/in/side'},{'name':'p','mountPath':'/etc/cm2'}]}]");
    struct err err = { 0 };
    int64_t again;
    toy_api_set(&w.api, "GET /api/v1/namespaces/shop/persistentvolumeclaims/pvc", "{'spec':{},'status':{'phase':'Pending'}}");
    CHECK_INT(volumes_setup(&w.ctx, w.v, pod, &again, &err), -ERR_UNAVAILABLE);
    CHECK_STR(err.msg, "MountVolume.SetUp failed for volume \"p\" : error processing PVC shop/pvc: PVC is not bound");
    toy_api_set(&w.api, "GET /api/v1/namespaces/shop/persistentvolumeclaims/pvc", "{'spec':{'volumeName':'pv-1'},'status':{'phase':'Bound'}}");
    toy_api_set(&w.api, "GET /api/v1/persistentvolumes/pv-1", "{'spec':{'local':{'path':'" BASE "/pv'}}}");
    setup(&w, pod);
    AUTO_FREE char *p = path_of(&w, pod, "p", NULL), *cm = path_of(&w, pod, "cm", NULL);
    AUTO_FREE char *real = realpath(p, NULL);
    CHECK_STR(real, BASE "/pv");
    CHECK(volumes_readonly(pod, "p") && volumes_readonly(pod, "cm"));
    CHECK_INT(mode_at(cm, "in/side"), 0755);
    check_text(cm, "a", "one");
    CHECK_INT(volumes_teardown(&w.ctx, w.v, "u-1", &err), 0);
    CHECK(!access(BASE "/pv", F_OK));
    world_close(&w);
}

TEST(volumes_uses)
{
    AUTO(json) json_t *pod = pod_with("{'name':'a','configMap':{'name':'c1'}},{'name':'b','projected':{'sources':[{'secret':{'name':'s1'}}]}}",
                                      ",'containers':[{'name':'c','envFrom':[{'configMapRef':{'name':'c2'}}],"
                                      "'env':[{'name':'E','valueFrom':{'secretKeyRef':{'name':'s2','key':'k'}}}]}]");

    CHECK(volumes_uses(pod, "ConfigMap", "c1") && volumes_uses(pod, "ConfigMap", "c2"));
    CHECK(volumes_uses(pod, "Secret", "s1") && volumes_uses(pod, "Secret", "s2"));
    CHECK(!volumes_uses(pod, "Secret", "c1") && !volumes_uses(pod, "ConfigMap", "s1") && !volumes_uses(pod, "ConfigMap", ""));
}

TEST(volumes_downward_fields)
{
    static const struct {
        const char *path, *want, *error;
    } cases[] = {
        { "metadata.name", "web", NULL },
        { "metadata.labels", "a=\"x\\\"y\"\nb=\"2\"", NULL },
        { "metadata.labels['b']", "2", NULL },
        { "metadata.labels['none']", "", NULL },
        { "metadata.annotations['Big.io/K']", "v", NULL },
        { "metadata.labels['a b']", NULL, "invalid key subscript in metadata.labels['a b']" },
        { "spec.x['a']", NULL, "fieldPath \"spec.x['a']\" does not support subscript" },
        { "spec.nodeName", "n1", NULL },
        { "status.podIP", "10.42.0.7", NULL },
        { "status.podIPs", "10.42.0.7", NULL },
        { "status.hostIP", "192.0.2.1", NULL },
        { "metadata.none", NULL, "unsupported fieldPath: metadata.none" },
        { "']", NULL, "unsupported fieldPath: ']" },
        { "['']", NULL, "unsupported fieldPath: ['']" },
    };
    AUTO(json) json_t *pod = pod_with("", "");

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(buf) struct buf to = { 0 };
        struct err err = { 0 };
        int rc = downward_field(pod, cases[i].path, "10.42.0.7", "192.0.2.1", &to, &err);

        CHECK_INT(rc, cases[i].error ? -ERR_INVALID : 0);
        if (cases[i].error)
            CHECK(!strncmp(err.msg, cases[i].error, strlen(cases[i].error)));
        else
            CHECK_STR(buf_at(&to), cases[i].want);
    }
}

TEST(volumes_downward_resources)
{
    static const struct {
        const char *ref, *want; /* NULL: refused */
    } cases[] = {
        { "{'resource':'limits.cpu'}", "1" }, /* 300m, rounded up */
        { "{'resource':'limits.cpu','divisor':'1m'}", "300" },
        { "{'resource':'requests.memory','divisor':'1Mi'}", "33" }, /* 32.5Mi */
        { "{'resource':'limits.memory'}", "67108864" }, /* the node's */
        { "{'resource':'requests.cpu'}", "0" },
        { "{'resource':'limits.hugepages-2Mi'}", "0" },
        { "{'resource':'limits.gpu'}", NULL },
        { "{'resource':'cpu'}", NULL },
    };
    AUTO(json) json_t *c = toy_json("{'resources':{'limits':{'cpu':'300m'},'requests':{'memory':'33280Ki'}}}");
    AUTO(json) json_t *node = toy_json("{'cpu':'2','memory':'64Mi'}");

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(json) json_t *ref = toy_json(cases[i].ref);
        AUTO(buf) struct buf to = { 0 };
        struct err err = { 0 };

        CHECK_INT(downward_resource(c, ref, node, &to, &err), cases[i].want ? 0 : -ERR_INVALID);
        CHECK_STR(buf_at(&to), cases[i].want ? cases[i].want : "");
    }
}
