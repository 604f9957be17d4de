/* A pod's resolv.conf: the cluster's DNS or the node's servers, and what dnsConfig adds. */
#include "agent/pods/env_int.h"

#include "lib/k8s/meta.h"
#include "lib/mem.h"

#include <string.h>

enum { SERVERS_MAX = 3, SEARCHES_MAX = 32, SEARCH_CHARS_MAX = 2048, NAME_MAX_CHARS = 253, WORDS_MAX = 256 };

/* Words in order, each once. */
struct words {
    char *at[WORDS_MAX];
    size_t n;
};

static void words_clear(struct words *w)
{
    for (size_t i = 0; i < w->n; i++)
        free(w->at[i]);
    w->n = 0;
}

static void auto_words(struct words *w)
{
    words_clear(w);
}

/* key: how much of a word must be the same for it to be replaced. */
static void words_put(struct words *w, const char *word, size_t n, size_t key)
{
    for (size_t i = 0; i < w->n; i++)
        if (!strncmp(w->at[i], word, key) && (w->at[i][key] == '\0' || w->at[i][key] == ':')) {
            free(w->at[i]);
            w->at[i] = slice_dup((struct slice){ word, n });
            return;
        }
    if (w->n < WORDS_MAX)
        w->at[w->n++] = slice_dup((struct slice){ word, n });
}

static void words_add(struct words *w, const char *word, size_t n)
{
    for (size_t i = 0; i < w->n; i++)
        if (strlen(w->at[i]) == n && !memcmp(w->at[i], word, n))
            return;
    if (n > 0 && w->n < WORDS_MAX)
        w->at[w->n++] = slice_dup((struct slice){ word, n });
}

struct dns {
    struct words servers, searches, options;
};

static void auto_dns(struct dns *d)
{
    words_clear(&d->servers);
    words_clear(&d->searches);
    words_clear(&d->options);
}

/* name or name:value; a later one of a name wins in place. */
static void put_option(struct words *options, const char *word, size_t n)
{
    const char *colon = memchr(word, ':', n);

    words_put(options, word, n, colon ? (size_t)(colon - word) : n);
}

static void read_line(const char *line, size_t n, struct dns *to)
{
    static const char blank[] = " \t\r";
    struct words *list = NULL;
    bool first = true;

    for (size_t at = 0; at < n;) {
        size_t len;

        at += strspn(line + at, blank);
        len = strcspn(line + at, " \t\r\n");
        if (at >= n || len == 0)
            return;
        struct slice word = { line + at, len };
        at += len;
        if (first) {
            list = slice_is(word, "nameserver") ? &to->servers : slice_is(word, "search") ? &to->searches :
                   slice_is(word, "options") ? &to->options : NULL;
            if (list == &to->searches)
                words_clear(list); /* the last line wins */
            first = false;
        } else if (list == &to->options) {
            put_option(list, word.at, word.n);
        } else if (list == &to->searches) {
            while (word.n > 0 && word.at[word.n - 1] == '.')
                word.n--; /* a name with and without it counts once */
            words_add(list, word.at, word.n);
        } else if (list) {
            words_add(list, word.at, word.n);
            return;
        }
        if (!list)
            return;
    }
}

static void read_host(const char *text, struct dns *to)
{
    while (*text) {
        size_t n = strcspn(text, "\n");

        read_line(text, n, to);
        text += n;
        text += *text == '\n';
    }
}

static void use_cluster(const struct pod_env *e, const json_t *pod, struct dns *d)
{
    AUTO(words) struct words host = d->searches; /* moved */
    const char *ns = meta_namespace(pod), *domain = e->cluster_domain;

    d->searches.n = 0;
    words_clear(&d->servers);
    words_clear(&d->options);
    for (const char *p = e->cluster_dns; *p;) {
        size_t n = strcspn(p, ",");

        words_add(&d->servers, p, n);
        p += n;
        p += *p == ',';
    }
    if (*domain) {
        AUTO_FREE char *own = mem_printf("%s.svc.%s", ns, domain), *svc = mem_printf("svc.%s", domain);

        words_add(&d->searches, own, strlen(own));
        words_add(&d->searches, svc, strlen(svc));
        words_add(&d->searches, domain, strlen(domain));
    }
    for (size_t i = 0; i < host.n; i++)
        words_add(&d->searches, host.at[i], strlen(host.at[i]));
    put_option(&d->options, "ndots:5", 7);
}

static void add_config(const json_t *config, struct dns *d)
{
    json_t *servers = json_object_get(config, "nameservers"), *searches = json_object_get(config, "searches");
    json_t *options = json_object_get(config, "options"), *one;
    size_t i;

    json_array_foreach(servers, i, one)
        if (json_is_string(one))
            words_add(&d->servers, json_string_value(one), json_string_length(one));
    json_array_foreach(searches, i, one)
        if (json_is_string(one))
            words_add(&d->searches, json_string_value(one), json_string_length(one));
    json_array_foreach(options, i, one) {
        const char *value = json_str_or(one, "value", "");
        AUTO_FREE char *word = mem_printf("%s%s%s", json_str_or(one, "name", ""), *value ? ":" : "", value);

        if (*word)
            put_option(&d->options, word, strlen(word));
    }
}

static void write_searches(const struct words *searches, struct buf *to)
{
    size_t chars = 0, n = 0;

    for (size_t i = 0; i < searches->n && i < SEARCHES_MAX; i++) {
        size_t len = strlen(searches->at[i]);

        if (len > NAME_MAX_CHARS)
            continue; /* glibc aborts on them */
        if (chars + len + (n > 0) > SEARCH_CHARS_MAX)
            break;
        chars += len + (n > 0);
        buf_printf(to, "%s%s", n++ ? " " : "search ", searches->at[i]);
    }
    if (n)
        buf_char(to, '\n');
}

void env_resolv_conf(const struct pod_env *e, const json_t *pod, const char *host, struct buf *to)
{
    const char *policy = json_str_or(pod, "spec.dnsPolicy", "ClusterFirst");
    bool host_network = json_bool_or(pod, "spec.hostNetwork", false);
    AUTO(dns) struct dns d = { 0 };

    if (strcmp(policy, "None"))
        read_host(host, &d);
    if (*e->cluster_dns && (!strcmp(policy, "ClusterFirstWithHostNet") || (!strcmp(policy, "ClusterFirst") && !host_network)))
        use_cluster(e, pod, &d);
    add_config(json_at(pod, "spec.dnsConfig"), &d);
    write_searches(&d.searches, to);
    for (size_t i = 0; i < d.servers.n && i < SERVERS_MAX; i++)
        buf_printf(to, "nameserver %s\n", d.servers.at[i]);
    for (size_t i = 0; i < d.options.n; i++)
        buf_printf(to, "%s%s", i ? " " : "options ", d.options.at[i]);
    if (d.options.n)
        buf_char(to, '\n');
}
