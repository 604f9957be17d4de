/* The fuzz targets' seeds, run as tests. Needs the source tree as working directory, as make gives it. */
#define LLVMFuzzerTestOneInput fuzz_json
#define check_tree check_json_tree
#define demand demand_json
#include "tests/fuzz/fuzz_json.c"
#undef LLVMFuzzerTestOneInput
#undef check_tree
#undef demand
#define LLVMFuzzerTestOneInput fuzz_yaml
#include "tests/fuzz/fuzz_yaml.c"

#include "test.h"

#include <dirent.h>
#include <stdio.h>

enum { SEED_BYTES_MAX = 64 << 10 };

static void run_corpus(const char *folder, int (*target)(const uint8_t *data, size_t n))
{
    static uint8_t data[SEED_BYTES_MAX];
    DIR *dir = opendir(folder);
    int seeds = 0;

    CHECK(dir != NULL);
    for (struct dirent *e; (e = readdir(dir));) {
        char path[512];

        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        FILE *f = fopen(path, "re");
        CHECK(f != NULL);
        size_t n = fread(data, 1, sizeof(data), f);
        fclose(f);
        CHECK_INT(target(data, n), 0);
        seeds++;
    }
    closedir(dir);
    CHECK(seeds > 0);
}

TEST(json_fuzz_corpus)
{
    run_corpus("tests/fuzz/corpus/json", fuzz_json);
}

TEST(yaml_fuzz_corpus)
{
    run_corpus("tests/fuzz/corpus/yaml", fuzz_yaml);
}
