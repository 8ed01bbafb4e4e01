/* SPDX-License-Identifier: MIT */
#ifndef STINT_VERSION_H
#define STINT_VERSION_H

/* The version of these headers, which need not be that of the library that a program runs with. */

#include <stint/api.h>

#ifdef __cplusplus
extern "C" {
#endif

#define STINT_VERSION_MAJOR 0
#define STINT_VERSION_MINOR 1
#define STINT_VERSION_PATCH 0
#define STINT_VERSION       "0.1.0"

/* That of the library: STINT_VERSION as it was built. Never NULL. Any thread. */
STINT_API const char *stint_version(void);

#ifdef __cplusplus
}
#endif

#endif
