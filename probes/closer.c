/* SPDX-License-Identifier: MIT */
#include "probes/closer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#define WAITING_MAX 512 /* a power of two */

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
	struct closing waiting[WAITING_MAX];
};

int stint_closer_new(struct stint_closer **ret)
{
	struct stint_closer *closer = calloc(1, sizeof(*closer));

	if (!closer)
		return -ENOMEM;
	pthread_mutex_init(&closer->lock, NULL);
	pthread_cond_init(&closer->changed, NULL);
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
		pthread_mutex_unlock(&closer->lock);
		closing.close(closing.what);
		pthread_mutex_lock(&closer->lock);
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
		pthread_cond_signal(&closer->changed);
		pthread_mutex_unlock(&closer->lock);
	}
	if (!is_added)
		close(what);
}

struct stint_closer *stint_closer_free(struct stint_closer *closer)
{
	if (!closer)
		return NULL;
	if (closer->has_thread) {
		pthread_mutex_lock(&closer->lock);
		closer->ends = true;
		pthread_cond_signal(&closer->changed);
		pthread_mutex_unlock(&closer->lock);
		pthread_join(closer->thread, NULL);
	}
	pthread_mutex_destroy(&closer->lock);
	pthread_cond_destroy(&closer->changed);
	free(closer);
	return NULL;
}
