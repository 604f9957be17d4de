#include "agent/network/dns_int.h"
#include "test.h"

#include <arpa/inet.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <net/if.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

static json_t *tree(const char *text)
{
    struct err err = { 0 };
    json_t *t = NULL;

    if (yaml_read(text, strlen(text), NULL, NULL, &t, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    return t;
}

static void feed(struct dns_zone *z, void (*set)(void *arg, const json_t *o, bool first), const char *text)
{
    AUTO(json) json_t *t = tree(text);

    set(z, t, true);
}

static void drop(struct dns_zone *z, void (*gone)(void *arg, const json_t *last), const char *text)
{
    AUTO(json) json_t *t = tree(text);

    gone(z, t);
}

static void fill(struct dns_zone *z)
{
    feed(z, dns_zone_service_set, "metadata: {namespace: ns, name: web}\nspec: {clusterIP: 10.43.0.7, ports: [{name: http, port: 80}]}");
    feed(z, dns_zone_service_set, "metadata: {namespace: ns, name: bare}\nspec: {clusterIP: None, ports: [{name: db, port: 5432}]}");
    feed(z, dns_zone_service_set, "metadata: {namespace: ns, name: away}\nspec: {type: ExternalName, externalName: example.org}");
    feed(z, dns_zone_slice_set,
         "metadata: {namespace: ns, name: bare-1, labels: {kubernetes.io/service-name: bare}}\naddressType: IPv4\nports: [{name: db, port: 5432}]\n"
         "endpoints: [{addresses: [10.42.0.5], hostname: db-0}, {addresses: [10.42.0.6]}, {addresses: [10.42.0.7], conditions: {ready: false}}]");
}

/* --- a small resolver: one question, the answer as text --- */

static size_t question(const char *name, int type, uint8_t to[DNS_MESSAGE_MAX])
{
    static const uint8_t head[DNS_HEADER_BYTES] = { 0x12, 0x34, 1, 0, 0, 1 };
    size_t n = sizeof(head);

    memcpy(to, head, n);
    while (*name) {
        size_t len = strcspn(name, ".");

        to[n++] = (uint8_t)len;
        memcpy(to + n, name, len);
        n += len;
        name += len + (name[len] == '.');
    }
    to[n++] = 0;
    to[n++] = (uint8_t)(type >> 8);
    to[n++] = (uint8_t)type;
    to[n++] = 0;
    to[n++] = 1;
    return n;
}

static size_t name_text(const uint8_t *m, size_t at, struct buf *to)
{
    size_t back = 0;

    while (m[at]) {
        if (m[at] >= 0xc0) {
            back = back ? back : at + 2;
            at = (size_t)(m[at] & 0x3f) << 8 | m[at + 1];
            continue;
        }
        if (to)
            buf_printf(to, "%.*s.", m[at], (const char *)m + at + 1);
        at += m[at] + 1u;
    }
    return back ? back : at + 1;
}

/* "<code> <type> <data>; ...": answers, then "|" and additional ones. */
static char *reply_text(const uint8_t *m, size_t n)
{
    struct buf to = { 0 };
    size_t at = DNS_HEADER_BYTES;
    int counts[3] = { m[6] << 8 | m[7], m[8] << 8 | m[9], m[10] << 8 | m[11] };

    CHECK(n >= DNS_HEADER_BYTES && m[0] == 0x12 && m[1] == 0x34 && m[2] & 0x80);
    buf_printf(&to, "%d%s", m[3] & 15, m[2] & 2 ? " cut" : "");
    at = name_text(m, at, NULL) + 4;
    for (int part = 0; part < 3; part++) {
        for (int i = 0; i < counts[part]; i++) {
            if (i == 0 && part)
                buf_str(&to, part == 1 ? " !" : " |");
            at = name_text(m, at, NULL);
            int type = m[at] << 8 | m[at + 1];
            size_t len = (size_t)m[at + 8] << 8 | m[at + 9];
            at += 10;
            CHECK(at + len <= n);
            if (type == DNS_A)
                buf_printf(&to, " %d.%d.%d.%d", m[at], m[at + 1], m[at + 2], m[at + 3]);
            else if (type == DNS_SOA)
                buf_str(&to, " soa");
            else if (type == DNS_TXT)
                buf_printf(&to, " \"%.*s\"", m[at], (const char *)m + at + 1);
            else {
                buf_char(&to, ' ');
                if (type == DNS_SRV)
                    buf_printf(&to, "%d:", m[at + 4] << 8 | m[at + 5]);
                CHECK_INT(name_text(m, at + (type == DNS_SRV ? 6 : 0), &to), at + len);
            }
            at += len;
        }
    }
    CHECK_INT(at, n);
    return buf_take_str(&to);
}

static char *ask_zone(struct dns_zone *z, const char *name, int type)
{
    uint8_t m[DNS_MESSAGE_MAX];
    size_t n = question(name, type, m);
    struct dns_query q;
    struct dns_reply r;
    enum dns_code code;
    char chase[DNS_NAME_BYTES];
    char *text;

    CHECK_INT(dns_query_read(m, n, &q), 0);
    dns_reply_begin(&r, m, &q);
    if (!dns_zone_answer(z, &q, &r, &code, chase))
        text = strdup("forward");
    else {
        dns_reply_end(&r, &q, code, true, 1232);
        text = reply_text((const uint8_t *)buf_at(&r.buf), buf_len(&r.buf));
    }
    dns_reply_clear(&r);
    return text;
}

TEST(network_dns_zone)
{
    static const struct {
        const char *name;
        int type;
        const char *want;
    } cases[] = {
        { "web.ns.svc.cluster.local", DNS_A, "0 10.43.0.7" },
        { "WEB.ns.Svc.cluster.LOCAL", DNS_A, "0 10.43.0.7" },
        { "web.ns.svc.cluster.local", DNS_AAAA, "0 ! soa" },
        { "_http._tcp.web.ns.svc.cluster.local", DNS_SRV, "0 80:web.ns.svc.cluster.local. | 10.43.0.7" },
        { "_http._udp.web.ns.svc.cluster.local", DNS_SRV, "3 ! soa" },
        { "bare.ns.svc.cluster.local", DNS_A, "0 10.42.0.5 10.42.0.6" },
        { "bare.ns.svc.cluster.local", DNS_A, "0 10.42.0.6 10.42.0.5" },
        { "db-0.bare.ns.svc.cluster.local", DNS_A, "0 10.42.0.5" },
        { "10-42-0-6.bare.ns.svc.cluster.local", DNS_A, "0 10.42.0.6" },
        { "db-1.bare.ns.svc.cluster.local", DNS_A, "3 ! soa" },
        { "_db._tcp.bare.ns.svc.cluster.local", DNS_SRV,
          "0 5432:db-0.bare.ns.svc.cluster.local. 5432:10-42-0-6.bare.ns.svc.cluster.local. | 10.42.0.5 10.42.0.6" },
        { "away.ns.svc.cluster.local", DNS_CNAME, "0 example.org." },
        { "none.ns.svc.cluster.local", DNS_A, "3 ! soa" },
        { "ns.svc.cluster.local", DNS_A, "0 ! soa" },
        { "other.svc.cluster.local", DNS_A, "3 ! soa" },
        { "svc.cluster.local", DNS_A, "0 ! soa" },
        { "cluster.local", DNS_SOA, "0 soa" },
        { "a.b.c.d.e.f.web.ns.svc.cluster.local", DNS_A, "3 ! soa" },
        { "dns-version.cluster.local", DNS_TXT, "0 \"1.1.0\"" },
        { "10-42-0-9.ns.pod.cluster.local", DNS_A, "0 10.42.0.9" },
        { "10-42-0.ns.pod.cluster.local", DNS_A, "3 ! soa" },
        { "7.0.43.10.in-addr.arpa", DNS_PTR, "0 web.ns.svc.cluster.local." },
        { "5.0.42.10.in-addr.arpa", DNS_PTR, "0 db-0.bare.ns.svc.cluster.local." },
        { "9.9.9.9.in-addr.arpa", DNS_PTR, "forward" },
        { "example.org", DNS_A, "forward" },
        { "xcluster.local", DNS_A, "forward" },
        { "", DNS_A, "forward" },
    };
    struct dns_zone *z = dns_zone_new("Cluster.local");

    fill(z);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_FREE char *got = ask_zone(z, cases[i].name, cases[i].type);

        if (strcmp(got, cases[i].want) != 0)
            fprintf(stderr, "%s:\n", cases[i].name);
        CHECK_STR(got, cases[i].want);
    }
    drop(z, dns_zone_service_delete, "metadata: {namespace: ns, name: web}");
    drop(z, dns_zone_slice_delete, "metadata: {namespace: ns, name: bare-1}");
    AUTO_FREE char *web = ask_zone(z, "web.ns.svc.cluster.local", DNS_A), *bare = ask_zone(z, "bare.ns.svc.cluster.local", DNS_A);
    CHECK_STR(web, "3 ! soa");
    CHECK_STR(bare, "0 ! soa");
    dns_zone_free(z);
}

TEST(network_dns_refuses_bad_questions)
{
    uint8_t m[DNS_MESSAGE_MAX], bad[DNS_MESSAGE_MAX];
    size_t n = question("a.b", DNS_A, m);
    struct dns_query q;

    for (size_t cut = 0; cut < n; cut++)
        CHECK(dns_query_read(m, cut, &q) != 0);
    memcpy(bad, m, n);
    bad[2] |= 0x80;
    CHECK_INT(dns_query_read(bad, n, &q), -1);
    memcpy(bad, m, n);
    bad[2] |= 0x08;
    CHECK_INT(dns_query_read(bad, n, &q), DNS_NOT_DONE);
    memcpy(bad, m, n);
    bad[5] = 2;
    CHECK_INT(dns_query_read(bad, n, &q), DNS_FORMAT);
    memcpy(bad, m, n);
    bad[DNS_HEADER_BYTES] = 0xc0;
    CHECK_INT(dns_query_read(bad, n, &q), DNS_FORMAT);
    memcpy(bad, m, n);
    bad[n - 1] = 3;
    CHECK_INT(dns_query_read(bad, n, &q), DNS_REFUSED);
    memset(bad, 1, sizeof(bad)); /* a name that goes on for ever */
    memcpy(bad, m, DNS_HEADER_BYTES);
    CHECK_INT(dns_query_read(bad, sizeof(bad), &q), DNS_FORMAT);
}

/* --- over sockets, in a namespace of our own --- */

static bool own_namespace(void)
{
    struct ifreq r = { .ifr_name = "lo", .ifr_flags = IFF_UP };

    if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0) {
        printf("# skip: no right to make a network namespace\n");
        return false;
    }
    AUTO_FD int fd = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK_INT(ioctl(fd, SIOCSIFFLAGS, &r), 0);
    return true;
}

static char *ask(bool tcp, const char *name, int type)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    AUTO_FD int fd = socket(AF_INET, tcp ? SOCK_STREAM : SOCK_DGRAM, 0);
    struct timeval limit = { .tv_sec = 5 };
    uint8_t m[65536], *body = m + (tcp ? 2 : 0);
    size_t n = question(name, type, body), have = 0, want = tcp ? 2 : 1;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    CHECK_INT(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    if (tcp) {
        m[0] = (uint8_t)(n >> 8);
        m[1] = (uint8_t)n;
        n += 2;
    }
    CHECK_INT(send(fd, m, n, 0), n);
    while (have < want) {
        ssize_t got = recv(fd, m + have, sizeof(m) - have, 0);

        if (got <= 0)
            return strdup("silence");
        have += (size_t)got;
        want = tcp && have >= 2 ? 2 + ((size_t)m[0] << 8 | m[1]) : want;
    }
    return reply_text(body, have - (tcp ? 2 : 0));
}

/* A resolver that gives 192.0.2.99 for everything, once it has ignored the first datagram. */
static pid_t start_resolver(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(0x7f000002) };
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    CHECK_INT(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    pid_t pid = fork();
    if (pid != 0) {
        close(fd);
        return pid;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int seen = 0;; seen++) {
        uint8_t m[600];
        struct sockaddr_in from;
        socklen_t n_from = sizeof(from);
        ssize_t n = recvfrom(fd, m, 512, 0, (struct sockaddr *)&from, &n_from);
        static const uint8_t answer[] = { 0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 99 };

        if (n < DNS_HEADER_BYTES || seen == 0)
            continue;
        m[2] |= 0x80;
        m[7] = 1;
        memcpy(m + n, answer, sizeof(answer));
        sendto(fd, m, (size_t)n + sizeof(answer), 0, (struct sockaddr *)&from, n_from);
    }
}

TEST(network_dns_serves)
{
    struct err err = { 0 };
    struct loop *loop = NULL;
    char resolv[] = "/tmp/test_resolv.XXXXXX";

    if (!own_namespace())
        return;
    int fd = mkstemp(resolv);
    CHECK(fd >= 0);
    CHECK(dprintf(fd, "# x\nnameserver 127.0.0.1\nnameserver fd00::1\nnameserver 127.0.0.2\n") > 0);
    close(fd);
    pid_t resolver = start_resolver();
    CHECK_INT(loop_new("dns", &loop, &err), 0);
    struct dns *d = dns_open(&(struct dns_options){ .loop = loop, .domain = "cluster.local", .resolv_conf = resolv });
    fill(d->zone);
    struct buf many = { 0 };
    buf_str(&many, "metadata: {namespace: ns, name: many-1, labels: {kubernetes.io/service-name: many}}\naddressType: IPv4\nendpoints:\n");
    for (int i = 0; i < 300; i++)
        buf_printf(&many, "- addresses: [10.42.%d.%d]\n", 1 + i / 200, i % 200);
    feed(d->zone, dns_zone_slice_set, buf_at(&many));
    buf_clear(&many);
    feed(d->zone, dns_zone_service_set, "metadata: {namespace: ns, name: many}\nspec: {clusterIP: None}");
    CHECK_INT(dns_listen(d, "127.0.0.1", 53, &err), 0);
    CHECK_INT(dns_listen(d, "127.0.0.1", 53, &err), 0);
    for (int tcp = 0; tcp < 2; tcp++) {
        AUTO_FREE char *web = ask(tcp, "web.ns.svc.cluster.local", DNS_A), *out = ask(tcp, "example.org", DNS_A);
        AUTO_FREE char *big = ask(tcp, "many.ns.svc.cluster.local", DNS_A);

        CHECK_STR(web, "0 10.43.0.7");
        CHECK_STR(out, "0 192.0.2.99");
        if (tcp)
            CHECK(strlen(big) > 300 * 9);
        else
            CHECK_STR(big, "0 cut");
    }
    dns_free(d);
    loop_free(loop);
    kill(resolver, SIGKILL);
    waitpid(resolver, NULL, 0);
    unlink(resolv);
}
