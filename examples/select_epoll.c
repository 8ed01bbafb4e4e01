/* SPDX-License-Identifier: MIT */

/*
 * select passes every descriptor to the kernel at every call, epoll passes each once.
 *
 * N pipes are watched, one of them is readable, the rest are idle. What one wait costs grows with N for
 * select (and poll), and stays the same for epoll.
 *
 *     build/examples/select_epoll                 a table, ns per wait
 *     build/examples/select_epoll --plot out.svg  the same as a picture (needs gnuplot)
 *
 * The sets given to select are larger than FD_SETSIZE: the kernel takes any size, only glibc's macros do
 * not, so the bits are set by hand.
 */

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

#define BITS    (8 * sizeof(unsigned long))
#define LARGEST 9900
#define ROUNDS  5
#define WAITS   200

struct pipes {
	int count;
	int reader[LARGEST];
	int writer[LARGEST];
	int highest;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Opens pipes until there are `count`; returns how many there are, fewer where descriptors run out. */
static int open_pipes(struct pipes *pipes, int count)
{
	while (pipes->count < count) {
		int ends[2];

		if (pipe(ends) != 0)
			break;
		pipes->reader[pipes->count] = ends[0];
		pipes->writer[pipes->count] = ends[1];
		if (ends[0] > pipes->highest)
			pipes->highest = ends[0];
		pipes->count++;
	}
	return pipes->count;
}

static int wait_select(struct pipes *pipes, void *state)
{
	unsigned long *bits = state;
	struct timeval at_once = {0, 0};

	memset(bits, 0, ((size_t)pipes->highest / BITS + 1) * sizeof(*bits));
	for (int i = 0; i < pipes->count; i++)
		bits[(size_t)pipes->reader[i] / BITS] |= 1ul << ((size_t)pipes->reader[i] % BITS);
	return select(pipes->highest + 1, (fd_set *)(void *)bits, NULL, NULL, &at_once);
}

static int wait_poll(struct pipes *pipes, void *state)
{
	return poll(state, (nfds_t)pipes->count, 0);
}

static int wait_epoll(struct pipes *pipes, void *state)
{
	struct epoll_event event;

	(void)pipes;
	return epoll_wait(*(int *)state, &event, 1, 0);
}

/* The best of a few rounds: what disturbs a round only ever adds to it. Negative errno on failure. */
static double wait_cost_ns(struct pipes *pipes, int (*wait)(struct pipes *, void *), void *state)
{
	double best_ns = 1e18;

	for (int round = 0; round < ROUNDS; round++) {
		uint64_t start_ns = now_ns();
		double each_ns;

		for (int i = 0; i < WAITS; i++)
			if (wait(pipes, state) != 1)
				return -1;
		each_ns = (double)(now_ns() - start_ns) / WAITS;
		if (each_ns < best_ns)
			best_ns = each_ns;
	}
	return best_ns;
}

static int make_epoll(const struct pipes *pipes)
{
	int epfd = epoll_create1(EPOLL_CLOEXEC);

	for (int i = 0; epfd >= 0 && i < pipes->count; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.fd = pipes->reader[i]};

		if (epoll_ctl(epfd, EPOLL_CTL_ADD, pipes->reader[i], &event) != 0) {
			close(epfd);
			return -1;
		}
	}
	return epfd;
}

static int measure(struct pipes *pipes, FILE *out)
{
	unsigned long *bits = calloc((size_t)pipes->highest / BITS + 1, sizeof(*bits));
	struct pollfd *polled = calloc((size_t)pipes->count, sizeof(*polled));
	double select_ns = -1, poll_ns = -1, epoll_ns = -1;
	int epfd = -1;

	if (!bits || !polled)
		goto out;
	for (int i = 0; i < pipes->count; i++)
		polled[i] = (struct pollfd){.fd = pipes->reader[i], .events = POLLIN};
	epfd = make_epoll(pipes);
	if (epfd < 0)
		goto out;
	select_ns = wait_cost_ns(pipes, wait_select, bits);
	poll_ns = wait_cost_ns(pipes, wait_poll, polled);
	epoll_ns = wait_cost_ns(pipes, wait_epoll, &epfd);
	if (select_ns > 0 && poll_ns > 0 && epoll_ns > 0)
		fprintf(out, "%8d %12.0f %12.0f %12.0f\n", pipes->count, select_ns, poll_ns, epoll_ns);
out:
	if (epfd >= 0)
		close(epfd);
	free(polled);
	free(bits);
	return select_ns > 0 && poll_ns > 0 && epoll_ns > 0 ? 0 : -1;
}

/* gnuplot reads the table from its standard input; the file's name is an argument and never a command. */
static int plot(const char *path, const char *table)
{
	FILE *gnuplot;

	if (setenv("STINT_PLOT", path, 1) != 0)
		return -1;
	gnuplot = popen("gnuplot", "w");
	if (!gnuplot)
		return -1;
	fprintf(gnuplot,
		"set terminal svg size 800,480 background '#ffffff'\n"
		"set output system('printf %%s \"$STINT_PLOT\"')\n"
		"set title 'One wait with one descriptor ready: what the idle ones cost'\n"
		"set logscale xy\nset grid\nset key top left\n"
		"set xlabel 'descriptors watched'\nset ylabel 'ns per wait'\n"
		"$table << EOD\n%sEOD\n"
		"plot $table using 1:2 with linespoints title 'select', "
		"$table using 1:3 with linespoints title 'poll', "
		"$table using 1:4 with linespoints title 'epoll'\n",
		table);
	return pclose(gnuplot) == 0 ? 0 : -1;
}

static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit); /* fewer points are measured if it stays as it is */
}

static int measure_all(struct pipes *pipes, FILE *out)
{
	static const int counts[] = {1, 10, 30, 100, 300, 1000, 3000, LARGEST};

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		if (open_pipes(pipes, counts[i]) < counts[i]) {
			fprintf(stderr, "select_epoll: descriptors end at %d pipes: %s (ulimit -n)\n",
				pipes->count, strerror(errno));
			return i ? 0 : -1;
		}
		/* The last one is ready, so that neither select nor poll has it easy. */
		if (write(pipes->writer[pipes->count - 1], "x", 1) != 1 || measure(pipes, out) != 0)
			return -1;
		if (read(pipes->reader[pipes->count - 1], (char[1]){0}, 1) != 1)
			return -1;
	}
	return 0;
}

static int run(FILE *out)
{
	static struct pipes pipes;
	int err;

	raise_descriptor_limit();
	err = measure_all(&pipes, out);
	for (int i = 0; i < pipes.count; i++) {
		close(pipes.reader[i]);
		close(pipes.writer[i]);
	}
	return err;
}

static int help(FILE *out)
{
	fputs("usage: select_epoll [--plot FILE.svg]\n"
	      "Measures what one wait costs by select, poll and epoll, over the number of descriptors watched.\n",
	      out);
	return out == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"plot", required_argument, NULL, 'p'},
						{"help", no_argument, NULL, 'h'},
						{0}};
	const char *plot_path = NULL;
	char *table = NULL;
	size_t table_bytes = 0;
	FILE *out;
	int option, err;

	while ((option = getopt_long(argc, argv, "p:h", options, NULL)) != -1) {
		if (option != 'p')
			return help(option == 'h' ? stdout : stderr);
		plot_path = optarg;
	}
	out = open_memstream(&table, &table_bytes);
	if (!out)
		return 1;
	err = run(out);
	fclose(out);
	printf("ns per wait, one descriptor ready\n%8s %12s %12s %12s\n%s", "watched", "select", "poll",
	       "epoll", table ? table : "");
	if (!err && plot_path && (!table || plot(plot_path, table) != 0)) {
		fprintf(stderr, "select_epoll: no plot: gnuplot failed (apt-get install gnuplot-nox)\n");
		err = -1;
	}
	free(table);
	return err ? 1 : 0;
}
