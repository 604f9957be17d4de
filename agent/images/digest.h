#ifndef AGENT_IMAGES_DIGEST_H
#define AGENT_IMAGES_DIGEST_H
/* digest - "sha256:<64 lower-case hex digits>", the only algorithm we take. Thread: any. Source: OCI image-spec 1.1, descriptor. */
#include "lib/crypto.h"
#include "lib/err.h"

#include <stdbool.h>

enum { DIGEST_PREFIX = 7, DIGEST_CHARS = DIGEST_PREFIX + 64 };

bool digest_ok(const char *text);            /* NULL is none */
const char *digest_hex(const char *digest);  /* the 64 digits; of a good digest */
void digest_text(const unsigned char hash[SHA256_BYTES], char ret[DIGEST_CHARS + 1]);
void digest_of(const void *data, size_t n, char ret[DIGEST_CHARS + 1]);
/* The name of a stack of layers: of the first its diff id, then sha256(below + " " + diff id). below "" for the first. */
void digest_chain(const char *below, const char *diff_id, char ret[DIGEST_CHARS + 1]);

#endif
