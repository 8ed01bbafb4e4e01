/* SPDX-License-Identifier: MIT */

/*
 * A long computation on an event loop, done in three ways: in the handler, in slices, and offloaded to a pool of
 * threads. Meanwhile a client sends a request each millisecond, whatever happens, and the loop notes how long
 * each one waited from the moment at which it was due to be sent. The computation is the same, and so is its result;
 * what differs is what it does to everyone else.
 *
 *	build/examples/long_work
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <stint/stint.h>

#define MS            UINT64_C(1000000)
#define REQUEST_NS    MS
#define FIRST_NUMBER  1000003u
#define CALIBRATE_NS  (20 * MS)
#define TRIAL_NUMBERS 500u
#define READ_REQUESTS 512
#define S             1e9

/* Counts the primes among the numbers from `next` to `end`. */
struct task {
	uint64_t next, end, primes;
};

/* One way of doing all tasks, one after the other. */
struct run {
	struct stint_loop *loop;
	struct stint_pool *pool;
	uint32_t handler;
	struct task task;
	uint64_t numbers; /* in each task */
	unsigned left;    /* tasks that have not begun */
	uint64_t primes;
	struct stint_deferred *deferred;
	struct stint_slice *slice;
};

/* A thread that writes into a pipe when each of its requests was due, to the loop that answers them. */
struct client {
	pthread_t thread;
	int pipe[2];
	bool stop; /* atomic */
	struct stint_loop *loop;
	struct stint_fd *source;
	struct stint_histogram waits;
};

static void die(const char *what, int error)
{
	fprintf(stderr, "long_work: %s: %s\n", what, strerror(-error));
	exit(1);
}

static void check(const char *what, int error)
{
	if (error < 0)
		die(what, error);
}

/* ---- the work ---- */

static bool is_prime(uint64_t number)
{
	for (uint64_t i = 2; i * i <= number; i++)
		if (number % i == 0)
			return false;
	return number > 1;
}

/* A little of the task: some microseconds. False when there is no more of it. */
static bool step(struct task *task)
{
	for (int i = 0; i < 10 && task->next < task->end; i++)
		task->primes += is_prime(task->next++);
	return task->next < task->end;
}

/* False when there are no more tasks: the loop may end. */
static bool next_task(struct run *run)
{
	run->primes += run->task.primes;
	run->task = (struct task){.next = FIRST_NUMBER, .end = FIRST_NUMBER + run->numbers};
	if (run->left-- > 0)
		return true;
	stint_loop_stop(run->loop);
	return false;
}

/* In the handler: nobody else is served before the task is done. */
static void do_all(struct stint_deferred *deferred, void *ctx)
{
	struct run *run = ctx;

	while (step(&run->task))
		;
	if (next_task(run))
		stint_deferred_schedule(deferred);
}

static void begin_in_handler(struct run *run)
{
	check("deferred", stint_deferred_new(&run->deferred, run->loop, run->handler, do_all, run));
	check("deferred", stint_deferred_schedule(run->deferred));
}

/* In slices: some of it, until the slice is over; the loop comes back for more. */
static void do_slice(struct stint_slice *slice, void *ctx)
{
	struct run *run = ctx;

	while (!stint_slice_over(slice)) {
		if (step(&run->task))
			continue;
		if (!next_task(run)) {
			stint_slice_stop(slice);
			return;
		}
	}
}

static void begin_sliced(struct run *run)
{
	check("slice", stint_slice_new(&run->slice, run->loop, run->handler, do_slice, run));
	check("slice", stint_slice_start(run->slice));
}

/* Offloaded: in another thread, which must touch nothing but what is the job's. */
static void do_job(struct stint_job *job, void *ctx)
{
	struct run *run = ctx;

	while (!stint_job_cancelled(job) && step(&run->task))
		;
}

static void begin_offloaded(struct run *run);

/* Back on the loop. */
static void job_done(struct stint_job *job, enum stint_job_outcome outcome, void *ctx)
{
	struct run *run = ctx;

	(void)job;
	if (outcome == STINT_JOB_DONE && next_task(run))
		begin_offloaded(run);
}

static void begin_offloaded(struct run *run)
{
	check("job", stint_job_new(NULL, run->loop, run->pool, run->handler, do_job, job_done, run));
}

/* ---- the client ---- */

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000 * MS + (uint64_t)ts.tv_nsec;
}

static uint64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

/* How long this thread has wanted a CPU and had none. 0 if the kernel does not say. */
static uint64_t waited_for_cpu_ns(void)
{
	FILE *file = fopen("/proc/thread-self/schedstat", "re");
	uint64_t ran_ns, waited_ns = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%" SCNu64 " %" SCNu64, &ran_ns, &waited_ns) != 2)
		waited_ns = 0;
	fclose(file);
	return waited_ns;
}

/* A request that is late is still due when it was due: else the worst waits would go unseen. */
static void *send_requests(void *ctx)
{
	struct client *client = ctx;
	uint64_t due_ns = now_ns();

	while (!__atomic_load_n(&client->stop, __ATOMIC_RELAXED)) {
		struct timespec due = {.tv_sec = (time_t)(due_ns / (1000 * MS)),
				       .tv_nsec = (long)(due_ns % (1000 * MS))};

		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
		if (write(client->pipe[1], &due_ns, sizeof(due_ns)) != sizeof(due_ns))
			break;
		due_ns += REQUEST_NS;
	}
	return NULL;
}

static void on_requests(struct stint_fd *source, uint32_t events, void *ctx)
{
	struct client *client = ctx;
	uint64_t due_ns[READ_REQUESTS], at_ns = stint_loop_now_ns(client->loop);
	ssize_t bytes = read(client->pipe[0], due_ns, sizeof(due_ns));

	(void)source;
	(void)events;
	for (ssize_t i = 0; i < bytes / (ssize_t)sizeof(due_ns[0]); i++)
		stint_histogram_record(&client->waits, at_ns > due_ns[i] ? at_ns - due_ns[i] : 0);
}

static void start_client(struct client *client, struct stint_loop *loop)
{
	client->loop = loop;
	client->stop = false;
	stint_histogram_init(&client->waits);
	if (pipe2(client->pipe, O_CLOEXEC) < 0 || fcntl(client->pipe[0], F_SETFL, O_NONBLOCK) < 0)
		die("pipe", -errno);
	check("watching the pipe",
	      stint_fd_new(&client->source, loop, client->pipe[0], STINT_READ,
			   (uint32_t)stint_loop_handler(loop, "request", 0), on_requests, client));
	check("thread", -pthread_create(&client->thread, NULL, send_requests, client));
}

static void stop_client(struct client *client)
{
	__atomic_store_n(&client->stop, true, __ATOMIC_RELAXED);
	pthread_join(client->thread, NULL);
	on_requests(client->source, STINT_READ, client); /* those that nobody has looked at yet */
	stint_fd_free(client->source);
	close(client->pipe[0]);
	close(client->pipe[1]);
}

/* ---- the three ways ---- */

struct way {
	const char *name, *handler;
	void (*begin)(struct run *run);
};

static const struct way ways[] = {{"in the handler", "primes.handler", begin_in_handler},
				  {"in slices", "primes.slice", begin_sliced},
				  {"offloaded", "primes.job", begin_offloaded}};

static void print_row(const struct way *way, const struct run *run, const struct client *client,
		      uint64_t took_ns, uint64_t no_cpu_ns)
{
	const struct stint_histogram *waits = &client->waits;

	printf("%-16s %8.2f %10.2f %9" PRIu64 " %9" PRIu64 " %9.3f %9.3f %9.3f\n", way->name,
	       (double)took_ns / S, (double)no_cpu_ns / S, run->primes, waits->count,
	       (double)stint_histogram_quantile(waits, 0.5) / (double)MS,
	       (double)stint_histogram_quantile(waits, 0.99) / (double)MS, (double)waits->max / (double)MS);
}

static void measure(const struct way *way, unsigned tasks, uint64_t numbers)
{
	static struct client client; /* its histogram is large */
	struct run run = {.numbers = numbers, .left = tasks};
	uint64_t begin_ns, took_ns, no_cpu_ns;

	check("loop", stint_loop_new(&run.loop, NULL));
	check("pool", stint_pool_new(&run.pool, NULL));
	run.handler = (uint32_t)stint_loop_handler(run.loop, way->handler, 0);
	start_client(&client, run.loop);
	next_task(&run);
	no_cpu_ns = waited_for_cpu_ns();
	begin_ns = now_ns();
	way->begin(&run);
	check("loop", stint_loop_run(run.loop));
	took_ns = now_ns() - begin_ns;
	no_cpu_ns = waited_for_cpu_ns() - no_cpu_ns;
	stop_client(&client);
	print_row(way, &run, &client, took_ns, no_cpu_ns);
	stint_loop_free(run.loop);
	stint_pool_free(run.pool);
}

/*
 * How many numbers make a task of `work_ns` of CPU time on this machine, roughly: by the fastest of many trials, as what a
 * hypervisor takes from one counts as CPU time.
 */
static uint64_t calibrate(uint64_t work_ns)
{
	uint64_t begin_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID), at_ns = begin_ns, least_ns = UINT64_MAX;

	do {
		struct task task = {.next = FIRST_NUMBER, .end = FIRST_NUMBER + TRIAL_NUMBERS};
		uint64_t trial_ns = at_ns;

		while (step(&task))
			;
		at_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
		least_ns = at_ns - trial_ns < least_ns ? at_ns - trial_ns : least_ns;
	} while (at_ns - begin_ns < CALIBRATE_NS);
	return TRIAL_NUMBERS * work_ns / least_ns + 1;
}

static void usage(FILE *out)
{
	fputs("usage: long_work [--tasks N] [--work MS]\n"
	      "\n"
	      "Computes for long on an event loop: in the handler, in slices, and in a pool of threads, while a\n"
	      "client sends a request each millisecond. Prints how long the requests waited.\n"
	      "\n"
	      "  -t, --tasks N   how many computations, one after the other (20)\n"
	      "  -w, --work MS   how long each of them takes, about (50)\n"
	      "  -h, --help\n"
	      "\n"
	      "While it runs: stint record --comm long_work\n",
	      out);
}

static uint64_t number_or_die(const char *text, uint64_t most)
{
	char *end;
	unsigned long long number = strtoull(text, &end, 10);

	if (*end || number == 0 || number > most) {
		fprintf(stderr, "long_work: not a number from 1 to %" PRIu64 ": %s\n", most, text);
		exit(2);
	}
	return number;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"tasks", required_argument, NULL, 't'},
						{"work", required_argument, NULL, 'w'},
						{"help", no_argument, NULL, 'h'},
						{NULL, 0, NULL, 0}};
	uint64_t tasks = 20, work_ms = 50, numbers;
	struct stint_meter *meter;
	int option;

	while ((option = getopt_long(argc, argv, "t:w:h", options, NULL)) != -1) {
		if (option == 't') {
			tasks = number_or_die(optarg, 10000);
		} else if (option == 'w') {
			work_ms = number_or_die(optarg, 10000);
		} else {
			usage(option == 'h' ? stdout : stderr);
			return option == 'h' ? 0 : 2;
		}
	}
	if (optind < argc) {
		usage(stderr);
		return 2;
	}
	check("meter", stint_meter_new(&meter, NULL)); /* one for all three loops */
	numbers = calibrate(work_ms * MS);
	printf("%" PRIu64 " tasks of about %" PRIu64
	       " ms; meanwhile a request is sent each ms, and waits (ms):\n\n"
	       "%-16s %8s %10s %9s %9s %9s %9s %9s\n",
	       tasks, work_ms, "", "took, s", "no CPU, s", "primes", "requests", "p50", "p99", "longest");
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		measure(&ways[i], (unsigned)tasks, numbers);
	printf("\nIn slices, a request waits for one share, %.1f ms. What is beyond that, and 'no CPU', is the\n"
	       "machine's: the loop's thread wanted a CPU, and others had them all.\n",
	       (double)STINT_SLICE_SHARE_DEFAULT_NS / (double)MS);
	stint_meter_free(meter);
	return 0;
}
