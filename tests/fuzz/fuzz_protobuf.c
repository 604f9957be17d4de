/* A body in protobuf: whatever comes out is a tree the schema takes or refuses, and writes as JSON that reads back. */
#include "lib/k8s/object.h"
#include "lib/k8s/protobuf.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const kinds[] = { "Pod", "Node", "Service", "Secret", "Event" };
    struct protobuf_envelope e;
    struct err err;
    json_t *tree = NULL, *again = NULL;
    AUTO(buf) struct buf text = { 0 };

    if (n < 1 || protobuf_open((struct slice){ (const char *)data + 1, n - 1 }, &e, &err) < 0)
        return 0;
    const struct schema_type *type = schema_kind(schema_builtin(), "", "v1", kinds[data[0] % ARRAY_LEN(kinds)]);
    if (protobuf_read(type, e.raw, &tree, &err) < 0)
        return 0;
    if (object_prune(type, tree, NULL, NULL, &err) == 0) {
        json_write(tree, &text);
        if (json_read(buf_at(&text), buf_len(&text), NULL, NULL, &again, &err) < 0)
            abort();
        json_decref(again);
    }
    json_decref(tree);
    return 0;
}
