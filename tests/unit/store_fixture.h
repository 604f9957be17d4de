#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H
/* A datastore in a directory of its own, and short ways to write to it. */
#include "datastore/store.h"
#include "test.h"

struct fixture {
    char dir[64], path[96];
    struct store *s;
    struct ctx ctx;
};

void fixture_make(struct fixture *f); /* the directory only; it goes with the process, also when a CHECK fails */
void fixture_open(struct fixture *f, const struct store_options *options);
void fixture_reopen(struct fixture *f, const struct store_options *options);
void fixture_close(struct fixture *f); /* and removes the directory */
void fixture_remove(const struct fixture *f);

int64_t put(struct fixture *f, const char *key, const char *value); /* gives the revision */
int64_t del(struct fixture *f, const char *key);
/* -code, or the revision > 0. */
int64_t try_put(struct fixture *f, const char *key, const char *value, int64_t expect);
/* The live value at a revision, "(none)" without one. Overwritten by the next call. */
const char *get(struct fixture *f, const char *key, int64_t at);
/* "key=value@revision key=…" of a range. */
const char *list(struct fixture *f, const char *from, const char *to, int64_t at, size_t max_rows);
/* "key=value(prev)@revision key-(prev)@revision" of the log. */
const char *log_of(struct fixture *f, const char *from, const char *to, int64_t after);
#endif
