/* How an OCI runtime hands over the master of a terminal: it connects to a socket and sends the descriptor. */
#include "embed/shim/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Socket paths are short and folders may be long: both sides go through a descriptor of the folder. */
int console_listen(struct console *k, const char *dir, const char *name, char *path)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };

    *k = (struct console){ .listener = -1, .folder = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC) };
    if (k->folder < 0)
        return errno;
    k->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unlinkat(k->folder, name, 0);
    snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/%.64s", k->folder, name);
    if (k->listener < 0 || bind(k->listener, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(k->listener, 1) < 0) {
        int sys = errno;
        console_take(k, name);
        return sys;
    }
    snprintf(path, CONSOLE_PATH_BYTES, "/proc/%d/fd/%d/%.32s", getpid(), k->folder, name);
    return 0;
}

static int receive(int fd)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    char name[256];
    struct iovec v = { .iov_base = name, .iov_len = sizeof(name) };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
    int master = -1;

    if (recvmsg(fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) < 0)
        return -1;
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS && h->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&master, CMSG_DATA(h), sizeof(master));
    return master;
}

/* Called when the runtime is done, so what it sent is there. */
int console_take(struct console *k, const char *name)
{
    int master = -1;

    if (k->listener >= 0) {
        int fd = accept4(k->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            master = receive(fd);
            close(fd);
        }
        close(k->listener);
    }
    if (k->folder >= 0) {
        unlinkat(k->folder, name, 0);
        close(k->folder);
    }
    *k = (struct console){ .listener = -1, .folder = -1 };
    return master;
}
