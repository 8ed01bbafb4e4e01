/* SPDX-License-Identifier: MIT */
#include "address_order.h"
#include "resolve.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

/*
 * Connecting by name (RFC 8305). Addresses that were found wait in `untried`, best first; `begin_next` takes
 * one of the other family than the last, if there is one, and is called when
 *  - the first addresses have come: IPv6 at once, IPv4 after a delay in which IPv6 may still come,
 *  - an attempt has failed,
 *  - an attempt has been running for the attempt delay.
 * All is over with the first success, with the deadline, or when nothing is running and nothing left.
 */

#define NAME_BYTES          253
#define TIMEOUT_NS          UINT64_C(30000000000)
#define ATTEMPT_DELAY_NS    250000000u
#define RESOLUTION_DELAY_NS 50000000u
#define FAMILIES            2

static const int families[FAMILIES] = {AF_INET6, AF_INET};

struct candidate {
	union stint_address address;
	struct address_rank rank;
};

struct attempt {
	struct stint_connect_name *owner;
	struct stint_connect *connect; /* NULL: it has ended */
	union stint_address address;
};

struct stint_connect_name {
	struct object object;
	struct deferral deferral; /* begins with an address in figures */
	struct stint_connect_name_options options;
	stint_connect_name_callback callback;
	void *ctx;
	struct stint_lookup *lookup[FAMILIES]; /* NULL: not running */
	struct stint_timer *deadline, *step;
	uint64_t start_ns, attempt_at_ns;
	uint32_t handler;
	uint16_t port;
	sa_family_t last_family; /* of the last attempt; 0: none yet */
	bool waited;             /* for IPv6, long enough */
	bool freed;
	int name_error, last_error; /* of the lookups; of the last attempt that failed */
	uint32_t untried_count, running;
	struct candidate untried[FAMILIES * ADDRESSES_MAX];
	struct attempt attempt[FAMILIES * ADDRESSES_MAX];
	struct stint_connect_name_result result;
};

static void destroy(struct object *object)
{
	struct stint_connect_name *name = (struct stint_connect_name *)object;

	for (int i = 0; i < FAMILIES; i++)
		name->lookup[i] = lookup_free(name->lookup[i]);
	/* A loop that is freed frees attempts as it comes to them, before or after this. */
	for (uint32_t i = 0; i < name->result.attempts && !object->loop->dead; i++)
		name->attempt[i].connect = stint_connect_free(name->attempt[i].connect);
	stint_timer_free(name->deadline);
	stint_timer_free(name->step);
	deferral_cancel(object->loop, &name->deferral);
	name->freed = true;
	loop_bury(object);
}

struct stint_connect_name *stint_connect_name_free(struct stint_connect_name *name)
{
	if (name && !name->freed)
		destroy(&name->object);
	return NULL;
}

/* Everything is taken down first: the callback may free the loop. */
static void finish(struct stint_connect_name *name, int error, int fd)
{
	struct stint_connect_name_result result = name->result;
	stint_connect_name_callback callback = name->callback;
	void *ctx = name->ctx;

	result.error = error;
	result.fd = fd;
	result.took_ns = stint_loop_now_ns(name->object.loop) - name->start_ns;
	destroy(&name->object);
	callback(&result, ctx);
}

static bool looking_up(const struct stint_connect_name *name)
{
	return name->lookup[0] || name->lookup[1];
}

/* ---- attempts ---- */

/* The best of the other family than the last, or the best. */
static void take_next(struct stint_connect_name *name, union stint_address *ret)
{
	uint32_t chosen = 0;

	for (uint32_t i = 0; name->last_family && i < name->untried_count; i++) {
		if (name->untried[i].address.any.sa_family != name->last_family) {
			chosen = i;
			break;
		}
	}
	*ret = name->untried[chosen].address;
	name->untried_count--;
	memmove(&name->untried[chosen], &name->untried[chosen + 1],
		(name->untried_count - chosen) * sizeof(name->untried[0]));
}

static void on_attempt(int error, int fd, void *ctx);

static int begin_attempt(struct stint_connect_name *name)
{
	struct attempt *attempt = &name->attempt[name->result.attempts++];
	struct stint_loop *loop = name->object.loop;
	int error;

	attempt->owner = name;
	take_next(name, &attempt->address);
	name->last_family = attempt->address.any.sa_family;
	name->attempt_at_ns = stint_loop_now_ns(loop);
	error = stint_connect_new(&attempt->connect, loop, &attempt->address.any,
				  address_bytes(&attempt->address), 0, name->handler, on_attempt, attempt);
	if (error < 0) {
		name->last_error = error;
		name->result.address = attempt->address;
		return error;
	}
	name->running++;
	return 0;
}

/* Nobody is called from here but by finish(), which is the last thing to happen. */
static void begin_next(struct stint_connect_name *name)
{
	while (name->untried_count) {
		if (begin_attempt(name) == 0) {
			stint_timer_start(name->step, name->options.attempt_delay_ns, 0);
			return;
		}
	}
	if (name->running == 0 && !looking_up(name))
		finish(name, name->last_error ? name->last_error : name->name_error, -1);
}

static void on_attempt(int error, int fd, void *ctx)
{
	struct attempt *attempt = ctx;
	struct stint_connect_name *name = attempt->owner;

	attempt->connect = NULL;
	name->running--;
	name->result.address = attempt->address;
	if (error == 0) {
		finish(name, 0, fd);
		return;
	}
	name->last_error = error;
	begin_next(name);
}

static void on_step(struct stint_timer *timer, void *ctx)
{
	struct stint_connect_name *name = ctx;

	(void)timer;
	name->waited = true;
	begin_next(name);
}

static void on_deadline(struct stint_timer *timer, void *ctx)
{
	(void)timer;
	finish(ctx, -ETIMEDOUT, -1);
}

/* ---- addresses ---- */

static void add_candidate(struct stint_connect_name *name, const union stint_address *address)
{
	struct candidate candidate = {.address = *address};
	union stint_address source;
	uint32_t place = name->untried_count;

	if (address->any.sa_family == AF_INET6)
		candidate.address.ipv6.sin6_port = htons(name->port);
	else
		candidate.address.ipv4.sin_port = htons(name->port);
	candidate.rank = address_rank(&candidate.address,
				      address_find_source(&candidate.address, &source) ? &source : NULL);
	while (place > 0 && address_rank_compare(&candidate.rank, &name->untried[place - 1].rank) < 0)
		place--;
	memmove(&name->untried[place + 1], &name->untried[place],
		(name->untried_count - place) * sizeof(candidate));
	name->untried[place] = candidate;
	name->untried_count++;
	name->result.addresses++;
}

/* Of two failed lookups, the error that says more: no such name, then what may pass, then no address. */
static int worse_error(int a, int b)
{
	if (a == 0 || b == 0)
		return a ? a : b;
	if (a == -ENOENT || b == -ENOENT)
		return -ENOENT;
	return a == -ENODATA ? b : a;
}

/* New addresses, or the news that there are none. */
static void advance(struct stint_connect_name *name)
{
	if (name->running) { /* the next attempt keeps its distance to the last */
		if (name->untried_count && !stint_timer_due_ns(name->step))
			stint_timer_start_at(name->step, name->attempt_at_ns + name->options.attempt_delay_ns,
					     0);
		return;
	}
	if (name->untried_count && name->lookup[0] && !name->waited && name->result.attempts == 0) {
		stint_timer_start(name->step, name->options.resolution_delay_ns, 0);
		return;
	}
	begin_next(name);
}

static void on_lookup(struct stint_lookup *lookup, void *ctx)
{
	struct stint_connect_name *name = ctx;

	if (lookup->error < 0)
		name->name_error = worse_error(name->name_error, lookup->error);
	for (uint32_t i = 0; i < lookup->count; i++)
		add_candidate(name, &lookup->address[i]);
	if (lookup->count && !name->result.resolved_ns)
		name->result.resolved_ns = stint_loop_now_ns(name->object.loop) - name->start_ns;
	name->lookup[lookup->family == AF_INET] = NULL;
	lookup_free(lookup);
	advance(name);
}

static void on_deferral(struct deferral *deferral)
{
	begin_next((struct stint_connect_name *)((char *)deferral -
						 offsetof(struct stint_connect_name, deferral)));
}

/* ---- life ---- */

/* An address in figures, with its zone if it has one ("fe80::1%eth0"). */
static bool parse_address(const char *text, union stint_address *ret)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
	struct addrinfo *found;

	if (getaddrinfo(text, NULL, &hints, &found) != 0)
		return false;
	memcpy(ret, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	return true;
}

static int find_resolver(struct stint_connect_name *name)
{
	struct stint_loop *loop = name->object.loop;
	int error = 0;

	if (name->options.resolver)
		return 0;
	if (!loop->resolver)
		error = stint_thread_resolver_new(&loop->resolver, loop, NULL);
	name->options.resolver = loop->resolver;
	return error;
}

static int begin_lookups(struct stint_connect_name *name, const char *text)
{
	int error = find_resolver(name);

	for (int i = 0; i < FAMILIES && error == 0; i++)
		if (!name->options.family || name->options.family == families[i])
			error = lookup_new(&name->lookup[i], name->options.resolver, text, families[i],
					   name->handler, on_lookup, name);
	return error;
}

static int begin(struct stint_connect_name *name, const char *text)
{
	struct stint_loop *loop = name->object.loop;
	union stint_address address;
	int error = stint_timer_new(&name->step, loop, name->handler, on_step, name);

	if (error == 0)
		error = stint_timer_new(&name->deadline, loop, name->handler, on_deadline, name);
	if (error == 0)
		error = stint_timer_start(name->deadline, name->options.timeout_ns, 0);
	if (error < 0 || !parse_address(text, &address))
		return error < 0 ? error : begin_lookups(name, text);
	if (name->options.family && name->options.family != address.any.sa_family)
		name->name_error = -ENODATA;
	else
		add_candidate(name, &address);
	deferral_schedule(loop, &name->deferral);
	return 0;
}

static int take_options(struct stint_connect_name_options *ret,
			const struct stint_connect_name_options *given, const struct stint_loop *loop)
{
	int error = options_take(ret, sizeof(*ret), given);

	if (error < 0)
		return error;
	if (!ret->timeout_ns)
		ret->timeout_ns = TIMEOUT_NS;
	if (!ret->attempt_delay_ns)
		ret->attempt_delay_ns = ATTEMPT_DELAY_NS;
	if (!ret->resolution_delay_ns)
		ret->resolution_delay_ns = RESOLUTION_DELAY_NS;
	if (ret->family != AF_UNSPEC && ret->family != AF_INET && ret->family != AF_INET6)
		return -EINVAL;
	return ret->resolver && !resolver_serves(ret->resolver, loop) ? -EINVAL : 0;
}

int stint_connect_name_new(struct stint_connect_name **ret, struct stint_loop *loop, const char *text,
			   uint16_t port, const struct stint_connect_name_options *given, uint32_t handler,
			   stint_connect_name_callback callback, void *ctx)
{
	struct stint_connect_name_options options;
	struct stint_connect_name *name;
	size_t bytes = text ? strnlen(text, NAME_BYTES + 1) : 0;
	int error;

	if (!ret || !loop || loop->dead || bytes == 0 || bytes > NAME_BYTES || port == 0 || !callback ||
	    !loop_handler_valid(loop, handler) || take_options(&options, given, loop) < 0)
		return -EINVAL;
	name = calloc(1, sizeof(*name));
	if (!name)
		return -ENOMEM;
	name->options = options;
	name->handler = handler;
	name->port = port;
	name->callback = callback;
	name->ctx = ctx;
	name->start_ns = stint_loop_now_ns(loop);
	deferral_init(&name->deferral, handler, on_deferral);
	loop_add_object(loop, &name->object, destroy);
	error = begin(name, text);
	if (error < 0) {
		destroy(&name->object);
		return error;
	}
	*ret = name;
	return 0;
}

const char *stint_connect_name_error(int error)
{
	switch (error) {
	case -ENOENT:
		return "no such host name";
	case -ENODATA:
		return "the host name has no address";
	case -EREMOTEIO:
		return "no answer from a name server";
	default:
		return strerrordesc_np(-error) ? strerrordesc_np(-error) : "unknown error";
	}
}
