#define LLVMFuzzerTestOneInput fuzz_http1
#include "tests/fuzz/fuzz_http1.c"

#include "tests/unit/corpus.h"

TEST(http1_corpus)
{
    corpus_run("tests/fuzz/corpus/http1", fuzz_http1);
    fuzz_end();
}
