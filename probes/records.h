/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_RECORDS_H
#define STINT_PROBES_RECORDS_H

/*
 * What the eBPF programs hand to user space: plain data, fixed widths, no holes, the same size on both
 * sides. Included by both; needs the fixed-width types __u8 to __u64 and __s32, __s64 to be declared.
 *
 * Every record of the ring buffer starts with `type`. Times are ns of CLOCK_MONOTONIC.
 */

#define RECORD_SYSCALLS      8
#define RECORD_SEGMENTS      32
#define RECORD_MARKS         64 /* a power of two */
#define RECORD_READY         64
#define RECORD_TOUCHES       64
#define RECORD_CALLS         512   /* numbers of system calls are below this */
#define RECORD_STACK_BYTES   81920 /* as where one function has a buffer of 64 KiB on it */
#define RECORD_KERNEL_FRAMES 24
#define RECORD_RIVALS        8
#define RECORD_COMM_BYTES    16 /* the kernel's TASK_COMM_LEN */
#define RECORD_FUNCTIONS     8  /* a power of two */
#define RECORD_BUCKETS       2368
#define RECORD_SUB_BITS      6
#define RECORD_MAX_BITS      42

enum record_type {
	RECORD_OVERRUN = 1,
	RECORD_STACK,
	RECORD_STALL,
	RECORD_SOCKET,
	RECORD_EXIT,
	RECORD_EXEC,   /* these two are a struct record_exit too */
	RECORD_JOINED, /* moved into the cgroup that is followed */
	RECORD_WHY,
	RECORD_ALARM,
	RECORD_UNIX,
	RECORD_HANG,
};

/* Since when a process is watched: as user space asked for it, or as it was followed later on. */
#define WATCHED_FROM_START 1
#define WATCHED_LATER      2

/* What a thread waits in. */
enum record_wait {
	RECORD_WAIT_NONE = 0,
	RECORD_WAIT_EPOLL,
	RECORD_WAIT_POLL,     /* poll, ppoll */
	RECORD_WAIT_SELECT,   /* select, pselect6 */
	RECORD_WAIT_IO_URING, /* io_uring_enter that waits for completions */
};

#define RECORD_READY_UNKNOWN 0xffffffffu

struct record_syscall {
	__u64 start_ns;
	__u64 duration_ns;
	__u32 number;
	__s32 fd;       /* the first argument, whatever it means to that call */
	__u64 argument; /* the same, whole: an address, to some */
};

/* Off the CPU at off_ns, runnable (woken, or never asleep) at runnable_ns, on it again at on_ns. */
struct record_segment {
	__u64 off_ns;
	__u64 runnable_ns;
	__u64 on_ns;
	__u32 throttled_us; /* of the time from runnable_ns to on_ns */
	__u16 in_syscall;
	__u16 is_stopped;
};

/*
 * What had been summed of an iteration at one moment of it: what it did between two of these is their difference. They are
 * set while the thread is on a CPU and in no system call, evenly, however long it gets.
 */
struct record_mark {
	__u32 offset_us; /* from the iteration's start */
	__u32 kernel_us;
	__u32 faulted_us;
	__u32 runnable_us;
	__u32 throttled_us;
	__u32 blocked_us;
	__u32 fault_blocked_us;
	__u32 stopped_us;
	__u32 stolen_us;
	__u32 minor_faults;
	__u32 major_faults;
	__u32 samples;
	__u32 kernel_samples;
	__u32 fault_samples;
	__u32 user_samples;
};

/* A system call of the iteration on a descriptor, in order; of several on the same in a row, the first. */
struct record_touch {
	__u32 offset_us; /* from the iteration's start */
	__s32 fd;
};

/*
 * By the kind of the wait: of epoll, an event and its data; of poll, revents and the descriptor; of select, 64 bits
 * of one of its sets, events being 64 * the set's number (read, write, except) + the word's index. Of io_uring none.
 * As the kernel writes epoll's on x86-64 (packed), in halves.
 */
struct record_ready {
	__u32 events;
	__u32 data_low;
	__u32 data_high;
};

/* Who ran on the CPU that the thread was waiting for. */
struct record_rival {
	__u64 duration_ns;
	__u32 pid; /* of its process; 0: the CPU was idle, and took that long to wake up */
	__u32 reserved;
	char comm[RECORD_COMM_BYTES];
};

/* The longest time that the thread was blocked in the iteration, of those worth to be looked at. */
struct record_block {
	__u64 start_ns;
	__u64 duration_ns; /* 0: there was none */
	__u32 waker_pid; /* of the task that was running where the wake-up was made, which may be no cause of it */
	__u32 in_syscall; /* else it was a page fault, or another exception, or it was stopped */
	__u32 is_stopped;
	__u32 stack_len;
	__u32 waker_stack_len;
	__u32 reserved;
	char waker_comm[RECORD_COMM_BYTES];
	__u64 stack[RECORD_KERNEL_FRAMES];       /* where it was blocked in the kernel, innermost first */
	__u64 waker_stack[RECORD_KERNEL_FRAMES]; /* what woke it: tells an interrupt from a task */
};

enum record_known {
	RECORD_KNOWS_THROTTLED = 1, /* the kernel has what it takes to tell */
	RECORD_KNOWS_STOLEN = 2,
};

/* What splits an overrun into its six parts: user space is what remains. */
struct record_verdict {
	__u64 kernel_ns;        /* on a CPU in system calls, and in page faults that were timed */
	__u64 faulted_ns;       /* of that: in page faults, in no system call */
	__u64 throttled_ns;     /* of the runnable time */
	__u64 stolen_ns;        /* of the time on a CPU */
	__u64 fault_blocked_ns; /* of the blocked time: in no system call, and not stopped */
	__u64 stopped_ns; /* of the blocked time: by a tracer, a signal, or with its cgroup; in a system call or not */
	__u64 minor_faults;
	__u64 major_faults;
	__u64 rivals_other_ns; /* of those that found `rivals` full */
	__u32 samples;         /* ticks of a timer, in all of it, while it was on a CPU */
	__u32 kernel_samples; /* of those: in the kernel, and in no system call, nor in a page fault that is timed */
	__u32 fault_samples; /* of those in the kernel: in a page fault; where the kernel tells of its functions */
	__u32 user_samples; /* of all: in user space */
	__u32 rivals_len;
	__u32 known; /* enum record_known */
	struct record_rival rivals[RECORD_RIVALS];
	struct record_block block;
};

/* What one of the functions that are timed had of an iteration. */
struct record_function {
	__u64 duration_ns; /* the parts of its calls that lie in it */
	__u32 calls;       /* that ended in it */
	__u32 running;     /* that go on beyond it */
};

/* What became of one of the ready descriptors: service.bpf.h. */
struct record_turn {
	__s32 fd;        /* -1: it had no turn */
	__u32 role_slot; /* index into role_counters, or beyond */
};

/*
 * Both ends of a connection; family is AF_INET or AF_INET6, ports in host order. With AF_UNIX, the addresses begin with
 * a struct record_unix_end, and there are no ports: struct record_unix has the names.
 */
struct record_addresses {
	__u32 family;
	__u16 local_port;
	__u16 remote_port;
	__u8 local[16];
	__u8 remote[16];
};

enum record_identity_state {
	RECORD_IDENTITY_UNKNOWN = 0, /* nothing here says anything */
	RECORD_IDENTITY_NOTED,
	RECORD_IDENTITY_GONE, /* closed in the iteration, and not noted: its number stands for nothing, or another one */
};

/* What a descriptor was, noted while its number stood for that (identity.bpf.h). */
struct record_identity {
	__s32 fd;                          /* in any state: -1 where it is not known */
	__u16 state;                       /* enum record_identity_state */
	__u16 kind;                        /* enum role_kind */
	struct record_addresses addresses; /* of TCP */
};

/* The descriptor that the longest block was in a call on: as that call returned. */
struct record_blocked_on {
	__u64 start_ns; /* of that block; another: this is of one before it, and of an iteration before, maybe */
	__u64 inode;
	__u32 device;     /* as the kernel has it: 12 bits and 20 */
	__u32 is_certain; /* else another thread may have given the number to another during the call */
	struct record_identity is;
};

/*
 * An iteration beyond its budget. In the ring buffer its arrays follow each other without gaps, each as long as it is said
 * to be: unpack.h.
 */
struct record_overrun {
	__u32 type;
	__u32 pid;
	__u32 tid;
	__s32 epfd;      /* of the wait: its epoll set or ring; -1: it has none */
	__u64 iteration; /* counts a thread's iterations: what ties stacks to it */
	__u64 start_ns;
	__u64 duration_ns;
	__u64 runnable_ns;
	__u64 blocked_ns;
	__u64 longest_start_ns; /* its longest part: one system call, or the time between two */
	__u64 longest_ns;
	__u32 longest_in_syscall;
	__u32 syscall_count;
	__u32 syscalls_len;
	__u32 segments_len;
	__u32 segments_lost;
	__u32 ready_events; /* that the wait returned, or RECORD_READY_UNKNOWN; the first of them are below */
	__u32 ready_len;
	__u32 touches_len;
	__u32 touches_lost;
	__u32 wait; /* enum record_wait */
	__u32 turns_len;
	__u32 marks_len;
	__u32 running;       /* 1: it goes on: all of it is as of the end, with what is under way then */
	__u32 began_before;  /* 1: it was under way when stint came, from when on it is told */
	__u32 functions_len; /* 0: none are asked for */
	__u32 reserved;
	struct record_blocked_on blocked_on;
	struct record_verdict verdict;
	struct record_syscall syscalls[RECORD_SYSCALLS]; /* the first of the arrays */
	struct record_segment segments[RECORD_SEGMENTS];
	struct record_touch touches[RECORD_TOUCHES];
	struct record_turn turns[RECORD_READY];
	struct record_identity identities[RECORD_READY]; /* of the same, turns_len of them */
	struct record_mark marks[RECORD_MARKS];
	struct record_function functions[RECORD_FUNCTIONS]; /* by their numbers */
	struct record_ready ready[RECORD_READY];
};

/* An iteration that goes on, as it is at `time_ns`. */
struct record_hang {
	__u32 type;
	__u32 pid;
	__u32 tid;
	__s32 epfd; /* these two: as of an overrun */
	__u64 iteration;
	__u64 start_ns;
	__u64 time_ns;
	__u64 runnable_ns; /* these three: of the time until then */
	__u64 blocked_ns;
	__u64 stopped_ns; /* of that blocked */
	__u32 wait;
	__u32 began_before;
	__u32 is_asleep; /* these two: at that moment, blocked or stopped; else it has a CPU, or wants one */
	__u32 in_syscall;
	__u32 is_stopped;
	__u32 syscall_number;
	__s32 syscall_fd;
	__u32 reserved;
};

enum record_stack_kind {
	RECORD_STACK_WAIT = 1, /* at the wait: the loop's own */
	RECORD_STACK_COMPUTED, /* sampled while over budget */
	RECORD_STACK_BLOCKED,  /* at the end of a system call that took the iteration over budget */
	RECORD_STACK_FAULT,    /* as it left the CPU in no system call, to wait */
	RECORD_STACK_SLEEP,    /* as it goes to sleep: is that for it has nothing to do? */
};

/*
 * The user registers of a thread and a copy of its stack, from `sp` up, to be unwound later. It ends with what was copied.
 */
struct record_stack {
	__u32 type;
	__u32 pid;
	__u32 tid;
	__u32 kind; /* enum record_stack_kind */
	__u64 iteration;
	__u64 time_ns;
	__u64 sp;
	__u64 reg[17]; /* DWARF order of x86-64: rax rdx rcx rbx rsi rdi rbp rsp r8-r15 rip */
	__u32 stack_bytes;
	__s32 epfd;
	__u32 kernel_len;
	__u32 is_asleep; /* 1: of a thread that sleeps on: its stack was not copied, and is there to be read */
	__u32 absent; /* a bit for each page, from that of `sp` on: what the copy has of it means nothing */
	__u32 number; /* of the system call that it is in; all ones: of none */
	__u64 kernel[RECORD_KERNEL_FRAMES]; /* of a sample in the kernel: its stack there, innermost first */
	__u8 stack[RECORD_STACK_BYTES];
};

struct record_unix_end {
	__u64 inode;
	__u32 pid;  /* whose it is, or was when it was connected */
	__u32 seen; /* the pid was seen reading, and is not just the connection's */
};

#define RECORD_PATH_BYTES 108 /* the kernel's UNIX_PATH_MAX */

/* The names of a unix socket and its peer, once for each `socket`. An abstract one begins with a NUL. */
struct record_unix {
	__u32 type;
	__u32 pid;
	__u64 socket;
	__u32 local_len; /* 0: it has no name */
	__u32 peer_len;
	char local[RECORD_PATH_BYTES];
	char peer[RECORD_PATH_BYTES];
};

/* What a sender with a full buffer waits for: limit.bpf.h has the rules. */
enum record_limit {
	RECORD_LIMIT_RECEIVE_WINDOW = 0,
	RECORD_LIMIT_CONGESTION_WINDOW,
	RECORD_LIMIT_RETRANSMISSION,
	RECORD_LIMIT_SILENT,
	RECORD_LIMIT_NETWORK,
	RECORD_LIMIT_HOST,
	RECORD_LIMIT_PEER_READS, /* of a unix socket: all that it can wait for */
	RECORD_LIMITS
};

/* Why an ACK made no event for the owner: why.bpf.h has the rules. */
enum record_why_no_event {
	RECORD_WHY_ABOVE = 0, /* the queue is still above 2/3 of the buffer */
	RECORD_WHY_UNSENT,    /* unsent data, doubled, is not below TCP_NOTSENT_LOWAT */
	RECORD_WHY_NOT_ARMED, /* nobody asks for EPOLLOUT */
	RECORD_WHY_EDGE,      /* edge-triggered, and its one event was returned before */
	RECORD_WHY_REPLACED,  /* sk_write_space is another function, which has not told */
	RECORD_WHY_LOOP_BUSY, /* delivered, and the thread has been busy beyond its budget */
	RECORD_WHY_TOLD,      /* an ACK before it made the event, and the owner has not sent yet */
	RECORD_WHY_OTHER,     /* this kernel's rule is another, or it is a fault */
	RECORD_WHYS
};

enum record_ending {
	RECORD_SENT = 0, /* by the next send */
	RECORD_CLOSED,   /* the socket was closed, or its process exited, with no send any more */
	RECORD_OPEN,     /* it has not ended */
};

/*
 * A write stall by its moments; one that was not seen is 0. They never run backwards.
 * start <= cause <= raised <= on_cpu <= returned <= end
 */
struct record_stall {
	__u32 type;
	__u32 pid;
	__u32 tid;
	__s32 fd;
	__u64 socket;
	__u64 start_ns;
	__u64 cause_ns;
	__u64 raised_ns;
	__u64 on_cpu_ns;
	__u64 returned_ns;
	__u64 end_ns;
	__u64 runnable_ns; /* from on_cpu, or raised where that is 0, to end: the thread wanted a CPU, and had none */
	__u64 acked_bytes;
	__u32 acks;
	__u32 queued_bytes; /* these two: as the write event was raised */
	__u32 sndbuf_bytes;
	__u32 raise_inferred;
	__u32 snd_wnd_min_bytes;
	__u32 retransmits;
	__u32 unsent_bytes; /* these two: as the write event was raised */
	__u32 lowat_bytes;
	__u32 by_lowat;
	__u32 by_queue; /* that of a unix peer was as long as it may be */
	__u32 reserved;
	__u32 alarm;                   /* 0, or 1 + enum record_why_no_event */
	__u32 opened;                  /* 0: the next send came before any event */
	__u32 ending;                  /* enum record_ending */
	__u64 limit_ns[RECORD_LIMITS]; /* from start to cause, or to raised or end where that is 0 */
	struct record_addresses addresses;
};

/* What became of all ACKs in stalls of one socket since it is known; told again when it has changed. */
struct record_why {
	__u32 type;
	__u32 pid;
	__s32 fd;
	__u32 reserved;
	__u64 socket;
	__u64 told; /* the ACK made an event, and its owner waited for it */
	__u64 why[RECORD_WHYS];
	struct record_addresses addresses;
};

/* A socket that can be written to, and nobody told its owner for a while. */
struct record_alarm {
	__u32 type;
	__u32 pid;
	__u32 tid;
	__s32 fd;
	__u64 socket;
	__u64 time_ns;
	__u64 start_ns;  /* of the stall */
	__u64 opened_ns; /* since when it can be written to */
	__u32 queued_bytes;
	__u32 sndbuf_bytes;
	__u32 unsent_bytes;
	__u32 why;
	__u32 interest; /* the epoll events asked for, of all registrations */
	__u32 registered;
	struct record_addresses addresses;
};

/* One moment of a traced socket: kinds are those of enum stint_probes_socket_kind in probes.h. */
struct record_socket {
	__u32 type;
	__u32 kind;
	__u32 pid;
	__u32 tid;
	__u64 socket;
	__u64 time_ns;
	__u64 requested_bytes;
	__u64 done_bytes;
	__u32 queued_before_bytes;
	__u32 queued_bytes;
	__u32 sndbuf_bytes;
	__u32 unacked_bytes;
	__u32 snd_wnd_bytes;
	__u32 snd_cwnd;
	__s32 fd;
	__u32 cause;
	struct record_addresses addresses;
};

struct record_exit {
	__u32 type;
	__u32 pid;
};

/*
 * Where a thread of a runtime's sleeps that has nothing to do: key of a map that user space fills, as it finds that out by
 * the stack.
 */
struct idle_place {
	__u32 tid;
	__u32 number; /* of the system call */
	__u64 at; /* the word that a futex is; of others, and of those that are PLACE_IN_STACK, the stack pointer */
};

/* What is known of such a place: the map's values, of one byte. */
enum idle_known {
	PLACE_ASKED = 0, /* nothing yet, or that it is not idle there */
	PLACE_IDLE,
	PLACE_IN_STACK, /* it sleeps on that word whatever for: from where tells */
};

enum loop_end {
	LOOP_CLOSED = 1, /* what it waited in, by the thread itself */
	LOOP_THREAD_OVER,
};

/*
 * Counters of one loop, in an array map that user space reads as it is. They only grow until it ends; then user space
 * takes the last of them, clears the slot, and gives it back.
 */
struct loop_counters {
	__u32 pid;
	__u32 tid;
	__s32 epfd;
	__u32 wait;   /* enum record_wait; 0: this slot is not in use */
	__u64 number; /* never given twice */
	__u32 ended; /* enum loop_end; 0: it goes on. Set last of all: what it counted does not change any more */
	__u32 next; /* of its thread's loops, the slot and 1; 0: it is the last */
	__u64 iterations;
	__u64 events;
	__u64 overruns;
	__u64 busy_sum_ns, busy_min_ns, busy_max_ns;
	__u64 poll_sum_ns, poll_min_ns, poll_max_ns; /* of waits that began and ended */
	__u64 first_return_ns; /* of the wait that was under way when stint came; 0: none was */
	/*
	 * As of the last survey: how long the wait, or iteration, had taken that was under way; and what the two sums were
	 * together: it is counted in those by now if they are not that any more.
	 */
	__u64 waiting_ns, running_ns;
	__u64 surveyed_sum_ns;
	__u64 batch_max;
	__u64 overflow;
	__u64 busy[RECORD_BUCKETS];
	__u64 poll[RECORD_BUCKETS];
	__u64 batch[RECORD_BUCKETS];
};

/* Of addresses in the kernel's code. */
struct record_range {
	__u64 start;
	__u64 end;
};

/* Per CPU, so that nothing is shared; user space adds them up. */
struct loss_counters {
	__u64 ring_full;
	__u64 no_draft;
	__u64 table_full;
	__u64 roles_full; /* events, of descriptors whose role found no place */
	__u64 stacks_unread;
	__u64 acks_unseen;
	__u64 arrivals_unseen;
};

_Static_assert(sizeof(struct record_syscall) == 32, "no holes");
_Static_assert(sizeof(struct record_rival) == 32, "no holes");
_Static_assert(sizeof(struct record_block) == 56 + 2 * 8 * RECORD_KERNEL_FRAMES, "no holes");
_Static_assert(sizeof(struct record_verdict) == 96 + 32 * RECORD_RIVALS + sizeof(struct record_block),
	       "no holes");
_Static_assert(sizeof(struct record_mark) == 60, "no holes");
_Static_assert(sizeof(struct record_segment) == 32, "no holes");
_Static_assert(sizeof(struct record_addresses) == 40, "no holes");
_Static_assert(sizeof(struct record_identity) == 48, "no holes");
_Static_assert(sizeof(struct record_ready) == 12, "no holes");
_Static_assert(sizeof(struct record_turn) == 8, "no holes");
_Static_assert(sizeof(struct idle_place) == 16, "no holes");
_Static_assert(sizeof(struct record_touch) == 8, "no holes");
_Static_assert(sizeof(struct record_function) == 16, "no holes");
_Static_assert(sizeof(struct record_overrun) == 136 + sizeof(struct record_blocked_on) +
							sizeof(struct record_verdict) + 8 * 32 + 32 * 32 +
							64 * 8 + 64 * 8 + 64 * 48 + 64 * 60 +
							16 * RECORD_FUNCTIONS + 64 * 12,
	       "no holes");
_Static_assert(sizeof(struct record_blocked_on) == 72, "no holes");
_Static_assert(sizeof(struct record_stack) == 200 + RECORD_STACK_BYTES + 8 * RECORD_KERNEL_FRAMES,
	       "no holes");
_Static_assert(sizeof(struct record_unix_end) == 16, "no holes");
_Static_assert(sizeof(struct record_unix) == 24 + 2 * RECORD_PATH_BYTES, "no holes");
_Static_assert(sizeof(struct record_stall) == 184 + 8 * RECORD_LIMITS, "no holes");
_Static_assert(sizeof(struct record_why) == 72 + 8 * RECORD_WHYS, "no holes");
_Static_assert(sizeof(struct record_alarm) == 112, "no holes");
_Static_assert(sizeof(struct record_socket) == 120, "no holes");
_Static_assert(sizeof(struct record_exit) == 8, "no holes");
_Static_assert(sizeof(struct record_hang) == 96, "no holes");

#endif
