#ifndef EMBED_SCHEMA_H
#define EMBED_SCHEMA_H
/*
 * schema - data compiled into the program: the type blob behind schema_builtin(), and what exists from the start.
 * Thread: any; immutable.
 */
#include "lib/bytes.h"

/* JSON lines, one object a line: bootstrap cluster roles, roles and bindings. */
struct slice embed_rbac(void);
/* JSON lines: system namespaces, flow schemas, priority levels, priority classes. */
struct slice embed_bootstrap(void);

#endif
