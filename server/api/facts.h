#ifndef SERVER_API_FACTS_H
#define SERVER_API_FACTS_H
/*
 * facts - what selectors and ownership need of an object, beside its bytes in the store, so that nothing is parsed to filter.
 *
 * Three sections, each a little-endian u32 length and that many bytes: labels "key\0value\0…", selectable fields "name\0value\0…"
 * (metadata.name and metadata.namespace are in the key), owner uids "uid\0…". Recomputable from the value. Thread: any.
 */
#include "lib/ctx.h"
#include "lib/json.h"
#include "lib/k8s/selector.h"
#include "server/schema/kind.h"

struct bytes *facts_of(struct ctx *ctx, const struct kind_ops *ops, const json_t *object);

struct facts {
    struct slice labels, fields, owners;
};
struct facts facts_view(const struct bytes *b); /* NULL: all empty */
const char *facts_field(const struct facts *f, const char *name); /* "" when absent */
bool facts_owned_by(const struct facts *f, const char *uid);

#endif
