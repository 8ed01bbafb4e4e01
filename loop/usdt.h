/* SPDX-License-Identifier: MIT */
#ifndef USDT_H
#define USDT_H

/*
 * USDT probes, provider "stint": one nop each while nobody listens. For bpftrace, perf and SystemTap:
 *
 *	dispatch_begin(u32 handler, s32 fd, u64 start_ns)
 *	dispatch_end(u32 handler, s32 fd, u64 service_ns)
 *	overrun(char *handler_name, s32 fd, u64 duration_ns, u64 budget_ns, u64 victims)
 *
 * `handler` is the index that stint_meter_handler() gave, `fd` -1 where there is none. Made with Debian's
 * systemtap-sdt-dev, a header alone; built without it, the library has no probes.
 */

#include <stdint.h>

#if defined(__has_include)
#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#endif
#endif

/* The header's macros take arguments in a way that clang calls an extension. */
#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wgnu-zero-variadic-macro-arguments"
#endif

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
