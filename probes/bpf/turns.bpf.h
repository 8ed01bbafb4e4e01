/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_TURNS_BPF_H
#define STINT_PROBES_TURNS_BPF_H

/* The events of a thread's iteration, and whose turn it is: part of struct thread. service.bpf.h has the rules. */

#define TURNS_MAX     RECORD_READY
#define UNDRAINED_MAX 4

/*
 * As the kernel writes it on x86-64 (packed): read 32 bits at a time. Of poll() and select(), the data is the
 * descriptor.
 */
struct user_event {
	u32 events;
	u32 data_low;
	u32 data_high;
};

/* Together, as they are used together: in one line of the cache. */
struct turn {
	s32 fd;
	u32 role_slot;
	u32 service_ns;
	u32 reserved;
};

struct turns {
	/* Looked at in each system call. */
	u32 flags;
	u32 len;       /* events that were looked at */
	u32 left;      /* of those: had no turn yet */
	u32 undrained; /* descriptors of the thread in which a read left data, in any iteration */
	u32 at;        /* whose turn it is; TURNS_MAX: nobody's */
	s32 fd;        /* its descriptor */
	u64 blocking;  /* of those that had a turn: its descriptor is a blocking one */

	u32 cursor;            /* where the next one is expected */
	u32 last;              /* whose turn it was at last */
	u64 had;               /* a bit for each that had a turn */
	u64 closed;            /* of those: its descriptor was closed since */
	u64 identified;        /* of those: what it was is in thread.identities */
	u64 start_ns;          /* of its present part */
	u64 sock;              /* of its descriptor, if what arrives there is followed */
	u64 woken_ns;          /* in the wait that returned them; 0: it did not sleep */
	u64 woken_on_ns;       /* on a CPU after that */
	u64 blocked_before_ns; /* thread.blocked_sum_ns as a call on a blocking descriptor began */
	u32 registered;        /* events that its descriptor is registered for */
	u32 upstreams;         /* roles of that kind that the thread has */
	u32 outs;              /* events that are EPOLLOUT alone */
	u32 streaks;           /* that go on (streak.bpf.h), in any iteration */
	u32 undrained_len;
	u32 ring_head; /* of a ring: how many completions the program had taken as the wait returned */
	s32 undrained_fd[UNDRAINED_MAX]; /* in this iteration */
	struct user_event event[TURNS_MAX];
	struct turn turn[TURNS_MAX]; /* of those that had one */
};

#define STREAKS_MAX 32

/* The waits of a streak since it was looked at. */
struct streak_part {
	u32 waits;
	u32 vain;    /* since it is a long one: returned nothing else but such */
	u64 cost_ns; /* its share of those */
};

/* Of a descriptor that is returned, and not served, by one wait after the other. */
struct streak {
	u64 data;
	u64 first; /* in it, if that can be told: this one and the next since it is looked at */
	s32 fd;    /* -1: it is not looked at yet */
	u32 calls; /* that there were on it */
	u32 waits; /* in a row; of a long one, STREAK_LONG and those since it was looked at */
	u32 at;    /* its place among the events, the last time */
	struct streak_part part;
};

struct thread;

/* identity.bpf.h: what the descriptors of its events are, as far as that is certain. */
int identify_all(struct thread *thread, u64 table);

/* The same of the descriptor that its system call, now at its end, was blocked on for longer than any before. */
int note_blocked_on(struct thread *thread);

/* service.bpf.h: the next wait of the loop begins. */
int end_turns(struct thread *thread, u64 now_ns);

/* streak.bpf.h: the same, of a loop in epoll. */
int note_left_ready(struct thread *thread, u64 now_ns);

/* streak.bpf.h: all of the thread's are over. */
int end_streaks(struct thread *thread);

/* service.bpf.h: epoll_wait() has returned, with `result` of at most `max_events` in the program's array `events`. */
int begin_turns(struct thread *thread, u64 events, long result, u64 max_events);

/* service.bpf.h: a poll() or select() has returned what is in thread.ready. */
int begin_polled_turns(struct thread *thread);

enum turns_flag {
	TURNS_READ_SEEN = 1,  /* in this turn */
	TURNS_ONLY_OUT = 2,   /* nothing but EPOLLOUT was returned */
	TURNS_OUTS = 4,       /* some descriptor's EPOLLOUT waits for a send */
	TURNS_SENT = 8,       /* in this iteration */
	TURNS_FULL = 16,      /* the wait returned as many events as it could */
	TURNS_IN_CALL = 32,   /* a system call on the descriptor is under way */
	TURNS_MAY_BLOCK = 64, /* and it may block */
	TURNS_SKIPPED = 128,  /* what the wait returned was left alone */
	TURNS_ALONE = 512,    /* of a ring: there was one completion */
	TURNS_BACK = 256,     /* the descriptor came back, and what is known of it was not looked up */
};

#endif
