#include "server/supervisor/token.h"

#include "lib/auto.h"
#include "lib/bytes.h"
#include "lib/crypto.h"
#include "lib/file.h"
#include "lib/k8s/join_token.h"
#include "lib/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { TOKEN_MAX_BYTES = 4096 };

static char *random_password(void)
{
    unsigned char raw[16];
    char *hex = mem_alloc(2 * sizeof(raw) + 1);

    random_bytes(raw, sizeof(raw));
    return hex_of(raw, sizeof(raw), hex);
}

/* The password in a token file; *ret NULL when there is no file. */
static int read_token(int dir_fd, const char *name, char **ret, struct err *err)
{
    AUTO_FREE char *text = NULL;
    struct join_token t;
    size_t n = 0;

    *ret = NULL;
    if (file_read(dir_fd, name, TOKEN_MAX_BYTES, &text, &n, err) < 0)
        return err->code == ERR_NOT_FOUND ? 0 : err_wrap(err, "token file %s", name);
    text[strcspn(text, "\r\n")] = '\0';
    if (join_token_parse(text, &t, err) < 0)
        return err_wrap(err, "token file %s", name);
    *ret = mem_strdup(t.password);
    join_token_clear(&t);
    return 0;
}

static int settle(int dir_fd, const char *name, const char *given, const char *otherwise, char **ret, struct err *err)
{
    AUTO_FREE char *had = NULL;
    struct join_token t = { 0 };

    if (read_token(dir_fd, name, &had, err) < 0)
        return -(int)err->code;
    if (given) {
        if (join_token_parse(given, &t, err) < 0)
            return -(int)err->code;
        *ret = mem_strdup(t.password);
        join_token_clear(&t);
        if (had && strcmp(had, *ret) != 0) {
            free(TAKE(*ret));
            return err_set(err, ERR_CONFLICT, "the given token does not match the one this cluster was made with (%s)", name);
        }
        return 0;
    }
    *ret = had ? TAKE(had) : otherwise ? mem_strdup(otherwise) : random_password();
    return 0;
}

static int write_token(int dir_fd, const char *name, const char *text, struct err *err)
{
    AUTO_FREE char *line = mem_printf("%s\n", text);

    return file_replace(dir_fd, name, line, strlen(line), err);
}

static int link_token(int dir_fd, const char *name, const char *target, struct err *err)
{
    if (unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT)
        return err_sys(err, errno, "replace %s", name);
    if (symlinkat(target, dir_fd, name) < 0)
        return err_sys(err, errno, "link %s to %s", name, target);
    return 0;
}

static int write_passwd(int dir_fd, const struct tokens *t, struct err *err)
{
    AUTO_FREE char *text = mem_printf("%s,server,server,rancherd:server\n%s,node,node,rancherd:agent\n", t->server, t->agent);

    if (mkdirat(dir_fd, "cred", 0700) < 0 && errno != EEXIST)
        return err_sys(err, errno, "make cred");
    AUTO_FD int cred = openat(dir_fd, "cred", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (cred < 0)
        return err_sys(err, errno, "open cred");
    return file_replace(cred, "passwd", text, strlen(text), err);
}

int tokens_open(const char *server_dir, const char *ca_pem, const char *given, const char *given_agent, struct tokens *ret, struct err *err)
{
    AUTO_FD int dir_fd = open(server_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char hash[65];
    bool apart = given_agent != NULL;
    struct tokens t = { 0 };
    int rc = 0;

    if (dir_fd < 0)
        return err_sys(err, errno, "open %s", server_dir);
    rc = settle(dir_fd, "token", given, NULL, &t.server, err);
    if (rc == 0)
        rc = settle(dir_fd, "agent-token", given_agent, t.server, &t.agent, err);
    if (rc == 0) {
        apart = apart || strcmp(t.agent, t.server) != 0;
        join_token_hash(ca_pem, hash);
        t.server_text = mem_printf("K10%s::server:%s", hash, t.server);
        t.agent_text = mem_printf("K10%s::node:%s", hash, t.agent);
        rc = write_token(dir_fd, "token", t.server_text, err);
    }
    if (rc == 0)
        rc = apart ? write_token(dir_fd, "agent-token", t.agent_text, err) : link_token(dir_fd, "agent-token", "token", err);
    if (rc == 0)
        rc = link_token(dir_fd, "node-token", "token", err);
    if (rc == 0)
        rc = write_passwd(dir_fd, &t, err);
    if (rc < 0) {
        tokens_clear(&t);
        return err_wrap(err, "tokens in %s", server_dir);
    }
    *ret = t;
    return 0;
}

void tokens_clear(struct tokens *t)
{
    free(t->server);
    free(t->agent);
    free(t->server_text);
    free(t->agent_text);
    *t = (struct tokens){ 0 };
}
