/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_ARRIVAL_BPF_H
#define STINT_PROBES_ARRIVAL_BPF_H

/*
 * When what an event is about arrived in the kernel, and the way from there to the program, in stages that add
 * up by construction: each begins where the one before it ended, and a moment before that counts as that.
 *
 *   arrival -> (left) the last wait before that returned -> (busy) the loop waits -> (kernel) woken
 *           -> (scheduler) on a CPU -> (return) the wait returned -> (queue) the first read returned
 *
 * `left`: a wait that returned later than it arrived did not bring it, as the program had not asked for it (it has no room
 * for more), or did, and it was not read. Not before the socket was in the set, nor where the wait had no room for more
 * events: then others were served first, and the loop was `busy`.
 *
 * If the thread did not sleep in that wait, nobody had to wake it: all the time to the wait's return is `busy`.
 *
 * Data and FIN: tcp_probe, which fires for each segment of an established connection before it is processed; for the one
 * that ended the handshake, the end of that. The oldest that was not read counts: not older than the segment that found
 * nothing before it, whoever has read that (another thread, a ring). After a read that left data behind it is the last
 * arrival (which of them are left is not known), so that the age is then a lower bound.
 * A connection that is accepted: the end of its handshake, for each connection by itself.
 */

#define ARRIVAL_SETS_SHIFT 12
#define ARRIVAL_SETS       (1u << ARRIVAL_SETS_SHIFT)
#define ARRIVAL_WAYS       8
#define PLACE_TAKEN        1 /* of an entry that is being filled in */

/* Of one socket: a line of the cache. */
struct arrival {
	u64 place;    /* the socket's (filter.bpf.h); 0: nobody's */
	u64 first_ns; /* of what was not read; 0: nothing */
	u64 last_ns;
	u64 replaced_ns;    /* the first before this one: nobody had told of its read when this one came */
	u64 established_ns; /* of a connection that was not accepted yet */
	u64 followed_ns;
	u32 is_whole; /* nothing was in it before it was followed, or that was read: what arrives is known */
	u32 end_seq;  /* of what arrived, the highest; once `last_ns` is set */
	u64 added_ns; /* since when it is in a set, or known in one; 0: not yet */
};

/*
 * Every segment and every read looks here, so this is no hash map: it is a table of sets, by the socket's place, of which
 * one look finds the entry as a rule. Where all of a set are taken, the one that nothing has come for longest goes.
 */
struct arrival_set {
	struct arrival way[ARRIVAL_WAYS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ARRIVAL_SETS);
	__uint(map_flags, BPF_F_MMAPABLE); /* so that it begins with a line */
	__type(key, u32);
	__type(value, struct arrival_set);
} arrivals SEC(".maps");

/*
 * Where processes that are watched listen: what arrives on the connections there, before they are accepted too, is
 * followed. What is not there any more, as others took its place, is told anew at the next connection that is accepted.
 */
#define LISTENED_MAX 4096

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, LISTENED_MAX);
	__type(key, struct port_key);
	__type(value, u32);
} listened SEC(".maps");

/* Keeps the tracepoints that fire for each segment of everybody's short until the first socket is followed. */
__u32 arrivals_followed;

static __always_inline struct port_key local_end(u64 sk)
{
	struct sock *sock = (struct sock *)sk;

	return (struct port_key){.network = BPF_CORE_READ(sock, __sk_common.skc_net.net, ns.inum),
				 .port = local_port(sock)};
}

static __noinline bool is_listened_on(u64 sk)
{
	struct port_key key = local_end(sk);

	return bpf_map_lookup_elem(&listened, &key) != NULL;
}

/* A process that is watched listens there, by this socket or by that which this one was accepted on. */
static __noinline int know_port(u64 sk)
{
	struct port_key key = local_end(sk);
	u32 one = 1;

	if (key.port && !bpf_map_lookup_elem(&listened, &key))
		bpf_map_update_elem(&listened, &key, &one, BPF_ANY);
	arrivals_followed = 1;
	return 0;
}

static __always_inline struct arrival_set *arrival_set(u64 place)
{
	u32 set = (u32)(socket_hash(place) >> (64 - ARRIVAL_SETS_SHIFT));

	return bpf_map_lookup_elem(&arrivals, &set);
}

static __noinline struct arrival *find_arrival_further(struct arrival_set *set, u64 place)
{
	if (!set || !is_place_marked(place))
		return NULL;
	for (u32 way = 1; way < ARRIVAL_WAYS; way++)
		if (set->way[way].place == place)
			return &set->way[way];
	return NULL;
}

static __always_inline struct arrival *find_arrival(u64 place)
{
	struct arrival_set *set = arrival_set(place);

	if (!set)
		return NULL;
	return set->way[0].place == place ? &set->way[0] : find_arrival_further(set, place);
}

static __always_inline u64 last_use(const struct arrival *arrival)
{
	return arrival->last_ns > arrival->followed_ns ? arrival->last_ns : arrival->followed_ns;
}

/* An entry for a socket that has none, for the caller alone until it puts its place there. NULL: others were faster. */
static __noinline struct arrival *take_arrival(u64 place)
{
	struct arrival_set *set = arrival_set(place);
	struct arrival *oldest;
	u64 before;

	if (!set)
		return NULL;
	oldest = &set->way[0];
	for (u32 way = 0; way < ARRIVAL_WAYS; way++) {
		struct arrival *arrival = &set->way[way];

		if (!arrival->place && __sync_val_compare_and_swap(&arrival->place, 0, PLACE_TAKEN) == 0)
			return arrival;
		if (last_use(arrival) < last_use(oldest))
			oldest = arrival;
	}
	before = oldest->place;
	if (before == PLACE_TAKEN ||
	    __sync_val_compare_and_swap(&oldest->place, before, PLACE_TAKEN) != before)
		return NULL;
	return oldest;
}

/* `arrived_ns`: of what is there already; 0: nothing, or that is not known. */
static __always_inline void begin_arrivals(struct arrival *arrival, u64 place, u64 established_ns,
					   u64 arrived_ns, u64 now_ns, bool is_whole)
{
	arrival->first_ns = arrived_ns;
	arrival->last_ns = arrived_ns;
	arrival->replaced_ns = 0;
	arrival->established_ns = established_ns;
	arrival->followed_ns = now_ns;
	arrival->added_ns = 0;
	arrival->is_whole = is_whole;
	*(volatile u64 *)&arrival->place = place; /* last: it says that the rest is there */
}

static __always_inline bool has_unread(u64 sk)
{
	return BPF_CORE_READ((struct sock *)sk, sk_receive_queue.qlen) != 0;
}

static __always_inline void follow_arrivals(u64 sk)
{
	u64 place = socket_place_of(sk);
	struct arrival *arrival;

	arrivals_followed = 1;
	mark_place(place);
	arrival = find_arrival(place);
	if (!arrival) {
		arrival = take_arrival(place);
		if (arrival)
			begin_arrivals(arrival, place, 0, 0, bpf_ktime_get_ns(), !has_unread(sk));
	}
	if (arrival && !arrival->added_ns)
		arrival->added_ns = bpf_ktime_get_ns();
}

static __always_inline u32 segment_end_seq(const struct sk_buff *skb)
{
	return *(const u32 *)(skb->cb + bpf_core_field_offset(struct tcp_skb_cb, end_seq));
}

/*
 * Is there anything in it that makes the socket readable: data, or a FIN, which takes a number too? By what TCP has read
 * of its header, which is in the buffer itself: most segments are mere ACKs, and are to cost nothing.
 */
static __always_inline bool segment_is_news(const struct sk_buff *skb)
{
	return *(const u32 *)(skb->cb + bpf_core_field_offset(struct tcp_skb_cb, seq)) !=
	       segment_end_seq(skb);
}

/* Of sequence numbers, which begin anew after 2^32. */
static __always_inline bool is_after(u32 a, u32 b)
{
	return (s32)(a - b) > 0;
}

static __always_inline void note_segment(const struct sock *sk, const struct sk_buff *skb)
{
	struct arrival *arrival = segment_is_news(skb) ? find_arrival(socket_place(sk)) : NULL;
	u32 end_seq = segment_end_seq(skb);
	u64 now_ns;

	/* What was sent again has been there before. */
	if (!arrival || !is_after(end_seq, BPF_CORE_READ((const struct tcp_sock *)sk, rcv_nxt)))
		return;
	now_ns = bpf_ktime_get_ns();
	if (!arrival->last_ns || is_after(end_seq, arrival->end_seq)) /* else it fills a gap */
		arrival->end_seq = end_seq;
	arrival->last_ns = now_ns;
	if (arrival->first_ns && sk->sk_receive_queue.qlen)
		return;
	arrival->replaced_ns = arrival->first_ns;
	arrival->first_ns = now_ns;
}

/*
 * Since when what a read from `start_ns` to `read_ns` took had been there; 0: not known. More may have come since it
 * began, as a FIN that follows: before its end, or before anybody told of that.
 */
static __always_inline u64 first_arrival(const struct arrival *arrival, u64 start_ns, u64 read_ns)
{
	if (arrival->first_ns >= start_ns && arrival->replaced_ns)
		return arrival->replaced_ns;
	return arrival->first_ns <= read_ns ? arrival->first_ns : 0;
}

/*
 * As a handshake is over: the segment that ended it brought data as well, as it does where the listener has
 * TCP_DEFER_ACCEPT. Of that segment tcp_probe does not tell.
 */
static __always_inline bool brought_data(const struct sock *sk)
{
	return BPF_CORE_READ((const struct tcp_sock *)sk, data_segs_in) != 0;
}

/* A handshake is over: from now on the listener is readable, and data may come. */
static __always_inline void note_handshake(const struct sock *sk, u64 now_ns)
{
	struct port_key key = {.network = sk->__sk_common.skc_net.net->ns.inum,
			       .port = sk->__sk_common.skc_num};
	u64 place = socket_place(sk);
	struct arrival *arrival;

	if (!bpf_map_lookup_elem(&listened, &key))
		return;
	arrivals_followed = 1;
	mark_place(place);
	arrival = find_arrival(place);
	if (!arrival)
		arrival = take_arrival(place);
	if (!arrival)
		return;
	arrival->end_seq = BPF_CORE_READ((const struct tcp_sock *)sk, rcv_nxt); /* before that data */
	begin_arrivals(arrival, place, now_ns, brought_data(sk) ? now_ns : 0, now_ns, true);
}

/* All there are of it: two CPUs may have come to follow it at once. */
static __always_inline void forget_arrivals(const struct sock *sk)
{
	u64 place = socket_place(sk);
	struct arrival_set *set = arrival_set(place);

	for (u32 way = 0; set && way < ARRIVAL_WAYS; way++)
		if (set->way[way].place == place)
			__sync_val_compare_and_swap(&set->way[way].place, place, 0);
}

static __always_inline void note_woken(struct thread *thread, u64 now_ns)
{
	if (thread->state != THREAD_WAITING || (thread->off_ns && thread->runnable_ns))
		return;
	thread->turns.woken_ns = now_ns;
	thread->turns.woken_on_ns = 0;
}

static __always_inline void note_on_cpu(struct thread *thread, u64 now_ns)
{
	if (thread->state == THREAD_WAITING && !thread->turns.woken_on_ns)
		thread->turns.woken_on_ns = now_ns;
}

/* Ends a stage at `end_ns`, if that is later than its beginning. Returns where the next one begins. */
static __always_inline u64 count_stage(struct role_counters *role, const u32 metric, u64 start_ns, u64 end_ns)
{
	if (end_ns <= start_ns)
		return start_ns;
	count_role(role, metric, end_ns - start_ns);
	return end_ns;
}

/*
 * What arrived at `arrived_ns` was read at `read_ns`, in an iteration of `thread`, and could have been asked for since
 * `added_ns`. In a wait that was under way when stint came, the thread was not known as it was woken: all that is known is
 * that it waited.
 */
__noinline int count_arrival(struct role_counters *role, struct thread *thread, u64 added_ns, u64 arrived_ns,
			     u64 read_ns)
{
	u64 at_ns = arrived_ns;

	if (!role || !thread || arrived_ns > read_ns)
		return 0;
	if (added_ns && added_ns < thread->before_ns)
		at_ns = count_stage(role, ROLE_LEFT, at_ns, thread->before_ns);
	if (!thread->wait_start_ns) {
		at_ns = count_stage(role, ROLE_RETURN, at_ns, thread->start_ns);
	} else if (thread->turns.woken_ns) {
		at_ns = count_stage(role, ROLE_BUSY, at_ns, thread->wait_start_ns);
		at_ns = count_stage(role, ROLE_KERNEL, at_ns, thread->turns.woken_ns);
		at_ns = count_stage(role, ROLE_SCHEDULER, at_ns, thread->turns.woken_on_ns);
		at_ns = count_stage(role, ROLE_RETURN, at_ns, thread->start_ns);
	} else {
		at_ns = count_stage(role, ROLE_BUSY, at_ns, thread->start_ns);
	}
	count_role(role, ROLE_QUEUE, read_ns - at_ns);
	count_role(role, ROLE_AGE, read_ns - arrived_ns);
	return 0;
}

/*
 * Has anything arrived that nobody read? It may be on its way to the queue still. How much ended the handshake is not
 * known, and if nothing came since, it is in the queue.
 */
static __always_inline bool is_left(const struct arrival *arrival, u64 sk)
{
	if (arrival->last_ns == arrival->established_ns)
		return has_unread(sk);
	return is_after(arrival->end_seq, BPF_CORE_READ((struct tcp_sock *)sk, copied_seq));
}

/* A read that began at `start_ns` is over. `emptied`: it took less than it asked for. */
static __always_inline void forget_read(struct arrival *arrival, u64 sk, u64 start_ns, bool emptied)
{
	u64 first_ns = arrival->first_ns, last_ns = arrival->last_ns;

	if (emptied)
		arrival->is_whole = 1;
	if ((emptied && last_ns < start_ns) || !is_left(arrival, sk))
		last_ns = 0;
	arrival->replaced_ns = 0;
	/* Not if another one has come just now. */
	__sync_val_compare_and_swap(&arrival->first_ns, first_ns, last_ns);
}

#endif
