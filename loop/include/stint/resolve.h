/* SPDX-License-Identifier: MIT */
#ifndef STINT_RESOLVE_H
#define STINT_RESOLVE_H

/*
 * Connecting by name, without blocking the loop: RFC 8305 ("happy eyeballs"). And the addresses of a name, for whoever
 * does anything else with them.
 *
 * IPv6 and IPv4 addresses are looked up side by side. Connecting begins with the best address by RFC 6724,
 * alternates between the families, and does not wait for an attempt to fail: the next one begins a quarter
 * of a second later, and the first that succeeds wins. A deadline covers all of it.
 *
 * Who looks names up is a *resolver*. Without one of its own, a loop has getaddrinfo() called in threads: it
 * needs nothing but libc and obeys all of the system's configuration (nsswitch.conf, hosts, mDNS). A lookup
 * that was cancelled holds up nobody, though its thread stays in getaddrinfo() until libc gives up: another
 * takes its place, for up to 256 such threads at a time. The other resolver is c-ares, in a library of its own
 * (stint/ares.h), whose sockets are watched by the loop: no threads, and a lookup that is cancelled is over.
 * Any other can be put in its place (stint_resolver_new()).
 *
 * Rules for callbacks, errors and threads as in loop.h.
 */

#include <netinet/in.h>
#include <stint/loop.h>

#ifdef __cplusplus
extern "C" {
#endif

struct stint_resolver;
struct stint_lookup;
struct stint_connect_name;
struct stint_resolve;

union stint_address {
	struct sockaddr any; /* its sa_family says which */
	struct sockaddr_in ipv4;
	struct sockaddr_in6 ipv6;
};

/* ---- connecting ---- */

struct stint_connect_name_options {
	size_t size;                     /* sizeof(struct stint_connect_name_options) */
	struct stint_resolver *resolver; /* on the same loop; NULL: the loop's own, on threads */
	uint64_t timeout_ns;             /* for all of it; 0: 30 s */
	uint64_t attempt_delay_ns;       /* from an attempt to the next; 0: 250 ms */
	uint64_t resolution_delay_ns;    /* IPv4 waits so long for IPv6 to be looked up; 0: 50 ms */
	int family;                      /* AF_INET or AF_INET6: only this one; 0: both */
};

struct stint_connect_name_result {
	int error; /* 0 or a negative errno */
	int fd;    /* connected, non-blocking, close-on-exec, the callback's; -1 if there is an error */
	union stint_address
		address;      /* of the attempt that succeeded, or of the last that failed; family 0: none */
	uint32_t addresses;   /* found */
	uint32_t attempts;    /* begun */
	uint64_t resolved_ns; /* from the call to the first addresses; 0: none came, or none was looked up */
	uint64_t took_ns;     /* from the call to this */
};

/*
 * How a name was not found is told apart from how connecting failed, which is the error of the last attempt:
 *   -ENOENT     no such name (NXDOMAIN)
 *   -ENODATA    the name exists, but has no address of the families asked for; or it is one of another family itself
 *   -EREMOTEIO  no name server gave an answer that can be used
 *   -ETIMEDOUT  the deadline, or that of the last attempt
 *   -ECANCELED  the resolver was freed
 */
typedef void (*stint_connect_name_callback)(const struct stint_connect_name_result *result, void *ctx);

/*
 * Connects to `port` of `name`: a host's name as DNS has it (international ones in their ASCII form), or an
 * address in figures, for which nothing is looked up. The callback is called once, from the loop and never
 * from within this call. The handle is dead when it is called, and `result` is gone after it.
 * -EINVAL: a name that is empty or longer than 253 bytes, port 0, a resolver of another loop; -ENOMEM,
 * -EMFILE and what the resolver says.
 */
STINT_API int stint_connect_name_new(struct stint_connect_name **ret, struct stint_loop *loop,
				     const char *name, uint16_t port,
				     const struct stint_connect_name_options *options, uint32_t handler,
				     stint_connect_name_callback callback, void *ctx);

/* Gives up, at whatever stage: the callback will not be called. */
STINT_API struct stint_connect_name *stint_connect_name_free(struct stint_connect_name *connect);

/* An error of a result in words: those of names as above, any other as strerror() says. Thread-safe. */
STINT_API const char *stint_connect_name_error(int error);

/* ---- looking up ---- */

struct stint_resolve_options {
	size_t size;                     /* sizeof(struct stint_resolve_options) */
	struct stint_resolver *resolver; /* on the same loop; NULL: the loop's own, on threads */
	uint64_t timeout_ns;             /* 0: 30 s */
	int family;                      /* AF_INET or AF_INET6: only this one; 0: both */
};

struct stint_resolve_result {
	int error;      /* 0, with at least one address; or as of connecting, with none */
	uint32_t count; /* at most 64 */
	const union stint_address
		*addresses; /* best first (RFC 6724), with the port; valid during the call */
	uint64_t took_ns;   /* from the call to this */
};

typedef void (*stint_resolve_callback)(const struct stint_resolve_result *result, void *ctx);

/*
 * Looks up the addresses of `name`, as stint_connect_name_new() does: for a datagram socket, a listener, one of several
 * servers. `port`, which may be 0, is only put into them. An address in figures is not looked up. If one family is found
 * and the other not, or not in time, that is no error. The callback is called once, from the loop and never from within
 * this call. The handle is dead when it is called.
 * -EINVAL: a name that is empty or longer than 253 bytes, a resolver of another loop; -ENOMEM, -EMFILE and what the
 * resolver says.
 */
STINT_API int stint_resolve_new(struct stint_resolve **ret, struct stint_loop *loop, const char *name,
				uint16_t port, const struct stint_resolve_options *options, uint32_t handler,
				stint_resolve_callback callback, void *ctx);

/* Gives up: the callback will not be called. */
STINT_API struct stint_resolve *stint_resolve_free(struct stint_resolve *resolve);

/* ---- resolvers ---- */

/*
 * What a resolver has to do; all is called in the loop's thread.
 *
 * `start` begins to look up the addresses of `family` (AF_INET or AF_INET6) of `name`, which is valid during
 * the call, and may leave a handle of its own in `ret_query`. It answers by calling stint_lookup_done() once,
 * at once or later; or it returns a negative errno, and does not.
 *
 * `cancel` gets that handle of a lookup that has not been answered: it must not be answered any more.
 *
 * `free` is called when the resolver is freed, or the loop is; all lookups were cancelled before.
 */
struct stint_resolver_backend {
	int (*start)(void *backend, struct stint_lookup *lookup, const char *name, int family,
		     void **ret_query);
	void (*cancel)(void *backend, void *query);
	void (*free)(void *backend);
};

/* `operations` is copied. -EINVAL, -ENOMEM: `backend` is still the caller's. */
STINT_API int stint_resolver_new(struct stint_resolver **ret, struct stint_loop *loop,
				 const struct stint_resolver_backend *operations, void *backend);

/* Lookups that it has not answered end in -ECANCELED. Freeing the loop does the same. */
STINT_API struct stint_resolver *stint_resolver_free(struct stint_resolver *resolver);

/*
 * Answers a lookup: `error` 0 and addresses, which are copied (ports do not matter; at most 32 are used),
 * or one of the errors of names above. No address is -ENODATA. The loop's thread.
 */
STINT_API void stint_lookup_done(struct stint_lookup *lookup, int error, const union stint_address *addresses,
				 uint32_t count);

struct stint_thread_resolver_options {
	size_t size;      /* sizeof(struct stint_thread_resolver_options) */
	uint32_t threads; /* most lookups at a time, but for those given up; more wait. 0: 16, at most 1024 */
};

/* getaddrinfo() in threads that exist only while there is something to look up. -EINVAL, -ENOMEM, -EMFILE. */
STINT_API int stint_thread_resolver_new(struct stint_resolver **ret, struct stint_loop *loop,
					const struct stint_thread_resolver_options *options);

/*
 * Waits until no lookup by such threads runs any more, whichever loop it is or was of: nobody can interrupt
 * getaddrinfo(), so one that is given up ends on its own, after half a minute perhaps. Else there is no need to wait
 * for it; but a program that unloads the library has to, and one under a leak checker will, after its loops have
 * ended. Any thread. In a child by fork() there are none.
 */
STINT_API void stint_thread_resolver_wait(void);

#ifdef __cplusplus
}
#endif

#endif
