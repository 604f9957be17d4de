#ifndef SERVER_SCHEMA_KINDS_CELL_H
#define SERVER_SCHEMA_KINDS_CELL_H
/*
 * cell - table cells in upstream's words. Thread: the tree's. ctx->arena must be there.
 * Source: upstream pkg/printers, k8s.io/apimachinery pkg/util/duration.
 */
#include "lib/ctx.h"
#include "lib/json.h"

enum { CELL_AGE_BYTES = 32 };

void cell_text(json_t *cells, const char *s);
/* The text at path, or `otherwise` when it is absent or empty. */
void cell_path(json_t *cells, const json_t *object, const char *path, const char *otherwise);
void cell_format(json_t *cells, const char *fmt, ...) PRINTF_LIKE(2, 3);
void cell_int(json_t *cells, int64_t n);
void cell_bool(json_t *cells, bool b);
/* "5m" since metadata.creationTimestamp; "<unknown>" without one. */
void cell_age(struct ctx *ctx, json_t *cells, const json_t *object);
/* For kinds whose row is Name and Age. */
void cell_age_only(struct ctx *ctx, const json_t *object, json_t *cells);
/* For kinds whose row is Name and Created At. */
void cell_created_at(struct ctx *ctx, const json_t *object, json_t *cells);
/* The same since an RFC 3339 time; NULL or "" is unknown. */
void cell_since(struct ctx *ctx, json_t *cells, const char *time);
/* Units: seconds. */
char *cell_duration(int64_t seconds, char to[CELL_AGE_BYTES]);
char *cell_since_text(struct ctx *ctx, const char *time, char to[CELL_AGE_BYTES]);
/* Names and images of a list of containers: two cells. */
void cell_containers(json_t *cells, const json_t *containers);
/* "a=b,c=d" sorted, "<none>" when empty. */
void cell_labels(struct ctx *ctx, json_t *cells, const json_t *map);
/* A LabelSelector; `none` for one without terms. */
void cell_selector(struct ctx *ctx, json_t *cells, const json_t *selector, const char *none);
/* "a,b" of an array of strings; `none` when empty. */
void cell_joined(json_t *cells, const json_t *strings, const char *none);
/* The texts sorted, each once, joined by commas; sorts `items`. arena. */
char *cell_sorted(struct arena *a, const char **items, size_t n);
/* Addresses of status.loadBalancer: arena. */
char *cell_load_balancer(struct ctx *ctx, const json_t *object);
/* RWO,ROX,… */
void cell_access_modes(json_t *cells, const json_t *modes);

#endif
