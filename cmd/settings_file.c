/* Settings files: config.yaml, then config.yaml.d in alphabetical order. */
#include "cmd/flags_int.h"

#include "lib/bytes.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum { FILE_MAX_BYTES = 1024 * 1024, DROPINS_MAX = 256 };

/* The line of a top-level key, for messages: the tree does not know. */
static int line_of(const char *text, const char *key)
{
    size_t n = strlen(key);
    int line = 1;

    for (const char *at = text; at && *at; line++) {
        const char *start = at + (*at == '"' || *at == '\'');

        if (strncmp(start, key, n) == 0 && strchr(":+\"' \t", start[n]) && start[n])
            return line;
        at = strchr(at, '\n');
        if (at)
            at++;
    }
    return 1;
}

static int scalar_text(const json_t *v, struct buf *to)
{
    if (json_is_string(v))
        buf_str(to, json_string_value(v));
    else if (json_is_integer(v) || json_is_real(v))
        json_write(v, to);
    else if (json_is_boolean(v))
        buf_str(to, json_is_true(v) ? "true" : "false");
    else if (!json_is_null(v))
        return -1;
    return 0;
}

static int set_values(struct settings *s, const struct flag *f, const json_t *v, const char *where, struct err *err)
{
    size_t i = 0;
    json_t *one = NULL;
    AUTO(buf) struct buf text = { 0 };

    if (json_is_array(v)) {
        if (f->kind != FLAG_LIST)
            return err_set(err, ERR_BAD_REQUEST, "%s: a list, but one value is allowed", where);
        json_array_foreach((json_t *)v, i, one)
        {
            buf_cut(&text, 0);
            if (scalar_text(one, &text) < 0)
                return err_set(err, ERR_BAD_REQUEST, "%s: allowed is a list of strings", where);
            if (setting_add(s, f, buf_at(&text), FROM_FILE, where, err) < 0)
                return -(int)err->code;
        }
        return 0;
    }
    if (scalar_text(v, &text) < 0)
        return err_set(err, ERR_BAD_REQUEST, "%s: allowed is %s", where, f->kind == FLAG_LIST ? "a list of strings" : "one value");
    return setting_add(s, f, buf_at(&text), FROM_FILE, where, err);
}

static int set_key(struct settings *s, const char *path, const char *text, const char *key, const json_t *v, struct err *err)
{
    size_t n = strlen(key);
    bool append = n > 0 && key[n - 1] == '+';
    const struct flag *f = flag_find(s->command, key, n - append);
    AUTO_FREE char *where = mem_printf("%s:%d: key \"%s\"", path, line_of(text, key), key);

    if (!f) {
        /* K3s warns and goes on; a key of the other command is fine in a shared file */
        if (!flag_find(FOR_BOTH, key, n - append))
            fprintf(stderr, "Unknown flag --%.*s found in %s:%d, skipping\n", (int)(n - append), key, path, line_of(text, key));
        return 0;
    }
    struct setting *at = &s->at[f - flags];
    if (at->source == FROM_FILE && !append)
        setting_clear(at); /* a later file wins */
    return set_values(s, f, v, where, err);
}

static int read_one(struct settings *s, const char *path, bool must_exist, struct err *err)
{
    AUTO_FREE char *text = NULL;
    AUTO(json) json_t *tree = NULL;
    size_t n = 0;
    const char *key = NULL;
    json_t *v = NULL;

    if (file_read(AT_FDCWD, path, FILE_MAX_BYTES, &text, &n, err) < 0) {
        if (err->code == ERR_NOT_FOUND && !must_exist)
            return 0;
        return err_wrap(err, "settings file %s", path);
    }
    if (strspn(text, " \t\r\n") == n)
        return 0;
    if (yaml_read(text, n, NULL, NULL, &tree, err) < 0)
        return err_wrap(err, "settings file %s", path);
    if (json_is_null(tree))
        return 0;
    if (!json_is_object(tree))
        return err_set(err, ERR_BAD_REQUEST, "%s:1: allowed is a map of flags to values", path);
    json_object_foreach(tree, key, v) if (set_key(s, path, text, key, v, err) < 0) return -(int)err->code;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_yaml(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot && *name != '.' && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);
}

int settings_read_files(struct settings *s, const char *path, bool must_exist, struct err *err)
{
    AUTO_FREE char *folder = mem_printf("%s.d", path);
    char *names[DROPINS_MAX];
    size_t n = 0;
    int rc = read_one(s, path, must_exist, err);

    if (rc < 0)
        return rc;
    DIR *dir = opendir(folder);
    if (!dir)
        return errno == ENOENT || errno == ENOTDIR ? 0 : err_sys(err, errno, "settings folder %s", folder);
    for (struct dirent *e = NULL; (e = readdir(dir)) && n < DROPINS_MAX;)
        if (is_yaml(e->d_name))
            names[n++] = mem_printf("%s/%s", folder, e->d_name);
    closedir(dir);
    qsort(names, n, sizeof(*names), by_name);
    for (size_t i = 0; i < n; i++) {
        if (rc == 0)
            rc = read_one(s, names[i], true, err);
        free(names[i]);
    }
    return rc;
}
