#ifndef LIB_K8S_QUANTITY_H
#define LIB_K8S_QUANTITY_H
/*
 * quantity - resource.Quantity: exact decimal or binary SI numbers. Source: k8s.io/apimachinery pkg/api/resource. Thread: any.
 */
#include "lib/bytes.h"
#include "lib/err.h"
#include "lib/json.h"

/* value * 10^-9 (nano) in 128 bits, with the format it was written in. Beyond ±10^29 units a value saturates. */
struct quantity {
    __int128 nano;
    enum { QUANTITY_DECIMAL_SI, QUANTITY_BINARY_SI, QUANTITY_DECIMAL_EXPONENT } format;
};

enum { QUANTITY_INPUT_MAX = 256 };
/* Errors: BAD_REQUEST when n > QUANTITY_INPUT_MAX; else with upstream's text ("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"). */
CHECK_RC int quantity_parse(const char *text, size_t n, struct quantity *ret, struct err *err);
enum { QUANTITY_TEXT_BYTES = 64 };
char *quantity_text(const struct quantity *q, char to[QUANTITY_TEXT_BYTES]); /* canonical form */
/* What upstream stores for `text`: the canonical form, except that it keeps some spellings as written ("1.500", "1E3", "+5"). */
CHECK_RC int quantity_stored_text(const char *text, size_t n, char to[QUANTITY_TEXT_BYTES], struct err *err);
int64_t quantity_value(const struct quantity *q);       /* rounded up; saturates */
int64_t quantity_milli(const struct quantity *q);       /* rounded up; saturates */
int quantity_cmp(const struct quantity *a, const struct quantity *b);
void quantity_add(struct quantity *a, const struct quantity *b); /* keeps a's format unless a is zero */
void quantity_sub(struct quantity *a, const struct quantity *b);
struct quantity quantity_of(int64_t value);
struct quantity quantity_of_milli(int64_t milli);
/* Of a JSON string or number; 0 for NULL or nonsense (which validation refused before). */
int64_t quantity_json_value(const json_t *v);
int64_t quantity_json_milli(const json_t *v);

#endif
