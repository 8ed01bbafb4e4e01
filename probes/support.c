/* SPDX-License-Identifier: MIT */
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "probes/probes.h"

#ifndef CAP_PERFMON
#define CAP_PERFMON 38
#define CAP_BPF     39
#endif

static bool has_capability(int capability)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};

	if (syscall(SYS_capget, &header, data) != 0)
		return false;
	return data[capability / 32].effective & (1u << (capability % 32));
}

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
	bool root = has_capability(CAP_SYS_ADMIN);
	struct btf *btf;

	memset(ret, 0, sizeof(*ret));
	ret->privileges = root || (has_capability(CAP_BPF) && has_capability(CAP_PERFMON) &&
				   has_capability(CAP_SYS_PTRACE));
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
