#include "agent/images/digest.h"
#include "agent/images/manifest.h"
#include "agent/images/name.h"
#include "agent/images/pull_int.h"
#include "agent/images/registries.h"
#include "agent/images/remote_int.h"
#include "lib/mem.h"
#include "tests/unit/test.h"

#include <fcntl.h>

#define SHA "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define SHB "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

TEST(images_name_forms)
{
    static const struct {
        const char *text, *canonical, *registry, *repository;
    } table[] = {
        { "nginx", "docker.io/library/nginx:latest", "docker.io", "library/nginx" },
        { "nginx:1.2", "docker.io/library/nginx:1.2", "docker.io", "library/nginx" },
        { "a/b", "docker.io/a/b:latest", "docker.io", "a/b" },
        { "index.docker.io/nginx", "docker.io/library/nginx:latest", "docker.io", "library/nginx" },
        { "localhost/x", "localhost/x:latest", "localhost", "x" },
        { "localhost:5000/x/y:v1", "localhost:5000/x/y:v1", "localhost:5000", "x/y" },
        { "ghcr.io/a/b__c/d.e-f--g:T_1.x", "ghcr.io/a/b__c/d.e-f--g:T_1.x", "ghcr.io", "a/b__c/d.e-f--g" },
        { "[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000", "x" },
        { "nginx@" SHA, "docker.io/library/nginx@" SHA, "docker.io", "library/nginx" },
        { "nginx:1@" SHA, "docker.io/library/nginx@" SHA, "docker.io", "library/nginx" },
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        char *canonical, *registry, *repository, *tag, *digest;
        struct err err;

        CHECK_INT(image_name_parse(table[i].text, &canonical, &registry, &repository, &tag, &digest, &err), 0);
        CHECK_STR(canonical, table[i].canonical);
        CHECK_STR(registry, table[i].registry);
        CHECK_STR(repository, table[i].repository);
        free(canonical);
        free(registry);
        free(repository);
        free(tag);
        free(digest);
    }
}

TEST(images_name_gives_what_is_asked)
{
    char *tag;
    struct err err;

    CHECK_INT(image_name_parse("a/b:c", NULL, NULL, NULL, &tag, NULL, &err), 0);
    CHECK_STR(tag, "c");
    free(tag);
}

TEST(images_name_refused)
{
    static const char *const table[] = { "", "Nginx", "nginx:", ":x", "a//b", "/a", "a/", "a b", "a@sha256:1", "a@md5:0123", "-a/b", "a/.b", "a/b-",
                                         "a/b:-x", "a:b:c", "x.y:port/z", "a/_b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                                         "a/b___c", "../x", "a/../b", "docker.io/", "nginx@" SHA "0" };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct image_name n;
        struct err err = { 0 };

        if (image_name_read(table[i], &n, &err) != -ERR_INVALID) {
            fprintf(stderr, "\"%s\" was taken\n", table[i]);
            exit(1);
        }
        CHECK(strncmp(err.msg, "couldn't parse image name \"", 27) == 0);
    }
}

TEST(images_manifest_platforms)
{
#define ENTRY(digest, platform) "{\"digest\":\"" digest "\",\"size\":1,\"platform\":{" platform "}}"
    static const char text[] = "{\"schemaVersion\":2,\"manifests\":[" ENTRY(SHA, "\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v6\"") ","
        ENTRY(SHB, "\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v7\"") "," ENTRY(SHA, "\"os\":\"windows\",\"architecture\":\"amd64\"") "]}";
    struct manifest m;
    struct err err = { 0 };
    size_t at = 9;

    CHECK_INT(manifest_parse(text, strlen(text), "application/vnd.oci.image.index.v1+json", &m, &err), 0);
    CHECK(m.index && m.n == 3);
    CHECK_INT(manifest_choose(&m, "linux", "arm", &at, &err), 0);
    CHECK_INT(at, 1);
    CHECK_INT(manifest_choose(&m, "linux", "amd64", &at, &err), -ERR_NOT_FOUND);
    CHECK(strstr(err.msg, "no match for platform in manifest"));
    manifest_clear(&m);
    /* Neither may one text be two things, nor another than its type says. */
    static const char both[] = "{\"schemaVersion\":2,\"manifests\":[],\"layers\":[]}";
    CHECK_INT(manifest_parse(both, strlen(both), NULL, &m, &err), -ERR_INVALID);
    CHECK_INT(manifest_parse(text, strlen(text), "application/vnd.oci.image.manifest.v1+json", &m, &err), -ERR_INVALID);
    CHECK_INT(manifest_parse("{\"schemaVersion\":1}", 19, NULL, &m, &err), -ERR_INVALID);
}

TEST(images_chain_ids)
{
    char a[DIGEST_CHARS + 1], b[DIGEST_CHARS + 1];

    digest_chain("", SHA, a);
    CHECK_STR(a, SHA);
    digest_chain(a, SHB, b);
    digest_of(SHA " " SHB, 2 * DIGEST_CHARS + 1, a);
    CHECK_STR(b, a);
}

TEST(images_challenges)
{
    struct challenge c;

    challenge_parse("Basic realm=\"x\", Bearer realm=\"https://a/token\",service=\"r\\\"s\",scope=\"repository:a/b:pull,push\"", &c);
    CHECK_STR(c.scheme, "bearer");
    CHECK_STR(c.realm, "https://a/token");
    CHECK_STR(c.service, "r\"s");
    CHECK_STR(c.scope, "repository:a/b:pull,push");
    challenge_clear(&c);
    challenge_parse("Negotiate, basic Realm=registry", &c);
    CHECK_STR(c.scheme, "basic");
    challenge_clear(&c);
    static const char *const bad[] = { "", "Bearer", "Bearer realm", "\"\"", "=", ",,,", "Bearer service=\"x" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        challenge_parse(bad[i], &c);
        CHECK(c.scheme == NULL);
        challenge_clear(&c);
    }
}

TEST(images_credentials_match)
{
    CHECK_INT(pull_auth_match("https://index.docker.io/v1/", "docker.io/library/nginx"), 15);
    CHECK_INT(pull_auth_match("docker.io", "docker.io/a/b"), 9);
    CHECK_INT(pull_auth_match("*.example.com", "r.example.com/a"), 13);
    CHECK_INT(pull_auth_match("*.example.com", "a.b.example.com/a"), 0);
    CHECK_INT(pull_auth_match("host:5000/team", "host:5000/team/x"), 14);
    CHECK_INT(pull_auth_match("host:5000/team", "host:5000/teams/x"), 0);
    CHECK_INT(pull_auth_match("host:5000", "host:5001/x"), 0);
    CHECK_INT(pull_auth_match("", "host/x"), 0);
}

static struct registries *read_text(const char *text, struct err *err)
{
    char path[] = "/tmp/images-registries-XXXXXX";
    int fd = mkstemp(path);
    struct registries *r = NULL;

    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    if (registries_read(path, &r, err) < 0)
        r = NULL;
    unlink(path);
    return r;
}

TEST(images_registries_endpoints)
{
    struct err err = { 0 };
    struct registries *r = read_text("mirrors:\n  docker.io:\n    endpoint:\n      - http://mirror:5000\n      - https://other/api/\n"
                                     "    rewrite:\n      \"^library/(.*)\": \"cache/$1\"\n  \"*\":\n    endpoint: [any:443]\n"
                                     "configs:\n  mirror:5000:\n    auth: {username: u, password: p}\n  \"*\":\n    tls: {insecure_skip_verify: true}\n"
                                     "  registry-1.docker.io:\n    auth:\n      auth: YTpiOmM=\n", &err);
    struct registry_host *h;
    struct registry_config c;
    size_t n;

    CHECK(r != NULL);
    CHECK_INT(registry_hosts(r, "docker.io", "library/nginx", &h, &n, &err), 0);
    CHECK_INT(n, 3);
    CHECK_STR(h[0].scheme, "http");
    CHECK_STR(h[0].host, "mirror:5000");
    CHECK_STR(h[0].prefix, "/v2");
    CHECK_STR(h[0].repository, "cache/nginx");
    CHECK_STR(h[1].prefix, "/api");
    CHECK_STR(h[2].host, "registry-1.docker.io");
    CHECK_STR(h[2].scheme, "https");
    CHECK_STR(h[2].repository, "library/nginx");
    CHECK(h[0].mirror && !h[2].mirror);
    registry_hosts_free(h, n);
    CHECK_INT(registry_hosts(r, "127.0.0.1:5000", "x", &h, &n, &err), 0);
    CHECK_STR(h[0].host, "any:443");
    CHECK_STR(h[0].scheme, "https");
    CHECK_STR(h[1].scheme, "http");
    registry_hosts_free(h, n);
    registry_config_of(r, "mirror:5000", &c);
    CHECK_STR(c.username, "u");
    registry_config_of(r, "registry-1.docker.io", &c);
    CHECK_STR(c.username, "a");
    CHECK_STR(c.password, "b:c");
    registry_config_of(r, "elsewhere", &c);
    CHECK(c.insecure);
    registries_free(r);
}

TEST(images_registries_refused)
{
    static const struct {
        const char *text, *says;
    } table[] = {
        { "mirrors:\n  a:\n    endpoint: x\n", "line 3: mirrors.a.endpoint: expected a list" },
        { "configs:\n  b:\n    tls:\n      insecure_skip_verify: maybe\n", "line 4: configs.b.insecure_skip_verify: expected true or false" },
        { "mirrors:\n  a:\n    rewrite:\n      \"(\": x\n", "line 3: mirrors.a.rewrite: bad pattern" },
        { "mirrors: [\n", "yaml: line" },
        { "[]\n", "line 1: expected a map" },
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct err err = { 0 };

        CHECK(read_text(table[i].text, &err) == NULL);
        CHECK_INT(err.code, ERR_BAD_REQUEST);
        if (!strstr(err.msg, table[i].says) || !strstr(err.msg, "/tmp/images-registries-")) {
            fprintf(stderr, "%s\n", err.msg);
            exit(1);
        }
    }
}
