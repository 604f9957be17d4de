/* rancherd kubectl: the kubectl on PATH, with this machine's admin kubeconfig when none is given. */
#include "cmd/cmd.h"

#include "lib/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int cmd_kubectl(int argc, char **argv)
{
    const char **args = mem_zalloc((size_t)(argc + 2) * sizeof(*args));

    args[0] = "kubectl";
    for (int i = 0; i < argc; i++)
        args[i + 1] = argv[i];
    if (!getenv("KUBECONFIG"))
        setenv("KUBECONFIG", "/etc/rancher/rancherd/rancherd.yaml", 1);
    execvp("kubectl", (char *const *)args);
    fprintf(stderr, "rancherd: kubectl: %s (Debian's package is kubernetes-client)\n", strerrordesc_np(errno));
    free(args);
    return 127;
}
