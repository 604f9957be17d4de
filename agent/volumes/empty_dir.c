/* emptyDir on disk, in memory and in huge pages. */
#include "agent/volumes/tree.h"
#include "agent/volumes/volumes_int.h"

#include "lib/k8s/pod_resources.h"
#include "lib/k8s/quantity.h"
#include "lib/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

static mode_t wanted_mode(const json_t *source)
{
    return (mode_t)json_int_or(source, "mode", 0777) & 01777;
}

/* Made under another name, so that what bears the right name has mode and group already. */
static int on_disk(struct volume_job *j, int parent, struct err *err)
{
    AUTO_FREE char *temporary = mem_printf("..new-%s", j->name);
    AUTO_FD int dir = -1;
    struct stat st;
    int rc;

    if (!fstatat(parent, j->name, &st, AT_SYMLINK_NOFOLLOW) && S_ISDIR(st.st_mode))
        return 0;
    rc = tree_remove(parent, temporary, err);
    if (rc == 0)
        rc = tree_make(parent, temporary, 0777, &dir, err);
    if (rc < 0)
        return rc;
    if (fchmod(dir, wanted_mode(j->source)))
        return err_sys(err, errno, "change the mode of %s", j->name);
    if (j->fs_group >= 0 && (rc = tree_chgrp(parent, temporary, (gid_t)j->fs_group, false, err)) < 0)
        return rc;
    if (renameat(parent, temporary, parent, j->name))
        return err_sys(err, errno, "rename %s", temporary);
    return 0;
}

/* Options both memory file systems know: who may write from the first moment on. */
static void owner_options(struct volume_job *j, struct buf *to)
{
    mode_t mode = wanted_mode(j->source);

    if (j->fs_group >= 0)
        buf_printf(to, "mode=%o,gid=%lld", mode | S_ISGID | 0770, (long long)j->fs_group);
    else
        buf_printf(to, "mode=%o", mode);
}

static int mount_here(struct volume_job *j, int parent, const char *parent_path, const char *type, const char *options, struct err *err)
{
    AUTO_FREE char *path = mem_printf("%s/%s", parent_path, j->name);
    bool mounted = false;
    int rc = tree_make(parent, j->name, 0755, NULL, err);

    if (rc == 0)
        rc = tree_is_mount(parent, j->name, &mounted, err);
    if (rc < 0 || mounted)
        return rc;
    if (mount(type, path, type, 0, options))
        return err_sys(err, errno, "mount %s with %s", type, options);
    return 0;
}

/* The pod's memory limit when every container has one, else 0. */
static int64_t pod_memory_limit(const json_t *pod)
{
    json_t *all = json_at(pod, "spec.containers"), *c;
    struct pod_sum sum;
    size_t i;

    json_array_foreach(all, i, c)
        if (quantity_json_value(json_at(c, "resources.limits.memory")) <= 0)
            return 0;
    pod_limits(pod, &sum);
    return sum.memory_bytes;
}

/* The least of what the node has, the pod may use, and the volume asks for. 0: no bound known. */
static int64_t memory_size(struct volume_job *j)
{
    AUTO(json) json_t *node = j->v->allocatable ? j->v->allocatable(j->v->arg) : NULL;
    int64_t all[] = { quantity_json_value(json_object_get(node, "memory")), pod_memory_limit(j->pod),
                      quantity_json_value(json_object_get(j->source, "sizeLimit")) };
    int64_t least = 0;

    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i] > 0 && (!least || all[i] < least))
            least = all[i];
    return least;
}

static int in_memory(struct volume_job *j, int parent, const char *parent_path, struct err *err)
{
    AUTO(buf) struct buf options = { 0 };
    int64_t size = memory_size(j);
    struct err why = { 0 };
    int rc;

    owner_options(j, &options);
    if (size > 0)
        buf_printf(&options, ",size=%lld", (long long)size);
    size_t n = buf_len(&options);
    buf_str(&options, ",noswap"); /* secrets and limits both want it; since Linux 6.4 */
    rc = mount_here(j, parent, parent_path, "tmpfs", buf_at(&options), &why);
    if (rc < 0 && why.sys == EINVAL) {
        buf_cut(&options, n);
        return mount_here(j, parent, parent_path, "tmpfs", buf_at(&options), err);
    }
    if (rc < 0)
        *err = why;
    return rc;
}

/* The page size the medium names, else the one size the containers ask for. 0: none. */
static int64_t page_size(struct volume_job *j, const char *medium, bool *ret_many)
{
    int64_t named = 0, found = 0;
    const char *key;
    json_t *all = json_at(j->pod, "spec.containers"), *c, *v;
    size_t i;

    if (medium[9] == '-') {
        AUTO(json) json_t *text = json_string(medium + 10);
        named = quantity_json_value(text);
    }
    json_array_foreach(all, i, c) {
        json_t *requests = json_at(c, "resources.requests");

        json_object_foreach(requests, key, v) {
            AUTO(json) json_t *text = strncmp(key, "hugepages-", 10) ? NULL : json_string(key + 10);
            int64_t size = text ? quantity_json_value(text) : 0;

            if (size <= 0 || (named && size != named))
                continue;
            *ret_many |= found && found != size;
            found = size;
        }
    }
    return found;
}

static int in_huge_pages(struct volume_job *j, int parent, const char *parent_path, const char *medium, struct err *err)
{
    AUTO(buf) struct buf options = { 0 };
    bool many = false;
    int64_t size = page_size(j, medium, &many);

    if (many)
        return err_set(err, ERR_INVALID, "medium: %s can't be used if container requests multiple huge page sizes", medium);
    if (!size)
        return err_set(err, ERR_INVALID, "medium %s: hugePages storage requested, but there is no resource request for huge pages", medium);
    owner_options(j, &options);
    buf_printf(&options, ",pagesize=%lld", (long long)size);
    return mount_here(j, parent, parent_path, "hugetlbfs", buf_at(&options), err);
}

int empty_dir_setup(struct volume_job *j, int parent, const char *parent_path, struct err *err)
{
    const char *medium = json_str_or(j->source, "medium", "");

    if (!*medium)
        return on_disk(j, parent, err);
    if (!strcmp(medium, "Memory"))
        return in_memory(j, parent, parent_path, err);
    if (!strcmp(medium, "HugePages") || !strncmp(medium, "HugePages-", 10))
        return in_huge_pages(j, parent, parent_path, medium, err);
    return err_set(err, ERR_INVALID, "unknown storage medium \"%s\"", medium);
}
