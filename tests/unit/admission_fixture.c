#include "tests/unit/admission_fixture.h"

#include "lib/k8s/meta.h"
#include "lib/k8s/status.h"
#include "server/api/keys.h"
#include "tests/unit/kinds_fixture.h"

static char text[16384];

static json_t *read_yaml(const char *yaml)
{
    struct err err;
    json_t *v = NULL;

    if (yaml_read(yaml, strlen(yaml), NULL, NULL, &v, &err) < 0) {
        fprintf(stderr, "%s: %s\n", err.msg, yaml);
        exit(1);
    }
    return v;
}

void adm_open(struct adm *f)
{
    struct err err = { 0 };

    *f = (struct adm){ 0 };
    fixture_make(&f->store);
    fixture_open(&f->store, &(struct store_options){ 0 });
    f->ctx = ctx_background(arena_new());
    f->store.ctx = f->ctx;
    CHECK(authz_new(f->store.s, &f->authz, &err) == 0);
    f->a = admission_new(&(struct admission_options){
        .store = f->store.s, .clock = f->ctx.clock, .schema = schema_builtin(), .authz = f->authz });
    adm_user(f, "admin", "system:masters");
}

void adm_close(struct adm *f)
{
    admission_free(f->a);
    authz_free(f->authz);
    json_decref(f->object);
    fixture_close(&f->store);
    arena_free(f->ctx.arena);
}

void adm_user(struct adm *f, const char *name, const char *group)
{
    f->groups[0] = "system:authenticated";
    f->groups[1] = group;
    f->user = (struct user){ .name = name, .uid = "", .groups = f->groups, .n_groups = group ? 2 : 1 };
    f->ctx.user = &f->user;
}

static void key_of(const json_t *object, struct buf *to)
{
    const struct schema_resource *r = kinds_resource(object);

    key_write(r, r->namespaced ? meta_namespace(object) : NULL, meta_name(object), to);
}

static void observe(struct adm *f, const json_t *object, struct slice value)
{
    const struct schema_resource *r = kinds_resource(object);

    admission_observe(f->a, r->group, r->resource, meta_namespace(object), meta_name(object), value);
    authz_observe(f->authz, r->group, r->resource, meta_namespace(object), meta_name(object), value);
}

void adm_put(struct adm *f, const char *yaml)
{
    AUTO(json) json_t *object = read_yaml(yaml);
    AUTO(buf) struct buf key = { 0 }, value = { 0 };

    key_of(object, &key);
    json_write(object, &value);
    put(&f->store, buf_at(&key), buf_at(&value));
    observe(f, object, (struct slice){ buf_at(&value), buf_len(&value) });
}

void adm_del(struct adm *f, const char *yaml)
{
    AUTO(json) json_t *object = read_yaml(yaml);
    AUTO(buf) struct buf key = { 0 };

    key_of(object, &key);
    del(&f->store, buf_at(&key));
    observe(f, object, (struct slice){ NULL, 0 });
}

const char *adm_get(struct adm *f, const char *yaml)
{
    AUTO(json) json_t *object = read_yaml(yaml);
    AUTO(buf) struct buf key = { 0 };

    key_of(object, &key);
    return get(&f->store, buf_at(&key), 0);
}

static void warn(void *arg, const char *w)
{
    struct adm *f = arg;
    size_t n = strlen(f->warnings);

    snprintf(f->warnings + n, sizeof(f->warnings) - n, "%s%s", n ? "\n" : "", w);
}

static const char *run(struct adm *f, enum admission_verb verb, const char *sub, json_t *object, json_t *old)
{
    const json_t *any = object ? object : old;
    struct admission_request r = {
        .verb = verb, .resource = kinds_resource(any), .subresource = sub, .ns = meta_namespace(any), .name = meta_name(any),
        .object = object, .old = old, .warn = warn, .warn_arg = f,
    };
    struct err err = { 0 };
    bool changed = false;
    int rc = admission_mutate(&f->ctx, f->a, &r, &changed, &err);

    f->error[0] = f->warnings[0] = '\0';
    if (rc == 0)
        rc = admission_validate(&f->ctx, f->a, &r, &err);
    if (rc < 0)
        snprintf(f->error, sizeof(f->error), "%s", err.status && err.status->message ? err.status->message : err.msg);
    json_decref(f->object);
    f->object = object;
    json_decref(old);
    return f->error;
}

const char *adm_create(struct adm *f, const char *yaml)
{
    return run(f, ADMIT_CREATE, "", read_yaml(yaml), NULL);
}

const char *adm_update(struct adm *f, const char *sub, const char *yaml, const char *old)
{
    return run(f, ADMIT_UPDATE, sub, read_yaml(yaml), read_yaml(old));
}

const char *adm_delete(struct adm *f, const char *yaml)
{
    return run(f, ADMIT_DELETE, "", NULL, read_yaml(yaml));
}

const char *adm_at(struct adm *f, const char *path)
{
    AUTO(buf) struct buf to = { 0 };
    const json_t *v = json_at(f->object, path);

    if (!v)
        return "";
    json_write(v, &to);
    snprintf(text, sizeof(text), "%s", buf_at(&to));
    return text;
}
