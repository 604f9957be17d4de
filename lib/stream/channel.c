#include "lib/stream/channel.h"

#include "lib/crypto.h"
#include "lib/json.h"

#include <string.h>
#include <strings.h>

enum { RESIZE_MAX_BYTES = 4096, CLOSE_SIGNAL = 255, SIZE_MAX_CELLS = 65535 };

void channel_encode(const struct channel_codec *codec, int channel, const void *data, size_t n, struct buf *to)
{
    buf_char(to, (char)(codec->base64 ? '0' + channel : channel));
    if (codec->base64)
        base64_write(data, n, to);
    else
        buf_add(to, data, n);
}

int channel_decode(const struct channel_codec *codec, const char *message, size_t n, struct buf *scratch, struct channel_message *ret,
                   struct err *err)
{
    struct channel_message m = { .channel = -1 };
    unsigned char first = n ? (unsigned char)message[0] : 0;

    if (n == 0) {
        *ret = m;
        return 0;
    }
    if (codec->v5 && first == CLOSE_SIGNAL) {
        if (n != 2)
            return err_set(err, ERR_BAD_REQUEST, "a single channel byte should follow the stream close signal");
        m.close = true;
        m.channel = (unsigned char)message[1];
        *ret = m;
        return 0;
    }
    m.channel = codec->base64 ? first - '0' : first;
    m.data = (struct slice){ message + 1, n - 1 };
    if (codec->base64) {
        if (m.channel < 0)
            return err_set(err, ERR_BAD_REQUEST, "no channel digit at the head of the message");
        buf_cut(scratch, 0);
        if (base64_read(message + 1, n - 1, scratch) < 0)
            return err_set(err, ERR_BAD_REQUEST, "the message is not base64");
        m.data = (struct slice){ buf_at(scratch), buf_len(scratch) };
    }
    *ret = m;
    return 0;
}

void channel_exit_status(bool json, int exit_code, struct buf *to)
{
    if (json && exit_code == 0) {
        buf_str(to, "{\"metadata\":{},\"status\":\"Success\"}");
    } else if (json) {
        buf_printf(to,
                   "{\"metadata\":{},\"status\":\"Failure\",\"message\":\"command terminated with non-zero exit code: exit status %d\","
                   "\"reason\":\"NonZeroExitCode\",\"details\":{\"causes\":[{\"reason\":\"ExitCode\",\"message\":\"%d\"}]}}",
                   exit_code, exit_code);
    } else if (exit_code) {
        buf_printf(to, "command terminated with non-zero exit code: exit status %d", exit_code);
    }
}

void channel_fail_status(bool json, const char *what, const struct err *why, struct buf *to)
{
    AUTO(buf) struct buf cause = { 0 }, message = { 0 };

    buf_printf(&cause, "%s: %s", what, why->msg);
    buf_printf(&message, "Internal error occurred: %s", buf_at(&cause));
    if (!json) {
        buf_str(to, buf_at(&message));
        return;
    }
    buf_str(to, "{\"metadata\":{},\"status\":\"Failure\",\"message\":");
    json_write_string((struct slice){ buf_at(&message), buf_len(&message) }, to);
    buf_str(to, ",\"reason\":\"InternalError\",\"details\":{\"causes\":[{\"message\":");
    json_write_string((struct slice){ buf_at(&cause), buf_len(&cause) }, to);
    buf_str(to, "}]},\"code\":500}");
}

static int cells(const json_t *v)
{
    json_int_t n = json_integer_value(v);

    return json_is_integer(v) && n >= 0 && n <= SIZE_MAX_CELLS ? (int)n : -1;
}

/* Go takes member names in any case. */
static int read_size(const char *text, size_t n, int *ret_cols, int *ret_rows, struct err *err)
{
    AUTO(json) json_t *size = NULL;
    int cols = 0, rows = 0, rc = json_read(text, n, NULL, NULL, &size, err);
    const char *name;
    json_t *v;

    if (rc < 0)
        return err_wrap(err, "terminal size");
    json_object_foreach(size, name, v) {
        if (strcasecmp(name, "width") == 0)
            cols = cells(v);
        else if (strcasecmp(name, "height") == 0)
            rows = cells(v);
    }
    if (cols < 0 || rows < 0)
        return err_set(err, ERR_BAD_REQUEST, "terminal size out of range");
    *ret_cols = cols;
    *ret_rows = rows;
    return 0;
}

int channel_resize(struct buf *pending, int *ret_cols, int *ret_rows, struct err *err)
{
    const char *at = buf_at(pending), *end = memchr(at, '}', buf_len(pending));

    if (!end)
        return buf_len(pending) > RESIZE_MAX_BYTES ? err_set(err, ERR_BAD_REQUEST, "terminal size over %d bytes", RESIZE_MAX_BYTES) : 0;
    size_t n = (size_t)(end - at) + 1;
    int rc = n > RESIZE_MAX_BYTES ? err_set(err, ERR_BAD_REQUEST, "terminal size over %d bytes", RESIZE_MAX_BYTES)
                                  : read_size(at, n, ret_cols, ret_rows, err);

    buf_drop(pending, n);
    return rc < 0 ? rc : 1;
}
