/* SPDX-License-Identifier: MIT */

/*
 * What offloading costs: empty jobs given to a pool of four threads and brought back, by libstint (with its meter on,
 * which times each job in three ways) and by libuv. And what it costs to ask whether a slice is over.
 *
 *	build/bench/work [lines]
 *
 * Rounds of the two are interleaved; figures are medians. `lines`: one round, told to other programs: workload, metric,
 * library and value in each line. A burst: all jobs are submitted at once. A round trip: each
 * job is submitted when the one before is back.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <stint/stint.h>
#include <uv.h>

#define ROUNDS  9
#define BURST   100000u
#define TRIPS   10000u
#define ASKS    10000000u
#define THREADS "4"

enum library { STINT, LIBUV, LIBRARIES };
enum shape { IN_BURST, ROUND_TRIP, SHAPES };

static const char *const library_names[] = {"stint", "libuv"};
static const char *const shape_names[] = {"burst", "round trip"};

struct sample {
	uint64_t wall_ns, cpu_ns;
};

static uint32_t submitted, returned, wanted;

static void check(const char *what, int error)
{
	if (error == 0)
		return;
	fprintf(stderr, "work: %s: %s\n", what, strerror(-error));
	exit(1);
}

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t median(uint64_t *values, size_t count)
{
	qsort(values, count, sizeof(*values), compare);
	return values[count / 2];
}

/* ---- libstint ---- */

static struct stint_loop *loop;
static struct stint_pool *pool;
static uint32_t handler;

static void stint_empty(struct stint_job *job, void *ctx)
{
	(void)job;
	(void)ctx;
}

static void stint_submit(void);

static void stint_done(struct stint_job *job, enum stint_job_outcome outcome, void *ctx)
{
	(void)job;
	(void)outcome;
	(void)ctx;
	returned++;
	if (submitted < wanted)
		stint_submit();
}

static void stint_submit(void)
{
	submitted++;
	check("stint_job_new", stint_job_new(NULL, loop, pool, handler, stint_empty, stint_done, NULL));
}

static void stint_open(void)
{
	struct stint_pool_options options = {.size = sizeof(options), .threads = 4, .queue_limit = BURST};

	check("stint_loop_new", stint_loop_new(&loop, NULL));
	check("stint_pool_new", stint_pool_new(&pool, &options));
	handler = (uint32_t)stint_loop_handler(loop, "job", 0);
}

static void stint_run(void)
{
	check("stint_loop_run", stint_loop_run(loop));
}

/* ---- libuv ---- */

static uv_work_t *works;

static void uv_empty(uv_work_t *work)
{
	(void)work;
}

static void uv_submit(void);

static void uv_done(uv_work_t *work, int status)
{
	(void)work;
	check("uv_queue_work", status);
	returned++;
	if (submitted < wanted)
		uv_submit();
}

static void uv_submit(void)
{
	check("uv_queue_work", uv_queue_work(uv_default_loop(), &works[submitted++], uv_empty, uv_done));
}

static void uv_run_all(void)
{
	uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}

/* ---- measuring ---- */

static struct sample run(enum library library, enum shape shape)
{
	void (*const submit[])(void) = {stint_submit, uv_submit};
	void (*const run_all[])(void) = {stint_run, uv_run_all};
	struct sample sample;
	uint32_t count = shape == IN_BURST ? BURST : TRIPS;

	submitted = returned = 0;
	wanted = shape == IN_BURST ? 0 : count; /* how many `done` goes on to */
	sample.wall_ns = clock_ns(CLOCK_MONOTONIC);
	sample.cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	for (uint32_t i = 0; i < (shape == IN_BURST ? count : 1); i++)
		submit[library]();
	run_all[library]();
	sample.wall_ns = (clock_ns(CLOCK_MONOTONIC) - sample.wall_ns) / count;
	sample.cpu_ns = (clock_ns(CLOCK_PROCESS_CPUTIME_ID) - sample.cpu_ns) / count;
	if (returned != count) {
		fprintf(stderr, "work: %" PRIu32 " of %" PRIu32 " jobs came back\n", returned, count);
		exit(1);
	}
	return sample;
}

static void measure_once(enum shape shape)
{
	for (enum library library = 0; library < LIBRARIES; library++) {
		struct sample sample = run(library, shape);

		printf("pool, %s\tns_per_job\t%s\t%" PRIu64 "\n", shape_names[shape], library_names[library],
		       sample.wall_ns);
		printf("pool, %s\tcpu_ns_per_job\t%s\t%" PRIu64 "\n", shape_names[shape],
		       library_names[library], sample.cpu_ns);
	}
}

static void measure(enum shape shape)
{
	uint64_t wall_ns[LIBRARIES][ROUNDS], cpu_ns[LIBRARIES][ROUNDS];

	for (int round = 0; round < ROUNDS; round++) {
		for (enum library library = 0; library < LIBRARIES; library++) {
			struct sample sample = run(library, shape);

			wall_ns[library][round] = sample.wall_ns;
			cpu_ns[library][round] = sample.cpu_ns;
		}
	}
	for (enum library library = 0; library < LIBRARIES; library++)
		printf("%-12s %-10s %12" PRIu64 " %12" PRIu64 "\n", shape_names[shape],
		       library_names[library], median(wall_ns[library], ROUNDS),
		       median(cpu_ns[library], ROUNDS));
}

/* ---- slices ---- */

static volatile uint32_t overs;

static void ask(struct stint_slice *slice, void *ctx)
{
	uint64_t *each_ps = ctx, begin_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);

	for (uint32_t i = 0; i < ASKS; i++)
		overs += stint_slice_over(slice);
	*each_ps = (clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin_ns) * 1000 / ASKS;
	stint_slice_stop(slice);
}

static void measure_slices(void)
{
	struct stint_slice *slice;
	uint64_t each_ps[ROUNDS];

	for (int round = 0; round < ROUNDS; round++) {
		check("stint_slice_new", stint_slice_new(&slice, loop, handler, ask, &each_ps[round]));
		check("stint_slice_start", stint_slice_start(slice));
		stint_run();
		stint_slice_free(slice);
	}
	printf("\nstint_slice_over(): %.1f ns\n", (double)median(each_ps, ROUNDS) / 1000);
}

/* ---- the clock ---- */

/* What is in every figure of the meter. Outside of a dispatch, each call reads it. */
static void measure_clock(void)
{
	uint64_t each_ps[ROUNDS];

	for (int round = 0; round < ROUNDS; round++) {
		uint64_t begin_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);

		for (uint32_t i = 0; i < ASKS; i++)
			overs += stint_loop_now_ns(loop) == 0;
		each_ps[round] = (clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin_ns) * 1000 / ASKS;
	}
	printf("a reading of the clock, as each metered dispatch has one: %.1f ns\n",
	       (double)median(each_ps, ROUNDS) / 1000);
}

int main(int argc, char **argv)
{
	bool lines = argc > 1 && strcmp(argv[1], "lines") == 0;

	if (setenv("UV_THREADPOOL_SIZE", THREADS, 1) != 0)
		return 1;
	works = calloc(BURST, sizeof(*works));
	if (!works)
		check("memory", -ENOMEM);
	stint_open();
	if (!lines)
		printf("an empty job, by four threads, ns:\n\n%-12s %-10s %12s %12s\n", "", "", "wall clock",
		       "CPU, of all");
	for (enum shape shape = 0; shape < SHAPES; shape++) {
		if (lines)
			measure_once(shape);
		else
			measure(shape);
	}
	if (!lines) {
		measure_slices();
		measure_clock();
	}
	stint_pool_free(pool);
	stint_loop_free(loop);
	free(works);
	return 0;
}
