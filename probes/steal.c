/* SPDX-License-Identifier: MIT */
#include "probes/steal.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

#define LEAF_FEATURES       1
#define BIT_HYPERVISOR      (1u << 31) /* of ecx */
#define LEAF_HYPERVISOR     0x40000000u
#define LEAF_KVM_FEATURES   0x40000001u
#define BIT_KVM_STEAL_CLOCK (1u << 5) /* of eax */

static bool has_no_hypervisor(void)
{
	unsigned eax, ebx, ecx, edx;

	return __get_cpuid(LEAF_FEATURES, &eax, &ebx, &ecx, &edx) && !(ecx & BIT_HYPERVISOR);
}

static bool kvm_tells(void)
{
	unsigned eax, name[3];

	__cpuid(LEAF_HYPERVISOR, eax, name[0], name[1], name[2]);
	if (memcmp(name, "KVMKVMKVM\0\0\0", sizeof(name)) != 0 || eax < LEAF_KVM_FEATURES)
		return false;
	__cpuid(LEAF_KVM_FEATURES, eax, name[0], name[1], name[2]);
	return eax & BIT_KVM_STEAL_CLOCK;
}
#else
static bool has_no_hypervisor(void)
{
	return false;
}

static bool kvm_tells(void)
{
	return false;
}
#endif

/* The first line of /proc/stat: "cpu user nice system idle iowait irq softirq steal ...", since the machine's start. */
static bool some_was_stolen(void)
{
	FILE *file = fopen("/proc/stat", "re");
	uint64_t steal = 0;

	if (!file)
		return false;
	if (fscanf(file, "cpu %*u %*u %*u %*u %*u %*u %*u %" SCNu64, &steal) != 1)
		steal = 0;
	fclose(file);
	return steal > 0;
}

bool stint_steal_is_told(void)
{
	return has_no_hypervisor() || kvm_tells() || some_was_stolen();
}
