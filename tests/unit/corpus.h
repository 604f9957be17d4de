#ifndef TESTS_CORPUS_H
#define TESTS_CORPUS_H
/* corpus - runs a fuzz target over its seeds. Needs the source tree as working directory, as make gives it. */
#include "tests/unit/test.h"

#include <dirent.h>

static inline void corpus_run(const char *folder, int (*target)(const uint8_t *data, size_t n))
{
    static uint8_t data[64 << 10];
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

#endif
