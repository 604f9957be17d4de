/* Names that are not the cluster's: one socket a question to the host's resolvers, so that neither port nor id can be guessed. */
#include "agent/network/dns_int.h"

#include "lib/crypto.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* "nameserver 192.0.2.53" lines, IPv4 only, ourselves left out; read again when the file has changed. */
static void read_upstreams(struct dns *d)
{
    struct stat st;
    char line[256], ip[64];

    if (stat(d->resolv_conf, &st) < 0) {
        d->n_upstreams = 0;
        return;
    }
    int64_t changed = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;

    if (changed == d->upstreams_mtime_ns)
        return;
    FILE *f = fopen(d->resolv_conf, "re");

    d->n_upstreams = 0;
    d->upstreams_mtime_ns = changed;
    while (f && fgets(line, sizeof(line), f) && d->n_upstreams < DNS_UPSTREAMS_MAX) {
        struct sockaddr_in *to = &d->upstreams[d->n_upstreams];

        *to = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(53) };
        if (sscanf(line, "nameserver %63s", ip) == 1 && inet_pton(AF_INET, ip, &to->sin_addr) == 1 && to->sin_addr.s_addr != d->self.s_addr)
            d->n_upstreams++;
    }
    if (f)
        fclose(f);
}

static void on_closed(uv_handle_t *h)
{
    struct dns_forward *f = (struct dns_forward *)h;

    dns_handle_closed(f->dns);
    free(f);
}

static void finish(struct dns_forward *f)
{
    struct dns *d = f->dns;

    for (struct dns_forward **at = &d->forwards; *at; at = &(*at)->next)
        if (*at == f) {
            *at = f->next;
            break;
        }
    d->n_forwards--;
    loop_timer_cancel(f->timer);
    uv_close((uv_handle_t *)&f->udp, on_closed);
}

static void send_out(struct dns_forward *f);

static void give_up(struct dns_forward *f)
{
    memcpy(f->query, &f->asker_id, 2);
    dns_fail(f->dns, &f->asker, f->query, f->question_end, DNS_FAILED);
    finish(f);
}

static void on_late(void *arg)
{
    struct dns_forward *f = arg;

    f->timer = NULL;
    if (++f->attempt >= DNS_ATTEMPTS)
        give_up(f);
    else
        send_out(f);
}

static void give_space(uv_handle_t *h, size_t wanted, uv_buf_t *b)
{
    struct dns_forward *f = (struct dns_forward *)h;

    (void)wanted;
    *b = uv_buf_init((char *)f->dns->in, sizeof(f->dns->in));
}

static bool is_upstream(const struct dns *d, const struct sockaddr *from)
{
    const struct sockaddr_in *in = (const void *)from;

    for (int i = 0; i < d->n_upstreams; i++)
        if (from->sa_family == AF_INET && in->sin_addr.s_addr == d->upstreams[i].sin_addr.s_addr && in->sin_port == d->upstreams[i].sin_port)
            return true;
    return false;
}

/* An answer counts when it has our id and our question, and comes from whom we asked. */
static void on_answer(uv_udp_t *h, ssize_t n, const uv_buf_t *b, const struct sockaddr *from, unsigned flags)
{
    struct dns_forward *f = (struct dns_forward *)h;

    (void)flags;
    if (n < (ssize_t)f->question_end || !from || !is_upstream(f->dns, from) || memcmp(b->base, &f->id, 2) != 0 ||
        !((uint8_t)b->base[2] & 0x80) || memcmp(b->base + DNS_HEADER_BYTES, f->query + DNS_HEADER_BYTES, f->question_end - DNS_HEADER_BYTES) != 0)
        return;
    memcpy(b->base, &f->asker_id, 2);
    if (flags & UV_UDP_PARTIAL)
        give_up(f);
    else {
        dns_send(f->dns, &f->asker, b->base, (size_t)n);
        finish(f);
    }
}

static void send_out(struct dns_forward *f)
{
    struct dns *d = f->dns;
    uv_buf_t b = uv_buf_init((char *)f->query, (unsigned)f->n);

    read_upstreams(d);
    if (d->n_upstreams == 0) {
        give_up(f);
        return;
    }
    /* What cannot be sent now is tried at the next resolver after the same pause as what gets no answer. */
    (void)uv_udp_try_send(&f->udp, &b, 1, (const struct sockaddr *)&d->upstreams[f->attempt % d->n_upstreams]);
    f->timer = loop_timer_start(d->loop, DNS_FORWARD_MS, on_late, f);
}

void dns_forward(struct dns *d, const struct dns_asker *from, const uint8_t *data, size_t n, const struct dns_query *q)
{
    struct sockaddr_in any = { .sin_family = AF_INET };
    struct dns_forward *f;

    if (d->n_forwards >= DNS_FORWARDS_MAX || n > sizeof(f->query)) {
        dns_fail(d, from, data, q->question_end, DNS_FAILED);
        return;
    }
    f = mem_alloc(sizeof(*f));
    f->dns = d;
    f->timer = NULL;
    f->asker = *from;
    f->attempt = 0;
    f->n = n;
    f->question_end = q->question_end;
    memcpy(f->query, data, n);
    memcpy(&f->asker_id, data, 2);
    random_bytes(&f->id, 2);
    memcpy(f->query, &f->id, 2);
    uv_udp_init(loop_uv(d->loop), &f->udp);
    dns_handle_opened(d);
    f->next = d->forwards;
    d->forwards = f;
    d->n_forwards++;
    if (uv_udp_bind(&f->udp, (struct sockaddr *)&any, 0) != 0 || uv_udp_recv_start(&f->udp, give_space, on_answer) != 0)
        give_up(f);
    else
        send_out(f);
}

void dns_forwards_forget(struct dns *d, const struct dns_conn *conn)
{
    for (struct dns_forward *f = d->forwards; f; f = f->next)
        if (f->asker.conn == conn)
            f->asker = (struct dns_asker){ 0 };
}

void dns_forwards_close(struct dns *d)
{
    while (d->forwards)
        finish(d->forwards);
}
