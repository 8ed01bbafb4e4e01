/* SPDX-License-Identifier: MIT */
#include "probes/capabilities.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct sets {
	uint64_t effective;
	uint64_t permitted;
	uint64_t inheritable;
};

static int read_sets(struct sets *ret)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};

	*ret = (struct sets){0};
	if (syscall(SYS_capget, &header, data) != 0)
		return -errno;
	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		ret->effective |= (uint64_t)data[i].effective << (32 * i);
		ret->permitted |= (uint64_t)data[i].permitted << (32 * i);
		ret->inheritable |= (uint64_t)data[i].inheritable << (32 * i);
	}
	return 0;
}

static int write_sets(const struct sets *sets)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		data[i].effective = (uint32_t)(sets->effective >> (32 * i));
		data[i].permitted = (uint32_t)(sets->permitted >> (32 * i));
		data[i].inheritable = (uint32_t)(sets->inheritable >> (32 * i));
	}
	return syscall(SYS_capset, &header, data) == 0 ? 0 : -errno;
}

bool stint_has_capability(int capability)
{
	struct sets sets;

	return read_sets(&sets) == 0 && (sets.effective & STINT_CAP_BIT(capability));
}

bool stint_owns_capability(int capability)
{
	struct sets sets;

	if (read_sets(&sets) != 0 || !(sets.effective & STINT_CAP_BIT(capability)))
		return false;
	return getuid() == 0 || (sets.inheritable & STINT_CAP_BIT(capability)) ||
	       prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, capability, 0, 0) == 1;
}

bool stint_is_in_user_namespace(void)
{
	const ino_t first = 0xEFFFFFFD; /* of all kernels: PROC_USER_INIT_INO */
	struct stat status;

	return stat("/proc/self/ns/user", &status) == 0 && status.st_ino != first;
}

uint64_t stint_mask_capabilities(uint64_t keep)
{
	struct sets sets;
	uint64_t before;

	if (read_sets(&sets) != 0)
		return 0;
	before = sets.effective;
	sets.effective &= keep;
	(void)write_sets(&sets); /* fewer are never refused */
	return before;
}

void stint_restore_capabilities(uint64_t effective)
{
	struct sets sets;

	if (read_sets(&sets) != 0)
		return;
	sets.effective = effective & sets.permitted;
	(void)write_sets(&sets);
}

int stint_drop_capabilities(uint64_t keep)
{
	struct sets sets;
	int err = read_sets(&sets);

	if (err)
		return err;
	sets.effective &= keep;
	sets.permitted &= keep;
	sets.inheritable = 0; /* and so the ambient ones */
	err = write_sets(&sets);
	if (!err && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		err = -errno;
	return err;
}
