#ifndef CMD_FLAGS_INT_H
#define CMD_FLAGS_INT_H
/* flags_int - shared by the files of flags. */
#include "cmd/flags.h"
#include "lib/auto.h"

extern const struct flag flags[];
extern const size_t n_flags;

enum source { FROM_NOWHERE, FROM_FILE, FROM_ENV, FROM_COMMAND };

struct setting {
    char **values; /* ends with NULL */
    size_t n;
    enum source source;
};

struct settings {
    enum flag_for command;
    struct setting *at; /* one a flag */
};

const struct flag *flag_find(enum flag_for command, const char *name, size_t n);
/* Adds a value; list flags grow, others are replaced. Checks it. where: "--flag" or "file:line". */
CHECK_RC int setting_add(struct settings *s, const struct flag *f, const char *value, enum source source, const char *where,
                         struct err *err);
void setting_clear(struct setting *at);
/* settings_file.c */
CHECK_RC int settings_read_files(struct settings *s, const char *path, bool must_exist, struct err *err);

#endif
