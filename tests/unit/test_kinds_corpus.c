/* The fuzz target's seeds, and all objects upstream was asked about, run as tests. Needs the source tree as working directory. */
#define LLVMFuzzerTestOneInput fuzz_kinds
#define run_hooks kinds_run_hooks
#include "tests/fuzz/fuzz_kinds.c"

#include "test.h"

#include <dirent.h>

TEST(kinds_fuzz_corpus)
{
    static uint8_t data[64 << 10];
    DIR *dir = opendir("tests/fuzz/corpus/kinds");
    int seeds = 0;

    CHECK(dir != NULL);
    for (struct dirent *e; (e = readdir(dir));) {
        char path[512];

        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "tests/fuzz/corpus/kinds/%s", e->d_name);
        FILE *f = fopen(path, "re");
        CHECK(f != NULL);
        size_t n = fread(data, 1, sizeof(data), f);
        fclose(f);
        CHECK_INT(fuzz_kinds(data, n), 0);
        seeds++;
    }
    closedir(dir);
    CHECK(seeds > 50);
}

TEST(kinds_defaults_are_given_once)
{
    FILE *in = fopen("tests/unit/kinds_answers.jsonl", "re");
    char *line = NULL;
    size_t cap = 0;
    struct err err;

    CHECK(in != NULL);
    for (ssize_t n; (n = getline(&line, &cap, in)) > 0;) {
        AUTO(json) json_t *answer = NULL;
        AUTO(buf) struct buf text = { 0 };

        CHECK(json_read(line, (size_t)n, NULL, NULL, &answer, &err) == 0);
        json_write(json_object_get(answer, "object"), &text);
        CHECK_INT(fuzz_kinds((const uint8_t *)buf_at(&text), buf_len(&text)), 0);
    }
    free(line);
    fclose(in);
}
