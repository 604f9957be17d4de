#ifndef CMD_FLAGS_H
#define CMD_FLAGS_H
/*
 * flags - every flag of every subcommand as one table, and the settings they make together with environment and files.
 *
 * Precedence: command line, environment (RANCHERD_X before K3S_X), settings files; a list given on the command line replaces the file's.
 * Source: K3s' command line (its names, aliases, defaults). Thread: start-up only.
 */
#include "lib/err.h"

#include <stdbool.h>
#include <stddef.h>

enum flag_kind { FLAG_STRING, FLAG_BOOL, FLAG_LIST, FLAG_INT };
enum flag_for { FOR_SERVER = 1, FOR_AGENT = 2, FOR_BOTH = 3 };

struct flag {
    const char *name, *alias; /* alias: further names, "c" or "o"; NULL */
    enum flag_kind kind;
    int commands;             /* enum flag_for bits */
    const char *env;          /* "TOKEN": RANCHERD_TOKEN and K3S_TOKEN; with '=' in front: exactly that name; NULL */
    const char *otherwise;    /* default shown and used; NULL */
    const char *category, *usage;
    const char *unsupported;  /* "…, because …": stops when given; NULL */
    const char *fine;         /* values of an unsupported flag that ask for what is so anyway: "vxlan disabled"; NULL */
};

struct settings;

/* Reads the command line behind the subcommand. *ret_help when --help was asked (nothing else is done).
 * Errors: BAD_REQUEST naming the flag and what is allowed, or the file, line and key. Unknown keys of files are warned about on stderr. */
CHECK_RC int settings_read(enum flag_for command, int argc, char **argv, struct settings **ret, bool *ret_help, struct err *err);
void settings_free(struct settings *s);

const char *settings_str(const struct settings *s, const char *name); /* the default when not given; NULL when there is none */
bool settings_bool(const struct settings *s, const char *name);
int settings_int(const struct settings *s, const char *name);
const char *const *settings_list(const struct settings *s, const char *name, size_t *ret_n); /* ends with NULL */
bool settings_given(const struct settings *s, const char *name);
/* "key=value" pairs of a list flag such as kubelet-arg: the value of key; NULL. The last wins. */
const char *settings_arg(const struct settings *s, const char *list, const char *key);
/* Refuses a key of such a flag that is not in `known` (ends with NULL): it would be ignored. why: "the … is part of rancherd: it knows …". */
CHECK_RC int settings_check_args(const struct settings *s, const char *list, const char *const *known, const char *why, struct err *err);
/* The command line with secrets masked, as JSON (node annotation). */
char *settings_args_json(int argc, char **argv);

void flags_help(enum flag_for command);

#endif
