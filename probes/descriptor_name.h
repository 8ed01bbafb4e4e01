/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_DESCRIPTOR_NAME_H
#define STINT_PROBES_DESCRIPTOR_NAME_H

/*
 * What a descriptor of a process is, in words: "/var/log/x", "tcp 10.0.0.1:80 > 10.0.0.2:4242", "eventfd". It is looked
 * up when asked for, so a descriptor that was closed and given anew since is named as what it is now.
 */

#include <stddef.h>
#include <stdint.h>

struct stint_descriptors;

/* -ENOMEM. */
int stint_descriptors_new(struct stint_descriptors **ret, uint32_t pid);
struct stint_descriptors *stint_descriptors_free(struct stint_descriptors *descriptors);

/* Writes "" if it cannot be found out. */
void stint_descriptor_name(struct stint_descriptors *descriptors, int32_t fd, char *ret, size_t ret_bytes);

/*
 * How long a reading of the table of sockets, which costs 1 us a socket or more, is good for if a socket is not in
 * it: a hundred times what it cost, a second at most. Where connections are short, those of the last moment are not
 * in it.
 */
uint64_t stint_descriptors_rest_ns(uint64_t cost_ns);

#endif
