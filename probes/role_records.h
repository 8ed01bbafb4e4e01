/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_ROLE_RECORDS_H
#define STINT_PROBES_ROLE_RECORDS_H

/*
 * What the eBPF programs keep of descriptors, their roles and bad habits, in maps that user space reads as they
 * are. As records.h: included by both sides, fixed widths, no holes. Needs records.h before it.
 */

/* What a descriptor is: the kinds of enum stint_probes_role_kind in probes.h. */
enum role_kind {
	ROLE_OTHER = 0,
	ROLE_LISTENER,
	ROLE_CLIENTS,  /* that was accepted */
	ROLE_UPSTREAM, /* any other TCP connection */
	ROLE_UDP,
	ROLE_UNIX_LISTENER,
	ROLE_UNIX,
	ROLE_SOCKET, /* any other family */
	ROLE_PIPE,
	ROLE_TIMERFD,
	ROLE_EVENTFD,
	ROLE_SIGNALFD,
	ROLE_INOTIFY,
	ROLE_EPOLL,
	ROLE_TERMINAL, /* a character device */
	ROLE_FILE,     /* these two: in a ring */
	ROLE_TIMEOUT,
	ROLE_KINDS
};

/* A role of one thread, so that its counters have one writer. */
struct role_key {
	__u32 pid;
	__u32 tid;
	__u16 kind;
	__u16 family; /* of an upstream; 0: those beyond ROLE_UPSTREAMS */
	__u16 port;   /* listener, clients: local; upstream: remote */
	__u16 reserved;
	__u8 address[16]; /* of an upstream */
};

#define ROLE_UPSTREAMS 16 /* a thread's upstreams that have a role of their own */

enum role_metric {
	ROLE_WAIT = 0, /* the wait's return to the turn */
	ROLE_SERVICE,
	ROLE_AGE,       /* arrival in the kernel to the read's return: the sum of the six that follow */
	ROLE_LEFT,      /* waits returned, and it was left: not asked for, or not read */
	ROLE_BUSY,      /* the loop was busy with other things, and not waiting */
	ROLE_KERNEL,    /* to the wake-up of the waiting thread */
	ROLE_SCHEDULER, /* to the thread being on a CPU */
	ROLE_RETURN,    /* to the wait's return */
	ROLE_QUEUE,     /* to the return of the first read */
	ROLE_METRICS
};

struct role_totals {
	__u64 sum_ns;
	__u64 min_ns; /* ~0: none yet */
	__u64 max_ns;
	__u64 overflow;
};

enum role_use {
	ROLE_FREE = 0,
	ROLE_IN_USE,
	ROLE_ENDED, /* its thread is over, and what it counted does not change any more */
};

/*
 * 32-bit buckets: the table is the largest of the maps. They wrap, and user space reads more often than that. Of a role
 * that has ended it takes the last figures, clears the slot, and gives it back.
 */
struct role_counters {
	struct role_key key;
	__u32 used;   /* enum role_use */
	__u32 next;   /* of its thread's roles, the slot and 1; 0: it is the last */
	__u64 number; /* never given twice */
	struct role_totals total[ROLE_METRICS];
	__u32 bucket[ROLE_METRICS][RECORD_BUCKETS];
};

/*
 * Most descriptors that system calls are made on are in no set (files). Those that are known have a mark in a table of
 * bits, so that nothing has to be looked up for the others. Where this one is; none is taken back.
 */
#define DESCRIPTOR_MARKS         65536
#define DESCRIPTOR_MARK(pid, fd) (((__u32)(pid)*509u + (__u32)(fd)) % DESCRIPTOR_MARKS)

/* Each network namespace has all ports of its own. */
struct port_key {
	__u32 network; /* the number of its inode */
	__u32 port;
};

enum descriptor_flag {
	DESCRIPTOR_SETTLED = 1, /* its role is known */
	DESCRIPTOR_BLOCKING = 2,
	DESCRIPTOR_REMOVED = 4,     /* taken out of the set, and not closed since */
	DESCRIPTOR_OUT_PENDING = 8, /* EPOLLOUT was returned, and no send followed yet */
};

/*
 * What is known of a descriptor in an epoll set, or of a loop in poll() or select(): its epfd is -1. Two lines of the
 * cache.
 */
struct descriptor {
	__u64 tag; /* DESCRIPTOR_TAG of it; 0: nobody's */
	__u64 data;
	__s32 epfd;
	__u32 events;   /* that it is registered for */
	__u64 used_ns;  /* its last turn, or when it came to be known */
	__u64 turn_id;  /* the thread and iteration of its last turn */
	__u32 ready_at; /* where it stands in that iteration's events */
	__u32 flags;
	__u64 sock; /* address of the struct sock of a TCP or unix socket, else 0 */
	__u32 role_slot;
	__u32 role_owner; /* the number of the thread that has the role in that slot */
	__u64 left_ns;    /* when a read left data behind, with EPOLLET; 0: it did not */
	__u32 inode;      /* its number, the low half: tells whether it is still the same; 0: not known */
	__u32 idle_outs;  /* EPOLLOUT returned so often in a row with no send after it */
	__u32 rearms;     /* changes of its registration since it was added */
	__u32 reserved;
	struct role_key role;
	__u64 file; /* address of its struct file; known with `inode` */
};

/*
 * They are in a table of sets, by what they are, that both sides look into and fill. One look finds an entry as a rule: it
 * is at home in its set, or else further in it. Where all of a set are taken, the one that had no turn for longest goes:
 * the numbers of one epoll set fill the table evenly, those of many by chance, and some have no place while half of it is
 * free. An entry is somebody's from the moment that its tag is there, so that is written last.
 */
#define DESCRIPTOR_SETS         4096
#define DESCRIPTOR_WAYS         8
#define DESCRIPTOR_TAG(pid, fd) ((__u64)(pid) << 32 | (__u32)(fd))
#define DESCRIPTOR_TAKEN        1 /* of one that is being filled in: no process has the number 0 */
#define DESCRIPTOR_SET(pid, epfd, fd) \
	(((__u32)(pid)*509u + (__u32)(epfd)*2039u + (__u32)(fd)) % DESCRIPTOR_SETS)
/* Numbers that share a set are not at home in the same place. */
#define DESCRIPTOR_WAY(fd, from_home) \
	(((__u32)(fd) + (__u32)(fd) / DESCRIPTOR_SETS + (from_home)) % DESCRIPTOR_WAYS)

struct descriptor_set {
	struct descriptor way[DESCRIPTOR_WAYS];
};

struct data_key {
	__u64 data;
	__u32 pid;
	__s32 epfd;
};

/* Beside each loop_counters, under the same index. */
struct loop_habits {
	__u64 events;        /* that were returned, of those that were looked at */
	__u64 attributed;    /* of those: had a turn */
	__u64 not_looked_at; /* beyond the first RECORD_READY of a batch */
	__u64 waits;         /* that returned events */
	__u64 waits_empty;   /* that returned none */
	__u64 waits_full;
	__u64 waits_full_again;    /* of those: the next wait returned events at once */
	__u64 waits_full_again_ns; /* in those next waits */
	__u64 polls_empty;         /* with a timeout of 0, and nothing was ready */
	__u64 polls_spun;          /* of those: the wait before it was one too */
	__u64 polls_empty_ns;      /* in them, and after them if nothing was done until the next wait */
	__u64 ctl_adds;
	__u64 ctl_mods;
	__u64 ctl_dels;
	__u64 ctl_rearms; /* changes that were no first registration, and not needed for EPOLLONESHOT */
	__u64 ctl_same;   /* of those: changed nothing */
	__u64 ctl_ns;     /* in all of them */
	__u64 idle_outs;  /* iterations with nothing but EPOLLOUT, and without a send */
	__u64 idle_outs_ns;
};

enum finding_kind {
	FINDING_IDLE_EPOLLOUT = 0,
	FINDING_NOT_DRAINED,
	FINDING_MAXEVENTS_FULL,
	FINDING_CTL_STORM,
	FINDING_ZERO_TIMEOUT,
	FINDING_BLOCKING,
	FINDING_LEFT_READY,
	FINDING_NO_DESCRIPTOR,
	FINDING_KINDS
};

struct finding_key {
	__u32 pid;
	__u32 tid;
	__s32 epfd;
	__s32 fd;
	__u32 kind;
};

struct finding_counters {
	__u64 count;
	__u64 cost_ns;
	__u64 longest_ns;
	__u64 open_ns; /* since when it goes on; 0: it does not */
	__u64 excused; /* how often the program mended it by itself */
	__u64 vain;    /* of `count`: waits that returned nothing but what has this habit */
	struct role_key role;
};

/* These many in a row are noted: fewer happen to sound programs (a connect that is over, a buffer just emptied). */
#define FINDING_IDLE_OUTS_MIN 10

/*
 * So many waits in a row returned it, none slept, and nobody served it: a program that is fair to others, or holds back
 * what it cannot pass on yet, comes to it before that.
 */
#define FINDING_LEFT_READY_MIN 128

/* Data left behind under EPOLLET for so long: the peer may be waiting for an answer that never comes. */
#define FINDING_LYING_NS 1000000000ull
/* A descriptor whose registration changed so often is noted by itself. */
#define FINDING_REARMS_MIN 32

_Static_assert(sizeof(struct role_key) == 32, "no holes");
_Static_assert(sizeof(struct role_counters) == 48 + 9 * 32 + 9 * 4 * RECORD_BUCKETS, "no holes");
_Static_assert(sizeof(struct descriptor) == 128, "no holes");
_Static_assert(sizeof(struct port_key) == 8, "no holes");
_Static_assert(sizeof(struct data_key) == 16, "no holes");
_Static_assert(sizeof(struct loop_habits) == 152, "no holes");
_Static_assert(sizeof(struct finding_key) == 20, "no holes");
_Static_assert(sizeof(struct finding_counters) == 80, "no holes");

#endif
