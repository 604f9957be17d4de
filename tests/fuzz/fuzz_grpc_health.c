/* Bytes of a gRPC health answer: a cut one is never taken, and fields nobody knows change nothing. */
#include "agent/pods/pods_int.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = { (const char *)data, n };
    int32_t status = 77, again = 78;

    if (grpc_health_read(in, &status)) {
        assert(status == 77); /* untouched */
        return 0;
    }
    assert(grpc_health_read((struct slice){ in.at, n - 1 }, &again) && again == 78);

    uint8_t *more = mem_alloc(n + 3);
    uint32_t size = (uint32_t)(n - 5 + 3);

    memcpy(more, data, n);
    memcpy(more + n, "\x52\x01x", 3);
    for (int i = 0; i < 4; i++)
        more[1 + i] = (uint8_t)(size >> (24 - 8 * i));
    assert(!grpc_health_read((struct slice){ (char *)more, n + 3 }, &again) && again == status);
    free(more);
    return 0;
}
