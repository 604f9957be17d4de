#ifndef SERVER_SCHEMA_KINDS_POD_SPEC_H
#define SERVER_SCHEMA_KINDS_POD_SPEC_H
/*
 * pod_spec - pod specs wherever they are: in pods and in templates. Thread: the tree's.
 * Source: upstream pkg/apis/core/v1/defaults.go, pkg/apis/core/validation.
 */
#include "lib/json.h"
#include "lib/k8s/status.h"

/* Defaults of a pod template's spec; those that only pods get are pod_spec_default_pod's. spec NULL allowed. */
void pod_spec_default(json_t *spec);
void pod_spec_default_pod(json_t *spec);
/* "Guaranteed", "Burstable", "BestEffort". */
const char *pod_spec_qos(const json_t *spec);
/* path: "spec" or "spec.template.spec". */
void pod_spec_validate(const json_t *spec, const char *path, struct field_errors *errs);
/* A pod template (metadata and spec) of a workload, e.g. at "spec.template". */
void pod_template_validate(const json_t *template, const char *path, struct field_errors *errs);
/* The same of a workload that runs its pods for ever; kind is named where deadlines are refused. */
void pod_template_validate_always(const json_t *template, const char *path, const char *kind, struct field_errors *errs);
/* Resource requirements: requests do not exceed limits … */
void resources_validate(const json_t *resources, const char *path, struct field_errors *errs);

#endif
