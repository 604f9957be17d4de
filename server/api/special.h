#ifndef SERVER_API_SPECIAL_H
#define SERVER_API_SPECIAL_H
/* special - the handlers behind the table of special.c. Thread: the request's worker. */
#include "server/api/api_int.h"

/* subresource.c */
api_special_fn special_binding, special_eviction, special_pod_part, special_finalize, special_approval, special_scale;
/* reviews.c */
api_special_fn special_token, special_token_review, special_self_review, special_access_review, special_rules_review,
    special_component_status;

#endif
