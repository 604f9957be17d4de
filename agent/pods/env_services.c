/* The variables of Services: {NAME}_SERVICE_HOST, _SERVICE_PORT, _SERVICE_PORT_{PORT NAME} and the older _PORT… family. */
#include "agent/pods/env_int.h"

#include "lib/k8s/meta.h"
#include "lib/mem.h"

#include <stdio.h>
#include <string.h>

enum { SERVICE_PORTS_MAX = 1000 };

static void free_service(void *p)
{
    struct env_service *s = p;

    for (size_t i = 0; i < s->n_ports; i++)
        free(s->ports[i].name);
    free(s->ip);
    free(s);
}

static struct env_service *read_service(const json_t *service)
{
    const char *ip = json_str_or(service, "spec.clusterIP", "");
    json_t *ports = json_at(service, "spec.ports"), *port;
    size_t n = json_array_size(ports), i;

    if (!*ip || !strcmp(ip, "None") || n == 0)
        return NULL;
    n = n < SERVICE_PORTS_MAX ? n : SERVICE_PORTS_MAX;
    struct env_service *s = mem_zalloc(sizeof(*s) + n * sizeof(s->ports[0]));
    s->ip = mem_strdup(ip);
    json_array_foreach(ports, i, port) {
        if (s->n_ports == n)
            break;
        struct env_port *p = &s->ports[s->n_ports++];
        p->name = mem_strdup(json_str_or(port, "name", ""));
        p->port = (int)json_int_or(port, "port", 0);
        (void)snprintf(p->protocol, sizeof(p->protocol), "%s", json_str_or(port, "protocol", "TCP"));
    }
    return s;
}

static void forget(struct pod_env *e, const char *ns, const char *name)
{
    struct map *space = map_get(e->spaces, ns);

    if (!space)
        return;
    map_del(space, name);
    if (map_len(space) == 0)
        map_del(e->spaces, ns);
}

void env_service_set(void *arg, const json_t *service, bool first)
{
    struct pod_env *e = arg;
    struct env_service *s = read_service(service);
    const char *ns = meta_namespace(service);

    (void)first;
    LOCK_SCOPE(&e->lock);
    if (!s) {
        forget(e, ns, meta_name(service));
        return;
    }
    struct map *space = map_get(e->spaces, ns);
    if (!space) {
        space = map_new(free_service);
        map_set(e->spaces, ns, space);
    }
    map_set(space, meta_name(service), s);
}

void env_service_delete(void *arg, const json_t *last)
{
    struct pod_env *e = arg;

    LOCK_SCOPE(&e->lock);
    forget(e, meta_namespace(last), meta_name(last));
}

void env_service_sync(void *arg)
{
    struct pod_env *e = arg;

    LOCK_SCOPE(&e->lock);
    e->synced = true;
}

/* Upper case, '-' to '_'. */
static void variable_name(const char *name, struct buf *to)
{
    for (; *name; name++)
        buf_char(to, *name == '-' ? '_' : *name >= 'a' && *name <= 'z' ? (char)(*name - 32) : *name);
}

/* add(prefix + suffix, value) */
static void put(env_add_fn *add, void *arg, const struct buf *prefix, const char *suffix, const char *value)
{
    AUTO_FREE char *name = mem_printf("%s%s", buf_at(prefix), suffix);

    add(arg, name, value);
}

static void port_variables(const struct env_service *s, size_t i, const struct buf *prefix, env_add_fn *add, void *arg)
{
    const struct env_port *p = &s->ports[i];
    char number[16], lower[8], upper[8], stem[48], part[64];
    bool six = strchr(s->ip, ':') != NULL;
    size_t n = 0;

    for (; p->protocol[n] && n < sizeof(lower) - 1; n++) {
        char c = p->protocol[n];
        lower[n] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
        upper[n] = c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
    }
    lower[n] = upper[n] = '\0';
    AUTO_FREE char *url = mem_printf(six ? "%s://[%s]:%d" : "%s://%s:%d", lower, s->ip, p->port);
    (void)snprintf(number, sizeof(number), "%d", p->port);
    if (i == 0)
        put(add, arg, prefix, "_PORT", url);
    (void)snprintf(stem, sizeof(stem), "_PORT_%d_%s", p->port, upper);
    put(add, arg, prefix, stem, url);
    (void)snprintf(part, sizeof(part), "%s_PROTO", stem);
    put(add, arg, prefix, part, lower);
    (void)snprintf(part, sizeof(part), "%s_PORT", stem);
    put(add, arg, prefix, part, number);
    (void)snprintf(part, sizeof(part), "%s_ADDR", stem);
    put(add, arg, prefix, part, s->ip);
}

static void service_variables(const char *name, const struct env_service *s, env_add_fn *add, void *arg)
{
    AUTO(buf) struct buf prefix = { 0 };
    char number[16];

    variable_name(name, &prefix);
    (void)snprintf(number, sizeof(number), "%d", s->ports[0].port);
    put(add, arg, &prefix, "_SERVICE_HOST", s->ip);
    put(add, arg, &prefix, "_SERVICE_PORT", number);
    for (size_t i = 0; i < s->n_ports; i++) {
        AUTO(buf) struct buf suffix = { 0 };

        if (*s->ports[i].name) {
            buf_str(&suffix, "_SERVICE_PORT_");
            variable_name(s->ports[i].name, &suffix);
            (void)snprintf(number, sizeof(number), "%d", s->ports[i].port);
            put(add, arg, &prefix, buf_at(&suffix), number);
        }
    }
    for (size_t i = 0; i < s->n_ports; i++)
        port_variables(s, i, &prefix, add, arg);
}

bool env_services_each(struct pod_env *e, const char *ns, bool links, env_add_fn *add, void *arg)
{
    LOCK_SCOPE(&e->lock);
    const struct map *own = map_get(e->spaces, ns), *of_default = map_get(e->spaces, "default");
    const struct env_service *api = of_default ? map_get(of_default, "kubernetes") : NULL;
    bool has_own_kubernetes = links && own && own != of_default && map_get(own, "kubernetes");
    const char *name;
    void *s;

    if (api && !has_own_kubernetes)
        service_variables("kubernetes", api, add, arg);
    for (size_t pos = 0; links && own && map_next(own, &pos, &name, &s);)
        if (s != api)
            service_variables(name, s, add, arg);
    return e->synced;
}
