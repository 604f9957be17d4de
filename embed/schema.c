#include "embed/schema.h"

#include "lib/k8s/schema.h"

#include <assert.h>
#include <pthread.h>

/* Read-only data from files the build made (schema.mk); found through -I of the build directory. */
#define INCBIN(name, file)                                                                                                  \
    __asm__(".pushsection .rodata\n.balign 16\n.global embed_" #name "\nembed_" #name ":\n.incbin \"" file                   \
            "\"\n.global embed_" #name "_end\nembed_" #name "_end:\n.byte 0\n.popsection\n");                               \
    extern const char embed_##name[], embed_##name##_end[]

INCBIN(schema_blob, "embed/schema.bin");
INCBIN(rbac_lines, "embed/facts/rbac.jsonl");
INCBIN(bootstrap_lines, "embed/facts/bootstrap.jsonl");

struct slice embed_rbac(void)
{
    return (struct slice){ embed_rbac_lines, (size_t)(embed_rbac_lines_end - embed_rbac_lines) };
}

struct slice embed_bootstrap(void)
{
    return (struct slice){ embed_bootstrap_lines, (size_t)(embed_bootstrap_lines_end - embed_bootstrap_lines) };
}

/* Opened once; constant from then on, so it is no state. */
static const struct schema *builtin;

static void open_builtin(void)
{
    struct err err = { 0 };
    int rc = schema_open(embed_schema_blob, (size_t)(embed_schema_blob_end - embed_schema_blob), &builtin, &err);
    assert(rc == 0);
}

const struct schema *schema_builtin(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, open_builtin);
    return builtin;
}
