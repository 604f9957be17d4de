/* Values of a pod and its containers for environment variables and files. */
#include "agent/volumes/volumes.h"

#include "lib/k8s/meta.h"
#include "lib/k8s/quantity.h"
#include "lib/mem.h"

#include <string.h>

/* As Go's strconv.Quote for what labels and annotations hold. */
static void quote(const char *s, size_t n, struct buf *to)
{
    static const struct {
        char c;
        const char *text;
    } short_ones[] = { { '\a', "\\a" }, { '\b', "\\b" }, { '\f', "\\f" }, { '\n', "\\n" }, { '\r', "\\r" },
                       { '\t', "\\t" }, { '\v', "\\v" }, { '"', "\\\"" }, { '\\', "\\\\" } };

    buf_char(to, '"');
    for (size_t i = 0; i < n; i++) {
        const char *text = NULL;

        for (size_t k = 0; k < ARRAY_LEN(short_ones) && !text; k++)
            if (short_ones[k].c == s[i])
                text = short_ones[k].text;
        if (text)
            buf_str(to, text);
        else if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            buf_printf(to, "\\x%02x", (unsigned char)s[i]);
        else
            buf_char(to, s[i]);
    }
    buf_char(to, '"');
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* key="value" lines in order of the keys. */
static void format_map(json_t *map, struct buf *to)
{
    size_t n = json_object_size(map), i = 0;
    AUTO_FREE const char **keys = mem_alloc((n + 1) * sizeof(*keys));
    const char *key;
    json_t *v;

    json_object_foreach(map, key, v)
        keys[i++] = key;
    qsort(keys, n, sizeof(*keys), by_name);
    for (i = 0; i < n; i++) {
        v = json_object_get(map, keys[i]);
        if (i)
            buf_char(to, '\n');
        buf_str(to, keys[i]);
        buf_char(to, '=');
        quote(json_is_string(v) ? json_string_value(v) : "", json_is_string(v) ? json_string_length(v) : 0, to);
    }
}

/* "metadata.labels['x']" gives the map and "x". False: no subscript. */
static bool subscript(const char *path, struct slice *ret_map, char ret_key[512])
{
    size_t n = strlen(path);
    const char *open = strstr(path, "['");

    if (n < 2 || strcmp(path + n - 2, "']") || !open || open == path || open + 2 > path + n - 2)
        return false;
    size_t len = (size_t)(path + n - 2 - (open + 2));
    if (len >= 512)
        return false;
    memcpy(ret_key, open + 2, len);
    ret_key[len] = '\0';
    *ret_map = (struct slice){ path, (size_t)(open - path) };
    return true;
}

static int one_of_map(const json_t *pod, const char *path, struct slice map, const char *key, struct buf *to, struct err *err)
{
    char lower[512];
    size_t n = 0;
    const char *wrong;
    bool annotation = slice_is(map, "metadata.annotations");

    if (!annotation && !slice_is(map, "metadata.labels"))
        return err_set(err, ERR_INVALID, "fieldPath \"%s\" does not support subscript", path);
    for (; key[n]; n++)
        lower[n] = annotation && key[n] >= 'A' && key[n] <= 'Z' ? (char)(key[n] + 32) : key[n];
    lower[n] = '\0';
    wrong = label_key_invalid(lower);
    if (wrong)
        return err_set(err, ERR_INVALID, "invalid key subscript in %s: %s", path, wrong);
    const char *v = annotation ? meta_annotation(pod, key) : meta_label(pod, key);
    buf_str(to, v ? v : "");
    return 0;
}

/* "a,b" of status.podIPs. */
static void addresses(const json_t *pod, const char *list, const char *fallback, struct buf *to)
{
    json_t *all = json_at(pod, list), *one;
    size_t i;

    if (*fallback && strcmp(json_str_or(json_array_get(all, 0), "ip", ""), fallback))
        all = NULL; /* the status is older than the address */
    if (!json_array_size(all)) {
        buf_str(to, fallback);
        return;
    }
    json_array_foreach(all, i, one) {
        if (i)
            buf_char(to, ',');
        buf_str(to, json_str_or(one, "ip", ""));
    }
}

int downward_field(const json_t *pod, const char *path, const char *pod_ip, const char *host_ip, struct buf *to, struct err *err)
{
    static const char *const plain[] = { "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName" };
    struct slice map;
    char key[512];

    if (subscript(path, &map, key))
        return one_of_map(pod, path, map, key, to, err);
    for (size_t i = 0; i < ARRAY_LEN(plain); i++)
        if (!strcmp(path, plain[i])) {
            buf_str(to, json_str_or(pod, path, ""));
            return 0;
        }
    if (!strcmp(path, "metadata.labels") || !strcmp(path, "metadata.annotations"))
        format_map(json_at(pod, path), to);
    else if (!strcmp(path, "status.podIP"))
        buf_str(to, *pod_ip ? pod_ip : json_str_or(pod, path, ""));
    else if (!strcmp(path, "status.hostIP"))
        buf_str(to, *host_ip ? host_ip : json_str_or(pod, path, ""));
    else if (!strcmp(path, "status.podIPs"))
        addresses(pod, path, pod_ip, to);
    else if (!strcmp(path, "status.hostIPs"))
        addresses(pod, path, host_ip, to);
    else
        return err_set(err, ERR_INVALID, "unsupported fieldPath: %s", path);
    return 0;
}

/* ceil(a / b) as upstream, which divides in floating point; exact here. */
static int64_t divide_up(int64_t a, int64_t b)
{
    if (b <= 0)
        return 0;
    return a / b + (a % b > 0);
}

int downward_resource(const json_t *container, const json_t *ref, const json_t *node_allocatable, struct buf *to, struct err *err)
{
    const char *resource = json_str_or(ref, "resource", ""), *name = strchr(resource, '.');
    bool limit = !strncmp(resource, "limits.", 7);
    const json_t *divisor = json_object_get(ref, "divisor"), *amounts, *amount;

    if (!name || (!limit && strncmp(resource, "requests.", 9)))
        return err_set(err, ERR_INVALID, "unsupported container resource : %s", resource);
    name++;
    bool cpu = !strcmp(name, "cpu"), huge = !strncmp(name, "hugepages-", 10);
    if (!cpu && !huge && strcmp(name, "memory") && strcmp(name, "ephemeral-storage"))
        return err_set(err, ERR_INVALID, "unsupported container resource : %s", resource);
    amounts = json_at(container, limit ? "resources.limits" : "resources.requests");
    amount = json_object_get(amounts, name);
    if (limit && !huge && quantity_json_milli(amount) == 0)
        amount = json_object_get(node_allocatable, name); /* huge pages are never overcommitted: they always have a limit */
    int64_t by = cpu ? quantity_json_milli(divisor) : quantity_json_value(divisor);
    if (by == 0)
        by = cpu ? 1000 : 1;
    buf_printf(to, "%lld", (long long)divide_up(cpu ? quantity_json_milli(amount) : quantity_json_value(amount), by));
    return 0;
}
