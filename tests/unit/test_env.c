#include "agent/pods/env_int.h"

#include "lib/file.h"
#include "lib/mem.h"
#include "test.h"
#include "toy_api.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

struct world {
    struct toy_api api;
    struct client *client;
    struct pod_env *e;
    struct ctx ctx;
    char dir[64], resolv[96];
};

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static void world_open(struct world *w, const char *dns)
{
    struct err err = { 0 };

    *w = (struct world){ .dir = "/tmp/rancherd-env-XXXXXX" };
    CHECK(mkdtemp(w->dir));
    (void)snprintf(w->resolv, sizeof(w->resolv), "%s/resolv", w->dir);
    FILE *f = fopen(w->resolv, "w");
    CHECK(f && fputs("# comment\nsearch old.example\nsearch lan.example. . cluster.local\nnameserver 192.0.2.53\noptions timeout:1 rotate\n", f) >= 0);
    fclose(f);
    toy_api_init(&w->api);
    w->client = toy_api_client(&w->api);
    w->ctx = ctx_background(arena_new());
    struct pod_env_options o = { .data_dir = w->dir, .client = w->client, .node_name = "n1", .host_ip = "192.0.2.1", .cluster_dns = dns,
                                 .cluster_domain = "cluster.local", .resolv_conf = w->resolv };
    CHECK_INT(pod_env_open(&o, &w->e, &err), 0);
}

static void world_close(struct world *w)
{
    pod_env_close(w->e);
    client_free(w->client);
    toy_api_clear(&w->api);
    arena_free(w->ctx.arena);
    CHECK(!nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS));
}

static void add_service(struct world *w, const char *text)
{
    AUTO(json) json_t *s = toy_json(text);

    env_service_set(w->e, s, false);
}

static json_t *pod_of(const char *spec)
{
    AUTO_FREE char *text = mem_printf("{'metadata':{'name':'web-0','namespace':'shop','uid':'u-1','labels':{'l':'v'}},'spec':{%s},"
                                      "'status':{'podIPs':[{'ip':'10.42.0.7'},{'ip':'fd00::7'}]}}", spec);
    return toy_json(text);
}

static const char *value(const char *const *env, const char *name)
{
    size_t n = strlen(name), found = 0;
    const char *at = "(none)";

    for (; *env; env++)
        if (!strncmp(*env, name, n) && (*env)[n] == '=') {
            at = *env + n + 1;
            found++;
        }
    CHECK(found <= 1); /* a name stands once */
    return at;
}

static const struct pod_place place = { .pod_ip = "10.42.0.7" };

static int build(struct world *w, const json_t *pod, const char *const *image, const char *const **ret, struct err *err)
{
    const json_t *c = json_array_get(json_at(pod, "spec.containers"), 0);

    return pod_env_build(&w->ctx, w->e, pod, c, image, &place, ret, err);
}

TEST(env_order_and_expansion)
{
    static const char *const image[] = { "PATH=/bin", "KEEP=image", "A=image", "=odd", "bare", NULL };
    static const struct {
        const char *name, *want;
    } cases[] = {
        { "PATH", "/bin" }, { "KEEP", "image" }, { "A", "1" }, { "B", "1-2-$(NONE)-$(A)-$" }, { "FROM", "cm" }, { "P_FROM", "cm" },
        { "OVER", "env" }, { "KEY", "cm" }, { "SECRET", "s3cret" }, { "GONE", "(none)" }, { "IP", "10.42.0.7" }, { "IPS", "10.42.0.7,fd00::7" },
        { "HOST", "192.0.2.1" }, { "LABEL", "v" }, { "CPU", "2" }, { "EMPTY", "" }, { "REF", "10.43.0.9" }, { "LATE", "$(LATER)" },
        { "MY_DB_SERVICE_HOST", "10.43.0.9" }, { "MY_DB_SERVICE_PORT", "5432" }, { "MY_DB_SERVICE_PORT_SQL_A", "5432" },
        { "MY_DB_PORT", "tcp://10.43.0.9:5432" }, { "MY_DB_PORT_53_UDP", "udp://10.43.0.9:53" }, { "MY_DB_PORT_53_UDP_PROTO", "udp" },
        { "MY_DB_PORT_53_UDP_PORT", "53" }, { "MY_DB_PORT_53_UDP_ADDR", "10.43.0.9" }, { "HEADLESS_SERVICE_HOST", "(none)" },
        { "OTHER_SERVICE_HOST", "(none)" }, { "KUBERNETES_SERVICE_HOST", "10.43.0.1" }, { "KUBERNETES_SERVICE_PORT_HTTPS", "443" },
    };
    struct world w;
    struct err err = { 0 };
    const char *const *env = NULL;

    world_open(&w, "10.43.0.10");
    AUTO(json) json_t *pod = pod_of(
        "'containers':[{'name':'c','resources':{'limits':{'cpu':'1500m'}},'envFrom':[{'configMapRef':{'name':'cm'}},{'prefix':'P_','configMapRef':{'name':'cm'}},"
        "{'secretRef':{'name':'none','optional':true}}],'env':[{'name':'A','value':'1'},{'name':'B','value':'$(A)-2-$(NONE)-$$(A)-$'},"
        "{'name':'OVER','value':'env'},{'name':'KEY','valueFrom':{'configMapKeyRef':{'name':'cm','key':'FROM'}}},"
        "{'name':'SECRET','valueFrom':{'secretKeyRef':{'name':'s','key':'k'}}},{'name':'GONE','valueFrom':{'secretKeyRef':{'name':'s','key':'x','optional':true}}},"
        "{'name':'IP','valueFrom':{'fieldRef':{'fieldPath':'status.podIP'}}},{'name':'IPS','valueFrom':{'fieldRef':{'fieldPath':'status.podIPs'}}},"
        "{'name':'HOST','valueFrom':{'fieldRef':{'fieldPath':'status.hostIP'}}},{'name':'LABEL','valueFrom':{'fieldRef':{'fieldPath':'metadata.labels[\\u0027l\\u0027]'}}},"
        "{'name':'CPU','valueFrom':{'resourceFieldRef':{'resource':'limits.cpu'}}},{'name':'EMPTY'},{'name':'REF','value':'$(MY_DB_SERVICE_HOST)'},"
        "{'name':'LATE','value':'$(LATER)'},{'name':'LATER','value':'x'}]}]");
    toy_api_set(&w.api, "GET /api/v1/namespaces/shop/configmaps/cm", "{'data':{'FROM':'cm','OVER':'cm'}}");
    toy_api_set(&w.api, "GET /api/v1/namespaces/shop/secrets/s", "{'data':{'k':'czNjcmV0'}}");
    CHECK_INT(build(&w, pod, image, &env, &err), -ERR_UNAVAILABLE);
    CHECK_STR(err.msg, "services have not yet been read at least once, cannot construct envvars");
    env_service_sync(w.e);
    add_service(&w, "{'metadata':{'name':'kubernetes','namespace':'default'},'spec':{'clusterIP':'10.43.0.1','ports':[{'name':'https','port':443}]}}");
    add_service(&w, "{'metadata':{'name':'other','namespace':'default'},'spec':{'clusterIP':'10.43.0.2','ports':[{'port':1}]}}");
    add_service(&w, "{'metadata':{'name':'headless','namespace':'shop'},'spec':{'clusterIP':'None','ports':[{'port':1}]}}");
    add_service(&w, "{'metadata':{'name':'my-db','namespace':'shop'},'spec':{'clusterIP':'10.43.0.9','ports':[{'name':'sql-a','port':5432,'protocol':'TCP'},"
                    "{'port':53,'protocol':'UDP'}]}}");
    w.api.calls = 0;
    CHECK_INT(build(&w, pod, image, &env, &err), 0);
    CHECK_INT(w.api.calls, 3); /* each object once */
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        CHECK_STR(value(env, cases[i].name), cases[i].want);
    CHECK_STR(env[0], "PATH=/bin");

    json_put(pod, "spec.enableServiceLinks", json_false());
    CHECK_INT(build(&w, pod, NULL, &env, &err), 0);
    CHECK_STR(value(env, "MY_DB_SERVICE_HOST"), "(none)");
    CHECK_STR(value(env, "KUBERNETES_SERVICE_HOST"), "10.43.0.1");

    AUTO(json) json_t *gone = toy_json("{'metadata':{'name':'kubernetes','namespace':'default'}}");
    env_service_delete(w.e, gone);
    CHECK_INT(build(&w, pod, NULL, &env, &err), 0);
    CHECK_STR(value(env, "KUBERNETES_SERVICE_HOST"), "(none)");
    world_close(&w);
}

TEST(env_failures)
{
    static const struct {
        const char *env, *error;
        enum err_code code;
    } cases[] = {
        { "{'name':'X','valueFrom':{'configMapKeyRef':{'name':'no','key':'k'}}}", "configmap \"no\" not found", ERR_NOT_FOUND },
        { "{'name':'X','valueFrom':{'secretKeyRef':{'name':'no','key':'k'}}}", "secret \"no\" not found", ERR_NOT_FOUND },
        { "{'name':'X','valueFrom':{'secretKeyRef':{'name':'no','key':'k','optional':true}}}", NULL, 0 },
        { "{'name':'X','valueFrom':{'configMapKeyRef':{'name':'cm','key':'k'}}}", "couldn't find key k in ConfigMap shop/cm", ERR_NOT_FOUND },
        { "{'name':'X','valueFrom':{'secretKeyRef':{'name':'s','key':'k'}}}", "couldn't find key k in Secret shop/s", ERR_NOT_FOUND },
        { "{'name':'X','valueFrom':{'secretKeyRef':{'name':'s','key':'nul'}}}", "the value of key nul holds a NUL byte", ERR_INVALID },
        { "{'name':'X','valueFrom':{'fieldRef':{'fieldPath':'spec.x'}}}", "unsupported fieldPath: spec.x", ERR_INVALID },
        { "{'name':'X','valueFrom':{'resourceFieldRef':{'containerName':'z','resource':'limits.cpu'}}}", "container z not found", ERR_INVALID },
    };
    struct world w;
    const char *const *env = NULL;

    world_open(&w, "");
    env_service_sync(w.e);
    toy_api_set(&w.api, "GET /api/v1/namespaces/shop/configmaps/cm", "{}");
    toy_api_set(&w.api, "GET /api/v1/namespaces/shop/secrets/s", "{'data':{'nul':'AAA='}}");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_FREE char *spec = mem_printf("'containers':[{'name':'c','env':[%s]}]", cases[i].env);
        AUTO(json) json_t *pod = pod_of(spec);
        struct err err = { 0 };

        CHECK_INT(build(&w, pod, NULL, &env, &err), -(int)cases[i].code);
        CHECK_STR(err.msg, cases[i].error ? cases[i].error : "");
    }
    w.api.down = true;
    AUTO(json) json_t *pod = pod_of("'containers':[{'name':'c','envFrom':[{'configMapRef':{'name':'cm','optional':true}}]}]");
    struct err err = { 0 };
    CHECK_INT(build(&w, pod, NULL, &env, &err), -ERR_UNAVAILABLE); /* optional does not mean: when it can't be asked for */
    world_close(&w);
}

TEST(env_expand_text)
{
    static const char *const env[] = { "A=1", "LONG=2", "A.B=3", NULL };
    static const struct {
        const char *text, *want;
    } cases[] = { { "", "" }, { "x", "x" }, { "$(A)", "1" }, { "$$(A)", "$(A)" }, { "$$$(A)", "$1" }, { "$(LON)", "$(LON)" }, { "$(A.B)", "3" },
                  { "$(A", "$(A" }, { "$", "$" }, { "$A", "$A" }, { "$()", "$()" }, { "$($(A))", "$($(A))" }, { "a$(A)b$(LONG)c", "a1b2c" } };
    AUTO(arena) struct arena *a = arena_new();

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        CHECK_STR(pod_env_expand(a, cases[i].text, env), cases[i].want);
}

static char *read_at(struct world *w, const char *name)
{
    AUTO_FREE char *path = mem_printf("%s/pods/u-1/%s", w->dir, name);
    struct err err = { 0 };
    char *text = NULL;
    size_t n;

    CHECK_INT(file_read(AT_FDCWD, path, 1 << 20, &text, &n, &err), 0);
    return text;
}

TEST(env_files_and_mounts)
{
    struct world w;
    struct err err = { 0 };
    struct container_mount mounts[POD_ENV_MOUNTS];
    size_t n = 0;

    world_open(&w, "10.43.0.10");
    AUTO(json) json_t *pod = pod_of("'subdomain':'sub','hostAliases':[{'ip':'192.0.2.9','hostnames':['a','b']}],'containers':[{'name':'c',"
                                    "'terminationMessagePath':'/dev/termination-log','securityContext':{'readOnlyRootFilesystem':true},"
                                    "'volumeMounts':[{'name':'v','mountPath':'/etc/hostname'}]}]");
    const json_t *c = json_array_get(json_at(pod, "spec.containers"), 0);
    CHECK_INT(pod_env_files(&w.ctx, w.e, pod, &place, &err), 0);
    AUTO_FREE char *hosts = read_at(&w, "etc/hosts"), *name = read_at(&w, "etc/hostname"), *resolv = read_at(&w, "etc/resolv.conf");
    CHECK(!strncmp(hosts, "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n", 53));
    CHECK(strstr(hosts, "\n10.42.0.7\tweb-0.sub.shop.svc.cluster.local\tweb-0\nfd00::7\tweb-0.sub.shop.svc.cluster.local\tweb-0\n"));
    CHECK(strstr(hosts, "\n\n# Entries added by HostAliases.\n192.0.2.9\ta\tb\n"));
    CHECK_STR(name, "web-0\n");
    CHECK_STR(resolv, "search shop.svc.cluster.local svc.cluster.local cluster.local lan.example\nnameserver 10.43.0.10\noptions ndots:5\n");

    CHECK_INT(pod_env_mounts(&w.ctx, w.e, pod, c, 3, mounts, &n, &err), 0);
    CHECK_INT(n, 3);
    CHECK_STR(mounts[0].target, "/etc/hosts");
    CHECK(!mounts[0].readonly && mounts[1].readonly);
    CHECK_STR(mounts[1].target, "/etc/resolv.conf");
    CHECK_STR(mounts[2].target, "/dev/termination-log");
    struct stat st;
    CHECK(!stat(mounts[2].source, &st) && (st.st_mode & 0777) == 0666);
    FILE *f = fopen(mounts[2].source, "w");
    for (int i = 0; i < 5000; i++)
        fputc('x', f);
    fclose(f);
    AUTO_FREE char *said = pod_env_termination(w.e, "u-1", "c", 3), *nothing = pod_env_termination(w.e, "u-1", "c", 2);
    CHECK_INT(strlen(said), 4096);
    CHECK_STR(nothing, "");

    struct pod_place moved = { .pod_ip = "10.42.0.8" };
    struct stat before, after;
    AUTO_FREE char *path = mem_printf("%s/pods/u-1/etc/hosts", w.dir);
    CHECK(!stat(path, &before));
    CHECK_INT(pod_env_files(&w.ctx, w.e, pod, &moved, &err), 0);
    CHECK(!stat(path, &after) && before.st_ino == after.st_ino); /* running containers see it */
    AUTO_FREE char *again = read_at(&w, "etc/hosts");
    CHECK(strstr(again, "\n10.42.0.8\tweb-0.sub") && !strstr(again, "10.42.0.7"));
    CHECK_INT(pod_env_remove(w.e, "u-1", &err), 0);
    CHECK_INT(pod_env_remove(w.e, "u-1", &err), 0);
    AUTO_FREE char *gone = mem_printf("%s/pods/u-1", w.dir);
    CHECK(access(gone, F_OK));
    world_close(&w);
}

TEST(env_hostnames)
{
    static const struct {
        const char *spec, *want, *error;
    } cases[] = {
        { "", "web-0", NULL },
        { "'hostname':'h'", "h", NULL },
        { "'hostname':'h_'", NULL, "pod Hostname \"h_\" is not a valid DNS label" },
        { "'subdomain':'s','setHostnameAsFQDN':true", "web-0.s.shop.svc.cluster.local", NULL },
        { "'hostname':'h','subdomain':'s'", "h", NULL },
        { "'hostnameOverride':'a.b','subdomain':'s','setHostnameAsFQDN':true", "a.b", NULL },
        { "'subdomain':'sssssssssssssssssssssssssssssssssssssssssssssssssss','setHostnameAsFQDN':true", NULL, "failed to construct FQDN from pod hostname" },
    };
    struct world w;

    world_open(&w, "");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(json) json_t *pod = pod_of(cases[i].spec);
        const char *name = "";
        struct err err = { 0 };

        CHECK_INT(pod_env_hostname(&w.ctx, w.e, pod, &name, &err), cases[i].error ? -ERR_INVALID : 0);
        if (cases[i].error)
            CHECK(!strncmp(err.msg, cases[i].error, strlen(cases[i].error)));
        else
            CHECK_STR(name, cases[i].want);
    }
    AUTO(json) json_t *pod = pod_of("");
    const char *name = "";
    struct err err = { 0 };
    json_put(pod, "metadata.name", json_string("a23456789012345678901234567890123456789012345678901234567890ab-cd"));
    CHECK_INT(pod_env_hostname(&w.ctx, w.e, pod, &name, &err), 0);
    CHECK_STR(name, "a23456789012345678901234567890123456789012345678901234567890ab");
    world_close(&w);
}

TEST(env_resolv_conf_policies)
{
    static const struct {
        const char *dns, *spec, *want;
    } cases[] = {
        { "10.43.0.10", "'dnsPolicy':'Default'", "search lan.example cluster.local\nnameserver 192.0.2.53\noptions timeout:1 rotate\n" },
        { "10.43.0.10", "'dnsPolicy':'ClusterFirst','hostNetwork':true", "search lan.example cluster.local\nnameserver 192.0.2.53\noptions timeout:1 rotate\n" },
        { "", "", "search lan.example cluster.local\nnameserver 192.0.2.53\noptions timeout:1 rotate\n" },
        { "10.43.0.10", "'dnsPolicy':'ClusterFirstWithHostNet','hostNetwork':true",
          "search shop.svc.cluster.local svc.cluster.local cluster.local lan.example\nnameserver 10.43.0.10\noptions ndots:5\n" },
        { "10.43.0.10", "'dnsPolicy':'None','dnsConfig':{'nameservers':['1.1.1.1','1.1.1.1','2.2.2.2','3.3.3.3','4.4.4.4'],'searches':['x.y']}",
          "search x.y\nnameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver 3.3.3.3\n" },
        { "10.43.0.10", "'dnsPolicy':'Default','dnsConfig':{'options':[{'name':'timeout','value':'3'},{'name':'ndots','value':'2'},{'name':'time'}]}",
          "search lan.example cluster.local\nnameserver 192.0.2.53\noptions timeout:3 rotate ndots:2 time\n" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct world w;
        AUTO(buf) struct buf to = { 0 };
        struct err err = { 0 };
        char *host = NULL;
        size_t n;

        world_open(&w, cases[i].dns);
        AUTO(json) json_t *pod = pod_of(cases[i].spec);
        CHECK_INT(file_read(AT_FDCWD, w.resolv, 4096, &host, &n, &err), 0);
        env_resolv_conf(w.e, pod, host, &to);
        free(host);
        CHECK_STR(buf_at(&to), cases[i].want);
        world_close(&w);
    }
}
