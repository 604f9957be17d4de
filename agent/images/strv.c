/* Lists of strings that end with NULL. */
#include "agent/images/manifest.h"

#include <string.h>

enum { LIST_MAX = 10000 };

size_t strv_len(char **v)
{
    size_t n = 0;

    while (v && v[n])
        n++;
    return n;
}

void strv_free(char **v)
{
    for (size_t i = 0; v && v[i]; i++)
        free(v[i]);
    free(v);
}

bool strv_has(char **v, const char *s)
{
    for (size_t i = 0; v && v[i]; i++)
        if (strcmp(v[i], s) == 0)
            return true;
    return false;
}

void strv_add(char ***v, const char *s)
{
    size_t n = strv_len(*v);

    *v = mem_realloc(*v, (n + 2) * sizeof(char *));
    (*v)[n] = mem_strdup(s);
    (*v)[n + 1] = NULL;
}

bool strv_del(char **v, const char *s)
{
    for (size_t i = 0; v && v[i]; i++) {
        if (strcmp(v[i], s) != 0)
            continue;
        free(v[i]);
        memmove(v + i, v + i + 1, (strv_len(v + i + 1) + 1) * sizeof(char *));
        return true;
    }
    return false;
}

char **strv_copy(char **v)
{
    size_t n = strv_len(v);
    char **copy = mem_alloc((n + 1) * sizeof(char *));

    for (size_t i = 0; i < n; i++)
        copy[i] = mem_strdup(v[i]);
    copy[n] = NULL;
    return copy;
}

int strv_read(const json_t *v, const char *what, char ***ret, struct err *err)
{
    size_t n = json_is_array(v) ? json_array_size(v) : json_is_object(v) ? json_object_size(v) : 0, at = 0;
    const char *key;
    json_t *item;

    if (v && !json_is_null(v) && !json_is_array(v) && !json_is_object(v))
        return err_set(err, ERR_INVALID, "%s is no list", what);
    if (n > LIST_MAX)
        return err_set(err, ERR_INVALID, "%s has more than %d entries", what, LIST_MAX);
    char **list = mem_zalloc((n + 1) * sizeof(char *));
    if (json_is_object(v)) {
        json_object_foreach((json_t *)v, key, item)
            list[at++] = mem_strdup(key);
    }
    for (size_t i = 0; json_is_array(v) && i < n; i++) {
        const char *text = json_string_value(json_array_get(v, i));

        if (!text || strlen(text) != json_string_length(json_array_get(v, i))) {
            strv_free(list);
            return err_set(err, ERR_INVALID, "%s[%zu] is no string", what, i);
        }
        list[at++] = mem_strdup(text);
    }
    *ret = list;
    return 0;
}
