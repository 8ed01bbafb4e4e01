/* SPDX-License-Identifier: MIT */
#include "stack_copy.h"

#include "clock.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

/*
 * Who takes part: the taker, and the thread that is copied, in its signal handler. They agree by `state`:
 *
 *	IDLE -> WANTED (taker) -> COPYING (handler) -> DONE (handler) -> IDLE (taker)
 *
 * A taker that has waited long enough takes WANTED back to IDLE, unless the handler has begun meanwhile. The handler
 * does what is allowed in a signal handler and nothing more: one system call that copies memory (it stops at an
 * unmapped page where a load would crash), and one that wakes the taker.
 */
enum copy_state { IDLE, WANTED, COPYING, DONE };

#define SIGNAL_WAIT_NS 200000000u /* a thread on a busy machine gets no CPU for so long */
#define PAGE           4096u

static struct {
	uint32_t state;
	uint32_t tid; /* who is wanted */
	struct stint_meter_file_stack copy;
	int signal; /* 0: not open */
	struct sigaction before;
} shared;

#if defined(__x86_64__)

#define MACHINE   EM_X86_64
#define REG_OF_SP 7
#define REG_OF_PC 16

/* Where DWARF's register i is in the kernel's order. */
static const int dwarf_registers[STINT_METER_STACK_REGISTERS] = {
	REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP, REG_R8,
	REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP,
};

static void copy_registers(uint64_t *ret, const ucontext_t *context)
{
	for (int i = 0; i < STINT_METER_STACK_REGISTERS; i++)
		ret[i] = (uint64_t)context->uc_mcontext.gregs[dwarf_registers[i]];
}

#else

#define MACHINE   EM_NONE
#define REG_OF_SP 0
#define REG_OF_PC 0

static void copy_registers(uint64_t *ret, const ucontext_t *context)
{
	(void)context;
	memset(ret, 0, STINT_METER_STACK_REGISTERS * sizeof(*ret));
}

#endif

/* As much as is mapped from `sp` up, page by page, as the call copies whole pieces. */
static uint32_t copy_memory(uint8_t *ret, uint64_t sp)
{
	struct iovec to = {.iov_base = ret, .iov_len = STINT_METER_STACK_BYTES};
	struct iovec from[STINT_METER_STACK_BYTES / PAGE + 1];
	size_t left = STINT_METER_STACK_BYTES;
	unsigned long count = 0;
	long copied;

	while (left > 0) {
		size_t piece = PAGE - (sp & (PAGE - 1));

		if (piece > left)
			piece = left;
		from[count++] = (struct iovec){.iov_base = (void *)(uintptr_t)sp, .iov_len = piece};
		sp += piece;
		left -= piece;
	}
	copied = syscall(SYS_process_vm_readv, (long)getpid(), &to, 1UL, from, count, 0UL);
	return copied > 0 ? (uint32_t)copied : 0;
}

static void futex(uint32_t *word, int operation, uint32_t value, const struct timespec *timeout)
{
	syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, timeout, NULL, 0);
}

static void on_signal(int signal, siginfo_t *info, void *context)
{
	uint32_t wanted = WANTED;
	int saved = errno;

	(void)signal;
	(void)info;
	if ((uint32_t)syscall(SYS_gettid) != __atomic_load_n(&shared.tid, __ATOMIC_RELAXED) ||
	    !__atomic_compare_exchange_n(&shared.state, &wanted, COPYING, false, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED))
		goto out;
	copy_registers(shared.copy.reg, context);
	shared.copy.stack_bytes = copy_memory(shared.copy.stack, shared.copy.reg[REG_OF_SP]);
	__atomic_store_n(&shared.state, DONE, __ATOMIC_RELEASE);
	futex(&shared.state, FUTEX_WAKE, 1, NULL);
out:
	errno = saved;
}

int stack_copy_open(int signal)
{
	struct sigaction action = {.sa_sigaction = on_signal,
				   .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};

	if (sigaction(signal, NULL, &shared.before) < 0)
		return -errno;
	if ((shared.before.sa_flags & SA_SIGINFO) || shared.before.sa_handler != SIG_DFL)
		return -EBUSY;
	sigemptyset(&action.sa_mask);
	if (sigaction(signal, &action, NULL) < 0)
		return -errno;
	shared.signal = signal;
	shared.state = IDLE; /* a child of fork may have inherited another */
	return 0;
}

/* A signal that is still on its way would end the process if its handler were gone: it is ignored from here on. */
void stack_copy_close(void)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};

	if (shared.signal) {
		sigaction(shared.signal, &ignore, NULL);
		sigaction(shared.signal, &shared.before, NULL);
	}
	shared.signal = 0;
}

/*
 * What the kernel says of a thread (/proc/PID/task/TID/syscall, see proc(5)): "running", or a system call's number (-1
 * for none, as in a page fault), its six arguments if it is one, stack pointer and program counter.
 * True if it is blocked, with these two set.
 */
static bool blocked_at(uint32_t tid, uint64_t *sp, uint64_t *pc, int *error)
{
	char path[64], text[256];
	const char *at = text;
	int words = 0, fd;
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/self/task/%u/syscall", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	*error = length < 0 && (errno == ENOENT || errno == ESRCH) ? -ESRCH : 0;
	if (fd >= 0)
		close(fd);
	if (length <= 0)
		return false; /* a kernel without it: a signal will do */
	text[length] = '\0';
	while ((at = strchr(at, ' ')) != NULL) {
		*sp = *pc;
		*pc = strtoull(++at, NULL, 16);
		words++;
	}
	return words >= 2;
}

static int take_blocked(struct stint_meter_file_stack *ret, uint64_t sp, uint64_t pc)
{
	memset(ret->reg, 0, sizeof(ret->reg));
	ret->reg[REG_OF_SP] = sp;
	ret->reg[REG_OF_PC] = pc;
	ret->blocked = 1;
	ret->stack_bytes = copy_memory(ret->stack, sp);
	return 0;
}

static void take_back(void)
{
	uint32_t wanted = WANTED;

	if (__atomic_compare_exchange_n(&shared.state, &wanted, IDLE, false, __ATOMIC_ACQUIRE,
					__ATOMIC_ACQUIRE))
		return;
	/* It has begun: a few us, unless it is kept off its CPU amid the copy. */
	while (__atomic_load_n(&shared.state, __ATOMIC_ACQUIRE) != DONE)
		futex(&shared.state, FUTEX_WAIT, COPYING, NULL);
}

static int take_by_signal(struct stint_meter_file_stack *ret, uint32_t tid)
{
	uint64_t until_ns = clock_gettime_ns(CLOCK_MONOTONIC) + SIGNAL_WAIT_NS, now_ns;
	uint32_t state;
	int error = 0;

	__atomic_store_n(&shared.tid, tid, __ATOMIC_RELAXED);
	__atomic_store_n(&shared.state, WANTED, __ATOMIC_RELEASE);
	if (syscall(SYS_tgkill, (long)getpid(), (long)tid, (long)shared.signal) < 0) {
		error = -errno;
		__atomic_store_n(&shared.state, IDLE, __ATOMIC_RELEASE);
		return error;
	}
	while ((state = __atomic_load_n(&shared.state, __ATOMIC_ACQUIRE)) != DONE) {
		struct timespec rest = {0};

		now_ns = clock_gettime_ns(CLOCK_MONOTONIC);
		if (now_ns >= until_ns) {
			take_back();
			break;
		}
		rest.tv_nsec = (long)(until_ns - now_ns);
		futex(&shared.state, FUTEX_WAIT, state, &rest);
	}
	if (__atomic_load_n(&shared.state, __ATOMIC_ACQUIRE) == DONE) {
		memcpy(ret->reg, shared.copy.reg, sizeof(ret->reg));
		memcpy(ret->stack, shared.copy.stack, shared.copy.stack_bytes);
		ret->stack_bytes = shared.copy.stack_bytes;
	} else {
		error = -ETIMEDOUT;
	}
	__atomic_store_n(&shared.state, IDLE, __ATOMIC_RELEASE);
	return error;
}

int stack_copy_take(struct stint_meter_file_stack *ret, uint32_t tid)
{
	uint64_t sp = 0, pc = 0;
	int error = 0;

	if (MACHINE == EM_NONE)
		return -ENOTSUP;
	ret->machine = MACHINE;
	ret->blocked = 0;
	ret->time_ns = clock_gettime_ns(CLOCK_MONOTONIC);
	if (blocked_at(tid, &sp, &pc, &error))
		return take_blocked(ret, sp, pc);
	return error < 0 ? error : take_by_signal(ret, tid);
}
