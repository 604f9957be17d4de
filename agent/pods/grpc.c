/* grpc - the health check of gRPC's health protocol. */
#include "agent/pods/pods_int.h"

bool grpc_check(struct ctx *ctx, const struct action *a, char **ret_output)
{
    (void)ctx;
    (void)a;
    *ret_output = mem_strdup("gRPC probes are not supported by rancherd yet");
    return false;
}
