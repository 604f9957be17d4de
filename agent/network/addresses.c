#include "agent/network/addresses.h"

#include "lib/file.h"
#include "lib/json.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/stat.h>

enum { FORMAT = 1, FILE_BYTES_MAX = 64 * 1024, PREFIX_MIN = 12, PREFIX_MAX = 29 };

struct addresses {
    int dir_fd;
    struct cidr range;
    uint32_t n_slots, next; /* slot 0 is the network itself */
    unsigned char *used;    /* one bit a slot */
    struct address *all;
    size_t n, cap;
};

int ipv4_read(const char *text, uint32_t *ret, struct err *err)
{
    struct in_addr in;

    if (!text || inet_pton(AF_INET, text, &in) != 1)
        return err_set(err, ERR_BAD_REQUEST, "\"%s\" is no IPv4 address", text ? text : "");
    *ret = ntohl(in.s_addr);
    return 0;
}

char *ipv4_text(uint32_t ip, char to[IPV4_TEXT_BYTES])
{
    struct in_addr in = { .s_addr = htonl(ip) };

    inet_ntop(AF_INET, &in, to, IPV4_TEXT_BYTES);
    return to;
}

int cidr_read(const char *text, struct cidr *ret, struct err *err)
{
    char ip_text[IPV4_TEXT_BYTES] = "", *end = NULL;
    const char *slash = text ? strchr(text, '/') : NULL;
    uint32_t ip = 0;

    if (!slash || slash - text >= (ptrdiff_t)sizeof(ip_text) || slash[1] < '0' || slash[1] > '9')
        return err_set(err, ERR_BAD_REQUEST, "\"%s\" is no IPv4 range such as 10.42.0.0/24", text ? text : "");
    memcpy(ip_text, text, (size_t)(slash - text));
    long prefix = strtol(slash + 1, &end, 10);

    if (*end || prefix > 32)
        return err_set(err, ERR_BAD_REQUEST, "\"%s\" is no IPv4 range such as 10.42.0.0/24", text);
    if (ipv4_read(ip_text, &ip, err) < 0)
        return err_wrap(err, "range %s", text);
    *ret = (struct cidr){ .ip = prefix ? ip & UINT32_MAX << (32 - prefix) : 0, .prefix = (int)prefix };
    return 0;
}

/* --- protocols --- */

static const struct {
    const char *name;
    uint8_t number;
} protocols[] = { { "TCP", IPPROTO_TCP }, { "UDP", IPPROTO_UDP }, { "SCTP", IPPROTO_SCTP } };

static const char *protocol_name(uint8_t number)
{
    for (size_t i = 0; i < ARRAY_LEN(protocols); i++)
        if (protocols[i].number == number)
            return protocols[i].name;
    return "?";
}

uint8_t protocol_number(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(protocols); i++)
        if (strcmp(protocols[i].name, name) == 0)
            return protocols[i].number;
    return 0;
}

static int port_read(const struct network_host_port *p, struct address_port *ret, struct err *err)
{
    const char *name = p->protocol && *p->protocol ? p->protocol : "TCP";
    struct address_port port = { .protocol = protocol_number(name) };

    if (!port.protocol)
        return err_set(err, ERR_BAD_REQUEST, "host port %d: protocol \"%s\" is none of TCP, UDP, SCTP", p->host_port, name);
    if (p->host_port < 1 || p->host_port > 65535 || p->container_port < 1 || p->container_port > 65535)
        return err_set(err, ERR_BAD_REQUEST, "host port %d to %d: a port is 1 to 65535", p->host_port, p->container_port);
    if (p->host_ip && *p->host_ip && ipv4_read(p->host_ip, &port.host_ip, err) < 0)
        return err_wrap(err, "host port %d", p->host_port);
    port.host_port = (uint16_t)p->host_port;
    port.container_port = (uint16_t)p->container_port;
    *ret = port;
    return 0;
}

/* --- the list in memory --- */

static bool is_used(const struct addresses *a, uint32_t slot)
{
    return a->used[slot / 8] & 1u << slot % 8;
}

static void set_used(struct addresses *a, uint32_t slot, bool used)
{
    if (used)
        a->used[slot / 8] |= (unsigned char)(1u << slot % 8);
    else
        a->used[slot / 8] &= (unsigned char)~(1u << slot % 8);
}

static void address_clear(struct address *one)
{
    free(one->uid);
    free(one->ports);
    *one = (struct address){ 0 };
}

static struct address *add(struct addresses *a, struct address one)
{
    if (a->n == a->cap) {
        a->cap = a->cap ? a->cap * 2 : 8;
        a->all = mem_realloc(a->all, a->cap * sizeof(*a->all));
    }
    set_used(a, one.ip - a->range.ip, true);
    a->all[a->n] = one;
    return &a->all[a->n++];
}

static void take_out(struct addresses *a, struct address *one)
{
    set_used(a, one->ip - a->range.ip, false);
    address_clear(one);
    *one = a->all[--a->n];
}

const struct address *addresses_find(const struct addresses *a, const char *uid)
{
    for (size_t i = 0; i < a->n; i++)
        if (strcmp(a->all[i].uid, uid) == 0)
            return &a->all[i];
    return NULL;
}

size_t addresses_count(const struct addresses *a)
{
    return a->n;
}

const struct address *addresses_at(const struct addresses *a, size_t i)
{
    return &a->all[i];
}

static int check_free(const struct addresses *a, const struct address_port *p, struct err *err)
{
    for (size_t i = 0; i < a->n; i++)
        for (size_t k = 0; k < a->all[i].n_ports; k++) {
            const struct address_port *other = &a->all[i].ports[k];

            if (other->protocol == p->protocol && other->host_port == p->host_port &&
                (!other->host_ip || !p->host_ip || other->host_ip == p->host_ip))
                return err_set(err, ERR_CONFLICT, "host port %d/%s is already in use by pod %s", p->host_port,
                               protocol_name(p->protocol), a->all[i].uid);
        }
    return 0;
}

static int find_slot(struct addresses *a, uint32_t *ret, struct err *err)
{
    /* Slots 2 to n - 2: 0 is the network, 1 the gateway, the last the broadcast address. */
    for (uint32_t i = 0; i < a->n_slots - 3; i++) {
        uint32_t slot = 2 + (a->next - 2 + i) % (a->n_slots - 3);

        if (!is_used(a, slot)) {
            *ret = slot;
            return 0;
        }
    }
    return err_set(err, ERR_UNAVAILABLE, "no address is left for pods on this node: %zu are given", a->n);
}

/* --- files --- */

static void write_record(const struct address *one, struct buf *to)
{
    AUTO(json) json_t *doc = json_pack("{s:i, s:s, s:o}", "format", FORMAT, "uid", one->uid, "hostPorts", json_array());
    char ip[IPV4_TEXT_BYTES];

    for (size_t i = 0; i < one->n_ports; i++)
        json_array_append_new(json_at(doc, "hostPorts"),
                              json_pack("{s:s, s:s, s:i, s:i}", "protocol", protocol_name(one->ports[i].protocol), "hostIP",
                                        one->ports[i].host_ip ? ipv4_text(one->ports[i].host_ip, ip) : "", "hostPort",
                                        one->ports[i].host_port, "containerPort", one->ports[i].container_port));
    json_write(doc, to);
}

static int save(struct addresses *a, const struct address *one, struct err *err)
{
    AUTO(buf) struct buf text = { 0 };
    char name[IPV4_TEXT_BYTES], tmp[IPV4_TEXT_BYTES + 8];
    AUTO_FD int fd = -1;

    ipv4_text(one->ip, name);
    snprintf(tmp, sizeof(tmp), ".%s.tmp", name);
    write_record(one, &text);
    fd = openat(a->dir_fd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, errno, "note address %s", name);
    ssize_t n = write(fd, buf_at(&text), buf_len(&text));

    if (n != (ssize_t)buf_len(&text) || renameat(a->dir_fd, tmp, a->dir_fd, name) < 0) {
        int failed = n < 0 || n == (ssize_t)buf_len(&text) ? errno : ENOSPC;

        (void)unlinkat(a->dir_fd, tmp, 0);
        return err_sys(err, failed, "note address %s", name);
    }
    return 0;
}

static bool read_ports(const json_t *list, struct address *one)
{
    size_t n = json_array_size(list);
    struct err err = { 0 };

    if (n > ADDRESS_PORTS_MAX)
        return false;
    one->ports = n ? mem_alloc(n * sizeof(*one->ports)) : NULL;
    for (size_t i = 0; i < n; i++) {
        const json_t *p = json_array_get(list, i);
        struct network_host_port port = {
            .protocol = json_str(p, "protocol"),
            .host_ip = json_str(p, "hostIP"),
            .host_port = (int)json_int_or(p, "hostPort", 0),
            .container_port = (int)json_int_or(p, "containerPort", 0),
        };

        if (port_read(&port, &one->ports[i], &err) < 0)
            return false;
    }
    one->n_ports = n;
    return true;
}

/* What cannot be read belongs to nobody, see above; a newer format is another program's. */
static int load_one(struct addresses *a, const char *name, bool *ret_ours, struct err *err)
{
    struct address one = { 0 };
    struct err ignored = { 0 };
    AUTO_FREE char *text = NULL;
    AUTO(json) json_t *doc = NULL;
    size_t n = 0;

    *ret_ours = false;
    if (ipv4_read(name, &one.ip, &ignored) < 0 || one.ip - a->range.ip < 2 || one.ip - a->range.ip >= a->n_slots - 1)
        return 0;
    if (file_read(a->dir_fd, name, FILE_BYTES_MAX, &text, &n, &ignored) < 0 || json_read(text, n, NULL, NULL, &doc, &ignored) < 0)
        return 0;
    if (json_int_or(doc, "format", 0) > FORMAT)
        return err_set(err, ERR_UNAVAILABLE, "address file %s has format %lld; this program knows %d", name,
                       (long long)json_int_or(doc, "format", 0), FORMAT);
    one.uid = mem_strdup(json_str(doc, "uid"));
    if (!one.uid || addresses_find(a, one.uid) || !read_ports(json_at(doc, "hostPorts"), &one)) {
        address_clear(&one);
        return 0;
    }
    add(a, one);
    *ret_ours = true;
    return 0;
}

static int load(struct addresses *a, struct err *err)
{
    int fd = openat(a->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct timespec newest = { 0 };
    struct dirent *e;
    int rc = 0;

    if (!d) {
        rc = err_sys(err, errno, "list the addresses given");
        if (fd >= 0)
            close(fd);
        return rc;
    }
    while (rc == 0 && (e = readdir(d))) {
        struct stat st;
        bool ours;

        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        rc = load_one(a, e->d_name, &ours, err);
        if (rc == 0 && !ours)
            (void)unlinkat(a->dir_fd, e->d_name, 0);
        if (rc < 0 || !ours || fstatat(a->dir_fd, e->d_name, &st, 0) < 0)
            continue;
        if (st.st_mtim.tv_sec > newest.tv_sec || (st.st_mtim.tv_sec == newest.tv_sec && st.st_mtim.tv_nsec >= newest.tv_nsec)) {
            newest = st.st_mtim;
            a->next = a->all[a->n - 1].ip - a->range.ip + 1;
        }
    }
    closedir(d);
    return rc;
}

static int make_dirs(const char *dir, struct err *err)
{
    char path[PATH_MAX];

    if (snprintf(path, sizeof(path), "%s", dir) >= (int)sizeof(path))
        return err_set(err, ERR_BAD_REQUEST, "the path %.100s… is too long", dir);
    for (char *at = path + 1; *at; at++)
        if (*at == '/') {
            *at = '\0';
            if (mkdir(path, 0755) < 0 && errno != EEXIST)
                return err_sys(err, errno, "make folder %s", path);
            *at = '/';
        }
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return err_sys(err, errno, "make folder %s", path);
    return 0;
}

int addresses_open(const char *dir, struct cidr range, struct addresses **ret, struct err *err)
{
    struct addresses *a;

    if (range.prefix < PREFIX_MIN || range.prefix > PREFIX_MAX)
        return err_set(err, ERR_BAD_REQUEST, "a node's pod range is /%d to /%d, not /%d", PREFIX_MIN, PREFIX_MAX, range.prefix);
    if (make_dirs(dir, err) < 0)
        return -(int)err->code;
    a = MEM_NEW(struct addresses);
    a->range = range;
    a->n_slots = 1u << (32 - range.prefix);
    a->next = 2;
    a->used = mem_zalloc(a->n_slots / 8 + 1);
    a->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = a->dir_fd < 0 ? err_sys(err, errno, "open folder %s", dir) : load(a, err);

    if (rc < 0) {
        addresses_free(a);
        return rc;
    }
    *ret = a;
    return 0;
}

void addresses_free(struct addresses *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < a->n; i++)
        address_clear(&a->all[i]);
    free(a->all);
    free(a->used);
    if (a->dir_fd >= 0)
        close(a->dir_fd);
    free(a);
}

int addresses_give(struct addresses *a, const char *uid, const struct network_host_port *ports, size_t n_ports,
                   const struct address **ret, struct err *err)
{
    struct address one = { 0 };
    uint32_t slot = 0;
    int rc = 0;

    if (n_ports > ADDRESS_PORTS_MAX)
        return err_set(err, ERR_TOO_LARGE, "a pod has at most %d host ports, not %zu", ADDRESS_PORTS_MAX, n_ports);
    one.ports = n_ports ? mem_alloc(n_ports * sizeof(*one.ports)) : NULL;
    for (size_t i = 0; rc == 0 && i < n_ports; i++) {
        rc = port_read(&ports[i], &one.ports[i], err);
        if (rc == 0)
            rc = check_free(a, &one.ports[i], err);
    }
    if (rc == 0)
        rc = find_slot(a, &slot, err);
    one.n_ports = n_ports;
    one.ip = a->range.ip + slot;
    one.uid = mem_strdup(uid);
    if (rc == 0)
        rc = save(a, &one, err);
    if (rc < 0) {
        address_clear(&one);
        return rc;
    }
    a->next = slot + 1;
    *ret = add(a, one);
    return 0;
}

int addresses_drop(struct addresses *a, const char *uid, struct err *err)
{
    struct address *one = (struct address *)addresses_find(a, uid);
    char name[IPV4_TEXT_BYTES];

    if (!one)
        return 0;
    if (unlinkat(a->dir_fd, ipv4_text(one->ip, name), 0) < 0 && errno != ENOENT)
        return err_sys(err, errno, "give address %s back", name);
    take_out(a, one);
    return 0;
}
