/* Packets between agent and shim: whatever passes the check has strings that end inside it, and is built again byte for byte. */
#include "embed/shim_protocol.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct shim_frame f;
    struct shim_writer w;
    char *copy = malloc(n ? n : 1), *again = malloc(SHIM_FRAME_MAX);

    assert(copy && again);
    memcpy(copy, data, n);
    if (shim_frame_read(copy, n, &f) == 0) {
        struct shim_strings s = shim_frame_strings(copy, &f);
        shim_frame_begin(&w, again, SHIM_FRAME_MAX, f.type, f.id);
        for (int i = 0; i < SHIM_NUMS; i++)
            shim_frame_num(&w, i, f.num[i]);
        for (const char *at; (at = shim_strings_next(&s));)
            shim_frame_str(&w, at);
        assert(shim_frame_end(&w) == n && memcmp(again, copy, n) == 0);
    }
    free(copy);
    free(again);
    return 0;
}
