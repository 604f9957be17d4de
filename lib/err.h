#ifndef LIB_ERR_H
#define LIB_ERR_H
/*
 * err - one failure: a code the program acts on, a message a person reads.
 *
 * The caller owns the storage (normally on its stack), so reporting a failure
 * never allocates. Every fallible function takes `struct err *err` last, never
 * NULL, and returns 0 or -(enum err_code). On success *err is left untouched.
 *
 * Source: k8s.io/apimachinery pkg/apis/meta/v1 StatusReason, for the reasons.
 */
#define ERR_CODES(X)                                                          \
    /* name           HTTP  Kubernetes reason */                              \
    X(BAD_REQUEST,    400, "BadRequest")                                      \
    X(UNAUTHORIZED,   401, "Unauthorized")                                    \
    X(FORBIDDEN,      403, "Forbidden")                                       \
    X(NOT_FOUND,      404, "NotFound")                                        \
    X(METHOD,         405, "MethodNotAllowed")                                \
    X(NOT_ACCEPTABLE, 406, "NotAcceptable")                                   \
    X(EXISTS,         409, "AlreadyExists")                                   \
    X(CONFLICT,       409, "Conflict")                                        \
    X(EXPIRED,        410, "Expired")                                         \
    X(GONE,           410, "Gone")                                            \
    X(TOO_LARGE,      413, "RequestEntityTooLarge")                           \
    X(MEDIA_TYPE,     415, "UnsupportedMediaType")                            \
    X(INVALID,        422, "Invalid")                                         \
    X(TOO_MANY,       429, "TooManyRequests")                                 \
    X(IO,             500, "InternalError")                                   \
    X(SERVER_TIMEOUT, 500, "ServerTimeout")                                   \
    X(UNAVAILABLE,    503, "ServiceUnavailable")                              \
    X(TIMEOUT,        504, "Timeout")                                         \
    X(CANCELED,       500, "InternalError")

enum err_code {
    ERR_NONE = 0,
#define X(name, http, reason) ERR_##name,
    ERR_CODES(X)
#undef X
    ERR_CODE_COUNT
};

enum { ERR_MSG_BYTES = 512 };

struct k8s_status; /* lib/k8s/status.h: the full Status, where there is more to say than a message */

struct err {
    enum err_code code;
    int sys; /* errno behind it, or 0 */
    const struct k8s_status *status; /* in the request's arena, or NULL; dropped by err_set, kept by err_wrap */
    char msg[ERR_MSG_BYTES];
};

#define CHECK_RC __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* Says that this failure does not matter here; write why beside it. A cast to
 * (void) is not enough: gcc goes on warning. */
#define ERR_IGNORE(call)                                                      \
    do {                                                                      \
        if ((call) < 0) {                                                     \
        }                                                                     \
    } while (0)

/* Starts a failure. Returns -code, so `return err_set(...)` is one line. */
CHECK_RC int err_set(struct err *err, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Starts a failure from a system call; `sys` is the errno to record (> 0). */
CHECK_RC int err_sys(struct err *err, int sys, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Puts "what I was doing" in front of the message, and keeps the code. When
 * room runs out the new words are cut, never the original cause. */
CHECK_RC int err_wrap(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* What an API client is told. A failed system call is ours, not the client's,
 * whatever its code: it is always 500 and "InternalError". */
int err_http(const struct err *err);
const char *err_reason(const struct err *err); /* static string */

/* The code for a remote's answer: by reason when it is one of the table's, else by HTTP status. */
enum err_code err_code_of(int http, const char *reason);

#endif
