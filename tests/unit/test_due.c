#include "lib/due.h"
#include "test.h"

TEST(due_gives_in_order_whatever_is_removed)
{
    enum { N = 2000 };
    static struct due_node nodes[N];
    struct due d = { 0 };
    unsigned seed = 3;

    CHECK(due_first(&d) == NULL);
    for (int i = 0; i < N; i++)
        due_add(&d, &nodes[i], rand_r(&seed) % 300);
    for (int i = 0; i < N; i += 3)
        due_remove(&d, &nodes[i]);
    due_remove(&d, &nodes[0]); /* in none any more */
    for (int i = 0; i < N; i += 6)
        due_add(&d, &nodes[i], rand_r(&seed) % 300);
    int64_t last_ms = -1, left = N - N / 6 - (N % 6 > 3);
    uint64_t last_seq = 0;
    for (struct due_node *n; (n = due_first(&d)); left--) {
        CHECK(n->at_ms > last_ms || (n->at_ms == last_ms && n->seq > last_seq));
        last_ms = n->at_ms;
        last_seq = n->seq;
        due_remove(&d, n);
        CHECK(!due_waits(n));
    }
    CHECK_INT(left, 0);
    due_clear(&d);
}
