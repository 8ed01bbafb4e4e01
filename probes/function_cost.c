/* SPDX-License-Identifier: MIT */
#include "probes/function_cost.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probes/now.h"
#include "probes/own_offset.h"

#define BATCHES      32
#define BATCH_CALLS  32
#define NR_URETPROBE 335 /* made by the kernel's own code in the process, since 6.11 */

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
		uint64_t start_ns = stint_now_ns();

		for (int i = 0; i < BATCH_CALLS; i++)
			subject();
		batches[batch] = stint_now_ns() - start_ns;
	}
	qsort(batches, BATCHES, sizeof(batches[0]), compare);
	return batches[BATCHES / 2];
}

/* As filters are that were written before the kernel had system calls of its own for probes: unknown ones are refused. */
static void refuse_unknown_calls(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NR_URETPROBE, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	const struct rlimit no_core = {0, 0};

	if (setrlimit(RLIMIT_CORE, &no_core) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
		_exit(0);
}

/* Is told by a byte which function to call, and says how long a batch of it takes; ends when there is nobody to tell. */
static void run_child(int fd, bool filtered)
{
	unsigned char kind;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGILL, SIG_DFL);
	signal(SIGSEGV, SIG_DFL);
	if (filtered)
		refuse_unknown_calls();
	while (recv(fd, &kind, 1, 0) == 1 && kind < STINT_FUNCTION_KINDS) {
		uint64_t batch_ns = time_batch(subjects[kind]);

		if (send(fd, &batch_ns, sizeof(batch_ns), MSG_NOSIGNAL) != sizeof(batch_ns))
			break;
	}
	_exit(0);
}

/* ---- this side ---- */

struct child {
	pid_t pid;
	int fd;
};

static void stop_child(const struct child *child)
{
	close(child->fd);
	kill(child->pid, SIGKILL);
	while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static int start_child(struct child *child, bool filtered)
{
	int pair[2], err = 0;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return -errno;
	child->pid = fork();
	if (child->pid == 0) {
		close(pair[0]);
		run_child(pair[1], filtered);
	}
	if (child->pid < 0)
		err = -errno;
	close(pair[1]);
	child->fd = pair[0];
	if (err)
		close(child->fd);
	return err;
}

/* 0 if the child does not answer. */
static uint64_t ask_child(const struct child *child, enum stint_function_kind kind)
{
	unsigned char byte = (unsigned char)kind;
	uint64_t batch_ns;

	if (send(child->fd, &byte, 1, MSG_NOSIGNAL) != 1 ||
	    recv(child->fd, &batch_ns, sizeof(batch_ns), 0) != sizeof(batch_ns))
		return 0;
	return batch_ns;
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

/* How long a batch takes with the probes; 0 if they are not to be had, and *attached is false, or the child has ended. */
static uint64_t ask_probed(const struct child *child, enum stint_function_kind kind, struct stint_bpf *bpf,
			   struct function_counters *counters, uint32_t slot, bool *attached)
{
	struct stint_bpf_function function = {.path = "/proc/self/exe", .slot = slot, .number = slot};
	struct bpf_link *links[2] = {NULL, NULL};
	uint64_t batch_ns;

	*attached = false;
	counters->pid = (uint32_t)child->pid;
	function.offset = stint_own_offset((uint64_t)(uintptr_t)subjects[kind]);
	if (!function.offset || stint_bpf_attach_function(bpf, (uint32_t)child->pid, &function, links) != 0)
		return 0;
	*attached = true;
	__atomic_store_n(&counters->number, function.number, __ATOMIC_RELEASE);
	batch_ns = ask_child(child, kind);
	for (int i = 0; i < 2; i++)
		bpf_link__destroy(links[i]);
	return batch_ns;
}

static void measure_kind(struct stint_function_cost *ret, const struct child *child,
			 enum stint_function_kind kind, struct stint_bpf *bpf,
			 struct function_counters *counters, uint32_t slot)
{
	uint64_t bare_ns = ask_child(child, kind), probed_ns;
	bool attached;

	probed_ns = ask_probed(child, kind, bpf, counters, slot, &attached);
	if (!bare_ns || probed_ns <= bare_ns || counters->ended == 0)
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
	struct child child;

	memset(ret, 0, STINT_FUNCTION_KINDS * sizeof(*ret));
	if (start_child(&child, false) != 0)
		return;
	for (int kind = 0; kind < STINT_FUNCTION_KINDS; kind++)
		measure_kind(&ret[kind], &child, (enum stint_function_kind)kind, bpf,
			     &table[first + (uint32_t)kind], first + (uint32_t)kind);
	stop_child(&child);
}

bool stint_function_ends_filtered(struct stint_bpf *bpf, struct function_counters *table, uint32_t slot)
{
	struct child child;
	bool attached;
	bool ends;

	if (start_child(&child, true) != 0)
		return false;
	ends = ask_child(&child, STINT_FUNCTION_PUSH) &&
	       !ask_probed(&child, STINT_FUNCTION_PUSH, bpf, &table[slot], slot, &attached) && attached;
	stop_child(&child);
	return ends;
}
