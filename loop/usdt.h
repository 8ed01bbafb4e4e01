/* SPDX-License-Identifier: MIT */
#ifndef USDT_H
#define USDT_H

/*
 * USDT probes, provider "stint". For bpftrace, perf and SystemTap:
 *
 *	dispatch_begin(u32 handler, s32 fd, u64 start_ns)
 *	dispatch_end(u32 handler, s32 fd, u64 service_ns)
 *	overrun(char *handler_name, s32 fd, u64 duration_ns, u64 budget_ns, u64 victims)
 *
 * `handler` is the index that stint_meter_handler() gave, `fd` -1 where there is none. Made with Debian's
 * systemtap-sdt-dev, a header alone; built without it, the library has no probes.
 *
 * Each has a semaphore, in which whoever listens is counted: the hottest loop has none of them while it is 0. Elsewhere
 * each is a nop.
 */

#include <stdbool.h>
#include <stdint.h>

/* usdt.c; written by the kernel */
#define USDT_SEMAPHORE __attribute__((visibility("hidden"))) extern unsigned short
USDT_SEMAPHORE stint_dispatch_begin_semaphore;
USDT_SEMAPHORE stint_dispatch_end_semaphore;
USDT_SEMAPHORE stint_overrun_semaphore;

#if defined(__has_include)
#if __has_include(<sys/sdt.h>)
#define _SDT_HAS_SEMAPHORES 1
#include <sys/sdt.h>
#endif
#endif

/* The header's macros take arguments in a way that clang calls an extension. */
#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wgnu-zero-variadic-macro-arguments"
#endif

/* Whether anybody listens to dispatch_begin or dispatch_end. */
static inline bool usdt_dispatches_are_watched(void)
{
	return __atomic_load_n(&stint_dispatch_begin_semaphore, __ATOMIC_RELAXED) ||
	       __atomic_load_n(&stint_dispatch_end_semaphore, __ATOMIC_RELAXED);
}

static inline void usdt_dispatch_begin(uint32_t handler, int32_t fd, uint64_t start_ns)
{
#if defined(STAP_PROBE3)
	STAP_PROBE3(stint, dispatch_begin, handler, fd, start_ns);
#else
	(void)handler, (void)fd, (void)start_ns;
#endif
}

static inline void usdt_dispatch_end(uint32_t handler, int32_t fd, uint64_t service_ns)
{
#if defined(STAP_PROBE3)
	STAP_PROBE3(stint, dispatch_end, handler, fd, service_ns);
#else
	(void)handler, (void)fd, (void)service_ns;
#endif
}

static inline void usdt_overrun(const char *handler_name, int32_t fd, uint64_t duration_ns,
				uint64_t budget_ns, uint64_t victims)
{
#if defined(STAP_PROBE5)
	STAP_PROBE5(stint, overrun, handler_name, fd, duration_ns, budget_ns, victims);
#else
	(void)handler_name, (void)fd, (void)duration_ns, (void)budget_ns, (void)victims;
#endif
}

#if defined(__clang__)
#pragma clang diagnostic pop
#endif

#endif
