/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_SLOT_BPF_H
#define STINT_PROBES_SLOT_BPF_H

/*
 * Tables that user space reads by slot, and programs find by key: an array, an index from keys to slots, and the
 * queue of the slots that nobody has. User space sets the size of all three, puts every slot into the queue, and puts
 * back what is over once it has read it.
 */

/* Takes a slot for a key that has none. Returns its entry, which has yet to be filled in; NULL: there is none left. */
static __always_inline void *take_slot(void *table, void *index, void *queue, const void *key, u32 *ret)
{
	void *entry;

	if (bpf_map_pop_elem(queue, ret) != 0)
		return NULL;
	entry = bpf_map_lookup_elem(table, ret);
	if (entry && bpf_map_update_elem(index, key, ret, BPF_NOEXIST) == 0)
		return entry;
	bpf_map_push_elem(queue, ret, 0);
	return NULL;
}

#endif
