#ifndef TESTS_STORE_VFS_H
#define TESTS_STORE_VFS_H
/*
 * store_vfs - a SQLite VFS over the system's that fails on demand and knows what a power cut would leave.
 *
 * Thread: any; SQLite calls it from the writer and the readers. One at a time in a process.
 */
#include <stdbool.h>
#include <stdint.h>

struct store_vfs;

struct store_vfs *store_vfs_new(const char *name);
void store_vfs_free(struct store_vfs *v); /* no file is open any more */

/* Writes, syncs and truncations are counted. From the nth on (1: the next), `times` of them fail with `code`
 * (SQLITE_FULL, SQLITE_IOERR_FSYNC, …; only syncs when only_syncs). */
void store_vfs_fail(struct store_vfs *v, int64_t nth, int64_t times, int code, bool only_syncs);
int64_t store_vfs_ops(struct store_vfs *v); /* since the last call of store_vfs_fail */

/* Remembers from now on what was not synced. Call before files are opened. */
void store_vfs_track(struct store_vfs *v);
/* Writes what a power cut at this moment would leave to `path` and `path`-wal: all that was synced, and of the rest what
 * the seed says, pages torn in the middle included. */
void store_vfs_power_cut(struct store_vfs *v, const char *path, unsigned seed);

#endif
