/* SPDX-License-Identifier: MIT */

/*
 * Recall and precision: processes under load stall at random and write down the truth; what stint told of them is
 * compared with it, iteration by iteration. STINT_RECALL=1000 for as many stalls (200 otherwise), STINT_SEED to
 * have the same again.
 */

#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "stall_truth.h"
#include "subject.h"
#include "watching.h"

#define BUDGET_NS    UINT64_C(1000000)
#define TOLERANCE_NS UINT64_C(20000) /* or 1 %, whichever is more */
#define SWITCH_NS \
	30000 /* each takes some us, on a busy machine some tens: whose they are, the clocks see differently */
#define SUBJECTS  2
#define TRUTH_MAX 65536

static struct watching watching;
static struct subject subjects[SUBJECTS];
static char directory[] = "/tmp/stint-recall-XXXXXX";

struct tally {
	size_t stalls[STALL_CAUSES]; /* over the budget */
	size_t missed, invented, on_cpu_only, beyond_tolerance, by_machine, wrong_cause, wrong_share;
	uint64_t worst_ns;
};

static struct stall_truth truth[TRUTH_MAX];

static void path_of(char *ret, size_t bytes, int subject, const char *suffix)
{
	snprintf(ret, bytes, "%s/%d%s", directory, subject, suffix);
}

static int tear_down(void **state)
{
	char path[64];

	(void)state;
	for (int i = 0; i < SUBJECTS; i++) {
		subject_stop(&subjects[i], SIGKILL);
		path_of(path, sizeof(path), i, "");
		unlink(path);
		path_of(path, sizeof(path), i, ".lock");
		unlink(path);
	}
	rmdir(directory);
	watching_close(&watching);
	return 0;
}

static size_t read_truth(int subject)
{
	char path[64];
	FILE *file;
	size_t len;

	path_of(path, sizeof(path), subject, "");
	file = fopen(path, "r");
	assert_non_null(file);
	len = fread(truth, sizeof(truth[0]), TRUTH_MAX, file);
	fclose(file);
	return len;
}

static uint64_t tolerance_ns(uint64_t of_ns)
{
	return of_ns / 100 > TOLERANCE_NS ? of_ns / 100 : TOLERANCE_NS;
}

static bool holds(const struct stint_probes_overrun *overrun, const struct stall_truth *of)
{
	return overrun->start_ns <= of->start_ns && overrun->start_ns + overrun->duration_ns >= of->end_ns;
}

/* The wait's return and its next call are told by the kernel, the truth is in between: one holds the other. */
static const struct stint_probes_overrun *find_overrun(const struct stall_truth *of, pid_t pid)
{
	for (size_t i = 0; i < watching.overruns_len; i++)
		if (watching.overruns[i].is.pid == (uint32_t)pid && holds(&watching.overruns[i].is, of))
			return &watching.overruns[i].is;
	return NULL;
}

static const char *call_of(enum stall_cause cause)
{
	return cause == STALL_SLEEPS ? "clock_nanosleep" : cause == STALL_READS_PIPE ? "read" : "flock";
}

/*
 * It computed, or it blocked in the call, and on the descriptor, that it was made to. Another call can have taken longer
 * only where the machine kept it waiting in that, or took its CPU.
 */
static bool cause_is_right(const struct stint_probes_overrun *overrun, const struct stall_truth *of)
{
	uint64_t by_machine_ns = of->cpu_ns + overrun->runnable_ns;

	if (of->cause == STALL_COMPUTES)
		return overrun->on_cpu_ns > overrun->blocked_ns;
	for (uint32_t i = 0; i < overrun->syscalls_len; i++) {
		const struct stint_probes_syscall *call = &overrun->syscalls[i];

		if (strcmp(call->name, call_of((enum stall_cause)of->cause)) == 0 &&
		    (of->fd < 0 || call->fd == of->fd))
			return true;
		if (call->duration_ns > by_machine_ns + tolerance_ns(by_machine_ns))
			return false;
	}
	return false;
}

/* So long on a CPU, or blocked, as the thread's own clock has it. */
static bool share_is_right(const struct stint_probes_overrun *overrun, const struct stall_truth *of)
{
	uint64_t blocked_ns = of->end_ns - of->start_ns - of->cpu_ns;
	uint64_t switches_ns = (overrun->segments_len + overrun->segments_lost) * (uint64_t)SWITCH_NS;

	if (of->cause == STALL_COMPUTES)
		return overrun->on_cpu_ns + overrun->runnable_ns + tolerance_ns(of->cpu_ns) >= of->cpu_ns;
	return overrun->blocked_ns <= blocked_ns + tolerance_ns(blocked_ns) + switches_ns &&
	       overrun->blocked_ns + overrun->runnable_ns + tolerance_ns(blocked_ns) + switches_ns >=
		       blocked_ns;
}

static void print_wrong(const struct stint_probes_overrun *overrun, const struct stall_truth *of)
{
	print_message("wrong: %s %" PRIu64 " ns, of which on a CPU %" PRIu64 "; told: on a CPU %" PRIu64
		      ", runnable %" PRIu64 ", blocked %" PRIu64 "\n",
		      of->cause == STALL_COMPUTES ? "computed" : call_of((enum stall_cause)of->cause),
		      of->end_ns - of->start_ns, of->cpu_ns, overrun->on_cpu_ns, overrun->runnable_ns,
		      overrun->blocked_ns);
	for (uint32_t i = 0; i < overrun->syscalls_len; i++)
		print_message("  %s on %d: %" PRIu64 " ns\n", overrun->syscalls[i].name,
			      overrun->syscalls[i].fd, overrun->syscalls[i].duration_ns);
}

static void compare_stall(struct tally *tally, const struct stall_truth *of, pid_t pid)
{
	const struct stint_probes_overrun *overrun = find_overrun(of, pid);
	uint64_t duration_ns = of->end_ns - of->start_ns, more_ns;

	if (duration_ns <= BUDGET_NS)
		return;
	tally->stalls[of->cause]++;
	if (!overrun) {
		tally->missed++;
		return;
	}
	more_ns = overrun->duration_ns - duration_ns;
	if (more_ns > tally->worst_ns)
		tally->worst_ns = more_ns;
	if (more_ns > tolerance_ns(duration_ns)) {
		tally->beyond_tolerance++;
		/* Preempted between the kernel's end of the wait and the first reading of the clock, or likewise. */
		tally->by_machine += more_ns <= overrun->runnable_ns + tolerance_ns(duration_ns);
	}
	if (of->cause == STALL_NONE || (cause_is_right(overrun, of) && share_is_right(overrun, of)))
		return;
	print_wrong(overrun, of);
	tally->wrong_cause += !cause_is_right(overrun, of);
	tally->wrong_share += !share_is_right(overrun, of);
}

/* Nothing in the truth is in it, nor was it the machine that made it long outside of what the truth sees. */
static bool is_invented(const struct stint_probes_overrun *overrun, size_t truth_len)
{
	for (size_t i = 0; i < truth_len; i++)
		if (holds(overrun, &truth[i]))
			return false;
	return overrun->duration_ns - overrun->runnable_ns > BUDGET_NS;
}

static void compare_subject(struct tally *tally, int subject, pid_t pid)
{
	size_t len = read_truth(subject);

	for (size_t i = 0; i < len; i++)
		compare_stall(tally, &truth[i], pid);
	for (size_t i = 0; i < watching.overruns_len; i++)
		if (watching.overruns[i].is.pid == (uint32_t)pid &&
		    is_invented(&watching.overruns[i].is, len)) {
			tally->invented += watching.overruns[i].is.blocked_ns > BUDGET_NS;
			tally->on_cpu_only += watching.overruns[i].is.blocked_ns <= BUDGET_NS;
		}
}

static void run_subjects(uint64_t seed, unsigned stalls, pid_t *pids)
{
	for (int i = 0; i < SUBJECTS; i++) {
		char path[64], seed_text[32], stalls_text[32];
		const char *arguments[] = {seed_text, stalls_text, path, NULL};

		path_of(path, sizeof(path), i, "");
		snprintf(seed_text, sizeof(seed_text), "%" PRIu64, seed + (unsigned)i);
		snprintf(stalls_text, sizeof(stalls_text), "%u", stalls / SUBJECTS);
		subject_start(&subjects[i], "tests/subjects/random_stalls", arguments);
		watching_add(&watching, subjects[i].pid);
		pids[i] = subjects[i].pid;
	}
	for (int i = 0; i < SUBJECTS; i++)
		subject_go(&subjects[i]);
	for (int i = 0; i < SUBJECTS; i++)
		watching_until_exit(&watching, pids[i]);
}

static void every_stall_is_found_none_invented_and_causes_are_right(void **state)
{
	const char *wanted = getenv("STINT_RECALL"), *seeded = getenv("STINT_SEED");
	uint64_t seed = seeded ? strtoull(seeded, NULL, 10) : (uint64_t)time(NULL);
	unsigned stalls = wanted ? (unsigned)strtoul(wanted, NULL, 10) : 200;
	struct tally tally = {0};
	struct stint_probes_losses losses;
	pid_t pids[SUBJECTS];

	(void)state;
	watching_or_skip();
	assert_non_null(mkdtemp(directory));
	watching_open(&watching, NULL);
	run_subjects(seed, stalls, pids);
	for (int i = 0; i < SUBJECTS; i++)
		compare_subject(&tally, i, pids[i]);
	stint_probes_losses(watching.probes, &losses);
	printf("seed %" PRIu64
	       ": over the budget %zu computing, %zu sleeping, %zu reading, %zu locking, %zu of the machine: "
	       "%zu missed, %zu invented, %zu more on a CPU outside of what the truth sees, "
	       "%zu with a wrong cause, %zu with a wrong share of it; durations at most %" PRIu64
	       " ns more, %zu beyond 1 %% or 20 us, of which %zu waited for a CPU at an end\n",
	       seed, tally.stalls[STALL_COMPUTES], tally.stalls[STALL_SLEEPS], tally.stalls[STALL_READS_PIPE],
	       tally.stalls[STALL_WANTS_LOCK], tally.stalls[STALL_NONE], tally.missed, tally.invented,
	       tally.on_cpu_only, tally.wrong_cause, tally.wrong_share, tally.worst_ns,
	       tally.beyond_tolerance, tally.by_machine);
	assert_int_equal(losses.ring_full + losses.table_full, 0);
	assert_true(tally.stalls[STALL_COMPUTES] > stalls / 10 && tally.stalls[STALL_SLEEPS] > stalls / 10);
	assert_true(tally.stalls[STALL_READS_PIPE] > stalls / 10);
	assert_true(tally.stalls[STALL_WANTS_LOCK] > stalls / 10);
	assert_int_equal(tally.missed, 0);
	assert_int_equal(tally.invented, 0);
	/* On a CPU between the kernel's end of the wait and the first reading of the clock: it was stolen there. */
	assert_true(tally.on_cpu_only <= stalls / 50);
	assert_int_equal(tally.wrong_cause, 0);
	/* What the hypervisor takes between two clocks is in no one's account: a few, on such machines. */
	assert_true(tally.wrong_share <= stalls / 50);
	assert_true(tally.beyond_tolerance - tally.by_machine <= stalls / 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(every_stall_is_found_none_invented_and_causes_are_right, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
