#include "lib/http/server.h"
#include "http_peer.h"
#include "test.h"

#include "lib/mem.h"

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static void expect_close(int fd)
{
    char c;

    CHECK_INT(read(fd, &c, 1), 0);
    close(fd);
}

static void expect_answer(int fd, const char *status, const char *body)
{
    AUTO_FREE char *head = NULL, *got = NULL;

    answer_read(fd, &head, &got);
    if (strncmp(head + 9, status, strlen(status)) != 0)
        fprintf(stderr, "wanted %s: %s%s\n", status, head, got);
    CHECK(strncmp(head + 9, status, strlen(status)) == 0);
    if (body)
        CHECK_STR(got, body);
}

TEST(http_server_keep_alive_and_pipelining)
{
    struct peer_server ps;
    AUTO_FREE char *head = NULL, *body = NULL;

    peer_server_start(&ps, NULL);
    int fd = peer_server_connect(&ps);
    send_text(fd, "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n");
    answer_read(fd, &head, &body);
    CHECK(strncmp(head, "HTTP/1.1 200 OK\r\n", 17) == 0);
    CHECK(strstr(head, "\r\nContent-Type: text/plain\r\n") != NULL);
    CHECK(strstr(head, "\r\nDate: ") != NULL && strstr(head, " GMT\r\n") != NULL);
    CHECK(strstr(head, "Connection") == NULL);
    CHECK_STR(body, "GET /hello h 1");
    send_text(fd, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
                  "GET /later HTTP/1.1\r\nHost: h\r\n\r\n"
                  "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n"
                  "GET /hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    expect_answer(fd, "200", "abc");
    expect_answer(fd, "200", "later"); /* from a worker thread: the order is kept */
    expect_answer(fd, "200", "de");
    expect_answer(fd, "200", "GET /hello h 1");
    expect_close(fd);
    peer_server_end(&ps);
}

TEST(http_server_head_and_no_content)
{
    struct peer_server ps;
    char got[2048];

    peer_server_start(&ps, NULL);
    int fd = peer_server_connect(&ps);
    send_text(fd, "HEAD /hello HTTP/1.1\r\nHost: h\r\n\r\nHEAD /stream HTTP/1.1\r\nHost: h\r\n\r\n"
                  "GET /204 HTTP/1.1\r\nHost: h\r\n\r\nGET /inject HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    read_to_end(fd, got, sizeof(got));
    CHECK(strstr(got, "Content-Length: 15\r\n") != NULL);
    CHECK(strstr(got, "HEAD /hello") == NULL); /* no body */
    CHECK(strstr(got, "204 No Content") != NULL);
    CHECK(strstr(got, "piece") == NULL);
    CHECK(strstr(got, "\r\nInjected") == NULL && strstr(got, "X-A: b  Injected: c") != NULL);
    peer_server_end(&ps);
}

TEST(http_server_refuses)
{
    static const struct {
        const char *in, *status;
    } rows[] = {
        { "GET / HTTP/1.1\r\n\r\n", "400" },
        { "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", "400" },
        { "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "400" },
        { "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1025\r\n\r\n", "413" },
        { "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n", NULL },
        { "GET / HTTP/3.0\r\nHost: h\r\n\r\n", "505" },
        { "\x16\x03\x01\x02\r\n\r\n", "400" }, /* TLS to a plain port */
    };
    struct http_server_options o = { .body_max_bytes = 1024 };
    struct peer_server ps;

    peer_server_start(&ps, &o);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int fd = peer_server_connect(&ps);

        send_text(fd, rows[i].in);
        if (!rows[i].status) {
            char big[1100];

            memset(big, 'x', sizeof(big));
            CHECK_INT(write(fd, big, sizeof(big)), (ssize_t)sizeof(big));
        }
        expect_answer(fd, rows[i].status ? rows[i].status : "413", NULL);
        expect_close(fd);
    }
    /* At the limit it is taken, and the connection goes on. */
    char body[1025] = { 0 };
    int fd = peer_server_connect(&ps);
    memset(body, 'y', 1024);
    send_text(fd, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1024\r\n\r\n");
    send_text(fd, body);
    expect_answer(fd, "200", body);
    close(fd);
    peer_server_end(&ps);
}

TEST(http_server_byte_by_byte_and_continue)
{
    static const char request[] = "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n";
    struct peer_server ps;
    char line[25];

    peer_server_start(&ps, NULL);
    int fd = peer_server_connect(&ps);
    for (size_t i = 0; i + 1 < sizeof(request); i++)
        CHECK_INT(write(fd, request + i, 1), 1);
    expect_answer(fd, "200", "abc");
    send_text(fd, "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    CHECK_INT(recv(fd, line, 25, MSG_WAITALL), 25);
    CHECK(memcmp(line, "HTTP/1.1 100 Continue\r\n\r\n", 25) == 0);
    send_text(fd, "ok");
    expect_answer(fd, "200", "ok");
    close(fd);
    peer_server_end(&ps);
}

TEST(http_server_streams)
{
    struct peer_server ps;
    char got[1024];

    peer_server_start(&ps, NULL);
    int fd = peer_server_connect(&ps);
    send_text(fd, "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
    expect_answer(fd, "200", "piece 0\npiece 1\npiece 2\n"); /* chunked, from a thread of its own */
    send_text(fd, "GET /stream HTTP/1.0\r\n\r\n");
    read_to_end(fd, got, sizeof(got));
    CHECK(strstr(got, "chunked") == NULL && strstr(got, "\r\n\r\npiece 0\npiece 1\npiece 2\n") != NULL);
    WAIT_COUNT(ps.closed, 2);
    peer_server_end(&ps);
}

TEST(http_server_client_goes_away)
{
    struct peer_server ps;

    peer_server_start(&ps, NULL);
    int fd = peer_server_connect(&ps);
    send_text(fd, "GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
    WAIT_COUNT(ps.arrived, 1);
    close(fd);
    WAIT_COUNT(ps.canceled, 1);
    peer_server_release(&ps); /* the answer into nothing */

    fd = peer_server_connect(&ps);
    send_text(fd, "GET /watch HTTP/1.1\r\nHost: h\r\n\r\n");
    WAIT_COUNT(ps.arrived, 2);
    close(fd);
    WAIT_COUNT(ps.closed, 1);
    peer_server_end(&ps);
}

TEST(http_server_half_closed_client_gets_its_answer)
{
    struct peer_server ps;
    char got[512];

    peer_server_start(&ps, NULL);
    int fd = peer_server_connect(&ps);
    send_text(fd, "GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
    WAIT_COUNT(ps.arrived, 1);
    shutdown(fd, SHUT_WR);
    WAIT_COUNT(ps.canceled, 1);
    peer_server_release(&ps);
    read_to_end(fd, got, sizeof(got));
    CHECK(strstr(got, "Connection: close\r\n") && strstr(got, "\r\n\r\nslow"));
    peer_server_end(&ps);
}

TEST(http_server_back_pressure_and_big_answers)
{
    enum { TOTAL = 8 * 1024 * 1024 };
    struct peer_server ps;
    size_t got = 0;
    char chunk[65536];

    peer_server_start(&ps, NULL);
    int fd = peer_server_connect(&ps);
    send_text(fd, "GET /flood HTTP/1.0\r\n\r\n"); /* a producer that writes 8 MB as on_drain lets it */
    for (ssize_t n; (n = read(fd, chunk, sizeof(chunk))) > 0;) {
        got += (size_t)n;
        CHECK(ps.flood_queued <= 256 * 1024);
    }
    CHECK(got > TOTAL && got < TOTAL + 500);
    close(fd);
    WAIT_COUNT(ps.closed, 1);
    peer_server_end(&ps);
}

TEST(http_server_upgrade)
{
    struct peer_server ps;
    char got[16];

    peer_server_start(&ps, NULL);
    int fd = peer_server_connect(&ps);
    send_text(fd, "GET /upgrade HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly");
    AUTO_FREE char *head = head_read(fd);
    CHECK(strncmp(head, "HTTP/1.1 101 Switching Protocols\r\n", 34) == 0);
    CHECK(strstr(head, "Connection: Upgrade\r\n") != NULL);
    CHECK(strstr(head, "Content-Length") == NULL);
    CHECK_INT(recv(fd, got, 5, MSG_WAITALL), 5);
    CHECK(memcmp(got, "early", 5) == 0);
    send_text(fd, "more");
    CHECK_INT(recv(fd, got, 4, MSG_WAITALL), 4);
    close(fd);
    WAIT_COUNT(ps.closed, 1);

    fd = peer_server_connect(&ps); /* gone before it is handed over */
    send_text(fd, "GET /upgrade-late HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    WAIT_COUNT(ps.arrived, 2);
    close(fd);
    WAIT_COUNT(ps.canceled, 1);
    peer_server_release(&ps);
    WAIT_COUNT(ps.closed, 2);

    fd = peer_server_connect(&ps);
    send_text(fd, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n");
    AUTO_FREE char *head2 = head_read(fd);
    CHECK(strncmp(head2, "HTTP/1.1 200 OK\r\n", 17) == 0);
    close(fd);
    WAIT_COUNT(ps.closed, 3);
    peer_server_end(&ps);
}

TEST(http_server_idle_and_limits)
{
    struct http_server_options o = { .idle_ms = 150, .connections_max = 2 };
    struct peer_server ps;
    struct http_server_stats stats;

    peer_server_start(&ps, &o);
    int a = peer_server_connect(&ps), b = peer_server_connect(&ps), c = peer_server_connect(&ps);
    send_text(c, "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n");
    struct pollfd p = { c, POLLIN, 0 };
    CHECK_INT(poll(&p, 1, 50), 0); /* the third has to wait */
    http_server_stats(ps.server, &stats);
    CHECK_INT(stats.connections, 2);
    expect_close(a); /* idle for too long */
    expect_answer(c, "200", "GET /hello h 1");
    close(b);
    close(c);
    peer_server_end(&ps);
}

TEST(http_server_idle_connections_make_room)
{
    struct http_server_options o = { .connections_max = 2 };
    struct peer_server ps;

    peer_server_start(&ps, &o);
    int idle = peer_server_connect(&ps), busy = peer_server_connect(&ps), late = peer_server_connect(&ps);
    send_text(busy, "GET /watch HTTP/1.1\r\nHost: h\r\n\r\n");
    send_text(late, "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n");
    expect_answer(late, "200", "GET /hello h 1"); /* after a second, not two minutes */
    expect_close(idle);
    CHECK_INT(ps.closed, 0);
    close(busy);
    close(late);
    peer_server_end(&ps);
}

TEST(http_server_survives_descriptor_shortage)
{
    struct peer_server ps;
    struct rlimit old, few;

    peer_server_start(&ps, NULL);
    int fd = peer_server_connect(&ps);
    send_text(fd, "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n");
    expect_answer(fd, "200", "GET /hello h 1"); /* accepted: its descriptor is taken */
    getrlimit(RLIMIT_NOFILE, &old);
    int probe = dup(fd);
    few = old;
    few.rlim_cur = (rlim_t)probe + 1; /* one more for our client, none for the server */
    close(probe);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &few), 0);
    int second = peer_server_connect(&ps);
    struct pollfd p = { second, POLLIN, 0 };
    send_text(second, "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n");
    CHECK_INT(poll(&p, 1, 100), 0);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &old), 0);
    expect_answer(second, "200", "GET /hello h 1");
    close(second);
    close(fd);
    peer_server_end(&ps);
}

TEST(http_server_stops_gracefully)
{
    struct peer_server ps;
    AUTO_FREE char *head = NULL, *body = NULL;

    peer_server_start(&ps, NULL);
    int idle = peer_server_connect(&ps), watch = peer_server_connect(&ps), slow = peer_server_connect(&ps);
    send_text(watch, "GET /watch HTTP/1.1\r\nHost: h\r\n\r\n");
    WAIT_COUNT(ps.arrived, 1);
    send_text(slow, "GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
    WAIT_COUNT(ps.arrived, 2);
    peer_server_stop_begin(&ps, 5000);
    expect_close(idle);
    answer_read(watch, &head, &body); /* ended in order */
    CHECK_STR(body, "watching\n");
    WAIT_COUNT(ps.closed, 1);
    peer_server_release(&ps);
    expect_answer(slow, "200", "slow");
    expect_close(slow);
    close(watch);
    peer_server_end(&ps);
}

TEST(http_server_stop_does_not_wait_longer_than_its_grace)
{
    struct peer_server ps;

    peer_server_start(&ps, NULL);
    int fd = peer_server_connect(&ps);
    send_text(fd, "GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
    WAIT_COUNT(ps.arrived, 1);
    int64_t before = clock_mono_ms(&clock_system);
    http_server_stop(ps.server, 50);
    CHECK(clock_mono_ms(&clock_system) - before < 5000);
    CHECK_INT(ps.canceled, 1);
    peer_server_release(&ps);
    close(fd);
    peer_server_end(&ps);
}

TEST(http_server_listens)
{
    struct peer_server ps;
    struct err err;
    int port;
    AUTO_FREE char *path = mem_printf("/tmp/rancherd-test-%d.sock", (int)getpid());

    peer_server_start(&ps, NULL);
    CHECK_INT(http_server_listen(ps.server, "127.0.0.1", ps.port, &port, &err), -ERR_UNAVAILABLE);
    AUTO_FREE char *want = mem_printf("listen tcp 127.0.0.1:%d: bind: address already in use", ps.port);
    CHECK_STR(err.msg, want);
    CHECK_INT(http_server_listen(ps.server, "no address", 1, NULL, &err), -ERR_UNAVAILABLE);
    CHECK_INT(http_server_listen(ps.server, path, 0, NULL, &err), 0);
    int fd = unix_connect(path);
    send_text(fd, "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n");
    expect_answer(fd, "200", "GET /hello h 1");
    close(fd);
    peer_server_end(&ps);
    CHECK_INT(access(path, F_OK), -1);
}

TEST(http_server_many_loops)
{
    struct http_server_options o = { .n_loops = 3 };
    struct peer_server ps;
    int fds[9];

    peer_server_start(&ps, &o);
    for (int i = 0; i < 9; i++) {
        fds[i] = peer_server_connect(&ps);
        send_text(fds[i], "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    for (int i = 0; i < 9; i++) {
        expect_answer(fds[i], "200", "later");
        close(fds[i]);
    }
    peer_server_end(&ps);
}
