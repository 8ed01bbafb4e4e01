/* SPDX-License-Identifier: MIT */
#include "probes/checks.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include "probes/bpf_object.h"
#include "probes/capabilities.h"
#include "probes/kernel_symbols.h"
#include "probes/probes.h"
#include "probes/records.h"
#include "probes/remedy.h"
#include "probes/skeleton.h"
#include "probes/trials.h"

struct checks {
	stint_probes_check_visit visit;
	void *ctx;
	bool fit; /* nothing was missing so far */
};

static void tell(struct checks *checks, const char *what, enum stint_probes_check_state state,
		 const char *remedy, const char *format, ...) __attribute__((format(printf, 5, 6)));

static void tell(struct checks *checks, const char *what, enum stint_probes_check_state state,
		 const char *remedy, const char *format, ...)
{
	struct stint_probes_check check = {.what = what, .state = state};
	va_list args;

	va_start(args, format);
	vsnprintf(check.detail, sizeof(check.detail), format, args);
	va_end(args);
	if (state != STINT_PROBES_CHECK_OK)
		snprintf(check.remedy, sizeof(check.remedy), "%s", remedy);
	checks->fit &= state != STINT_PROBES_CHECK_MISSING;
	checks->visit(checks->ctx, &check);
}

/* The first line of a small file; false if it cannot be read. */
static bool read_line(const char *path, char *ret, size_t bytes)
{
	FILE *file = fopen(path, "re");
	bool ok;

	if (!file)
		return false;
	ok = fgets(ret, (int)bytes, file) != NULL;
	fclose(file);
	if (ok)
		ret[strcspn(ret, "\n")] = '\0';
	return ok;
}

/* ---- the kernel ---- */

static void check_kernel(struct checks *checks)
{
	struct utsname name;
	int major = 0, minor = 0;
	bool known = uname(&name) == 0 && sscanf(name.release, "%d.%d", &major, &minor) == 2;
	bool ok = known && (major > 5 || (major == 5 && minor >= 15));

	tell(checks, "kernel", ok ? STINT_PROBES_CHECK_OK : STINT_PROBES_CHECK_MISSING, "Linux 5.15 or newer",
	     "%s", known ? name.release : "its release cannot be read");
}

/* Every tracepoint that a program of ours is for, also those that only some options ask for. */
static void check_tracepoints(struct checks *checks, const struct btf *btf)
{
	struct stint_skeleton *skeleton = stint_skeleton__open();
	char missing[96] = "", type_name[96];
	struct bpf_program *program;

	if (!skeleton) {
		tell(checks, "tracepoints", STINT_PROBES_CHECK_MISSING, "", "%s", strerror(errno));
		return;
	}
	bpf_object__for_each_program(program, skeleton->obj)
	{
		const char *section = bpf_program__section_name(program);

		if (strncmp(section, "tp_btf/", 7) != 0 || strncmp(section, "tp_btf/io_uring_", 16) == 0)
			continue; /* of io_uring they differ between kernels: check_rings() */
		snprintf(type_name, sizeof(type_name), "btf_trace_%s", section + 7);
		if (!*missing && btf__find_by_name_kind(btf, type_name, BTF_KIND_TYPEDEF) <= 0)
			snprintf(missing, sizeof(missing), "%s", section + 7);
	}
	stint_skeleton__destroy(skeleton);
	tell(checks, "tracepoints", *missing ? STINT_PROBES_CHECK_MISSING : STINT_PROBES_CHECK_OK,
	     "a kernel with it, as Debian's", "%s%s",
	     *missing ? "there is no " : "by BTF: tracefs is not needed", missing);
}

/* `btf`: the kernel's types; NULL: they cannot be read. */
static void check_btf(struct checks *checks, const struct btf *btf)
{
	tell(checks, "BTF", btf ? STINT_PROBES_CHECK_OK : STINT_PROBES_CHECK_MISSING,
	     "a kernel with CONFIG_DEBUG_INFO_BTF=y, as Debian's", "/sys/kernel/btf/vmlinux%s",
	     btf ? "" : " is not there");
	if (btf)
		check_tracepoints(checks, btf);
}

/* In its strictest mode no program may read the kernel's memory; in the others, tracepoints are left to us. */
static void check_lockdown(struct checks *checks)
{
	char modes[96];
	bool strict;

	if (!read_line("/sys/kernel/security/lockdown", modes, sizeof(modes))) {
		tell(checks, "lockdown", STINT_PROBES_CHECK_OK, "",
		     "no such file: none, or securityfs is not mounted");
		return;
	}
	strict = strstr(modes, "[confidentiality]") != NULL;
	tell(checks, "lockdown", strict ? STINT_PROBES_CHECK_MISSING : STINT_PROBES_CHECK_OK,
	     "boot with lockdown=integrity", "%s", modes);
}

/* ---- privileges ---- */

/* There, the capabilities that are told of below are there, and do not count. */
static void check_user_namespace(struct checks *checks)
{
	if (stint_is_in_user_namespace())
		tell(checks, "user namespace", STINT_PROBES_CHECK_MISSING,
		     "run stint outside of this user namespace",
		     "of a container without root: eBPF takes the machine's own capabilities");
}

static void check_capability(struct checks *checks, const char *what, int capability, const char *why)
{
	bool has = stint_has_capability(capability) || stint_has_capability(STINT_CAP_SYS_ADMIN);
	char remedy[384];

	stint_capability_remedy(remedy, sizeof(remedy), capability);
	tell(checks, what, has ? STINT_PROBES_CHECK_OK : STINT_PROBES_CHECK_MISSING, remedy, "%s", why);
}

/* One's own processes may be watched without. */
static void check_ptrace(struct checks *checks)
{
	char remedy[384];

	stint_capability_remedy(remedy, sizeof(remedy), STINT_CAP_SYS_PTRACE);
	if (stint_owns_capability(STINT_CAP_SYS_PTRACE))
		tell(checks, "CAP_SYS_PTRACE", STINT_PROBES_CHECK_OK, "", "processes of all users");
	else if (stint_has_capability(STINT_CAP_SYS_PTRACE))
		tell(checks, "CAP_SYS_PTRACE", STINT_PROBES_CHECK_OK, "",
		     "lent by the program's file: this user's processes (sudo: those of all)");
	else
		tell(checks, "CAP_SYS_PTRACE", STINT_PROBES_CHECK_LESS, remedy, "this user's processes only");
}

static void check_kernel_symbols(struct checks *checks)
{
	struct stint_kernel_symbols *symbols;
	char restrict_value[16] = "?", remedy[384];
	bool known;

	if (stint_kernel_symbols_new(&symbols, NULL) != 0)
		return;
	known = stint_kernel_symbols_known(symbols);
	stint_kernel_symbols_free(symbols);
	(void)read_line("/proc/sys/kernel/kptr_restrict", restrict_value, sizeof(restrict_value));
	if (strcmp(restrict_value, "2") == 0)
		snprintf(remedy, sizeof(remedy), "sudo sysctl kernel.kptr_restrict=1");
	else
		stint_capability_remedy(remedy, sizeof(remedy), STINT_CAP_SYSLOG);
	tell(checks, "kernel symbols", known ? STINT_PROBES_CHECK_OK : STINT_PROBES_CHECK_LESS, remedy,
	     known ? "/proc/kallsyms (kptr_restrict %s)"
		   : "hidden (kptr_restrict %s): kernel frames and wakers are not named",
	     restrict_value);
}

/* What people look for first, with what it comes to. */
static void check_settings(struct checks *checks)
{
	static const struct {
		const char *what, *path, *note;
	} settings[] = {
		{"perf_event_paranoid", "/proc/sys/kernel/perf_event_paranoid", "CAP_PERFMON goes before it"},
		{"unprivileged_bpf", "/proc/sys/kernel/unprivileged_bpf_disabled",
		 "disabled; CAP_BPF goes before it"},
		{"yama ptrace_scope", "/proc/sys/kernel/yama/ptrace_scope",
		 "stint reads, and attaches to nobody"},
	};
	struct rlimit memlock;
	char value[32];

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		bool there = read_line(settings[i].path, value, sizeof(value));

		tell(checks, settings[i].what, STINT_PROBES_CHECK_OK, "", "%s%s%s",
		     there ? value : "not there", there ? ": " : "", there ? settings[i].note : "");
	}
	if (getrlimit(RLIMIT_MEMLOCK, &memlock) != 0)
		return;
	if (memlock.rlim_cur == RLIM_INFINITY)
		snprintf(value, sizeof(value), "unlimited");
	else
		snprintf(value, sizeof(value), "%llu KiB", (unsigned long long)memlock.rlim_cur / 1024);
	tell(checks, "memlock", STINT_PROBES_CHECK_OK, "", "%s: eBPF is not counted in it since Linux 5.11",
	     value);
}

/* ---- what is allowed is best found out by doing it ---- */

static void check_trial(struct checks *checks, const char *what, int err,
			enum stint_probes_check_state otherwise, const char *lost)
{
	tell(checks, what, err ? otherwise : STINT_PROBES_CHECK_OK, "", "%s%s%s",
	     err ? strerror(-err) : "tried", err && *lost ? ": " : "", err ? lost : "");
}

/* Newer kernels leave them to CAP_SYS_ADMIN: 6.18 was seen to. */
static void check_uprobes(struct checks *checks)
{
	int err = stint_try_uprobe();

	tell(checks, "uprobes", err ? STINT_PROBES_CHECK_LESS : STINT_PROBES_CHECK_OK,
	     err == -EACCES || err == -EPERM
		     ? "sudo stint ... for uprobes, which this kernel leaves to CAP_SYS_ADMIN"
		     : "",
	     "%s%s", err ? strerror(-err) : "tried", err ? ": no --function" : "");
}

static void check_trials(struct checks *checks)
{
	check_trial(checks, "eBPF maps", stint_try_maps(), STINT_PROBES_CHECK_MISSING, "");
	check_trial(checks, "eBPF tracepoint", stint_try_tracepoint(), STINT_PROBES_CHECK_MISSING, "");
	check_trial(checks, "eBPF iterator", stint_try_iterator(), STINT_PROBES_CHECK_MISSING, "");
	check_trial(checks, "sampling clock", stint_try_sampling(), STINT_PROBES_CHECK_LESS,
		    "stacks by the kernel's tick only");
	check_uprobes(checks);
}

static void check_rings(struct checks *checks, const struct btf *btf)
{
	bool has = stint_bpf_can_follow_rings(btf);

	tell(checks, "io_uring", has ? STINT_PROBES_CHECK_OK : STINT_PROBES_CHECK_LESS, "Linux 6.1 or newer",
	     has ? "tracepoints that tell of requests"
		 : "no roles and no sends of programs that wait in io_uring");
}

static void check_probes(struct checks *checks)
{
	static const struct stint_probes_callbacks none;
	struct stint_probes_options options = {.size = sizeof(options)};
	struct stint_probes *probes = NULL;
	int err = checks->fit ? stint_probes_new(&probes, &options, &none, NULL) : -EPERM;

	if (err)
		tell(checks, "stint's probes", STINT_PROBES_CHECK_MISSING, "", "%s",
		     probes ? stint_probes_error(probes) : "for what is missing above");
	else
		tell(checks, "stint's probes", STINT_PROBES_CHECK_OK, "", "loaded and attached");
	stint_probes_free(probes);
}

void stint_probes_check(stint_probes_check_visit visit, void *ctx)
{
	struct checks checks = {.visit = visit, .ctx = ctx, .fit = true};
	struct btf *btf = btf__load_vmlinux_btf();

	check_kernel(&checks);
	check_btf(&checks, btf);
	check_lockdown(&checks);
	check_user_namespace(&checks);
	check_capability(&checks, "CAP_BPF", STINT_CAP_BPF, "eBPF programs and maps");
	check_capability(&checks, "CAP_PERFMON", STINT_CAP_PERFMON, "tracepoints, sampling clocks");
	check_ptrace(&checks);
	check_kernel_symbols(&checks);
	check_settings(&checks);
	check_trials(&checks);
	check_rings(&checks, btf);
	btf__free(btf);
	check_probes(&checks);
}
