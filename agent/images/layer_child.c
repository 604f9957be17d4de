/* The child that unpacks: what it may do, and what it tells. */
#include "agent/images/layer_int.h"

#include "agent/images/folder.h"
#include "lib/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

/* A sanitizer's shadow memory is far over any limit. */
#if defined(__SANITIZE_ADDRESS__)
#define LAYER_SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LAYER_SANITIZED
#endif
#endif

/* Descriptors of the child. */
enum { CHILD_BLOB = 3, CHILD_ROOT, CHILD_REPORT, CHILD_LAYERS };
enum { CHILD_MEMORY_BYTES = 512 << 20, REPORT_MAX_BYTES = 64 << 20 };

/* The report begins with it; paths of opaque folders follow on success. */
struct report {
    int code, sys;
    char msg[ERR_MSG_BYTES];
    char diff_id[DIGEST_CHARS + 1], blob_digest[DIGEST_CHARS + 1];
    int64_t bytes, entries;
};

static int drop_capabilities(struct err *err)
{
    static const int keep[] = { CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_SETFCAP };
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2] = { 0 };

    for (size_t i = 0; i < ARRAY_LEN(keep); i++)
        data[keep[i] / 32].permitted |= 1u << (keep[i] % 32);
    for (int i = 0; i < 2; i++)
        data[i].effective = data[i].permitted;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return err_sys(err, errno, "clear ambient capabilities");
    if (syscall(SYS_capset, &header, data) < 0)
        return err_sys(err, errno, "drop capabilities");
    return 0;
}

static int set_limits(struct err *err)
{
    const struct {
        __rlimit_resource_t what;
        rlim_t most;
    } limits[] = {
        { RLIMIT_CORE, 0 },
        { RLIMIT_NOFILE, 256 },
        { RLIMIT_FSIZE, 64LL << 30 },
        { RLIMIT_NPROC, 0 },
#ifndef LAYER_SANITIZED
        { RLIMIT_DATA, CHILD_MEMORY_BYTES },
#endif
    };

    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        struct rlimit limit = { limits[i].most, limits[i].most };

        if (setrlimit(limits[i].what, &limit) < 0)
            return err_sys(err, errno, "set a resource limit");
    }
    return 0;
}

static int shut_in(struct err *err)
{
    umask(0);
    if (unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
        return err_sys(err, errno, "leave the host's namespaces");
    if (fchdir(CHILD_ROOT) < 0 || chroot(".") < 0)
        return err_sys(err, errno, "enter the layer's folder");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_sys(err, errno, "give up new privileges");
    int rc = set_limits(err);
    return rc < 0 ? rc : drop_capabilities(err);
}

static int write_all(int fd, const void *data, size_t n)
{
    for (const char *at = data; n > 0;) {
        ssize_t done = write(fd, at, n);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -1;
        at += done;
        n -= (size_t)done;
    }
    return 0;
}

/* Runs in the child; its memory is a copy, so the job is there. */
static int child_main(void *arg)
{
    struct layer_job job = *(const struct layer_job *)arg;
    struct report report = { 0 };
    struct layer_result result = { 0 };
    struct err err = { 0 };

    job.blob_fd = CHILD_BLOB;
    job.root_fd = CHILD_ROOT;
    job.layers_fd = job.layers_fd >= 0 ? CHILD_LAYERS : -1;
    /* Names in pax headers are UTF-8, which libarchive gives out in the locale's encoding. */
    if (job.locale)
        uselocale(job.locale);
    int rc = shut_in(&err);
    if (rc == 0)
        rc = layer_unpack_here(&job, &result, &err);
    if (rc == 0 && syncfs(CHILD_ROOT) < 0)
        rc = err_sys(&err, errno, "sync the layer");
    if (rc < 0) {
        report.code = err.code;
        report.sys = err.sys;
        memcpy(report.msg, err.msg, sizeof(report.msg));
    }
    memcpy(report.diff_id, result.diff_id, sizeof(report.diff_id));
    memcpy(report.blob_digest, result.blob_digest, sizeof(report.blob_digest));
    report.bytes = result.bytes;
    report.entries = result.entries;
    if (write_all(CHILD_REPORT, &report, sizeof(report)) < 0 ||
        write_all(CHILD_REPORT, buf_at(&result.opaque), buf_len(&result.opaque)) < 0)
        return 2;
    return rc < 0;
}

/* The mark is of the "trusted" kind, which the child may not set. */
static int mark_opaque(int root_fd, const char *path, struct err *err)
{
    AUTO_FD int fd = folder_open(root_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);

    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? 0 : err_sys(err, errno, "open %.100s", path);
    return fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0) < 0 ? err_sys(err, errno, "mark %.100s opaque", path) : 0;
}

static int mark_all(const struct layer_job *job, const char *at, size_t n, struct err *err)
{
    const char *end = at + n;

    if (n > 0 && end[-1] != '\0')
        return err_set(err, ERR_IO, "the child's report is cut");
    for (; at < end; at += strlen(at) + 1) {
        int rc = mark_opaque(job->root_fd, at, err);
        if (rc < 0)
            return rc;
    }
    return n > 0 && fsync(job->root_fd) < 0 ? err_sys(err, errno, "sync the layer") : 0;
}

static int take_report(int fd, struct buf *to, struct err *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "read the child's report");
    if (st.st_size < (off_t)sizeof(struct report) || st.st_size > REPORT_MAX_BYTES)
        return err_set(err, ERR_IO, "the child that unpacks gave no usable report");
    size_t n = (size_t)st.st_size;
    if (pread(fd, buf_space(to, n), n, 0) != (ssize_t)n)
        return err_set(err, ERR_IO, "read the child's report: cut");
    buf_used(to, n);
    return 0;
}

static int judge(const struct layer_job *job, int report_fd, struct layer_result *ret, struct err *err)
{
    AUTO(buf) struct buf text = { 0 };
    struct report r;
    int rc = take_report(report_fd, &text, err);

    if (rc < 0)
        return rc;
    memcpy(&r, buf_at(&text), sizeof(r));
    r.msg[sizeof(r.msg) - 1] = r.diff_id[DIGEST_CHARS] = r.blob_digest[DIGEST_CHARS] = '\0';
    if (r.code) {
        rc = err_set(err, r.code > 0 && r.code < ERR_CODE_COUNT ? (enum err_code)r.code : ERR_IO, "%s", r.msg);
        err->sys = r.sys;
        return rc;
    }
    rc = mark_all(job, buf_at(&text) + sizeof(r), buf_len(&text) - sizeof(r), err);
    if (rc < 0)
        return rc;
    *ret = (struct layer_result){ .bytes = r.bytes, .entries = r.entries };
    memcpy(ret->diff_id, r.diff_id, sizeof(ret->diff_id));
    memcpy(ret->blob_digest, r.blob_digest, sizeof(ret->blob_digest));
    return 0;
}

/* Made before the fork: setting the process's locale takes a lock that another thread may have held then. */
static locale_t utf8_locale(void)
{
    static const char *const names[] = { "C.UTF-8", "C.utf8", "en_US.UTF-8" };
    locale_t l = 0;

    for (size_t i = 0; !l && i < ARRAY_LEN(names); i++)
        l = newlocale(LC_CTYPE_MASK, names[i], 0);
    return l;
}

int layer_unpack(struct ctx *ctx, const struct layer_job *job, struct layer_result *ret, struct err *err)
{
    static const char *const argv[] = { "unpack", NULL };
    AUTO_FD int report = memfd_create("layer", MFD_CLOEXEC);
    int fds[] = { job->blob_fd, job->root_fd, report, job->layers_fd };
    struct spawn spec = SPAWN_INIT;
    struct spawn_result result = { 0 };
    struct layer_job copy = *job;

    if (report < 0)
        return err_sys(err, errno, "unpack a layer");
    spec.argv = argv;
    spec.die_with_parent = true; /* or it would write on while the next start removes what is not finished; this thread waits for it */
    spec.pass_fds = fds;
    spec.n_pass_fds = job->layers_fd >= 0 ? 4 : 3;
    copy.locale = utf8_locale();
    int rc = spawn_call(ctx, &spec, child_main, &copy, &result, err);
    if (copy.locale)
        freelocale(copy.locale);
    if (rc < 0)
        return rc;
    int code = result.exit_code;
    spawn_result_clear(&result);
    if (code > 1)
        return err_set(err, ERR_IO, "the child that unpacks ended with code %d", code);
    return judge(job, report, ret, err);
}
