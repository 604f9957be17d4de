#ifndef SERVER_ADMISSION_NODE_RESTRICTION_H
#define SERVER_ADMISSION_NODE_RESTRICTION_H
/* node_restriction - the parts of NodeRestriction that look into pods. Thread: any worker. */
#include "server/admission/step.h"

/* What of the API a pod refers to, in upstream's words ("secrets (via secret volumes)"), or NULL. A mirror pod must not. */
const char *pod_reference(const json_t *pod);

/* A node asks for tokens only for pods that run on it, and only for audiences those pods ask for. */
CHECK_RC int node_token_check(struct ctx *ctx, struct admission *a, const struct admission_request *r, const char *node, struct err *err);

#endif
