/* SPDX-License-Identifier: MIT */
#include "late_signal.h"
#include "reactor.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <stint/post.h>
#include <stint/signal.h>

/*
 * Signals. For each number there is a list of the sources that watch it, of all loops. The signal handler walks it
 * without a lock, notes the signal in each source and posts that to its loop. Lists are changed under `lock`, and what
 * has been taken off one may still be in the hands of a handler in another thread: wait_for_handlers() returns when none
 * is left that began before. (Handlers count themselves in and out, in one of two counters by turns, so that the wait
 * ends even if signals never cease.)
 *
 * The memory of a source whose post is on its way is freed when the post comes.
 */

struct stint_signal {
	struct object object; /* first: it is what is freed */
	struct stint_post post;
	struct stint_mailbox *mailbox; /* the loop's, for all its signals */
	struct stint_signal *next;     /* of those that watch the number; read by the handler */
	uint64_t sender;               /* pid and uid of the last; written by the handler */
	uint32_t count;                /* since the last callback; written by the handler */
	int number;
	stint_signal_callback callback;
	void *ctx;
	bool background;
	bool freed;
};

static struct {
	struct stint_signal *first;
	struct sigaction before;
} watched[NSIG];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static uint32_t epoch, inside[2];

/* ---- in the signal handler ---- */

/* Only what a process sent has a sender; for others those fields mean something else. */
static uint64_t sender_of(const siginfo_t *info)
{
	bool sent = info->si_code == SI_USER || info->si_code == SI_QUEUE || info->si_code == SI_TKILL;

	if (!sent && info->si_signo != SIGCHLD)
		return 0;
	return (uint64_t)(uint32_t)info->si_pid << 32 | info->si_uid;
}

static void on_signal(int number, siginfo_t *info, void *context)
{
	uint32_t side = __atomic_load_n(&epoch, __ATOMIC_SEQ_CST) & 1;
	struct stint_signal *signal;

	(void)context;
	__atomic_fetch_add(&inside[side], 1, __ATOMIC_SEQ_CST);
	signal = __atomic_load_n(&watched[number].first, __ATOMIC_SEQ_CST);
	while (signal) {
		__atomic_store_n(&signal->sender, sender_of(info), __ATOMIC_RELAXED);
		__atomic_fetch_add(&signal->count, 1, __ATOMIC_RELEASE);
		/* Posted already: the callback to come will find it counted. */
		(void)stint_mailbox_post(signal->mailbox, &signal->post);
		signal = __atomic_load_n(&signal->next, __ATOMIC_ACQUIRE);
	}
	__atomic_fetch_sub(&inside[side], 1, __ATOMIC_SEQ_CST);
}

/* ---- the lists, under the lock ---- */

/* Both sides, as a handler may have read the epoch long ago; one that counts itself in only later sees the new list. */
static void wait_for_handlers(void)
{
	for (int turn = 0; turn < 2; turn++) {
		uint32_t side = __atomic_fetch_add(&epoch, 1, __ATOMIC_SEQ_CST) & 1;

		while (__atomic_load_n(&inside[side], __ATOMIC_SEQ_CST))
			sched_yield();
	}
}

static bool handler_is_ours(int number)
{
	struct sigaction now;

	return sigaction(number, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) &&
	       now.sa_sigaction == on_signal;
}

static int install(int number)
{
	struct sigaction action = {.sa_sigaction = on_signal,
				   .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};

	sigemptyset(&action.sa_mask);
	return sigaction(number, &action, &watched[number].before) < 0 ? -errno : 0;
}

static void uninstall(int number)
{
	if (handler_is_ours(number))
		sigaction(number, &watched[number].before, NULL);
}

static int watch(struct stint_signal *signal)
{
	struct stint_signal *first = watched[signal->number].first;
	int error = 0;

	/* The source first: the handler that is installed must not miss it. */
	signal->next = first;
	__atomic_store_n(&watched[signal->number].first, signal, __ATOMIC_SEQ_CST);
	if (!first)
		error = install(signal->number);
	if (error < 0)
		__atomic_store_n(&watched[signal->number].first, NULL, __ATOMIC_SEQ_CST);
	return error;
}

static void unwatch(struct stint_signal *signal)
{
	struct stint_signal **link = &watched[signal->number].first;

	while (*link && *link != signal)
		link = &(*link)->next;
	if (!*link) /* this is a forked child, whose lists were emptied */
		return;
	if (link == &watched[signal->number].first && !signal->next)
		uninstall(signal->number);
	__atomic_store_n(link, signal->next, __ATOMIC_SEQ_CST);
	wait_for_handlers();
}

/* ---- forks ---- */

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void in_parent(void)
{
	pthread_mutex_unlock(&lock);
}

/* The loops are the parent's, and so is their eventfd: a signal to the child must not wake it. */
static void in_child(void)
{
	for (int number = 1; number < NSIG; number++) {
		if (!watched[number].first)
			continue;
		uninstall(number);
		watched[number].first = NULL;
	}
	inside[0] = inside[1] = 0;
	pthread_mutex_unlock(&lock);
}

static void watch_forks(void)
{
	pthread_atfork(before_fork, in_parent, in_child);
}

/* ---- the loop's side ---- */

static void on_post(struct stint_post *post, int error, void *ctx)
{
	struct stint_signal *signal = ctx;
	struct stint_signal_info info = {.number = signal->number};
	uint64_t sender;

	(void)post;
	if (signal->freed) {
		free(signal);
		return;
	}
	info.count = __atomic_exchange_n(&signal->count, 0, __ATOMIC_ACQUIRE);
	if (error < 0 || info.count == 0) /* counted by the callback before */
		return;
	sender = __atomic_load_n(&signal->sender, __ATOMIC_RELAXED);
	info.pid = (pid_t)(sender >> 32);
	info.uid = (uid_t)sender;
	signal->callback(signal, &info, signal->ctx);
}

/* One mailbox serves all signals of a loop: it is in the background while all of them are. */
static void update_background(struct stint_loop *loop)
{
	(void)stint_mailbox_set_background(loop->signal_mailbox,
					   loop->signals_background == loop->signal_count);
}

static void release_mailbox(struct stint_loop *loop)
{
	if (--loop->signal_count == 0)
		loop->signal_mailbox = stint_mailbox_free(loop->signal_mailbox);
	else
		update_background(loop);
}

static int need_mailbox(struct stint_loop *loop)
{
	int error = loop->signal_count ? 0 : stint_mailbox_new(&loop->signal_mailbox, loop);

	if (error < 0)
		return error;
	loop->signal_count++;
	update_background(loop);
	return 0;
}

static void destroy(struct object *object)
{
	struct stint_signal *signal = (struct stint_signal *)object;
	struct stint_loop *loop = object->loop;

	signal->freed = true;
	loop->signals_background -= signal->background;
	pthread_mutex_lock(&lock);
	unwatch(signal);
	pthread_mutex_unlock(&lock);
	if (__atomic_load_n(&signal->post.posted, __ATOMIC_ACQUIRE))
		loop_forget(object);
	else
		loop_bury(object);
	release_mailbox(loop);
}

int stint_signal_new(struct stint_signal **ret, struct stint_loop *loop, int number, uint32_t handler,
		     stint_signal_callback callback, void *ctx)
{
	struct stint_signal *signal;
	int error;

	if (!ret || !loop || loop->dead || !callback || !loop_handler_valid(loop, handler) ||
	    !signal_may_be_late(number))
		return -EINVAL;
	pthread_once(&fork_once, watch_forks);
	signal = calloc(1, sizeof(*signal));
	if (!signal)
		return -ENOMEM;
	signal->number = number;
	signal->callback = callback;
	signal->ctx = ctx;
	signal->post = (struct stint_post){.callback = on_post, .ctx = signal, .handler = handler};
	signal->object.loop = loop;
	error = need_mailbox(loop);
	if (error < 0) {
		free(signal);
		return error;
	}
	signal->mailbox = loop->signal_mailbox;
	pthread_mutex_lock(&lock);
	error = watch(signal);
	pthread_mutex_unlock(&lock);
	if (error < 0) {
		release_mailbox(loop);
		free(signal);
		return error;
	}
	loop_add_object(loop, &signal->object, destroy);
	*ret = signal;
	return 0;
}

struct stint_signal *stint_signal_free(struct stint_signal *signal)
{
	if (signal && !signal->freed)
		destroy(&signal->object);
	return NULL;
}

int stint_signal_set_background(struct stint_signal *signal, bool background)
{
	struct stint_loop *loop;

	if (!signal || signal->freed)
		return -EINVAL;
	loop = signal->object.loop;
	loop->signals_background += (uint32_t)background - signal->background;
	signal->background = background;
	update_background(loop);
	return 0;
}
