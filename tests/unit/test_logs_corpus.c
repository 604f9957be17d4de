#define LLVMFuzzerTestOneInput fuzz_logs
#include "tests/fuzz/fuzz_logs.c"

#include "tests/unit/corpus.h"

TEST(logs_corpus)
{
    corpus_run("tests/fuzz/corpus/logs", fuzz_logs);
}
