/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */

/* Programs that do nothing: what it costs to trace system calls at all. */

#include "probes/bpf/kernel.h"
#include <bpf/bpf_helpers.h>

SEC("tp_btf/sys_enter")
int on_enter(void *ctx)
{
	(void)ctx;
	return 0;
}

SEC("tp_btf/sys_exit")
int on_exit(void *ctx)
{
	(void)ctx;
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
