/* SPDX-License-Identifier: MIT */
#include "probes/mapped_files.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probes/live_thread.h"
#include "probes/modules.h"

#define TEXT_MAX (1u << 20)

/* The lines of a file lie beside each other, and are taken or left together. */
struct text {
	char *bytes;
	size_t len;
	size_t room;
	size_t group;  /* where the lines of the last file begin */
	bool has_code; /* in these */
	char file[64]; /* its device and inode; "": of no file */
};

/* Whether a file is deleted, or replaced, by now, makes no other one of it. */
static size_t shorten(char *line, size_t len)
{
	if (line[len - 1] == '\n')
		line[--len] = '\0';
	len = stint_module_path_len(line);
	line[len] = '\n';
	line[len + 1] = '\0';
	return len + 1;
}

/* "START-END PERMISSIONS OFFSET DEVICE INODE PATH": "" of what is no file's, but for the vDSO. */
static void read_line(const char *line, char *ret_file, size_t ret_bytes, bool *ret_code)
{
	char permissions[8] = "", device[24] = "", inode[24] = "";

	*ret_file = '\0';
	if (sscanf(line, "%*s %7s %*s %23s %23s", permissions, device, inode) != 3)
		return;
	*ret_code = permissions[2] == 'x';
	if (strcmp(inode, "0") != 0 || strstr(line, "[vdso]"))
		snprintf(ret_file, ret_bytes, "%s %s", device, inode);
}

static void end_group(struct text *text)
{
	if (!text->has_code)
		text->len = text->group;
	text->group = text->len;
	text->has_code = false;
}

static bool append(struct text *text, const char *line, size_t len)
{
	if (text->len + len >= text->room) {
		size_t room = 2 * (text->len + len) + 4096;
		char *larger = room <= 2 * TEXT_MAX ? realloc(text->bytes, room) : NULL;

		if (!larger)
			return false;
		text->bytes = larger;
		text->room = room;
	}
	memcpy(text->bytes + text->len, line, len + 1);
	text->len += len;
	return true;
}

static bool take_line(struct text *text, char *line, size_t len)
{
	char file[sizeof(text->file)];
	bool is_code = false;

	read_line(line, file, sizeof(file), &is_code);
	if (strcmp(file, text->file) != 0)
		end_group(text);
	memcpy(text->file, file, sizeof(file));
	if (!*file)
		return true;
	text->has_code |= is_code;
	return append(text, line, shorten(line, len));
}

char *stint_mapped_files(uint32_t pid)
{
	struct text text = {0};
	char path[64], *line = NULL;
	bool is_whole = true;
	size_t room = 0;
	ssize_t len;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/maps", stint_live_thread(pid));
	maps = fopen(path, "re");
	if (!maps)
		return NULL;
	while (is_whole && (len = getline(&line, &room, maps)) > 0)
		is_whole = take_line(&text, line, (size_t)len);
	end_group(&text);
	free(line);
	fclose(maps);
	if (is_whole && text.len) {
		text.bytes[text.len] = '\0';
		return text.bytes;
	}
	free(text.bytes);
	return NULL;
}
