/* SPDX-License-Identifier: MIT */
/*
 * Sets up one workload, runs it on the backend that is linked in, checks that every event was handled, and
 * prints `metric value` lines.
 *
 *   bench-NAME ring|dispatch|rearm|timers|posts|ping|echo [key=number]...
 *
 * Times are CPU time of this process (user and system) unless the workload waits: posts and pings are
 * wall time.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "client.h"

struct post_node {
	struct post_node *next;
	void (*callback)(struct post_node *node); /* with native=1 */
};

struct bench_state bench;

static struct {
	uint32_t pipes, active, count, connections, idle, depth, stream, meter, native, handlers;
	uint64_t writes;
} options = {.pipes = 1000,
	     .active = 100,
	     .count = 1000000,
	     .connections = 64,
	     .depth = 1,
	     .meter = 1,
	     .handlers = 1,
	     .writes = 200000};

void bench_die(const char *what)
{
	fprintf(stderr, "bench-%s: %s: %s\n", backend_name, what, strerror(errno));
	exit(1);
}

void *bench_alloc(size_t count, size_t bytes)
{
	void *memory = calloc(count, bytes);

	if (!memory)
		bench_die("allocate");
	return memory;
}

static uint64_t clock_ns(clockid_t id)
{
	struct timespec time;

	clock_gettime(id, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t cpu_ns(void)
{
	return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static uint64_t resident_bytes(void)
{
	unsigned long size, resident;
	FILE *file = fopen("/proc/self/statm", "r");

	if (!file || fscanf(file, "%lu %lu", &size, &resident) != 2)
		bench_die("read /proc/self/statm");
	fclose(file);
	return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void check_fired(void)
{
	if (bench.fired == bench.expected)
		return;
	fprintf(stderr, "bench-%s: handled %llu of %llu\n", backend_name, (unsigned long long)bench.fired,
		(unsigned long long)bench.expected);
	exit(1);
}

static void report(const char *metric, double value)
{
	printf("%s %.3f\n", metric, value);
}

/* A fixed sequence, the same for every backend. */
static uint32_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*state >> 33);
}

static void pin_to(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		bench_die("pin to a CPU");
}

/* ---- ring and dispatch ---- */

static void pipes_open(enum bench_body body)
{
	bench.pipes = options.pipes;
	bench.read_fd = bench_alloc(options.pipes, sizeof(int));
	bench.write_fd = bench_alloc(options.pipes, sizeof(int));
	backend_open(options.pipes);
	for (uint32_t i = 0; i < options.pipes; i++) {
		int pair[2];

		if (pipe2(pair, O_NONBLOCK | O_CLOEXEC) < 0)
			bench_die("pipe");
		bench.read_fd[i] = pair[0];
		bench.write_fd[i] = pair[1];
		backend_watch(i, pair[0], body);
	}
}

static void pipes_fill(void)
{
	for (uint32_t i = 0; i < options.active; i++) {
		uint32_t at = (uint32_t)((uint64_t)i * options.pipes / options.active);

		if (write(bench.write_fd[at], "x", 1) != 1)
			bench_die("fill a pipe");
	}
}

static uint64_t run_measured(void)
{
	uint64_t begin = cpu_ns();

	backend_run();
	return cpu_ns() - begin;
}

static void ring_lap(uint64_t writes)
{
	bench.fired = 0;
	bench.writes = writes;
	bench.expected = writes + options.active;
	pipes_fill();
}

static void ring(void)
{
	uint64_t took;

	pipes_open(BENCH_RING);
	ring_lap(2u * options.pipes); /* warms up: every descriptor once at least */
	backend_run();
	check_fired();
	ring_lap(options.writes);
	took = run_measured();
	check_fired();
	report("ns_per_event", (double)took / (double)bench.fired);
}

#define DISPATCH_OVERRUN (48u * 1024u)

static void dispatch(void)
{
	uint64_t took;

	pipes_open(BENCH_DISPATCH);
	pipes_fill();
	bench.expected = 100u * options.active;
	backend_run();
	/* Batches go on after the stop, each library in its own way (libuv: up to 48 of 1,024); all count. */
	bench.fired = 0;
	bench.expected = options.writes;
	took = run_measured();
	if (bench.fired < bench.expected || bench.fired > bench.expected + DISPATCH_OVERRUN)
		check_fired();
	report("ns_per_event", (double)took / (double)bench.fired);
}

/* ---- timers ---- */

/* Opens the loop with one descriptor that is always ready, whose handler calls `turn` until it is told to stop. */
static void turns_open(bool (*turn)(void))
{
	int pair[2];

	if (pipe2(pair, O_NONBLOCK | O_CLOEXEC) < 0 || write(pair[1], "x", 1) != 1)
		bench_die("pipe");
	bench.turn = turn;
	bench.read_fd = bench_alloc(1, sizeof(int));
	bench.read_fd[0] = pair[0];
	backend_open(1);
	backend_watch(0, pair[0], BENCH_TURN);
}

#define REARMS_A_TURN  1000u
#define REARM_DELAY_MS 60000u
#define TIMER_FAR_MS   30000u
#define TIMER_NEAR_MS  100u

static struct {
	uint64_t random, left;
} rearms;

static bool rearm_turn(void)
{
	for (uint32_t i = 0; i < REARMS_A_TURN; i++)
		backend_timer_start(next_random(&rearms.random) % options.count, REARM_DELAY_MS);
	rearms.left -= REARMS_A_TURN;
	bench.fired += REARMS_A_TURN;
	return rearms.left == 0;
}

static bool rearm_warm_turn(void)
{
	for (uint32_t i = 0; i < options.count; i++)
		backend_timer_start(i, REARM_DELAY_MS);
	return true;
}

static void rearm(void)
{
	uint64_t took;

	turns_open(rearm_warm_turn);
	backend_timers_new(options.count);
	backend_run();
	bench.turn = rearm_turn;
	rearms.random = 1;
	rearms.left = (options.writes + REARMS_A_TURN - 1) / REARMS_A_TURN * REARMS_A_TURN;
	bench.expected = rearms.left;
	bench.fired = 0;
	took = run_measured();
	check_fired();
	report("ns_per_op", (double)took / (double)bench.fired);
}

#define TIMER_FAR_MS  30000u
#define TIMER_NEAR_MS 100u

static struct {
	uint32_t phase;
	uint32_t *order;
	uint64_t random, bytes_before, bytes;
} timers;

static void timers_shuffle(void)
{
	timers.order = bench_alloc(options.count, sizeof(uint32_t));
	for (uint32_t i = 0; i < options.count; i++)
		timers.order[i] = i;
	for (uint32_t i = options.count - 1; i > 0; i--) {
		uint32_t other = next_random(&timers.random) % (i + 1), held = timers.order[i];

		timers.order[i] = timers.order[other];
		timers.order[other] = held;
	}
}

static uint32_t timer_delay(uint32_t from_ms, uint32_t span_ms)
{
	return from_ms + next_random(&timers.random) % span_ms;
}

static void timers_near(void)
{
	char byte;

	for (uint32_t i = 0; i < options.count; i++)
		backend_timer_start(timers.order[i], timer_delay(1, TIMER_NEAR_MS));
	/* From here on the timers end the run. */
	if (read(bench.read_fd[0], &byte, 1) != 1)
		bench_die("drain the pipe");
}

/* One phase a turn, each in a dispatch of its own, so that the loop's idea of the time moves on. */
static bool timers_turn(void)
{
	uint32_t phase = timers.phase++;

	if (phase == 3) {
		timers_near();
		return false;
	}
	if (phase == 0)
		backend_timers_new(options.count);
	for (uint32_t i = 0; i < options.count; i++) {
		if (phase == 0)
			backend_timer_start(i, timer_delay(TIMER_FAR_MS, TIMER_FAR_MS));
		else if (phase == 1)
			backend_timer_start(timers.order[i], timer_delay(TIMER_FAR_MS, TIMER_FAR_MS));
		else
			backend_timer_stop(timers.order[i]);
	}
	if (phase == 0)
		timers.bytes = resident_bytes() - timers.bytes_before;
	return true;
}

/*
 * Hypervisors take back memory that is free, by huge pages, and who touches that first waits for it to be fetched: 100 ns a
 * timer, or nothing, as the program that ran before has left it. So it is fetched beforehand.
 */
static void memory_fetch(size_t bytes)
{
	uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		bench_die("map memory");
	(void)madvise(memory, bytes, MADV_HUGEPAGE);
	memset(memory, 1, bytes);
	munmap(memory, bytes);
}

#define BYTES_A_TIMER 256u /* at most */

static void timers_run(void)
{
	static const char *const name[] = {"create_ns", "rearm_ns", "cancel_ns", "arm_and_fire_ns"};
	uint64_t total = 0;

	timers.random = 1;
	memory_fetch((size_t)options.count * BYTES_A_TIMER);
	timers_shuffle();
	turns_open(timers_turn);
	bench.expected = options.count;
	timers.bytes_before = resident_bytes();
	for (uint32_t phase = 0; phase < 4; phase++) {
		uint64_t took = run_measured();

		report(name[phase], (double)took / options.count);
		total += took;
	}
	check_fired();
	report("ns_per_op", (double)total / (5.0 * options.count));
	report("bytes_per_timer", (double)timers.bytes / options.count);
}

/* ---- posts ---- */

/*
 * The queue is the same for all: a stack of nodes, whose first one wakes the loop. With native=1 it is the library's, and
 * where that has none, what one would write: the same stack, turned round, and a callback for each. Only stint has one:
 * what libev, libuv and libevent offer wakes the loop for one callback, however often it was asked for meanwhile, so of
 * them it is the wake-up alone that is measured. Nor do they read a clock, and stint does twice a post: as it is posted,
 * and as its callback ends.
 */
static struct {
	struct post_node *nodes;
	uint64_t posted_ns, latency_ns;
	bool ping, own_queue;
	_Atomic uint64_t taken;
} posts;

static void post(struct post_node *node)
{
	struct post_node *head = atomic_load_explicit(&bench.posted, memory_order_relaxed);

	do
		node->next = head;
	while (!atomic_compare_exchange_weak_explicit(&bench.posted, &head, node, memory_order_release,
						      memory_order_relaxed));
	if (!head)
		backend_post_wake();
}

static void on_node(struct post_node *node)
{
	(void)node;
	bench.fired++;
}

static bool run_nodes(struct post_node *node)
{
	struct post_node *oldest = NULL, *next;

	for (; node; node = next) {
		next = node->next;
		node->next = oldest;
		oldest = node;
	}
	for (; oldest; oldest = next) {
		next = oldest->next;
		oldest->callback(oldest);
	}
	return bench.fired == bench.expected;
}

bool bench_posts_take(void)
{
	struct post_node *node = atomic_exchange_explicit(&bench.posted, NULL, memory_order_acquire);
	uint64_t count = 0;

	if (options.native)
		return run_nodes(node);
	if (posts.ping && node)
		posts.latency_ns += clock_ns(CLOCK_MONOTONIC) - posts.posted_ns;
	for (; node; node = node->next)
		count++;
	bench.fired += count;
	atomic_store_explicit(&posts.taken, bench.fired, memory_order_release);
	return bench.fired == bench.expected;
}

static void *post_all(void *unused)
{
	(void)unused;
	for (uint32_t i = 0; i < options.count; i++) {
		if (posts.own_queue)
			backend_post(i);
		else
			post(&posts.nodes[i]);
	}
	return NULL;
}

static void *ping_all(void *unused)
{
	const struct timespec settle = {.tv_nsec = 200000};

	(void)unused;
	for (uint32_t i = 0; i < options.count; i++) {
		nanosleep(&settle, NULL); /* the loop is idle again */
		posts.posted_ns = clock_ns(CLOCK_MONOTONIC);
		post(&posts.nodes[i]);
		while (atomic_load_explicit(&posts.taken, memory_order_acquire) <= i)
			sched_yield();
	}
	return NULL;
}

static void posts_run(bool ping)
{
	pthread_t thread;
	uint64_t begin, cpu;

	posts.ping = ping;
	posts.nodes = bench_alloc(options.count, sizeof(struct post_node));
	for (uint32_t i = 0; i < options.count; i++) /* faults taken beforehand */
		posts.nodes[i] = (struct post_node){&posts.nodes[i], on_node};
	if (ping)
		pin_to(0);
	backend_open(1);
	posts.own_queue = options.native && backend_posts_new(options.count);
	if (!posts.own_queue)
		backend_post_open();
	bench.expected = options.count;
	begin = clock_ns(CLOCK_MONOTONIC);
	cpu = cpu_ns();
	errno = pthread_create(&thread, NULL, ping ? ping_all : post_all, NULL);
	if (errno)
		bench_die("start a thread");
	backend_run();
	if (ping)
		report("ns_per_ping", (double)posts.latency_ns / options.count);
	else
		report("ns_per_post", (double)(clock_ns(CLOCK_MONOTONIC) - begin) / options.count);
	pthread_join(thread, NULL);
	if (!ping)
		report("cpu_ns_per_post", (double)(cpu_ns() - cpu) / options.count);
	check_fired();
}

/* ---- echo ---- */

bool bench_echo(int fd)
{
	ssize_t got = read(fd, bench.buffer, sizeof(bench.buffer));

	if (got < 0 && errno == EAGAIN)
		return false;
	if (got <= 0)
		bench_die("read a request");
	if (write(fd, bench.buffer, (size_t)got) != got)
		bench_die("write an answer");
	return bench_echoed((uint64_t)got);
}

static void echo_attach(const int *sockets, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		if (!options.stream)
			backend_watch(i, sockets[i], BENCH_ECHO);
		else if (!backend_stream(i, sockets[i]))
			exit(77);
	}
}

static void echo(void)
{
	struct client client = {.active = options.connections,
				.idle = options.idle,
				.depth = options.depth,
				.requests = options.writes};
	uint32_t count = options.connections + options.idle;
	int *sockets = bench_alloc(count, sizeof(int));
	uint64_t bytes_before, bytes, took;

	client_start(&client, sockets);
	bytes_before = resident_bytes();
	backend_open(count);
	echo_attach(sockets, count);
	bytes = resident_bytes() - bytes_before;
	bench.expected = options.writes * BENCH_MESSAGE_BYTES;
	client_go(&client);
	took = run_measured();
	client_end(&client);
	check_fired();
	report("ns_per_request", (double)took / (double)options.writes);
	report("bytes_per_connection", (double)bytes / count);
}

/* ---- arguments ---- */

static void parse(const char *argument)
{
	static const struct {
		const char *name;
		uint32_t *value;
	} known[] = {{"pipes", &options.pipes},   {"active", &options.active},
		     {"count", &options.count},   {"connections", &options.connections},
		     {"idle", &options.idle},     {"depth", &options.depth},
		     {"stream", &options.stream}, {"meter", &options.meter},
		     {"native", &options.native}, {"handlers", &options.handlers}};
	const char *equals = strchr(argument, '=');
	unsigned long long value = equals ? strtoull(equals + 1, NULL, 10) : 0;

	if (equals && strncmp(argument, "writes=", 7) == 0) {
		options.writes = value;
		return;
	}
	for (size_t i = 0; equals && i < sizeof(known) / sizeof(known[0]); i++) {
		if (strncmp(argument, known[i].name, (size_t)(equals - argument)) == 0 &&
		    known[i].name[equals - argument] == '\0') {
			*known[i].value = (uint32_t)value;
			return;
		}
	}
	errno = EINVAL;
	bench_die(argument);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	for (int i = 2; i < argc; i++)
		parse(argv[i]);
	bench.meter = options.meter != 0;
	bench.native = options.native != 0;
	bench.handlers = options.handlers;
	if (options.handlers < 1 || options.handlers > BENCH_HANDLERS_MAX) {
		errno = EINVAL;
		bench_die("handlers");
	}
	if (strcmp(what, "ring") == 0)
		ring();
	else if (strcmp(what, "dispatch") == 0)
		dispatch();
	else if (strcmp(what, "rearm") == 0)
		rearm();
	else if (strcmp(what, "timers") == 0)
		timers_run();
	else if (strcmp(what, "posts") == 0 || strcmp(what, "ping") == 0)
		posts_run(what[1] == 'i');
	else if (strcmp(what, "echo") == 0)
		echo();
	else {
		errno = EINVAL;
		bench_die("workload (ring, dispatch, rearm, timers, posts, ping, echo)");
	}
	return 0;
}
