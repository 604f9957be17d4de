#ifndef LIB_STREAM_FORWARD_INT_H
#define LIB_STREAM_FORWARD_INT_H
/* forward_int - a port-forward's insides, for tests. */
#include "lib/stream/stream_int.h"

enum { FORWARD_PORTS_MAX = 126 }; /* two channels each, named by one byte */

struct stream_port {
    struct stream_forward *forward;
    struct stream_port *next;
    int number, index; /* index: of the WebSocket form, channels 2 * index and the next */
    char *request_id;
    struct spdy_stream *data, *error;
    struct conn *conn; /* to the pod */
    void *arg;
    bool told;    /* on_port was called */
    bool posted;  /* on_port is about to be */
    bool client_ended, ended, blocking, stalled;
};

struct stream_forward {
    struct loop *loop;
    struct stream_choice choice;
    struct stream_forward_ops ops;
    void *arg;
    struct ws *ws; /* one of the two */
    struct wire *wire;
    struct stream_port *ports;
    int *numbers, n_blocking;
    size_t n_numbers;
    bool stalled, closed;
    struct buf scratch;
};

struct stream_forward *forward_new(const struct stream_choice *choice, const int *ports, size_t n_ports, const struct stream_forward_ops *ops,
                                   void *arg);
void forward_start(struct stream_forward *f, struct conn *c);

#endif
