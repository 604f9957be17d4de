#include "lib/auto.h"
#include "lib/k8s/meta.h"
#include "test.h"

static json_t *tree(const char *text)
{
    json_t *v = NULL;
    struct err err;

    CHECK_INT(json_read(text, strlen(text), NULL, NULL, &v, &err), 0);
    return v;
}

static int64_t fixed_wall(void *arg)
{
    return *(int64_t *)arg;
}

TEST(meta_reads_and_sets)
{
    json_t *o = tree("{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"a\",\"namespace\":\"n\",\"uid\":\"u\",\"generation\":3,"
                     "\"ownerReferences\":[{\"name\":\"x\"},{\"name\":\"y\",\"controller\":true}]}}");
    AUTO(arena) struct arena *a = arena_new();
    AUTO_FREE char *key = meta_key(o);
    const char *ns, *name;

    CHECK_STR(key, "n/a");
    meta_split_key(a, key, &ns, &name);
    CHECK_STR(ns, "n");
    CHECK_STR(name, "a");
    meta_split_key(a, "node1", &ns, &name);
    CHECK_STR(ns, "");
    CHECK_INT(meta_generation(o), 3);
    CHECK_STR(meta_resource_version(o), "");
    CHECK(!meta_deleting(o) && meta_label(o, "l") == NULL && *meta_name(NULL) == '\0');
    meta_set_label(o, "l", "1");
    meta_set_annotation(o, "b", "2");
    CHECK_STR(meta_label(o, "l"), "1");
    CHECK_STR(meta_annotation(o, "b"), "2");
    CHECK_STR(json_string_value(json_object_get(meta_controller(o), "name")), "y");
    meta_add_finalizer(o, "f");
    meta_add_finalizer(o, "f");
    CHECK_INT(json_array_size(json_object_get(json_object_get(o, "metadata"), "finalizers")), 1);
    CHECK(meta_has_finalizer(o, "f") && meta_remove_finalizer(o, "f") && !meta_remove_finalizer(o, "f"));
    json_t *ref = meta_owner_ref(o, true, false);
    CHECK(json_is_true(json_object_get(ref, "controller")) && !json_object_get(ref, "blockOwnerDeletion"));
    CHECK_STR(json_string_value(json_object_get(ref, "uid")), "u");
    json_decref(ref);
    json_decref(o);
}

TEST(condition_moves_its_time_with_its_status_only)
{
    int64_t now_us = 1000 * 1000000LL;
    struct clock clock = { .arg = &now_us, .wall_us = fixed_wall };
    struct condition c = { .type = "Ready", .status = "False", .reason = "R", .message = "m", .with_update = true };
    json_t *o = json_object();

    CHECK(condition_set(o, &c, &clock));
    now_us += 10 * 1000000LL;
    CHECK(!condition_set(o, &c, &clock));
    c.message = "other";
    CHECK(condition_set(o, &c, &clock));
    const json_t *at = condition_get(o, "Ready");
    CHECK_STR(json_string_value(json_object_get(at, "lastTransitionTime")), "1970-01-01T00:16:40Z");
    CHECK_STR(json_string_value(json_object_get(at, "lastUpdateTime")), "1970-01-01T00:16:50Z");
    c.status = "True";
    CHECK(condition_set(o, &c, &clock));
    CHECK_STR(json_string_value(json_object_get(at, "lastTransitionTime")), "1970-01-01T00:16:50Z");
    CHECK(condition_is(o, "Ready", "True") && !condition_is(o, "Ready", "False") && !condition_is(o, "X", "True"));
    CHECK(condition_remove(o, "Ready") && !condition_remove(o, "Ready"));
    json_decref(o);
}

TEST(name_validation_says_what_upstream_says)
{
    const char *msgs[LABEL_PROBLEMS_MAX];
    char longest[300];

    CHECK(!name_is_dns_subdomain("a.b-c.1") && !name_is_dns_label("a-1") && !name_is_dns_label_1035("a1"));
    CHECK_STR(name_is_dns_subdomain("A"),
              "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
              "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
              "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')");
    CHECK(name_is_dns_subdomain("") && name_is_dns_subdomain("a..b") && name_is_dns_subdomain("a.") && name_is_dns_subdomain("-a"));
    CHECK_STR(name_is_dns_label("a.b"), "must not contain dots");
    CHECK(name_is_dns_label_1035("1a") && name_is_dns_label_1035(""));
    CHECK_STR(name_is_path_segment("a/b"), "may not contain '/'");
    CHECK_STR(name_is_path_segment(".."), "may not be '..'");
    CHECK(!name_is_path_segment("system:node"));
    CHECK(!label_key_invalid("example.com/App_1") && label_key_invalid("a/b/c") && label_key_invalid("/x") && label_key_invalid("x/"));
    CHECK_INT(label_key_problems("/", msgs), 3);
    CHECK_STR(msgs[0], "prefix part must be non-empty");
    CHECK_STR(msgs[1], "name part must be non-empty");
    CHECK(!label_value_invalid("") && !label_value_invalid("A.b_c") && label_value_invalid("a "));
    memset(longest, 'a', sizeof(longest));
    longest[64] = '\0';
    CHECK_STR(name_is_dns_label(longest), "must be no more than 63 bytes");
    CHECK_STR(label_value_invalid(longest), "must be no more than 63 bytes");
    longest[63] = '\0';
    CHECK(!name_is_dns_label(longest) && !label_value_invalid(longest));
}

TEST(names_are_random_and_fit)
{
    AUTO(arena) struct arena *a = arena_new();
    char longest[100], uid[37], other[37];

    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    CHECK_INT(strlen(name_generate(a, longest)), 63);
    CHECK_INT(strlen(name_generate(a, "web-")), 9);
    uid_new(uid);
    uid_new(other);
    CHECK_INT(strlen(uid), 36);
    CHECK(uid[14] == '4' && uid[8] == '-' && strcmp(uid, other) != 0);
    CHECK_INT(strspn(uid, "0123456789abcdef-"), 36);
}
