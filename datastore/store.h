#ifndef DATASTORE_STORE_H
#define DATASTORE_STORE_H
/*
 * store - ordered keys, versioned values, one revision sequence: etcd's data model without its wire.
 *
 * Keys and values are bytes; ranges are half-open [from, to). Every transaction takes the next revision; several rows may
 * share it (they differ by sub-revision). Once a reader saw revision R no row <= R appears later, and store_revision() >= R.
 * sqlite.c is the embedded engine; etcd.c and postgres.c come later behind the same ops.
 *
 * Layer:  above lib/; knows no HTTP, no JSON, no Kubernetes kind.
 * Thread: any worker; one writer thread behind it orders and commits (many waiting writes share a commit and an fsync).
 * Source: DESIGN decision 6 and the storage contract of etcd v3 (Txn, Range, Watch, Compact, Lease).
 */
#include "lib/bytes.h"
#include "lib/ctx.h"
#include "lib/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;

/* One version of a key. Owner: whoever holds it unrefs key, value and facts (store_row_clear). */
struct store_row {
    struct bytes *key;
    struct bytes *value; /* NULL for a deletion, and where only facts were asked for */
    struct bytes *facts; /* opaque to the store, recomputable from the value; NULL when none were given */
    int64_t mod_revision;
    int64_t create_revision; /* revision at which the key last began to exist */
    int64_t version;         /* 1 at creation */
    int64_t expiry_ms;       /* wall clock; 0: never */
    bool deleted;
};
void store_row_clear(struct store_row *row);

/* A change, in the order of revisions; prev_* is the row before it (NULL for a creation). */
struct store_event {
    struct store_row row;
    struct bytes *prev_value, *prev_facts;
    int64_t prev_mod_revision; /* 0 for a creation */
};

enum store_op_kind {
    STORE_PUT,
    STORE_DELETE,
    STORE_CHECK, /* compare only */
};

enum { STORE_ANY = -1, STORE_ABSENT = 0 };

/* One step of a transaction; all compares are looked at before anything is applied. */
struct store_op {
    enum store_op_kind kind;
    struct slice key;
    int64_t expect;      /* mod_revision the key must have; STORE_ABSENT, STORE_ANY */
    struct bytes *value; /* PUT; referenced, not taken over */
    struct bytes *facts; /* PUT; NULL allowed */
    int64_t expiry_ms;   /* PUT; wall clock, 0: never. Expiry becomes a DELETE event */
};

/* Applies all of ops or nothing.
 * *ret_revision is the revision of the commit. On a failed compare *ret_failed (>= 0) names the op, the code is CONFLICT
 * (EXISTS when it expected STORE_ABSENT, NOT_FOUND when the key is absent and was expected), and ret_live (if not NULL)
 * is filled with the key's live row where there is one (caller clears it).
 * A transaction that changes nothing (compares only, deletes of absent keys) takes no revision and gives the current one.
 * An empty store has revision 1, so the first change gets 2. A key may come several times; the steps see each other.
 * Errors: CONFLICT, EXISTS, NOT_FOUND; TOO_LARGE (value > STORE_VALUE_MAX_BYTES, too many ops); BAD_REQUEST (no key, a PUT
 *         without value); UNAVAILABLE (closing, queue full);
 *         IO (disk full, say: nothing was written, later writes may work again; only if the disk takes nothing at all any
 *         more and the process then dies, a commit whose sync failed may be there afterwards); TIMEOUT: the outcome is unknown.
 * Blocks: until committed and synced, or ctx's deadline. */
CHECK_RC int store_txn(struct ctx *ctx, struct store *s, const struct store_op *ops, size_t n, int64_t *ret_revision,
                       int *ret_failed, struct store_row *ret_live, struct err *err);

enum {
    STORE_VALUE_MAX_BYTES = 3 * 1024 * 1024,
    STORE_KEY_MAX_BYTES = 4096,
    STORE_OPS_MAX = 4096,                   /* of one transaction */
    STORE_TXN_MAX_BYTES = 16 * 1024 * 1024, /* keys, values and facts of one transaction */
};

/* Reads one key at a revision (0: now). *ret_revision (may be NULL) is the store's revision of that read, set on NOT_FOUND, too.
 * Errors: NOT_FOUND; EXPIRED (revision compacted); BAD_REQUEST (revision to come); IO; TIMEOUT. */
CHECK_RC int store_get(struct ctx *ctx, struct store *s, struct slice key, int64_t at_revision, struct store_row *ret,
                       int64_t *ret_revision, struct err *err);

/* Looked at before a row's value is read; false leaves the row out (selectors cost no reading of what they refuse).
 * key and facts (NULL: none) are lent for the call: take no reference. arg is store_range's. */
typedef bool store_want_fn(void *arg, struct slice key, const struct bytes *facts);

/* A read of a range in pieces: each call is one short read transaction at the same revision.
 * Zero it, fill the first part, call store_range until `more` is false; store_range_end in any case. */
struct store_range {
    struct slice from, to;  /* borrowed for the whole read; to empty: the one key `from`; to "\0" (one NUL byte): no end */
    int64_t at_revision;    /* 0: the current one, which the first call writes here and which is then held (<= 60 s) */
    size_t max_rows;        /* of one call; 0: 500 */
    size_t max_bytes;       /* of one call; 0: 256 KB */
    bool facts_only;        /* value stays NULL */
    store_want_fn *want;    /* NULL: all rows */
    /* results */
    bool more;
    int64_t revision;       /* the store's revision when the first call read */
    /* private */
    struct bytes *next;
    struct store *held_in;
    struct store_hold *hold;
};
/* Return > 0 to keep the row out of max_rows' count, 0 to count it, < 0 to fail (err is filled). The row is lent;
 * take a reference (bytes_ref) to keep parts. To stop after this row set *stop. */
typedef int store_row_fn(void *arg, const struct store_row *row, bool *stop, struct err *err);
/* Errors: EXPIRED (compacted), BAD_REQUEST (revision to come), IO, TIMEOUT, those of fn. Blocks: on disk; fn runs inside the
 * read transaction and must not wait for the store. */
CHECK_RC int store_range(struct ctx *ctx, struct store *s, struct store_range *range, store_row_fn *fn, void *arg,
                         struct err *err);
void store_range_end(struct store_range *range);

/* Number of live keys in [from, to) at a revision (0: now). */
CHECK_RC int store_count(struct ctx *ctx, struct store *s, struct slice from, struct slice to, int64_t at_revision,
                         int64_t *ret, struct err *err);

/* The log: changes with revision > after in [from, to), oldest first, at most max_rows (0: 500) or 256 KB.
 * *ret_last is the revision up to which (whole transactions) the log was read: the place to go on.
 * Errors: EXPIRED when `after` is older than the compaction. */
typedef int store_event_fn(void *arg, const struct store_event *event, struct err *err);
CHECK_RC int store_log(struct ctx *ctx, struct store *s, struct slice from, struct slice to, int64_t after, size_t max_rows,
                       store_event_fn *fn, void *arg, int64_t *ret_last, struct err *err);

/* Told of each commit, in order, by the writer thread after the sync and before the writers' calls return; must not block.
 * n events share events[0].row.mod_revision … or several commits come in one call. One subscriber (the hub). */
typedef void store_commit_fn(void *arg, const struct store_event *events, size_t n, int64_t revision);
void store_subscribe(struct store *s, store_commit_fn *fn, void *arg);

int64_t store_revision(struct store *s);  /* last committed */
int64_t store_compacted(struct store *s); /* reads below it fail with EXPIRED */

/* Forgets versions older than `revision` that are not current, in small steps between commits; held revisions bound it.
 * A revision that is to come stands for the current one. On TIMEOUT it goes on by itself, also after a restart.
 * Called by the owner's timer (5 minutes) with the revision of the last call. */
CHECK_RC int store_compact(struct ctx *ctx, struct store *s, int64_t revision, struct err *err);

struct store_stats {
    int64_t revision, compacted, keys, db_bytes, wal_bytes, commits, rows_written, syncs, memory_bytes;
};
void store_stats(struct store *s, struct store_stats *ret);

struct store_options {
    const struct clock *clock;
    const char *vfs; /* NULL: the system's; tests inject faults through one */
    int64_t queue_max; /* waiting transactions; 0: 4096 */
};

/* Opens the embedded engine's file at path, creating it if absent. A newer `format` is refused, an older one migrated in one
 * transaction. Owner: the caller; ends with store_close (a last commit and checkpoint).
 * Errors: IO (says what and where), UNAVAILABLE (another process has it open), INVALID (newer format). */
CHECK_RC int store_open_sqlite(const char *path, const struct store_options *options, struct store **ret, struct err *err);
void store_close(struct store *s); /* NULL is allowed; waits for the writer */

AUTO_DEFINE(store, struct store *, store_close)

#endif
