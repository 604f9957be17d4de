/* The kubelet endpoint over TLS, with a runtime of sockets and a world of one pod. */
#include "agent/pods/kubelet_int.h"

#include "lib/crypto.h"
#include "lib/mem.h"
#include "test.h"
#include "toy_api.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID "c0ffee"

struct world {
    struct loop *loop, *client_loop;
    struct pool *pool;
    struct kubelet_api *api;
    char *ca_key, *ca, *key, *cert, *client_key, *admin, *node;
    char dir[64];
    bool ended, running, tty;
    _Atomic int sessions, dials;
    pthread_t echo;
    bool echoing;
    char argv[64];
    int resize_fd; /* the runtime's end of control */
};

/* --- the runtime --- */

static void pair(int *ours, int *theirs)
{
    int fd[2];

    CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd));
    CHECK(!fcntl(fd[0], F_SETFL, O_NONBLOCK));
    *ours = fd[0];
    *theirs = fd[1];
}

/* A process has pipes: it may open /dev/stdout. ours: which end is. */
static void one_way(int ours, int *ret_ours, int *ret_theirs)
{
    int fd[2];

    CHECK(!pipe2(fd, O_CLOEXEC));
    CHECK(!fcntl(fd[ours], F_SETFL, O_NONBLOCK));
    *ret_ours = fd[ours];
    *ret_theirs = fd[1 - ours];
}

struct ends {
    int in, out, control;
};

/* The command: gives back what it reads, tells the size it was given first, exits with 3. */
static void *echo_main(void *arg)
{
    struct ends *e = arg;
    char buf[1000];
    ssize_t n;

    CHECK(write(e->out, "ready.", 6) == 6);
    while (e->in >= 0 && (n = read(e->in, buf, sizeof(buf))) > 0)
        CHECK(write(e->out, buf, (size_t)n) == n || errno == EPIPE);
    if (e->control >= 0) {
        n = recv(e->control, buf, sizeof(buf), MSG_DONTWAIT);
        if (n > 0)
            CHECK(write(e->out, buf, (size_t)n) == n || errno == EPIPE);
        (void)send(e->control, "exit 3\n", 7, MSG_NOSIGNAL); /* the client may have left */
        close(e->control);
    }
    close(e->out);
    if (e->in >= 0 && e->in != e->out)
        close(e->in);
    free(e);
    return NULL;
}

static void start_echo(struct world *w, struct ends *e)
{
    CHECK(!w->echoing);
    w->echoing = true;
    CHECK(!pthread_create(&w->echo, NULL, echo_main, e));
}

static void join_echo(struct world *w)
{
    CHECK(w->echoing);
    pthread_join(w->echo, NULL);
    w->echoing = false;
}

static int rt_session(struct ctx *ctx, void *arg, const struct runtime_session_spec *spec, struct runtime_session *ret, struct err *err)
{
    struct world *w = arg;
    struct ends *e = MEM_NEW(struct ends);

    (void)ctx;
    w->sessions++;
    *e = (struct ends){ -1, -1, -1 };
    *ret = (struct runtime_session){ -1, -1, -1, -1 };
    (void)snprintf(w->argv, sizeof(w->argv), "%s", spec->argv ? spec->argv[0] : "(attach)");
    if (!strcmp(w->argv, "nope")) {
        free(e);
        return err_set(err, ERR_INVALID, "exec: \"nope\": executable file not found in $PATH");
    }
    if (spec->in)
        one_way(1, &ret->fd_in, &e->in);
    if (spec->out)
        one_way(0, &ret->fd_out, &e->out);
    pair(&ret->fd_control, &e->control);
    start_echo(w, e);
    return 0;
}

static int rt_dial(struct ctx *ctx, void *arg, const char *pod_uid, int port, int *ret_fd, struct err *err)
{
    struct world *w = arg;
    struct ends *e;

    (void)ctx;
    CHECK_STR(pod_uid, "u-1");
    w->dials++;
    if (port != 80)
        return err_set(err, ERR_UNAVAILABLE, "connect: connection refused");
    e = MEM_NEW(struct ends);
    pair(ret_fd, &e->in);
    e->out = e->in;
    e->control = -1;
    start_echo(w, e);
    return 0;
}

static int rt_exec(struct ctx *ctx, void *arg, const char *pod_uid, const char *id, const char *const *argv, struct bytes **ret_output,
                   int *ret_exit_code, struct err *err)
{
    (void)ctx, (void)arg, (void)pod_uid, (void)id, (void)err;
    AUTO_FREE char *text = mem_printf("%s+%s", argv[0], argv[1] ? argv[1] : "");
    *ret_output = bytes_new(text, strlen(text));
    *ret_exit_code = !strcmp(argv[0], "false");
    return 0;
}

static int rt_usage(void *arg, const char *cgroup, struct cgroup_usage *ret, struct err *err)
{
    (void)arg;
    if (strcmp(cgroup, "kubepods/podu-1") && strcmp(cgroup, "kubepods/podu-1/" ID))
        return err_set(err, ERR_NOT_FOUND, "no such cgroup");
    *ret = (struct cgroup_usage){ .cpu_ns = 1500000000, .memory_bytes = 4096, .working_set_bytes = 2048, .rss_bytes = 1024, .pids = 2 };
    return 0;
}

static int rt_containers(void *arg, const char *pod_uid, struct container **ret, size_t *ret_n, struct err *err)
{
    (void)arg, (void)pod_uid, (void)err;
    *ret = mem_zalloc(sizeof(**ret));
    *ret_n = 1;
    (void)snprintf((*ret)->name, sizeof((*ret)->name), "web");
    (void)snprintf((*ret)->id, sizeof((*ret)->id), ID);
    (*ret)->state = CONTAINER_RUNNING;
    return 0;
}

/* --- the pods --- */

static int find(void *arg, const char *ns, const char *pod, const char *uid, const char *container, bool previous, struct kubelet_target *ret,
                struct err *err)
{
    struct world *w = arg;

    if (strcmp(ns, "shop") || strcmp(pod, "p") || (*uid && strcmp(uid, "u-1")))
        return err_set(err, ERR_NOT_FOUND, "pod \"%s\" does not exist", pod);
    if (strcmp(container, "web"))
        return err_set(err, ERR_BAD_REQUEST, "container %s is not valid for pod %s", container, pod);
    if (previous)
        return err_set(err, ERR_BAD_REQUEST, "previous terminated container \"web\" in pod \"p\" not found");
    *ret = (struct kubelet_target){ .pod_uid = "u-1", .id = ID, .running = w->running, .ended = w->ended, .tty = w->tty, .stdin_open = true };
    (void)snprintf(ret->log_path, sizeof(ret->log_path), "%s/0.log", w->dir);
    return 0;
}

static int find_pod(void *arg, const char *ns, const char *pod, const char *uid, char ret_uid[64], struct err *err)
{
    struct kubelet_target t;
    int rc = find(arg, ns, pod, uid, "web", false, &t, err);

    if (rc == 0)
        (void)snprintf(ret_uid, 64, "%s", t.pod_uid);
    return rc;
}

static json_t *pods(void *arg)
{
    (void)arg;
    return toy_json("{'kind':'PodList','apiVersion':'v1','metadata':{},'items':[{'metadata':{'name':'p','namespace':'shop','uid':'u-1'},"
                    "'status':{'startTime':'2026-01-02T03:04:05Z'}}]}");
}

static int cgroup(void *arg, const char *pod_uid, char ret[256], struct err *err)
{
    (void)arg, (void)err;
    (void)snprintf(ret, 256, "kubepods/pod%s", pod_uid);
    return 0;
}

/* --- set up --- */

static char *sign(struct world *w, const char *name, const char *group, bool server, bool ca)
{
    const char *const ips[] = { "127.0.0.1", NULL }, *const groups[] = { group, NULL };
    int64_t now = clock_wall_s(&clock_system);
    struct cert_spec spec = { .common_name = name, .organizations = group ? groups : NULL, .ips = server ? ips : NULL, .ca = ca, .server_auth = server,
                              .client_auth = !server, .not_before_s = now - 60, .not_after_s = now + 3600 };
    struct err err;
    char *pem;

    CHECK_INT(cert_sign(&spec, ca ? w->ca_key : server ? w->key : w->client_key, ca ? NULL : w->ca, ca ? NULL : w->ca_key, &pem, &err), 0);
    return pem;
}

static void world_open(struct world *w)
{
    struct err err = { 0 };

    *w = (struct world){ .dir = "/tmp/rancherd-kubelet-XXXXXX", .running = true };
    CHECK(mkdtemp(w->dir));
    signal(SIGPIPE, SIG_IGN); /* as in the program */
    w->ca_key = key_new_pem();
    w->key = key_new_pem();
    w->client_key = key_new_pem();
    w->ca = sign(w, "ca", NULL, false, true);
    w->cert = sign(w, "n1", NULL, true, false);
    w->admin = sign(w, "system:apiserver", "system:masters", false, false);
    w->node = sign(w, "system:node:n2", "system:nodes", false, false);
    CHECK_INT(loop_new("test", &w->loop, &err), 0);
    CHECK_INT(loop_new("client", &w->client_loop, &err), 0);
    CHECK_INT(pool_new(NULL, &w->pool, &err), 0);
    struct kubelet_runtime runtime = { w, rt_session, rt_dial, rt_exec, rt_usage, rt_containers };
    struct kubelet_api_options o = { .bind_address = "127.0.0.1", .serving_cert_pem = w->cert, .serving_key_pem = w->key, .client_ca_pem = w->ca,
                                     .node_name = "n1", .cgroup_root = "kubepods", .clock = &clock_system, .loop = w->loop, .pool = w->pool,
                                     .world = { w, find, find_pod, pods, cgroup, NULL } };
    CHECK_INT(kubelet_api_start_with(&o, &runtime, &w->api, &err), 0);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static void world_close(struct world *w)
{
    char *all[] = { w->ca_key, w->ca, w->key, w->cert, w->client_key, w->admin, w->node };

    kubelet_api_stop(w->api);
    pool_free(w->pool);
    loop_free(w->client_loop);
    loop_free(w->loop);
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        free(all[i]);
    CHECK(!nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS));
}

/* --- a client: sends text, collects what comes --- */

struct peer {
    struct world *w;
    struct tls_ctx *tls;
    struct conn *conn;
    pthread_mutex_t lock;
    pthread_cond_t moved;
    struct buf got, send;
    bool closed;
};

static void peer_ready(struct conn *c, void *arg)
{
    struct peer *p = arg;

    conn_write(c, buf_at(&p->send), buf_len(&p->send));
    buf_clear(&p->send);
}

static void peer_data(struct conn *c, void *arg, const char *data, size_t n)
{
    struct peer *p = arg;

    (void)c;
    LOCK_SCOPE(&p->lock);
    buf_add(&p->got, data, n);
    pthread_cond_broadcast(&p->moved);
}

static void peer_close(struct conn *c, void *arg, const struct err *why)
{
    struct peer *p = arg;

    (void)c, (void)why;
    LOCK_SCOPE(&p->lock);
    p->closed = true;
    pthread_cond_broadcast(&p->moved);
}

static void peer_dial(void *arg)
{
    static const struct conn_ops ops = { .on_ready = peer_ready, .on_data = peer_data, .on_close = peer_close };
    struct peer *p = arg;
    struct conn_target target = { .host = "127.0.0.1", .port = kubelet_api_port(p->w->api), .tls = p->tls, .timeout_ms = 5000 };

    p->conn = conn_dial(p->w->client_loop, &target, &ops, p);
}

static void peer_open(struct peer *p, struct world *w, const char *cert, const char *request)
{
    static const char *const alpn[] = { "http/1.1", NULL };
    struct tls_config c = { .cert_pem = cert, .key_pem = cert ? w->client_key : NULL, .ca_pem = w->ca, .alpn = alpn, .clock = &clock_system };
    struct err err;

    *p = (struct peer){ .w = w };
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->moved, NULL);
    CHECK_INT(tls_ctx_new(&c, &p->tls, &err), 0);
    buf_str(&p->send, request);
    loop_post(w->client_loop, peer_dial, p);
}

static void peer_write_now(void *arg)
{
    struct peer *p = arg;

    if (!p->closed)
        peer_ready(p->conn, p);
}

static void peer_abort_now(void *arg)
{
    struct peer *p = arg;

    if (!p->closed)
        conn_abort(p->conn, NULL);
}

/* Waits until the text (n bytes) came. */
static void peer_wait(struct peer *p, const char *want, size_t n)
{
    LOCK_SCOPE(&p->lock);
    while (!buf_len(&p->got) || !memmem(buf_at(&p->got), buf_len(&p->got), want, n)) {
        if (p->closed) {
            fprintf(stderr, "closed without \"%s\": %s\n", want, buf_at(&p->got));
            exit(1);
        }
        pthread_cond_wait(&p->moved, &p->lock);
    }
}
#define peer_see(p, text) peer_wait(p, text, sizeof(text) - 1)

static void peer_end(struct peer *p, bool abort)
{
    if (abort)
        loop_post(p->w->client_loop, peer_abort_now, p);
    {
        LOCK_SCOPE(&p->lock);
        while (!p->closed)
            pthread_cond_wait(&p->moved, &p->lock);
    }
    tls_ctx_unref(p->tls);
    buf_clear(&p->got);
    buf_clear(&p->send);
}

/* A whole exchange: `want` is somewhere in the answer. */
static void exchange(struct world *w, const char *cert, const char *line, const char *want)
{
    AUTO_FREE char *request = mem_printf("%s HTTP/1.1\r\nHost: n1\r\nConnection: close\r\n\r\n", line);
    struct peer p;

    peer_open(&p, w, cert, request);
    {
        LOCK_SCOPE(&p.lock);
        while (!p.closed)
            pthread_cond_wait(&p.moved, &p.lock);
    }
    if (!strstr(buf_at(&p.got), want)) {
        fprintf(stderr, "%s: wanted \"%s\":\n%s\n", line, want, buf_at(&p.got));
        exit(1);
    }
    peer_end(&p, false);
}

#define UPGRADE(path, protocol)                                                                                              \
    "GET " path " HTTP/1.1\r\nHost: n1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"          \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: " protocol "\r\n\r\n"

/* A masked message of a channel (the mask is zero). */
static void peer_send(struct peer *p, int channel, const char *text)
{
    size_t n = strlen(text);
    char head[] = { (char)0x82, (char)(0x80 | (n + 1)), 0, 0, 0, 0, (char)channel };

    CHECK(n < 100);
    buf_add(&p->send, head, sizeof(head));
    buf_add(&p->send, text, n);
    loop_post(p->w->client_loop, peer_write_now, p);
}

static void log_line(struct world *w, const char *text)
{
    AUTO_FREE char *path = mem_printf("%s/0.log", w->dir);
    FILE *f = fopen(path, "a");

    CHECK(f && fprintf(f, "2026-01-02T03:04:05.000000000Z stdout F %s\n", text) > 0);
    fclose(f);
}

/* --- the cases --- */

TEST(kubelet_api_who_may_ask_what)
{
    static const struct {
        int who; /* 0: nobody, 1: another node, 2: the API server */
        const char *line, *want;
    } cases[] = {
        { 0, "GET /pods", "HTTP/1.1 401 " },
        { 0, "GET /healthz", "HTTP/1.1 401 " },
        { 1, "GET /pods", "Forbidden (user=system:node:n2, verb=get, resource=nodes, subresource(s)=[proxy])" },
        { 1, "GET /containerLogs/shop/p/web", "HTTP/1.1 403 " },
        { 2, "GET /healthz", "\r\n\r\nok" },
        { 2, "GET /nothing", "HTTP/1.1 404 " },
        { 2, "GET /", "HTTP/1.1 404 " },
        { 2, "GET /containerLogs/shop/p", "HTTP/1.1 404 " },
        { 2, "GET /containerLogs/shop/p/web/u/v/w/x/y/z", "HTTP/1.1 404 " },
        { 2, "GET /containerLogs/shop/p%zz/web", "HTTP/1.1 404 " },
        { 2, "POST /containerLogs/shop/p/web", "HTTP/1.1 405 " },
        { 2, "GET /containerLogs/shop/q/web", "HTTP/1.1 404 " },
        { 2, "GET /containerLogs/shop/p/db", "container db is not valid for pod p" },
        { 2, "GET /containerLogs/shop/p/web?previous=true", "previous terminated container \"web\" in pod \"p\" not found" },
        { 2, "GET /containerLogs/shop/p/web?tailLines=x", "Unable to decode query." },
        { 2, "GET /containerLogs/shop/p/web?tailLines=-1", "HTTP/1.1 422 " },
        { 2, "GET /containerLogs/shop/p/web?sinceSeconds=1&sinceTime=2026-01-02T03:04:05Z", "HTTP/1.1 422 " },
        { 2, "GET /containerLogs/shop/p/web?stream=Stdin", "HTTP/1.1 422 " },
        { 2, "GET /containerLogs/shop/p/web", "HTTP/1.1 500 " }, /* no file yet */
        { 2, "GET /exec/shop/p/web?output=1", "you must specify at least one command" },
        { 2, "GET /exec/shop/p/web?command=ls&output=1", "HTTP/1.1 400 " }, /* no upgrade */
        { 2, "GET /exec/shop/p/other-uid/web?command=ls&output=1", "HTTP/1.1 404 " },
        { 2, "GET /portForward/shop/p?port=0", "HTTP/1.1 400 " },
        { 2, "POST /run/shop/p/u-1/web?cmd=ls%20-l", "\r\n\r\nls+-l" },
        { 2, "POST /run/shop/p/web?cmd=false", "false+\ncommand terminated with exit code 1" },
        { 2, "GET /pods", "\"kind\":\"PodList\"" },
        { 2, "GET /stats/summary", "\"containers\":[{\"name\":\"web\"" },
        { 2, "GET /metrics/resource", "\ncontainer_cpu_usage_seconds_total{container=\"web\",namespace=\"shop\",pod=\"p\"} 1.5 " },
        { 2, "GET /metrics/resource", "\npod_memory_working_set_bytes{namespace=\"shop\",pod=\"p\"} 2048 " },
        { 2, "GET /metrics/cadvisor", "\ncontainer_memory_rss{container=\"web\",id=\"" ID "\",namespace=\"shop\",pod=\"p\"} 1024\n" },
        { 2, "GET /metrics", "\nkubelet_running_pods 1\n" },
    };
    struct world w;

    world_open(&w);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        exchange(&w, cases[i].who == 0 ? NULL : cases[i].who == 1 ? w.node : w.admin, cases[i].line, cases[i].want);
    w.running = false;
    exchange(&w, w.admin, "GET /exec/shop/p/web?command=ls&output=1", "container not found (\"web\")");
    CHECK_INT(w.sessions, 0);
    world_close(&w);
}

TEST(kubelet_api_logs)
{
    struct world w;
    struct peer p;

    world_open(&w);
    log_line(&w, "one");
    log_line(&w, "two");
    w.ended = true;
    exchange(&w, w.admin, "GET /containerLogs/shop/p/web", "one\ntwo\n");
    exchange(&w, w.admin, "GET /containerLogs/shop/p/web?follow=true&tailLines=1&timestamps=true", "2026-01-02T03:04:05.000000000Z two\n");
    w.ended = false;
    peer_open(&p, &w, w.admin, "GET /containerLogs/shop/p/web?follow=1 HTTP/1.1\r\nHost: n1\r\n\r\n");
    peer_see(&p, "two\n");
    log_line(&w, "three");
    peer_see(&p, "three\n");
    log_line(&w, "last");
    kubelet_api_container_ended(w.api, "u-1", "another");
    kubelet_api_container_ended(w.api, "u-1", ID);
    peer_see(&p, "last\n");
    peer_see(&p, "0\r\n\r\n");
    peer_end(&p, true);

    peer_open(&p, &w, w.admin, UPGRADE("/containerLogs/shop/p/web?follow=true&tailLines=1", "binary.k8s.io"));
    peer_see(&p, "last\n");
    peer_end(&p, true); /* the client leaves */
    peer_open(&p, &w, w.admin, "GET /containerLogs/shop/p/web?follow=1 HTTP/1.1\r\nHost: n1\r\n\r\n");
    peer_see(&p, "last\n");
    world_close(&w); /* with a follower: it is ended */
    /* the client's loop is gone with its connection */
    CHECK(p.closed || p.conn);
    tls_ctx_unref(p.tls);
    buf_clear(&p.got);
}

/* More than any buffer on the way holds. */
TEST(kubelet_api_long_log)
{
    enum { LINES = 40000 };
    struct world w;
    struct peer p;

    world_open(&w);
    AUTO_FREE char *path = mem_printf("%s/0.log", w.dir);
    FILE *f = fopen(path, "a");
    for (int i = 0; i < LINES; i++)
        fprintf(f, "2026-01-02T03:04:05.000000000Z stdout F %099d\n", i);
    fclose(f);
    w.ended = true;
    peer_open(&p, &w, w.admin, UPGRADE("/containerLogs/shop/p/web", "binary.k8s.io"));
    peer_see(&p, "\x88\x02\x03\xe8");
    CHECK(buf_len(&p.got) > LINES * 100 && buf_len(&p.got) < LINES * 100 + 64 * 1024);
    peer_end(&p, true);
    world_close(&w);
}

TEST(kubelet_api_exec)
{
    struct world w;
    struct peer p;

    world_open(&w);
    peer_open(&p, &w, w.admin, UPGRADE("/exec/shop/p/web?command=cat&input=1&output=1", "v5.channel.k8s.io"));
    peer_send(&p, 0, "typed early|");
    peer_see(&p, "ready.");
    peer_see(&p, "typed early|");
    peer_send(&p, 0, "typed late|");
    peer_see(&p, "typed late|");
    static const char close_in[] = { (char)0x82, (char)0x82, 0, 0, 0, 0, (char)255, 0 };
    buf_add(&p.send, close_in, sizeof(close_in));
    loop_post(w.client_loop, peer_write_now, &p);
    peer_see(&p, "\"causes\":[{\"reason\":\"ExitCode\",\"message\":\"3\"}]");
    peer_end(&p, true);
    join_echo(&w);
    CHECK_STR(w.argv, "cat");

    peer_open(&p, &w, w.admin, UPGRADE("/exec/shop/p/web?command=nope&output=1", "v4.channel.k8s.io"));
    peer_see(&p, "executable file not found in $PATH");
    peer_end(&p, true);

    w.tty = true;
    peer_open(&p, &w, w.admin, UPGRADE("/attach/shop/p/web?output=1&input=1&tty=1", "v4.channel.k8s.io"));
    peer_send(&p, 4, "{\"Width\":80,\"Height\":24}");
    peer_see(&p, "ready.");
    peer_end(&p, true); /* the client leaves: the command sees its input end */
    join_echo(&w);
    CHECK_STR(w.argv, "(attach)");
    world_close(&w);
}

TEST(kubelet_api_stop_ends_sessions)
{
    struct world w;
    struct peer p;

    world_open(&w);
    peer_open(&p, &w, w.admin, UPGRADE("/exec/shop/p/web?command=cat&input=1&output=1", "v4.channel.k8s.io"));
    peer_see(&p, "ready.");
    kubelet_api_stop(TAKE(w.api));
    join_echo(&w);
    peer_see(&p, "the node agent is stopping");
    peer_end(&p, true);
    world_close(&w);
}

TEST(kubelet_api_port_forward)
{
    struct world w;
    struct peer p;

    world_open(&w);
    peer_open(&p, &w, w.admin, UPGRADE("/portForward/shop/p?port=80&port=81", "v4.channel.k8s.io"));
    peer_see(&p, "ready.");
    peer_see(&p, "error forwarding port 81 to pod u-1, uid : connect: connection refused");
    peer_send(&p, 0, "ping");
    peer_see(&p, "ping");
    peer_end(&p, true);
    join_echo(&w);
    CHECK_INT(w.dials, 2);
    world_close(&w);
}
