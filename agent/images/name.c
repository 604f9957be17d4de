#include "agent/images/name.h"

#include "agent/images/digest.h"

#include <ctype.h>
#include <string.h>

enum { NAME_MAX_CHARS = 255, TAG_MAX_CHARS = 128, TEXT_MAX_CHARS = 1024 };

#define LOWER_NUM "abcdefghijklmnopqrstuvwxyz0123456789"
#define ALNUM     "ABCDEFGHIJKLMNOPQRSTUVWXYZ" LOWER_NUM

/* One name between slashes: runs of lower-case letters and digits joined by ".", "_", "__" or dashes. */
static bool component_ok(const char *s, size_t n)
{
    size_t at = 0;

    for (;;) {
        size_t run = strspn(s + at, LOWER_NUM);

        if (run > n - at)
            run = n - at;
        if (run == 0)
            return false;
        at += run;
        if (at == n)
            return true;
        size_t dashes = strspn(s + at, "-");
        size_t joint = dashes ? dashes : s[at] == '.' ? 1 : strncmp(s + at, "__", 2) == 0 ? 2 : s[at] == '_' ? 1 : 0;

        if (joint == 0 || at + joint >= n)
            return false;
        at += joint;
    }
}

static bool repository_ok(const char *s)
{
    for (;;) {
        size_t n = strcspn(s, "/");

        if (!component_ok(s, n))
            return false;
        if (!s[n])
            return true;
        s += n + 1;
    }
}

static bool port_ok(const char *s)
{
    return *s == '\0' || (*s == ':' && s[1] && strspn(s + 1, "0123456789") == strlen(s + 1));
}

static bool registry_ok(const char *s)
{
    if (*s == '[') {
        size_t n = strspn(s + 1, "0123456789abcdefABCDEF:");

        return n > 0 && s[1 + n] == ']' && port_ok(s + n + 2);
    }
    for (;;) {
        size_t n = strspn(s, ALNUM "-");

        if (n == 0 || s[0] == '-' || s[n - 1] == '-')
            return false;
        s += n;
        if (*s != '.')
            return port_ok(s);
        s++;
    }
}

static bool tag_ok(const char *s)
{
    size_t n = strlen(s);

    return n > 0 && n <= TAG_MAX_CHARS && *s != '.' && *s != '-' && strspn(s, ALNUM "_.-") == n;
}

static bool has_upper(const char *s)
{
    for (; *s; s++)
        if (isupper((unsigned char)*s))
            return true;
    return false;
}

/* Whether what stands before the first slash is a registry. */
static bool is_registry(const char *s, size_t n)
{
    bool marked = false, upper = false;

    for (size_t i = 0; i < n; i++) {
        marked |= s[i] == '.' || s[i] == ':';
        upper |= isupper((unsigned char)s[i]) != 0;
    }
    return marked || upper || (n == 9 && strncmp(s, "localhost", 9) == 0);
}

static int bad(const char *text, const char *why, struct err *err)
{
    return err_set(err, ERR_INVALID, "couldn't parse image name \"%.200s\": %s", text, why);
}

/* Cuts "@digest" and ":tag" off. */
static int cut_tail(const char *text, char *rest, struct image_name *n, struct err *err)
{
    char *at = strchr(rest, '@'), *slash, *colon;

    if (at) {
        *at = '\0';
        if (strncmp(at + 1, "sha256:", 7) != 0 && strchr(at + 1, ':'))
            return bad(text, "unsupported digest algorithm", err);
        if (!digest_ok(at + 1))
            return bad(text, "invalid reference format", err);
        n->digest = mem_strdup(at + 1);
    }
    slash = strrchr(rest, '/');
    colon = strrchr(slash ? slash : rest, ':');
    if (colon) {
        *colon = '\0';
        if (!tag_ok(colon + 1))
            return bad(text, "invalid reference format", err);
        n->tag = mem_strdup(colon + 1);
    }
    return 0;
}

static int read_parts(const char *text, char *rest, struct image_name *n, struct err *err)
{
    const char *slash = strchr(rest, '/'), *path = rest;

    if (strlen(rest) == 64 && strspn(rest, "0123456789abcdef") == 64)
        return bad(text, "invalid repository name, cannot specify 64-byte hexadecimal strings", err);
    if (cut_tail(text, rest, n, err) < 0)
        return -ERR_INVALID;
    if (slash && is_registry(rest, (size_t)(slash - rest))) {
        n->registry = slice_dup((struct slice){ rest, (size_t)(slash - rest) });
        path = slash + 1;
    }
    if (!n->registry || strcmp(n->registry, "index.docker.io") == 0) {
        free(n->registry);
        n->registry = mem_strdup("docker.io");
    }
    bool library = strcmp(n->registry, "docker.io") == 0 && *path && !strchr(path, '/');
    n->repository = mem_printf("%s%s", library ? "library/" : "", path);
    if (has_upper(n->repository))
        return err_set(err, ERR_INVALID, "couldn't parse image name \"%.200s\": invalid reference format: repository name (%.100s) must be lowercase",
                       text, n->repository);
    if (!registry_ok(n->registry) || !repository_ok(n->repository))
        return bad(text, "invalid reference format", err);
    if (strlen(n->repository) > NAME_MAX_CHARS)
        return bad(text, "repository name must not be more than 255 characters", err);
    return 0;
}

int image_name_read(const char *text, struct image_name *ret, struct err *err)
{
    AUTO(image_name) struct image_name n = { 0 };
    AUTO_FREE char *rest = NULL;

    if (!*text || strlen(text) > TEXT_MAX_CHARS)
        return bad(text, "invalid reference format", err);
    rest = mem_strdup(text);
    if (read_parts(text, rest, &n, err) < 0)
        return -ERR_INVALID;
    if (!n.tag)
        n.tag = mem_strdup(n.digest ? "" : "latest");
    if (!n.digest)
        n.digest = mem_strdup("");
    n.canonical = *n.digest ? image_name_with_digest(&n, n.digest) : mem_printf("%s/%s:%s", n.registry, n.repository, n.tag);
    *ret = n;
    n = (struct image_name){ 0 };
    return 0;
}

void image_name_clear(struct image_name *n)
{
    free(n->canonical);
    free(n->registry);
    free(n->repository);
    free(n->tag);
    free(n->digest);
    *n = (struct image_name){ 0 };
}

const char *image_name_object(const struct image_name *n)
{
    return *n->digest ? n->digest : n->tag;
}

char *image_name_with_digest(const struct image_name *n, const char *digest)
{
    return mem_printf("%s/%s@%s", n->registry, n->repository, digest);
}

/* Hands out what is asked for. */
static void give(char **from, char **ret)
{
    if (ret)
        *ret = TAKE(*from);
}

int image_name_parse(const char *text, char **ret_canonical, char **ret_registry, char **ret_repository, char **ret_tag,
                     char **ret_digest, struct err *err)
{
    AUTO(image_name) struct image_name n = { 0 };
    int rc = image_name_read(text, &n, err);

    if (rc < 0)
        return rc;
    give(&n.canonical, ret_canonical);
    give(&n.registry, ret_registry);
    give(&n.repository, ret_repository);
    give(&n.tag, ret_tag);
    give(&n.digest, ret_digest);
    return 0;
}
