/* Bytes of a registry or an archive: manifests, indexes, configurations; names and challenges are text of the same peers. */
#include "agent/images/digest.h"
#include "agent/images/name.h"
#include "agent/images/remote_int.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_descriptor(const struct descriptor *d)
{
    assert(digest_ok(d->digest) && d->size >= 0 && d->media_type && d->os && d->arch && d->variant && d->name);
}

static void fuzz_manifest(const char *text, size_t n)
{
    struct manifest m;
    struct err err = { 0 };
    size_t at = 0;

    if (manifest_parse(text, n, NULL, &m, &err) < 0) {
        assert(err.code == ERR_INVALID && err.msg[0]);
        return;
    }
    assert(m.n <= (m.index ? (size_t)INDEX_ENTRIES_MAX : (size_t)IMAGE_LAYERS_MAX));
    for (size_t i = 0; i < m.n; i++)
        check_descriptor(&m.at[i]);
    if (!m.index)
        check_descriptor(&m.config);
    else if (manifest_choose(&m, "linux", "amd64", &at, &err) == 0)
        assert(at < m.n && (!*m.at[at].arch || strcmp(m.at[at].arch, "amd64") == 0));
    manifest_clear(&m);
}

static void fuzz_config(const char *text, size_t n)
{
    struct image_config c;
    struct err err = { 0 };

    if (image_config_parse(text, n, &c, &err) < 0) {
        assert(err.code == ERR_INVALID && err.msg[0]);
        return;
    }
    assert(digest_ok(c.info.id) && strv_len(c.diff_ids) == c.n && c.n <= IMAGE_LAYERS_MAX);
    for (size_t i = 0; i < c.n; i++)
        assert(digest_ok(c.diff_ids[i]));
    image_config_clear(&c);
}

/* A canonical name is one that stays as it is. */
static void fuzz_name(const char *text)
{
    struct image_name a, b;
    struct err err = { 0 };

    if (image_name_read(text, &a, &err) < 0)
        return;
    assert(!strstr(a.repository, "..") && a.repository[0] != '/' && a.registry[0] && a.repository[0]);
    assert(image_name_read(a.canonical, &b, &err) == 0);
    assert(strcmp(a.canonical, b.canonical) == 0 && strcmp(a.registry, b.registry) == 0 && strcmp(a.repository, b.repository) == 0);
    image_name_clear(&a);
    image_name_clear(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *text = slice_dup((struct slice){ (const char *)data, n });
    struct challenge c;

    fuzz_manifest(text, n);
    fuzz_config(text, n);
    fuzz_name(text);
    challenge_parse(text, &c);
    assert(!c.scheme || strcmp(c.scheme, "basic") == 0 || (strcmp(c.scheme, "bearer") == 0 && c.realm));
    challenge_clear(&c);
    free(text);
    return 0;
}
