#define LLVMFuzzerTestOneInput fuzz_http_answer
#include "tests/fuzz/fuzz_http_answer.c"

#include "tests/unit/corpus.h"

TEST(http_answer_corpus)
{
    corpus_run("tests/fuzz/corpus/http_answer", fuzz_http_answer);
}
