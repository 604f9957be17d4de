#include "cmd/flags.h"
#include "test.h"

#include "lib/auto.h"

#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/rancherd-flags-XXXXXX";

static void write_file(const char *name, const char *text)
{
    char path[200];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    CHECK(f != NULL);
    fputs(text, f);
    fclose(f);
}

static void begin(void)
{
    char sub[200];

    CHECK(mkdtemp(dir) != NULL);
    snprintf(sub, sizeof(sub), "%s/config.yaml.d", dir);
    CHECK_INT(mkdir(sub, 0700), 0);
}

static void end(void)
{
    char command[200];

    snprintf(command, sizeof(command), "rm -rf %s", dir);
    CHECK_INT(system(command), 0);
}

static struct settings *read_ok(int argc, char **argv)
{
    struct settings *s = NULL;
    bool help = false;
    struct err err;

    if (settings_read(FOR_SERVER, argc, argv, &s, &help, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    return s;
}

static void read_bad(const char *a, const char *b, const char *want)
{
    char *argv[] = { (char *)a, (char *)b, NULL };
    struct settings *s = NULL;
    bool help = false;
    struct err err;

    CHECK(settings_read(FOR_SERVER, b ? 2 : 1, argv, &s, &help, &err) < 0);
    CHECK_STR(err.msg, want);
}

TEST(flags_command_line_beats_environment_beats_files)
{
    char config[200];

    begin();
    write_file("config.yaml", "token: from-file\nnode-name: file\nnode-label:\n- a=1\n- b=2\ndebug: true\nhttps-listen-port: 7000\n");
    write_file("config.yaml.d/10.yaml", "node-name: dropin\nnode-label+: [c=3]\n");
    snprintf(config, sizeof(config), "--config=%s/config.yaml", dir);
    setenv("K3S_TOKEN", "from-k3s", 1);
    setenv("RANCHERD_TOKEN", "from-env", 1);
    char *argv[] = { config, (char *)"--https-listen-port", (char *)"7001", (char *)"--disable", (char *)"coredns,traefik" };
    struct settings *s = read_ok(5, argv);
    size_t n = 0;

    CHECK_STR(settings_str(s, "token"), "from-env");
    CHECK_STR(settings_str(s, "node-name"), "dropin");
    CHECK_INT(settings_int(s, "https-listen-port"), 7001);
    CHECK(settings_bool(s, "debug"));
    const char *const *labels = settings_list(s, "node-label", &n);
    CHECK_INT(n, 3);
    CHECK_STR(labels[2], "c=3");
    const char *const *disabled = settings_list(s, "disable", &n);
    CHECK_INT(n, 2);
    CHECK_STR(disabled[1], "traefik");
    CHECK_STR(settings_str(s, "cluster-domain"), "cluster.local"); /* the default */
    CHECK(!settings_given(s, "cluster-domain"));
    settings_free(s);
    end();
}

TEST(flags_a_list_on_the_command_line_replaces_the_files)
{
    char config[200];
    size_t n = 0;

    begin();
    write_file("config.yaml", "node-label: [a=1]\nkubelet-arg: [max-pods=50, \"v=2\"]\n");
    snprintf(config, sizeof(config), "--config=%s/config.yaml", dir);
    char *argv[] = { config, (char *)"--node-label=x=9" };
    struct settings *s = read_ok(2, argv);

    CHECK_STR(settings_list(s, "node-label", &n)[0], "x=9");
    CHECK_INT(n, 1);
    CHECK_STR(settings_arg(s, "kubelet-arg", "max-pods"), "50");
    CHECK(settings_arg(s, "kubelet-arg", "none") == NULL);
    settings_free(s);
    end();
}

TEST(flags_bad_ones_are_named_with_what_is_allowed)
{
    read_bad("--nope", NULL, "flag provided but not defined: --nope (see --help for what there is)");
    read_bad("--https-listen-port", "70000", "invalid value \"70000\" for --https-listen-port: allowed is a number from 0 to 65535");
    read_bad("--debug=maybe", NULL, "invalid value \"maybe\" for --debug: allowed are true and false");
    read_bad("--token", NULL, "flag needs an argument: --token");
    read_bad("stray", NULL, "unexpected argument \"stray\": flags begin with --");
    read_bad("--docker", NULL, "not supported by rancherd: --docker, because containers run through the OCI runtime directly");
    read_bad("--config", "/nonexistent/x.yaml", "settings file /nonexistent/x.yaml: open /nonexistent/x.yaml: No such file or directory");
}

TEST(flags_bad_files_are_named_with_line_and_key)
{
    char config[200], want[300];

    begin();
    write_file("config.yaml", "token: x\nhttps-listen-port: [1]\n");
    snprintf(config, sizeof(config), "--config=%s/config.yaml", dir);
    snprintf(want, sizeof(want), "%s/config.yaml:2: key \"https-listen-port\": a list, but one value is allowed", dir);
    read_bad(config, NULL, want);
    end();
}

TEST(flags_secrets_are_masked_in_the_node_annotation)
{
    char *argv[] = { (char *)"--token", (char *)"secret", (char *)"--debug", (char *)"--agent-token=secret2" };
    AUTO_FREE char *text = settings_args_json(4, argv);

    CHECK_STR(text, "[\"--token\",\"********\",\"--debug\",\"--agent-token\",\"********\"]");
}
