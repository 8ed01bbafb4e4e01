/* SPDX-License-Identifier: MIT */
#include "reactor.h"

#include <stdlib.h>

/*
 * What is on a loop, and how it dies.
 *
 * Descriptors and timers come from tables that live as long as the loop, so the loop takes what it needs of them before
 * a callback and never looks at them after it. Objects with memory of their own (streams, listeners, ...) are taken off
 * the loop at once, but their memory is freed only after the iteration, as code of ours further up the stack may still
 * be using it.
 */

bool loop_handler_valid(const struct stint_loop *loop, uint32_t handler)
{
	const struct stint_meter_file_header *header;

	if (!loop->account)
		return handler <= UINT16_MAX;
	header = meter_map_header(loop->account->map);
	return handler < __atomic_load_n(&header->handler_count, __ATOMIC_ACQUIRE);
}

void loop_add_object(struct stint_loop *loop, struct object *object, void (*destroy)(struct object *))
{
	object->destroy = destroy;
	object->loop = loop;
	object->next = loop->objects.next;
	object->previous = &loop->objects;
	object->next->previous = object;
	loop->objects.next = object;
}

void loop_forget(struct object *object)
{
	object->next->previous = object->previous;
	object->previous->next = object->next;
	object->next = object->previous = object;
}

void loop_bury(struct object *object)
{
	struct stint_loop *loop = object->loop;

	loop_forget(object);
	if (!loop->dispatching) {
		free(object);
		return;
	}
	object->next = loop->graves;
	loop->graves = object;
}

void loop_empty_graves(struct stint_loop *loop)
{
	while (loop->graves) {
		struct object *object = loop->graves;

		loop->graves = object->next;
		free(object);
	}
}
