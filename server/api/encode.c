/* Objects out: stored bytes as they are wherever possible. */
#include "server/api/api_int.h"

#include "lib/k8s/object.h"

#include <stdio.h>
#include <string.h>

const char *api_version_text(struct arena *a, const struct schema_resource *r)
{
    return *r->group ? arena_printf(a, "%s/%s", r->group, r->version) : r->version;
}

/* --- what the client accepts --- */

static bool param_is(struct slice entry, const char *name, const char *value)
{
    AUTO(buf) struct buf want = { 0 };

    buf_printf(&want, "%s=%s", name, value);
    for (const char *at = entry.at, *end = at + entry.n; at < end;) {
        const char *semi = memchr(at, ';', (size_t)(end - at)), *stop = semi ? semi : end;

        while (at < stop && *at == ' ')
            at++;
        size_t n = (size_t)(stop - at);
        while (n > 0 && at[n - 1] == ' ')
            n--;
        if (n == buf_len(&want) && memcmp(at, buf_at(&want), n) == 0)
            return true;
        at = stop + 1;
    }
    return false;
}

static bool has_param(struct slice entry, const char *name)
{
    AUTO_FREE char *text = slice_dup(entry);
    AUTO_FREE char *want = mem_printf(";%s=", name);

    return strstr(text, want) != NULL;
}

static bool media_type_is(struct slice entry, const char *media)
{
    const char *semi = memchr(entry.at, ';', entry.n);
    size_t n = semi ? (size_t)(semi - entry.at) : entry.n;

    while (n > 0 && entry.at[n - 1] == ' ')
        n--;
    return n == strlen(media) && strncasecmp(entry.at, media, n) == 0;
}

/* Whether we can answer as this entry of Accept asks. */
static bool take_entry(struct api_request *r, struct slice entry, bool objects, struct api_media *ret)
{
    bool json = media_type_is(entry, "application/json") || media_type_is(entry, "application/*") || media_type_is(entry, "*/*");
    bool yaml = media_type_is(entry, "application/yaml");

    if (!json && !yaml)
        return false;
    *ret = (struct api_media){ .form = FORM_JSON, .yaml = yaml };
    ret->pretty = param_is(entry, "pretty", "1") || api_query_true(r, "pretty");
    if (!has_param(entry, "as"))
        return true;
    if (!objects || !param_is(entry, "g", "meta.k8s.io") || (!param_is(entry, "v", "v1") && !param_is(entry, "v", "v1beta1")))
        return false;
    if (param_is(entry, "as", "Table"))
        ret->form = FORM_TABLE;
    else if (param_is(entry, "as", "PartialObjectMetadata") || param_is(entry, "as", "PartialObjectMetadataList"))
        ret->form = FORM_PARTIAL;
    else
        return false;
    return true;
}

int api_negotiate(struct api_request *r, bool objects, struct api_media *ret, struct err *err)
{
    const char *accept = r->accept && *r->accept ? r->accept : "application/json";
    const char *include = api_query(r, "includeObject");

    for (const char *at = accept; *at;) {
        size_t n = strcspn(at, ",");
        struct slice entry = { at, n };

        while (entry.n && *entry.at == ' ') {
            entry.at++;
            entry.n--;
        }
        if (take_entry(r, entry, objects, ret)) {
            ret->table_no_object = include && strcmp(include, "None") == 0;
            ret->table_full_object = include && strcmp(include, "Object") == 0;
            return 0;
        }
        at += n + (at[n] == ',');
    }
    return err_set(err, ERR_NOT_ACCEPTABLE,
                   "only the following media types are accepted: application/json, application/yaml, application/json;as=Table;v=v1;"
                   "g=meta.k8s.io, application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io");
}

/* --- stored bytes --- */

void api_splice(struct slice stored, int64_t revision, bool drop_kind, struct buf *to)
{
    static const char mark[] = "\"metadata\":{";
    const char *meta = memmem(stored.at, stored.n, mark, sizeof(mark) - 1);

    if (!meta) { /* not written by us: as it is */
        buf_slice(to, stored);
        return;
    }
    const char *behind = meta + sizeof(mark) - 1;
    if (drop_kind)
        buf_char(to, '{');
    else
        buf_add(to, stored.at, (size_t)(meta - stored.at));
    buf_add(to, mark, sizeof(mark) - 1);
    buf_printf(to, "\"resourceVersion\":\"%lld\"%s", (long long)revision, *behind == '}' ? "" : ",");
    buf_add(to, behind, (size_t)(stored.at + stored.n - behind));
}

int api_text(struct api *a, const struct schema_resource *served, struct slice value, int64_t revision, struct buf *to,
             struct err *err)
{
    const struct kind_conversion *conv = kind_conversion(served->group, served->version, served->kind);
    AUTO(json) json_t *tree = NULL;

    (void)a;
    if (!conv) {
        api_splice(value, revision, false, to);
        return 0;
    }
    if (json_read(value.at, value.n, NULL, NULL, &tree, err) < 0)
        return err_wrap(err, "stored %s", served->kind);
    conv->from_storage(tree);
    AUTO(bytes) struct bytes *text = object_bytes(tree);
    api_splice((struct slice){ text->at, text->n }, revision, false, to);
    return 0;
}

int api_tree(struct api_request *r, const struct bytes *value, int64_t revision, json_t **ret, struct err *err)
{
    const struct schema_resource *res = r->route.resource;
    const struct kind_conversion *conv = kind_conversion(res->group, res->version, res->kind);
    AUTO(json) json_t *tree = NULL;

    if (json_read(value->at, value->n, NULL, NULL, &tree, err) < 0)
        return err_wrap(err, "stored %s", res->kind);
    if (conv)
        conv->from_storage(tree);
    json_put(tree, "metadata.resourceVersion", json_strf("%lld", (long long)revision));
    *ret = TAKE(tree);
    return 0;
}

/* --- answers --- */

static void finish_text(struct api_request *r, int status, const struct api_media *media, struct buf *text)
{
    struct err err;
    json_t *tree = NULL;

    r->answer.status = status;
    if ((media->yaml || media->pretty) && json_read(buf_at(text), buf_len(text), NULL, NULL, &tree, &err) == 0) {
        buf_clear(text);
        if (media->yaml) {
            yaml_write(tree, text);
            r->answer.content_type = "application/yaml";
        } else {
            json_write_pretty(tree, 2, text);
        }
        json_decref(tree);
    }
    if (!media->yaml)
        buf_char(text, '\n');
    bytes_unref(r->answer.body);
    r->answer.body = buf_take(text);
}

void partial_object(const json_t *object, struct buf *to)
{
    buf_str(to, "{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":");
    json_t *meta = json_object_get(object, "metadata");
    if (meta)
        json_write(meta, to);
    else
        buf_str(to, "{}");
    buf_char(to, '}');
}

static void write_table_meta(const char *revision, struct buf *to)
{
    if (*revision)
        buf_printf(to, "\"metadata\":{\"resourceVersion\":\"%s\"},", revision);
    else
        buf_str(to, "\"metadata\":{},");
}

int api_answer_tree(struct api_request *r, int status, const json_t *object, struct err *err)
{
    const struct schema_resource *res = r->route.resource;
    const char *kind = json_str_or(object, "kind", "");
    AUTO(buf) struct buf text = { 0 };
    struct api_media media;

    /* A Status or another kind (Scale) is no row of this resource's table. */
    if (api_negotiate(r, res && strcmp(kind, res->kind) == 0, &media, err) < 0) {
        if (!res || strcmp(kind, res->kind) == 0)
            return -(int)err->code;
        media = (struct api_media){ .form = FORM_JSON };
    }
    switch (media.form) {
    case FORM_JSON: json_write(object, &text); break;
    case FORM_PARTIAL: partial_object(object, &text); break;
    case FORM_TABLE:
        table_begin(res, &text);
        write_table_meta(json_str_or(object, "metadata.resourceVersion", ""), &text);
        table_columns(res, &text);
        buf_str(&text, ",\"rows\":[");
        table_row(&r->ctx, res, r->route.ops, object, &media, &text);
        buf_str(&text, "]}");
        break;
    }
    finish_text(r, status, &media, &text);
    return 0;
}

int api_answer_trees(struct api_request *r, const json_t *items, struct err *err)
{
    const struct schema_resource *res = r->route.resource;
    AUTO(buf) struct buf text = { 0 };
    struct api_media media;
    size_t i;
    json_t *item;

    if (api_negotiate(r, true, &media, err) < 0)
        return -(int)err->code;
    if (media.form == FORM_TABLE) {
        table_begin(res, &text);
        write_table_meta("", &text);
        table_columns(res, &text);
        buf_str(&text, ",\"rows\":[");
    } else if (media.form == FORM_PARTIAL) {
        buf_str(&text, "{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{},\"items\":[");
    } else {
        buf_printf(&text, "{\"kind\":\"%sList\",\"apiVersion\":\"%s\",\"metadata\":{},\"items\":[", res->kind, api_version_text(r->arena, res));
    }
    json_array_foreach(items, i, item)
    {
        if (i)
            buf_char(&text, ',');
        switch (media.form) {
        case FORM_JSON: json_write(item, &text); break;
        case FORM_PARTIAL: partial_object(item, &text); break;
        case FORM_TABLE: table_row(&r->ctx, res, r->route.ops, item, &media, &text); break;
        }
    }
    buf_str(&text, "]}");
    finish_text(r, 200, &media, &text);
    return 0;
}

int api_answer_stored(struct api_request *r, int status, const struct bytes *value, int64_t revision, struct err *err)
{
    struct api_media media;
    AUTO(buf) struct buf text = { 0 };
    AUTO(json) json_t *tree = NULL;

    if (api_negotiate(r, true, &media, err) < 0)
        return -(int)err->code;
    if (media.form != FORM_JSON) {
        if (api_tree(r, value, revision, &tree, err) < 0)
            return -(int)err->code;
        return api_answer_tree(r, status, tree, err);
    }
    if (api_text(r->api, r->route.resource, (struct slice){ value->at, value->n }, revision, &text, err) < 0)
        return -(int)err->code;
    finish_text(r, status, &media, &text);
    return 0;
}
