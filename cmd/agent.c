/* rancherd agent: joins a cluster and runs pods. */
#include "cmd/cmd.h"
#include "cmd/flags.h"
#include "cmd/local_agent.h"
#include "cmd/process.h"
#include "lib/auto.h"
#include "lib/log.h"
#include "lib/mem.h"

#include <stdio.h>
#include <string.h>

static int run(const struct settings *s, struct process *p, int argc, char **argv, struct err *err)
{
    AUTO_FREE char *token = NULL, *node_ip = NULL;
    const char *url = settings_str(s, "server");
    struct local_agent *agent = NULL;

    if (!url || !*url)
        return err_set(err, ERR_BAD_REQUEST, "--server is required");
    if (strncmp(url, "https://", 8) != 0)
        return err_set(err, ERR_BAD_REQUEST, "invalid value \"%s\" for --server: allowed is https://HOST:PORT", url);
    if (process_token(s, "token", "token-file", &token, err) < 0 || process_node_ip(s, &node_ip, err) < 0)
        return -(int)err->code;
    struct local_agent_options o = {
        .settings = s, .process = p, .url = url, .token = token, .node_ip = node_ip, .argc = argc, .argv = argv,
    };
    if (local_agent_start(&o, &agent, err) < 0)
        return -(int)err->code;
    process_notify("READY=1");
    process_wait(p);
    process_notify("STOPPING=1");
    local_agent_stop(agent);
    return 0;
}

int cmd_agent(int argc, char **argv)
{
    struct settings *s = NULL;
    struct process p = { .signals = -1 };
    bool help = false;
    struct err err;
    int rc = settings_read(FOR_AGENT, argc, argv, &s, &help, &err);

    if (rc == 0 && help)
        flags_help(FOR_AGENT);
    if (rc == 0 && !help)
        rc = process_start(s, &p, &err);
    if (rc == 0 && !help) {
        rc = run(s, &p, argc, argv, &err);
        process_end(&p);
    }
    settings_free(s);
    return rc < 0 ? process_fail(&err) : 0;
}
