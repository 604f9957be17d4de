#ifndef SERVER_SUPERVISOR_PKI_H
#define SERVER_SUPERVISOR_PKI_H
/*
 * pki - the cluster's CAs, certificates and keys under <data-dir>/server/tls, named as K3s names them.
 *
 * Made on the first start; what was placed there before (own CAs) is used. Leaf certificates that end within 120 days are made anew at start,
 * with the same key. EC P-256. Files 0600 (certificates 0644).
 * Thread: one at a time; the results are immutable once open.
 */
#include "lib/clock.h"
#include "lib/err.h"

enum pki_item {
    PKI_SERVER_CA,
    PKI_CLIENT_CA,
    PKI_REQUEST_HEADER_CA,
    PKI_ADMIN,          /* CN system:admin, O system:masters */
    PKI_SUPERVISOR,
    PKI_CONTROLLER,     /* CN system:kube-controller-manager */
    PKI_SCHEDULER,      /* CN system:kube-scheduler */
    PKI_APISERVER,      /* towards kubelets: CN system:apiserver, O system:masters */
    PKI_KUBE_PROXY,
    PKI_NODE_CONTROLLER, /* client-k3s-controller */
    PKI_AUTH_PROXY,     /* CN system:auth-proxy, signed by the request-header CA */
    PKI_SERVING,        /* the API server's own certificate */
    PKI_ITEMS,
};

struct pki;

struct pki_options {
    const char *data_dir;           /* <data-dir>/server */
    const struct clock *clock;
    const char *const *serving_dns; /* end with NULL */
    const char *const *serving_ips;
};
/* Errors: IO; BAD_REQUEST naming the file that can't be read as PEM. Blocks: on disk. */
CHECK_RC int pki_open(const struct pki_options *options, struct pki **ret, struct err *err);
void pki_free(struct pki *p); /* NULL allowed */

const char *pki_cert(const struct pki *p, enum pki_item item); /* PEM; leafs with their CA behind */
const char *pki_key(const struct pki *p, enum pki_item item);
const char *pki_service_key(const struct pki *p); /* signs service-account tokens */

/* Signs for a joining node. kind: "serving-kubelet" (CN name), "client-kubelet" (system:node:name), "client-kube-proxy", "client-k3s-controller".
 * csr NULL: the shared key's certificate. *ret_pem with its CA appended. */
CHECK_RC int pki_sign_node(const struct pki *p, const char *kind, const char *node_name, const char *const *ips, const void *csr,
                           size_t n_csr, const char *key_pem, char **ret_pem, struct err *err);

/* Writes a kubeconfig (cluster "local"/"default" as K3s) to path with mode, whole or not at all. */
CHECK_RC int kubeconfig_write(const char *path, unsigned mode, const char *server_url, const char *ca_pem, const char *cert_pem,
                              const char *key_pem, const char *name, struct err *err);

#endif
