#ifndef CMD_LOCAL_AGENT_H
#define CMD_LOCAL_AGENT_H
/* local_agent - joins and starts the node agent of this machine; the same for `server` and `agent`. Thread: main. */
#include "cmd/process.h"
#include "server/server.h"

struct local_agent;

struct local_agent_options {
    const struct settings *settings;
    struct process *process;
    const struct server_options *server; /* NULL: `rancherd agent` */
    const char *url, *token, *node_ip;
    int argc;
    char **argv;
};
CHECK_RC int local_agent_start(const struct local_agent_options *options, struct local_agent **ret, struct err *err);
void local_agent_stop(struct local_agent *a); /* NULL allowed */

#endif
