/* SPDX-License-Identifier: MIT */
#include "network.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static bool enter_new(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = -1;
	bool is_up;

	if (unshare(CLONE_NEWNET) == 0)
		fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	is_up = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
	if (fd >= 0)
		close(fd);
	return is_up;
}

void network_enter(const char *command)
{
	if (enter_new() && system(command) == 0)
		return;
	printf("skipped: this needs root, and: %s\n", command);
	skip();
}

static int own_network(void)
{
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

int network_move(int network)
{
	int own = own_network();

	assert_int_equal(setns(network, CLONE_NEWNET), 0);
	return own;
}

void network_return(int own)
{
	assert_int_equal(setns(own, CLONE_NEWNET), 0);
	close(own);
}

int network_new(void)
{
	int own = own_network(), made = -1;

	if (enter_new())
		made = own_network();
	network_return(own);
	if (made >= 0)
		return made;
	printf("skipped: to make a network namespace needs root\n");
	skip();
	return -1;
}

int network_socket(int network)
{
	int own = network_move(network), fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	network_return(own);
	assert_true(fd >= 0);
	return fd;
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
