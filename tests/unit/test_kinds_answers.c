/*
 * What upstream 1.37.2 answered to creations, kept in kinds_answers.jsonl: {"object", "becomes"} for what it stored (without what
 * its admission added, times and uids), {"object", "wrong"} for what it found wrong. Needs the source tree as working directory.
 */
#include "tests/unit/test.h"

#include "lib/k8s/meta.h"
#include "lib/k8s/object.h"
#include "server/schema/kind.h"
#include "server/schema/kind_env.h"
#include "tests/unit/kinds_fixture.h"

static void drop_own(json_t *object)
{
    json_object_del(json_object_get(object, "metadata"), "uid");
    json_object_del(json_object_get(object, "metadata"), "creationTimestamp");
}

/* Everything between decoding and the store. */
static void create(struct kinds *f, struct kind_env *env, json_t *object, struct field_errors *errs)
{
    const struct schema_resource *r = kinds_resource(object);
    const struct kind_ops *ops = kind_ops(r->group, r->kind);
    const char *why = ops->name_invalid ? ops->name_invalid(meta_name(object)) : name_is_dns_subdomain(meta_name(object));
    AUTO(json) json_t *name = json_string(meta_name(object));
    struct err err;

    CHECK(object_prune(r->type, object, NULL, NULL, &err) == 0);
    object_default(r->type, object);
    if (ops->default_)
        ops->default_(object);
    if (!ops->no_generation)
        json_put(object, "metadata.generation", json_integer(1));
    json_put(object, "metadata.uid", json_string("u"));
    if (schema_subresource(r, SLICE_LIT("status")) && !ops->no_status_reset)
        json_object_del(object, "status");
    if (ops->prepare_create)
        ops->prepare_create(&f->ctx, object);
    CHECK(object_prune(r->type, object, NULL, NULL, &err) == 0);
    if (why)
        field_error(errs, FIELD_INVALID, name, why, "metadata.name");
    object_validate(r->type, object, errs);
    if (ops->validate)
        ops->validate(&f->ctx, object, errs);
    if (errs->n || !ops->begin)
        return;
    if (ops->begin(&f->ctx, env, object, NULL, true, &err) == 0) {
        if (ops->end)
            ops->end(env, object, NULL, false);
        return;
    }
    CHECK(err.status != NULL);
    errs->at = (struct k8s_cause *)(uintptr_t)err.status->causes;
    errs->n = err.status->n_causes;
}

static bool expected(const json_t *wrong, const struct k8s_cause *cause, struct arena *a)
{
    size_t i;
    json_t *w;

    json_array_foreach(wrong, i, w)
        if (strcmp(json_string_value(w), arena_printf(a, "%s: %s", cause->field, cause->message)) == 0)
            return true;
    return false;
}

static bool found(const struct field_errors *errs, const char *want)
{
    for (size_t i = 0; i < errs->n; i++)
        if (strcmp(arena_printf(errs->arena, "%s: %s", errs->at[i].field, errs->at[i].message), want) == 0)
            return true;
    return false;
}

static void check_wrong(const json_t *wrong, const struct field_errors *errs, int line)
{
    size_t i;
    json_t *w;

    for (size_t k = 0; k < errs->n; k++)
        if (!expected(wrong, &errs->at[k], errs->arena)) {
            fprintf(stderr, "line %d: not upstream's: %s: %s\n", line, errs->at[k].field, errs->at[k].message);
            exit(1);
        }
    json_array_foreach(wrong, i, w)
        if (!found(errs, json_string_value(w))) {
            fprintf(stderr, "line %d: missing: %s\n", line, json_string_value(w));
            exit(1);
        }
}

static void check_becomes(const json_t *becomes, json_t *object, int line)
{
    AUTO(buf) struct buf got = { 0 };

    json_object_del(object, "kind");
    json_object_del(object, "apiVersion");
    drop_own(object);
    if (json_equal(becomes, object))
        return;
    json_write(object, &got);
    fprintf(stderr, "line %d: got %s\n", line, buf_at(&got));
    exit(1);
}

TEST(kinds_answer_as_upstream_does)
{
    FILE *in = fopen("tests/unit/kinds_answers.jsonl", "re");
    struct kind_env_options o = { NULL, "10.43.0.0/16", 30000, 32767 };
    struct kind_env *env = NULL;
    char *line = NULL;
    size_t cap = 0;
    int n = 0;
    struct err err;

    CHECK(in != NULL);
    CHECK(kind_env_new(&o, &env, &err) == 0);
    for (ssize_t len; (len = getline(&line, &cap, in)) > 0;) {
        struct kinds f = kinds_open();
        struct field_errors errs = { .arena = f.arena };
        AUTO(json) json_t *answer = NULL;

        n++;
        CHECK(json_read(line, (size_t)len, NULL, NULL, &answer, &err) == 0);
        json_t *object = json_object_get(answer, "object");
        create(&f, env, object, &errs);
        check_wrong(json_object_get(answer, "wrong"), &errs, n);
        if (json_object_get(answer, "becomes"))
            check_becomes(json_object_get(answer, "becomes"), object, n);
        kinds_close(&f);
    }
    CHECK(n > 500);
    free(line);
    fclose(in);
    kind_env_free(env);
}
