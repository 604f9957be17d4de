#ifndef TESTS_ADMISSION_FIXTURE_H
#define TESTS_ADMISSION_FIXTURE_H
/* Admission over a real store: objects go in as YAML, requests come out as what the steps made of them. */
#include "server/admission/admission.h"
#include "server/auth/authz.h"
#include "tests/unit/store_fixture.h"

struct adm {
    struct fixture store;
    struct ctx ctx;
    struct authz *authz;
    struct admission *a;
    struct user user;
    const char *groups[4];
    char error[1024];    /* of the last request; "" */
    char warnings[2048]; /* joined by '\n' */
    json_t *object;      /* of the last request, after mutation; NULL for DELETE */
};

void adm_open(struct adm *f);
void adm_close(struct adm *f);
/* Who asks from now on; group NULL: only system:authenticated. */
void adm_user(struct adm *f, const char *name, const char *group);
/* Stores an object and tells the index, as the API's stream does. */
void adm_put(struct adm *f, const char *yaml);
void adm_del(struct adm *f, const char *yaml);
/* The live object as JSON text; overwritten by the next call. */
const char *adm_get(struct adm *f, const char *yaml);
/* Runs mutation and validation. Gives the refusal's message, "" when admitted. */
const char *adm_create(struct adm *f, const char *yaml);
const char *adm_update(struct adm *f, const char *sub, const char *yaml, const char *old);
const char *adm_delete(struct adm *f, const char *yaml);
/* JSON text of a member of the last object, "" without one. */
const char *adm_at(struct adm *f, const char *path);

#endif
