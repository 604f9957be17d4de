#ifndef LIB_DUE_H
#define LIB_DUE_H
/*
 * due - a heap of things that are due at some time; the earliest first, of equal ones the first added.
 *
 * Nodes are embedded in what is due and belong to the caller. Thread: one at a time.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct due_node {
    int64_t at_ms;
    uint64_t seq;
    size_t place; /* 0: not in a heap */
};

/* Zero it to begin. */
struct due {
    struct due_node **nodes; /* nodes[1] to nodes[n] */
    size_t n, cap;
    uint64_t seq;
};

void due_add(struct due *d, struct due_node *node, int64_t at_ms); /* not in a heap yet */
void due_remove(struct due *d, struct due_node *node);             /* nothing happens when it is in none */
struct due_node *due_first(const struct due *d);                   /* NULL: empty */
static inline bool due_waits(const struct due_node *node)
{
    return node->place > 0;
}
void due_clear(struct due *d); /* forgets all; the nodes stay the caller's */

#endif
