/* SPDX-License-Identifier: MIT */
#include "probes/bpf_object.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "probes/fault_cost.h"
#include "probes/now.h"
#include "probes/skeleton.h"
#include "probes/syscall_names.h"

#define CPUS_MAX 1024

#define RING_PROGRAMS 4
#define NOBODY        UINT32_MAX /* no process has that number */

struct stint_bpf {
	struct stint_skeleton *skeleton;
	struct bpf_link *rings[RING_PROGRAMS]; /* all or none */
	bool rings_refused;
	bool is_stopped;
};

/* What a tracepoint passes, which differs between versions; -1: this kernel has no such tracepoint. */
static int tracepoint_arguments(const struct btf *btf, const char *name)
{
	const struct btf_type *type = NULL;
	char type_name[96];
	int id;

	snprintf(type_name, sizeof(type_name), "btf_trace_%s", name);
	id = btf__find_by_name_kind(btf, type_name, BTF_KIND_TYPEDEF);
	if (id > 0)
		type = btf__type_by_id(btf, (uint32_t)id);
	if (type)
		type = btf__type_by_id(btf, type->type);
	if (type && btf_is_ptr(type))
		type = btf__type_by_id(btf, type->type);
	/* The first is the tracer's own. */
	return type && btf_is_func_proto(type) ? btf_vlen(type) - 1 : -1;
}

/* The tracepoints of rings as this kernel has them: older ones than those of 6.0 pass no requests. */
struct ring_tracepoints {
	bool all; /* that are needed */
	bool submit_req, complete_cqe;
};

static struct ring_tracepoints find_ring_tracepoints(const struct btf *btf)
{
	struct ring_tracepoints found = {0};
	int completes;

	if (!btf)
		return found;
	completes = tracepoint_arguments(btf, "io_uring_complete");
	found.submit_req = tracepoint_arguments(btf, "io_uring_submit_req") == 1;
	found.complete_cqe = completes == 3;
	found.all = (found.submit_req || tracepoint_arguments(btf, "io_uring_submit_sqe") == 2) &&
		    (completes == 3 || completes == 7) &&
		    tracepoint_arguments(btf, "io_uring_poll_arm") == 3 &&
		    tracepoint_arguments(btf, "io_uring_task_add") == 2;
	return found;
}

static void choose_ring_programs(struct stint_skeleton *skeleton, const struct btf *btf)
{
	const struct ring_tracepoints found = find_ring_tracepoints(btf);
	const struct {
		struct bpf_program *program;
		bool chosen;
	} programs[] = {
		{skeleton->progs.on_ring_submit, found.submit_req},
		{skeleton->progs.on_ring_submit_sqe, !found.submit_req},
		{skeleton->progs.on_ring_complete, found.complete_cqe},
		{skeleton->progs.on_ring_complete_by_value, !found.complete_cqe},
		{skeleton->progs.on_ring_poll_arm, true},
		{skeleton->progs.on_ring_task_add, true},
	};

	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
		bpf_program__set_autoload(programs[i].program, found.all && programs[i].chosen);
		bpf_program__set_autoattach(programs[i].program, false);
	}
}

bool stint_bpf_can_follow_rings(const struct btf *btf)
{
	return find_ring_tracepoints(btf).all;
}

static void tell_arguments(struct stint_skeleton *skeleton)
{
	struct btf *btf = btf__load_vmlinux_btf();

	choose_ring_programs(skeleton, btf);
	if (!btf)
		return;
	/* Since 5.18 sched_switch passes the state in which the task left. */
	skeleton->rodata->switch_has_state = tracepoint_arguments(btf, "sched_switch") >= 4;
	/* Since 6.17 it tells also of what was not sent again, and of the reason. */
	skeleton->rodata->retransmit_has_error = tracepoint_arguments(btf, "tcp_retransmit_skb") >= 3;
	btf__free(btf);
}

static void tell_calls_with_fd(struct stint_skeleton *skeleton)
{
	for (uint32_t number = 0; number < RECORD_CALLS; number++)
		if (stint_syscall_has_fd(number))
			skeleton->rodata->calls_with_fd[number / 64] |= 1ull << (number % 64);
}

/* Those that there are on this machine, one after the other. */
static void tell_timer_entries(struct stint_skeleton *skeleton, struct stint_kernel_symbols *kernel)
{
	size_t room = sizeof(skeleton->rodata->timer_entries) / sizeof(skeleton->rodata->timer_entries[0]);
	uint64_t start, end;
	size_t len = 0;

	for (const char *const *name = stint_kernel_timer_entries; *name && len < room; name++) {
		if (!stint_kernel_range(kernel, *name, &start, &end))
			continue;
		skeleton->rodata->timer_entries[len].start = start;
		skeleton->rodata->timer_entries[len].end = end;
		len++;
	}
}

static void tell_fault_entry(struct stint_skeleton *skeleton, struct stint_kernel_symbols *kernel)
{
	uint64_t start, end;

	if (!stint_kernel_range(kernel, "exc_page_fault", &start, &end))
		return;
	skeleton->rodata->fault_entry.start = start;
	skeleton->rodata->fault_entry.end = end;
}

static void configure_following(struct stint_skeleton *skeleton, const struct stint_probes_options *options)
{
	skeleton->rodata->follow_children = options->follow_children;
	skeleton->rodata->follow_cgroup = options->follow_cgroup;
	bpf_program__set_autoload(skeleton->progs.on_cgroup_attach, options->follow_cgroup != 0);
	skeleton->rodata->follow_name = options->follow_name != NULL;
	if (options->follow_name) /* the kernel cuts names so, too */
		snprintf(skeleton->rodata->followed_name, sizeof(skeleton->rodata->followed_name), "%s",
			 options->follow_name);
}

static void configure_functions(struct stint_skeleton *skeleton, const struct stint_probes_options *options)
{
	bool asked = options->functions_len > 0;

	skeleton->rodata->functions_asked = asked;
	bpf_program__set_autoload(skeleton->progs.on_function, asked);
	bpf_program__set_autoload(skeleton->progs.on_function_return, asked);
	bpf_program__set_autoattach(skeleton->progs.on_function, false);
	bpf_program__set_autoattach(skeleton->progs.on_function_return, false);
	if (!asked)
		return;
	bpf_map__set_max_entries(skeleton->maps.function_table, FUNCTION_SLOTS);
	bpf_map__set_max_entries(skeleton->maps.function_places, FUNCTION_PLACES);
}

static void configure(struct stint_skeleton *skeleton, const struct stint_probes_options *options,
		      struct stint_kernel_symbols *kernel)
{
	uint64_t start, end;

	skeleton->rodata->budget_ns = options->budget_ns;
	skeleton->rodata->sample_ns = options->sample_ns;
	skeleton->rodata->fault_cost_ns = stint_fault_cost_ns();
	skeleton->rodata->trace_sockets = options->trace_sockets;
	skeleton->rodata->trace_port = options->trace_sockets ? options->trace_port : 0;
	memcpy((void *)(uintptr_t)skeleton->rodata->trace_address, options->trace_address,
	       sizeof(options->trace_address));
	if (options->trace_sockets && options->trace_by_fd)
		skeleton->rodata->trace_fd = options->trace_fd;
	bpf_program__set_autoload(skeleton->progs.on_socket_state,
				  skeleton->rodata->trace_port != 0 || skeleton->rodata->trace_fd >= 0);
	tell_arguments(skeleton);
	skeleton->rodata->loop_limit = options->loop_limit;
	skeleton->rodata->hang_ns = options->hang_ns;
	if (stint_kernel_range(kernel, "sk_stream_write_space", &start, &end))
		skeleton->rodata->stream_write_space = start; /* 0 where the kernel does not tell */
	configure_following(skeleton, options);
	configure_functions(skeleton, options);
	tell_calls_with_fd(skeleton);
	tell_timer_entries(skeleton, kernel);
	tell_fault_entry(skeleton, kernel);
	bpf_map__set_max_entries(skeleton->maps.records, options->ring_bytes);
	bpf_map__set_max_entries(skeleton->maps.loop_table, options->loop_limit);
	bpf_map__set_max_entries(skeleton->maps.habits_table, options->loop_limit);
	bpf_map__set_max_entries(skeleton->maps.loop_index, options->loop_limit);
	bpf_map__set_max_entries(skeleton->maps.free_loops, options->loop_limit);
	bpf_map__set_max_entries(skeleton->maps.role_table, options->role_limit);
	bpf_map__set_max_entries(skeleton->maps.free_roles, options->role_limit);
}

static int free_all(const struct bpf_map *queue)
{
	for (uint32_t slot = 0; slot < bpf_map__max_entries(queue); slot++)
		if (bpf_map_update_elem(bpf_map__fd(queue), NULL, &slot, BPF_ANY) != 0)
			return -errno;
	return 0;
}

static int free_all_slots(struct stint_skeleton *skeleton)
{
	int err = free_all(skeleton->maps.free_slots);

	if (!err)
		err = free_all(skeleton->maps.free_loops);
	return err ? err : free_all(skeleton->maps.free_roles);
}

static int load(struct stint_bpf *bpf, const struct stint_probes_options *options,
		struct stint_kernel_symbols *kernel)
{
	int err;

	bpf->skeleton = stint_skeleton__open();
	if (!bpf->skeleton)
		return -errno;
	configure(bpf->skeleton, options, kernel);
	err = stint_skeleton__load(bpf->skeleton);
	if (!err)
		err = free_all_slots(bpf->skeleton);
	if (!err)
		err = stint_skeleton__attach(bpf->skeleton);
	return err;
}

/* The program that the kernel refused last: libbpf tells of it only in what it prints, and the callback has no context. */
static _Thread_local char refused_program[64];

__attribute__((format(printf, 2, 0))) static int note_refused(enum libbpf_print_level level,
							      const char *format, va_list args)
{
	char line[256];

	(void)level;
	vsnprintf(line, sizeof(line), format, args);
	if (strstr(line, ": failed to load: "))
		(void)sscanf(line, "libbpf: prog '%63[^']'", refused_program);
	return 0;
}

const char *stint_bpf_refused_program(void)
{
	return refused_program;
}

int stint_bpf_new(struct stint_bpf **ret, const struct stint_probes_options *options,
		  struct stint_kernel_symbols *kernel)
{
	struct stint_bpf *bpf = calloc(1, sizeof(*bpf));
	int err;

	if (!bpf)
		return -ENOMEM;
	refused_program[0] = '\0';
	if (!getenv("STINT_LIBBPF_DEBUG"))
		libbpf_set_print(note_refused);
	err = load(bpf, options, kernel);
	if (err) {
		stint_bpf_free(bpf);
		return err;
	}
	*ret = bpf;
	return 0;
}

struct stint_bpf *stint_bpf_free(struct stint_bpf *bpf)
{
	if (!bpf)
		return NULL;
	for (int i = 0; i < RING_PROGRAMS; i++)
		bpf_link__destroy(bpf->rings[i]);
	stint_skeleton__destroy(bpf->skeleton);
	free(bpf);
	return NULL;
}

static bool is_ring_program(const struct bpf_program *program)
{
	return strncmp(bpf_program__name(program), "on_ring_", 8) == 0 && bpf_program__autoload(program);
}

static void detach_rings(struct stint_bpf *bpf)
{
	__atomic_store_n(&bpf->skeleton->bss->rings_followed, 0, __ATOMIC_RELEASE);
	for (int i = 0; i < RING_PROGRAMS; i++) {
		bpf_link__destroy(bpf->rings[i]);
		bpf->rings[i] = NULL;
	}
}

static int attach_rings(struct stint_bpf *bpf)
{
	struct bpf_program *program;
	int len = 0;

	bpf_object__for_each_program(program, bpf->skeleton->obj)
	{
		if (!is_ring_program(program) || len == RING_PROGRAMS)
			continue;
		bpf->rings[len] = bpf_program__attach(program);
		if (!bpf->rings[len]) {
			int err = -errno;

			detach_rings(bpf);
			return err;
		}
		len++;
	}
	if (len == RING_PROGRAMS)
		__atomic_store_n(&bpf->skeleton->bss->rings_followed, 1, __ATOMIC_RELEASE);
	return 0;
}

void stint_bpf_follow_rings(struct stint_bpf *bpf)
{
	bool known = __atomic_load_n(&bpf->skeleton->bss->rings_known, __ATOMIC_RELAXED) > 0;

	if (bpf->is_stopped)
		return;
	if (known && !bpf->rings[0] && !bpf->rings_refused)
		bpf->rings_refused = attach_rings(bpf) != 0;
	if (!known && bpf->rings[0])
		detach_rings(bpf);
}

/* Runs an iterator's program over all that it iterates. */
static int run_iterator(const struct bpf_link *link)
{
	char nothing[64];
	ssize_t bytes;
	int fd = bpf_iter_create(bpf_link__fd(link)), err;

	if (fd < 0)
		return -errno;
	do {
		bytes = read(fd, nothing, sizeof(nothing));
		err = bytes < 0 ? -errno : 0;
	} while (bytes > 0 || err == -EINTR || err == -EAGAIN);
	close(fd);
	return err;
}

/*
 * Without their marks, threads and sockets are nobody's from one moment to the next, and no process is the only one that is
 * watched if that has a number that none has. To take the links away takes longer.
 */
int stint_bpf_stop(struct stint_bpf *bpf, uint64_t *ret_ns)
{
	int err;

	bpf->is_stopped = true;
	memset(bpf->skeleton->bss->marks, 0, sizeof(bpf->skeleton->bss->marks));
	memset(bpf->skeleton->bss->socket_marks, 0, sizeof(bpf->skeleton->bss->socket_marks));
	__atomic_store_n(&bpf->skeleton->bss->only_pid, NOBODY, __ATOMIC_SEQ_CST);
	*ret_ns = stint_now_ns();
	bpf->skeleton->bss->ended_ns = *ret_ns;
	err = run_iterator(bpf->skeleton->links.on_each_running);
	detach_rings(bpf);
	stint_skeleton__detach(bpf->skeleton);
	return err;
}

/* Gives the threads that there are of watched processes their marks; those of threads to come are given by events. */
int stint_bpf_mark(const struct stint_bpf *bpf)
{
	if (bpf->is_stopped)
		return 0;
	return run_iterator(bpf->skeleton->links.on_each_task);
}

/* Asked of the table itself: the programs take out of it who ends. */
static bool is_only_one(const struct stint_bpf *bpf)
{
	int fd = bpf_map__fd(bpf->skeleton->maps.watched);
	uint32_t first, second;

	return bpf_map_get_next_key(fd, NULL, &first) == 0 && bpf_map_get_next_key(fd, &first, &second) != 0;
}

int stint_bpf_watch(struct stint_bpf *bpf, uint32_t pid, uint32_t before_tid)
{
	uint32_t since = WATCHED_FROM_START;
	int err;

	if (bpf_map_update_elem(bpf_map__fd(bpf->skeleton->maps.watched), &pid, &since, BPF_ANY) != 0)
		return -errno;
	__atomic_store_n(&bpf->skeleton->bss->only_pid, is_only_one(bpf) ? pid : 0, __ATOMIC_SEQ_CST);
	/* The programs may have added another meanwhile: they count it first, and then take back what is stored. */
	if (__atomic_load_n(&bpf->skeleton->bss->followed, __ATOMIC_SEQ_CST))
		__atomic_store_n(&bpf->skeleton->bss->only_pid, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&bpf->skeleton->bss->before_tid, before_tid, __ATOMIC_SEQ_CST);
	err = stint_bpf_mark(bpf);
	__atomic_store_n(&bpf->skeleton->bss->before_tid, 0, __ATOMIC_SEQ_CST);
	return err;
}

void stint_bpf_unwatch(struct stint_bpf *bpf, uint32_t pid)
{
	uint32_t expected = pid;

	(void)bpf_map_delete_elem(bpf_map__fd(bpf->skeleton->maps.watched), &pid);
	__atomic_compare_exchange_n(&bpf->skeleton->bss->only_pid, &expected, 0, false, __ATOMIC_RELEASE,
				    __ATOMIC_RELAXED);
}

void stint_bpf_tell_idle_place(struct stint_bpf *bpf, const struct idle_place *place, enum idle_known known)
{
	const uint8_t value = (uint8_t)known;

	(void)bpf_map_update_elem(bpf_map__fd(bpf->skeleton->maps.idle_places), place, &value, BPF_ANY);
}

bool stint_bpf_is_watching(const struct stint_bpf *bpf)
{
	uint32_t pid;

	return bpf_map_get_next_key(bpf_map__fd(bpf->skeleton->maps.watched), NULL, &pid) == 0;
}

int stint_bpf_ring(const struct stint_bpf *bpf)
{
	return bpf_map__fd(bpf->skeleton->maps.records);
}

int stint_bpf_loop_table(const struct stint_bpf *bpf)
{
	return bpf_map__fd(bpf->skeleton->maps.loop_table);
}

int stint_bpf_free_loop(struct stint_bpf *bpf, uint32_t slot)
{
	if (bpf_map_update_elem(bpf_map__fd(bpf->skeleton->maps.free_loops), NULL, &slot, BPF_ANY) != 0)
		return -errno;
	__atomic_fetch_sub(&bpf->skeleton->bss->loops_used, 1, __ATOMIC_RELAXED);
	return 0;
}

static int run(const struct bpf_program *program)
{
	struct bpf_test_run_opts options;

	memset(&options, 0, sizeof(options)); /* libbpf looks at the padding too */
	options.sz = sizeof(options);
	return bpf_prog_test_run_opts(bpf_program__fd(program), &options);
}

int stint_bpf_survey_sockets(struct stint_bpf *bpf)
{
	if (bpf->is_stopped || __atomic_load_n(&bpf->skeleton->bss->sockets_known, __ATOMIC_RELAXED) <= 0)
		return 0;
	return run(bpf->skeleton->progs.on_survey);
}

int stint_bpf_survey_threads(struct stint_bpf *bpf)
{
	return bpf->is_stopped ? 0 : run(bpf->skeleton->progs.on_thread_survey);
}

int stint_bpf_tell_open(struct stint_bpf *bpf)
{
	int err;

	__atomic_store_n(&bpf->skeleton->bss->tell_open, 1, __ATOMIC_SEQ_CST);
	err = stint_bpf_survey_sockets(bpf);
	__atomic_store_n(&bpf->skeleton->bss->tell_open, 0, __ATOMIC_SEQ_CST);
	return err;
}

void stint_bpf_role_maps(const struct stint_bpf *bpf, struct stint_bpf_role_maps *ret)
{
	*ret = (struct stint_bpf_role_maps){
		.role_table = bpf_map__fd(bpf->skeleton->maps.role_table),
		.free_roles = bpf_map__fd(bpf->skeleton->maps.free_roles),
		.roles_used = &bpf->skeleton->bss->roles_used,
		.roles = bpf_map__max_entries(bpf->skeleton->maps.role_table),
		.habits_table = bpf_map__fd(bpf->skeleton->maps.habits_table),
		.findings = bpf_map__fd(bpf->skeleton->maps.findings),
		.descriptors = bpf_map__fd(bpf->skeleton->maps.descriptors),
		.descriptor_marks = bpf->skeleton->bss->descriptor_marks,
		.descriptors_by_data = bpf_map__fd(bpf->skeleton->maps.descriptors_by_data),
		.listened = bpf_map__fd(bpf->skeleton->maps.listened),
	};
}

int stint_bpf_function_table(const struct stint_bpf *bpf)
{
	return bpf_map__fd(bpf->skeleton->maps.function_table);
}

int stint_bpf_attach_function(struct stint_bpf *bpf, uint32_t pid, const struct stint_bpf_function *function,
			      struct bpf_link *links[2])
{
	struct bpf_uprobe_opts options;
	struct bpf_program *programs[2] = {bpf->skeleton->progs.on_function_return,
					   bpf->skeleton->progs.on_function};

	memset(&options, 0, sizeof(options)); /* libbpf looks at the padding too */
	options.sz = sizeof(options);
	options.bpf_cookie = (uint64_t)function->number << 32 | function->slot;
	for (int i = 0; i < 2; i++) {
		int err;

		options.retprobe = programs[i] == bpf->skeleton->progs.on_function_return;
		links[i] = bpf_program__attach_uprobe_opts(programs[i], (pid_t)pid, function->path,
							   function->offset, &options);
		if (links[i])
			continue;
		err = -errno;
		if (i > 0)
			bpf_link__destroy(links[0]);
		links[0] = NULL;
		return err;
	}
	return 0;
}

void stint_bpf_fault_programs(const struct stint_bpf *bpf, int *begin, int *end)
{
	*begin = bpf_program__fd(bpf->skeleton->progs.on_fault);
	*end = bpf_program__fd(bpf->skeleton->progs.on_fault_end);
}

void stint_bpf_losses(const struct stint_bpf *bpf, struct loss_counters *ret)
{
	struct loss_counters each[CPUS_MAX];
	uint32_t zero = 0;
	int cpus = libbpf_num_possible_cpus();

	*ret = (struct loss_counters){0};
	if (cpus < 0 || cpus > CPUS_MAX ||
	    bpf_map_lookup_elem(bpf_map__fd(bpf->skeleton->maps.losses), &zero, each) != 0)
		return;
	for (int cpu = 0; cpu < cpus; cpu++) {
		ret->ring_full += each[cpu].ring_full;
		ret->no_draft += each[cpu].no_draft;
		ret->table_full += each[cpu].table_full;
		ret->roles_full += each[cpu].roles_full;
		ret->stacks_unread += each[cpu].stacks_unread;
		ret->acks_unseen += each[cpu].acks_unseen;
		ret->arrivals_unseen += each[cpu].arrivals_unseen;
	}
}

uint64_t stint_bpf_cost_ns(const struct stint_bpf *bpf)
{
	struct bpf_program *program;
	uint64_t cost_ns = 0;

	bpf_object__for_each_program(program, bpf->skeleton->obj)
	{
		struct bpf_prog_info info = {0};
		uint32_t bytes = sizeof(info);

		if (bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &bytes) == 0)
			cost_ns += info.run_time_ns;
	}
	return cost_ns;
}
