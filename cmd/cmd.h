#ifndef CMD_CMD_H
#define CMD_CMD_H
/* cmd - one function a subcommand; argv behind its name. The result is the exit code. */

int cmd_server(int argc, char **argv);
int cmd_agent(int argc, char **argv);
int cmd_kubectl(int argc, char **argv);
int cmd_token(int argc, char **argv);

#endif
