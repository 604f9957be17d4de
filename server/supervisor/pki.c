#include "server/supervisor/pki.h"

#include "lib/crypto.h"
#include "lib/file.h"
#include "lib/log.h"
#include "lib/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { DAY_S = 86400, CA_DAYS = 3650, LEAF_DAYS = 365, RENEW_DAYS = 120, PEM_MAX_BYTES = 256 * 1024 };

static const struct item {
    const char *file; /* without .crt and .key */
    const char *common_name; /* NULL: CA, named after the file */
    const char *organization;
    enum pki_item ca;
    bool serving;
} items[PKI_ITEMS] = {
    [PKI_SERVER_CA] = { "server-ca", NULL, NULL, PKI_SERVER_CA, false },
    [PKI_CLIENT_CA] = { "client-ca", NULL, NULL, PKI_CLIENT_CA, false },
    [PKI_REQUEST_HEADER_CA] = { "request-header-ca", NULL, NULL, PKI_REQUEST_HEADER_CA, false },
    [PKI_ADMIN] = { "client-admin", "system:admin", "system:masters", PKI_CLIENT_CA, false },
    [PKI_SUPERVISOR] = { "client-supervisor", "system:k3s-supervisor", "system:masters", PKI_CLIENT_CA, false },
    [PKI_CONTROLLER] = { "client-controller", "system:kube-controller-manager", NULL, PKI_CLIENT_CA, false },
    [PKI_SCHEDULER] = { "client-scheduler", "system:kube-scheduler", NULL, PKI_CLIENT_CA, false },
    [PKI_APISERVER] = { "client-kube-apiserver", "system:apiserver", "system:masters", PKI_CLIENT_CA, false },
    [PKI_KUBE_PROXY] = { "client-kube-proxy", "system:kube-proxy", NULL, PKI_CLIENT_CA, false },
    [PKI_NODE_CONTROLLER] = { "client-k3s-controller", "system:k3s-controller", NULL, PKI_CLIENT_CA, false },
    [PKI_AUTH_PROXY] = { "client-auth-proxy", "system:auth-proxy", NULL, PKI_REQUEST_HEADER_CA, false },
    [PKI_SERVING] = { "serving-kube-apiserver", "kube-apiserver", NULL, PKI_SERVER_CA, true },
};

struct pki {
    struct pki_options o;
    int dir_fd; /* tls/ */
    char *cert[PKI_ITEMS], *key[PKI_ITEMS];
    char *service_key;
};

static int read_pem(int dir_fd, const char *name, char **ret, struct err *err)
{
    size_t n = 0;

    return file_read(dir_fd, name, PEM_MAX_BYTES, ret, &n, err);
}

static int write_pem(int dir_fd, const char *name, const char *text, mode_t mode, struct err *err)
{
    if (file_replace(dir_fd, name, text, strlen(text), err) < 0)
        return err_wrap(err, "write %s", name);
    if (mode != 0600 && fchmodat(dir_fd, name, mode, 0) < 0)
        return err_sys(err, errno, "chmod %s", name);
    return 0;
}

/* The key of that name, made when absent. */
static int load_key(struct pki *p, const char *file, char **ret, struct err *err)
{
    AUTO_FREE char *name = mem_printf("%s.key", file);

    if (read_pem(p->dir_fd, name, ret, err) == 0)
        return 0;
    if (err->code != ERR_NOT_FOUND)
        return -(int)err->code;
    AUTO_FREE char *key = key_new_pem();
    if (write_pem(p->dir_fd, name, key, 0600, err) < 0)
        return -(int)err->code;
    *ret = TAKE(key);
    return 0;
}

static bool strings_cover(char *const *have, const char *const *want)
{
    for (; want && *want; want++) {
        bool found = false;

        for (char *const *h = have; h && *h && !found; h++)
            found = strcmp(*h, *want) == 0;
        if (!found)
            return false;
    }
    return true;
}

/* Whether a certificate on disk can go on being used. */
static int still_good(struct pki *p, const struct item *it, const char *file, const char *pem, bool *ret, struct err *err)
{
    struct cert_info info = { 0 };

    if (cert_info(pem, &info, err) < 0)
        return err_wrap(err, "%s/tls/%s", p->o.data_dir, file);
    int64_t left = info.not_after_s - clock_wall_s(p->o.clock);
    *ret = it->common_name == NULL || left > (int64_t)RENEW_DAYS * DAY_S;
    if (it->serving && !(strings_cover(info.dns_names, p->o.serving_dns) && strings_cover(info.ips, p->o.serving_ips)))
        *ret = false;
    if (it->common_name && !*ret && left <= (int64_t)RENEW_DAYS * DAY_S)
        log_info("certificate renewed", "file=%s days_left=%lld", file, (long long)(left / DAY_S));
    cert_info_clear(&info);
    return 0;
}

static int make_cert(struct pki *p, enum pki_item i, char **ret, struct err *err)
{
    const struct item *it = &items[i];
    int64_t now = clock_wall_s(p->o.clock);
    bool ca = !it->common_name;
    AUTO_FREE char *ca_name = mem_printf("rancherd-%s@%lld", it->file, (long long)now);
    const char *organizations[] = { it->organization, NULL };
    struct cert_spec spec = {
        .common_name = ca ? ca_name : it->common_name,
        .organizations = it->organization ? organizations : NULL,
        .dns_names = it->serving ? p->o.serving_dns : NULL,
        .ips = it->serving ? p->o.serving_ips : NULL,
        .ca = ca,
        .server_auth = it->serving,
        .client_auth = !ca && !it->serving,
        .not_before_s = now - 60,
        .not_after_s = now + (int64_t)(ca ? CA_DAYS : LEAF_DAYS) * DAY_S,
    };
    AUTO_FREE char *pem = NULL;

    if (cert_sign(&spec, p->key[i], ca ? NULL : p->cert[it->ca], ca ? NULL : p->key[it->ca], &pem, err) < 0)
        return err_wrap(err, "sign %s", it->file);
    *ret = ca ? TAKE(pem) : mem_printf("%s%s", pem, p->cert[it->ca]);
    return 0;
}

static int load_item(struct pki *p, enum pki_item i, struct err *err)
{
    const struct item *it = &items[i];
    AUTO_FREE char *name = mem_printf("%s.crt", it->file);
    bool good = false;

    if (load_key(p, it->file, &p->key[i], err) < 0)
        return -(int)err->code;
    if (read_pem(p->dir_fd, name, &p->cert[i], err) == 0) {
        if (still_good(p, it, name, p->cert[i], &good, err) < 0)
            return -(int)err->code;
        if (good)
            return 0;
        free(TAKE(p->cert[i]));
    } else if (err->code != ERR_NOT_FOUND) {
        return -(int)err->code;
    }
    if (make_cert(p, i, &p->cert[i], err) < 0)
        return -(int)err->code;
    return write_pem(p->dir_fd, name, p->cert[i], 0644, err);
}

int pki_open(const struct pki_options *options, struct pki **ret, struct err *err)
{
    struct pki *p = MEM_NEW(struct pki);
    AUTO_FREE char *dir = mem_printf("%s/tls", options->data_dir);
    int rc = 0;

    p->o = *options;
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        rc = err_sys(err, errno, "make %s", dir);
    p->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (rc == 0 && p->dir_fd < 0)
        rc = err_sys(err, errno, "open %s", dir);
    for (enum pki_item i = 0; rc == 0 && i < PKI_ITEMS; i++)
        rc = load_item(p, i, err);
    if (rc == 0)
        rc = load_key(p, "service", &p->service_key, err);
    if (rc < 0) {
        pki_free(p);
        return err_wrap(err, "certificates");
    }
    *ret = p;
    return 0;
}

void pki_free(struct pki *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < PKI_ITEMS; i++) {
        free(p->cert[i]);
        free(p->key[i]);
    }
    free(p->service_key);
    if (p->dir_fd >= 0)
        close(p->dir_fd);
    free(p);
}

const char *pki_cert(const struct pki *p, enum pki_item item)
{
    return p->cert[item];
}

const char *pki_key(const struct pki *p, enum pki_item item)
{
    return p->key[item];
}

const char *pki_service_key(const struct pki *p)
{
    return p->service_key;
}

int pki_sign_node(const struct pki *p, const char *kind, const char *node_name, const char *const *ips, const void *csr, size_t n_csr,
                  const char *key_pem, char **ret_pem, struct err *err)
{
    int64_t now = clock_wall_s(p->o.clock);
    AUTO_FREE char *node_user = mem_printf("system:node:%s", node_name);
    const char *dns[] = { node_name, "localhost", NULL }, *nodes[] = { "system:nodes", NULL };
    const char *all_ips[34] = { "127.0.0.1", "::1" };
    struct cert_spec spec = { .not_before_s = now - 60, .not_after_s = now + (int64_t)LEAF_DAYS * DAY_S };
    enum pki_item ca = PKI_CLIENT_CA;
    AUTO_FREE char *pem = NULL;
    size_t n = 2;

    for (; ips && *ips && n < ARRAY_LEN(all_ips) - 1; ips++)
        all_ips[n++] = *ips;
    if (strcmp(kind, "serving-kubelet") == 0) {
        ca = PKI_SERVER_CA;
        spec.common_name = node_name;
        spec.dns_names = dns;
        spec.ips = all_ips;
        spec.server_auth = true;
    } else {
        spec.client_auth = true;
        if (strcmp(kind, "client-kubelet") == 0) {
            spec.common_name = node_user;
            spec.organizations = nodes;
        } else if (strcmp(kind, "client-kube-proxy") == 0) {
            spec.common_name = items[PKI_KUBE_PROXY].common_name;
        } else if (strcmp(kind, "client-k3s-controller") == 0) {
            spec.common_name = items[PKI_NODE_CONTROLLER].common_name;
        } else {
            return err_set(err, ERR_NOT_FOUND, "no certificate of kind %s", kind);
        }
    }
    int rc = csr ? cert_sign_csr(&spec, csr, n_csr, p->cert[ca], p->key[ca], &pem, err)
                 : cert_sign(&spec, key_pem, p->cert[ca], p->key[ca], &pem, err);
    if (rc < 0)
        return err_wrap(err, "sign %s for node %s", kind, node_name);
    *ret_pem = mem_printf("%s%s", pem, p->cert[ca]);
    return 0;
}

/* --- kubeconfig --- */

static void add_base64(struct buf *to, const char *key, const char *pem)
{
    buf_printf(to, "    %s: ", key);
    base64_write(pem, strlen(pem), to);
    buf_char(to, '\n');
}

int kubeconfig_write(const char *path, unsigned mode, const char *server_url, const char *ca_pem, const char *cert_pem,
                     const char *key_pem, const char *name, struct err *err)
{
    AUTO(buf) struct buf text = { 0 };
    AUTO_FREE char *dir = mem_strdup(path);
    char *slash = strrchr(dir, '/');

    buf_str(&text, "apiVersion: v1\nclusters:\n- cluster:\n");
    add_base64(&text, "certificate-authority-data", ca_pem);
    buf_printf(&text, "    server: %s\n  name: %s\ncontexts:\n- context:\n    cluster: %s\n    user: %s\n  name: %s\n", server_url, name, name,
               name, name);
    buf_printf(&text, "current-context: %s\nkind: Config\npreferences: {}\nusers:\n- name: %s\n  user:\n", name, name);
    add_base64(&text, "client-certificate-data", cert_pem);
    add_base64(&text, "client-key-data", key_pem);
    if (slash == dir)
        slash[1] = '\0';
    else if (slash)
        *slash = '\0';
    AUTO_FD int dir_fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return err_sys(err, errno, "open folder of %s", path);
    const char *base = slash ? path + (slash - dir) + 1 : path;
    if (slash && slash == dir)
        base = path + 1;
    if (write_pem(dir_fd, base, buf_at(&text), 0600, err) < 0)
        return -(int)err->code;
    if (fchmodat(dir_fd, base, (mode_t)mode, 0) < 0)
        return err_sys(err, errno, "chmod %s", path);
    return 0;
}
