/* Messages of the channel protocols, terminal sizes, exit statuses. */
#include "lib/stream/channel.h"
#include "tests/unit/test.h"

TEST(channel_messages)
{
    static const struct {
        struct channel_codec codec;
        const char *message;
        size_t n;
        int rc, channel;
        bool close;
        const char *data;
    } cases[] = {
        { { 0 }, "\0hi", 3, 0, 0, false, "hi" },
        { { 0 }, "\4", 1, 0, 4, false, "" },
        { { 0 }, "", 0, 0, -1, false, "" },
        { { 0 }, "\xff\0", 2, 0, 255, false, NULL },
        { { .v5 = true }, "\xff\0", 2, 0, 0, true, "" },
        { { .v5 = true }, "\xff", 1, -ERR_BAD_REQUEST, 0, false, NULL },
        { { .v5 = true }, "\xff\0\0", 3, -ERR_BAD_REQUEST, 0, false, NULL },
        { { .base64 = true }, "0aGk=", 5, 0, 0, false, "hi" },
        { { .base64 = true }, "4", 1, 0, 4, false, "" },
        { { .base64 = true }, "0a!", 3, -ERR_BAD_REQUEST, 0, false, NULL },
        { { .base64 = true }, "\0aGk=", 5, -ERR_BAD_REQUEST, 0, false, NULL },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(buf) struct buf scratch = { 0 }, again = { 0 };
        struct channel_message m = { 0 };
        struct err err;

        CHECK_INT(channel_decode(&cases[i].codec, cases[i].message, cases[i].n, &scratch, &m, &err), cases[i].rc);
        if (cases[i].rc < 0)
            continue;
        CHECK_INT(m.channel, cases[i].channel);
        CHECK_INT(m.close, cases[i].close);
        if (!cases[i].data)
            continue;
        CHECK(slice_is(m.data, cases[i].data));
        if (m.channel < 0 || m.close)
            continue;
        channel_encode(&cases[i].codec, m.channel, m.data.at, m.data.n, &again);
        CHECK(buf_len(&again) == cases[i].n && memcmp(buf_at(&again), cases[i].message, cases[i].n) == 0);
    }
}

TEST(channel_sizes)
{
    AUTO(buf) struct buf pending = { 0 };
    int cols = 0, rows = 0;
    struct err err;

    buf_str(&pending, "{\"Width\":80,\"Height\":24}\n{\"height\":2,\"width\":1}{\"Width\":3");
    CHECK_INT(channel_resize(&pending, &cols, &rows, &err), 1);
    CHECK_INT(cols, 80);
    CHECK_INT(rows, 24);
    CHECK_INT(channel_resize(&pending, &cols, &rows, &err), 1);
    CHECK_INT(cols, 1);
    CHECK_INT(rows, 2);
    CHECK_INT(channel_resize(&pending, &cols, &rows, &err), 0);
    buf_str(&pending, "00000}");
    CHECK_INT(channel_resize(&pending, &cols, &rows, &err), -ERR_BAD_REQUEST); /* no terminal is that wide */
    buf_str(&pending, "no json}");
    CHECK_INT(channel_resize(&pending, &cols, &rows, &err), -ERR_BAD_REQUEST);
    for (int i = 0; i <= 4096; i++) {
        CHECK_INT(channel_resize(&pending, &cols, &rows, &err), 0);
        buf_char(&pending, 'x');
    }
    CHECK_INT(channel_resize(&pending, &cols, &rows, &err), -ERR_BAD_REQUEST);
}

TEST(channel_statuses)
{
    AUTO(buf) struct buf to = { 0 };
    struct err err;

    channel_exit_status(false, 0, &to);
    CHECK_INT((int64_t)buf_len(&to), 0);
    channel_exit_status(false, 7, &to);
    CHECK_STR(buf_at(&to), "command terminated with non-zero exit code: exit status 7");
    buf_cut(&to, 0);
    ERR_IGNORE(err_set(&err, ERR_IO, "why"));
    channel_fail_status(false, "error attaching to container", &err, &to);
    CHECK_STR(buf_at(&to), "Internal error occurred: error attaching to container: why");
}
