/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <errno.h>
#include <string.h>

int options_take(void *ret, size_t known, const void *given)
{
	const unsigned char *bytes = given;
	size_t size;

	memset(ret, 0, known);
	if (!given)
		return 0;
	memcpy(&size, given, sizeof(size));
	if (size < sizeof(size))
		return -EINVAL;
	/* A newer caller may have a longer struct, as long as it asks for nothing that we do not know. */
	for (size_t i = known; i < size; i++)
		if (bytes[i])
			return -EINVAL;
	memcpy(ret, given, size < known ? size : known);
	return 0;
}
