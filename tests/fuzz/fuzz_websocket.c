/* Bytes of a WebSocket peer. The first chooses the role. Whole or in pieces they must give the same messages and the same end. */
#include "tests/unit/ws_peer.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { FUZZ_MESSAGE_MAX = 1000 };

static void run(struct loop *l, const uint8_t *data, size_t n, size_t step, bool client, struct ws_peer *p)
{
    char answer[512];

    ws_peer_new(p, l, client, FUZZ_MESSAGE_MAX);
    p->quiet = true;
    for (size_t at = 0; at < n; at += step)
        ws_peer_put(p, data + at, n - at < step ? n - at : step);
    shutdown(p->fd, SHUT_WR);
    while (recv(p->fd, answer, sizeof(answer), 0) > 0)
        ;
    ws_peer_end(p);
    assert(p->bytes <= n && p->largest <= FUZZ_MESSAGE_MAX);
    assert(p->code >= 1000 && p->code < 5000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ws_peer whole = { 0 }, cut = { 0 };
    struct loop *l = NULL;
    struct err err;

    if (n == 0 || n > 16384)
        return 0;
    int rc = loop_new("fuzz", &l, &err);
    assert(rc == 0);
    run(l, data + 1, n - 1, n, data[0] & 1, &whole);
    run(l, data + 1, n - 1, 3, data[0] & 1, &cut);
    assert(whole.messages == cut.messages && whole.bytes == cut.bytes && whole.code == cut.code);
    loop_free(l);
    return 0;
}
