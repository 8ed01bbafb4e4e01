/* SPDX-License-Identifier: MIT */
#include <stint/version.h>

#define TEXT(x)         #x
#define DOTTED(a, b, c) TEXT(a) "." TEXT(b) "." TEXT(c)

_Static_assert(sizeof(STINT_VERSION) ==
		       sizeof(DOTTED(STINT_VERSION_MAJOR, STINT_VERSION_MINOR, STINT_VERSION_PATCH)),
	       "one version");

const char *stint_version(void)
{
	return DOTTED(STINT_VERSION_MAJOR, STINT_VERSION_MINOR, STINT_VERSION_PATCH);
}
