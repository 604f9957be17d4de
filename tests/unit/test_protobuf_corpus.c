/* The fuzz target's seeds, run as tests. */
#define LLVMFuzzerTestOneInput fuzz_protobuf
#include "tests/fuzz/fuzz_protobuf.c"

#include "corpus.h"

TEST(protobuf_corpus)
{
    corpus_run("tests/fuzz/corpus/protobuf", fuzz_protobuf);
}
