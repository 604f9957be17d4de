#ifndef SERVER_SCHEMA_KINDS_BATCH_H
#define SERVER_SCHEMA_KINDS_BATCH_H
/* batch - the checks of the batch group. Thread: the tree's. */
#include "server/schema/kind.h"

void job_validate(struct ctx *ctx, const json_t *job, struct field_errors *errs);
void job_validate_update(struct ctx *ctx, const json_t *job, const json_t *old, struct field_errors *errs);
void job_validate_status(struct ctx *ctx, const json_t *job, const json_t *old, struct field_errors *errs);
/* Generated labels and selector are looked at when a job is made, not later. */
int job_begin(struct ctx *ctx, struct kind_env *env, json_t *job, const json_t *old, bool dry_run, struct err *err);
void cron_job_validate(struct ctx *ctx, const json_t *cron, struct field_errors *errs);
void cron_job_validate_update(struct ctx *ctx, const json_t *cron, const json_t *old, struct field_errors *errs);
int cron_job_begin(struct ctx *ctx, struct kind_env *env, json_t *cron, const json_t *old, bool dry_run, struct err *err);

#endif
