#define LLVMFuzzerTestOneInput fuzz_stream
#include "tests/fuzz/fuzz_stream.c"

#include "tests/unit/corpus.h"

TEST(stream_corpus)
{
    corpus_run("tests/fuzz/corpus/stream", fuzz_stream);
}
