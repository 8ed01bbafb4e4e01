/* SPDX-License-Identifier: MIT */
#include "probes/closer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#define WAITING_MAX 512 /* a power of two */
#define PATIENCE_S  1

struct closing {
	void (*close)(void *what);
	void *what;
};

struct stint_closer {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	bool has_thread;
	bool ends;
	unsigned first, len;
	unsigned under_way; /* 1: one is being closed, which is not among `waiting` any more */
	struct closing waiting[WAITING_MAX];
};

int stint_closer_new(struct stint_closer **ret)
{
	struct stint_closer *closer = calloc(1, sizeof(*closer));
	pthread_condattr_t by_clock;

	if (!closer)
		return -ENOMEM;
	pthread_mutex_init(&closer->lock, NULL);
	pthread_condattr_init(&by_clock);
	pthread_condattr_setclock(&by_clock, CLOCK_MONOTONIC);
	pthread_cond_init(&closer->changed, &by_clock);
	pthread_condattr_destroy(&by_clock);
	*ret = closer;
	return 0;
}

static void *run(void *ctx)
{
	struct stint_closer *closer = ctx;

	pthread_mutex_lock(&closer->lock);
	for (;;) {
		struct closing closing;

		while (!closer->len && !closer->ends)
			pthread_cond_wait(&closer->changed, &closer->lock);
		if (!closer->len)
			break;
		closing = closer->waiting[closer->first++ % WAITING_MAX];
		closer->len--;
		closer->under_way = 1;
		pthread_mutex_unlock(&closer->lock);
		closing.close(closing.what);
		pthread_mutex_lock(&closer->lock);
		closer->under_way = 0;
		pthread_cond_broadcast(&closer->changed);
	}
	pthread_mutex_unlock(&closer->lock);
	return NULL;
}

/*
 * Not before there is something to do: by then the program has given up the capabilities that it does not need, and so has
 * the thread. Signals are for the thread that waits for them.
 */
static bool start(struct stint_closer *closer)
{
	sigset_t all, before;

	if (closer->has_thread)
		return true;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	closer->has_thread = pthread_create(&closer->thread, NULL, run, closer) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return closer->has_thread;
}

void stint_closer_add(struct stint_closer *closer, void (*close)(void *what), void *what)
{
	bool is_added = false;

	if (start(closer)) {
		pthread_mutex_lock(&closer->lock);
		is_added = closer->len < WAITING_MAX;
		if (is_added)
			closer->waiting[(closer->first + closer->len++) % WAITING_MAX] =
				(struct closing){close, what};
		pthread_cond_broadcast(&closer->changed);
		pthread_mutex_unlock(&closer->lock);
	}
	if (!is_added)
		close(what);
}

/* Has the thread end once there is nothing to close. How many there are still when patience is over. */
static uint32_t wait_for_end(struct stint_closer *closer)
{
	struct timespec until;
	uint32_t left;
	int err = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += PATIENCE_S;
	pthread_mutex_lock(&closer->lock);
	closer->ends = true;
	pthread_cond_broadcast(&closer->changed);
	while (!err && closer->len + closer->under_way > 0)
		err = pthread_cond_timedwait(&closer->changed, &closer->lock, &until);
	left = closer->len + closer->under_way;
	pthread_mutex_unlock(&closer->lock);
	return left;
}

struct stint_closer *stint_closer_free(struct stint_closer *closer, void (*lingers)(void *ctx, uint32_t left),
				       void *ctx)
{
	if (!closer)
		return NULL;
	if (closer->has_thread) {
		uint32_t left = wait_for_end(closer);

		if (left && lingers)
			lingers(ctx, left);
		pthread_join(closer->thread, NULL);
	}
	pthread_mutex_destroy(&closer->lock);
	pthread_cond_destroy(&closer->changed);
	free(closer);
	return NULL;
}
