#include "lib/map.h"

#include "lib/mem.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>

/*
 * Linear probing over a power of two, at most 3/4 full. A deleted slot leaves a mark only when the slot behind it is in use,
 * so deleting while iterating moves nothing. Keys come from outside: the hash is SipHash-1-3 with a key of this process,
 * or a client could choose keys that all meet in one slot.
 * Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF".
 */
enum { MAP_LEAST = 8 };

struct slot {
    char *key; /* NULL: free, or deleted when `n` is SLOT_DELETED */
    void *value;
    uint32_t hash;
    uint32_t n;
};

enum { SLOT_FREE = 0, SLOT_DELETED = 1 };

struct map {
    struct slot *slots;
    size_t cap; /* 0 or a power of two */
    size_t len;
    size_t deleted;
    uint64_t seed[2];
    void (*free_value)(void *v);
};

static uint64_t rotl(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] = rotl(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] = rotl(v[2], 32);
}

static uint32_t hash_key(const struct map *m, const char *key, size_t n)
{
    uint64_t v[4] = { m->seed[0] ^ 0x736f6d6570736575, m->seed[1] ^ 0x646f72616e646f6d, m->seed[0] ^ 0x6c7967656e657261,
                      m->seed[1] ^ 0x7465646279746573 };
    uint64_t word, last = (uint64_t)n << 56;
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        memcpy(&word, key + i, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    for (size_t j = 0; i + j < n; j++)
        last |= (uint64_t)(unsigned char)key[i + j] << (8 * j);
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    uint64_t h = v[0] ^ v[1] ^ v[2] ^ v[3];
    return (uint32_t)(h ^ h >> 32);
}

struct map *map_new(void (*free_value)(void *v))
{
    struct map *m = MEM_NEW(struct map);
    const void *random = (const void *)getauxval(AT_RANDOM); /* 16 bytes from the kernel */

    m->free_value = free_value;
    assert(random);
    memcpy(m->seed, random, sizeof(m->seed));
    return m;
}

static void release(const struct map *m, void *value)
{
    if (m->free_value && value)
        m->free_value(value);
}

void map_free(struct map *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->cap; i++) {
        if (!m->slots[i].key)
            continue;
        free(m->slots[i].key);
        release(m, m->slots[i].value);
    }
    free(m->slots);
    free(m);
}

static struct slot *find(const struct map *m, const char *key, size_t n, uint32_t hash)
{
    if (m->cap == 0)
        return NULL;
    for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        struct slot *s = &m->slots[i];

        if (!s->key && s->n == SLOT_FREE)
            return NULL;
        if (s->key && s->hash == hash && s->n == n && memcmp(s->key, key, n) == 0)
            return s;
    }
}

void *map_get_n(const struct map *m, const char *key, size_t n)
{
    if (m->len == 0)
        return NULL;
    struct slot *s = find(m, key, n, hash_key(m, key, n));
    return s ? s->value : NULL;
}

void *map_get(const struct map *m, const char *key)
{
    return map_get_n(m, key, strlen(key));
}

static struct slot *free_slot(const struct map *m, uint32_t hash)
{
    size_t i = hash & (m->cap - 1);

    while (m->slots[i].key)
        i = (i + 1) & (m->cap - 1);
    return &m->slots[i];
}

/* New slots for twice what lives, which also drops the marks of deleted ones. */
static void rebuild(struct map *m)
{
    struct slot *old = m->slots;
    size_t old_cap = m->cap;

    m->cap = MAP_LEAST;
    while (m->cap < 2 * (m->len + 1))
        m->cap *= 2;
    m->slots = mem_zalloc(m->cap * sizeof(*m->slots));
    m->deleted = 0;
    for (size_t i = 0; i < old_cap; i++) {
        if (old[i].key)
            *free_slot(m, old[i].hash) = old[i];
    }
    free(old);
}

void map_set(struct map *m, const char *key, void *value)
{
    size_t n = strlen(key);
    uint32_t hash = hash_key(m, key, n);
    struct slot *s = find(m, key, n, hash);

    assert(n < UINT32_MAX);
    if (s) {
        void *before = s->value;

        s->value = value;
        if (before != value)
            release(m, before);
        return;
    }
    if ((m->len + m->deleted + 1) * 4 > m->cap * 3)
        rebuild(m);
    s = free_slot(m, hash);
    m->deleted -= s->n == SLOT_DELETED;
    *s = (struct slot){ .key = mem_alloc(n + 1), .value = value, .hash = hash, .n = (uint32_t)n };
    memcpy(s->key, key, n + 1);
    m->len++;
}

/* Empties a slot; a mark stays behind only where a probe must go on. */
static void empty_slot(struct map *m, struct slot *s)
{
    size_t i = (size_t)(s - m->slots);
    const struct slot *next = &m->slots[(i + 1) & (m->cap - 1)];

    free(s->key);
    *s = (struct slot){ .n = SLOT_DELETED };
    m->deleted++;
    m->len--;
    if (next->key || next->n == SLOT_DELETED)
        return;
    for (; !m->slots[i].key && m->slots[i].n == SLOT_DELETED; i = (i - 1) & (m->cap - 1)) {
        m->slots[i].n = SLOT_FREE;
        m->deleted--;
    }
}

static bool take(struct map *m, const char *key, void **ret_value)
{
    size_t n = strlen(key);
    struct slot *s = m->len ? find(m, key, n, hash_key(m, key, n)) : NULL;

    if (!s)
        return false;
    *ret_value = s->value;
    empty_slot(m, s);
    return true;
}

void *map_take(struct map *m, const char *key)
{
    void *value = NULL;

    return take(m, key, &value) ? value : NULL;
}

bool map_del(struct map *m, const char *key)
{
    void *value;

    if (!take(m, key, &value))
        return false;
    release(m, value);
    return true;
}

size_t map_len(const struct map *m)
{
    return m->len;
}

bool map_next(const struct map *m, size_t *pos, const char **ret_key, void **ret_value)
{
    while (*pos < m->cap) {
        const struct slot *s = &m->slots[(*pos)++];

        if (!s->key)
            continue;
        if (ret_key)
            *ret_key = s->key;
        if (ret_value)
            *ret_value = s->value;
        return true;
    }
    return false;
}
