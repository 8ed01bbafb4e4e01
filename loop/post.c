/* SPDX-License-Identifier: MIT */
#include "reactor.h"

#include <errno.h>
#include <stdlib.h>
#include <stint/post.h>
#include <sys/eventfd.h>
#include <unistd.h>

/*
 * Mailboxes. Posts are pushed on a stack, whose head also says what state the mailbox is in; the loop takes the whole
 * stack at once and turns it round, so there is one point at which a post is in the queue, and one order of all.
 *
 *	IDLE    nothing is there, and the loop may be asleep: the next post wakes it
 *	AWAKE   nothing is there, but the loop is going to look: no need to wake it
 *	CLOSED  posts are refused
 *	other   the youngest post, which leads to the older ones
 *
 * The loop is woken through an eventfd, watched edge-triggered, so that nobody need read it: each write is an event. It
 * runs posts in step 6. Having run what it took, it goes from AWAKE to IDLE unless more has come; if so, it looks again
 * in the next iteration. A single post costs one write; a producer that keeps up with the loop costs none.
 *
 * The eventfd lives as long as the last reference and not only as the mailbox is open: a thread that has just posted may
 * be about to write to it, and must not find another file under its number. Such a thread holds a reference meanwhile, as
 * the callback of its post may already run, and may be what frees the mailbox.
 */

#define IDLE   NULL
#define AWAKE  (&awake)
#define CLOSED (&closed)

static struct stint_post awake, closed;

struct stint_mailbox {
	/* shared by the threads that post */
	struct stint_post *head __attribute__((aligned(64)));
	uint64_t wakeups;
	uint32_t references;
	int32_t wake_fd;
	enum clock_stamp stamp; /* what posted_at holds */

	/* the loop's alone */
	struct object object __attribute__((aligned(64)));
	struct deferral deferral;
	struct stint_fd *source;
	struct stint_post *first, *last; /* taken, and not run yet */
	uint64_t waiting;                /* how many those are */
	bool freed;

	struct stint_mailbox *next_dead;
};

/*
 * Mailboxes without a reference whose memory is still to be freed: the last was given back by a post, which may have been
 * in a signal handler, where nothing can be freed. The next mailbox that is made or freed frees them. Atomic: a stack.
 */
static struct stint_mailbox *dead;

_Static_assert(sizeof(struct stint_post) == 48, "as post.h says");

/* ---- the threads' side ---- */

static void wake(struct stint_mailbox *mailbox)
{
	const uint64_t one = 1;
	int error = errno;

	__atomic_fetch_add(&mailbox->wakeups, 1, __ATOMIC_RELAXED);
	/* Could fail only for a counter at its end, after 2^64 wake-ups. */
	if (write(mailbox->wake_fd, &one, sizeof(one)) < 0)
		errno = error;
}

struct stint_mailbox *stint_mailbox_ref(struct stint_mailbox *mailbox)
{
	if (mailbox)
		__atomic_fetch_add(&mailbox->references, 1, __ATOMIC_RELAXED);
	return mailbox;
}

static void free_dead(void)
{
	struct stint_mailbox *mailbox = __atomic_exchange_n(&dead, NULL, __ATOMIC_ACQUIRE);

	while (mailbox) {
		struct stint_mailbox *next = mailbox->next_dead;

		free(mailbox);
		mailbox = next;
	}
}

/* Whether that was the last reference: the rest is the caller's. */
static bool give_back(struct stint_mailbox *mailbox)
{
	if (!mailbox || __atomic_sub_fetch(&mailbox->references, 1, __ATOMIC_ACQ_REL) > 0)
		return false;
	close(mailbox->wake_fd);
	return true;
}

struct stint_mailbox *stint_mailbox_unref(struct stint_mailbox *mailbox)
{
	if (give_back(mailbox)) {
		free(mailbox);
		free_dead();
	}
	return NULL;
}

/* The same where a signal handler may be. */
static void unref_in_post(struct stint_mailbox *mailbox)
{
	if (!give_back(mailbox))
		return;
	mailbox->next_dead = __atomic_load_n(&dead, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&dead, &mailbox->next_dead, mailbox, true, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED))
		;
}

/* Where the queue was found empty and the loop asleep, or the mailbox closed. */
__attribute__((noinline)) static int post_rarely(struct stint_mailbox *mailbox, struct stint_post *post)
{
	struct stint_post *head = __atomic_load_n(&mailbox->head, __ATOMIC_RELAXED);
	struct stint_mailbox *held = NULL;

	do {
		if (head == CLOSED) {
			__atomic_store_n(&post->posted, 0, __ATOMIC_RELEASE);
			unref_in_post(held);
			return -ESHUTDOWN;
		}
		if (head == IDLE && !held)
			held = stint_mailbox_ref(mailbox);
		post->next = head == AWAKE ? NULL : head;
	} while (!__atomic_compare_exchange_n(&mailbox->head, &head, post, true, __ATOMIC_ACQ_REL,
					      __ATOMIC_RELAXED));
	if (head == IDLE)
		wake(mailbox);
	unref_in_post(held);
	return 0;
}

/* A call in this would cost every post the saving of registers. */
__attribute__((noinline)) static uint64_t moment_without_ticks(enum clock_stamp stamp)
{
	return clock_stamp_now(stamp);
}

int stint_mailbox_post(struct stint_mailbox *mailbox, struct stint_post *post)
{
	struct stint_post *head;

	if (!mailbox || !post || !post->callback)
		return -EINVAL;
	/* An exchange also where it changes nothing: so the call to come is after what was written before this one. */
	if (__atomic_exchange_n(&post->posted, 1, __ATOMIC_ACQ_REL))
		return -EALREADY;
	post->posted_at = __builtin_expect(mailbox->stamp == CLOCK_STAMP_TICKS, 1)
				  ? clock_ticks()
				  : moment_without_ticks(mailbox->stamp);
	head = __atomic_load_n(&mailbox->head, __ATOMIC_RELAXED);
	while (__builtin_expect(head != IDLE && head != CLOSED, 1)) {
		post->next = head == AWAKE ? NULL : head;
		if (__atomic_compare_exchange_n(&mailbox->head, &head, post, true, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED))
			return 0;
	}
	return post_rarely(mailbox, post);
}

uint64_t stint_mailbox_wakeups(const struct stint_mailbox *mailbox)
{
	return mailbox ? __atomic_load_n(&mailbox->wakeups, __ATOMIC_RELAXED) : 0;
}

/* ---- the loop's side ---- */

/* Takes all that was posted, leaving `state` behind, and appends it in the order in which it was posted. */
static void take(struct stint_mailbox *mailbox, struct stint_post *state)
{
	struct stint_post *post = __atomic_exchange_n(&mailbox->head, state, __ATOMIC_ACQ_REL);
	struct stint_post *youngest = post, *older = NULL;

	if (post == IDLE || post == AWAKE)
		return;
	while (post) {
		struct stint_post *next = post->next;

		post->next = older;
		older = post;
		post = next;
		mailbox->waiting++;
	}
	if (mailbox->last)
		mailbox->last->next = older;
	else
		mailbox->first = older;
	mailbox->last = youngest;
}

/* The next one, which is the caller's again from here on. */
static struct stint_post *pop(struct stint_mailbox *mailbox)
{
	struct stint_post *post = mailbox->first;

	mailbox->first = post->next;
	if (!mailbox->first)
		mailbox->last = NULL;
	else
		__builtin_prefetch(mailbox->first->next); /* the first itself was asked for the last time */
	mailbox->waiting--;
	return post;
}

static void release(struct stint_post *post)
{
	(void)__atomic_exchange_n(&post->posted, 0, __ATOMIC_ACQ_REL);
}

/* The account knows most of them without a look at the meter's table. */
static uint32_t known_handler(const struct stint_loop *loop, uint32_t handler)
{
	if (loop->account && handler < loop->account->hot_count)
		return handler;
	return loop_handler_valid(loop, handler) ? handler : 0;
}

/* Dispatches the first, without a meter. */
static void dispatch_unmetered(struct stint_mailbox *mailbox)
{
	struct stint_post *post = pop(mailbox);

	release(post);
	post->callback(post, 0, post->ctx);
}

/* From the posting to the start of its dispatch. Another thread's stamp may be some ns off. */
static inline uint64_t wait_of(const struct clock *clock, bool tsc, uint64_t posted_at, uint64_t start_ns)
{
	uint64_t ready_ns = tsc ? clock_from_ticks(clock, posted_at) : posted_at;

	return start_ns > ready_ns ? start_ns - ready_ns : 0;
}

/* Charges a dispatch that is out of the ordinary. `now_ns` is a sample of the clock. */
__attribute__((cold, noinline)) static void end_oddly(struct stint_meter_loop *account, struct meter_hot *hot,
						      uint32_t handler, uint64_t start_ns, uint64_t now_ns)
{
	const struct meter_scope scope = {.handler = handler, .fd = NO_FD, .start_ns = start_ns};

	dispatch_end_at(account, hot, &scope, clock_settle(&account->clock, now_ns));
}

/*
 * Dispatches the first, and those of the same handler that follow it, `limit` in all at most; returns how many. One that
 * is out of the ordinary, as in fd_dispatch.c, is counted by itself and is the last. `quick`: the clock is the TSC, and
 * nobody listens to the probes.
 */
static inline __attribute__((always_inline)) uint32_t dispatch_run(struct stint_loop *loop,
								   struct stint_mailbox *mailbox,
								   uint32_t limit, bool quick)
{
	struct stint_meter_loop *account = loop->account;
	const uint32_t given = mailbox->first->handler, handler = known_handler(loop, given);
	struct meter_hot *hot = meter_account_hot(account, handler);
	const uint64_t begin_ns = account->clock.now_ns, behind = mailbox->waiting - 1;
	const bool tsc = quick || account->clock.tsc;
	uint64_t start_ns = begin_ns, later_ns = 0;
	uint32_t left = limit, count;

	account->window = hot->service;
	account->behind = mailbox->waiting;
	meter_account_mark(account, handler, NO_FD, start_ns);
	for (;;) {
		struct stint_post *post = pop(mailbox);
		uint64_t now_ns;

		left--;
		account->behind--;
		if (!quick)
			usdt_dispatch_begin(handler, NO_FD, start_ns);
		meter_account_wait(hot, wait_of(&account->clock, tsc, post->posted_at, start_ns));
		release(post);
		post->callback(post, 0, post->ctx);

		now_ns = quick ? clock_sample_tsc(&account->clock) : clock_sample(&account->clock);
		if (!meter_window_has(account->window, now_ns - start_ns)) {
			count = limit - left - 1;
			end_oddly(account, hot, handler, start_ns, now_ns);
			break;
		}
		account->clock.now_ns = now_ns;
		relaxed_store(&account->figures->dispatch_begin_ns, now_ns);
		if (!quick)
			usdt_dispatch_end(handler, NO_FD, now_ns - start_ns);
		histogram_bucket_add(&hot->block->histogram[STINT_METER_HANDLER_SERVICE], now_ns - start_ns);
		start_ns = now_ns;
		if (left == 0 || !mailbox->first || mailbox->first->handler != given) {
			count = limit - left;
			break;
		}
		later_ns += now_ns - begin_ns;
	}
	if (count > 0) {
		/* The odd one's begin is among them, and ended the run. */
		if (count < limit - left)
			later_ns -= start_ns - begin_ns;
		meter_account_charge_run(hot->block, count, start_ns - begin_ns, later_ns, behind);
	}
	account->dispatches += limit - left;
	return limit - left;
}

__attribute__((noinline)) static uint32_t run_quickly(struct stint_loop *loop, struct stint_mailbox *mailbox,
						      uint32_t limit)
{
	return dispatch_run(loop, mailbox, limit, true);
}

__attribute__((noinline)) static uint32_t run_carefully(struct stint_loop *loop,
							struct stint_mailbox *mailbox, uint32_t limit)
{
	return dispatch_run(loop, mailbox, limit, false);
}

static void run(struct deferral *deferral)
{
	struct stint_mailbox *mailbox =
		(struct stint_mailbox *)((char *)deferral - offsetof(struct stint_mailbox, deferral));
	struct stint_loop *loop = mailbox->object.loop;
	struct stint_post *state = AWAKE;
	uint32_t left = loop->batch_limit;
	bool quick = loop->account && loop->account->clock.tsc && !usdt_dispatches_are_watched();
	uint64_t waiting = mailbox->waiting;

	stint_mailbox_ref(mailbox); /* a callback may free it */
	take(mailbox, AWAKE);
	loop_end_own_work(loop, mailbox->waiting - waiting);
	while (left > 0 && mailbox->first) {
		if (quick) {
			left -= run_quickly(loop, mailbox, left);
		} else if (loop->account) {
			left -= run_carefully(loop, mailbox, left);
		} else {
			dispatch_unmetered(mailbox);
			left--;
		}
	}
	if (!mailbox->freed &&
	    (mailbox->first || !__atomic_compare_exchange_n(&mailbox->head, &state, IDLE, false,
							    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)))
		deferral_schedule(loop, &mailbox->deferral);
	stint_mailbox_unref(mailbox);
}

static void on_wake(struct stint_fd *source, uint32_t events, void *ctx)
{
	struct stint_mailbox *mailbox = ctx;

	(void)source;
	(void)events;
	deferral_schedule(mailbox->object.loop, &mailbox->deferral);
}

static void destroy(struct object *object)
{
	struct stint_mailbox *mailbox =
		(struct stint_mailbox *)((char *)object - offsetof(struct stint_mailbox, object));

	mailbox->freed = true;
	loop_forget(object);
	deferral_cancel(object->loop, &mailbox->deferral);
	stint_fd_free(mailbox->source);
	take(mailbox, CLOSED);
	while (mailbox->first) {
		struct stint_post *post = pop(mailbox);

		release(post);
		post->callback(post, -ECANCELED, post->ctx);
	}
	stint_mailbox_unref(mailbox);
}

/* Asked only as the loop is about to end, so mailboxes have no list of their own. */
bool post_is_there(const struct stint_loop *loop)
{
	for (const struct object *object = loop->objects.next; object != &loop->objects;
	     object = object->next) {
		const struct stint_mailbox *mailbox =
			(const struct stint_mailbox *)((const char *)object -
						       offsetof(struct stint_mailbox, object));
		if (object->destroy == destroy && __atomic_load_n(&mailbox->head, __ATOMIC_RELAXED) != IDLE)
			return true;
	}
	return false;
}

struct stint_mailbox *stint_mailbox_free(struct stint_mailbox *mailbox)
{
	if (mailbox && !mailbox->freed)
		destroy(&mailbox->object);
	return NULL;
}

int stint_mailbox_set_background(struct stint_mailbox *mailbox, bool background)
{
	return mailbox && !mailbox->freed ? stint_fd_set_background(mailbox->source, background) : -EINVAL;
}

int stint_mailbox_new(struct stint_mailbox **ret, struct stint_loop *loop)
{
	struct stint_mailbox *mailbox;
	int handler, error;

	if (!ret || !loop || loop->dead)
		return -EINVAL;
	handler = stint_loop_handler(loop, "stint.wakeup", 0);
	if (handler < 0)
		return handler;
	free_dead();
	mailbox = aligned_alloc(64, sizeof(*mailbox));
	if (!mailbox)
		return -ENOMEM;
	*mailbox = (struct stint_mailbox){.references = 1,
					  .stamp = loop->account ? clock_stamp_of(loop->clock)
								 : CLOCK_STAMP_NONE};
	mailbox->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (mailbox->wake_fd < 0) {
		error = -errno;
		free(mailbox);
		return error;
	}
	error = stint_fd_new(&mailbox->source, loop, mailbox->wake_fd, STINT_READ | STINT_EDGE,
			     (uint32_t)handler, on_wake, mailbox);
	if (error < 0) {
		stint_mailbox_unref(mailbox);
		return error;
	}
	deferral_init(&mailbox->deferral, 0, run);
	mailbox->deferral.plain = true;
	loop_add_object(loop, &mailbox->object, destroy);
	*ret = mailbox;
	return 0;
}
