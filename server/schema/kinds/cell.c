#include "server/schema/kinds/cell.h"

#include "lib/k8s/selector.h"

#include <stdio.h>
#include <string.h>

void cell_text(json_t *cells, const char *s)
{
    json_array_append_new(cells, json_string(s));
}

void cell_path(json_t *cells, const json_t *object, const char *path, const char *otherwise)
{
    const char *s = json_str_or(object, path, "");

    cell_text(cells, *s ? s : otherwise);
}

void cell_format(json_t *cells, const char *fmt, ...)
{
    char text[256];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    json_array_append_new(cells, json_text(slice_of(text)));
}

void cell_int(json_t *cells, int64_t n)
{
    json_array_append_new(cells, json_integer(n));
}

void cell_bool(json_t *cells, bool b)
{
    json_array_append_new(cells, json_boolean(b));
}

/* Two units at most, the second only where the first is small. */
static char *pair(char to[CELL_AGE_BYTES], int64_t a, char unit_a, int64_t b, char unit_b)
{
    if (b)
        snprintf(to, CELL_AGE_BYTES, "%lld%c%lld%c", (long long)a, unit_a, (long long)b, unit_b);
    else
        snprintf(to, CELL_AGE_BYTES, "%lld%c", (long long)a, unit_a);
    return to;
}

char *cell_duration(int64_t seconds, char to[CELL_AGE_BYTES])
{
    int64_t minutes = seconds / 60, hours = seconds / 3600, days = seconds / 86400;

    if (seconds < 0) {
        snprintf(to, CELL_AGE_BYTES, "%s", seconds < -1 ? "<invalid>" : "0s");
        return to;
    }
    if (seconds < 120)
        return pair(to, seconds, 's', 0, 0);
    if (minutes < 10)
        return pair(to, minutes, 'm', seconds % 60, 's');
    if (minutes < 180)
        return pair(to, minutes, 'm', 0, 0);
    if (hours < 8)
        return pair(to, hours, 'h', minutes % 60, 'm');
    if (hours < 48)
        return pair(to, hours, 'h', 0, 0);
    if (hours < 24 * 8)
        return pair(to, days, 'd', hours % 24, 'h');
    if (hours < 24 * 365 * 2)
        return pair(to, days, 'd', 0, 0);
    if (hours < 24 * 365 * 8)
        return pair(to, days / 365, 'y', days % 365, 'd');
    return pair(to, days / 365, 'y', 0, 0);
}

char *cell_since_text(struct ctx *ctx, const char *time, char to[CELL_AGE_BYTES])
{
    int64_t us = 0;

    if (!time || !*time || clock_parse(time, strlen(time), &us) < 0) {
        snprintf(to, CELL_AGE_BYTES, "<unknown>");
        return to;
    }
    return cell_duration((clock_wall_us(ctx->clock) - us) / 1000000, to);
}

void cell_since(struct ctx *ctx, json_t *cells, const char *time)
{
    char text[CELL_AGE_BYTES];

    cell_text(cells, cell_since_text(ctx, time, text));
}

void cell_age(struct ctx *ctx, json_t *cells, const json_t *object)
{
    cell_since(ctx, cells, json_str(object, "metadata.creationTimestamp"));
}

void cell_age_only(struct ctx *ctx, const json_t *object, json_t *cells)
{
    cell_age(ctx, cells, object);
}

void cell_created_at(struct ctx *ctx, const json_t *object, json_t *cells)
{
    (void)ctx;
    cell_path(cells, object, "metadata.creationTimestamp", "");
}

static void cell_buf(json_t *cells, const struct buf *text, const char *none)
{
    cell_text(cells, buf_len(text) ? buf_at(text) : none);
}

void cell_containers(json_t *cells, const json_t *containers)
{
    static const char *const fields[] = { "name", "image" };
    size_t i;
    json_t *c;

    for (size_t f = 0; f < ARRAY_LEN(fields); f++) {
        AUTO(buf) struct buf text = { 0 };

        json_array_foreach(containers, i, c)
            buf_printf(&text, "%s%s", i ? "," : "", json_str_or(c, fields[f], ""));
        cell_buf(cells, &text, "");
    }
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

char *cell_sorted(struct arena *a, const char **items, size_t n)
{
    AUTO(buf) struct buf text = { 0 };

    qsort(items, n, sizeof(*items), by_text);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(items[i], items[i - 1]) != 0)
            buf_printf(&text, "%s%s", i ? "," : "", items[i]);
    return arena_strndup(a, buf_at(&text), buf_len(&text));
}

char *cell_load_balancer(struct ctx *ctx, const json_t *object)
{
    const json_t *ingress = json_at(object, "status.loadBalancer.ingress");
    const char **items = arena_alloc(ctx->arena, (json_array_size(ingress) + 1) * sizeof(*items));
    size_t i, n = 0;
    json_t *at;

    json_array_foreach(ingress, i, at)
    {
        const char *ip = json_str_or(at, "ip", ""), *host = json_str_or(at, "hostname", "");

        if (*ip || *host)
            items[n++] = *ip ? ip : host;
    }
    return cell_sorted(ctx->arena, items, n);
}

void cell_labels(struct ctx *ctx, json_t *cells, const json_t *map)
{
    size_t n = 0, count = json_object_size(map);
    const char **terms = arena_alloc(ctx->arena, (count + 1) * sizeof(*terms));
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)map, key, v)
        terms[n++] = arena_printf(ctx->arena, "%s=%s", key, json_is_string(v) ? json_string_value(v) : "");
    cell_text(cells, n ? cell_sorted(ctx->arena, terms, n) : "<none>");
}

void cell_selector(struct ctx *ctx, json_t *cells, const json_t *selector, const char *none)
{
    struct selector *s = NULL;
    struct err err;

    if (!json_is_object(selector)) {
        cell_text(cells, none);
        return;
    }
    if (selector_of(ctx->arena, selector, &s, &err) < 0) {
        cell_text(cells, *none ? "<error>" : "<invalid>");
        return;
    }
    const char *text = selector_text(ctx->arena, s);
    cell_text(cells, *text ? text : none);
}

void cell_joined(json_t *cells, const json_t *strings, const char *none)
{
    AUTO(buf) struct buf text = { 0 };
    size_t i;
    json_t *v;

    json_array_foreach(strings, i, v)
        buf_printf(&text, "%s%s", i ? "," : "", json_is_string(v) ? json_string_value(v) : "");
    cell_buf(cells, &text, none);
}

void cell_access_modes(json_t *cells, const json_t *modes)
{
    static const char *const names[][2] = {
        { "ReadWriteOnce", "RWO" }, { "ReadOnlyMany", "ROX" }, { "ReadWriteMany", "RWX" }, { "ReadWriteOncePod", "RWOP" },
    };
    AUTO(buf) struct buf text = { 0 };
    size_t i;
    json_t *v;

    for (size_t n = 0; n < ARRAY_LEN(names); n++) {
        bool has = false;

        json_array_foreach(modes, i, v)
            has |= json_is_string(v) && strcmp(json_string_value(v), names[n][0]) == 0;
        if (has)
            buf_printf(&text, "%s%s", buf_len(&text) ? "," : "", names[n][1]);
    }
    cell_buf(cells, &text, "");
}
