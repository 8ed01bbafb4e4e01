/* SPDX-License-Identifier: MIT */
#ifndef HOSTILE_FIXTURE_H
#define HOSTILE_FIXTURE_H

/* What the tests of hostile input share: files to damage, and a word on what was done where it ended badly. */

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "chance.h"

#define FIXED_SEED 20261125

static char deed[1024]; /* what was done to the input */
static char directory[64];

/* Called where a sanitizer ends the program. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void tell_deed(void)
{
	static const char what[] = "the damage done: ";

	if (write(STDERR_FILENO, what, sizeof(what) - 1) < 0 ||
	    write(STDERR_FILENO, deed, strlen(deed)) < 0 || write(STDERR_FILENO, "\n", 1) < 0)
		return;
}

static void end_badly(int number)
{
	tell_deed();
	signal(number, SIG_DFL);
	raise(number);
}

/* A case that hangs is ended by SIGALRM. */
static void watch_over_cases(void)
{
	signal(SIGALRM, end_badly);
	if (__sanitizer_set_death_callback)
		__sanitizer_set_death_callback(tell_deed);
	else
		signal(SIGSEGV, end_badly);
}

__attribute__((format(printf, 1, 2))) static void begin_case(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(deed, sizeof(deed), format, args);
	va_end(args);
	alarm(60); /* a case takes some ms */
}

__attribute__((unused)) static int make_directory(void **state)
{
	(void)state;
	snprintf(directory, sizeof(directory), "%s/stint-hostile-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(directory))
		return -1;
	begin_chance(FIXED_SEED);
	watch_over_cases();
	return 0;
}

__attribute__((unused)) static int remove_directory(void **state)
{
	(void)state;
	alarm(0);
	return rmdir(directory);
}

__attribute__((unused)) static void write_file(const char *path, const void *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), (ssize_t)len);
	close(fd);
}

/* The whole of a file, with a NUL behind it. To be freed. */
__attribute__((unused)) static char *read_file(const char *path, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	char *bytes;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &status), 0);
	*len = (size_t)status.st_size;
	bytes = malloc(*len + 1);
	assert_non_null(bytes);
	assert_int_equal(read(fd, bytes, *len), (ssize_t)*len);
	bytes[*len] = '\0';
	close(fd);
	return bytes;
}

/* Bytes, mostly few, set to what they were not. */
__attribute__((unused)) static void flip_bytes(unsigned char *bytes, size_t from, size_t end)
{
	for (uint32_t n = 1 + below(one_in(4) ? 64 : 6); n > 0; n--) {
		size_t at = from + next_random() % (end - from);

		switch (below(4)) {
		case 0:
			bytes[at] = 0xff;
			break;
		case 1:
			bytes[at] = 0;
			break;
		case 2:
			bytes[at] ^= (unsigned char)(1u << below(8));
			break;
		default:
			bytes[at] = (unsigned char)next_random();
		}
	}
}

#endif
