#include "agent/network/dns_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* --- on the loop --- */

void dns_handle_opened(struct dns *d)
{
    LOCK_SCOPE(&d->lock);
    d->open_handles++;
}

void dns_handle_closed(struct dns *d)
{
    LOCK_SCOPE(&d->lock);
    if (--d->open_handles == 0) {
        d->closed = true;
        pthread_cond_broadcast(&d->ended);
    }
}

void dns_send(struct dns *d, const struct dns_asker *to, const void *data, size_t n)
{
    uv_buf_t b = uv_buf_init((char *)data, (unsigned)n);

    /* A full socket buffer loses the datagram, as networks do; the asker asks again. */
    if (to->conn)
        dns_conn_send(to->conn, data, n);
    else if (to->from.sin_port)
        (void)uv_udp_try_send(&d->udp, &b, 1, (const struct sockaddr *)&to->from);
}

static size_t room(const struct dns_asker *to, const struct dns_query *q)
{
    return to->conn ? UINT16_MAX : q->udp_max;
}

void dns_fail(struct dns *d, const struct dns_asker *to, const uint8_t *query, size_t question_end, enum dns_code code)
{
    struct dns_query q = { .question_end = question_end, .udp_max = DNS_UDP_MIN };
    struct dns_reply r;

    dns_reply_begin(&r, query, &q);
    dns_reply_end(&r, &q, code, false, room(to, &q));
    dns_send(d, to, buf_at(&r.buf), buf_len(&r.buf));
    dns_reply_clear(&r);
}

void dns_question(struct dns *d, const struct dns_asker *from, const uint8_t *data, size_t n)
{
    struct dns_query q;
    struct dns_reply r;
    enum dns_code code = DNS_OK;
    char chase[DNS_NAME_BYTES];
    int rc = dns_query_read(data, n, &q);

    if (rc < 0)
        return;
    if (rc > 0) {
        dns_fail(d, from, data, q.question_end, rc);
        return;
    }
    dns_reply_begin(&r, data, &q);
    if (dns_zone_answer(d->zone, &q, &r, &code, chase)) {
        dns_reply_end(&r, &q, code, true, room(from, &q));
        dns_send(d, from, buf_at(&r.buf), buf_len(&r.buf));
    } else {
        dns_forward(d, from, data, n, &q);
    }
    dns_reply_clear(&r);
}

static void give_space(uv_handle_t *h, size_t wanted, uv_buf_t *b)
{
    struct dns *d = h->data;

    (void)wanted;
    *b = uv_buf_init((char *)d->in, sizeof(d->in));
}

static void on_datagram(uv_udp_t *h, ssize_t n, const uv_buf_t *b, const struct sockaddr *from, unsigned flags)
{
    struct dns_asker asker = { 0 };

    if (n <= 0 || !from || from->sa_family != AF_INET || flags & UV_UDP_PARTIAL)
        return;
    memcpy(&asker.from, from, sizeof(asker.from));
    dns_question(h->data, &asker, (const uint8_t *)b->base, (size_t)n);
}

static void begin(void *arg)
{
    struct dns *d = arg;
    uv_loop_t *uv = loop_uv(d->loop);

    uv_udp_init(uv, &d->udp);
    uv_tcp_init(uv, &d->tcp);
    d->udp.data = d->tcp.data = d;
    dns_handle_opened(d);
    dns_handle_opened(d);
    if (uv_udp_open(&d->udp, d->udp_fd) == 0)
        d->udp_fd = -1;
    if (uv_tcp_open(&d->tcp, d->tcp_fd) == 0)
        d->tcp_fd = -1;
    uv_udp_recv_start(&d->udp, give_space, on_datagram);
    uv_listen((uv_stream_t *)&d->tcp, 16, dns_tcp_arrived);
}

static void on_closed(uv_handle_t *h)
{
    dns_handle_closed(h->data);
}

static void end(void *arg)
{
    struct dns *d = arg;

    dns_forwards_close(d);
    dns_conns_close(d);
    uv_close((uv_handle_t *)&d->udp, on_closed);
    uv_close((uv_handle_t *)&d->tcp, on_closed);
}

/* --- start and end --- */

struct dns *dns_open(const struct dns_options *options)
{
    static const struct object_ref services = { .group = "", .version = "v1", .resource = "services" },
                                   slices = { .group = "discovery.k8s.io", .version = "v1", .resource = "endpointslices" };
    static const struct informer_handler on_services = { dns_zone_service_set, dns_zone_service_delete, NULL },
                                         on_slices = { dns_zone_slice_set, dns_zone_slice_delete, NULL };
    struct dns *d = MEM_NEW(struct dns);

    d->loop = options->loop;
    d->zone = dns_zone_new(options->domain);
    d->resolv_conf = mem_strdup(options->resolv_conf ? options->resolv_conf : "/etc/resolv.conf");
    d->udp_fd = d->tcp_fd = -1;
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->ended, NULL);
    if (options->informers) {
        informers_add(options->informers, &services, NULL, &on_services, d->zone);
        informers_add(options->informers, &slices, NULL, &on_slices, d->zone);
    }
    return d;
}

static int bind_to(int type, const struct sockaddr_in *at, int *ret_fd, struct err *err)
{
    AUTO_FD int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;

    if (fd < 0)
        return err_sys(err, errno, "open a socket for cluster DNS");
    if (type == SOCK_STREAM)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (const struct sockaddr *)at, sizeof(*at)) < 0)
        return err_sys(err, errno, "bind cluster DNS to port %d", ntohs(at->sin_port));
    if (type == SOCK_STREAM && listen(fd, 16) < 0)
        return err_sys(err, errno, "listen on port %d for cluster DNS", ntohs(at->sin_port));
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int dns_listen(struct dns *d, const char *ip, int port, struct err *err)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };

    if (d->listening)
        return 0;
    if (inet_pton(AF_INET, ip, &at.sin_addr) != 1)
        return err_set(err, ERR_BAD_REQUEST, "cluster DNS address \"%s\" is no IPv4 address", ip);
    AUTO_FD int udp = -1, tcp = -1;

    if (bind_to(SOCK_DGRAM, &at, &udp, err) < 0 || bind_to(SOCK_STREAM, &at, &tcp, err) < 0)
        return err_wrap(err, "%s", ip);
    d->self = at.sin_addr;
    d->udp_fd = TAKE_FD(udp);
    d->tcp_fd = TAKE_FD(tcp);
    d->listening = true;
    loop_post(d->loop, begin, d);
    return 0;
}

void dns_free(struct dns *d)
{
    if (!d)
        return;
    if (d->listening) {
        loop_post(d->loop, end, d);
        pthread_mutex_lock(&d->lock);
        while (!d->closed)
            pthread_cond_wait(&d->ended, &d->lock);
        pthread_mutex_unlock(&d->lock);
    }
    if (d->udp_fd >= 0)
        close(d->udp_fd);
    if (d->tcp_fd >= 0)
        close(d->tcp_fd);
    dns_zone_free(d->zone);
    pthread_mutex_destroy(&d->lock);
    pthread_cond_destroy(&d->ended);
    free(d->resolv_conf);
    free(d);
}
