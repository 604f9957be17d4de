#include "cmd/process.h"

#include "lib/auto.h"
#include "lib/crypto.h"
#include "lib/file.h"
#include "lib/k8s/meta.h"
#include "lib/log.h"
#include "lib/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <malloc.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static int open_log(const struct settings *s, struct err *err)
{
    const char *path = settings_str(s, "log");
    bool debug = settings_bool(s, "debug") || settings_int(s, "v") > 3;
    int fd = 2;

    if (path && *path) {
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd < 0)
            return err_sys(err, errno, "log file %s", path);
    }
    log_setup(debug ? LOG_DEBUG : LOG_INFO, fd);
    return 0;
}

static void raise_limits(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &r) < 0)
            log_warn("open files stay limited", "err=%s", log_q(strerrordesc_np(errno)));
    }
}

int process_start(const struct settings *s, struct process *ret, struct err *err)
{
    struct process p = { .signals = -1 };
    sigset_t set;

    mallopt(M_ARENA_MAX, 2); /* DESIGN decision 3: idle memory */
    mallopt(M_TRIM_THRESHOLD, 256 * 1024);
    if (open_log(s, err) < 0)
        return -(int)err->code;
    raise_limits();
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    p.signals = signalfd(-1, &set, SFD_CLOEXEC);
    if (p.signals < 0)
        return err_sys(err, errno, "signalfd");
    if (loop_new("loop", &p.loop, err) < 0 || pool_new(&(struct pool_options){ 0 }, &p.pool, err) < 0) {
        process_end(&p);
        return -(int)err->code;
    }
    *ret = p;
    return 0;
}

void process_end(struct process *p)
{
    pool_free(TAKE(p->pool));
    loop_free(TAKE(p->loop));
    if (p->signals >= 0)
        close(TAKE_FD(p->signals));
}

void process_wait(const struct process *p)
{
    struct signalfd_siginfo info;

    while (read(p->signals, &info, sizeof(info)) < 0 && errno == EINTR)
        ;
    log_info("stopping", "signal=%u", info.ssi_signo);
}

void process_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = { .sun_family = AF_UNIX };

    if (!path || (*path != '/' && *path != '@') || strlen(path) >= sizeof(to.sun_path))
        return;
    size_t n = strlen(path);
    memcpy(to.sun_path, path, n);
    if (*path == '@')
        to.sun_path[0] = '\0';
    AUTO_FD int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&to,
                         (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
        log_warn("systemd not notified", "state=%s err=%s", state, log_q(strerrordesc_np(errno)));
}

int process_fail(const struct err *err)
{
    fprintf(stderr, "rancherd: %s\n", err->msg);
    return 1;
}

/* --- names and addresses --- */

static int node_id(char ret[9], struct err *err)
{
    static const char dir[] = "/etc/rancher/node";
    unsigned char raw[4];
    AUTO_FREE char *text = NULL;
    size_t n = 0;

    if ((mkdir("/etc/rancher", 0755) < 0 && errno != EEXIST) || (mkdir(dir, 0755) < 0 && errno != EEXIST))
        return err_sys(err, errno, "make %s", dir);
    AUTO_FD int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open %s", dir);
    if (file_read(fd, "id", 64, &text, &n, err) == 0 && n >= 8) {
        memcpy(ret, text, 8);
        ret[8] = '\0';
        return 0;
    }
    random_bytes(raw, sizeof(raw));
    hex_of(raw, sizeof(raw), ret);
    return file_replace(fd, "id", ret, 8, err);
}

int process_node_name(const struct settings *s, char **ret, struct err *err)
{
    const char *given = settings_str(s, "node-name");
    char host[256] = "", id[9];

    if (gethostname(host, sizeof(host) - 1) < 0)
        return err_sys(err, errno, "host name");
    AUTO_FREE char *name = mem_strdup(given && *given ? given : host);
    for (char *c = name; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c + 32);
    if (settings_bool(s, "with-node-id")) {
        if (node_id(id, err) < 0)
            return err_wrap(err, "node id");
        char *with = mem_printf("%s-%s", name, id);
        free(name);
        name = with;
    }
    const char *bad = name_is_dns_subdomain(name);
    if (bad)
        return err_set(err, ERR_BAD_REQUEST, "invalid value \"%s\" for --node-name: %s", name, bad);
    *ret = TAKE(name);
    return 0;
}

/* The interface of the IPv4 default route. */
static bool default_interface(char ret[IF_NAMESIZE])
{
    FILE *f = fopen("/proc/net/route", "re");
    char line[256], name[IF_NAMESIZE];
    unsigned long dest = 1, mask = 1;
    bool found = false;

    while (f && !found && fgets(line, sizeof(line), f))
        if (sscanf(line, "%15s %lx %*x %*x %*d %*d %*d %lx", name, &dest, &mask) == 3 && dest == 0 && mask == 0) {
            memcpy(ret, name, sizeof(name));
            found = true;
        }
    if (f)
        fclose(f);
    return found;
}

int process_node_ip(const struct settings *s, char **ret, struct err *err)
{
    size_t n = 0;
    const char *const *given = settings_list(s, "node-ip", &n);
    char name[IF_NAMESIZE] = "", text[INET_ADDRSTRLEN] = "127.0.0.1";
    unsigned char addr[16];
    struct ifaddrs *all = NULL;
    bool by_default = false;

    if (n > 0) {
        if (inet_pton(AF_INET, given[0], addr) != 1 && inet_pton(AF_INET6, given[0], addr) != 1)
            return err_set(err, ERR_BAD_REQUEST, "invalid value \"%s\" for --node-ip: allowed is an IPv4 or IPv6 address", given[0]);
        *ret = mem_strdup(given[0]);
        return 0;
    }
    by_default = default_interface(name);
    if (getifaddrs(&all) < 0)
        return err_sys(err, errno, "addresses of this machine");
    for (struct ifaddrs *i = all; i; i = i->ifa_next) {
        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || (i->ifa_flags & IFF_LOOPBACK) || !(i->ifa_flags & IFF_UP))
            continue;
        if (by_default ? strcmp(i->ifa_name, name) != 0 : strncmp(i->ifa_name, "rd", 2) == 0)
            continue;
        inet_ntop(AF_INET, &((struct sockaddr_in *)i->ifa_addr)->sin_addr, text, sizeof(text));
        break;
    }
    freeifaddrs(all);
    *ret = mem_strdup(text);
    return 0;
}

void process_instance(const char *data_dir, char ret[9])
{
    char hex[SHA256_HEX_BYTES];

    sha256_hex(data_dir, strlen(data_dir), hex);
    memcpy(ret, hex, 8);
    ret[8] = '\0';
}

int process_token(const struct settings *s, const char *flag, const char *file_flag, char **ret, struct err *err)
{
    const char *text = settings_str(s, flag), *path = settings_str(s, file_flag);
    AUTO_FREE char *data = NULL;
    size_t n = 0;

    *ret = NULL;
    if (text && *text) {
        *ret = mem_strdup(text);
        return 0;
    }
    if (!path || !*path)
        return 0;
    if (file_read(AT_FDCWD, path, 4096, &data, &n, err) < 0)
        return err_wrap(err, "--%s %s", file_flag, path);
    data[strcspn(data, "\r\n")] = '\0';
    *ret = TAKE(data);
    return 0;
}
