/* rancherd token generate: a random bootstrap token; the other token commands come with the identity work. */
#include "cmd/cmd.h"

#include "lib/crypto.h"

#include <stdio.h>
#include <string.h>

static char token_char(void)
{
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    unsigned char b = 0;

    do
        random_bytes(&b, 1);
    while (b >= 252); /* 7 * 36: no letter more likely than another */
    return alphabet[b % 36];
}

int cmd_token(int argc, char **argv)
{
    char text[24];

    if (argc != 1 || strcmp(argv[0], "generate") != 0) {
        fprintf(stderr, "rancherd: token %s is not built yet: there is \"token generate\"\n", argc ? argv[0] : "");
        return 2;
    }
    for (size_t i = 0; i < 23; i++)
        text[i] = i == 6 ? '.' : token_char();
    text[23] = '\0';
    puts(text);
    return 0;
}
