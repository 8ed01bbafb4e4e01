/* SPDX-License-Identifier: MIT */
#include "probes/trials.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "probes/own_offset.h"

static int close_all(int err, int first, int second)
{
	if (second >= 0)
		close(second);
	if (first >= 0)
		close(first);
	return err;
}

static int btf_id(const char *name, uint32_t kind)
{
	struct btf *btf = btf__load_vmlinux_btf();
	int id;

	if (!btf)
		return -errno;
	id = btf__find_by_name_kind(btf, name, kind);
	btf__free(btf);
	return id;
}

/* "return 0;" on the kernel's function or tracepoint with that BTF type. Returns its descriptor or a negative errno. */
static int load(const char *type_name, uint32_t kind, enum bpf_attach_type attach_type)
{
	const struct bpf_insn program[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	struct bpf_prog_load_opts options;
	int id = btf_id(type_name, kind), fd;

	if (id < 0)
		return id;
	memset(&options, 0, sizeof(options)); /* libbpf looks at the padding too */
	options.sz = sizeof(options);
	options.expected_attach_type = attach_type;
	options.attach_btf_id = (uint32_t)id;
	fd = bpf_prog_load(BPF_PROG_TYPE_TRACING, "stint_try", "Dual MIT/GPL", program,
			   sizeof(program) / sizeof(program[0]), &options);
	return fd < 0 ? -errno : fd;
}

int stint_try_tracepoint(void)
{
	int program = load("btf_trace_sched_switch", BTF_KIND_TYPEDEF, BPF_TRACE_RAW_TP), link;

	if (program < 0)
		return program;
	link = bpf_raw_tracepoint_open(NULL, program);
	return close_all(link < 0 ? -errno : 0, program, link);
}

int stint_try_iterator(void)
{
	int program = load("bpf_iter_task", BTF_KIND_FUNC, BPF_TRACE_ITER), link, run, err;
	char nothing[8];

	if (program < 0)
		return program;
	link = bpf_link_create(program, 0, BPF_TRACE_ITER, NULL);
	if (link < 0)
		return close_all(-errno, program, link);
	run = bpf_iter_create(link);
	err = run < 0 || read(run, nothing, sizeof(nothing)) < 0 ? -errno : 0;
	if (run >= 0)
		close(run);
	return close_all(err, program, link);
}

int stint_try_maps(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct bpf_map_create_opts options;
	int ring, array, err;
	void *memory;

	memset(&options, 0, sizeof(options));
	options.sz = sizeof(options);
	options.map_flags = BPF_F_MMAPABLE;
	ring = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "stint_try", 0, 0, (uint32_t)page, NULL);
	if (ring < 0)
		return -errno;
	array = bpf_map_create(BPF_MAP_TYPE_ARRAY, "stint_try", sizeof(uint32_t), (uint32_t)page, 1,
			       &options);
	if (array < 0)
		return close_all(-errno, ring, array);
	memory = mmap(NULL, page, PROT_READ, MAP_SHARED, array, 0);
	err = memory == MAP_FAILED ? -errno : 0;
	if (!err)
		munmap(memory, page);
	return close_all(err, ring, array);
}

static int try_event(struct perf_event_attr *attr)
{
	int event = (int)syscall(SYS_perf_event_open, attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	int err = event < 0 ? -errno : 0;

	return close_all(err, event, -1);
}

int stint_try_sampling(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.sample_period = 1000000,
	};

	return try_event(&attr);
}

static int read_number(const char *path, uint32_t *ret)
{
	FILE *file = fopen(path, "re");
	int err = 0;

	if (!file)
		return -errno;
	if (fscanf(file, "%" SCNu32, ret) != 1)
		err = -EIO;
	fclose(file);
	return err;
}

/* While a breakpoint is in it, whoever came here would go through the kernel. */
__attribute__((noinline, used)) static void never_called(void)
{
	__asm__ volatile("nop");
}

int stint_try_uprobe(void)
{
	static const char self[] = "/proc/self/exe";
	struct perf_event_attr attr = {.size = sizeof(attr)};
	int err = read_number("/sys/bus/event_source/devices/uprobe/type", &attr.type);

	if (err)
		return err == -ENOENT ? -ENODEV : err;
	attr.config1 = (uint64_t)(uintptr_t)self;
	attr.config2 = stint_own_offset((uint64_t)(uintptr_t)never_called);
	return attr.config2 ? try_event(&attr) : -EIO;
}
