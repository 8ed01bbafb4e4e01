/* SPDX-License-Identifier: MIT */
#include "probes/function_cost.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BATCHES     32
#define BATCH_CALLS 32

/* In assembler, as the first instruction is what matters. */
#ifdef __x86_64__
__asm__(".pushsection .text\n"
	".macro stint_subject name, first, last\n"
	".p2align 4\n"
	".globl \\name\n"
	".hidden \\name\n"
	".type \\name, @function\n"
	"\\name:\n"
	"\\first\n"
	"\\last\n"
	"ret\n"
	".size \\name, . - \\name\n"
	".endm\n"
	"stint_subject stint_subject_push, \"push %rbp\", \"pop %rbp\"\n"
	"stint_subject stint_subject_endbr, \"endbr64\", \"nop\"\n"
	"stint_subject stint_subject_other, \"sub $8, %rsp\", \"add $8, %rsp\"\n"
	".popsection\n");
#else
#error "the functions by which the cost of a probe is measured are written for x86-64"
#endif

void stint_subject_push(void);
void stint_subject_endbr(void);
void stint_subject_other(void);

static void (*const subjects[STINT_FUNCTION_KINDS])(void) = {
	[STINT_FUNCTION_PUSH] = stint_subject_push,
	[STINT_FUNCTION_ENDBR] = stint_subject_endbr,
	[STINT_FUNCTION_OTHER] = stint_subject_other,
};

enum stint_function_kind stint_function_kind(const uint8_t *code)
{
	static const uint8_t endbr[4] = {0xf3, 0x0f, 0x1e, 0xfa};
	bool wide = code[0] == 0x41; /* of r8 to r15 */

	if (memcmp(code, endbr, sizeof(endbr)) == 0)
		return STINT_FUNCTION_ENDBR;
	return (code[wide] & 0xf8) == 0x50 ? STINT_FUNCTION_PUSH : STINT_FUNCTION_OTHER;
}

/* ---- the child ---- */

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return (left > right) - (left < right);
}

/* The median of some batches, in ns: who else runs on this machine makes some longer. */
static uint64_t time_batch(void (*subject)(void))
{
	uint64_t batches[BATCHES];

	for (int batch = 0; batch < BATCHES; batch++) {
		uint64_t start_ns = now_ns();

		for (int i = 0; i < BATCH_CALLS; i++)
			subject();
		batches[batch] = now_ns() - start_ns;
	}
	qsort(batches, BATCHES, sizeof(batches[0]), compare);
	return batches[BATCHES / 2];
}

/* Is told by a byte which function to call, and says how long a batch of it takes; ends when there is nobody to tell. */
static void run_child(int from, int to)
{
	unsigned char kind;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(from, &kind, 1) == 1 && kind < STINT_FUNCTION_KINDS) {
		uint64_t batch_ns = time_batch(subjects[kind]);

		if (write(to, &batch_ns, sizeof(batch_ns)) != sizeof(batch_ns))
			break;
	}
	_exit(0);
}

/* ---- this side ---- */

struct child {
	pid_t pid;
	int to, from;
};

static void stop_child(const struct child *child)
{
	close(child->to);
	close(child->from);
	if (child->pid <= 0)
		return;
	kill(child->pid, SIGKILL);
	while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static int start_child(struct child *child)
{
	int to[2], from[2], err = 0;

	if (pipe2(to, O_CLOEXEC) != 0)
		return -errno;
	if (pipe2(from, O_CLOEXEC) != 0) {
		err = -errno;
		close(to[0]);
		close(to[1]);
		return err;
	}
	child->pid = fork();
	if (child->pid == 0) {
		close(to[1]);
		close(from[0]);
		run_child(to[0], from[1]);
	}
	if (child->pid < 0)
		err = -errno;
	close(to[0]);
	close(from[1]);
	child->to = to[1];
	child->from = from[0];
	if (err)
		stop_child(child);
	return err;
}

/* 0 if the child does not answer. */
static uint64_t ask_child(const struct child *child, enum stint_function_kind kind)
{
	unsigned char byte = (unsigned char)kind;
	uint64_t batch_ns;

	if (write(child->to, &byte, 1) != 1 ||
	    read(child->from, &batch_ns, sizeof(batch_ns)) != sizeof(batch_ns))
		return 0;
	return batch_ns;
}

/* Where this program's own file has what is at that address. */
static bool find_own_offset(uint64_t address, uint64_t *ret)
{
	uint64_t start, end, offset;
	bool found = false;
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "re");

	if (!maps)
		return false;
	while (!found && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64, &start, &end, &offset) != 3)
			continue;
		found = address >= start && address < end;
		*ret = address - start + offset;
	}
	fclose(maps);
	return found;
}

/* The middle of the bucket that half of the calls lie up to. */
static uint64_t median(const struct function_counters *counters)
{
	uint64_t seen = 0;

	for (uint32_t bucket = 0; bucket < RECORD_BUCKETS; bucket++) {
		uint32_t shift = bucket >> RECORD_SUB_BITS ? (bucket >> RECORD_SUB_BITS) - 1 : 0;
		uint64_t low = (uint64_t)(bucket - (shift << RECORD_SUB_BITS)) << shift;

		seen += counters->bucket[bucket];
		if (2 * seen > counters->ended)
			return low + (UINT64_C(1) << shift) / 2;
	}
	return 0;
}

static void measure_kind(struct stint_function_cost *ret, const struct child *child,
			 enum stint_function_kind kind, struct stint_bpf *bpf,
			 struct function_counters *counters, uint32_t slot)
{
	struct stint_bpf_function function = {.path = "/proc/self/exe", .slot = slot};
	struct bpf_link *links[2] = {NULL, NULL};
	uint64_t bare_ns = ask_child(child, kind), probed_ns;

	if (!bare_ns || !find_own_offset((uint64_t)(uintptr_t)subjects[kind], &function.offset))
		return;
	counters->pid = (uint32_t)child->pid;
	if (stint_bpf_attach_function(bpf, (uint32_t)child->pid, &function, links) != 0)
		return;
	__atomic_store_n(&counters->enabled, 1, __ATOMIC_RELEASE);
	probed_ns = ask_child(child, kind);
	for (int i = 0; i < 2; i++)
		bpf_link__destroy(links[i]);
	if (probed_ns <= bare_ns || counters->ended == 0)
		return;
	ret->call_ns = (probed_ns - bare_ns) / BATCH_CALLS;
	ret->within_ns = median(counters);
	/* Two medians of different things: the part is not more than the whole. */
	if (ret->within_ns > ret->call_ns)
		ret->within_ns = ret->call_ns;
}

void stint_function_cost_measure(struct stint_function_cost ret[STINT_FUNCTION_KINDS], struct stint_bpf *bpf,
				 struct function_counters *table, uint32_t first)
{
	struct child child = {.pid = -1};

	memset(ret, 0, STINT_FUNCTION_KINDS * sizeof(*ret));
	if (start_child(&child) != 0)
		return;
	for (int kind = 0; kind < STINT_FUNCTION_KINDS; kind++)
		measure_kind(&ret[kind], &child, (enum stint_function_kind)kind, bpf,
			     &table[first + (uint32_t)kind], first + (uint32_t)kind);
	stop_child(&child);
}
