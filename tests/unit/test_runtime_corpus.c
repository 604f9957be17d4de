/* The seeds of the shim protocol's fuzz target, run as a test. */
#define LLVMFuzzerTestOneInput fuzz_shim_protocol
#include "tests/fuzz/fuzz_shim_protocol.c"

#include "test.h"

#include <dirent.h>

TEST(runtime_shim_protocol_corpus)
{
    static uint8_t data[4096];
    DIR *dir = opendir("tests/fuzz/corpus/shim_protocol");
    int seeds = 0;

    CHECK(dir != NULL);
    for (struct dirent *e; (e = readdir(dir));) {
        char path[512];
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "tests/fuzz/corpus/shim_protocol/%s", e->d_name);
        FILE *f = fopen(path, "re");
        CHECK(f != NULL);
        size_t n = fread(data, 1, sizeof(data), f);
        fclose(f);
        CHECK_INT(fuzz_shim_protocol(data, n), 0);
        seeds++;
    }
    closedir(dir);
    CHECK(seeds > 0);
}
