#ifndef LIB_AUTO_H
#define LIB_AUTO_H
/*
 * auto - release a local variable when its scope ends.
 *
 * Initialise every AUTO variable where it is declared. Releases run in the
 * reverse order of declaration. To hand a resource on, TAKE it.
 */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define AUTO(name) __attribute__((cleanup(auto_##name)))
#define AUTO_FREE  AUTO(free)
#define AUTO_FD    AUTO(fd) /* start at -1 */

/* In a module's header: AUTO(name) now calls release() on a live variable. */
#define AUTO_DEFINE(name, type, release)                                      \
    static inline void auto_##name(type *p)                                   \
    {                                                                         \
        if (*p)                                                               \
            release(*p);                                                      \
    }

/* The value, leaving the variable empty so that its release does nothing. */
#define TAKE(p)                                                               \
    ({                                                                        \
        __typeof__(p) take_ = (p);                                            \
        (p) = NULL;                                                           \
        take_;                                                                \
    })

/* The same for a descriptor. */
#define TAKE_FD(fd)                                                           \
    ({                                                                        \
        int take_ = (fd);                                                     \
        (fd) = -1;                                                            \
        take_;                                                                \
    })

static inline void auto_free(void *pp)
{
    free(*(void **)pp);
}

static inline void auto_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

/* Holds a mutex to the end of the scope: LOCK_SCOPE(&hub->lock); */
static inline void auto_unlock(pthread_mutex_t **m)
{
    if (*m)
        pthread_mutex_unlock(*m);
}
#define LOCK_NAME_(line) lock_scope_##line
#define LOCK_NAME(line)  LOCK_NAME_(line)
#define LOCK_SCOPE(mutex)                                                     \
    AUTO(unlock) pthread_mutex_t *LOCK_NAME(__LINE__) = (mutex);              \
    pthread_mutex_lock(LOCK_NAME(__LINE__))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
