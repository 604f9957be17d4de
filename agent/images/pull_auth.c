/* Which credential is for which image. Source: Kubernetes documentation, "Interpretation of config.json". */
#include "agent/images/pull_int.h"

#include <fnmatch.h>
#include <string.h>

static size_t count(const char *s, size_t n, char c)
{
    size_t hits = 0;

    for (size_t i = 0; i < n; i++)
        hits += s[i] == c;
    return hits;
}

/* "*" stands for one part between dots, or a piece of it. */
static bool host_match(const char *pattern, size_t n, const char *host, size_t n_host)
{
    AUTO_FREE char *a = slice_dup((struct slice){ pattern, n }), *b = slice_dup((struct slice){ host, n_host });

    return count(a, n, '.') == count(b, n_host, '.') && fnmatch(a, b, FNM_NOESCAPE) == 0;
}

size_t pull_auth_match(const char *registry, const char *full)
{
    const char *rest = strstr(registry, "://"), *own = strchr(full, '/');

    rest = rest ? rest + 3 : registry;
    size_t n = strlen(rest), host = strcspn(rest, "/");
    while (n > 0 && rest[n - 1] == '/')
        n--;
    /* "/v1" and "/v2" are the API's, not the image's. */
    if (n == host + 3 && (strncmp(rest + host, "/v1", 3) == 0 || strncmp(rest + host, "/v2", 3) == 0))
        n = host;
    if (host > n)
        host = n;
    if (n == 0 || !own)
        return 0;
    if ((host == 15 && strncmp(rest, "index.docker.io", 15) == 0) || (host == 20 && strncmp(rest, "registry-1.docker.io", 20) == 0)) {
        if (strncmp(full, "docker.io/", 10) != 0)
            return 0;
    } else if (!host_match(rest, host, full, (size_t)(own - full))) {
        return 0;
    }
    size_t path = n - host;
    if (strncmp(rest + host, own, path) != 0 || (path > 0 && own[path] && own[path] != '/'))
        return 0;
    return n;
}
