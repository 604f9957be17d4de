#ifndef TESTS_KINDS_FIXTURE_H
#define TESTS_KINDS_FIXTURE_H
/* kinds_fixture - objects through a kind as the API leads them, at a fixed time: 2026-01-01T00:05:00Z. Everything ends with kinds_close. */
#include "lib/ctx.h"
#include "lib/json.h"
#include "server/schema/kind.h"

struct kinds {
    struct arena *arena;
    struct ctx ctx;
};

struct kinds kinds_open(void);
void kinds_close(struct kinds *f);
json_t *kinds_read(struct kinds *f, const char *yaml);
/* Decoded, defaulted and prepared for creation. */
json_t *kinds_new(struct kinds *f, const char *group, const char *kind, const char *yaml);
/* What schema and kind find wrong; "" when nothing. old NULL: a creation. */
const char *kinds_errors(struct kinds *f, const json_t *object, const json_t *old);
const json_t *kinds_cells(struct kinds *f, const char *group, const char *kind, const json_t *object);
const struct schema_resource *kinds_resource(const json_t *object);

#endif
