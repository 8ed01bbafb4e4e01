/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "commands.h"

#include <stint/version.h>

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *purpose;
} commands[] = {
	{"record", cmd_record, "record what event loops do, into a file"},
	{"report", cmd_report, "show a recording: text, JSON, HTML, plots"},
	{"doctor", cmd_doctor, "say what this machine allows, what is missing, how to get it"},
};

static void usage(FILE *out)
{
	fputs("stint finds out why an event loop is late.\n\nusage: stint COMMAND [OPTION...]\n\n", out);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].purpose);
	fputs("\n`stint COMMAND --help` tells a command's options; `stint --version` (-V) the version.\n",
	      out);
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";

	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
		usage(stdout);
		return 0;
	}
	if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
		printf("stint %s\n", stint_version());
		return 0;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(name, commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	if (*name)
		fprintf(stderr, "stint: there is no command '%s' (stint --help lists them)\n", name);
	else
		usage(stderr);
	return 2;
}
