/* SPDX-License-Identifier: MIT */
#include "network.h"

#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

void network_enter(const char *command)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = -1;

	if (unshare(CLONE_NEWNET) == 0)
		fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0 && system(command) == 0) {
		close(fd);
		return;
	}
	if (fd >= 0)
		close(fd);
	printf("skipped: this needs root, and: %s\n", command);
	skip();
}

/* Two lines of words belong together: the names, and what they count. UINT64_MAX: that name is not there. */
static uint64_t find_counter(char *names, char *values, const char *name)
{
	char *names_at, *values_at;
	const char *word = strtok_r(names, " \n", &names_at), *value = strtok_r(values, " \n", &values_at);

	while (word && value && strcmp(word, name) != 0) {
		word = strtok_r(NULL, " \n", &names_at);
		value = strtok_r(NULL, " \n", &values_at);
	}
	return word && value ? strtoull(value, NULL, 10) : UINT64_MAX;
}

uint64_t network_counter(const char *table, const char *name)
{
	static char names[8192], values[8192];
	uint64_t found = UINT64_MAX;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/net/%s", table);
	file = fopen(path, "re");
	while (file && found == UINT64_MAX && fgets(names, sizeof(names), file) &&
	       fgets(values, sizeof(values), file))
		found = find_counter(names, values, name);
	if (file)
		fclose(file);
	if (found == UINT64_MAX)
		fail_msg("%s has no %s", path, name);
	return found;
}
