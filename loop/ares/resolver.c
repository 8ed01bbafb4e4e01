/* SPDX-License-Identifier: MIT */
#include <ares.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <stint/ares.h>
#include <string.h>
#include <sys/time.h>

/*
 * c-ares on a loop, by nothing but the loop's public functions. c-ares says which sockets it wants watched,
 * and when it wants to be called at the latest.
 *
 * A query of c-ares cannot be cancelled alone: one that nobody wants any more is left to end by itself while
 * others go on, and with the last that is wanted all are cancelled, so that none keeps the loop running.
 */

#define ADDRESSES_MAX 32u

struct watched {
	struct watched *next;
	struct stint_fd *source;
	ares_socket_t socket;
};

struct resolver {
	struct stint_loop *loop;
	struct stint_timer *timer;
	ares_channel channel;
	struct watched *watched;
	uint32_t handler;
	uint32_t wanted;
};

struct query {
	struct resolver *resolver;
	struct stint_lookup *lookup; /* NULL: nobody wants it any more */
};

/* ---- what c-ares waits for ---- */

/* After whatever c-ares may have done. */
static void settle(struct resolver *resolver)
{
	struct timeval left, *next;

	if (resolver->wanted == 0)
		ares_cancel(resolver->channel);
	next = ares_timeout(resolver->channel, NULL, &left);
	if (next)
		stint_timer_start(resolver->timer,
				  (uint64_t)next->tv_sec * 1000000000u + (uint64_t)next->tv_usec * 1000u, 0);
	else
		stint_timer_stop(resolver->timer);
}

static void on_timer(struct stint_timer *timer, void *ctx)
{
	struct resolver *resolver = ctx;

	(void)timer;
	ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	settle(resolver);
}

static void on_ready(struct stint_fd *source, uint32_t events, void *ctx)
{
	struct resolver *resolver = ctx;
	ares_socket_t socket = stint_fd_descriptor(source);
	bool failed = events & (STINT_ERROR | STINT_HANGUP);

	ares_process_fd(resolver->channel, failed || (events & STINT_READ) ? socket : ARES_SOCKET_BAD,
			failed || (events & STINT_WRITE) ? socket : ARES_SOCKET_BAD);
	settle(resolver);
}

static struct watched **find_watched(struct resolver *resolver, ares_socket_t socket)
{
	struct watched **at = &resolver->watched;

	while (*at && (*at)->socket != socket)
		at = &(*at)->next;
	return at;
}

/* A socket that cannot be watched for want of memory makes its query time out. */
static void watch(struct resolver *resolver, ares_socket_t socket, uint32_t events)
{
	struct watched *fresh = calloc(1, sizeof(*fresh));

	if (!fresh)
		return;
	if (stint_fd_new(&fresh->source, resolver->loop, socket, events, resolver->handler, on_ready,
			 resolver) < 0) {
		free(fresh);
		return;
	}
	fresh->socket = socket;
	fresh->next = resolver->watched;
	resolver->watched = fresh;
}

static void on_socket(void *ctx, ares_socket_t socket, int readable, int writable)
{
	struct resolver *resolver = ctx;
	struct watched **at = find_watched(resolver, socket), *found = *at;
	uint32_t events = (readable ? STINT_READ : 0) | (writable ? STINT_WRITE : 0);

	if (!found && events) {
		watch(resolver, socket, events);
		return;
	}
	if (!found)
		return;
	if (events) {
		stint_fd_set_events(found->source, events);
		return;
	}
	*at = found->next;
	stint_fd_free(found->source);
	free(found);
}

/* ---- queries ---- */

static int translate_error(int status)
{
	switch (status) {
	case ARES_SUCCESS:
		return 0;
	case ARES_ENOTFOUND:
	case ARES_EBADNAME: /* none can be called so, as getaddrinfo() says, too */
		return -ENOENT;
	case ARES_ENODATA:
		return -ENODATA;
	case ARES_ENOMEM:
		return -ENOMEM;
	default:
		return -EREMOTEIO;
	}
}

static void on_answer(void *ctx, int status, int timeouts, struct ares_addrinfo *found)
{
	union stint_address addresses[ADDRESSES_MAX];
	struct query *query = ctx;
	uint32_t count = 0;

	(void)timeouts;
	if (query->lookup) {
		for (const struct ares_addrinfo_node *at = found ? found->nodes : NULL;
		     at && count < ADDRESSES_MAX; at = at->ai_next)
			if (at->ai_addrlen <= sizeof(addresses[0]))
				memcpy(&addresses[count++], at->ai_addr, at->ai_addrlen);
		query->resolver->wanted--;
		stint_lookup_done(query->lookup, translate_error(status), addresses, count);
	}
	if (found)
		ares_freeaddrinfo(found);
	free(query);
}

/* `*ret_query` is written first: an answer that is known at once frees the query in ares_getaddrinfo(). */
static int start(void *backend, struct stint_lookup *lookup, const char *name, int family, void **ret_query)
{
	const struct ares_addrinfo_hints hints = {.ai_family = family,
						  .ai_socktype = SOCK_STREAM,
						  .ai_flags = ARES_AI_NOSORT};
	struct resolver *resolver = backend;
	struct query *query = malloc(sizeof(*query));

	if (!query)
		return -ENOMEM;
	*query = (struct query){.resolver = resolver, .lookup = lookup};
	*ret_query = query;
	resolver->wanted++;
	ares_getaddrinfo(resolver->channel, name, NULL, &hints, on_answer, query);
	settle(resolver);
	return 0;
}

static void cancel(void *backend, void *handle)
{
	struct resolver *resolver = backend;
	struct query *query = handle;

	query->lookup = NULL;
	if (--resolver->wanted == 0)
		settle(resolver);
}

/* ---- life ---- */

static void free_resolver(void *backend)
{
	struct resolver *resolver = backend;

	if (resolver->channel)
		ares_destroy(resolver->channel); /* takes its sockets off the loop */
	stint_timer_free(resolver->timer);
	free(resolver);
}

static int translate_open_error(int status)
{
	return status == ARES_ENOMEM ? -ENOMEM : -EINVAL;
}

static int open_channel(struct resolver *resolver, const struct stint_ares_options *options)
{
	struct ares_options given = {.sock_state_cb = on_socket,
				     .sock_state_cb_data = resolver,
				     .timeout = (int)options->try_ms,
				     .tries = (int)options->tries};
	int mask = ARES_OPT_SOCK_STATE_CB | (options->try_ms ? ARES_OPT_TIMEOUTMS : 0) |
		   (options->tries ? ARES_OPT_TRIES : 0);
	int status = ares_init_options(&resolver->channel, &given, mask);

	if (status != ARES_SUCCESS) {
		resolver->channel = NULL;
		return translate_open_error(status);
	}
	if (options->servers)
		status = ares_set_servers_ports_csv(resolver->channel, options->servers);
	return status == ARES_SUCCESS ? 0 : translate_open_error(status);
}

/* For good: ending c-ares and beginning it again is not safe while other threads use it. */
static void begin_library(void)
{
	ares_library_init(ARES_LIB_INIT_ALL);
}

/* As all options here are older than the library, a longer struct of a newer caller must ask for nothing. */
static int take_options(struct stint_ares_options *ret, const struct stint_ares_options *given)
{
	const unsigned char *bytes = (const unsigned char *)given;

	*ret = (struct stint_ares_options){0};
	if (!given)
		return 0;
	if (given->size < sizeof(given->size))
		return -EINVAL;
	for (size_t i = sizeof(*ret); i < given->size; i++)
		if (bytes[i])
			return -EINVAL;
	memcpy(ret, given, given->size < sizeof(*ret) ? given->size : sizeof(*ret));
	if (ret->servers && !*ret->servers) /* c-ares takes it for no servers at all */
		return -EINVAL;
	return ret->try_ms > INT32_MAX || ret->tries > INT32_MAX ? -EINVAL : 0;
}

int stint_ares_resolver_new(struct stint_resolver **ret, struct stint_loop *loop,
			    const struct stint_ares_options *given, uint32_t handler)
{
	static const struct stint_resolver_backend operations = {.start = start,
								 .cancel = cancel,
								 .free = free_resolver};
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct stint_ares_options options;
	struct resolver *resolver;
	int error;

	if (!ret || !loop || take_options(&options, given) < 0)
		return -EINVAL;
	pthread_once(&once, begin_library);
	resolver = calloc(1, sizeof(*resolver));
	if (!resolver)
		return -ENOMEM;
	resolver->loop = loop;
	resolver->handler = handler;
	error = stint_timer_new(&resolver->timer, loop, handler, on_timer, resolver);
	if (error == 0)
		error = open_channel(resolver, &options);
	if (error == 0)
		error = stint_resolver_new(ret, loop, &operations, resolver);
	if (error < 0)
		free_resolver(resolver);
	return error;
}
