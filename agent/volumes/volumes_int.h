#ifndef AGENT_VOLUMES_INT_H
#define AGENT_VOLUMES_INT_H
/* volumes_int - what the sources of volumes and the atomic writer share. */
#include "agent/volumes/volumes.h"
#include "lib/map.h"

#include <sys/types.h>

struct volumes {
    char *data_dir;
    struct client *client;
    const struct clock *clock;
    json_t *(*allocatable)(void *arg);
    void *arg;
    int pods_fd, memory_fd; /* <data_dir>/pods, <data_dir>/memory */
};

/* One volume of one pod while it is set up. */
struct volume_job {
    struct ctx *ctx;
    struct volumes *v;
    const json_t *pod, *volume; /* spec.volumes[i] */
    const json_t *source;       /* its configMap, secret, … */
    const char *name;
    int64_t again_ms;           /* -1: never */
    int64_t fs_group, fs_user;  /* -1: none */
};

/* --- payload.c: the files of a volume of content --- */
struct payload_file {
    mode_t mode;
    int64_t uid; /* -1: root's */
    struct bytes *data;
};
/* Path (clean) to struct payload_file. */
struct map *payload_new(void);
static inline void auto_map(struct map **m)
{
    map_free(*m);
}
/* Takes data over. Errors: INVALID, worded as upstream's atomic writer. */
CHECK_RC int payload_set(struct map *payload, const char *path, const struct payload_file *file, struct err *err);
CHECK_RC int payload_config_map(struct volume_job *j, const json_t *source, mode_t mode, struct map *to, struct err *err);
CHECK_RC int payload_secret(struct volume_job *j, const json_t *source, mode_t mode, struct map *to, struct err *err);
CHECK_RC int payload_downward(struct volume_job *j, const json_t *source, mode_t mode, struct map *to, struct err *err);
CHECK_RC int payload_trust_bundle(struct volume_job *j, const json_t *source, mode_t mode, struct map *to, struct err *err);

/* --- token.c --- */
/* dir: the volume as it is (-1: new), whose token goes on while it is fresh. Moves j->again_ms. */
CHECK_RC int payload_token(struct volume_job *j, const json_t *source, mode_t mode, int dir, struct map *to, struct err *err);

/* --- atomic.c --- */
/* Brings the folder parent/name (made where absent) to show exactly the payload, by one rename. Nothing is written when it does already. */
CHECK_RC int atomic_write(struct volume_job *j, int parent, const struct map *payload, struct err *err);

/* --- empty_dir.c, host_path.c --- */
CHECK_RC int empty_dir_setup(struct volume_job *j, int parent, const char *parent_path, struct err *err);
CHECK_RC int host_path_setup(struct volume_job *j, struct err *err);
/* A persistent volume claim bound to a volume on this node: parent/name becomes a link to it. */
CHECK_RC int claim_setup(struct volume_job *j, int parent, const char *claim, struct err *err);
CHECK_RC int path_no_backsteps(const char *path, struct err *err);

/* The volumeMounts of a container with this volume that other mounts lie under: their mount points are made inside. */
CHECK_RC int nested_mountpoints(struct volume_job *j, int dir, struct err *err);

#endif
