#include "lib/err.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    int http;
    const char *reason;
} codes[] = {
    [ERR_NONE] = { 200, "" },
#define X(name, http, reason) [ERR_##name] = { http, reason },
    ERR_CODES(X)
#undef X
};

static enum err_code code_of_errno(int sys)
{
    switch (sys) {
    case ENOENT: return ERR_NOT_FOUND;
    case EEXIST: return ERR_EXISTS;
    case EACCES:
    case EPERM:  return ERR_FORBIDDEN;
    case EAGAIN: return ERR_UNAVAILABLE;
    default:     return ERR_IO;
    }
}

int err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
    va_list args;

    assert(code != ERR_NONE);
    *err = (struct err){ .code = code };
    va_start(args, fmt);
    vsnprintf(err->msg, sizeof(err->msg), fmt, args);
    va_end(args);
    return -(int)code;
}

int err_sys(struct err *err, int sys, const char *fmt, ...)
{
    char what[ERR_MSG_BYTES / 2];
    va_list args;

    assert(sys > 0);
    va_start(args, fmt);
    vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);

    *err = (struct err){ .code = code_of_errno(sys), .sys = sys };
    snprintf(err->msg, sizeof(err->msg), "%s: %s", what, strerrordesc_np(sys));
    return -(int)err->code;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
    static const char sep[] = ": ";
    char what[ERR_MSG_BYTES + sizeof(sep)];
    size_t cause = strlen(err->msg), room = sizeof(err->msg) - 1 - cause;
    va_list args;

    assert(err->code != ERR_NONE);
    va_start(args, fmt);
    vsnprintf(what, ERR_MSG_BYTES, fmt, args);
    va_end(args);

    size_t n = strlen(what);
    memcpy(what + n, sep, sizeof(sep));
    n += sizeof(sep) - 1;
    if (n > room)
        n = room;
    memmove(err->msg + n, err->msg, cause + 1);
    memcpy(err->msg, what, n);
    return -(int)err->code;
}

static enum err_code code_for_client(const struct err *err)
{
    return err->sys ? ERR_IO : err->code;
}

enum err_code err_code_of(int http, const char *reason)
{
    for (int i = 1; reason && *reason && i < ERR_CODE_COUNT; i++)
        if (codes[i].http == http && strcmp(codes[i].reason, reason) == 0)
            return (enum err_code)i;
    for (int i = 1; i < ERR_CODE_COUNT; i++)
        if (codes[i].http == http)
            return (enum err_code)i;
    return http >= 500 ? ERR_IO : ERR_BAD_REQUEST;
}

int err_http(const struct err *err)
{
    return codes[code_for_client(err)].http;
}

const char *err_reason(const struct err *err)
{
    return codes[code_for_client(err)].reason;
}
