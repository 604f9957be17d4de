#ifndef LIB_MAP_H
#define LIB_MAP_H
/* map - string keys to pointers; open hashing; order not kept. Thread: one at a time. */
#include <stdbool.h>
#include <stddef.h>

struct map;

struct map *map_new(void (*free_value)(void *v)); /* free_value may be NULL */
void map_free(struct map *m);                     /* NULL allowed */
void *map_get(const struct map *m, const char *key);
void *map_get_n(const struct map *m, const char *key, size_t n);
void map_set(struct map *m, const char *key, void *value); /* copies key; frees the value it replaces */
void *map_take(struct map *m, const char *key); /* removes without freeing the value; NULL when absent */
bool map_del(struct map *m, const char *key);
size_t map_len(const struct map *m);
/* Iterates: *pos starts at 0. Deleting the key just given is allowed. */
bool map_next(const struct map *m, size_t *pos, const char **ret_key, void **ret_value);

#endif
