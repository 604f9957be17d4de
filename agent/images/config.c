/* The image configuration: what a container runs, and which layers in which order. */
#include "agent/images/manifest.h"

#include "agent/images/digest.h"

#include <string.h>

void image_info_clear(struct image_info *info)
{
    free(info->id);
    free(info->repo_digest);
    strv_free(info->names);
    strv_free(info->entrypoint);
    strv_free(info->cmd);
    strv_free(info->env);
    strv_free(info->volumes);
    free(info->working_dir);
    free(info->user);
    free(info->stop_signal);
    *info = (struct image_info){ 0 };
}

void image_config_clear(struct image_config *c)
{
    image_info_clear(&c->info);
    strv_free(c->diff_ids);
    *c = (struct image_config){ 0 };
}

static int settings_read(const json_t *v, struct image_info *info, struct err *err)
{
    const struct {
        const char *key;
        char ***to;
    } lists[] = {
        { "config.Entrypoint", &info->entrypoint },
        { "config.Cmd", &info->cmd },
        { "config.Env", &info->env },
        { "config.Volumes", &info->volumes },
    };

    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        int rc = strv_read(json_at(v, lists[i].key), lists[i].key, lists[i].to, err);
        if (rc < 0)
            return rc;
    }
    info->working_dir = mem_strdup(json_str_or(v, "config.WorkingDir", ""));
    info->user = mem_strdup(json_str_or(v, "config.User", ""));
    info->stop_signal = mem_strdup(json_str_or(v, "config.StopSignal", ""));
    info->repo_digest = mem_strdup("");
    info->names = mem_zalloc(sizeof(char *));
    return 0;
}

static int config_read(const json_t *v, struct image_config *c, struct err *err)
{
    const json_t *ids = json_at(v, "rootfs.diff_ids");

    if (!json_is_object(v))
        return err_set(err, ERR_INVALID, "the image configuration is no object");
    if (ids && !json_is_null(ids) && !json_is_array(ids))
        return err_set(err, ERR_INVALID, "rootfs.diff_ids is no list");
    int rc = strv_read(ids, "rootfs.diff_ids", &c->diff_ids, err);
    if (rc < 0)
        return rc;
    c->n = strv_len(c->diff_ids);
    if (c->n > IMAGE_LAYERS_MAX)
        return err_set(err, ERR_INVALID, "%zu layers, at most %d", c->n, IMAGE_LAYERS_MAX);
    for (size_t i = 0; i < c->n; i++)
        if (!digest_ok(c->diff_ids[i]))
            return err_set(err, ERR_INVALID, "rootfs.diff_ids[%zu] is no sha256 digest", i);
    return settings_read(v, &c->info, err);
}

int image_config_parse(const char *text, size_t n, struct image_config *ret, struct err *err)
{
    AUTO(json) json_t *v = NULL;
    AUTO(image_config) struct image_config c = { 0 };
    char id[DIGEST_CHARS + 1];

    if (n > MANIFEST_MAX_BYTES)
        return err_set(err, ERR_INVALID, "the image configuration has more than %d bytes", MANIFEST_MAX_BYTES);
    if (json_read(text, n, NULL, NULL, &v, err) < 0) {
        err->code = ERR_INVALID;
        return err_wrap(err, "image configuration");
    }
    int rc = config_read(v, &c, err);
    if (rc < 0)
        return rc;
    digest_of(text, n, id);
    c.info.id = mem_strdup(id);
    *ret = c;
    c = (struct image_config){ 0 };
    return 0;
}
