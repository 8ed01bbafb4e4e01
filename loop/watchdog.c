/* SPDX-License-Identifier: MIT */
#include "clock.h"
#include "histogram_record.h"
#include "late_signal.h"
#include "meter.h"
#include "options.h"
#include "stack_copy.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <stint/watchdog.h>
#include <unistd.h>

/*
 * The loops say in the meter's file what they dispatch and since when (meter_account_mark), for whoever looks on;
 * the watchdog does. It is the only writer of each loop's ring of stacks, and of what it counts there.
 *
 * A look that finds a dispatch late is late itself by up to an interval, so an overrun that is over by then is not
 * seen: the meter counts it all the same. While no loop has moved for a while the looks become rarer, as an idle
 * process should not be woken a thousand times a second.
 */

#define DEFAULT_INTERVAL_NS 1000000u
#define INTERVAL_MIN_NS     100000u
#define DEFAULT_ALARM_NS    UINT64_C(1000000000)
#define DEFAULT_SIGNAL      (SIGRTMIN + 8)
#define IDLE_LOOKS          16 /* without a move, before the looks become rarer */
#define IDLE_FACTOR         32
#define INTERVAL_MAX_NS     UINT64_C(1000000000000) /* what is more is as good as never, and times must hold it */
#define STACKS_A_SECOND     32 /* of one loop: half of its ring, which is read once a second */
#define SECOND_NS           UINT64_C(1000000000)

/* What is known of a loop's dispatch under way. */
struct watch {
	uint64_t begin_ns;
	uint64_t next_stack_ns; /* running times at which to act next */
	uint64_t next_alarm_ns;
	uint64_t iterations;
	uint64_t second_ns; /* when the second began in which `stacks` were taken */
	unsigned stacks;
	bool blocked;
	bool backed; /* its ring of stacks has memory */
};

struct stint_watchdog {
	struct stint_meter *meter;
	struct stint_watchdog_options options;
	struct watch *watches; /* loop_limit of the meter */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
	pid_t pid; /* in which it runs */
	struct stint_meter_file_stack stack;
};

static pthread_mutex_t one_lock = PTHREAD_MUTEX_INITIALIZER;
static struct stint_watchdog *the_one;

/* The dispatch that is under way; false if there is none, or it has changed amid the reading. */
static bool read_dispatch(const struct stint_meter_file_loop *figures, struct stint_meter_file_stack *ret)
{
	uint64_t begin_ns = __atomic_load_n(&figures->dispatch_begin_ns, __ATOMIC_ACQUIRE);

	if (!begin_ns)
		return false;
	/* Neither may be read after the begin is read again. */
	ret->handler = __atomic_load_n(&figures->dispatch_handler, __ATOMIC_ACQUIRE);
	ret->fd = __atomic_load_n(&figures->dispatch_fd, __ATOMIC_ACQUIRE);
	ret->begin_ns = begin_ns;
	return relaxed_load(&figures->dispatch_begin_ns) == begin_ns;
}

static bool within_limit(struct watch *watch, uint64_t now_ns)
{
	if (now_ns - watch->second_ns >= SECOND_NS) {
		watch->second_ns = now_ns;
		watch->stacks = 0;
	}
	return watch->stacks++ < STACKS_A_SECOND;
}

static void take_stack(struct stint_watchdog *watchdog, struct watch *watch,
		       struct stint_meter_file_loop *figures)
{
	struct meter_map *map = &watchdog->meter->map;
	struct stint_meter_file_stack *ring =
		(struct stint_meter_file_stack *)(map->base + figures->stacks_offset);
	uint64_t written = figures->stacks_written;

	if (!watch->backed && meter_map_back(map, ring, (size_t)figures->stack_slots * sizeof(*ring)) < 0) {
		counter_add(&figures->stacks_missed, 1);
		return;
	}
	watch->backed = true;
	if (stack_copy_take(&watchdog->stack, relaxed_load(&figures->tid)) < 0) {
		counter_add(&figures->stacks_missed, 1);
		return;
	}
	watch->blocked = watchdog->stack.blocked;
	/* By then another dispatch may have begun, and the stack would be charged to the wrong one. */
	if (relaxed_load(&figures->dispatch_begin_ns) != watchdog->stack.begin_ns)
		return;
	ring[written % figures->stack_slots] = watchdog->stack;
	__atomic_store_n(&figures->stacks_written, written + 1, __ATOMIC_RELEASE);
}

static void raise_alarm(struct stint_watchdog *watchdog, const struct watch *watch,
			const struct stint_meter_file_loop *figures, uint64_t running_ns, uint64_t budget_ns)
{
	const struct stint_meter_file_handler *handler =
		meter_map_handler(&watchdog->meter->map, watchdog->stack.handler);
	const struct stint_watchdog_late late = {
		.loop = figures->name,
		.handler = handler->name,
		.fd = watchdog->stack.fd,
		.tid = (int)relaxed_load(&figures->tid),
		.blocked = watch->blocked,
		.running_ns = running_ns,
		.budget_ns = budget_ns,
	};

	watchdog->options.alarm(watchdog->options.ctx, &late);
}

static void look_at_dispatch(struct stint_watchdog *watchdog, struct watch *watch,
			     struct stint_meter_file_loop *figures)
{
	uint64_t now_ns = clock_gettime_ns(CLOCK_MONOTONIC), running_ns, budget_ns;

	if (!read_dispatch(figures, &watchdog->stack) || now_ns <= watchdog->stack.begin_ns)
		return;
	running_ns = now_ns - watchdog->stack.begin_ns;
	budget_ns = stint_meter_budget_ns(watchdog->meter, watchdog->stack.handler);
	if (watch->begin_ns != watchdog->stack.begin_ns) {
		watch->begin_ns = watchdog->stack.begin_ns;
		watch->next_stack_ns = budget_ns;
		watch->next_alarm_ns = watchdog->options.alarm_ns;
	}
	if (running_ns > watch->next_stack_ns) {
		if (watch->next_stack_ns == budget_ns)
			counter_add(&figures->watchdog_hits, 1);
		watch->next_stack_ns = 2 * running_ns;
		if (within_limit(watch, now_ns))
			take_stack(watchdog, watch, figures);
		else
			counter_add(&figures->stacks_skipped, 1);
	}
	if (running_ns > watch->next_alarm_ns && watchdog->options.alarm) {
		watch->next_alarm_ns = 2 * running_ns;
		raise_alarm(watchdog, watch, figures, running_ns, budget_ns);
	}
}

/* Whether any loop has moved, or runs a handler. */
static bool look(struct stint_watchdog *watchdog)
{
	struct meter_map *map = &watchdog->meter->map;
	uint32_t count = __atomic_load_n(&meter_map_header(map)->loop_count, __ATOMIC_ACQUIRE);
	bool moved = false;

	for (uint32_t i = 0; i < count; i++) {
		struct stint_meter_file_loop *figures = meter_map_loop(map, i);
		struct watch *watch = &watchdog->watches[i];
		uint64_t iterations = relaxed_load(&figures->iterations);

		if (__atomic_load_n(&figures->closed, __ATOMIC_ACQUIRE))
			continue;
		moved = moved || iterations != watch->iterations || relaxed_load(&figures->dispatch_begin_ns);
		watch->iterations = iterations;
		look_at_dispatch(watchdog, watch, figures);
	}
	return moved;
}

static void rest(struct stint_watchdog *watchdog, uint64_t rest_ns)
{
	uint64_t until_ns = clock_gettime_ns(CLOCK_MONOTONIC) + rest_ns;
	struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000u),
				 .tv_nsec = (long)(until_ns % 1000000000u)};

	/* Woken for nothing, it looks early once. */
	pthread_cond_timedwait(&watchdog->wake, &watchdog->lock, &until);
}

static void *run(void *ctx)
{
	struct stint_watchdog *watchdog = ctx;
	uint64_t interval_ns = watchdog->options.interval_ns;
	unsigned idle = 0;

	pthread_mutex_lock(&watchdog->lock);
	while (!watchdog->stop) {
		pthread_mutex_unlock(&watchdog->lock);
		idle = look(watchdog) ? 0 : idle + 1;
		pthread_mutex_lock(&watchdog->lock);
		if (!watchdog->stop)
			rest(watchdog, idle > IDLE_LOOKS ? IDLE_FACTOR * interval_ns : interval_ns);
	}
	pthread_mutex_unlock(&watchdog->lock);
	return NULL;
}

/* Signals of the program are for its own threads. */
static int start_thread(struct stint_watchdog *watchdog)
{
	pthread_condattr_t attributes;
	sigset_t all, before;
	int error;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&watchdog->wake, &attributes);
	pthread_condattr_destroy(&attributes);
	pthread_mutex_init(&watchdog->lock, NULL);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&watchdog->thread, NULL, run, watchdog);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -error;
}

static int take_options(struct stint_watchdog_options *ret, const struct stint_watchdog_options *given)
{
	int error = options_take(ret, sizeof(*ret), given);

	if (error < 0)
		return error;
	if (!ret->interval_ns)
		ret->interval_ns = DEFAULT_INTERVAL_NS;
	if (!ret->alarm_ns)
		ret->alarm_ns = DEFAULT_ALARM_NS;
	if (!ret->signal)
		ret->signal = DEFAULT_SIGNAL;
	if (ret->interval_ns > INTERVAL_MAX_NS)
		ret->interval_ns = INTERVAL_MAX_NS;
	return ret->interval_ns < INTERVAL_MIN_NS || !signal_may_be_late(ret->signal) ? -EINVAL : 0;
}

/* Under one_lock. */
static int start(struct stint_watchdog **ret, struct stint_meter *meter,
		 const struct stint_watchdog_options *given)
{
	struct stint_watchdog *watchdog = calloc(1, sizeof(*watchdog));
	int error;

	if (!watchdog)
		return -ENOMEM;
	error = take_options(&watchdog->options, given);
	if (error < 0)
		goto fail;
	watchdog->watches = calloc(meter_map_header(&meter->map)->loop_limit, sizeof(*watchdog->watches));
	error = watchdog->watches ? stack_copy_open(watchdog->options.signal) : -ENOMEM;
	if (error < 0)
		goto fail;
	error = stint_meter_new(&watchdog->meter, NULL); /* a reference to the process's, which `meter` is */
	if (error < 0)
		goto close;
	watchdog->pid = getpid();
	error = start_thread(watchdog);
	if (error == 0) {
		*ret = watchdog;
		return 0;
	}
	stint_meter_free(watchdog->meter);
close:
	stack_copy_close();
fail:
	free(watchdog->watches);
	free(watchdog);
	return error;
}

int stint_watchdog_start(struct stint_watchdog **ret, struct stint_meter *meter,
			 const struct stint_watchdog_options *options)
{
	int error;

	if (!ret || !meter)
		return -EINVAL;
	pthread_mutex_lock(&one_lock);
	if (the_one && the_one->pid != getpid()) { /* the parent's: its thread is not here */
		stack_copy_close();
		the_one = NULL;
	}
	error = the_one ? -EALREADY : start(&the_one, meter, options);
	if (error == 0)
		*ret = the_one;
	pthread_mutex_unlock(&one_lock);
	return error;
}

struct stint_watchdog *stint_watchdog_stop(struct stint_watchdog *watchdog)
{
	if (!watchdog)
		return NULL;
	if (watchdog->pid == getpid()) {
		pthread_mutex_lock(&watchdog->lock);
		watchdog->stop = true;
		pthread_cond_signal(&watchdog->wake);
		pthread_mutex_unlock(&watchdog->lock);
		pthread_join(watchdog->thread, NULL);
		pthread_cond_destroy(&watchdog->wake);
		pthread_mutex_destroy(&watchdog->lock);
	}
	pthread_mutex_lock(&one_lock);
	if (the_one == watchdog) {
		stack_copy_close();
		the_one = NULL;
	}
	pthread_mutex_unlock(&one_lock);
	stint_meter_free(watchdog->meter);
	free(watchdog->watches);
	free(watchdog);
	return NULL;
}
