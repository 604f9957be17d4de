/*
 * What comes from containers and the node's files: log lines in the CRI format (a container writes their text), and resolv.conf.
 */
#include "agent/pods/env_int.h"
#include "agent/pods/logs_int.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void demand(bool good)
{
    if (!good)
        abort();
}

static void check_lines(const char *text, size_t n, const struct log_options *want)
{
    struct log_format f = { .want = *want, .left = want->limit_bytes };
    AUTO(buf) struct buf to = { 0 };
    size_t lines = 0;

    for (const char *p = text, *end = text + n; p < end;) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        struct log_line l;

        if (log_parse(p, (size_t)((nl ? nl : end) - p), &l)) {
            demand(l.text.at >= p && l.text.at + l.text.n <= end && l.time.at == p);
            lines++;
        }
        log_format_add(&f, p, (size_t)((nl ? nl : end) - p), &to);
        p = nl ? nl + 1 : end;
    }
    demand(buf_len(&to) <= n + lines); /* never more than came, and a line end each */
    demand(want->limit_bytes < 0 || buf_len(&to) <= (size_t)want->limit_bytes);
}

static void check_resolv(const char *text)
{
    struct pod_env e = { .cluster_dns = (char *)"10.43.0.10", .cluster_domain = (char *)"cluster.local" };
    AUTO(json) json_t *of_node = json_pack("{s:{s:s}}", "spec", "dnsPolicy", "Default"), *of_cluster = json_pack("{s:{}}", "spec");
    AUTO(buf) struct buf first = { 0 }, again = { 0 }, cluster = { 0 };

    env_resolv_conf(&e, of_node, text, &first);
    env_resolv_conf(&e, of_node, buf_at(&first), &again);
    demand(!strcmp(buf_at(&first), buf_at(&again))); /* what was written reads back the same */
    env_resolv_conf(&e, of_cluster, text, &cluster);
    demand(strstr(buf_at(&cluster), "nameserver 10.43.0.10\n") != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct log_options all[] = {
        { .tail_lines = -1, .limit_bytes = -1 },
        { .tail_lines = -1, .limit_bytes = 40, .timestamps = true },
        { .tail_lines = -1, .limit_bytes = -1, .stream = "stderr", .since_us = 1767322920000000 },
    };
    char *text = malloc(n + 1);

    demand(text != NULL);
    memcpy(text, data, n);
    text[n] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        check_lines(text, n, &all[i]);
    check_resolv(text);
    free(text);
    return 0;
}
