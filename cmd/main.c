#include <stdio.h>

int main(void)
{
    printf("rancherd version %s\n", RANCHERD_VERSION);
    return 0;
}
