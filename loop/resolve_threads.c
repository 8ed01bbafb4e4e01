/* SPDX-License-Identifier: MIT */
#include "resolve.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/*
 * getaddrinfo() in threads. It may take half a minute and cannot be interrupted, so nobody ever waits for it:
 * that is why these are not jobs of a pool. What is cancelled is forgotten, and the thread that comes back
 * with it throws it away; what threads and loop share lives until the last of them has let go. Only a program that ends, or
 * unloads this library, may have to wait for them.
 *
 * The eventfd is watched only while an answer is wanted, so that a loop with nothing else to do can end.
 */

#define THREADS_DEFAULT 16u
#define THREADS_MAX     1024u
/* Beyond so many threads with a lookup that was given up, it counts as any other. */
#define GIVEN_UP_MAX 256u

/*
 * All such threads of the process. One that ends joins the one that ended before it, so the last to end is the only
 * one that is left to be joined.
 */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint32_t running;
	bool any_ended;
	pthread_t ended;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

enum query_state { QUERY_WAITING, QUERY_RUNNING, QUERY_DONE };

struct query {
	struct query *next;
	struct stint_lookup *lookup; /* NULL: nobody wants it any more */
	enum query_state state;
	int family, error;
	uint32_t count;
	union stint_address address[ADDRESSES_MAX];
	char name[];
};

struct query_list {
	struct query *first, **end;
};

struct shared {
	pthread_mutex_t lock; /* of all of this, and of what queries have in it */
	struct query_list waiting, done;
	uint32_t threads, thread_limit;
	uint32_t given_up;   /* of the threads, those whose lookup nobody wants any more */
	uint32_t references; /* threads, and the resolver */
	int wake;
};

struct thread_resolver {
	struct stint_loop *loop;
	struct shared *shared;
	struct stint_fd *source; /* NULL: no answer is wanted */
	uint32_t wanted;
};

static void list_init(struct query_list *list)
{
	list->first = NULL;
	list->end = &list->first;
}

static void list_append(struct query_list *list, struct query *query)
{
	query->next = NULL;
	*list->end = query;
	list->end = &query->next;
}

static struct query *list_take(struct query_list *list)
{
	struct query *query = list->first;

	if (query) {
		list->first = query->next;
		if (!list->first)
			list->end = &list->first;
	}
	return query;
}

/* Unlocks, too. */
static void release_shared(struct shared *shared)
{
	bool last = --shared->references == 0;

	pthread_mutex_unlock(&shared->lock);
	if (!last)
		return;
	pthread_mutex_destroy(&shared->lock);
	close(shared->wake);
	free(shared);
}

/* ---- all threads ---- */

static void before_fork(void)
{
	pthread_mutex_lock(&all.lock);
}

static void in_parent(void)
{
	pthread_mutex_unlock(&all.lock);
}

/* It has none of them. */
static void in_child(void)
{
	pthread_mutex_init(&all.lock, NULL);
	pthread_cond_init(&all.changed, NULL);
	all.running = 0;
	all.any_ended = false;
}

static void watch_forks(void)
{
	pthread_atfork(before_fork, in_parent, in_child);
}

/* Called with the lock, which is let go of; joins the last that ended, in whose place is the calling thread if `ends`. */
static void join_last(bool ends)
{
	bool any = all.any_ended;
	pthread_t last = all.ended;

	all.any_ended = ends;
	all.ended = pthread_self();
	pthread_mutex_unlock(&all.lock);
	if (any)
		pthread_join(last, NULL);
}

static void end_thread(void)
{
	pthread_mutex_lock(&all.lock);
	if (--all.running == 0)
		pthread_cond_broadcast(&all.changed);
	join_last(true);
}

/* It does not wait for those that run. */
static void join_ended(void)
{
	pthread_mutex_lock(&all.lock);
	join_last(false);
}

void stint_thread_resolver_wait(void)
{
	pthread_mutex_lock(&all.lock);
	while (all.running > 0)
		pthread_cond_wait(&all.changed, &all.lock);
	join_last(false);
}

/* ---- in a thread ---- */

static int translate_error(int error)
{
	switch (error) {
	case EAI_NONAME:
		return -ENOENT;
	case EAI_NODATA:
	case EAI_ADDRFAMILY:
		return -ENODATA;
	case EAI_MEMORY:
		return -ENOMEM;
	case EAI_SYSTEM:
		return errno ? -errno : -EREMOTEIO;
	default:
		return -EREMOTEIO;
	}
}

static void look_up(struct query *query)
{
	struct addrinfo hints = {.ai_family = query->family, .ai_socktype = SOCK_STREAM}, *found;
	int error = getaddrinfo(query->name, NULL, &hints, &found);

	if (error) {
		query->error = translate_error(error);
		return;
	}
	for (const struct addrinfo *at = found; at && query->count < ADDRESSES_MAX; at = at->ai_next)
		if (at->ai_addrlen <= sizeof(query->address[0]))
			memcpy(&query->address[query->count++], at->ai_addr, at->ai_addrlen);
	freeaddrinfo(found);
}

/* Called with the lock held. Below 0, where a lookup that was given up has come back after others took its place. */
static int32_t threads_to_spare(const struct shared *shared)
{
	uint32_t given_up = shared->given_up < GIVEN_UP_MAX ? shared->given_up : GIVEN_UP_MAX;

	return (int32_t)(shared->thread_limit + given_up - shared->threads);
}

/* Whether the loop is to be woken for it. */
static bool hand_in(struct shared *shared, struct query *query)
{
	if (!query->lookup) {
		shared->given_up--;
		free(query);
		return false;
	}
	query->state = QUERY_DONE;
	list_append(&shared->done, query);
	return true;
}

static void *run(void *ctx)
{
	struct shared *shared = ctx;
	struct query *query;

	pthread_mutex_lock(&shared->lock);
	while (threads_to_spare(shared) >= 0 && (query = list_take(&shared->waiting))) {
		query->state = QUERY_RUNNING;
		pthread_mutex_unlock(&shared->lock);
		look_up(query);
		pthread_mutex_lock(&shared->lock);
		/* An eventfd takes 2^64 - 2 of these before it would block. */
		if (hand_in(shared, query))
			(void)eventfd_write(shared->wake, 1);
	}
	shared->threads--;
	release_shared(shared);
	end_thread();
	return NULL;
}

/* ---- in the loop ---- */

/* Called with the lock held. Threads get none of the program's signals. */
static int start_thread(struct shared *shared)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	sigset_t every, before;
	pthread_t thread;
	int error;

	pthread_once(&once, watch_forks);
	sigfillset(&every);
	pthread_sigmask(SIG_SETMASK, &every, &before);
	pthread_mutex_lock(&all.lock);
	error = pthread_create(&thread, NULL, run, shared);
	all.running += error == 0;
	pthread_mutex_unlock(&all.lock);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		return -error;
	shared->threads++;
	shared->references++;
	return 0;
}

/* Called with the lock held, in place of threads whose lookup was given up. If none can be had, those are waited for. */
static void start_for_waiting(struct shared *shared)
{
	for (const struct query *query = shared->waiting.first; query && threads_to_spare(shared) > 0;
	     query = query->next)
		if (start_thread(shared) < 0)
			return;
}

static void want_less(struct thread_resolver *resolver)
{
	if (--resolver->wanted == 0)
		resolver->source = stint_fd_free(resolver->source);
}

static void on_wake(struct stint_fd *source, uint32_t events, void *ctx)
{
	struct thread_resolver *resolver = ctx;
	struct shared *shared = resolver->shared;
	struct query_list done;
	struct query *query;
	eventfd_t count;

	(void)events;
	pthread_mutex_lock(&shared->lock);
	if (source->registered) /* else it was closed, and its number may be another file's */
		(void)eventfd_read(shared->wake, &count);
	done = shared->done;
	if (!done.first)
		done.end = &done.first;
	list_init(&shared->done);
	start_for_waiting(shared);
	pthread_mutex_unlock(&shared->lock);
	while ((query = list_take(&done))) {
		if (query->lookup) {
			stint_lookup_done(query->lookup, query->error, query->address, query->count);
			want_less(resolver);
		}
		free(query);
	}
}

static int watch(struct thread_resolver *resolver)
{
	if (resolver->source)
		return 0;
	return stint_fd_new(&resolver->source, resolver->loop, resolver->shared->wake, STINT_READ, 0, on_wake,
			    resolver);
}

/* One thread more if all that exist may be busy; without any, the lookup cannot be. */
static int submit(struct shared *shared, struct query *query)
{
	int error = 0;

	pthread_mutex_lock(&shared->lock);
	if (threads_to_spare(shared) > 0)
		error = start_thread(shared);
	if (shared->threads > 0) {
		list_append(&shared->waiting, query);
		error = 0;
	}
	pthread_mutex_unlock(&shared->lock);
	return error;
}

static int start(void *backend, struct stint_lookup *lookup, const char *name, int family, void **ret_query)
{
	struct thread_resolver *resolver = backend;
	size_t bytes = strlen(name) + 1;
	struct query *query = calloc(1, sizeof(*query) + bytes);
	int error;

	if (!query)
		return -ENOMEM;
	query->lookup = lookup;
	query->family = family;
	memcpy(query->name, name, bytes);
	error = watch(resolver);
	if (error < 0) {
		free(query);
		return error;
	}
	resolver->wanted++;
	error = submit(resolver->shared, query);
	if (error < 0) {
		want_less(resolver);
		free(query);
		return error;
	}
	*ret_query = query;
	return 0;
}

static void forget_waiting(struct shared *shared, const struct query *query)
{
	struct query **at = &shared->waiting.first;

	while (*at && *at != query)
		at = &(*at)->next;
	if (!*at)
		return;
	*at = query->next;
	if (!*at)
		shared->waiting.end = at;
}

/*
 * Its thread may be long in coming back. Who waits gets another by the loop's next iteration, and not here, where many may
 * be given up in turn.
 */
static void give_up_running(struct shared *shared)
{
	shared->given_up++;
	if (shared->waiting.first)
		(void)eventfd_write(shared->wake, 1);
}

static void cancel(void *backend, void *handle)
{
	struct thread_resolver *resolver = backend;
	struct query *query = handle;
	bool waiting;

	pthread_mutex_lock(&resolver->shared->lock);
	query->lookup = NULL;
	waiting = query->state == QUERY_WAITING;
	if (waiting)
		forget_waiting(resolver->shared, query);
	else if (query->state == QUERY_RUNNING)
		give_up_running(resolver->shared);
	pthread_mutex_unlock(&resolver->shared->lock);
	if (waiting)
		free(query);
	want_less(resolver);
}

static void free_resolver(void *backend)
{
	struct thread_resolver *resolver = backend;
	struct query *query;

	stint_fd_free(resolver->source);
	pthread_mutex_lock(&resolver->shared->lock);
	while ((query = list_take(&resolver->shared->done)))
		free(query);
	release_shared(resolver->shared);
	free(resolver);
	join_ended();
}

static struct shared *make_shared(uint32_t threads)
{
	struct shared *shared = calloc(1, sizeof(*shared));

	if (!shared)
		return NULL;
	shared->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (shared->wake < 0) {
		free(shared);
		return NULL;
	}
	pthread_mutex_init(&shared->lock, NULL);
	list_init(&shared->waiting);
	list_init(&shared->done);
	shared->thread_limit = threads ? threads : THREADS_DEFAULT;
	shared->references = 1;
	return shared;
}

int stint_thread_resolver_new(struct stint_resolver **ret, struct stint_loop *loop,
			      const struct stint_thread_resolver_options *given)
{
	static const struct stint_resolver_backend operations = {.start = start,
								 .cancel = cancel,
								 .free = free_resolver};
	struct stint_thread_resolver_options options;
	struct thread_resolver *resolver;
	int error;

	if (!ret || !loop || options_take(&options, sizeof(options), given) < 0 ||
	    options.threads > THREADS_MAX)
		return -EINVAL;
	resolver = calloc(1, sizeof(*resolver));
	if (!resolver)
		return -ENOMEM;
	resolver->loop = loop;
	errno = ENOMEM;
	resolver->shared = make_shared(options.threads);
	error = resolver->shared ? stint_resolver_new(ret, loop, &operations, resolver) : -errno;
	if (error < 0) {
		if (resolver->shared)
			free_resolver(resolver);
		else
			free(resolver);
	}
	return error;
}
