/* SPDX-License-Identifier: MIT */
#include "report/record/meter_births.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "report/record/clock_ns.h"
#include "stint/meter_file.h"

#define DIRECTORIES_MAX 64
#define PIDS_MAX        1024
#define READS_MAX       512 /* at a time: more than the kernel lists, unless somebody renames on and on */

struct directory {
	int wd;
	uint64_t since_ns;
};

struct born {
	uint32_t pid;
	uint32_t count; /* that were not taken yet */
	uint32_t known; /* of them, when its births were read last */
};

struct meter_births {
	int fd;
	struct directory directories[DIRECTORIES_MAX];
	uint32_t directories_len;
	struct born born[PIDS_MAX];
	uint32_t born_len;
	uint32_t next; /* who has to go when it is full: most are of processes that nobody records */
	uint64_t missed;
	/* The renaming that was begun last: its other half follows. */
	uint32_t cookie;
	uint32_t pid;
};

int meter_births_new(struct meter_births **ret)
{
	struct meter_births *births = calloc(1, sizeof(*births));
	int err;

	if (!births)
		return -ENOMEM;
	births->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (births->fd < 0) {
		err = -errno;
		free(births);
		return err;
	}
	*ret = births;
	return 0;
}

struct meter_births *meter_births_free(struct meter_births *births)
{
	if (!births)
		return NULL;
	close(births->fd);
	free(births);
	return NULL;
}

/* ---- directories ---- */

/* One that is watched already, by whatever path, has the same number. */
uint64_t meter_births_watch(struct meter_births *births, const char *directory)
{
	int wd = births ? inotify_add_watch(births->fd, directory, IN_MOVE | IN_ONLYDIR) : -1;
	struct directory *added;

	if (wd < 0)
		return UINT64_MAX;
	for (uint32_t i = 0; i < births->directories_len; i++)
		if (births->directories[i].wd == wd)
			return births->directories[i].since_ns;
	if (births->directories_len == DIRECTORIES_MAX) {
		inotify_rm_watch(births->fd, wd);
		return UINT64_MAX;
	}
	added = &births->directories[births->directories_len++];
	*added = (struct directory){wd, clock_ns(CLOCK_MONOTONIC)};
	return added->since_ns;
}

static void forget_directory(struct meter_births *births, int wd)
{
	for (uint32_t i = 0; i < births->directories_len; i++)
		if (births->directories[i].wd == wd) {
			births->directories[i] = births->directories[--births->directories_len];
			return;
		}
}

/* ---- births ---- */

static struct born *find(struct meter_births *births, uint32_t pid)
{
	for (uint32_t i = 0; births && i < births->born_len; i++)
		if (births->born[i].pid == pid)
			return &births->born[i];
	return NULL;
}

static void count_birth(struct meter_births *births, uint32_t pid)
{
	struct born *born = find(births, pid);

	if (!born) {
		born = births->born_len < PIDS_MAX ? &births->born[births->born_len++]
						   : &births->born[births->next++ % PIDS_MAX];
		*born = (struct born){.pid = pid};
	}
	born->count++;
}

/* The pid in a name such as ".17.new"; 0: it is no such name. */
static uint32_t pid_of(const char *name, const char *prefix, const char *suffix)
{
	size_t length = strlen(prefix);
	unsigned long pid;
	char *end;

	if (strncmp(name, prefix, length) != 0 || name[length] < '1' || name[length] > '9')
		return 0;
	pid = strtoul(name + length, &end, 10);
	return pid <= INT32_MAX && strcmp(end, suffix) == 0 ? (uint32_t)pid : 0;
}

/* Other files come under such a name, too: one that is swept away may be put back. */
static void take_event(struct meter_births *births, const struct inotify_event *event)
{
	if (event->mask & IN_Q_OVERFLOW) {
		births->missed++;
	} else if (event->mask & IN_IGNORED) {
		forget_directory(births, event->wd);
	} else if (event->mask & IN_MOVED_FROM && event->len) {
		births->cookie = event->cookie;
		births->pid = pid_of(event->name, ".", ".new");
	} else if (event->mask & IN_MOVED_TO && event->len && births->pid &&
		   event->cookie == births->cookie &&
		   pid_of(event->name, "", STINT_METER_FILE_SUFFIX) == births->pid) {
		count_birth(births, births->pid);
	}
}

void meter_births_read(struct meter_births *births, uint32_t pid)
{
	char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	struct born *born;

	for (int i = 0; births && i < READS_MAX; i++) {
		ssize_t taken = read(births->fd, buffer, sizeof(buffer));

		if (taken <= 0)
			break;
		for (const char *at = buffer; at < buffer + taken;) {
			const struct inotify_event *event = (const struct inotify_event *)at;

			take_event(births, event);
			at += sizeof(*event) + event->len;
		}
	}
	born = find(births, pid);
	if (born)
		born->known = born->count;
}

static void miss(struct meter_births *births, struct born *born)
{
	births->missed += born->known;
	born->count -= born->known;
	born->known = 0;
	if (!born->count)
		*born = births->born[--births->born_len];
}

void meter_births_none(struct meter_births *births, uint32_t pid)
{
	struct born *born = find(births, pid);

	if (born)
		miss(births, born);
}

void meter_births_taken(struct meter_births *births, uint32_t pid, bool is_listed, bool is_last)
{
	struct born *born = find(births, pid);
	uint32_t own;

	if (!born || !born->known)
		return;
	/* One that began before the watch and came into its place after it is listed as well, and is the first. */
	own = is_listed || is_last ? 1 : 0;
	born->count -= own;
	born->known -= own;
	if (is_last)
		miss(births, born);
}

uint64_t meter_births_missed(const struct meter_births *births)
{
	return births ? births->missed : 0;
}
