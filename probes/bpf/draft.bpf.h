/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_DRAFT_BPF_H
#define STINT_PROBES_DRAFT_BPF_H

/*
 * Records that are as long as what there is to tell: the ring buffer gives out places of constant sizes only, so such a
 * record is made here, and copied into the ring, as long as it is.
 *
 * A timer's interrupt takes a stack amid a program that makes a record on the same CPU, and programs that are run for
 * each thread may lose their CPU: so a draft is somebody's as long as it is in use, and there are several to choose from.
 */

#define STACK_PAGE 4096
#define DRAFTS     16
#define DRAFTS_TRY 4

struct overrun_draft {
	struct record_overrun record; /* packed: only what comes before its arrays is where it says */
	struct record_turn turns[RECORD_READY];
	struct record_ready ready[RECORD_READY];
	struct record_function functions[RECORD_FUNCTIONS];
};

struct draft {
	u32 is_taken;
	u32 reserved;
	union {
		struct record_stack stack;
		struct overrun_draft overrun;
	};
	u8 beyond[STACK_PAGE]; /* never written: what the verifier takes for possible, as it adds up bounds */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DRAFTS);
	__type(key, u32);
	__type(value, struct draft);
} drafts SEC(".maps");

static __always_inline void lost_draft(void)
{
	struct loss_counters *counters = loss();

	if (counters)
		counters->no_draft++;
}

/* Which draft is the caller's from now on. DRAFTS, and counted as lost: others have all that it may try. */
__noinline int take_draft_at(void)
{
	u32 first = bpf_get_smp_processor_id();

	for (u32 i = 0; i < DRAFTS_TRY; i++) {
		u32 at = (first + i) % DRAFTS;
		struct draft *draft = bpf_map_lookup_elem(&drafts, &at);

		if (draft && !__sync_lock_test_and_set(&draft->is_taken, 1))
			return (int)at;
	}
	lost_draft();
	return DRAFTS;
}

/* To be given back; or NULL. Looked up anew, as the verifier goes through all that follows once for each look-up. */
static __always_inline struct draft *take_draft(void)
{
	u32 at = (u32)take_draft_at();

	return bpf_map_lookup_elem(&drafts, &at);
}

/*
 * Appends an array, of `len` and at `most` so many entries, to what there is of a record; returns where it ends then. The
 * last two are constants.
 */
static __always_inline u32 pack(struct overrun_draft *draft, u32 at, const void *array, u32 len,
				const u32 most, const u32 entry_bytes)
{
	u32 bytes = (len < most ? len : most) * entry_bytes;

	asm volatile(
		""
		: "+r"(at)); /* so that the comparison stays, without which the verifier knows no bound */
	if (at > sizeof(draft->record) - most * entry_bytes)
		return at;
	bpf_probe_read_kernel((u8 *)&draft->record + at, bytes, array);
	return at + bytes;
}

/* Sends the first `bytes` of a draft's `record`, if there are any, and gives it back. */
static __always_inline void send_draft(struct draft *draft, void *record, u64 bytes)
{
	if (bytes && bpf_ringbuf_output(&records, record, bytes, 0) != 0)
		lost_record();
	__sync_lock_test_and_set(&draft->is_taken, 0);
}

#endif
