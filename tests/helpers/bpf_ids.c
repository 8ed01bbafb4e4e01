/* SPDX-License-Identifier: MIT */
#include "bpf_ids.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* They are lines of fdinfo. */
size_t bpf_ids(int pid, const char *kind, uint32_t *ret)
{
	char path[64], line[256], format[32];
	struct dirent *entry;
	size_t len = 0;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo", pid);
	folder = opendir(path);
	assert_non_null(folder);
	snprintf(format, sizeof(format), "%s:\t", kind);
	while ((entry = readdir(folder))) {
		int fd = openat(dirfd(folder), entry->d_name, O_RDONLY | O_CLOEXEC);
		FILE *file = fd >= 0 ? fdopen(fd, "re") : NULL;

		while (file && fgets(line, sizeof(line), file))
			if (strncmp(line, format, strlen(format)) == 0 && len < BPF_IDS_MAX)
				ret[len++] = (uint32_t)strtoul(line + strlen(format), NULL, 10);
		if (file)
			fclose(file);
	}
	closedir(folder);
	return len;
}
