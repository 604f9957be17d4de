#include "lib/auto.h"
#include "lib/file.h"
#include "test.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

static int scratch_dir(void)
{
    char path[] = "/tmp/rancherd-test-XXXXXX";

    CHECK(mkdtemp(path) != NULL);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

static int entries_in(int dir_fd)
{
    DIR *dir = fdopendir(openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    int n = 0;

    CHECK(dir != NULL);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n - 2;
}

TEST(file_replace_then_read_gives_the_same_bytes)
{
    AUTO_FD int dir_fd = scratch_dir();
    AUTO_FREE char *got = NULL;
    size_t n_bytes = 0;
    struct err err;

    CHECK_INT(file_replace(dir_fd, "status", "one", 3, &err), 0);
    CHECK_INT(file_replace(dir_fd, "status", "second", 6, &err), 0);
    CHECK_INT(file_read(dir_fd, "status", 6, &got, &n_bytes, &err), 0);
    CHECK_STR(got, "second");
    CHECK_INT(n_bytes, 6);
    CHECK_INT(entries_in(dir_fd), 1);
}

TEST(file_replace_that_fails_leaves_nothing_behind)
{
    AUTO_FD int dir_fd = scratch_dir();
    struct err err;

    CHECK_INT(mkdirat(dir_fd, "taken", 0700), 0);
    CHECK(file_replace(dir_fd, "taken", "x", 1, &err) < 0);
    CHECK(err.sys != 0);
    CHECK_INT(entries_in(dir_fd), 1);
}

TEST(file_read_refuses_more_than_the_limit)
{
    AUTO_FD int dir_fd = scratch_dir();
    char *got = NULL;
    size_t n_bytes = 0;
    struct err err;

    CHECK_INT(file_replace(dir_fd, "big", "12345", 5, &err), 0);
    CHECK_INT(file_read(dir_fd, "big", 4, &got, &n_bytes, &err), -ERR_TOO_LARGE);
    CHECK(got == NULL);
    CHECK_INT(file_read(dir_fd, "absent", 4, &got, &n_bytes, &err), -ERR_NOT_FOUND);
    CHECK_INT(err_http(&err), 500); /* our missing file is not the client's 404 */
}

TEST(err_wrap_cuts_the_context_and_keeps_the_cause)
{
    struct err err;
    char longer[2 * ERR_MSG_BYTES];

    memset(longer, 'w', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    CHECK_INT(err_set(&err, ERR_CONFLICT, "the cause"), -ERR_CONFLICT);
    CHECK_INT(err_wrap(&err, "%s", longer), -ERR_CONFLICT);
    CHECK_INT(strlen(err.msg), ERR_MSG_BYTES - 1);
    CHECK_STR(err.msg + strlen(err.msg) - strlen("the cause"), "the cause");
    CHECK_STR(err_reason(&err), "Conflict");
}
