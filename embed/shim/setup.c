#include "embed/shim/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void failed(struct shim *sh, const char *what, const char *on)
{
    if (sh->setup_errno)
        return;
    sh->setup_errno = errno ? errno : EINVAL;
    snprintf(sh->setup_text, sizeof(sh->setup_text), "%s%s%s: %s", what, *on ? " " : "", on, strerror(sh->setup_errno));
}

static int write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return -1;
    ssize_t n = write(fd, text, strlen(text));
    int sys = errno;
    close(fd);
    errno = sys;
    return n < 0 ? -1 : 0;
}

/* NAME=VALUE; dots are slashes, and slashes (in interface names) dots, as sysctl(8) has it. */
static void set_sysctl(struct shim *sh, const char *arg)
{
    char path[256];
    const char *eq = strchr(arg, '=');

    if (!eq || (size_t)(eq - arg) > sizeof(path) - 16 || strstr(arg, "//")) {
        errno = EINVAL;
        failed(sh, "sysctl", arg);
        return;
    }
    size_t n = (size_t)snprintf(path, sizeof(path), "/proc/sys/%.*s", (int)(eq - arg), arg);
    bool slashes = memchr(arg, '/', (size_t)(eq - arg)) && (!memchr(arg, '.', (size_t)(eq - arg)) || strchr(arg, '/') < strchr(arg, '.'));
    for (size_t i = 10; i < n && !slashes; i++)
        path[i] = path[i] == '.' ? '/' : path[i] == '/' ? '.' : path[i];
    if (strstr(path, "/../") || write_file(path, eq + 1) < 0)
        failed(sh, "set sysctl", arg);
}

static void loopback_up(struct shim *sh)
{
    struct ifreq r = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &r) < 0)
        failed(sh, "bring up the loopback interface", "");
    if (fd >= 0)
        close(fd);
}

/* PID 1 of a shared PID namespace: adopts and reaps, and ends with the shim. */
static void init_main(void)
{
    sigset_t set;
    int sig;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "pause");
    sigfillset(&set);
    sigprocmask(SIG_SETMASK, &set, NULL);
    while (sigwait(&set, &sig) == 0) {
        if (sig == SIGTERM || sig == SIGINT)
            _exit(0);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
    _exit(1);
}

static void start_init(struct shim *sh)
{
    int mine = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);

    if (mine < 0 || unshare(CLONE_NEWPID) < 0) {
        failed(sh, "make the pod's PID namespace", "");
    } else {
        sh->init = fork();
        if (sh->init == 0) {
            for (int fd = 3; fd < 64; fd++)
                close(fd);
            init_main();
        }
        if (sh->init < 0)
            failed(sh, "start the pod's init", "");
        if (setns(mine, CLONE_NEWPID) < 0) /* our other children stay where we are */
            failed(sh, "return to the host's PID namespace", "");
    }
    if (mine >= 0)
        close(mine);
}

void setup(struct shim *sh, char **argv)
{
    const char *hostname = NULL;
    int flags = 0;
    bool init = false;

    /* Namespaces first, then what is set in them, in whatever order they stand. */
    for (char **a = argv; *a; a++) {
        if (strcmp(*a, "--net") == 0)
            flags |= CLONE_NEWNET;
        else if (strcmp(*a, "--ipc") == 0)
            flags |= CLONE_NEWIPC;
        else if (strcmp(*a, "--uts") == 0)
            flags |= CLONE_NEWUTS;
        else if (strcmp(*a, "--pid") == 0)
            init = true;
        else if (strcmp(*a, "--oci") == 0 && a[1])
            sh->oci = *++a;
        else if (strcmp(*a, "--oci-root") == 0 && a[1])
            sh->oci_root = *++a;
        else if (strcmp(*a, "--hostname") == 0 && a[1])
            hostname = *++a;
        else if (strcmp(*a, "--sysctl") == 0 && a[1])
            a++;
        else {
            errno = EINVAL;
            failed(sh, "argument", *a);
        }
    }
    umask(022);
    if (chdir("/") < 0)
        failed(sh, "change to", "/");
    if (write_file("/proc/self/oom_score_adj", "-998") < 0)
        errno = 0; /* not permitted everywhere, and then we are as any other process */
    if (flags && unshare(flags) < 0) {
        failed(sh, "make the pod's namespaces", "");
        return;
    }
    if ((flags & CLONE_NEWUTS) && hostname && sethostname(hostname, strlen(hostname)) < 0)
        failed(sh, "set the host name", hostname);
    if (flags & CLONE_NEWNET)
        loopback_up(sh);
    for (char **a = argv; *a; a++)
        if (strcmp(*a, "--sysctl") == 0 && a[1])
            set_sysctl(sh, *++a);
    if (init)
        start_init(sh);
}
