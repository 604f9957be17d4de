#ifndef SERVER_CONTROLLERS_POD_INDEX_H
#define SERVER_CONTROLLERS_POD_INDEX_H
/*
 * pod_index - a small struct for each pod, found by owner, namespace and node; shared by the controllers (DESIGN decision 4).
 * Thread: any; readers hold the lock between pod_index_lock and unlock and keep nothing beyond.
 */
#include "lib/bytes.h"
#include "lib/json.h"

struct pod_entry {
    char *key, *ns, *name, *uid, *owner_uid, *owner_kind, *owner_name; /* "" without a controller */
    char *node, *ip, *hostname, *subdomain;
    struct buf labels; /* "key\0value\0…" */
    struct buf ports;  /* "name\0number\0protocol\0" … of containers, for named target ports */
    char phase;        /* 'P'ending 'R'unning 'S'ucceeded 'F'ailed 'U'nknown */
    bool ready, deleting;
    int restarts;
    int64_t created_s, ready_s; /* 0: not */
    struct pod_entry *next_owner, *prev_owner, *next_ns, *prev_ns;
};

struct pod_index;
struct pod_index *pod_index_new(void);
void pod_index_free(struct pod_index *x);
void pod_index_set(struct pod_index *x, const json_t *pod);
void pod_index_del(struct pod_index *x, const char *key);

void pod_index_lock(struct pod_index *x);
void pod_index_unlock(struct pod_index *x);
const struct pod_entry *pod_index_get(struct pod_index *x, const char *key);
const struct pod_entry *pod_index_owned(struct pod_index *x, const char *owner_uid); /* by ->next_owner */
const struct pod_entry *pod_index_in(struct pod_index *x, const char *ns);           /* by ->next_ns */
bool pod_index_next(struct pod_index *x, size_t *pos, const struct pod_entry **ret);

bool pod_entry_active(const struct pod_entry *p); /* neither finished nor going */
static inline struct slice pod_entry_labels(const struct pod_entry *p)
{
    return (struct slice){ buf_at(&p->labels), buf_len(&p->labels) };
}

#endif
