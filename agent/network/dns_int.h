#ifndef AGENT_NETWORK_DNS_INT_H
#define AGENT_NETWORK_DNS_INT_H
/* dns_int - the server's parts. Everything runs on the loop's thread, but for start and end. */
#include "agent/network/dns.h"
#include "agent/network/dns_zone.h"

#include <netinet/in.h>
#include <pthread.h>

enum {
    DNS_FORWARDS_MAX = 256,
    DNS_CONNS_MAX = 64,
    DNS_MESSAGE_MAX = 4096, /* of a question, and of a resolver's datagram */
    DNS_UPSTREAMS_MAX = 3,  /* as in resolv.conf */
    DNS_FORWARD_MS = 2000,
    DNS_ATTEMPTS = 4,
    DNS_IDLE_MS = 10000,
};

struct dns_conn {
    uv_tcp_t tcp; /* first */
    struct dns *dns;
    struct dns_conn *next;
    struct loop_timer *idle;
    uint8_t in[2 + DNS_MESSAGE_MAX];
    size_t n_in;
};

/* Who asked: a datagram's sender, or a connection (which may be gone by the time of the answer). */
struct dns_asker {
    struct sockaddr_in from;
    struct dns_conn *conn;
};

struct dns_forward {
    uv_udp_t udp; /* first */
    struct dns *dns;
    struct dns_forward *next;
    struct loop_timer *timer;
    struct dns_asker asker;
    uint16_t asker_id, id;
    int attempt;
    size_t n, question_end;
    uint8_t query[DNS_MESSAGE_MAX];
};

struct dns {
    struct loop *loop;
    struct dns_zone *zone;
    char *resolv_conf;
    struct in_addr self;
    int udp_fd, tcp_fd; /* until the loop has them */
    uv_udp_t udp;
    uv_tcp_t tcp;
    bool listening;
    struct dns_forward *forwards;
    struct dns_conn *conns;
    int n_forwards, n_conns;
    struct sockaddr_in upstreams[DNS_UPSTREAMS_MAX];
    int n_upstreams;
    int64_t upstreams_mtime_ns;
    uint8_t in[DNS_MESSAGE_MAX];

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t ended;
    int open_handles; /* counted down by close callbacks */
    bool closed;      /* the last has */
};

/* dns.c */
void dns_send(struct dns *d, const struct dns_asker *to, const void *data, size_t n);
void dns_fail(struct dns *d, const struct dns_asker *to, const uint8_t *query, size_t question_end, enum dns_code code);
void dns_handle_opened(struct dns *d);
void dns_handle_closed(struct dns *d);
void dns_question(struct dns *d, const struct dns_asker *from, const uint8_t *data, size_t n);

/* dns_forward.c */
void dns_forward(struct dns *d, const struct dns_asker *from, const uint8_t *data, size_t n, const struct dns_query *q);
void dns_forwards_forget(struct dns *d, const struct dns_conn *conn); /* its answers go nowhere */
void dns_forwards_close(struct dns *d);

/* dns_tcp.c */
void dns_tcp_arrived(uv_stream_t *listener, int status);
void dns_conn_send(struct dns_conn *c, const void *data, size_t n);
void dns_conns_close(struct dns *d);

#endif
