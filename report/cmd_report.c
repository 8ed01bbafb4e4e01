/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "commands.h"
#include "report/model/model.h"
#include "report/model/traces.h"
#include "report/show/buffer.h"
#include "report/show/html.h"
#include "report/show/json.h"
#include "report/show/plots.h"
#include "report/show/text.h"

#define COLUMNS     80 /* where there is no terminal */
#define COLUMNS_MIN 40
#define COLUMNS_MAX 140 /* longer lines are hard to read */

static const char usage_text[] = "usage: stint report FILE [--text | --json | --html OUT | --plots DIR]\n"
				 "\n"
				 "Shows a recording made by `stint record`.\n"
				 "\n"
				 "  --text       for the terminal (the default)\n"
				 "  --json       for programs\n"
				 "  --html OUT   one page with plots, for people\n"
				 "  --plots DIR  the plots alone, as SVG files\n"
				 "\n"
				 "Plots are drawn by gnuplot.\n";

enum format { TEXT, JSON, HTML, PLOTS };

struct request {
	enum format format;
	const char *file;
	const char *out; /* of HTML and PLOTS */
};

static int fail(const char *subject, const char *why)
{
	fprintf(stderr, "stint report: %s: %s\n", subject, why);
	return 1;
}

/* ---- files ---- */

static int write_all(int fd, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t done = write(fd, bytes, len);

		if (done < 0 && errno != EINTR)
			return -errno;
		if (done > 0) {
			bytes += done;
			len -= (size_t)done;
		}
	}
	return 0;
}

static int write_in_place(const char *path, const struct buffer *content)
{
	int fd = open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	err = write_all(fd, content->data, content->len);
	if (close(fd) < 0 && err == 0)
		err = -errno;
	return err;
}

/* Whoever looks at `path` meanwhile sees the old file or the new one, never a part of it. */
static int replace_file(const char *path, const struct buffer *content)
{
	mode_t mask = umask(0);
	char temporary[4096];
	int fd, err;

	umask(mask);
	if (snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >= (int)sizeof(temporary))
		return -ENAMETOOLONG;
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = write_all(fd, content->data, content->len);
	if (err == 0 && fchmod(fd, 0666 & ~mask) < 0)
		err = -errno;
	if (close(fd) < 0 && err == 0)
		err = -errno;
	if (err == 0 && rename(temporary, path) < 0)
		err = -errno;
	if (err < 0)
		unlink(temporary);
	return err;
}

/* Of a recording, or of whatever else is kept in SQLite's format. */
static bool is_database(const char *path)
{
	static const char magic[16] = "SQLite format 3";
	char begin[sizeof(magic)] = "";
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	bool is;

	if (fd < 0)
		return false;
	is = read(fd, begin, sizeof(begin)) == sizeof(begin) && memcmp(begin, magic, sizeof(magic)) == 0;
	close(fd);
	return is;
}

/* To a file that the user named: a device or a pipe is what was meant itself, and a link stands for its file. */
static int write_named(const char *path, const struct buffer *content)
{
	struct stat status;
	char *target;
	int err;

	if (stat(path, &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode))
		return write_in_place(path, content);
	if (is_database(path))
		return -EEXIST;
	target = realpath(path, NULL);
	err = replace_file(target ? target : path, content);
	free(target);
	return err;
}

/* ---- formats ---- */

static int print(struct buffer *content)
{
	int err = 0;

	if (!buffer_text(content))
		return fail("output", "out of memory");
	if (fwrite(content->data, 1, content->len, stdout) != content->len || fflush(stdout) != 0)
		err = fail("output", strerror(errno));
	return err;
}

static int report_html(const struct model *model, const char *path)
{
	struct buffer page = {0};
	char why[256];
	int err = -ENOMEM, status = 0;

	html_report(&page, model, why, sizeof(why));
	if (buffer_text(&page))
		err = write_named(path, &page);
	buffer_free(&page);
	if (err == -EEXIST)
		return fail(path, "is a recording, or another SQLite file, and is not replaced by a page");
	if (err < 0)
		return fail(path, strerror(-err));
	if (*why)
		status = fail(path, why);
	printf("%s\n", path);
	return status;
}

static int save_plots(const struct plots *plots, const char *directory)
{
	for (int i = 0; i < (int)plots_count(plots); i++) {
		struct buffer file = {0};
		char path[4096];
		int err;

		if (snprintf(path, sizeof(path), "%s/%s", directory, plots_name(plots, i)) >=
		    (int)sizeof(path))
			return fail(directory, strerror(ENAMETOOLONG));
		plots_put_file(plots, i, &file);
		err = file.err ? file.err : replace_file(path, &file);
		buffer_free(&file);
		if (err < 0)
			return fail(path, strerror(-err));
		printf("%s\n", path);
	}
	return 0;
}

static int draw_plots(struct plots *plots, const struct model *model, const struct traces *traces,
		      const char *directory)
{
	struct pick_distribution distributions[PLOTS_LIMIT];
	size_t distributions_len;
	char why[256];

	plots_overruns(plots, model);
	for (size_t i = 0; i < traces->len && i < 8; i++)
		plots_trace(plots, &traces->items[i], 3);
	distributions_len = pick_functions(distributions, 8, model);
	distributions_len +=
		pick_distributions(distributions + distributions_len, PLOTS_LIMIT - distributions_len, model);
	for (size_t i = 0; i < distributions_len; i++)
		plots_distribution(plots, &distributions[i]);
	if (plots_count(plots) == 0) {
		printf("There is nothing to draw: no dispatch, overrun or traced socket is in the recording.\n");
		return 0;
	}
	if (mkdir(directory, 0777) < 0 && errno != EEXIST)
		return fail(directory, strerror(errno));
	if (plots_draw(plots, why, sizeof(why)) < 0)
		return fail(directory, why);
	return save_plots(plots, directory);
}

static int report_plots(const struct model *model, const char *directory)
{
	struct traces *traces = NULL;
	struct plots *plots = NULL;
	int status;

	if (traces_new(&traces, model) < 0 || plots_new(&plots, true) < 0)
		status = fail(directory, "out of memory");
	else
		status = draw_plots(plots, model, traces, directory);
	plots_free(plots);
	traces_free(traces);
	return status;
}

/* Also where a pager stands between, as long as it is in the same terminal. */
static size_t terminal_columns(void)
{
	struct winsize size;

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col >= COLUMNS_MIN)
			return size.ws_col < COLUMNS_MAX ? size.ws_col : COLUMNS_MAX;
	return COLUMNS;
}

static int report(const struct model *model, const struct request *request)
{
	const char *no_color = getenv("NO_COLOR");
	struct buffer out = {0};
	int status;

	if (request->format == HTML)
		return report_html(model, request->out);
	if (request->format == PLOTS)
		return report_plots(model, request->out);
	if (request->format == JSON)
		json_report(&out, model);
	else
		text_report(&out, model, isatty(STDOUT_FILENO) && !(no_color && *no_color),
			    terminal_columns());
	status = print(&out);
	buffer_free(&out);
	return status;
}

/* ---- the command ---- */

static int misused(const char *why, const char *word)
{
	fprintf(stderr, "stint report: %s%s\n\n%s", why, word, usage_text);
	return 2;
}

/* `word`: where getopt stands. A letter may be amid others, and a long option may be known and take no value. */
static int not_known(const char *word)
{
	const char letter[] = {'-', (char)optopt, '\0'};

	return misused("there is no option like ", optopt && strncmp(word, "--", 2) != 0 ? letter : word);
}

/* Returns -1 to go on, or the exit status. */
static int parse(int argc, char **argv, struct request *request)
{
	static const struct option options[] = {{"text", no_argument, NULL, 't'},
						{"json", no_argument, NULL, 'j'},
						{"html", required_argument, NULL, 'H'},
						{"plots", required_argument, NULL, 'P'},
						{"help", no_argument, NULL, 'h'},
						{0}};
	static const char letters[] = "tjHP";
	int option, formats = 0;

	optind = 0; /* glibc: start anew, whoever parsed before */
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (option == 'h') {
			fputs(usage_text, stdout);
			return 0;
		}
		if (option == ':')
			return misused("a value is missing behind ", argv[optind - 1]);
		if (option == '?')
			return not_known(argv[optind - 1]);
		request->format = (enum format)(strchr(letters, option) - letters);
		request->out = optarg;
		formats++;
	}
	if (formats > 1)
		return misused("one format at a time", "");
	if (argc - optind != 1)
		return misused(argc == optind ? "which recording?" : "one recording at a time",
			       argc == optind && request->out ? " (OUT or DIR comes first, then FILE)" : "");
	request->file = argv[optind];
	return -1;
}

int cmd_report(int argc, char **argv)
{
	struct request request = {0};
	struct model *model;
	char why[512] = "";
	int status = parse(argc, argv, &request);

	if (status >= 0)
		return status;
	if (model_new(&model, request.file, why, sizeof(why)) < 0)
		return fail(request.file, *why ? why : "out of memory");
	status = report(model, &request);
	model_free(model);
	return status;
}
