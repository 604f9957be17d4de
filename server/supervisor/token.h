#ifndef SERVER_SUPERVISOR_TOKEN_H
#define SERVER_SUPERVISOR_TOKEN_H
/*
 * token - the cluster's join secrets on disk, in K3s' form K10<sha256 of the CA>::<user>:<password>.
 * Files: server/token (node-token links to it), server/agent-token, server/cred/passwd. Thread: start-up.
 */
#include "lib/err.h"

struct tokens {
    char *server, *agent;           /* the bare passwords */
    char *server_text, *agent_text; /* secure form */
};

/* given NULL: what is on disk, else random. A given token that differs from the one the cluster was made with is refused.
 * Errors: IO, CONFLICT. */
CHECK_RC int tokens_open(const char *server_dir, const char *ca_pem, const char *given, const char *given_agent, struct tokens *ret,
                         struct err *err);
void tokens_clear(struct tokens *t);

#endif
