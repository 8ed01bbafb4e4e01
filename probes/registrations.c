/* SPDX-License-Identifier: MIT */
#include "probes/registrations.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "probes/descriptor_table.h"
#include "probes/epoll_fds.h"
#include "probes/listeners.h"
#include "probes/now.h"
#include "probes/proc_status.h"

#define LOOK_AGAIN_MIN_NS 100000000u
#define LOOK_AGAIN_MAX_NS UINT64_C(25600000000)
#define DESCRIPTORS_BYTES (DESCRIPTOR_SETS * sizeof(struct descriptor_set))

/* How it stands with one loop's set. */
struct look {
	uint64_t loop; /* its number: the slot may be another loop's by now */
	uint64_t unattributed;
	uint64_t next_ns;
	uint64_t pause_ns;
};

struct stint_registrations {
	struct stint_bpf_role_maps maps;
	struct descriptor_set *descriptors; /* the kernel's own memory */
	const struct loop_counters *loops;
	const struct loop_habits *habits;
	uint32_t len;
	struct look looks[];
};

int stint_registrations_new(struct stint_registrations **ret, const struct stint_bpf_role_maps *maps,
			    const struct loop_counters *loops, const struct loop_habits *habits, uint32_t len)
{
	struct stint_registrations *registrations =
		calloc(1, sizeof(*registrations) + len * sizeof(struct look));

	if (!registrations)
		return -ENOMEM;
	registrations->descriptors =
		mmap(NULL, DESCRIPTORS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, maps->descriptors, 0);
	if (registrations->descriptors == MAP_FAILED) {
		int err = -errno;

		free(registrations);
		return err;
	}
	registrations->maps = *maps;
	registrations->loops = loops;
	registrations->habits = habits;
	registrations->len = len;
	*ret = registrations;
	return 0;
}

struct stint_registrations *stint_registrations_free(struct stint_registrations *registrations)
{
	if (registrations)
		munmap(registrations->descriptors, DESCRIPTORS_BYTES);
	free(registrations);
	return NULL;
}

/* One epoll set being read, and how many of its descriptors were news. */
struct set {
	const struct stint_registrations *registrations;
	uint32_t pid;
	int32_t epfd;
	uint64_t time_ns; /* of the look */
	uint32_t news;
};

static int tell_registration(void *ctx, int32_t fd, uint32_t events, uint64_t data)
{
	struct set *set = ctx;
	const struct stint_bpf_role_maps *maps = &set->registrations->maps;
	struct data_key by_data = {.data = data, .pid = set->pid, .epfd = set->epfd};
	uint32_t mark = DESCRIPTOR_MARK(set->pid, fd);
	enum stint_descriptor_news news =
		stint_descriptor_table_tell(set->registrations->descriptors,
					    &(struct stint_descriptor_told){set->pid, set->epfd, fd, events,
									    data, set->time_ns});

	if (news == STINT_DESCRIPTOR_KNOWN)
		return 0;
	if (news == STINT_DESCRIPTOR_NEW)
		set->news++;
	bpf_map_update_elem(maps->descriptors_by_data, &by_data, &fd, BPF_ANY);
	__atomic_fetch_or(&maps->descriptor_marks[mark / 64], UINT64_C(1) << (mark % 64), __ATOMIC_SEQ_CST);
	return 0;
}

static int scan_set(void *ctx, int32_t epfd)
{
	struct set *set = ctx;

	set->epfd = epfd;
	(void)stint_epoll_fds_read(set->pid, epfd, tell_registration, set);
	return 0;
}

struct network {
	int listened;
	uint32_t number;
};

static void tell_port(void *ctx, uint16_t port, bool own)
{
	const struct network *network = ctx;
	struct port_key key = {.network = network->number, .port = port};
	uint32_t one = 1;

	if (own)
		(void)bpf_map_update_elem(network->listened, &key, &one, BPF_ANY);
}

void stint_registrations_scan(struct stint_registrations *registrations, uint32_t pid)
{
	struct network network = {registrations->maps.listened, stint_proc_network(pid)};
	struct set set = {.registrations = registrations, .pid = pid, .time_ns = stint_now_ns()};

	if (network.number)
		stint_listeners_read(pid, tell_port, &network);
	(void)stint_epoll_fds_list(pid, scan_set, &set);
}

void stint_registrations_refresh(struct stint_registrations *registrations, uint64_t now_ns)
{
	for (uint32_t i = 0; i < registrations->len; i++) {
		const struct loop_counters *loop = &registrations->loops[i];
		const struct loop_habits *habits = &registrations->habits[i];
		struct set set = {.registrations = registrations, .pid = loop->pid, .time_ns = now_ns};
		struct look *look = &registrations->looks[i];
		uint64_t unattributed = habits->events - habits->attributed;

		if (loop->wait != RECORD_WAIT_EPOLL || loop->ended)
			continue;
		if (look->loop != loop->number)
			*look = (struct look){.loop = loop->number};
		if (unattributed == look->unattributed || now_ns < look->next_ns)
			continue;
		scan_set(&set, loop->epfd);
		look->unattributed = unattributed;
		if (set.news || !look->pause_ns)
			look->pause_ns = LOOK_AGAIN_MIN_NS;
		else if (look->pause_ns < LOOK_AGAIN_MAX_NS)
			look->pause_ns *= 2;
		look->next_ns = now_ns + look->pause_ns;
	}
}
