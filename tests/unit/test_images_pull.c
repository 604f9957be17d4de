/* Pulls from a registry on loopback: tests/unit/images_registry.py plays it, and Debian's docker-registry where it is installed. */
#include "agent/images/digest.h"
#include "agent/images/folder.h"
#include "agent/images/images.h"
#include "lib/http/client.h"
#include "lib/mem.h"
#include "tests/unit/test.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct site {
    char dir[64], registries[96];
    struct images *im;
    struct loop *loop;
    struct pool *pool;
    struct ctx ctx;
    pid_t pid;
    int in; /* of the registry; its end ends it */
    int port, port2, port_tls;
    char digest[DIGEST_CHARS + 1];
};

/* A failed check ends the process: what the test mounted and made goes all the same. */
static char made[64];

static void remove_made(void)
{
    struct images_options options = { .data_dir = made, .clock = &clock_system };
    struct ctx ctx = ctx_background(NULL);
    struct images *im;
    struct err err;

    if (access(made, F_OK) < 0)
        return;
    if (images_open(&options, &im, &err) == 0) {
        ERR_IGNORE(images_retain(&ctx, im, NULL, 0, &err));
        images_close(im);
    }
    ERR_IGNORE(folder_remove(AT_FDCWD, made, NULL, &err));
}

static bool can_run(void)
{
    if (geteuid() == 0 && access("/usr/bin/python3", X_OK) == 0)
        return true;
    printf("# skip: pulls need root and python3\n");
    return false;
}

/* What the child has to say of clients that hang up is of no interest. */
static pid_t child(const char *const *argv, int in, int out)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(in, 0);
        dup2(out, 1);
        dup2(null, 2);
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    close(null);
    CHECK(pid > 0);
    return pid;
}

static void write_file(const struct site *s, const char *name, const char *text, char path[96])
{
    snprintf(path, 96, "%s/%s", s->dir, name);
    FILE *f = fopen(path, "we");
    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

/* ca.pem, and a certificate of it for 127.0.0.1. */
static void make_certificate(const struct site *s, char cert[96], char key[96])
{
    static const char *const ips[] = { "127.0.0.1", NULL };
    int64_t now = clock_wall_s(&clock_system);
    struct cert_spec ca = { .common_name = "test-ca", .ca = true, .not_before_s = now - 60, .not_after_s = now + 3600 };
    struct cert_spec leaf = { .common_name = "registry", .ips = ips, .server_auth = true, .not_before_s = now - 60, .not_after_s = now + 3600 };
    AUTO_FREE char *ca_key = key_new_pem(), *leaf_key = key_new_pem(), *ca_pem = NULL, *leaf_pem = NULL;
    struct err err;
    char path[96];

    CHECK_INT(cert_sign(&ca, ca_key, NULL, NULL, &ca_pem, &err), 0);
    CHECK_INT(cert_sign(&leaf, leaf_key, ca_pem, ca_key, &leaf_pem, &err), 0);
    write_file(s, "ca.pem", ca_pem, path);
    write_file(s, "cert.pem", leaf_pem, cert);
    write_file(s, "key.pem", leaf_key, key);
}

static void start_registry(struct site *s)
{
    char cert[96], key[96];
    const char *argv[] = { "python3", "-B", "tests/unit/images_registry.py", cert, key, NULL };
    int in[2], out[2];
    char line[256];
    size_t n = 0;

    make_certificate(s, cert, key);
    CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
    s->pid = child(argv, in[0], out[1]);
    close(in[0]);
    close(out[1]);
    s->in = in[1];
    while (n < sizeof(line) - 1 && (n == 0 || line[n - 1] != '\n') && read(out[0], line + n, 1) == 1)
        n++;
    line[n] = '\0';
    close(out[0]);
    CHECK_INT(sscanf(line, "%d %d %d %71s", &s->port, &s->port2, &s->port_tls, s->digest), 4);
}

static void stop_child(pid_t pid)
{
    CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
}

static void open_store(struct site *s, const char *registries)
{
    struct images_options options = { .data_dir = s->dir, .clock = &clock_system, .loop = s->loop, .pool = s->pool, .platform_arch = "arm64" };
    struct err err = { 0 };

    images_close(s->im);
    s->im = NULL;
    if (registries) {
        snprintf(s->registries, sizeof(s->registries), "%s/registries.yaml", s->dir);
        FILE *f = fopen(s->registries, "we");
        CHECK(f && fputs(registries, f) >= 0 && fclose(f) == 0);
        options.registries_file = s->registries;
    }
    if (images_open(&options, &s->im, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
}

static void site_begin(struct site *s)
{
    struct err err;

    *s = (struct site){ .ctx = ctx_background(NULL) };
    signal(SIGPIPE, SIG_IGN);
    snprintf(s->dir, sizeof(s->dir), "/tmp/images-pull-XXXXXX");
    CHECK(mkdtemp(s->dir) != NULL);
    snprintf(made, sizeof(made), "%s", s->dir);
    atexit(remove_made);
    CHECK_INT(loop_new("test", &s->loop, &err), 0);
    CHECK_INT(pool_new(NULL, &s->pool, &err), 0);
    open_store(s, NULL);
    start_registry(s);
}

static void site_end(struct site *s)
{
    struct err err;

    close(s->in);
    stop_child(s->pid);
    images_close(s->im);
    pool_free(s->pool);
    loop_free(s->loop);
    CHECK_INT(folder_remove(AT_FDCWD, s->dir, NULL, &err), 0);
}

static int pull(struct site *s, const char *kind, const struct image_auth *auths, size_t n, struct image_info *ret, struct err *err)
{
    char name[128];

    snprintf(name, sizeof(name), "127.0.0.1:%d/%s/x:1", s->port, kind);
    return images_pull(&s->ctx, s->im, name, auths, n, ret, err);
}

static void must_pull(struct site *s, const char *kind, const struct image_auth *auths, size_t n)
{
    struct image_info info = { 0 };
    struct err err = { 0 };
    char want[192];

    if (pull(s, kind, auths, n, &info, &err) < 0) {
        fprintf(stderr, "%s: %s\n", kind, err.msg);
        exit(1);
    }
    snprintf(want, sizeof(want), "127.0.0.1:%d/%s/x@%s", s->port, kind, s->digest);
    CHECK_STR(info.repo_digest, want);
    CHECK_STR(info.user, "arm64"); /* our platform's of the index */
    CHECK_STR(info.cmd[0], "/a");
    image_info_clear(&info);
}

/* The text with PORT where the port stands. */
static void must_fail(struct site *s, const char *kind, enum err_code code, const char *says)
{
    struct image_info info = { 0 };
    struct err err = { 0 };
    char want[256], start[256];

    CHECK(pull(s, kind, NULL, 0, &info, &err) < 0);
    snprintf(want, sizeof(want), "%s", says);
    snprintf(start, sizeof(start), "failed to pull and unpack image \"127.0.0.1:%d/%s/x:1\": ", s->port, kind);
    if ((enum err_code)err.code != code || !strstr(err.msg, want) || strncmp(err.msg, start, strlen(start)) != 0) {
        fprintf(stderr, "%s: code %d: %s\n", kind, err.code, err.msg);
        exit(1);
    }
}

static int count(struct site *s, const char *what)
{
    char url[64], key[64];
    struct http_client *c;
    struct err err;
    struct http_answer a = { 0 };

    snprintf(url, sizeof(url), "http://127.0.0.1:%d", s->port);
    struct http_client_options o = { .loop = s->loop, .url = url };
    CHECK_INT(http_client_new(&o, &c, &err), 0);
    struct http_call call = { .method = "GET", .path = "/counts" };
    CHECK_INT(http_call(&s->ctx, c, &call, &a, &err), 0);
    snprintf(key, sizeof(key), "\"%s\": ", what);
    const char *at = strstr(a.body->at, key);
    int n = at ? atoi(at + strlen(key)) : 0;
    http_answer_clear(&a);
    http_client_free(c);
    return n;
}

static int entries(const struct site *s, const char *folder)
{
    char path[128];
    int n = 0;

    snprintf(path, sizeof(path), "%s/images-store/%s", s->dir, folder);
    DIR *dir = opendir(path);
    CHECK(dir != NULL);
    for (struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

TEST(images_pull_plain)
{
    struct site s;
    struct image_info info;
    struct err err;
    char name[160];

    if (!can_run())
        return;
    site_begin(&s);
    must_pull(&s, "plain", NULL, 0);
    CHECK_INT(entries(&s, "layers"), 3);
    CHECK_INT(count(&s, "GET plain blobs"), 4);
    CHECK_INT(count(&s, "HEAD plain manifests"), 0);
    /* Again: one HEAD tells that the tag is where it was. */
    must_pull(&s, "plain", NULL, 0);
    CHECK_INT(count(&s, "HEAD plain manifests"), 1);
    CHECK_INT(count(&s, "GET plain manifests"), 2);
    /* By digest, also after a restart. */
    open_store(&s, NULL);
    snprintf(name, sizeof(name), "127.0.0.1:%d/plain/x@%s", s.port, s.digest);
    CHECK_INT(images_find(s.im, name, &info, &err), 0);
    image_info_clear(&info);
    CHECK_INT(images_pull(&s.ctx, s.im, name, NULL, 0, &info, &err), 0);
    image_info_clear(&info);
    CHECK_INT(count(&s, "GET plain blobs"), 4);
    /* Another name of the same layers costs no layer. */
    must_pull(&s, "other", NULL, 0);
    CHECK_INT(count(&s, "GET other blobs"), 1);
    CHECK_INT(entries(&s, "tmp"), 0);
    site_end(&s);
}

TEST(images_pull_credentials)
{
    struct site s;
    struct err err = { 0 };
    struct image_info info;
    char registry[32], text[256];

    if (!can_run())
        return;
    site_begin(&s);
    snprintf(registry, sizeof(registry), "127.0.0.1:%d", s.port);
    struct image_auth good = { .registry = registry, .username = "user", .password = "secret" };
    struct image_auth bad[] = { { .registry = registry, .username = "user", .password = "wrong" }, good };
    struct image_auth token = { .registry = registry, .token = "identity" };
    must_fail(&s, "basic", ERR_UNAUTHORIZED, "pull access denied, repository does not exist or may require authorization");
    must_fail(&s, "auth", ERR_UNAUTHORIZED, "failed to authorize: failed to fetch oauth token: unexpected status from GET request to");
    CHECK_INT(pull(&s, "basic", bad, 1, &info, &err), -ERR_UNAUTHORIZED);
    must_pull(&s, "basic", bad, 2); /* the second one is right */
    must_pull(&s, "auth", &good, 1);
    must_pull(&s, "token", &token, 1);
    must_fail(&s, "denied", ERR_UNAUTHORIZED, "insufficient_scope: authorization failed");
    snprintf(text, sizeof(text), "configs:\n  \"%s\":\n    auth: {username: user, password: secret}\n", registry);
    open_store(&s, text);
    must_pull(&s, "basic", NULL, 0);
    site_end(&s);
}

TEST(images_pull_bad_networks)
{
    struct site s;
    char registry[32];

    if (!can_run())
        return;
    site_begin(&s);
    /* The registry wants the credential, the store it sends us to must not see it. */
    snprintf(registry, sizeof(registry), "127.0.0.1:%d", s.port);
    struct image_auth auth = { .registry = registry, .username = "user", .password = "secret" };
    must_pull(&s, "redirect", &auth, 1);
    CHECK_INT(count(&s, "GET redirect blobs"), 4);
    site_end(&s);
    site_begin(&s);
    must_pull(&s, "cut", NULL, 0); /* goes on where it was */
    CHECK_INT(count(&s, "GET cut blobs"), 6);
    site_end(&s);
    site_begin(&s);
    must_pull(&s, "norange", NULL, 0);
    CHECK_INT(entries(&s, "layers"), 3);
    site_end(&s);
    site_begin(&s);
    must_pull(&s, "busy", NULL, 0);
    site_end(&s);
}

TEST(images_pull_failures)
{
    struct site s;
    char want[128];

    if (!can_run())
        return;
    site_begin(&s);
    snprintf(want, sizeof(want), "failed to resolve reference \"127.0.0.1:%d/missing/x:1\": 127.0.0.1:%d/missing/x:1: not found", s.port, s.port);
    must_fail(&s, "missing", ERR_NOT_FOUND, want);
    must_fail(&s, "bad", ERR_IO, "unexpected commit digest");
    must_fail(&s, "swapped", ERR_IO, "failed to validate manifest");
    must_fail(&s, "broken", ERR_UNAVAILABLE, "503 Service Unavailable");
    CHECK(entries(&s, "layers") == 0 && entries(&s, "images") == 0 && entries(&s, "tmp") == 0);
    s.ctx = ctx_with_timeout(&s.ctx, 300);
    must_fail(&s, "hang", ERR_TIMEOUT, "context deadline exceeded");
    s.ctx = ctx_background(NULL);
    int port = s.port;
    s.port = 1;
    must_fail(&s, "nobody", ERR_UNAVAILABLE, "dial tcp 127.0.0.1:1: connect: connection refused");
    s.port = port;
    site_end(&s);
}

TEST(images_pull_tls)
{
    struct site s;
    struct err err = { 0 };
    struct image_info info;
    char text[512];

    if (!can_run())
        return;
    site_begin(&s);
    /* A loopback registry is plain HTTP unless an endpoint says https; the name is one nobody resolves. */
    snprintf(text, sizeof(text), "mirrors:\n  r.invalid:\n    endpoint: [\"https://127.0.0.1:%d\"]\n", s.port_tls);
    open_store(&s, text);
    CHECK(images_pull(&s.ctx, s.im, "r.invalid/plain/x:1", NULL, 0, &info, &err) < 0);
    if (!strstr(err.msg, "x509: certificate signed by unknown authority")) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    size_t n = strlen(text);
    snprintf(text + n, sizeof(text) - n, "configs:\n  \"127.0.0.1:%d\":\n    tls: {ca_file: %s/ca.pem}\n", s.port_tls, s.dir);
    open_store(&s, text);
    if (images_pull(&s.ctx, s.im, "r.invalid/plain/x:1", NULL, 0, &info, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    image_info_clear(&info);
    snprintf(text + n, sizeof(text) - n, "configs:\n  \"*\":\n    tls: {insecure_skip_verify: true}\n");
    open_store(&s, text);
    CHECK_INT(images_pull(&s.ctx, s.im, "r.invalid/other/x:1", NULL, 0, &info, &err), 0);
    image_info_clear(&info);
    snprintf(text + n, sizeof(text) - n, "configs:\n  \"*\":\n    tls: {ca_file: /nonexistent}\n");
    open_store(&s, text);
    CHECK(images_pull(&s.ctx, s.im, "r.invalid/third/x:1", NULL, 0, &info, &err) < 0);
    CHECK(strstr(err.msg, "ca_file: open /nonexistent: No such file or directory") != NULL);
    site_end(&s);
}

TEST(images_pull_mirror)
{
    struct site s;
    struct err err = { 0 };
    struct image_info info;
    char text[512];

    if (!can_run())
        return;
    site_begin(&s);
    snprintf(text, sizeof(text), "mirrors:\n  registry.invalid:\n    endpoint: [\"http://127.0.0.1:1\", \"http://127.0.0.1:%d\"]\n    rewrite:\n"
             "      \"^team/(.*)$\": \"mirrored/$1\"\n", s.port);
    open_store(&s, text);
    if (images_pull(&s.ctx, s.im, "registry.invalid/team/x:1", NULL, 0, &info, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    CHECK(strncmp(info.repo_digest, "registry.invalid/team/x@sha256:", 31) == 0);
    image_info_clear(&info);
    site_end(&s);
}

struct puller {
    struct site *s;
    int rc;
    sem_t *done;
};

static void pull_one(void *arg)
{
    struct puller *p = arg;
    struct image_info info = { 0 };
    struct err err;

    p->rc = pull(p->s, "plain", NULL, 0, &info, &err);
    image_info_clear(&info);
    sem_post(p->done);
}

TEST(images_pull_joined)
{
    struct site s;
    struct puller p[8];
    struct err err;
    sem_t done;

    if (!can_run())
        return;
    site_begin(&s);
    sem_init(&done, 0, 0);
    for (size_t i = 0; i < ARRAY_LEN(p); i++) {
        p[i] = (struct puller){ &s, 1, &done };
        CHECK_INT(pool_run(s.pool, pull_one, &p[i], &err), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(p); i++)
        while (sem_wait(&done) < 0)
            ;
    for (size_t i = 0; i < ARRAY_LEN(p); i++)
        CHECK_INT(p[i].rc, 0);
    CHECK_INT(count(&s, "GET plain blobs"), 4);
    site_end(&s);
}

/* --- the real one --- */

static int free_port(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&a, n) == 0 && getsockname(fd, (struct sockaddr *)&a, &n) == 0);
    close(fd);
    return ntohs(a.sin_port);
}

static bool listening(int port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;

    close(fd);
    return ok;
}

static void push(int port, const char *repository, const char *compress)
{
    char url[64];
    const char *argv[] = { "python3", "-B", "tests/unit/images_make.py", repository, compress, url, NULL };
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), status = -1;

    snprintf(url, sizeof(url), "http://127.0.0.1:%d", port);
    pid_t pid = child(argv, null, null);
    close(null);
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

static pid_t start_docker_registry(struct site *s, int port)
{
    char path[96];
    const char *argv[] = { "/usr/bin/docker-registry", "serve", path, NULL };
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    snprintf(path, sizeof(path), "%s/registry.yml", s->dir);
    FILE *f = fopen(path, "we");
    CHECK(f && fprintf(f, "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s/blobs}}\n"
                       "http: {addr: \"127.0.0.1:%d\"}\n", s->dir, port) > 0 && fclose(f) == 0);
    pid_t pid = child(argv, null, null);
    close(null);
    while (!listening(port) && waitpid(pid, NULL, WNOHANG) == 0)
        poll(NULL, 0, 10);
    return pid;
}

TEST(images_pull_docker_registry)
{
    static const char *const compressions[] = { "gzip", "zstd", "none" };
    struct site s;
    struct err err = { 0 };

    if (!can_run())
        return;
    if (access("/usr/bin/docker-registry", X_OK) < 0 || access("/usr/bin/zstd", X_OK) < 0 || access("/bin/busybox", X_OK) < 0) {
        printf("# skip: docker-registry, zstd or busybox is not installed\n");
        return;
    }
    site_begin(&s);
    int port = free_port();
    pid_t pid = start_docker_registry(&s, port);
    for (size_t i = 0; i < ARRAY_LEN(compressions); i++) {
        struct image_info info = { 0 };
        char name[64], path[192], *root = NULL;
        struct stat st;

        push(port, compressions[i], compressions[i]);
        snprintf(name, sizeof(name), "localhost:%d/%s:1", port, compressions[i]);
        if (images_pull(&s.ctx, s.im, name, NULL, 0, &info, &err) < 0 || images_mount(&s.ctx, s.im, info.id, "k", &root, &err) < 0) {
            fprintf(stderr, "%s\n", err.msg);
            exit(1);
        }
        snprintf(path, sizeof(path), "%s/bin/busybox", root);
        CHECK(stat(path, &st) == 0 && (st.st_mode & 0111) && st.st_size > 500000);
        snprintf(path, sizeof(path), "%s/etc/motd", root);
        CHECK(stat(path, &st) == 0 && st.st_size == 5);
        CHECK_INT(images_unmount(&s.ctx, s.im, "k", &err), 0);
        image_info_clear(&info);
        free(root);
    }
    CHECK_INT(entries(&s, "layers"), 2); /* the same content, however compressed */
    stop_child(pid);
    site_end(&s);
}
