#include "lib/crypto.h"
#include "tests/unit/ws_peer.h"

enum { MAX_BYTES = 200000 };

static void auto_http_headers(struct http_headers *h)
{
    http_headers_clear(h);
}

static struct loop *start_loop(void)
{
    struct loop *l = NULL;
    struct err err = { 0 };

    CHECK_INT(loop_new("ws", &l, &err), 0);
    return l;
}

/* What the other side would write: one frame. */
static void frame(struct buf *to, int first, const char *data, size_t n, bool masked)
{
    static const unsigned char mask[4] = { 0x37, 0xfa, 0x21, 0x3d };

    buf_char(to, (char)first);
    buf_char(to, (char)((masked ? 0x80 : 0) | (n > 65535 ? 127 : n > 125 ? 126 : n)));
    for (int i = (n > 65535 ? 8 : n > 125 ? 2 : 0); i-- > 0;)
        buf_char(to, (char)((uint64_t)n >> (8 * i)));
    if (masked)
        buf_add(to, mask, 4);
    for (size_t i = 0; i < n; i++)
        buf_char(to, (char)(data[i] ^ (masked ? mask[i % 4] : 0)));
}

static void put_frame(struct ws_peer *p, int first, const char *data, size_t n)
{
    AUTO(buf) struct buf b = { 0 };

    frame(&b, first, data, n, !p->client);
    ws_peer_put(p, buf_at(&b), buf_len(&b));
}

TEST(websocket_frames_of_the_rfc)
{
    static const unsigned char masked_hello[] = { 0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58 };
    static const unsigned char hel[] = { 0x01, 0x03, 'H', 'e', 'l' }, lo[] = { 0x80, 0x02, 'l', 'o' };
    static const unsigned char ping[] = { 0x89, 0x05, 'H', 'e', 'l', 'l', 'o' };
    struct loop *l = start_loop();
    struct ws_peer server = { 0 }, client = { 0 };
    unsigned char pong[11];

    ws_peer_new(&server, l, false, MAX_BYTES);
    for (size_t i = 0; i < sizeof(masked_hello); i++)
        ws_peer_put(&server, &masked_hello[i], 1);
    ws_peer_await(&server, 1);
    CHECK_STR(buf_at(&server.log), "1:Hello|");
    ws_peer_end(&server);
    CHECK_INT(server.code, 1006);

    ws_peer_new(&client, l, true, MAX_BYTES);
    ws_peer_put(&client, hel, sizeof(hel));
    ws_peer_put(&client, ping, sizeof(ping));
    ws_peer_put(&client, lo, sizeof(lo));
    ws_peer_await(&client, 1);
    CHECK_STR(buf_at(&client.log), "1:Hello|");
    ws_peer_get(&client, pong, sizeof(pong));
    CHECK_INT(pong[0], 0x8a);
    CHECK_INT(pong[1], 0x85);
    for (int i = 0; i < 5; i++)
        CHECK_INT(pong[6 + i] ^ pong[2 + i % 4], "Hello"[i]);
    ws_peer_end(&client);
    loop_free(l);
}

/* Every length at which the form of the header changes, to and fro. */
TEST(websocket_lengths)
{
    static const size_t lengths[] = { 0, 1, 125, 126, 127, 4096, 4097, 65535, 65536, MAX_BYTES };
    static char data[MAX_BYTES];
    struct loop *l = start_loop();
    struct ws_peer p = { .echo = true, .quiet = true };
    AUTO(buf) struct buf want = { 0 };

    random_bytes(data, sizeof(data));
    ws_peer_new(&p, l, false, MAX_BYTES);
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        char *got = mem_alloc(MAX_BYTES + 16);

        put_frame(&p, 0x82, data, lengths[i]);
        buf_cut(&want, 0);
        frame(&want, 0x82, data, lengths[i], false);
        ws_peer_get(&p, got, buf_len(&want));
        CHECK(memcmp(got, buf_at(&want), buf_len(&want)) == 0);
        free(got);
    }
    ws_peer_end(&p);
    loop_free(l);
}

struct sending {
    struct ws_peer *from;
    const char *data;
    size_t n;
};

static void send_many(void *arg)
{
    struct sending *s = arg;

    for (size_t n = 0; n < s->n; n = n * 2 + 1)
        ws_send(s->from->ws, WS_BINARY, s->data, n);
    ws_send(s->from->ws, WS_TEXT, "last", 4);
    ws_close(s->from->ws, 1000, NULL);
    ws_send(s->from->ws, WS_TEXT, "never", 5);
}

/* A client and a server of ours: masks come off again, whatever the length. */
TEST(websocket_client_to_server)
{
    static char data[MAX_BYTES];
    struct loop *l = start_loop();
    struct ws_peer client = { .fd = -1 }, server = { .fd = -1 };
    int ends[2];
    size_t count = 1;
    AUTO(buf) struct buf want = { 0 };

    random_bytes(data, sizeof(data));
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    ws_peer_on(&client, l, ends[0], true, MAX_BYTES);
    ws_peer_on(&server, l, ends[1], false, MAX_BYTES);
    struct sending s = { &client, data, MAX_BYTES };
    for (size_t n = 0; n < MAX_BYTES; n = n * 2 + 1, count++) {
        buf_str(&want, "2:");
        buf_add(&want, data, n);
        buf_char(&want, '|');
    }
    buf_str(&want, "1:last|");
    ws_peer_await_ready(&client);
    loop_post(l, send_many, &s);
    ws_peer_await(&server, count);
    CHECK_INT(buf_len(&server.log), buf_len(&want));
    CHECK(memcmp(buf_at(&server.log), buf_at(&want), buf_len(&want)) == 0);
    ws_peer_end(&client);
    ws_peer_end(&server);
    CHECK_INT(client.code, 1000);
    CHECK_INT(server.code, 1000);
    loop_free(l);
}

/* What breaks the protocol is answered with a close frame that says so. */
TEST(websocket_refuses)
{
    static const struct {
        const char *what;
        bool client;
        const char *bytes;
        size_t n;
        int code;
        const char *reason;
    } cases[] = {
        { "reserved bit", true, "\xc1\x00", 2, 1002, "reserved bits are set" },
        { "unmasked", false, "\x81\x01x", 3, 1002, "frame is not masked" },
        { "masked", true, "\x81\x81\0\0\0\0x", 7, 1002, "frame is masked" },
        { "data opcode", true, "\x83\x00", 2, 1002, "unknown opcode" },
        { "control opcode", true, "\x8b\x00", 2, 1002, "unknown opcode" },
        { "long ping", true, "\x89\x7e\x00\x7e", 4, 1002, "control frame is fragmented or too long" },
        { "ping in parts", true, "\x09\x00", 2, 1002, "control frame is fragmented or too long" },
        { "continuation", true, "\x80\x00", 2, 1002, "continuation of no message" },
        { "message within", true, "\x01\x01x\x81\x01y", 6, 1002, "message within a message" },
        { "one byte of code", true, "\x88\x01x", 3, 1002, "bad close code" },
        { "code 1005", true, "\x88\x02\x03\xed", 4, 1002, "bad close code" },
        { "code 999", true, "\x88\x02\x03\xe7", 4, 1002, "bad close code" },
        { "code 5000", true, "\x88\x02\x13\x88", 4, 1002, "bad close code" },
        { "text", true, "\x81\x02" "a\xff", 4, 1007, "text is not UTF-8" },
        { "text over fragments", true, "\x01\x01\xc3\x80\x01\x28", 6, 1007, "text is not UTF-8" },
        { "reason", true, "\x88\x03\x03\xe8\xff", 5, 1007, "close reason is not UTF-8" },
        { "one too many", true, "\x82\x0b", 2, 1009, "message is too big" },
        { "one too many in parts", true, "\x02\x06" "abcdef\x80\x05", 10, 1009, "message is too big" },
        { "huge", true, "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", 10, 1009, "message is too big" },
    };
    struct loop *l = start_loop();

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct ws_peer p = { 0 };
        char got[160] = "";

        ws_peer_new(&p, l, cases[i].client, 10);
        ws_peer_put(&p, cases[i].bytes, cases[i].n);
        ssize_t n = recv(p.fd, got, sizeof(got) - 1, MSG_WAITALL);
        fprintf(n > 4 ? stdout : stderr, "# %s\n", cases[i].what);
        CHECK(n > 4 && (got[0] & 0xff) == 0x88);
        char *payload = got + 2 + (cases[i].client ? 4 : 0);
        for (int k = 0; cases[i].client && k < n - 6; k++)
            payload[k] = (char)(payload[k] ^ got[2 + k % 4]);
        CHECK_INT((unsigned char)payload[0] << 8 | (unsigned char)payload[1], cases[i].code);
        CHECK_STR(payload + 2, cases[i].reason);
        CHECK_INT(p.messages, 0);
        ws_peer_end(&p);
        CHECK_INT(p.code, cases[i].code);
    }
    loop_free(l);
}

TEST(websocket_takes_up_to_its_limit)
{
    struct loop *l = start_loop();
    struct ws_peer p = { 0 };

    ws_peer_new(&p, l, false, 10);
    put_frame(&p, 0x82, "0123456789", 10);
    put_frame(&p, 0x02, "01234", 5);
    put_frame(&p, 0x00, "", 0);
    put_frame(&p, 0x80, "56789", 5);
    put_frame(&p, 0x81, "", 0);
    put_frame(&p, 0x01, "\xc3", 1); /* a character may be cut by a fragment */
    put_frame(&p, 0x80, "\xa4", 1);
    ws_peer_await(&p, 4);
    CHECK_STR(buf_at(&p.log), "2:0123456789|2:0123456789|1:|1:\xc3\xa4|");
    ws_peer_end(&p);
    loop_free(l);
}

TEST(websocket_answers_a_close)
{
    static const struct {
        const char *payload;
        size_t n;
        int code;
        const char *answer;
        size_t n_answer;
    } cases[] = {
        { "\x03\xe8" "bye", 5, 1000, "\x88\x02\x03\xe8", 4 },
        { "\x0f\xa0", 2, 4000, "\x88\x02\x0f\xa0", 4 },
        { "", 0, 1005, "\x88\x00", 2 },
    };
    struct loop *l = start_loop();

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct ws_peer p = { 0 };
        AUTO(buf) struct buf b = { 0 };
        char got[16];

        ws_peer_new(&p, l, false, 100);
        frame(&b, 0x88, cases[i].payload, cases[i].n, true);
        frame(&b, 0x81, "late", 4, true);
        ws_peer_put(&p, buf_at(&b), buf_len(&b));
        CHECK_INT(recv(p.fd, got, sizeof(got), MSG_WAITALL), cases[i].n_answer); /* then the end of stream */
        CHECK(memcmp(got, cases[i].answer, cases[i].n_answer) == 0);
        ws_peer_end(&p);
        CHECK_INT(p.code, cases[i].code);
        CHECK_INT(p.messages, 0);
    }
    loop_free(l);
}

static void close_long(void *arg)
{
    struct ws_peer *p = arg;
    char reason[200];

    memset(reason, 'x', sizeof(reason));
    memcpy(reason + 122, "\xc3\xa4", 2); /* would be cut in two */
    reason[199] = '\0';
    ws_close(p->ws, 1001, reason);
    ws_close(p->ws, 1002, "again");
}

TEST(websocket_closes_and_waits_for_the_answer)
{
    struct loop *l = start_loop();
    struct ws_peer p = { 0 };
    unsigned char got[126];

    ws_peer_new(&p, l, false, 100);
    ws_peer_await_ready(&p);
    loop_post(l, close_long, &p);
    ws_peer_get(&p, got, 2 + 2 + 122);
    CHECK_INT(got[1], 124);
    CHECK_INT(got[2] << 8 | got[3], 1001);
    CHECK_INT(got[125], 'x');
    put_frame(&p, 0x81, "dropped", 7);
    put_frame(&p, 0x88, "\x03\xe9", 2);
    CHECK_INT(recv(p.fd, got, 1, 0), 0);
    ws_peer_end(&p);
    CHECK_INT(p.code, 1001);
    CHECK_INT(p.messages, 0);
    loop_free(l);
}

static void resume(void *arg)
{
    ws_resume(((struct ws_peer *)arg)->ws);
}

/* Many messages in one piece, one at a time. */
TEST(websocket_pauses_between_messages)
{
    struct loop *l = start_loop();
    struct ws_peer p = { .pause_each = true };
    AUTO(buf) struct buf b = { 0 };
    AUTO(buf) struct buf want = { 0 };

    ws_peer_new(&p, l, false, 100);
    for (int i = 0; i < 100; i++) {
        char text[8];
        int n = snprintf(text, sizeof(text), "%d", i);

        frame(&b, 0x81, i % 10 ? text : "", i % 10 ? (size_t)n : 0, true);
        buf_printf(&want, "1:%s|", i % 10 ? text : "");
    }
    ws_peer_put(&p, buf_at(&b), buf_len(&b));
    for (size_t i = 1; i <= 100; i++) {
        ws_peer_await(&p, i);
        if (i % 25 == 0)
            usleep(2000); /* what must not come would have time to */
        pthread_mutex_lock(&p.lock);
        CHECK_INT(p.messages, i);
        pthread_mutex_unlock(&p.lock);
        loop_post(l, resume, &p);
    }
    CHECK_STR(buf_at(&p.log), buf_at(&want));
    ws_peer_end(&p);
    loop_free(l);
}

TEST(websocket_handshake)
{
    static const char *const protocols[] = { "v5.channel.k8s.io", "v4.channel.k8s.io", NULL };
    AUTO(http_headers) struct http_headers request = { 0 };
    AUTO(http_headers) struct http_headers answer = { 0 };
    const char *protocol = "unset";
    struct err err = { 0 };

    CHECK_INT(ws_accept(&request, protocols, &answer, &protocol, &err), -ERR_BAD_REQUEST);
    http_headers_set(&request, "Connection", "keep-alive, Upgrade");
    http_headers_set(&request, "Upgrade", "WebSocket");
    http_headers_set(&request, "Sec-WebSocket-Version", "8");
    CHECK_INT(ws_accept(&request, protocols, &answer, &protocol, &err), -ERR_BAD_REQUEST);
    CHECK_STR(http_headers_get(&answer, "sec-websocket-version"), "13");
    http_headers_clear(&answer);
    http_headers_set(&request, "Sec-WebSocket-Version", "13");
    http_headers_set(&request, "Sec-WebSocket-Key", "dG9vIHNob3J0");
    CHECK_INT(ws_accept(&request, protocols, &answer, &protocol, &err), -ERR_BAD_REQUEST);
    http_headers_set(&request, "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    http_headers_set(&request, "Sec-WebSocket-Protocol", "chat");
    CHECK_INT(ws_accept(&request, protocols, &answer, &protocol, &err), -ERR_BAD_REQUEST);
    CHECK_INT(answer.n, 0);
    CHECK_STR(protocol, "unset");
    http_headers_set(&request, "Sec-WebSocket-Protocol", "chat, v4.channel.k8s.io");
    http_headers_add(&request, "Sec-WebSocket-Protocol", "v5.channel.k8s.io");
    CHECK_INT(ws_accept(&request, protocols, &answer, &protocol, &err), 0);
    CHECK_STR(protocol, "v5.channel.k8s.io");
    CHECK_STR(http_headers_get(&answer, "sec-websocket-protocol"), "v5.channel.k8s.io");
    CHECK_STR(http_headers_get(&answer, "sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="); /* RFC 6455 section 1.3 */
    CHECK_INT(ws_check("dGhlIHNhbXBsZSBub25jZQ==", &answer, &err), 0);
    CHECK_INT(ws_check("AAAAIHNhbXBsZSBub25jZQ==", &answer, &err), -ERR_BAD_REQUEST);
}

TEST(websocket_handshake_of_both_ends)
{
    static const char *const protocols[] = { "v4.channel.k8s.io", NULL };
    AUTO(http_headers) struct http_headers request = { 0 };
    AUTO(http_headers) struct http_headers answer = { 0 };
    const char *protocol = "unset";
    struct err err = { 0 };
    char key[32];

    ws_offer(NULL, key, &request);
    CHECK_INT(ws_accept(&request, protocols, &answer, &protocol, &err), 0);
    CHECK(protocol == NULL);
    CHECK(http_headers_get(&answer, "sec-websocket-protocol") == NULL);
    CHECK_INT(ws_check(key, &answer, &err), 0);
    ws_offer((const char *const[]){ "a", "v4.channel.k8s.io", NULL }, key, &request);
    CHECK_INT(ws_accept(&request, protocols, &answer, &protocol, &err), 0);
    CHECK(protocol == protocols[0]);
    CHECK_INT(ws_check(key, &answer, &err), 0);
}
