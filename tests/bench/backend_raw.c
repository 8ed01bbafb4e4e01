/* SPDX-License-Identifier: MIT */
/*
 * The limit: epoll by hand, with nothing that the workload does not need, and a bare timing wheel: 65,536
 * slots of 1 ms, one level, 24 bytes a timer. It has no stop, no error path and no order that anybody
 * could rely on; what a library costs beyond it is the price of being one.
 */
#include "bench.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>

struct source {
	void (*callback)(struct source *source);
	int fd;
	uint32_t index;
};

struct wheel_timer {
	struct wheel_timer *next, **link; /* link NULL: not armed */
	uint64_t due_ms;
};

#define WHEEL_SLOTS 65536u

const char backend_name[] = "raw";

static int epoll;
static bool stopped;
static struct source *sources;
static struct wheel_timer *timers;
static uint32_t timers_armed;
static struct wheel_timer *wheel[WHEEL_SLOTS];
static uint64_t now_ms, wheel_ms;
static int post_fd;

static uint64_t read_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000u + (uint64_t)time.tv_nsec / 1000000u;
}

void backend_open(uint32_t descriptors)
{
	sources = bench_alloc(descriptors, sizeof(*sources));
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0)
		bench_die("epoll_create1");
	now_ms = wheel_ms = read_ms();
}

static void on_ring(struct source *source)
{
	if (bench_ring(source->index))
		stopped = true;
}

static void on_dispatch(struct source *source)
{
	(void)source;
	if (bench_dispatch())
		stopped = true;
}

static void on_turn(struct source *source)
{
	(void)source;
	if (bench.turn())
		stopped = true;
}

static void on_echo(struct source *source)
{
	if (bench_echo(source->fd))
		stopped = true;
}

static void on_post(struct source *source)
{
	uint64_t count;

	if (read(source->fd, &count, sizeof(count)) != sizeof(count))
		bench_die("read the eventfd");
	if (bench_posts_take())
		stopped = true;
}

static void add(struct source *source)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, source->fd, &event) < 0)
		bench_die("epoll_ctl");
}

void backend_watch(uint32_t index, int fd, enum bench_body body)
{
	static void (*const callback[])(struct source *) = {on_ring, on_dispatch, on_turn, on_echo};

	sources[index] = (struct source){callback[body], fd, index};
	add(&sources[index]);
}

bool backend_stream(uint32_t index, int fd)
{
	/* The null of the stream layers is the poll-style echo. */
	backend_watch(index, fd, BENCH_ECHO);
	return true;
}

static void wheel_fire(struct wheel_timer *timer)
{
	timer->link = NULL;
	timers_armed--;
	if (bench_timer_fired())
		stopped = true;
}

static void wheel_advance(void)
{
	now_ms = read_ms();
	while (wheel_ms < now_ms) {
		struct wheel_timer *timer = wheel[++wheel_ms % WHEEL_SLOTS], *next;

		wheel[wheel_ms % WHEEL_SLOTS] = NULL;
		for (; timer; timer = next) {
			next = timer->next;
			wheel_fire(timer);
		}
	}
}

void backend_run(void)
{
	struct epoll_event events[BENCH_BATCH];

	stopped = false;
	while (!stopped) {
		int ready = epoll_wait(epoll, events, BENCH_BATCH, timers_armed > 0 ? 1 : -1);

		if (timers_armed > 0)
			wheel_advance();
		for (int i = 0; i < ready; i++) {
			struct source *source = events[i].data.ptr;

			source->callback(source);
		}
	}
}

void backend_timers_new(uint32_t count)
{
	timers = bench_alloc(count, sizeof(*timers));
}

static void wheel_unlink(struct wheel_timer *timer)
{
	*timer->link = timer->next;
	if (timer->next)
		timer->next->link = timer->link;
}

void backend_timer_start(uint32_t index, uint32_t delay_ms)
{
	struct wheel_timer *timer = &timers[index];
	struct wheel_timer **slot;

	if (timer->link)
		wheel_unlink(timer);
	else
		timers_armed++;
	timer->due_ms = now_ms + delay_ms;
	slot = &wheel[timer->due_ms % WHEEL_SLOTS];
	timer->next = *slot;
	if (*slot)
		(*slot)->link = &timer->next;
	timer->link = slot;
	*slot = timer;
}

void backend_timer_stop(uint32_t index)
{
	struct wheel_timer *timer = &timers[index];

	if (!timer->link)
		return;
	wheel_unlink(timer);
	timer->link = NULL;
	timers_armed--;
}

void backend_post_open(void)
{
	post_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (post_fd < 0)
		bench_die("eventfd");
	sources[0] = (struct source){on_post, post_fd, 0};
	add(&sources[0]);
}

void backend_post_wake(void)
{
	uint64_t one = 1;

	if (write(post_fd, &one, sizeof(one)) != sizeof(one))
		bench_die("write the eventfd");
}

bool backend_posts_new(uint32_t count)
{
	(void)count;
	return false;
}

void backend_post(uint32_t index)
{
	(void)index;
}
