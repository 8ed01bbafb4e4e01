/* SPDX-License-Identifier: MIT */
#include "privileges.h"

#include <fcntl.h>
#include <libgen.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "probes/capabilities.h"
#include "probes/probes.h"

/* A rollback journal comes and goes beside the recording, so its directory has to be written to. */
static bool needs_override(const char *recording)
{
	uint64_t before = stint_mask_capabilities(~STINT_CAP_BIT(CAP_DAC_OVERRIDE));
	char path[4096];
	bool needs;

	snprintf(path, sizeof(path), "%s", recording);
	needs = faccessat(AT_FDCWD, dirname(path), W_OK | X_OK, AT_EACCESS) != 0;
	stint_restore_capabilities(before);
	return needs;
}

int privileges_drop(const char *recording, bool has_command, bool has_functions)
{
	uint64_t also = has_command ? STINT_CAP_BIT(CAP_KILL) : 0;

	if (has_functions)
		also |= STINT_CAP_BIT(CAP_SYS_ADMIN);
	if (needs_override(recording))
		also |= STINT_CAP_BIT(CAP_DAC_OVERRIDE);
	return stint_probes_drop_privileges(also);
}
