/* SPDX-License-Identifier: MIT */
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "probes/capabilities.h"
#include "probes/probes.h"

static bool has_tracepoint(const struct btf *btf, const char *name)
{
	char typedef_name[64];

	snprintf(typedef_name, sizeof(typedef_name), "btf_trace_%s", name);
	return btf__find_by_name_kind(btf, typedef_name, BTF_KIND_TYPEDEF) > 0;
}

static int refuse(struct stint_probes_support *ret, int err, const char *why)
{
	snprintf(ret->why, sizeof(ret->why), "%s", why);
	return err;
}

int stint_probes_supported(struct stint_probes_support *ret)
{
	bool root = stint_has_capability(STINT_CAP_SYS_ADMIN);
	struct btf *btf;

	memset(ret, 0, sizeof(*ret));
	ret->privileges =
		root || (stint_has_capability(STINT_CAP_BPF) && stint_has_capability(STINT_CAP_PERFMON) &&
			 stint_has_capability(STINT_CAP_SYS_PTRACE));
	btf = btf__load_vmlinux_btf();
	ret->btf = btf != NULL;
	if (!btf)
		return refuse(ret, -ENOTSUP,
			      "this kernel has no BTF (/sys/kernel/btf/vmlinux): it must be built with "
			      "CONFIG_DEBUG_INFO_BTF=y, as Debian's are");
	ret->tcp_probe = has_tracepoint(btf, "tcp_probe");
	btf__free(btf);
	if (!ret->privileges)
		return refuse(ret, -EPERM,
			      "missing capabilities: run as root (sudo), or: sudo setcap "
			      "cap_bpf,cap_perfmon,cap_sys_ptrace+ep $(which stint)");
	ret->load = true;
	return 0;
}
