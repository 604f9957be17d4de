#include "cmd/flags_int.h"

#include "lib/bytes.h"
#include "lib/json.h"
#include "lib/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const size_t none = (size_t)-1;

const struct flag *flag_find(enum flag_for command, const char *name, size_t n)
{
    for (size_t i = 0; i < n_flags; i++) {
        const struct flag *f = &flags[i];

        if (!(f->commands & (int)command))
            continue;
        if ((strlen(f->name) == n && memcmp(f->name, name, n) == 0) || (f->alias && strlen(f->alias) == n && memcmp(f->alias, name, n) == 0))
            return f;
    }
    return NULL;
}

static size_t index_of(const struct settings *s, const char *name)
{
    const struct flag *f = flag_find(s->command, name, strlen(name));

    return f ? (size_t)(f - flags) : none;
}

void setting_clear(struct setting *at)
{
    for (size_t i = 0; i < at->n; i++)
        free(at->values[i]);
    free(at->values);
    *at = (struct setting){ 0 };
}

static void push(struct setting *at, const char *value, size_t n)
{
    at->values = mem_realloc(at->values, (at->n + 2) * sizeof(*at->values));
    at->values[at->n++] = slice_dup((struct slice){ value, n });
    at->values[at->n] = NULL;
}

static bool is_bool(const char *v, bool *ret)
{
    static const char *const yes[] = { "true", "1", "t", "T", "TRUE", "True" }, *const no[] = { "false", "0", "f", "F", "FALSE", "False", "" };

    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        if (strcmp(v, yes[i]) == 0)
            return *ret = true;
    for (size_t i = 0; i < ARRAY_LEN(no); i++)
        if (strcmp(v, no[i]) == 0) {
            *ret = false;
            return true;
        }
    return false;
}

/* A value of an unsupported flag that asks for what is so anyway. */
static bool is_fine(const struct flag *f, const char *value)
{
    size_t n = strlen(value);

    for (const char *at = f->fine; at && *at;) {
        size_t k = strcspn(at, " ");

        if (k == n && memcmp(at, value, n) == 0)
            return true;
        at += k + (at[k] == ' ');
    }
    return false;
}

static int check(const struct flag *f, const char *value, const char *where, struct err *err)
{
    char *end = NULL;
    bool ignored = false;

    if (f->unsupported && !(f->kind == FLAG_BOOL && is_bool(value, &ignored) && !ignored) && !is_fine(f, value))
        return err_set(err, ERR_BAD_REQUEST, "not supported by rancherd: --%s%s%s, because %s", f->name, f->fine ? "=" : "", f->fine ? value : "",
                       f->unsupported);
    if (f->kind == FLAG_BOOL && !is_bool(value, &ignored))
        return err_set(err, ERR_BAD_REQUEST, "invalid value \"%s\" for %s: allowed are true and false", value, where);
    if (f->kind == FLAG_INT) {
        errno = 0;
        long v = strtol(value, &end, 10);
        bool port = strstr(f->name, "port") != NULL;

        if (errno || *end || end == value || v < 0 || v > (port ? 65535 : 1000000))
            return err_set(err, ERR_BAD_REQUEST, "invalid value \"%s\" for %s: allowed is a number from 0 to %d", value, where,
                           port ? 65535 : 1000000);
    }
    return 0;
}

int setting_add(struct settings *s, const struct flag *f, const char *value, enum source source, const char *where, struct err *err)
{
    struct setting *at = &s->at[f - flags];
    bool split = f->kind == FLAG_LIST && (strcmp(f->name, "disable") == 0 || strcmp(f->name, "node-ip") == 0 ||
                                          strcmp(f->name, "node-external-ip") == 0 || strstr(f->name, "cidr") ||
                                          strcmp(f->name, "tls-san") == 0 || strcmp(f->name, "cluster-dns") == 0);

    if (check(f, value, where, err) < 0)
        return -(int)err->code;
    if (at->source > source)
        return 0; /* something stronger spoke already */
    if (at->source < source || f->kind != FLAG_LIST)
        setting_clear(at);
    at->source = source;
    for (const char *v = value; split && *v;) {
        size_t n = strcspn(v, ",");

        if (n > 0)
            push(at, v, n);
        v += n + (v[n] == ',');
    }
    if (!split)
        push(at, value, strlen(value));
    return 0;
}

/* --- the command line --- */

static int unknown(const char *arg, struct err *err)
{
    return err_set(err, ERR_BAD_REQUEST, "flag provided but not defined: %s (see --help for what there is)", arg);
}

static int read_argument(struct settings *s, int argc, char **argv, int *i, bool *ret_help, struct err *err)
{
    const char *arg = argv[*i], *name = arg + 1;

    if (*arg != '-' || !arg[1])
        return err_set(err, ERR_BAD_REQUEST, "unexpected argument \"%s\": flags begin with --", arg);
    if (*name == '-')
        name++;
    size_t n = strcspn(name, "=");
    if ((n == 4 && memcmp(name, "help", 4) == 0) || (n == 1 && *name == 'h')) {
        *ret_help = true;
        return 0;
    }
    const struct flag *f = flag_find(s->command, name, n);
    if (!f)
        return unknown(arg, err);
    AUTO_FREE char *where = mem_printf("--%s", f->name);
    const char *value = name[n] == '=' ? name + n + 1 : NULL;
    if (!value && f->kind == FLAG_BOOL)
        value = "true";
    if (!value) {
        if (*i + 1 >= argc)
            return err_set(err, ERR_BAD_REQUEST, "flag needs an argument: --%s", f->name);
        value = argv[++*i];
    }
    return setting_add(s, f, value, FROM_COMMAND, where, err);
}

/* --- the environment --- */

static int read_environment(struct settings *s, struct err *err)
{
    static const char *const prefixes[] = { "RANCHERD_", "K3S_" };

    for (size_t i = 0; i < n_flags; i++) {
        const struct flag *f = &flags[i];

        if (!f->env || !(f->commands & (int)s->command))
            continue;
        for (size_t k = 0; k < ARRAY_LEN(prefixes); k++) {
            AUTO_FREE char *name = mem_printf("%s%s", prefixes[k], f->env);
            AUTO_FREE char *where = mem_printf("environment variable %s", name);
            const char *value = getenv(name);

            if (!value || !*value)
                continue;
            if (setting_add(s, f, value, FROM_ENV, where, err) < 0)
                return -(int)err->code;
            break;
        }
    }
    return 0;
}

int settings_read(enum flag_for command, int argc, char **argv, struct settings **ret, bool *ret_help, struct err *err)
{
    struct settings *s = MEM_NEW(struct settings);
    int rc = 0;

    s->command = command;
    s->at = mem_zalloc(n_flags * sizeof(*s->at));
    *ret_help = false;
    for (int i = 0; rc == 0 && i < argc && !*ret_help; i++)
        rc = read_argument(s, argc, argv, &i, ret_help, err);
    if (rc == 0 && !*ret_help)
        rc = read_environment(s, err);
    if (rc == 0 && !*ret_help)
        rc = settings_read_files(s, settings_str(s, "config"), settings_given(s, "config"), err);
    if (rc < 0) {
        settings_free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

void settings_free(struct settings *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < n_flags; i++)
        setting_clear(&s->at[i]);
    free(s->at);
    free(s);
}

/* --- reading them --- */

const char *settings_str(const struct settings *s, const char *name)
{
    size_t i = index_of(s, name);

    if (i == none)
        return NULL;
    return s->at[i].n ? s->at[i].values[s->at[i].n - 1] : flags[i].otherwise;
}

bool settings_bool(const struct settings *s, const char *name)
{
    const char *v = settings_str(s, name);
    bool on = false;

    return v && is_bool(v, &on) && on;
}

int settings_int(const struct settings *s, const char *name)
{
    const char *v = settings_str(s, name);

    return v ? (int)strtol(v, NULL, 10) : 0;
}

bool settings_given(const struct settings *s, const char *name)
{
    size_t i = index_of(s, name);

    return i != none && s->at[i].source != FROM_NOWHERE;
}

const char *const *settings_list(const struct settings *s, const char *name, size_t *ret_n)
{
    static const char *const empty[] = { NULL };
    size_t i = index_of(s, name);

    if (ret_n)
        *ret_n = i == none ? 0 : s->at[i].n;
    return i == none || !s->at[i].n ? empty : (const char *const *)s->at[i].values;
}

const char *settings_arg(const struct settings *s, const char *list, const char *key)
{
    const char *found = NULL;
    size_t n = strlen(key);

    for (const char *const *v = settings_list(s, list, NULL); *v; v++) {
        const char *at = *v;

        while (*at == '-')
            at++;
        if (strncmp(at, key, n) == 0 && (at[n] == '=' || !at[n]))
            found = at[n] ? at + n + 1 : "true";
    }
    return found;
}

int settings_check_args(const struct settings *s, const char *list, const char *const *known, const char *why, struct err *err)
{
    for (const char *const *v = settings_list(s, list, NULL); *v; v++) {
        const char *name = *v + strspn(*v, "-");
        size_t n = strcspn(name, "=");
        bool found = false;

        for (const char *const *k = known; *k; k++)
            found |= strlen(*k) == n && memcmp(*k, name, n) == 0;
        if (!found)
            return err_set(err, ERR_BAD_REQUEST, "not supported by rancherd: --%s %.*s, because %s", list, (int)n, name, why);
    }
    return 0;
}

char *settings_args_json(int argc, char **argv)
{
    static const char *const secrets[] = { "token", "agent-token", "datastore-endpoint", "etcd-s3-access-key", "etcd-s3-secret-key" };
    AUTO(json) json_t *list = json_array();
    AUTO(buf) struct buf text = { 0 };
    bool mask_next = false;

    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i];
        bool masked = mask_next;

        mask_next = false;
        for (size_t k = 0; k < ARRAY_LEN(secrets) && *arg == '-'; k++) {
            const char *name = arg + strspn(arg, "-");
            size_t n = strlen(secrets[k]);

            if (strncmp(name, secrets[k], n) == 0 && name[n] == '=') {
                json_array_append_new(list, json_strf("--%s", secrets[k]));
                masked = true;
            } else if (strcmp(name, secrets[k]) == 0 || (strcmp(name, "t") == 0 && k == 0)) {
                mask_next = true;
            }
        }
        json_t *shown = masked ? json_string("********") : json_string(arg);
        json_array_append_new(list, shown ? shown : json_string("?"));
    }
    json_write(list, &text);
    return buf_take_str(&text);
}

/* --- help --- */

static void help_flag(const struct flag *f)
{
    static const char *const values[] = { " value", "", " value", " value" };
    AUTO(buf) struct buf left = { 0 };

    buf_printf(&left, "--%s%s", f->name, values[f->kind]);
    if (f->alias)
        buf_printf(&left, ", -%s%s", f->alias, values[f->kind]);
    printf("   %-50s (%s) %s", buf_at(&left), f->category, f->usage);
    if (f->otherwise)
        printf(" (default: %s)", f->otherwise);
    if (f->env)
        printf(" [$RANCHERD_%s, $K3S_%s]", f->env, f->env);
    putchar('\n');
}

void flags_help(enum flag_for command)
{
    const char *name = command == FOR_SERVER ? "server" : "agent";

    printf("NAME:\n   rancherd %s - %s\n\nUSAGE:\n   rancherd %s [OPTIONS]\n\nOPTIONS:\n", name,
           command == FOR_SERVER ? "Run management server" : "Run node agent", name);
    for (size_t i = 0; i < n_flags; i++)
        if ((flags[i].commands & (int)command) && (!flags[i].unsupported || flags[i].fine))
            help_flag(&flags[i]);
    printf("   %-50s show help\n", "--help, -h");
}
