#ifndef TESTS_UNIT_HTTP_PEER_H
#define TESTS_UNIT_HTTP_PEER_H
/*
 * http_peer - a server with a fixed set of paths, and a client of plain blocking sockets.
 *
 *   /hello  "<method> <target> <host> <major>"      /echo  the request's body       /204     no content
 *   /later  answered by a thread                    /stream three pieces by a thread /watch  "watching\n", no end
 *   /slow   waits for peer_server_release; counts cancel /flood 8 MB as back-pressure allows
 *   /upgrade (also CONNECT) echoes; /upgrade-late after peer_server_release              /who     the client certificate
 */
#include "lib/http/server.h"

#include <semaphore.h>

struct peer_server {
    struct loop *loops[4];
    struct http_server *server;
    int port;
    struct http_request *held, *watch;
    struct http_request *flood;
    size_t flood_left;
    _Atomic size_t flood_queued;
    _Atomic int arrived, canceled, closed, threads;
    pthread_t stopper;
    bool stopping;
    int64_t grace_ms;
};

void peer_server_start(struct peer_server *ps, const struct http_server_options *options); /* NULL: plain, one loop */
int peer_server_connect(struct peer_server *ps);
int unix_connect(const char *path);
void peer_server_release(struct peer_server *ps);
void peer_server_stop_begin(struct peer_server *ps, int64_t grace_ms);
void peer_server_end(struct peer_server *ps);

void send_text(int fd, const char *text);
void read_to_end(int fd, char *to, size_t cap);
char *head_read(int fd);                              /* through the empty line */
void answer_read(int fd, char **ret_head, char **ret_body);

void wait_count(_Atomic int *count, int want, const char *what);
#define WAIT_COUNT(count, want) wait_count(&(count), want, #count)

#endif
