/* Dispatches to the subcommands; nothing else. */
#include "cmd/cmd.h"
#include "lib/auto.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *usage;
    int (*run)(int argc, char **argv);
} commands[] = {
    { "server", "Run management server", cmd_server },
    { "agent", "Run node agent", cmd_agent },
    { "kubectl", "Run kubectl", cmd_kubectl },
    { "token", "Manage tokens", cmd_token },
};

static void help(void)
{
    printf("NAME:\n   rancherd - Kubernetes, but small and simple\n\nUSAGE:\n   rancherd [global options] command [command options]\n\n"
           "VERSION:\n   %s (" RANCHERD_COMMIT ")\n\nCOMMANDS:\n",
           RANCHERD_VERSION);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        printf("   %-10s %s\n", commands[i].name, commands[i].usage);
    printf("   %-10s %s\n\nGLOBAL OPTIONS:\n   --help, -h     show help\n   --version, -v  print the version\n", "help, h",
           "Shows a list of commands or help for one command");
}

static int version(void)
{
    printf("rancherd version %s (" RANCHERD_COMMIT ")\n", RANCHERD_VERSION);
    return 0;
}

int main(int argc, char **argv)
{
    const char *base = strrchr(argv[0], '/');

    base = base ? base + 1 : argv[0];
    if (strcmp(base, "kubectl") == 0)
        return cmd_kubectl(argc - 1, argv + 1);
    if (argc < 2 || strcmp(argv[1], "help") == 0 || strcmp(argv[1], "h") == 0 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        help();
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-v") == 0)
        return version();
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 2, argv + 2);
    fprintf(stderr, "rancherd: no command \"%s\": there are server, agent, kubectl and token (see --help)\n", argv[1]);
    return 2;
}
