/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "commands.h"
#include "json.h"
#include "text.h"

int cmd_report(int argc, char **argv)
{
	struct buffer out = {0};
	struct model *m;
	char error[256];
	if (argc < 2)
		return 2;
	if (model_new(&m, argv[argc - 1], error, sizeof error)) {
		fprintf(stderr, "stint report: %s\n", error);
		return 1;
	}
	if (argc > 2)
		json_report(&out, m);
	else
		text_report(&out, m, isatty(1));
	fputs(buffer_text(&out), stdout);
	buffer_free(&out);
	model_free(m);
	return 0;
}
