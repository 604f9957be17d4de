#ifndef EMBED_SHIM_PROGRAM_H
#define EMBED_SHIM_PROGRAM_H
/* shim_program - the shim as it was built, to be installed by agent/runtime. Thread: any. */
#include "lib/bytes.h"

struct slice embed_shim_program(void);

#endif
