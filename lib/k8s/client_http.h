#ifndef LIB_K8S_CLIENT_HTTP_H
#define LIB_K8S_CLIENT_HTTP_H
/* client_http - the HTTPS transport of the client, over one http_client. Thread: any. */
#include "lib/http/client.h"
#include "lib/k8s/client.h"

/* http stays the caller's and outlives the client. */
struct client *client_http_new(struct http_client *http);

#endif
