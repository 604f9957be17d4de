#define LLVMFuzzerTestOneInput fuzz_image_layer
#include "tests/fuzz/fuzz_image_layer.c"

#include "tests/unit/corpus.h"

TEST(images_layer_corpus)
{
    if (geteuid() != 0) {
        printf("# skip: unpacking needs root\n");
        return;
    }
    corpus_run("tests/fuzz/corpus/image_layer", fuzz_image_layer);
}
