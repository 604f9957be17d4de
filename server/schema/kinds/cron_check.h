#ifndef SERVER_SCHEMA_KINDS_CRON_CHECK_H
#define SERVER_SCHEMA_KINDS_CRON_CHECK_H
/* cron_check - whether a text is a cron schedule. Thread: any. Source: robfig/cron v3 ParseStandard, which upstream uses. */
#include "lib/mem.h"

/* NULL when it is one; else what is wrong, in the parser's words. arena. */
const char *cron_invalid(struct arena *a, const char *schedule);

#endif
