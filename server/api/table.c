/* Tables: what `kubectl get` shows. Source: meta.k8s.io/v1 Table; the columns are data, the cells are the kind's. */
#include "server/api/api_int.h"

#include "lib/k8s/meta.h"

#include <string.h>

void table_begin(const struct schema_resource *resource, struct buf *to)
{
    (void)resource;
    buf_str(to, "{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",");
}

static void write_column(const struct schema_column *c, struct buf *to)
{
    buf_str(to, "{\"name\":");
    json_write_string(slice_of(c->name), to);
    buf_printf(to, ",\"type\":\"%s\",\"format\":\"%s\",\"description\":", c->type, c->format ? c->format : "");
    json_write_string(slice_of(c->description ? c->description : ""), to);
    buf_printf(to, ",\"priority\":%d}", c->priority);
}

void table_columns(const struct schema_resource *resource, struct buf *to)
{
    static const struct schema_column plain[] = {
        { "Name", "string", "name", "", 0 },
        { "Created At", "date", "", "", 0 },
    };
    const struct schema_column *cols = NULL;
    size_t n = schema_columns(resource, &cols);

    if (n == 0) {
        cols = plain;
        n = ARRAY_LEN(plain);
    }
    buf_str(to, "\"columnDefinitions\":[");
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_char(to, ',');
        write_column(&cols[i], to);
    }
    buf_char(to, ']');
}

void table_row(struct ctx *ctx, const struct schema_resource *resource, const struct kind_ops *ops, const json_t *object,
               const struct api_media *media, struct buf *to)
{
    const struct schema_column *cols = NULL;
    AUTO(json) json_t *cells = json_array();

    json_array_append_new(cells, json_string(meta_name(object)));
    if (schema_columns(resource, &cols) == 0 || !ops->cells)
        json_array_append_new(cells, json_string(json_str_or(object, "metadata.creationTimestamp", "")));
    else
        ops->cells(ctx, object, cells);
    buf_str(to, "{\"cells\":");
    json_write(cells, to);
    if (media->table_full_object) {
        buf_str(to, ",\"object\":");
        json_write(object, to);
    } else if (!media->table_no_object) {
        buf_str(to, ",\"object\":");
        partial_object(object, to);
    } else {
        buf_str(to, ",\"object\":null");
    }
    buf_char(to, '}');
}
