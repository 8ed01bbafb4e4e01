/* SPDX-License-Identifier: MIT */
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "probes/capabilities.h"
#include "probes/probes.h"
#include "probes/remedy.h"

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

/* CAP_SYS_ADMIN stands for both, as it did before Linux 5.8. */
static bool has_either(int capability)
{
	return stint_has_capability(capability) || stint_has_capability(STINT_CAP_SYS_ADMIN);
}

static int refuse_user(struct stint_probes_support *ret, bool bpf, bool perfmon)
{
	char remedy[384];

	if (stint_is_in_user_namespace())
		return refuse(
			ret, -EPERM,
			"this is a user namespace, as of a container without root, whose capabilities the "
			"kernel does not count for eBPF: run stint outside of it");
	stint_capability_remedy(remedy, sizeof(remedy), bpf ? STINT_CAP_PERFMON : STINT_CAP_BPF);
	snprintf(ret->why, sizeof(ret->why), "missing %s%s%s: run as root, or: %s", bpf ? "" : "CAP_BPF",
		 bpf || perfmon ? "" : " and ", perfmon ? "" : "CAP_PERFMON", remedy);
	return -EPERM;
}

int stint_probes_supported(struct stint_probes_support *ret)
{
	bool bpf = has_either(STINT_CAP_BPF), perfmon = has_either(STINT_CAP_PERFMON);
	struct btf *btf;

	memset(ret, 0, sizeof(*ret));
	ret->privileges = bpf && perfmon && !stint_is_in_user_namespace();
	btf = btf__load_vmlinux_btf();
	ret->btf = btf != NULL;
	if (!btf)
		return refuse(ret, -ENOTSUP,
			      "this kernel has no BTF (/sys/kernel/btf/vmlinux): it must be built with "
			      "CONFIG_DEBUG_INFO_BTF=y, as Debian's are");
	ret->tcp_probe = has_tracepoint(btf, "tcp_probe");
	btf__free(btf);
	if (!ret->privileges)
		return refuse_user(ret, bpf, perfmon);
	ret->load = true;
	return 0;
}
