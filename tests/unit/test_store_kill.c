/* store: a process that writes, expires and compacts is killed at any moment; what it acknowledged is there. */
#include "store_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WRITERS = 4, ROUNDS = 30 };

/* Small enough that a write to the pipe is whole or not at all. */
struct ack {
    int writer;
    int64_t number, revision;
};

struct writer {
    struct fixture *f;
    int id, fd;
    int64_t number;
};

static void *write_and_tell(void *arg)
{
    struct writer *w = arg;
    char key[32], value[1500];

    memset(value, '.', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    for (;;) {
        struct ack ack = { .writer = w->id, .number = ++w->number };
        value[snprintf(value, 24, "%lld", (long long)ack.number)] = ' ';
        snprintf(key, sizeof(key), "/w%d", w->id);
        ack.revision = put(w->f, key, value);
        if (write(w->fd, &ack, sizeof(ack)) != sizeof(ack))
            _exit(1);
        snprintf(key, sizeof(key), "/other/%d/%lld", w->id, (long long)(ack.number % 50));
        if (ack.number % 3)
            put(w->f, key, value);
        else
            del(w->f, key);
    }
}

static void child_run(struct fixture *f, const int64_t *from, int fd)
{
    struct writer w[WRITERS];
    struct err err = { 0 };
    pthread_t t;

    fixture_reopen(f, NULL);
    for (int i = 0; i < WRITERS; i++) {
        w[i] = (struct writer){ .f = f, .id = i, .fd = fd, .number = from[i] };
        if (pthread_create(&t, NULL, write_and_tell, &w[i]))
            _exit(1);
    }
    for (;;) { /* until killed */
        int64_t revision = store_revision(f->s);
        if (revision > store_compacted(f->s) + 300 && store_compact(&f->ctx, f->s, revision - 100, &err) < 0)
            _exit(1);
        struct timespec ms = { .tv_nsec = 1000000 };
        nanosleep(&ms, NULL);
    }
}

struct last {
    int64_t number[WRITERS], revision;
};

static void take_acks(int fd, struct last *last, size_t most)
{
    struct ack ack;

    while (most-- > 0 && read(fd, &ack, sizeof(ack)) == sizeof(ack)) {
        CHECK(ack.number > last->number[ack.writer]);
        last->number[ack.writer] = ack.number;
        if (ack.revision > last->revision)
            last->revision = ack.revision;
    }
}

static int next_revision(void *arg, const struct store_event *e, struct err *err)
{
    (void)err;
    CHECK_INT(e->row.mod_revision, ++*(int64_t *)arg);
    CHECK(e->row.version == 1 || e->prev_value != NULL);
    return 0;
}

static void check_after(struct fixture *f, struct last *last)
{
    int64_t at, seen;
    struct err err = { 0 };
    char key[32];

    fixture_reopen(f, NULL);
    CHECK(store_revision(f->s) >= last->revision);
    for (int i = 0; i < WRITERS; i++) {
        snprintf(key, sizeof(key), "/w%d", i);
        int64_t number = strtoll(get(f, key, 0), NULL, 10);
        CHECK(number == last->number[i] || number == last->number[i] + 1);
        last->number[i] = number;
    }
    at = store_compacted(f->s) ? store_compacted(f->s) : 1;
    while (at < store_revision(f->s)) {
        seen = at;
        CHECK_INT(store_log(&f->ctx, f->s, SLICE_LIT("/"), SLICE_LIT("\0"), at, 0, next_revision, &seen, &at, &err), 0);
        CHECK_INT(seen, at);
    }
    CHECK_INT(at, store_revision(f->s));
    store_close(f->s);
    f->s = NULL;
}

static void one_round(struct fixture *f, struct last *last, unsigned *seed)
{
    int fds[2], status = 0;
    pid_t parent = getpid();

    CHECK_INT(pipe(fds), 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        close(fds[0]);
        alarm(20); /* should the parent be gone */
        if (getppid() == parent)
            child_run(f, last->number, fds[1]);
        _exit(1);
    }
    close(fds[1]);
    take_acks(fds[0], last, 1 + (size_t)rand_r(seed) % 300);
    struct timespec luck = { .tv_nsec = rand_r(seed) % 3000000 };
    nanosleep(&luck, NULL);
    kill(pid, SIGKILL);
    CHECK_INT(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    take_acks(fds[0], last, SIZE_MAX);
    close(fds[0]);
    check_after(f, last);
}

TEST(store_kill_9)
{
    struct fixture f;
    struct last last = { 0 };
    unsigned seed = 4711;

    fixture_make(&f);
    for (int i = 0; i < ROUNDS; i++)
        one_round(&f, &last, &seed);
    CHECK(last.revision > ROUNDS * WRITERS);
    fixture_remove(&f);
}
