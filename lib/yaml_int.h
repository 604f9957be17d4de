#ifndef LIB_YAML_INT_H
#define LIB_YAML_INT_H
/*
 * yaml_int - what a YAML 1.1 scalar means, as go-yaml v2 (the parser under sigs.k8s.io/yaml) sees it.
 */
#include "lib/json_int.h"

enum yaml_kind {
    YAML_IS_STRING,
    YAML_IS_NULL,
    YAML_IS_BOOL,
    YAML_IS_INT,
    YAML_IS_UINT, /* beyond int64 */
    YAML_IS_FLOAT,
    YAML_IS_ODD_FLOAT, /* .inf, -.inf, .nan: JSON has no word for them */
    YAML_IS_TIMESTAMP, /* stays a string in JSON */
    YAML_IS_MERGE,     /* << */
};

struct yaml_scalar {
    enum yaml_kind kind;
    union {
        bool b;
        int64_t i;
        uint64_t u;
        double f;
    };
};

/* What untagged plain text is. */
struct yaml_scalar yaml_resolve(struct slice text);
/* What text under a tag is (long form, e.g. tag:yaml.org,2002:int); unknown tags give strings.
 * Errors: BAD_REQUEST when the text is not what the tag says. */
CHECK_RC int yaml_resolve_tagged(struct slice text, const char *tag, struct yaml_scalar *ret, struct err *err);
/* 1:20:30 and the like: numbers to other parsers, so quoted on the way out. */
bool yaml_is_base60(struct slice text);

#endif
