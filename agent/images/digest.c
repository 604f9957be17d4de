#include "agent/images/digest.h"

#include <stdio.h>
#include <string.h>

bool digest_ok(const char *text)
{
    return text && strncmp(text, "sha256:", DIGEST_PREFIX) == 0 && strspn(text + DIGEST_PREFIX, "0123456789abcdef") == 64 &&
           strlen(text) == DIGEST_CHARS;
}

const char *digest_hex(const char *digest)
{
    return digest + DIGEST_PREFIX;
}

void digest_text(const unsigned char hash[SHA256_BYTES], char ret[DIGEST_CHARS + 1])
{
    memcpy(ret, "sha256:", DIGEST_PREFIX);
    hex_of(hash, SHA256_BYTES, ret + DIGEST_PREFIX);
}

void digest_of(const void *data, size_t n, char ret[DIGEST_CHARS + 1])
{
    unsigned char hash[SHA256_BYTES];

    sha256_of(data, n, hash);
    digest_text(hash, ret);
}

void digest_chain(const char *below, const char *diff_id, char ret[DIGEST_CHARS + 1])
{
    char both[2 * DIGEST_CHARS + 2];

    if (!*below) {
        snprintf(ret, DIGEST_CHARS + 1, "%s", diff_id);
        return;
    }
    snprintf(both, sizeof(both), "%s %s", below, diff_id);
    digest_of(both, strlen(both), ret);
}
