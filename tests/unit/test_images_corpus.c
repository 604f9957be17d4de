#define LLVMFuzzerTestOneInput fuzz_image_manifest
#include "tests/fuzz/fuzz_image_manifest.c"

#include "tests/unit/corpus.h"

TEST(images_manifest_corpus)
{
    corpus_run("tests/fuzz/corpus/image_manifest", fuzz_image_manifest);
}
