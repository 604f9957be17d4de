#include "agent/network/dns_zone.h"

#include "agent/network/addresses.h"
#include "lib/k8s/meta.h"
#include "lib/map.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { PORTS_MAX = 1000, ENDPOINTS_MAX = 1000, ANSWERS_MAX = 1000, PARTS_MAX = 5 };

struct port {
    char *name, *protocol; /* protocol in lower case */
    int port;
};

struct end {
    uint32_t ip;
    char *host; /* its hostname, or its address with dashes */
};

struct slice_part {
    struct slice_part *next;
    char *key;
    struct port *ports;
    size_t n_ports;
    struct end *ends;
    size_t n_ends;
};

struct name {
    bool known;      /* there is a Service; else only slices */
    uint32_t ip;     /* 0: headless */
    char *external;  /* ExternalName; else NULL */
    struct port *ports;
    size_t n_ports;
    struct slice_part *slices;
};

struct dns_zone {
    char *domain;
    size_t n_domain;
    pthread_mutex_t lock; /* guards all below */
    struct map *names;    /* ns/name -> struct name */
    struct map *slice_of; /* ns/slice -> ns/name */
    struct map *spaces;   /* ns -> how many known names (as a pointer) */
    uint32_t serial, turn;
};

/* --- keeping --- */

static void ports_free(struct port *ports, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(ports[i].name);
        free(ports[i].protocol);
    }
    free(ports);
}

static void slice_free(struct slice_part *s)
{
    free(s->key);
    ports_free(s->ports, s->n_ports);
    for (size_t i = 0; i < s->n_ends; i++)
        free(s->ends[i].host);
    free(s->ends);
    free(s);
}

static void forget_service(struct name *n)
{
    free(n->external);
    ports_free(n->ports, n->n_ports);
    n->known = false;
    n->external = NULL;
    n->ports = NULL;
    n->n_ports = 0;
    n->ip = 0;
}

static void name_free(void *p)
{
    struct name *n = p;

    forget_service(n);
    while (n->slices) {
        struct slice_part *s = n->slices;

        n->slices = s->next;
        slice_free(s);
    }
    free(n);
}

struct dns_zone *dns_zone_new(const char *domain)
{
    struct dns_zone *z = MEM_NEW(struct dns_zone);

    z->domain = mem_strdup(domain);
    z->n_domain = strlen(domain);
    for (char *c = z->domain; *c; c++)
        *c = *c >= 'A' && *c <= 'Z' ? (char)(*c + 32) : *c;
    pthread_mutex_init(&z->lock, NULL);
    z->names = map_new(name_free);
    z->slice_of = map_new(free);
    z->spaces = map_new(NULL);
    z->serial = 1;
    return z;
}

void dns_zone_free(struct dns_zone *z)
{
    if (!z)
        return;
    map_free(z->names);
    map_free(z->slice_of);
    map_free(z->spaces);
    pthread_mutex_destroy(&z->lock);
    free(z->domain);
    free(z);
}

static struct port *read_ports(const json_t *list, size_t *ret_n)
{
    size_t n = json_array_size(list) > PORTS_MAX ? PORTS_MAX : json_array_size(list), kept = 0;
    struct port *ports = mem_zalloc((n + 1) * sizeof(*ports));

    for (size_t i = 0; i < n; i++) {
        const json_t *p = json_array_get(list, i);
        int64_t port = json_int_or(p, "port", 0);

        if (port < 1 || port > 65535)
            continue;
        ports[kept] = (struct port){ mem_strdup(json_str_or(p, "name", "")), mem_strdup(json_str_or(p, "protocol", "TCP")), (int)port };
        for (char *c = ports[kept++].protocol; *c; c++)
            *c = *c >= 'A' && *c <= 'Z' ? (char)(*c + 32) : *c;
    }
    *ret_n = kept;
    return ports;
}

static struct name *name_of(struct dns_zone *z, const char *key)
{
    struct name *n = map_get(z->names, key);

    if (!n) {
        n = MEM_NEW(struct name);
        map_set(z->names, key, n);
    }
    return n;
}

static void count_space(struct dns_zone *z, const char *ns, int change)
{
    intptr_t n = (intptr_t)map_get(z->spaces, ns) + change;

    if (n > 0)
        map_set(z->spaces, ns, (void *)n);
    else
        map_del(z->spaces, ns);
}

static uint32_t service_ip(const json_t *service)
{
    const json_t *ips = json_at(service, "spec.clusterIPs");
    struct err ignored;
    uint32_t ip = 0;

    for (size_t i = 0; i < json_array_size(ips); i++)
        if (ipv4_read(json_string_value(json_array_get(ips, i)), &ip, &ignored) == 0)
            return ip;
    return ipv4_read(json_str(service, "spec.clusterIP"), &ip, &ignored) == 0 ? ip : 0;
}

void dns_zone_service_set(void *arg, const json_t *object, bool first)
{
    struct dns_zone *z = arg;
    AUTO_FREE char *key = meta_key(object);
    LOCK_SCOPE(&z->lock);
    struct name *n = name_of(z, key);

    (void)first;
    if (!n->known)
        count_space(z, meta_namespace(object), 1);
    forget_service(n);
    n->known = true;
    n->ip = service_ip(object);
    n->ports = read_ports(json_at(object, "spec.ports"), &n->n_ports);
    if (strcmp(json_str_or(object, "spec.type", ""), "ExternalName") == 0)
        n->external = mem_strdup(json_str_or(object, "spec.externalName", ""));
    z->serial++;
}

void dns_zone_service_delete(void *arg, const json_t *last)
{
    struct dns_zone *z = arg;
    AUTO_FREE char *key = meta_key(last);
    LOCK_SCOPE(&z->lock);
    struct name *n = map_get(z->names, key);

    if (!n || !n->known)
        return;
    count_space(z, meta_namespace(last), -1);
    forget_service(n);
    if (!n->slices)
        map_del(z->names, key);
    z->serial++;
}

static void forget_slice(struct dns_zone *z, const char *slice_key)
{
    const char *key = map_get(z->slice_of, slice_key);
    struct name *n = key ? map_get(z->names, key) : NULL;

    for (struct slice_part **at = n ? &n->slices : NULL; at && *at; at = &(*at)->next)
        if (strcmp((*at)->key, slice_key) == 0) {
            struct slice_part *gone = *at;

            *at = gone->next;
            slice_free(gone);
            break;
        }
    if (n && !n->known && !n->slices)
        map_del(z->names, key);
    map_del(z->slice_of, slice_key);
    z->serial++;
}

static char *host_of(const json_t *e, const char *ip)
{
    char *host = mem_strdup(json_str_or(e, "hostname", ip));

    for (char *c = host; *c && host && !json_str(e, "hostname"); c++)
        *c = *c == '.' ? '-' : *c;
    return host;
}

static struct slice_part *read_slice(const json_t *slice)
{
    const json_t *list = json_at(slice, "endpoints");
    size_t n = json_array_size(list) > ENDPOINTS_MAX ? ENDPOINTS_MAX : json_array_size(list);
    struct slice_part *s = MEM_NEW(struct slice_part);

    s->key = meta_key(slice);
    s->ports = read_ports(json_at(slice, "ports"), &s->n_ports);
    s->ends = mem_zalloc((n + 1) * sizeof(*s->ends));
    for (size_t i = 0; i < n; i++) {
        const json_t *e = json_array_get(list, i);
        const char *ip = json_string_value(json_array_get(json_at(e, "addresses"), 0));
        struct err ignored;

        if (json_bool_or(e, "conditions.ready", true) && ipv4_read(ip, &s->ends[s->n_ends].ip, &ignored) == 0)
            s->ends[s->n_ends++].host = host_of(e, ip);
    }
    return s;
}

void dns_zone_slice_set(void *arg, const json_t *object, bool first)
{
    struct dns_zone *z = arg;
    const char *service = meta_label(object, "kubernetes.io/service-name");
    AUTO_FREE char *key = service ? mem_printf("%s/%s", meta_namespace(object), service) : NULL;
    AUTO_FREE char *slice_key = meta_key(object);
    struct slice_part *s = key && strcmp(json_str_or(object, "addressType", ""), "IPv4") == 0 ? read_slice(object) : NULL;
    LOCK_SCOPE(&z->lock);

    (void)first;
    forget_slice(z, slice_key);
    if (!s)
        return;
    struct name *n = name_of(z, key);

    s->next = n->slices;
    n->slices = s;
    map_set(z->slice_of, slice_key, mem_strdup(key));
}

void dns_zone_slice_delete(void *arg, const json_t *last)
{
    struct dns_zone *z = arg;
    AUTO_FREE char *slice_key = meta_key(last);
    LOCK_SCOPE(&z->lock);

    forget_slice(z, slice_key);
}

/* --- answering, under the lock --- */

struct asked {
    struct dns_zone *z;
    const struct dns_query *q;
    struct dns_reply *r;
    const char *ns, *service;
    char *chase;
};

static bool wants(const struct dns_query *q, enum dns_type type)
{
    return q->type == type || q->type == DNS_ANY;
}

/* The addresses of a headless service, each time beginning with another; host NULL: all. False when there is none. */
static bool answer_ends(const struct asked *a, const struct name *n, const char *host)
{
    size_t total = 0, at = 0, given = 0;

    for (const struct slice_part *s = n->slices; s; s = s->next)
        total += s->n_ends;
    size_t skip = total ? a->z->turn++ % total : 0;

    for (int round = 0; round < 2; round++) {
        at = 0;
        for (const struct slice_part *s = n->slices; s; s = s->next)
            for (size_t i = 0; i < s->n_ends; i++, at++) {
                if ((round == 0) != (at >= skip) || (host && strcmp(host, s->ends[i].host) != 0) || given >= ANSWERS_MAX)
                    continue;
                given++;
                if (wants(a->q, DNS_A))
                    dns_add_address(a->r, NULL, s->ends[i].ip, false);
            }
    }
    return given > 0;
}

static enum dns_code answer_service(const struct asked *a, const struct name *n)
{
    if (n->external) {
        if (a->q->type == DNS_A || a->q->type == DNS_AAAA || wants(a->q, DNS_CNAME)) {
            dns_add_name(a->r, NULL, DNS_CNAME, n->external);
            snprintf(a->chase, DNS_NAME_BYTES, "%s", a->q->type == DNS_A || a->q->type == DNS_AAAA ? n->external : "");
        }
        return DNS_OK;
    }
    if (!n->ip)
        answer_ends(a, n, NULL); /* the name is there, endpoints or not */
    else if (wants(a->q, DNS_A))
        dns_add_address(a->r, NULL, n->ip, false);
    return DNS_OK;
}

static bool is_port(const struct port *p, const char *name, const char *protocol)
{
    return (strcmp(name, "*") == 0 || strcmp(p->name, name) == 0) && strcmp(p->protocol, protocol) == 0 && *p->name;
}

/* _name._protocol of a service: port and target; the target's address comes along. */
static enum dns_code answer_port(const struct asked *a, const struct name *n, const char *name, const char *protocol)
{
    bool srv = wants(a->q, DNS_SRV), any = false;
    char target[DNS_NAME_BYTES * 2];
    struct { char name[DNS_NAME_BYTES * 2]; uint32_t ip; } more[32];
    size_t n_more = 0, given = 0;

    snprintf(target, sizeof(target), "%s.%s.svc.%s", a->service, a->ns, a->z->domain);
    for (size_t i = 0; n->ip && i < n->n_ports; i++)
        if (is_port(&n->ports[i], name, protocol)) {
            any = true;
            if (srv)
                dns_add_srv(a->r, 100, n->ports[i].port, target);
        }
    if (any && srv)
        dns_add_address(a->r, target, n->ip, true);
    for (const struct slice_part *s = n->ip ? NULL : n->slices; s; s = s->next)
        for (size_t p = 0; p < s->n_ports; p++)
            for (size_t i = 0; is_port(&s->ports[p], name, protocol) && i < s->n_ends && given < ANSWERS_MAX; i++) {
                any = true;
                given++;
                snprintf(target, sizeof(target), "%s.%s.%s.svc.%s", s->ends[i].host, a->service, a->ns, a->z->domain);
                if (srv)
                    dns_add_srv(a->r, 100, s->ports[p].port, target);
                if (n_more < ARRAY_LEN(more)) {
                    snprintf(more[n_more].name, sizeof(more[0].name), "%s", target);
                    more[n_more++].ip = s->ends[i].ip;
                }
            }
    for (size_t i = 0; srv && i < n_more; i++)
        dns_add_address(a->r, more[i].name, more[i].ip, true);
    return any ? DNS_OK : DNS_NO_NAME;
}

/* parts: the labels in front of .svc.<domain>. */
static enum dns_code answer_svc(struct asked *a, char **parts, size_t n)
{
    char key[DNS_NAME_BYTES * 2];

    if (n == 0)
        return DNS_OK;
    a->ns = parts[n - 1];
    if (n == 1)
        return map_get(a->z->spaces, a->ns) ? DNS_OK : DNS_NO_NAME;
    a->service = parts[n - 2];
    snprintf(key, sizeof(key), "%s/%s", a->ns, a->service);
    const struct name *name = map_get(a->z->names, key);

    if (!name || !name->known)
        return DNS_NO_NAME;
    if (n == 2)
        return answer_service(a, name);
    if (n == 3 && *parts[0] == '_')
        return DNS_OK; /* _tcp alone: something is below it, nothing there */
    if (n == 3)
        return !name->ip && !name->external && answer_ends(a, name, parts[0]) ? DNS_OK : DNS_NO_NAME;
    if (n == 4 && *parts[0] == '_' && *parts[1] == '_')
        return answer_port(a, name, parts[0] + 1, parts[1] + 1);
    return DNS_NO_NAME;
}

/* 10-42-0-5.ns.pod: the address in the name itself. */
static enum dns_code answer_pod(const struct asked *a, char **parts, size_t n)
{
    struct err ignored;
    uint32_t ip = 0;

    if (n == 0)
        return DNS_OK;
    if (n == 1)
        return map_get(a->z->spaces, parts[0]) ? DNS_OK : DNS_NO_NAME;
    if (n != 2)
        return DNS_NO_NAME;
    for (char *c = parts[0]; *c; c++)
        *c = *c == '-' ? '.' : *c;
    if (ipv4_read(parts[0], &ip, &ignored) < 0)
        return DNS_NO_NAME;
    if (wants(a->q, DNS_A))
        dns_add_address(a->r, NULL, ip, false);
    return DNS_OK;
}

static size_t split(char *text, char *parts[PARTS_MAX + 1])
{
    size_t n = 0;
    char *rest = text, *part;

    while (*text && n <= PARTS_MAX && (part = strsep(&rest, ".")))
        parts[n++] = part;
    return n;
}

static enum dns_code answer_domain(struct asked *a, size_t n_front)
{
    char front[DNS_NAME_BYTES], *parts[PARTS_MAX + 1];
    size_t n;

    snprintf(front, sizeof(front), "%.*s", (int)n_front, a->q->name);
    n = split(front, parts);
    if (n == 0) {
        if (wants(a->q, DNS_SOA))
            dns_add_soa(a->r, a->z->domain, a->z->serial, false);
        return DNS_OK;
    }
    if (strcmp(parts[n - 1], "svc") == 0)
        return answer_svc(a, parts, n - 1);
    if (strcmp(parts[n - 1], "pod") == 0)
        return answer_pod(a, parts, n - 1);
    if (n == 1 && strcmp(parts[0], "dns-version") == 0) {
        if (wants(a->q, DNS_TXT))
            dns_add_text(a->r, "1.1.0");
        return DNS_OK;
    }
    return DNS_NO_NAME;
}

/* d.c.b.a.in-addr.arpa: the service, or the endpoint of a headless one, with that address. */
static bool answer_reverse(struct asked *a)
{
    unsigned b[4];
    int end = 0;
    size_t pos = 0, found = 0;
    const char *key;
    void *value;
    char target[DNS_NAME_BYTES * 2];

    if (sscanf(a->q->name, "%3u.%3u.%3u.%3u.in-addr.arpa%n", &b[3], &b[2], &b[1], &b[0], &end) != 4 || !end || a->q->name[end] ||
        b[0] > 255 || b[1] > 255 || b[2] > 255 || b[3] > 255)
        return false;
    uint32_t ip = b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3];

    while (map_next(a->z->names, &pos, &key, &value)) {
        const struct name *n = value;
        const char *slash = strchr(key, '/');

        if (!n->known || !slash)
            continue;
        if (n->ip == ip && found++ < ANSWERS_MAX && wants(a->q, DNS_PTR)) {
            snprintf(target, sizeof(target), "%s.%.*s.svc.%s", slash + 1, (int)(slash - key), key, a->z->domain);
            dns_add_name(a->r, NULL, DNS_PTR, target);
        }
        for (const struct slice_part *s = n->ip ? NULL : n->slices; s; s = s->next)
            for (size_t i = 0; i < s->n_ends; i++)
                if (s->ends[i].ip == ip && found++ < ANSWERS_MAX && wants(a->q, DNS_PTR)) {
                    snprintf(target, sizeof(target), "%s.%s.%.*s.svc.%s", s->ends[i].host, slash + 1, (int)(slash - key), key, a->z->domain);
                    dns_add_name(a->r, NULL, DNS_PTR, target);
                }
    }
    return found > 0;
}

bool dns_zone_answer(struct dns_zone *z, const struct dns_query *q, struct dns_reply *r, enum dns_code *ret_code, char *ret_chase)
{
    struct asked a = { .z = z, .q = q, .r = r, .chase = ret_chase };
    size_t n = strlen(q->name);
    bool in_domain = n >= z->n_domain && strcmp(q->name + n - z->n_domain, z->domain) == 0 &&
                     (n == z->n_domain || q->name[n - z->n_domain - 1] == '.');
    LOCK_SCOPE(&z->lock);

    *ret_chase = '\0';
    if (!in_domain) {
        *ret_code = DNS_OK;
        return answer_reverse(&a);
    }
    *ret_code = answer_domain(&a, n == z->n_domain ? 0 : n - z->n_domain - 1);
    if (r->answers == 0)
        dns_add_soa(r, z->domain, z->serial, true);
    return true;
}
