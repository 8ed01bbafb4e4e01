/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */

/*
 * The truth about write events, for tests on kernels that allow fentry; stint itself has to do without.
 *
 * A segment that frees memory ends in tcp_check_space, which calls sk_stream_write_space if SOCK_NOSPACE is
 * set. That function tests for enough free space, and only if there is does it clear the bit and wake who
 * waits. So calls are more than events: an event is a call that finds the bit set and leaves it clear.
 */
#include "probes/bpf/kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "tests/kernels/oracle.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* The socket at work on a sender: since when its segment, and since when the call. */
struct work {
	u64 segment_ns;
	u64 enter_ns; /* 0 unless the bit was set as the function was entered */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, struct work);
} works SEC(".maps");

const volatile __u16 sender_port = 0; /* sockets bound to another are no business of the test */

struct oracle_event events[ORACLE_EVENTS];
__u32 events_len; /* may go beyond the table: then the rest was not kept */
__u64 calls;      /* of sk_stream_write_space with the bit set */
__u64 lost;

static __always_inline bool is_sender(struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_num) == sender_port;
}

static __always_inline bool lacks_space(struct sock *sk)
{
	struct socket *socket = BPF_CORE_READ(sk, sk_socket);

	return socket && (BPF_CORE_READ(socket, flags) & (1ul << SOCK_NOSPACE));
}

static __always_inline struct work *find_work(u64 key)
{
	struct work fresh = {0}, *work = bpf_map_lookup_elem(&works, &key);

	if (work)
		return work;
	if (bpf_map_update_elem(&works, &key, &fresh, BPF_NOEXIST) != 0)
		__sync_fetch_and_add(&lost, 1);
	return bpf_map_lookup_elem(&works, &key);
}

SEC("fentry/tcp_rcv_established")
int BPF_PROG(segment_begins, struct sock *sk)
{
	struct work *work = is_sender(sk) ? find_work((u64)sk) : NULL;

	if (work)
		work->segment_ns = bpf_ktime_get_ns();
	return 0;
}

SEC("fentry/sk_stream_write_space")
int BPF_PROG(write_space_begins, struct sock *sk)
{
	struct work *work = is_sender(sk) ? find_work((u64)sk) : NULL;

	if (!work)
		return 0;
	work->enter_ns = lacks_space(sk) ? bpf_ktime_get_ns() : 0;
	if (work->enter_ns)
		__sync_fetch_and_add(&calls, 1);
	return 0;
}

SEC("fexit/sk_stream_write_space")
int BPF_PROG(write_space_ends, struct sock *sk)
{
	u64 now_ns = bpf_ktime_get_ns();
	struct work *work = is_sender(sk) ? find_work((u64)sk) : NULL;
	struct oracle_event *event;
	u32 i;

	if (!work || !work->enter_ns || lacks_space(sk))
		return 0;
	i = __sync_fetch_and_add(&events_len, 1);
	if (i >= ORACLE_EVENTS)
		return 0;
	event = &events[i];
	event->socket = (u64)sk;
	event->segment_ns = work->segment_ns;
	event->enter_ns = work->enter_ns;
	event->exit_ns = now_ns;
	event->queued_bytes = BPF_CORE_READ(sk, sk_wmem_queued);
	event->sndbuf_bytes = BPF_CORE_READ(sk, sk_sndbuf);
	return 0;
}
