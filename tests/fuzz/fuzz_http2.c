/* HTTP/2 frames behind a correct preface: whatever comes, the server answers in whole frames and ends. */
#include "tests/fuzz/fuzz_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char PREFACE[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char empty_settings[] = { 0, 0, 0, 4, 0, 0, 0, 0, 0 };
    AUTO(buf) struct buf in = { 0 };
    AUTO(buf) struct buf answer = { 0 };

    if (n > 65536)
        return 0;
    buf_add(&in, PREFACE, sizeof(PREFACE) - 1);
    if (n && data[0] & 1) /* else the input begins with its own SETTINGS, or wrongly */
        buf_add(&in, empty_settings, sizeof(empty_settings));
    if (n)
        buf_add(&in, data + 1, n - 1);
    fuzz_exchange(buf_at(&in), buf_len(&in), &answer);
    const unsigned char *at = (const unsigned char *)buf_at(&answer), *end = at + buf_len(&answer);
    while (at < end) {
        assert(end - at >= 9);
        size_t length = (size_t)at[0] << 16 | (size_t)at[1] << 8 | at[2];
        assert(length <= 16384 && length <= (size_t)(end - at) - 9);
        at += 9 + length;
    }
    return 0;
}
