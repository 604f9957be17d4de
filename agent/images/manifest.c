#include "agent/images/manifest.h"

#include "agent/images/digest.h"

#include <string.h>

const char manifest_accept[] = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
                               "application/vnd.docker.distribution.manifest.list.v2+json, "
                               "application/vnd.docker.distribution.manifest.v2+json";

static void descriptor_clear(struct descriptor *d)
{
    free(d->media_type);
    free(d->digest);
    free(d->os);
    free(d->arch);
    free(d->variant);
    free(d->name);
    *d = (struct descriptor){ 0 };
}

void manifest_clear(struct manifest *m)
{
    descriptor_clear(&m->config);
    for (size_t i = 0; i < m->n; i++)
        descriptor_clear(&m->at[i]);
    free(m->at);
    *m = (struct manifest){ 0 };
}

static char *text_at(const json_t *v, const char *path)
{
    return mem_strdup(json_str_or(v, path, ""));
}

static int descriptor_read(const json_t *v, const char *what, struct descriptor *d, struct err *err)
{
    const char *digest = json_str(v, "digest");
    const json_t *notes = json_object_get(v, "annotations"); /* its keys hold dots */
    const char *name = json_string_value(json_object_get(notes, "io.containerd.image.name"));

    if (!digest_ok(digest))
        return err_set(err, ERR_INVALID, "%s: no sha256 digest: \"%.80s\"", what, digest ? digest : "");
    d->size = json_int_or(v, "size", -1);
    if (d->size < 0)
        return err_set(err, ERR_INVALID, "%s: no size", what);
    if (!name)
        name = json_string_value(json_object_get(notes, "org.opencontainers.image.ref.name"));
    d->digest = mem_strdup(digest);
    d->media_type = text_at(v, "mediaType");
    d->os = text_at(v, "platform.os");
    d->arch = text_at(v, "platform.architecture");
    d->variant = text_at(v, "platform.variant");
    d->name = mem_strdup(name ? name : "");
    return 0;
}

static int list_read(const json_t *list, const char *what, size_t max, struct manifest *m, struct err *err)
{
    size_t n = json_array_size(list);

    if (n > max)
        return err_set(err, ERR_INVALID, "%zu %s, at most %zu", n, what, max);
    m->at = mem_zalloc((n ? n : 1) * sizeof(*m->at));
    for (size_t i = 0; i < n; i++) {
        m->n = i + 1; /* what a failure leaves half filled is cleared too */
        int rc = descriptor_read(json_array_get(list, i), what, &m->at[i], err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static bool type_is(const char *type, const char *name)
{
    return strncmp(type, name, strlen(name)) == 0 && strchr("; \t", type[strlen(name)]);
}

static int tree_read(const json_t *v, const char *type, struct manifest *m, struct err *err)
{
    const char *inner = json_str(v, "mediaType");
    json_t *layers = json_object_get(v, "layers"), *entries = json_object_get(v, "manifests");

    if (!json_is_object(v))
        return err_set(err, ERR_INVALID, "the manifest is no object");
    if (inner)
        type = inner;
    if (json_int_or(v, "schemaVersion", 0) != 2)
        return err_set(err, ERR_INVALID, "unsupported manifest: schemaVersion %lld, media type \"%.100s\"; only 2 is known",
                       (long long)json_int_or(v, "schemaVersion", 0), type ? type : "");
    /* One text must not be read as both (CVE-2021-41190). */
    if (entries && (layers || json_object_get(v, "config")))
        return err_set(err, ERR_INVALID, "the manifest is both an index and an image");
    m->index = json_is_array(entries);
    if (type && ((m->index && (type_is(type, "application/vnd.oci.image.manifest.v1+json") ||
                               type_is(type, "application/vnd.docker.distribution.manifest.v2+json"))) ||
                 (!m->index && (type_is(type, "application/vnd.oci.image.index.v1+json") ||
                                type_is(type, "application/vnd.docker.distribution.manifest.list.v2+json")))))
        return err_set(err, ERR_INVALID, "the manifest is not what its media type \"%.100s\" says", type);
    if (m->index)
        return list_read(entries, "manifests", INDEX_ENTRIES_MAX, m, err);
    if (!json_is_array(layers))
        return err_set(err, ERR_INVALID, "the manifest has no layers");
    int rc = descriptor_read(json_object_get(v, "config"), "config", &m->config, err);
    return rc < 0 ? rc : list_read(layers, "layers", IMAGE_LAYERS_MAX, m, err);
}

int manifest_parse(const char *text, size_t n, const char *type, struct manifest *ret, struct err *err)
{
    AUTO(json) json_t *v = NULL;
    struct manifest m = { 0 };

    if (n > MANIFEST_MAX_BYTES)
        return err_set(err, ERR_INVALID, "the manifest has more than %d bytes", MANIFEST_MAX_BYTES);
    if (json_read(text, n, NULL, NULL, &v, err) < 0) {
        err->code = ERR_INVALID;
        return err_wrap(err, "manifest");
    }
    int rc = tree_read(v, type, &m, err);
    if (rc < 0) {
        manifest_clear(&m);
        return rc;
    }
    *ret = m;
    return 0;
}

/* The higher the better; -1: can't run here. An arm machine of v8 runs v7, v6, v5 programs where asked for "arm". */
static int variant_rank(const char *arch, const char *variant)
{
    static const struct {
        const char *arch, *variant;
        int rank;
    } table[] = {
        { "amd64", "", 9 }, { "amd64", "v1", 8 },
        { "arm64", "v8", 9 }, { "arm64", "", 8 },
        { "arm", "v7", 9 }, { "arm", "", 8 }, { "arm", "v6", 7 }, { "arm", "v5", 6 },
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (strcmp(table[i].arch, arch) == 0 && strcmp(table[i].variant, variant) == 0)
            return table[i].rank;
    return *variant ? -1 : 1;
}

int manifest_choose(const struct manifest *index, const char *os, const char *arch, size_t *ret, struct err *err)
{
    int best = -1;

    for (size_t i = 0; i < index->n; i++) {
        const struct descriptor *d = &index->at[i];
        int rank;

        if (!*d->os && !*d->arch)
            rank = 0; /* says nothing: better than none */
        else if (strcmp(d->os, os) != 0 || strcmp(d->arch, arch) != 0)
            continue;
        else
            rank = variant_rank(arch, d->variant);
        if (rank > best) {
            best = rank;
            *ret = i;
        }
    }
    if (best < 0)
        return err_set(err, ERR_NOT_FOUND, "no match for platform in manifest: %s/%s: not found", os, arch);
    return 0;
}
