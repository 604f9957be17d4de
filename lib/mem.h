#ifndef LIB_MEM_H
#define LIB_MEM_H
/*
 * mem - allocation that cannot fail, allocation that may, and arenas.
 *
 * mem_* aborts when memory is out: for small things of our own (the program is crash-only).
 * mem_try_* returns NULL: for anything sized from outside. Thread: any; an arena belongs to one thread.
 */
#include "lib/auto.h"
#include "lib/err.h"

#include <stdarg.h>
#include <stddef.h>

void *mem_alloc(size_t n);              /* not zeroed */
void *mem_zalloc(size_t n);             /* zeroed */
void *mem_realloc(void *p, size_t n);
char *mem_strdup(const char *s);        /* NULL gives NULL */
char *mem_printf(const char *fmt, ...) PRINTF_LIKE(1, 2);
void *mem_try_alloc(size_t n);
#define MEM_NEW(type) ((type *)mem_zalloc(sizeof(type)))

/* Memory of one request or one reconcile, freed at once. */
struct arena;
struct arena *arena_new(void);
void arena_free(struct arena *a); /* NULL allowed */
AUTO_DEFINE(arena, struct arena *, arena_free)
void *arena_alloc(struct arena *a, size_t n); /* zeroed, aligned to 16 */
char *arena_strdup(struct arena *a, const char *s);
char *arena_strndup(struct arena *a, const char *s, size_t n);
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
char *arena_vprintf(struct arena *a, const char *fmt, va_list args) PRINTF_LIKE(2, 0);
/* Calls release(p) when the arena goes; the latest first. */
void arena_on_free(struct arena *a, void (*release)(void *p), void *p);

#endif
