#define LLVMFuzzerTestOneInput fuzz_websocket
#include "tests/fuzz/fuzz_websocket.c"

#include "tests/unit/corpus.h"

TEST(websocket_corpus)
{
    corpus_run("tests/fuzz/corpus/websocket", fuzz_websocket);
}
