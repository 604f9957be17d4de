#define LLVMFuzzerTestOneInput fuzz_http2
#include "tests/fuzz/fuzz_http2.c"

#include "tests/unit/corpus.h"

TEST(http2_corpus)
{
    corpus_run("tests/fuzz/corpus/http2", fuzz_http2);
    fuzz_end();
}
