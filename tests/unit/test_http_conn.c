#include "lib/http/conn.h"
#include "test.h"

#include "lib/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* What one side saw; the test's thread waits for `event` posts. */
struct seen {
    struct loop *loop;
    struct conn *conn;
    sem_t event;
    _Atomic int ready, eof, closed, drained;
    _Atomic size_t bytes;
    struct err why;
    bool failed, echo, keep;
    char peer[64];
};

static void on_ready(struct conn *c, void *arg)
{
    struct seen *s = arg;

    snprintf(s->peer, sizeof(s->peer), "%s", conn_peer_address(c));
    s->ready++;
    sem_post(&s->event);
}

static void on_data(struct conn *c, void *arg, const char *data, size_t n)
{
    struct seen *s = arg;

    s->bytes += n;
    if (s->echo)
        conn_write(c, data, n);
    sem_post(&s->event);
}

static void on_drain(struct conn *c, void *arg)
{
    struct seen *s = arg;

    (void)c;
    s->drained++;
    sem_post(&s->event);
}

static void on_eof(struct conn *c, void *arg)
{
    struct seen *s = arg;

    s->eof++;
    if (!s->keep)
        conn_close(c);
    sem_post(&s->event);
}

static void on_close(struct conn *c, void *arg, const struct err *why)
{
    struct seen *s = arg;

    (void)c;
    s->failed = why != NULL;
    if (why)
        s->why = *why;
    s->closed++;
    sem_post(&s->event);
}

static const struct conn_ops ops = { on_ready, on_data, on_drain, on_eof, on_close };

#define WAIT_FOR(s, cond)                                                     \
    do {                                                                      \
        while (!(cond))                                                       \
            sem_wait(&(s)->event);                                            \
    } while (0)

struct accept_job {
    struct seen *seen;
    int fd;
};

static void accept_now(void *arg)
{
    struct accept_job *job = arg;

    job->seen->conn = conn_accept(job->seen->loop, job->fd, NULL, 0, &ops, job->seen);
    sem_post(&job->seen->event);
}

static struct loop *loop_start(void)
{
    struct loop *l;
    struct err err;

    CHECK_INT(loop_new("test", &l, &err), 0);
    return l;
}

/* libuv keeps a signal pipe and its threads for the whole process; they are no leak of ours. */
static void loop_end(struct loop *l)
{
    loop_free(l);
    uv_library_shutdown();
}

static void seen_init(struct seen *s, struct loop *l)
{
    memset(s, 0, sizeof(*s));
    s->loop = l;
    sem_init(&s->event, 0, 0);
}

static int accept_pair(struct seen *s)
{
    int fds[2];

    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    struct accept_job job = { s, fds[0] };
    loop_post(s->loop, accept_now, &job);
    WAIT_FOR(s, s->ready == 1);
    return fds[1];
}

static void read_whole(int fd, void *to, size_t n)
{
    for (size_t got = 0; got < n;) {
        ssize_t r = read(fd, (char *)to + got, n - got);

        CHECK(r > 0);
        got += (size_t)r;
    }
}

TEST(http_conn_echo_and_close)
{
    struct loop *l = loop_start();
    struct seen s;
    char back[5];

    seen_init(&s, l);
    s.echo = true;
    int fd = accept_pair(&s);
    CHECK_INT(write(fd, "hello", 5), 5);
    read_whole(fd, back, 5);
    CHECK(memcmp(back, "hello", 5) == 0);
    CHECK_STR(s.peer, "@");
    shutdown(fd, SHUT_WR);
    WAIT_FOR(&s, s.closed == 1);
    CHECK_INT(s.eof, 1);
    CHECK(!s.failed);
    CHECK_INT(read(fd, back, 1), 0);
    close(fd);
    loop_end(l);
}

static void pause_it(void *arg)
{
    conn_pause(((struct seen *)arg)->conn);
    sem_post(&((struct seen *)arg)->event);
}

static void resume_it(void *arg)
{
    conn_resume(((struct seen *)arg)->conn);
}

static void abort_it(void *arg)
{
    struct err why;

    ERR_IGNORE(err_set(&why, ERR_CANCELED, "enough"));
    conn_abort(((struct seen *)arg)->conn, &why);
    conn_write(((struct seen *)arg)->conn, "x", 1); /* does nothing */
    conn_close(((struct seen *)arg)->conn);
}

static void unread_it(void *arg)
{
    conn_unread(((struct seen *)arg)->conn, "again", 5);
}

TEST(http_conn_pause_stops_reading)
{
    struct loop *l = loop_start();
    struct seen s;
    char chunk[4096] = { 0 };
    size_t sent = 0;

    seen_init(&s, l);
    int fd = accept_pair(&s);
    loop_post(l, pause_it, &s);
    sem_wait(&s.event);
    for (ssize_t n; (n = send(fd, chunk, sizeof(chunk), MSG_DONTWAIT)) > 0;)
        sent += (size_t)n;
    CHECK_INT(errno, EAGAIN); /* nobody reads */
    CHECK_INT(s.bytes, 0);
    loop_post(l, unread_it, &s);
    loop_post(l, resume_it, &s);
    WAIT_FOR(&s, s.bytes == sent + 5);
    loop_post(l, abort_it, &s);
    WAIT_FOR(&s, s.closed == 1);
    CHECK_INT(s.why.code, ERR_CANCELED);
    close(fd);
    loop_end(l);
}

enum { BIG_BYTES = 3 * 1024 * 1024 };

static void write_big(void *arg)
{
    struct seen *s = arg;
    char *data = mem_alloc(BIG_BYTES);

    for (size_t i = 0; i < BIG_BYTES; i++)
        data[i] = (char)(i * 7 + i / 251);
    struct bytes *b = bytes_new(data, BIG_BYTES);
    conn_write(s->conn, "head", 4);
    conn_write_bytes(s->conn, b);
    conn_write(s->conn, "tail", 4);
    CHECK(conn_queued(s->conn) == BIG_BYTES + 8);
    bytes_unref(b);
    free(data);
    conn_close(s->conn);
    conn_write(s->conn, "late", 4); /* after close: nothing */
}

TEST(http_conn_close_sends_what_is_queued)
{
    struct loop *l = loop_start();
    struct seen s;
    char *got = mem_alloc(BIG_BYTES + 8), end;

    seen_init(&s, l);
    int fd = accept_pair(&s);
    loop_post(l, write_big, &s);
    read_whole(fd, got, BIG_BYTES + 8);
    CHECK(memcmp(got, "head", 4) == 0 && memcmp(got + 4 + BIG_BYTES, "tail", 4) == 0);
    for (size_t i = 0; i < BIG_BYTES; i++)
        CHECK(got[4 + i] == (char)(i * 7 + i / 251));
    CHECK_INT(read(fd, &end, 1), 0);
    WAIT_FOR(&s, s.closed == 1);
    CHECK(!s.failed);
    free(got);
    close(fd);
    loop_end(l);
}

static void write_much(void *arg)
{
    struct seen *s = arg;
    char *data = mem_zalloc(BIG_BYTES);

    conn_write(s->conn, data, BIG_BYTES);
    free(data);
}

TEST(http_conn_drain_comes_once)
{
    struct loop *l = loop_start();
    struct seen s;
    char *got = mem_alloc(BIG_BYTES);

    seen_init(&s, l);
    int fd = accept_pair(&s);
    loop_post(l, write_much, &s);
    CHECK_INT(s.drained, 0);
    read_whole(fd, got, BIG_BYTES);
    WAIT_FOR(&s, s.drained == 1);
    close(fd); /* our end goes: EOF or an error, but the end in any case */
    WAIT_FOR(&s, s.closed == 1);
    CHECK_INT(s.drained, 1);
    free(got);
    loop_end(l);
}

static int listen_tcp(int *ret_port)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK_INT(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    CHECK_INT(listen(fd, 8), 0);
    CHECK_INT(getsockname(fd, (struct sockaddr *)&sa, &n), 0);
    *ret_port = ntohs(sa.sin_port);
    return fd;
}

struct dial_job {
    struct seen *seen;
    struct conn_target target;
};

static void dial_now(void *arg)
{
    struct dial_job *job = arg;

    job->seen->conn = conn_dial(job->seen->loop, &job->target, &ops, job->seen);
    CHECK_INT(job->seen->closed, 0);
    sem_post(&job->seen->event);
}

TEST(http_conn_dial_tcp_by_name)
{
    struct loop *l = loop_start();
    struct seen s;
    int port;
    char want[64];

    seen_init(&s, l);
    int server = listen_tcp(&port);
    struct dial_job job = { &s, { .host = "localhost", .port = port, .timeout_ms = 5000 } };
    loop_post(l, dial_now, &job);
    WAIT_FOR(&s, s.ready || s.closed);
    CHECK_INT(s.ready, 1); /* ::1 may have come first and been refused */
    int fd = accept4(server, NULL, NULL, SOCK_CLOEXEC);
    snprintf(want, sizeof(want), "127.0.0.1:%d", port);
    CHECK_STR(s.peer, want);
    CHECK_INT(write(fd, "abc", 3), 3);
    WAIT_FOR(&s, s.bytes == 3);
    close(fd);
    WAIT_FOR(&s, s.closed == 1);
    close(server);
    loop_end(l);
}

TEST(http_conn_dial_failures)
{
    struct loop *l = loop_start();
    int port;

    close(listen_tcp(&port));
    struct {
        struct conn_target target;
        const char *says;
        int code;
    } rows[] = {
        { { .host = "127.0.0.1", .port = port, .timeout_ms = 5000 }, "connection refused", ERR_UNAVAILABLE },
        { { .host = "no-such-name.invalid", .port = 1, .timeout_ms = 20000 }, "lookup no-such-name.invalid", ERR_UNAVAILABLE },
        { { .host = "/nowhere/at/all", .timeout_ms = 5000 }, "dial unix /nowhere/at/all", ERR_UNAVAILABLE },
        { { .host = "/an/overlong/path/an/overlong/path/an/overlong/path/an/overlong/path/an/overlong/path/an/overlong/path/an/overlong/path",
            .timeout_ms = 5000 },
          "longer than", ERR_UNAVAILABLE },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct seen s;

        seen_init(&s, l);
        struct dial_job job = { &s, rows[i].target };
        loop_post(l, dial_now, &job);
        WAIT_FOR(&s, s.closed == 1);
        CHECK(s.failed);
        CHECK_INT(s.why.code, rows[i].code);
        CHECK(strstr(s.why.msg, rows[i].says) != NULL);
        CHECK_INT(s.ready, 0);
    }
    loop_end(l);
}

static void fill_backlog(int fd, int port, int *fds, int n)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port) };

    (void)fd;
    for (int i = 0; i < n; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)!connect(fds[i], (struct sockaddr *)&sa, sizeof(sa));
    }
}

TEST(http_conn_dial_times_out_and_abort_while_dialling)
{
    enum { FILL = 4 };
    struct loop *l = loop_start();
    struct seen s;
    int port, fds[FILL];
    int server = listen_tcp(&port);

    CHECK_INT(listen(server, 0), 0);
    fill_backlog(server, port, fds, FILL); /* now a SYN gets no answer */
    seen_init(&s, l);
    struct dial_job job = { &s, { .host = "127.0.0.1", .port = port, .timeout_ms = 100 } };
    loop_post(l, dial_now, &job);
    WAIT_FOR(&s, s.closed == 1);
    CHECK_INT(s.why.code, ERR_TIMEOUT);

    struct seen t;
    seen_init(&t, l);
    struct dial_job never = { &t, { .host = "127.0.0.1", .port = port, .timeout_ms = 20000 } };
    loop_post(l, dial_now, &never);
    loop_post(l, abort_it, &t);
    WAIT_FOR(&t, t.closed == 1);
    CHECK_INT(t.why.code, ERR_CANCELED);

    struct seen u; /* while the resolver works */
    seen_init(&u, l);
    struct dial_job name = { &u, { .host = "localhost", .port = port, .timeout_ms = 20000 } };
    loop_post(l, dial_now, &name);
    loop_post(l, abort_it, &u);
    WAIT_FOR(&u, u.closed == 1);
    for (int i = 0; i < FILL; i++)
        close(fds[i]);
    close(server);
    loop_end(l);
}

struct relay_job {
    struct seen *a, *b;
};

static void relay_ended(void *arg)
{
    sem_post(arg);
}

static void relay_now(void *arg)
{
    struct relay_job *job = arg;

    conn_relay(job->a->conn, job->b->conn, relay_ended, &job->a->event);
    sem_post(&job->b->event);
}

TEST(http_conn_relay_both_ways_with_half_close)
{
    struct loop *l = loop_start();
    struct seen a, b;
    char buf[8];

    seen_init(&a, l);
    seen_init(&b, l);
    int fa = accept_pair(&a), fb = accept_pair(&b);
    while (sem_trywait(&a.event) == 0 || sem_trywait(&b.event) == 0)
        ;
    struct relay_job job = { &a, &b };
    loop_post(l, relay_now, &job);
    sem_wait(&b.event);
    CHECK_INT(write(fa, "ping", 4), 4);
    read_whole(fb, buf, 4);
    shutdown(fa, SHUT_WR);
    CHECK_INT(read(fb, buf, 1), 0); /* the end of stream came over, the way back is open */
    CHECK_INT(write(fb, "pong", 4), 4);
    read_whole(fa, buf, 4);
    CHECK(memcmp(buf, "pong", 4) == 0);
    shutdown(fb, SHUT_WR);
    sem_wait(&a.event);
    close(fa);
    close(fb);
    loop_end(l);
}
