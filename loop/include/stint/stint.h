/* SPDX-License-Identifier: MIT */
#ifndef STINT_H
#define STINT_H

/* All of libstint: the meter and its watchdog, the reactor with its sources, streams, files, long work, traced sockets. */

#include <stint/child.h>
#include <stint/file.h>
#include <stint/histogram.h>
#include <stint/loop.h>
#include <stint/meter.h>
#include <stint/pool.h>
#include <stint/post.h>
#include <stint/resolve.h>
#include <stint/signal.h>
#include <stint/slice.h>
#include <stint/socket_trace.h>
#include <stint/stream.h>
#include <stint/timeout.h>
#include <stint/version.h>
#include <stint/watchdog.h>

#endif
