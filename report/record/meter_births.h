/* SPDX-License-Identifier: MIT */
#ifndef REPORT_METER_BIRTHS_H
#define REPORT_METER_BIRTHS_H

/*
 * Counts the meters that were made and given up again before anybody looked. The library fills a meter's file as .PID.new
 * and renames it to PID.meter: the kernel lists such renamings in the directories that are watched (inotify), also of files
 * that are gone by now.
 *
 * Where a directory is not there yet when it is first looked into, what came and went until the next look is not known.
 */

#include <stdbool.h>
#include <stdint.h>

struct meter_births;

/* -ENOMEM, or what inotify_init1() says. Where births are NULL below, nothing is counted. */
int meter_births_new(struct meter_births **ret);
struct meter_births *meter_births_free(struct meter_births *births);

/*
 * Watches a directory, if that is not done yet. Since when, in ns of CLOCK_MONOTONIC; UINT64_MAX: it cannot be watched
 * (yet).
 */
uint64_t meter_births_watch(struct meter_births *births, const char *directory);

/* Takes what the kernel has listed: before `pid` is looked at, and once its meter has been found and opened. */
void meter_births_read(struct meter_births *births, uint32_t pid);

/* It was looked at, and has no meter: those it had until then are gone. */
void meter_births_none(struct meter_births *births, uint32_t pid);

/*
 * It has one. `is_listed`: this was made after its directory was watched. `is_last`: its file was still in its place after
 * the births were read, so none of those is a younger one's.
 */
void meter_births_taken(struct meter_births *births, uint32_t pid, bool is_listed, bool is_last);

/* How many were missed. What the kernel had no room to list counts as one. */
uint64_t meter_births_missed(const struct meter_births *births);

#endif
