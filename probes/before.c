/* SPDX-License-Identifier: MIT */
#include "probes/before.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "probes/doing.h"
#include "probes/epoll_fds.h"
#include "probes/proc_line.h"

#define SETS_MAX 64

struct set {
	int32_t epfd;
	int32_t first_epfd; /* of the same set: tokio registers by a duplicate of the descriptor that it waits in */
	uint32_t registrations;
	bool nested;
	bool waited;
};

/* One process as it was found. */
struct found {
	struct found *next;
	uint32_t pid;
	uint32_t parent;          /* 0: not known */
	bool without_set, waited; /* the latter: somebody has; known only without a set */
	uint32_t sets_len;
	struct set sets[SETS_MAX];
};

struct stint_before {
	struct found *found;
};

int stint_before_new(struct stint_before **ret)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

static void forget(struct stint_before *before, uint32_t pid)
{
	for (struct found **link = &before->found; *link;) {
		struct found *found = *link;

		if (pid && found->pid != pid) {
			link = &found->next;
			continue;
		}
		*link = found->next;
		free(found);
	}
}

struct stint_before *stint_before_free(struct stint_before *before)
{
	if (before)
		forget(before, 0);
	free(before);
	return NULL;
}

/* ---- sets ---- */

static struct set *find_set(struct found *found, int32_t epfd)
{
	for (uint32_t i = 0; i < found->sets_len; i++)
		if (found->sets[i].epfd == epfd)
			return &found->sets[i];
	return NULL;
}

/* "PID (NAME) STATE PARENT ...", where the name may have anything in it; 0: not known. */
static uint32_t parent_of(uint32_t pid)
{
	char path[64], line[256];
	const char *name_end;
	uint32_t parent = 0;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/stat", pid);
	if (!stint_proc_line(line, sizeof(line), path))
		return 0;
	name_end = strrchr(line, ')');
	return name_end && sscanf(name_end, ") %*c %" SCNu32, &parent) == 1 ? parent : 0;
}

/* Somebody has waited in it, by whatever number. */
static void note_waited(struct found *found, int32_t epfd)
{
	const struct set *set = find_set(found, epfd);

	for (uint32_t i = 0; set && i < found->sets_len; i++)
		if (found->sets[i].first_epfd == set->first_epfd)
			found->sets[i].waited = true;
}

static bool is_same_file(uint32_t pid, int32_t fd, uint32_t other_pid, int32_t other_fd)
{
	return syscall(SYS_kcmp, pid, other_pid, KCMP_FILE, fd, other_fd) == 0;
}

/* A child has its parent's sets too, by the same numbers, and need not have a loop for that. */
static bool is_inherited(const struct found *found, int32_t epfd)
{
	return found->parent && is_same_file(found->pid, epfd, found->parent, epfd);
}

static int32_t first_of_the_same(const struct found *found, int32_t epfd)
{
	for (uint32_t i = 0; i < found->sets_len; i++)
		if (is_same_file(found->pid, epfd, found->pid, found->sets[i].epfd))
			return found->sets[i].first_epfd;
	return epfd;
}

static int add_set(void *ctx, int32_t epfd)
{
	struct found *found = ctx;

	if (found->sets_len < SETS_MAX && !is_inherited(found, epfd))
		found->sets[found->sets_len++] =
			(struct set){.epfd = epfd, .first_epfd = first_of_the_same(found, epfd)};
	return 0;
}

struct reading {
	struct found *found;
	struct set *set;
};

static int add_registration(void *ctx, int32_t fd, uint32_t events, uint64_t data)
{
	struct reading *reading = ctx;
	struct found *found = reading->found;
	const struct set *inner = find_set(found, fd);

	(void)events;
	(void)data;
	reading->set->registrations++;
	for (uint32_t i = 0; inner && i < found->sets_len; i++)
		if (found->sets[i].first_epfd == inner->first_epfd)
			found->sets[i].nested = true;
	return 0;
}

static int read_sets(struct found *found)
{
	int err = stint_epoll_fds_list(found->pid, add_set, found);

	if (err)
		found->sets_len = 0;
	for (uint32_t i = 0; i < found->sets_len; i++) {
		struct reading reading = {found, &found->sets[i]};

		(void)stint_epoll_fds_read(found->pid, found->sets[i].epfd, add_registration, &reading);
	}
	return err;
}

/* Keeps those that count. */
static void keep_sets(struct found *found, uint32_t least_registrations)
{
	uint32_t len = 0;

	for (uint32_t i = 0; i < found->sets_len; i++) {
		const struct set *set = &found->sets[i];

		if (!set->nested && !set->waited && set->registrations >= least_registrations)
			found->sets[len++] = *set;
	}
	found->sets_len = len;
}

/* ---- threads ---- */

struct threads {
	struct found *found; /* of their process */
	uint32_t busy, waiting, otherwise;
	uint32_t last_busy; /* of these its number; the first thread's, if that is one of them */
	enum stint_doing first;
};

static void count_thread(void *ctx, uint32_t tid, enum stint_doing doing, int32_t epfd)
{
	struct threads *threads = ctx;
	struct found *found = threads->found;

	if (tid == found->pid)
		threads->first = doing;
	if (doing == STINT_DOING_WAIT)
		note_waited(found, epfd);
	threads->waiting += doing == STINT_DOING_WAIT;
	threads->otherwise += doing == STINT_DOING_OTHER_WAIT;
	if (doing < STINT_DOING_SOMETHING)
		return;
	threads->busy++;
	if (threads->last_busy != found->pid)
		threads->last_busy = tid;
}

static uint32_t choose(const struct threads *threads, uint32_t pid)
{
	if (threads->otherwise)
		return 0;
	if (threads->busy == 1)
		return threads->last_busy;
	if (threads->waiting)
		return 0;
	if (threads->first >= STINT_DOING_SOMETHING || (!threads->busy && threads->first == STINT_DOING_LOCK))
		return pid;
	return 0;
}

static uint32_t choose_without_set(const struct threads *threads, uint32_t pid)
{
	bool only_computes = threads->first == STINT_DOING_COMPUTE && threads->busy == 1;

	return only_computes && !threads->waiting && !threads->otherwise ? pid : 0;
}

uint32_t stint_before_find(struct stint_before *before, uint32_t pid, bool asked)
{
	struct found *found = calloc(1, sizeof(*found));
	struct threads threads = {.found = found};
	uint32_t tid = 0;

	forget(before, pid);
	if (!found)
		return 0;
	found->pid = pid;
	found->parent = parent_of(pid);
	if (read_sets(found) != 0)
		asked = false; /* it may have some */
	if (found->sets_len) {
		stint_doing_read(pid, count_thread, &threads);
		keep_sets(found, threads.waiting ? 2 : 1);
		tid = found->sets_len ? choose(&threads, pid) : 0;
	} else if (asked) {
		stint_doing_read(pid, count_thread, &threads);
		found->without_set = true;
		tid = choose_without_set(&threads, pid);
	}
	if (!tid) {
		free(found);
		return 0;
	}
	found->next = before->found;
	before->found = found;
	return tid;
}

/* ---- what came of it ---- */

static struct found *find(const struct stint_before *before, uint32_t pid)
{
	struct found *found = before->found;

	while (found && found->pid != pid)
		found = found->next;
	return found;
}

void stint_before_waited(struct stint_before *before, uint32_t pid, int32_t epfd)
{
	struct found *found = find(before, pid);

	if (!found)
		return;
	note_waited(found, epfd);
	found->waited = true;
}

bool stint_before_is_without_set(const struct stint_before *before, uint32_t pid)
{
	const struct found *found = find(before, pid);

	return found && found->without_set;
}

bool stint_before_has_unwaited(const struct stint_before *before, uint32_t pid)
{
	const struct found *found = find(before, pid);

	for (uint32_t i = 0; found && i < found->sets_len; i++)
		if (!found->sets[i].waited)
			return true;
	return found && found->without_set && !found->waited;
}
