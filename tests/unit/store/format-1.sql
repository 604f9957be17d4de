-- What a datastore of format 1 holds: two keys, one of them with history, one deleted, a compaction at 3.
-- Revision r is id r << 16. Written once; a later format migrates it, it is never edited.
PRAGMA page_size=4096;
PRAGMA auto_vacuum=INCREMENTAL;
PRAGMA journal_mode=WAL;
BEGIN;
CREATE TABLE log(id INTEGER PRIMARY KEY, key BLOB NOT NULL, create_revision INTEGER NOT NULL, version INTEGER NOT NULL, deleted INTEGER NOT NULL, expiry INTEGER NOT NULL, prev INTEGER NOT NULL, facts BLOB, value BLOB);
CREATE TABLE current(key BLOB PRIMARY KEY, id INTEGER NOT NULL, create_revision INTEGER NOT NULL, version INTEGER NOT NULL, expiry INTEGER NOT NULL, facts BLOB) WITHOUT ROWID;
CREATE TABLE history(key BLOB NOT NULL, id INTEGER NOT NULL, stop INTEGER NOT NULL, PRIMARY KEY(key, id)) WITHOUT ROWID;
CREATE TABLE expiry(at INTEGER NOT NULL, id INTEGER NOT NULL, PRIMARY KEY(at, id)) WITHOUT ROWID;
CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO log VALUES(3<<16, X'2f61', 2, 2, 0, 0, 2<<16, NULL, X'6f6e65');
INSERT INTO log VALUES(4<<16, X'2f62', 4, 1, 0, 4102444800000, 0, X'66', X'74776f');
INSERT INTO log VALUES(5<<16, X'2f61', 2, 3, 0, 0, 3<<16, NULL, X'7468726565');
INSERT INTO log VALUES(6<<16, X'2f63', 6, 1, 0, 0, 0, NULL, X'78');
INSERT INTO log VALUES(7<<16, X'2f63', 6, 1, 1, 0, 6<<16, NULL, NULL);
INSERT INTO current VALUES(X'2f61', 5<<16, 2, 3, 0, NULL), (X'2f62', 4<<16, 4, 1, 4102444800000, X'66');
INSERT INTO history VALUES(X'2f61', 3<<16, 5<<16), (X'2f63', 6<<16, 7<<16);
INSERT INTO expiry VALUES(4102444800000, 4<<16);
INSERT INTO meta VALUES('compacted', 3), ('compact_pos', (4<<16) - 1);
PRAGMA user_version=1;
PRAGMA application_id=1919837028;
COMMIT;
