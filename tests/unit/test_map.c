#include "lib/map.h"
#include "lib/mem.h"
#include "test.h"

static void key_of(char to[32], int i)
{
    snprintf(to, 32, "key-%d", i);
}

TEST(map_set_get_del)
{
    struct map *m = map_new(free);

    CHECK(map_get(m, "a") == NULL);
    CHECK(!map_del(m, "a"));
    map_set(m, "a", mem_strdup("one"));
    map_set(m, "", mem_strdup("empty"));
    CHECK_STR(map_get(m, "a"), "one");
    CHECK_STR(map_get(m, ""), "empty");
    CHECK_STR(map_get_n(m, "abc", 1), "one");
    CHECK(map_get_n(m, "abc", 2) == NULL);
    map_set(m, "a", mem_strdup("two")); /* the leak checker sees the first freed */
    CHECK_STR(map_get(m, "a"), "two");
    CHECK_INT(map_len(m), 2);
    char *taken = map_take(m, "a");
    CHECK_STR(taken, "two");
    free(taken);
    CHECK(map_take(m, "a") == NULL);
    CHECK(map_del(m, ""));
    CHECK_INT(map_len(m), 0);
    map_free(m);
    map_free(NULL);
}

TEST(map_same_value_again_is_kept)
{
    struct map *m = map_new(free);
    char *v = mem_strdup("v");

    map_set(m, "k", v);
    map_set(m, "k", v);
    CHECK_STR(map_get(m, "k"), "v");
    map_free(m);
}

/* Against a plain array, with deletions that leave marks everywhere. */
TEST(map_as_an_array)
{
    enum { KEYS = 3000, STEPS = 200000 };
    static int model[KEYS];
    struct map *m = map_new(NULL);
    unsigned seed = 7;
    size_t live = 0;
    char key[32];

    for (int step = 0; step < STEPS; step++) {
        int i = rand_r(&seed) % KEYS;

        key_of(key, i);
        CHECK_INT((intptr_t)map_get(m, key), model[i]);
        if (rand_r(&seed) % 2) {
            live += model[i] == 0;
            model[i] = step + 1;
            map_set(m, key, (void *)(intptr_t)model[i]);
        } else {
            CHECK_INT(map_del(m, key), model[i] != 0);
            live -= model[i] != 0;
            model[i] = 0;
        }
        CHECK_INT(map_len(m), live);
    }
    map_free(m);
}

TEST(map_iterates_all_and_deletes_on_the_way)
{
    enum { KEYS = 1000 };
    struct map *m = map_new(NULL);
    static int seen[KEYS];
    char key[32];
    const char *k;
    void *v;

    for (int i = 0; i < KEYS; i++) {
        key_of(key, i);
        map_set(m, key, &seen[i]);
    }
    for (size_t pos = 0; map_next(m, &pos, &k, &v);) {
        ++*(int *)v;
        if ((int *)v - seen < KEYS / 2)
            CHECK(map_del(m, k));
    }
    for (int i = 0; i < KEYS; i++)
        CHECK_INT(seen[i], 1);
    CHECK_INT(map_len(m), KEYS / 2);
    for (size_t pos = 0; map_next(m, &pos, &k, NULL);)
        CHECK(map_del(m, k));
    CHECK_INT(map_len(m), 0);
    map_set(m, "again", &seen[0]);
    CHECK(map_get(m, "again") == &seen[0]);
    map_free(m);
}
