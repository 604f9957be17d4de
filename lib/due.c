#include "lib/due.h"

#include "lib/mem.h"

#include <assert.h>

static bool before(const struct due_node *a, const struct due_node *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->seq < b->seq;
}

static void put(struct due *d, struct due_node *node, size_t place)
{
    d->nodes[place] = node;
    node->place = place;
}

static void move_up(struct due *d, struct due_node *node, size_t place)
{
    for (; place > 1 && before(node, d->nodes[place / 2]); place /= 2)
        put(d, d->nodes[place / 2], place);
    put(d, node, place);
}

static void move_down(struct due *d, struct due_node *node, size_t place)
{
    for (size_t child; (child = 2 * place) <= d->n; place = child) {
        if (child < d->n && before(d->nodes[child + 1], d->nodes[child]))
            child++;
        if (!before(d->nodes[child], node))
            break;
        put(d, d->nodes[child], place);
    }
    put(d, node, place);
}

void due_add(struct due *d, struct due_node *node, int64_t at_ms)
{
    assert(!due_waits(node));
    if (d->n + 1 >= d->cap) {
        d->cap = d->cap ? 2 * d->cap : 16;
        d->nodes = mem_realloc(d->nodes, d->cap * sizeof(struct due_node *));
    }
    node->at_ms = at_ms;
    node->seq = d->seq++;
    move_up(d, node, ++d->n);
}

void due_remove(struct due *d, struct due_node *node)
{
    size_t place = node->place;

    if (place == 0)
        return;
    assert(d->nodes[place] == node);
    struct due_node *last = d->nodes[d->n--];
    node->place = 0;
    if (last == node)
        return;
    move_down(d, last, place);
    move_up(d, last, last->place);
}

struct due_node *due_first(const struct due *d)
{
    return d->n > 0 ? d->nodes[1] : NULL;
}

void due_clear(struct due *d)
{
    for (size_t i = 1; i <= d->n; i++)
        d->nodes[i]->place = 0;
    free(d->nodes);
    *d = (struct due){ 0 };
}
