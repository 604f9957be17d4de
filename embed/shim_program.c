#include "embed/shim_program.h"

/* Read-only data from a file the build made (shim.mk); found through -I of the build directory. */
__asm__(".pushsection .rodata\n.balign 16\n.global embed_shim\nembed_shim:\n.incbin \"embed/rancherd-shim\"\n"
        ".global embed_shim_end\nembed_shim_end:\n.byte 0\n.popsection\n");
extern const char embed_shim[], embed_shim_end[];

struct slice embed_shim_program(void)
{
    return (struct slice){ embed_shim, (size_t)(embed_shim_end - embed_shim) };
}
