#define LLVMFuzzerTestOneInput fuzz_grpc_health
#include "tests/fuzz/fuzz_grpc_health.c"

#include "tests/unit/corpus.h"

TEST(grpc_health_corpus)
{
    corpus_run("tests/fuzz/corpus/grpc_health", fuzz_grpc_health);
}
