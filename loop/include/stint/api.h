/* SPDX-License-Identifier: MIT */
#ifndef STINT_API_H
#define STINT_API_H

/* Marks what the shared library exports; all else is hidden (-fvisibility=hidden). */
#define STINT_API __attribute__((visibility("default")))

#endif
