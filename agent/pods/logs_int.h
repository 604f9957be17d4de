#ifndef AGENT_PODS_LOGS_INT_H
#define AGENT_PODS_LOGS_INT_H
/* logs_int - the parts of reading container logs that need no loop. Thread: any. */
#include "agent/pods/logs.h"

struct log_line {
    struct slice time, stream, text; /* text without the line end */
    bool whole;                      /* 'F': a line ends here */
    int64_t us;
};
/* One physical line without its '\n'. false: it is none of the format. */
bool log_parse(const char *line, size_t n, struct log_line *ret);

/* What comes out of physical lines. */
struct log_format {
    struct log_options want;
    int64_t left;  /* bytes that may still go out; -1: no end */
    bool mid_line; /* the last one out was a part */
};
void log_format_add(struct log_format *f, const char *line, size_t n, struct buf *to);

/* The files of one log, oldest first, the current one last; names in the folder. */
struct log_files {
    char **at;
    size_t n;
};
CHECK_RC int log_files_list(int dir, const char *name, struct log_files *ret, struct err *err);
void log_files_clear(struct log_files *f);

enum { LOG_BLOCK_BYTES = 32 * 1024 };
/* Where the last *lines lines of an open file begin; *lines is what is still missing then. */
CHECK_RC int log_tail_start(int fd, int64_t *lines, int64_t *ret_offset, struct err *err);
/* Opens the folder of a path; *ret_name points into path. */
CHECK_RC int log_folder(const char *path, int *ret_dir, const char **ret_name, struct err *err);
/* Opens where reading is to begin, by tail and since. Errors: NOT_FOUND. */
CHECK_RC int log_start_at(int dir, const char *name, const struct log_options *want, int *ret_fd, struct err *err);

#endif
