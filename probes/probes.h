/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_H
#define STINT_PROBES_H

/*
 * The probes: what the kernel knows of a process with event loops, and of its TCP sockets.
 *
 *   stint_probes_new -> stint_probes_watch (a pid, as often as wanted) -> stint_probes_poll in a loop
 *   -> stint_probes_read_loops for the histograms -> stint_probes_free
 *
 * One thread calls all of them. What the callbacks are given is valid during the call only.
 * Functions return 0 or a negative errno; the reason in words is in stint_probes_error().
 * Times are ns of CLOCK_MONOTONIC. Strings that come from the process under watch are not escaped.
 *
 * Nothing is left in the kernel once the process ends, in whatever way: all links and maps are held by
 * descriptors, and nothing is pinned.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stint_probes;

#define STINT_PROBES_SYSCALLS  8
#define STINT_PROBES_SEGMENTS  32
#define STINT_PROBES_MARKS     66
#define STINT_PROBES_READY     64
#define STINT_PROBES_FUNCTIONS 8
#define STINT_PROBES_TIMED     253  /* of those, each in each process */
#define STINT_PROBES_BUCKETS   2368 /* as in loop/include/stint/histogram.h; a test holds the two together */

/* What a loop waits in: its system call. Which of several waits of a thread is its loop's, probes/bpf/waits.bpf.h has. */
enum stint_probes_wait {
	STINT_PROBES_WAIT_EPOLL = 1,
	STINT_PROBES_WAIT_POLL,
	STINT_PROBES_WAIT_SELECT,
	STINT_PROBES_WAIT_IO_URING
};

struct stint_probes_syscall {
	uint32_t number;
	int32_t fd; /* first argument where that is a descriptor, else -1 */
	uint64_t start_ns;
	uint64_t duration_ns;
	char name[24];     /* "epoll_wait", or "syscall_NNN" where this build has no name */
	uint64_t argument; /* the first, whole: an address, to some */
};

/* A time off the CPU: from off_ns blocked, from runnable_ns runnable (== off_ns if preempted), on at on_ns. */
struct stint_probes_segment {
	uint64_t off_ns;
	uint64_t runnable_ns;
	uint64_t on_ns;
	uint64_t throttled_ns; /* of the time from runnable_ns to on_ns */
	bool in_syscall;       /* else it was preempted, or stopped, or a page fault */
	bool is_stopped;
};

/* What was summed of an iteration until then. */
struct stint_probes_mark {
	uint64_t time_ns;
	uint64_t kernel_ns;   /* on a CPU in system calls, and in page faults that were timed */
	uint64_t faulted_ns;  /* of that: in page faults */
	uint64_t runnable_ns; /* throttled or not */
	uint64_t throttled_ns;
	uint64_t blocked_ns;
	uint64_t fault_blocked_ns;
	uint64_t stopped_ns;
	uint64_t stolen_ns;
	uint64_t minor_faults;
	uint64_t major_faults;
	uint64_t samples;
	uint64_t kernel_samples;
	uint64_t fault_samples;
	uint64_t user_samples;
};

/* On what an overrun was spent, by its largest part. */
enum stint_probes_verdict {
	STINT_PROBES_VERDICT_UNKNOWN = 0,
	STINT_PROBES_USER,      /* computing in user space */
	STINT_PROBES_KERNEL,    /* computing in the kernel */
	STINT_PROBES_RUNNABLE,  /* waiting for a CPU that others had */
	STINT_PROBES_THROTTLED, /* kept off the CPU by its cgroup's limit */
	STINT_PROBES_BLOCKED,   /* in a system call, or by a page fault */
	STINT_PROBES_STOLEN     /* the CPU itself did not run: the hypervisor had it */
};

/*
 * The six parts of an overrun; they add up to its duration.
 * kernel: on a CPU in system calls, which is measured, and in page faults and interrupts. Page faults are timed in a
 * thread that had an overrun in which they may be much of its time, for some seconds from then on. The rest is the share of
 * the samples outside of both, where there are enough of those, or where it is known to have been page faults.
 * user: on a CPU otherwise.
 * stolen: as the kernel was told until its last tick, so up to a tick's worth may belong before or behind the
 * overrun.
 */
struct stint_probes_parts {
	uint64_t user_ns;
	uint64_t kernel_ns;
	uint64_t kernel_sampled_ns; /* of kernel_ns: what is known by samples only */
	uint64_t faulted_ns;        /* of kernel_ns: in page faults that were timed */
	uint64_t runnable_ns;
	uint64_t throttled_ns;
	uint64_t blocked_ns;
	uint64_t stolen_ns;
	bool throttled_known; /* these two: else the part is 0 because the kernel does not tell */
	bool stolen_known;
};

/* Whose fault an iteration's overrun is. */
enum stint_probes_iteration {
	STINT_PROBES_ITERATION_UNKNOWN = 0,
	STINT_PROBES_ONE_HANDLER,   /* one slow handler took more than half of it */
	STINT_PROBES_MANY_HANDLERS, /* many small ones */
	STINT_PROBES_SYSTEM         /* the thread was kept from a CPU for more than half of it */
};

#define STINT_PROBES_RIVALS  8
#define STINT_PROBES_VICTIMS 8

/* Who had the CPU that the thread wanted, as seen at the switches. */
struct stint_probes_rival {
	uint32_t pid; /* 0: nobody, the CPU was asleep */
	char comm[16];
	uint64_t duration_ns;
};

/* The longest time that the thread was blocked. */
struct stint_probes_block {
	uint64_t start_ns;
	uint64_t duration_ns; /* 0: none was long enough to be looked into */
	bool in_syscall;      /* else by a page fault, or another exception, or it was stopped */
	bool is_stopped;      /* by a tracer, a signal, or with its cgroup */
	char in[24]; /* that system call, or "a stop by a signal"; "" if it was neither, or not one of those listed */
	char on[192]; /* "/var/lib/x", "tcp 10.0.0.1:80 > 10.0.0.2:4242", "lock at 0x55..."; "" if unknown */
	/* What its number stood for as this was told or, of several threads, as the call returned: it may be another. */
	bool on_inferred;
	uint32_t waker_pid;
	char waker[16];      /* the task that woke it; "" if an interrupt did */
	char waker_what[48]; /* the kernel's function that asked for it, "hrtimer_wakeup"; "" if unknown */
	bool waker_inferred; /* the task may just have been interrupted by what woke it */
};

/* A descriptor whose event had to wait, inferred from the order of system calls. */
struct stint_probes_victim {
	int32_t fd;
	uint64_t wait_ns;   /* from the wait's return to its first system call, or to the iteration's end */
	char name[96];      /* as `on` above */
	bool name_inferred; /* so is this; else it was noted while it waited */
};

struct stint_probes_frame {
	char name[128];  /* "function", or "module+0xoffset", or "0xaddress" */
	char module[64]; /* file that it is in; "kernel"; "" if unknown */
	char file[96];   /* source, where there is debug information; else "" */
	uint32_t line;   /* 0: unknown */
	bool kernel;
};

/* What one of the functions that are timed had of an iteration. */
struct stint_probes_function_part {
	const char *asked;    /* as in the options; NULL: there is no such number */
	uint32_t calls;       /* that ended in it, each the outermost of its function */
	uint32_t running;     /* that go on beyond it: they hold the wait */
	uint64_t duration_ns; /* the parts of all these that lie in it */
};

enum stint_probes_stack {
	STINT_PROBES_STACK_NONE = 0,
	STINT_PROBES_STACK_COMPUTED,
	STINT_PROBES_STACK_BLOCKED
};

/* An iteration beyond the budget: from the return of the wait to the next wait. */
struct stint_probes_overrun {
	uint32_t pid;
	uint32_t tid;
	enum stint_probes_wait wait;
	int32_t epfd;      /* the epoll set or the ring that it waited in; -1: poll and select have none */
	int32_t fd;        /* the ready descriptor that was handled longest, inferred; -1 if unknown */
	char role[96];     /* what that is: "clients of :6379"; empty if unknown */
	bool began_before; /* it was under way when stint came, which is its start here: it was longer */
	bool running; /* it had not ended at stint_probes_stop(): all is as of then, and so told of no histogram */
	uint64_t start_ns;
	uint64_t duration_ns; /* = on_cpu_ns + runnable_ns + blocked_ns */
	uint64_t on_cpu_ns;
	uint64_t runnable_ns;
	uint64_t blocked_ns;
	uint32_t ready_events;  /* events that the wait returned */
	bool ready_unknown;     /* a ring may not tell: then ready_events is 0 */
	uint32_t victims;       /* of those: not yet handled when `fd` had been; inferred */
	uint64_t blame_ns;      /* how long those were made to wait by it, summed */
	uint32_t syscall_count; /* system calls in it */
	bool calls_unknown;     /* of a part of an iteration they are not counted: then syscall_count is 0 */
	uint32_t syscalls_len;  /* the longest of them, longest first */
	struct stint_probes_syscall syscalls[STINT_PROBES_SYSCALLS];
	uint32_t segments_len;
	uint32_t segments_lost;
	struct stint_probes_segment segments[STINT_PROBES_SEGMENTS];
	uint32_t marks_len; /* the first at its start, the last at its end */
	struct stint_probes_mark marks[STINT_PROBES_MARKS];
	/* COMPUTED also of a system call in which it was not blocked for most of the time. */
	enum stint_probes_stack stack_kind;
	uint64_t stack_time_ns;
	uint32_t stack_len;
	const char *const *stack; /* names, outermost first; "name+0xoff" or "module+0xoff" */
	const char *handler;      /* the frame where the stack leaves the loop's own, or "fd N", never NULL */

	/* What the frames of `stack` are, one for each. The kernel's follow the user's, in `stack` with "[k] " before. */
	const struct stint_probes_frame *frames;
	struct stint_probes_parts parts;
	enum stint_probes_verdict verdict;
	enum stint_probes_iteration iteration;
	uint64_t minor_faults;     /* page faults in it: memory was there, or was made */
	uint64_t major_faults;     /* and had to be read from a file or from swap */
	uint64_t fault_blocked_ns; /* of blocked_ns: in no system call, so in page faults as a rule */
	uint64_t stopped_ns; /* of blocked_ns: stopped by a tracer or a signal, or its cgroup was frozen */
	uint32_t samples;    /* ticks of a timer, in all of it, while it was on a CPU */
	uint32_t kernel_samples; /* of those: in the kernel, in a page fault or an interrupt */
	uint32_t fault_samples;  /* of those in the kernel: in a page fault that was not timed */
	uint32_t user_samples;   /* of all: in user space. The rest: in system calls */
	uint32_t rivals_len;     /* longest first */
	struct stint_probes_rival rivals[STINT_PROBES_RIVALS];
	uint64_t rivals_other_ns; /* those that found no place in there */
	struct stint_probes_block block;
	uint32_t victims_len; /* those of `victims` that waited longest */
	struct stint_probes_victim victims_list[STINT_PROBES_VICTIMS];
	struct stint_probes_function_part functions[STINT_PROBES_FUNCTIONS]; /* by their numbers */
};

/* What a sender with a full buffer waits for. probes/bpf/limit.bpf.h has the rules. */
enum stint_probes_limit {
	STINT_PROBES_LIMIT_RECEIVE_WINDOW = 0, /* the next segment does not fit into what the peer allows */
	STINT_PROBES_LIMIT_CONGESTION_WINDOW,  /* as much is on the way as the congestion control allows */
	STINT_PROBES_LIMIT_RETRANSMISSION,     /* the kernel recovers from loss */
	STINT_PROBES_LIMIT_SILENT,     /* three timers or more went off between two segments from the peer */
	STINT_PROBES_LIMIT_NETWORK,    /* all was sent, and the ACKs are on the way */
	STINT_PROBES_LIMIT_HOST,       /* both windows have room: pacing, or a queue of this machine */
	STINT_PROBES_LIMIT_PEER_READS, /* a unix socket's only one: its peer has not read */
	STINT_PROBES_LIMITS
};

/* What a stall was mostly: one of the limits (the kernel's own stage is the host's), or what came after the write event. */
enum stint_probes_stall_cause {
	STINT_PROBES_STALL_RUNNABLE =
		STINT_PROBES_LIMITS, /* the thread waited for a CPU, in whichever stage */
	STINT_PROBES_STALL_OWN_LOOP, /* the rest of loop and queue together */
	STINT_PROBES_STALL_UNKNOWN
};

/* How a stall ended. */
enum stint_probes_ending {
	STINT_PROBES_SENT = 0, /* with the next send */
	STINT_PROBES_CLOSED, /* the socket was closed, or shut down, or reset, or its process exited; no send came */
	STINT_PROBES_OPEN /* it has not: told by stint_probes_tell_open() */
};

/* Why an ACK in a stall made no event for the owner. */
enum stint_probes_no_event {
	STINT_PROBES_NO_EVENT_ABOVE = 0, /* the queue is still above 2/3 of the buffer */
	STINT_PROBES_NO_EVENT_UNSENT,    /* unsent data, doubled, is not below TCP_NOTSENT_LOWAT */
	STINT_PROBES_NO_EVENT_NOT_ARMED, /* no registration asks for EPOLLOUT */
	STINT_PROBES_NO_EVENT_EDGE,      /* edge-triggered, and its one event was returned before */
	STINT_PROBES_NO_EVENT_REPLACED,  /* sk_write_space was replaced (TLS, sockmap), and has not told */
	STINT_PROBES_NO_EVENT_LOOP_BUSY, /* delivered, and the thread has been busy beyond its budget */
	STINT_PROBES_NO_EVENT_TOLD,      /* an ACK before it made the event, and the owner has not sent yet */
	STINT_PROBES_NO_EVENT_OTHER,     /* the kernel raised none, or the event got lost */
	STINT_PROBES_NO_EVENTS
};

/*
 * A write stall: from a send that found the buffer full to the next send on that socket; but one that is refused before
 * anything has opened the buffer, as where a program sends once more at once, is of the same stall, and one that takes
 * something then ends it as it returns. Also from a send of 2048 bytes or more that was taken whole, and left a TCP socket
 * with too little room for a write event, to the next one, if that comes in the iteration in which a wait has returned the
 * event: in an epoll set, only where it was asked for, and not edge-triggered. A stall that did not end so is told until
 * its end, or until now; the last of its time is in the stage that it had come to.
 */
struct stint_probes_stall {
	enum stint_probes_ending ending;
	uint32_t pid;
	uint32_t tid;
	int32_t fd;
	char local[64]; /* "127.0.0.1:80", "[::1]:80" */
	char remote[64];
	uint64_t socket;       /* stint's own number of the socket: never given twice by one stint_probes */
	uint64_t start_ns;     /* the short send returned */
	uint64_t duration_ns;  /* = the sum of the five */
	uint64_t ack_ns;       /* to the ACK that opened the buffer */
	uint64_t kernel_ns;    /* to the write event being raised */
	uint64_t scheduler_ns; /* to the thread being on a CPU */
	uint64_t loop_ns;      /* to the wait returning it */
	uint64_t queue_ns;     /* to the next send */
	uint64_t runnable_later_ns; /* of loop_ns and queue_ns: the thread waited for a CPU */
	uint64_t queued_bytes;      /* memory of the queue, as the write event was raised */
	uint64_t sndbuf_bytes;
	uint64_t threshold_bytes; /* at or below which the kernel raises the event: 2/3 of sndbuf */
	uint32_t acks;            /* in the whole stall */
	uint64_t acked_bytes;
	/*
	 * When the segment arrived that opened the buffer; 0 if none was seen. An ACK; with TCP_NOTSENT_LOWAT it may
	 * be one that only opens the peer's window.
	 */
	uint64_t cause_time_ns;
	bool raise_inferred;        /* the event was seen by its effect (bit cleared), not by a wake-up */
	uint32_t snd_wnd_min_bytes; /* smallest receive window of the peer meanwhile */
	uint32_t retransmits;
	uint64_t limit_ns
		[STINT_PROBES_LIMITS]; /* what ack_ns was spent on; add up to it, but for what was not seen */
	int cause;             /* enum stint_probes_limit or stint_probes_stall_cause: the largest part */
	uint32_t unsent_bytes; /* as the write event was raised */
	uint32_t lowat_bytes;  /* TCP_NOTSENT_LOWAT, of the socket or the system; 0: none */
	bool by_lowat;         /* that refused the send, while the buffer had room */
	bool by_queue;         /* the same by the length of a unix peer's queue (net.unix.max_dgram_qlen) */
	int alarm;             /* enum stint_probes_no_event if one was given; -1: none */
};

/* What became of the ACKs in all stalls of a socket until now; told again when that has changed. */
struct stint_probes_acks {
	uint32_t pid;
	int32_t fd;
	uint64_t socket;
	char local[64];
	char remote[64];
	uint64_t acks; /* = told + the sum of no_event */
	uint64_t told; /* made a write event that a registration asked for */
	uint64_t no_event[STINT_PROBES_NO_EVENTS];
};

/* A socket in a stall that can be written to, while its owner was told nothing for a second. Once a stall. */
struct stint_probes_alarm {
	uint32_t pid;
	uint32_t tid; /* that sent last */
	int32_t fd;
	uint64_t socket;
	char local[64];
	char remote[64];
	uint64_t time_ns;
	uint64_t start_ns;  /* of the stall */
	uint64_t opened_ns; /* since when it can be written to */
	enum stint_probes_no_event why;
	bool registered;   /* in an epoll set */
	uint32_t interest; /* the epoll events that its registrations ask for */
	uint64_t queued_bytes;
	uint64_t sndbuf_bytes;
	uint64_t unsent_bytes;
};

enum stint_probes_socket_kind {
	STINT_PROBES_SOCKET_SEND = 0,    /* a send returned: done_bytes, queue after it */
	STINT_PROBES_SOCKET_SEND_SHORT,  /* the same, and it found the buffer full */
	STINT_PROBES_SOCKET_ACK,         /* a segment that acknowledges: queue before and after it */
	STINT_PROBES_SOCKET_WRITE_EVENT, /* the kernel raised the write event */
	STINT_PROBES_SOCKET_WOKEN,       /* the waiting thread got on a CPU */
	STINT_PROBES_SOCKET_RETURNED,    /* the wait returned it */
	STINT_PROBES_SOCKET_RETRANSMIT,
	/* These two of every traced socket; the rest only of those asked for by port or descriptor. */
	STINT_PROBES_SOCKET_WINDOW_CLOSED = 10, /* the peer's receive window went to 0 */
	STINT_PROBES_SOCKET_WINDOW_OPENED = 11,
	STINT_PROBES_SOCKET_CONNECTING = 7,  /* SYN sent */
	STINT_PROBES_SOCKET_ESTABLISHED = 8, /* the handshake is complete */
	STINT_PROBES_SOCKET_ACCEPTED = 9,    /* by its process */
	STINT_PROBES_SOCKET_FIN_SENT = 12,
	STINT_PROBES_SOCKET_FIN_RECEIVED = 13,
	STINT_PROBES_SOCKET_READ_EVENT = 14, /* of the FIN */
	STINT_PROBES_SOCKET_CLOSED = 15,
	STINT_PROBES_SOCKET_KINDS
};

/* One moment in the life of a traced socket. */
struct stint_probes_socket_event {
	uint64_t time_ns;
	uint64_t socket; /* as in stint_probes_stall */
	uint32_t pid;
	uint32_t tid;
	int32_t fd;
	enum stint_probes_socket_kind kind;
	char local[64];
	char remote[64];
	uint64_t requested_bytes;     /* SEND*: 0 if not known */
	uint64_t done_bytes;          /* SEND*: taken; ACK: acknowledged by it */
	uint64_t queued_before_bytes; /* ACK */
	uint64_t queued_bytes;        /* after it */
	uint64_t sndbuf_bytes;
	uint64_t unacked_bytes; /* snd_nxt/write_seq - snd_una */
	uint32_t snd_wnd_bytes;
	uint32_t snd_cwnd;
	bool cause; /* ACK: the one that opened the buffer */
};

/*
 * Counters of one loop (a thread and what it waits in) since it was first seen; they only grow. A loop is over when its
 * thread is, or when that closes what it waits in; one that has the same thread and descriptor later is another.
 */
struct stint_probes_loop {
	uint64_t number; /* stint's own: never given twice by one stint_probes */
	bool is_over;    /* these are its last figures */
	bool thread_is_over;
	uint32_t pid;
	uint32_t tid;
	enum stint_probes_wait wait;
	int32_t epfd; /* as in stint_probes_overrun */
	uint64_t iterations;
	uint64_t events;
	uint64_t overruns;
	uint64_t busy_sum_ns, busy_min_ns, busy_max_ns;
	uint64_t poll_sum_ns, poll_min_ns, poll_max_ns; /* of waits that began and ended */
	uint64_t first_return_ns; /* when the wait returned that was under way as stint came; 0: none was */
	/* How long it has waited by now, or by stint_probes_stop(), in a wait that has not ended; 0: there is none. */
	uint64_t waiting_ns;
	uint64_t
		running_ns; /* as that, of the iteration; 0 after the stop: it is an overrun that is `running` */
	uint64_t batch_max;
	uint64_t overflow;     /* iterations or polls beyond the histogram's range */
	const uint64_t *busy;  /* STINT_PROBES_BUCKETS counters */
	const uint64_t *poll;  /* the same */
	const uint64_t *batch; /* the same, of counts */
};

typedef int (*stint_probes_loop_visit)(void *ctx, const struct stint_probes_loop *loop);

/* What was lost, since the start. Each is shown in every report. */
struct stint_probes_losses {
	uint64_t ring_full; /* records that found the ring buffer full */
	uint64_t no_draft;  /* overruns and stacks that found no memory in the kernel to be put together in */
	uint64_t refused;   /* records that were not as long as they are to be, or of no known kind */
	uint64_t table_full;  /* threads, loops or sockets that found a table full */
	uint64_t roles_full;  /* events whose descriptor's role found the table of roles full */
	uint64_t stacks_cut;  /* stacks that could not be copied or unwound to their beginning */
	uint64_t not_sampled; /* closer looks not to be had: too many threads, or no descriptors left */
	uint64_t functions;   /* calls of timed functions that were not, and functions that got no probes */
	/*
	 * Functions that were timed later than they were to be, as there was no room: of their calls until then nothing is
	 * known.
	 */
	uint64_t functions_late;
	uint64_t acks_unseen; /* gaps in the ACKs of known sockets: the kernel ran no program for them */
	/*
	 * Reads of what no program had seen arrive (as above, or it came while the connection was closing): they have
	 * no age.
	 */
	uint64_t arrivals_unseen;
};

/* On what most of an iteration has been spent that goes on. */
enum stint_probes_hang_state {
	STINT_PROBES_HANG_COMPUTING = 0,
	STINT_PROBES_HANG_RUNNABLE, /* it wants a CPU */
	STINT_PROBES_HANG_BLOCKED,
	STINT_PROBES_HANG_STOPPED /* by a tracer, a signal, or with its cgroup */
};

/* An iteration that has taken `hang_ns` and goes on. It is an overrun once it is over, or the recording is. */
struct stint_probes_hang {
	uint32_t pid;
	uint32_t tid;
	uint64_t duration_ns; /* so far; or, as in stint_probes_overrun, since stint came */
	bool began_before;
	enum stint_probes_hang_state state;
	char in[24];         /* BLOCKED: the system call that it is in; "": none */
	int32_t fd;          /* of that; -1: it is on none */
	char on[192];        /* what that is, looked up; "" if it cannot be found out */
	const char *handler; /* COMPUTING: by a stack of it; "": there is none */
};

struct stint_probes_callbacks {
	void (*overrun)(void *ctx, const struct stint_probes_overrun *overrun);
	void (*stall)(void *ctx, const struct stint_probes_stall *stall);
	void (*socket)(void *ctx, const struct stint_probes_socket_event *event);
	void (*exited)(void *ctx, uint32_t pid); /* a watched process is gone */
	/* One that was followed came to a loop, at `time_ns`: told before anything else of it. */
	void (*appeared)(void *ctx, uint32_t pid, uint64_t time_ns);
	/* One that would be followed, but may not be inspected (or not be watched: `err`), and so is not. */
	void (*refused)(void *ctx, uint32_t pid, int err);
	void (*acks)(void *ctx, const struct stint_probes_acks *acks);
	void (*alarm)(void *ctx, const struct stint_probes_alarm *alarm);
	void (*hang)(void *ctx, const struct stint_probes_hang *hang);
	/* stint_probes_free() waits for the kernel, since a second, to take away uprobes: so many are there still. */
	void (*lingers)(void *ctx, uint32_t uprobes);
};

struct stint_probes_options {
	size_t size;        /* sizeof(struct stint_probes_options) */
	uint64_t budget_ns; /* of an iteration; 0: 1 ms */
	uint64_t sample_ns; /* between looks at a stack over budget; 0: ticks, and closer when they missed */
	bool trace_sockets; /* every socket that stalls is traced */
	/*
	 * With it: those with this port at either end, and from the handshake on; a connection that is older, from its
	 * first send on, full or not. 0: all.
	 */
	uint16_t trace_port;
	bool follow_children; /* of processes that are watched, and theirs */
	const char
		*follow_name; /* every process of that name (comm) that is started from now on; NULL: none */
	uint64_t follow_cgroup; /* every process in that cgroup or below, by its number; 0: none */
	uint32_t ring_bytes;    /* 0: 8 MiB; a power of two; in less than 16 KiB no overrun has room */
	uint32_t loop_limit;    /* at a time; 0: 64; at most 1024, each 56 KiB */
	uint32_t role_limit;    /* as that; 0: 128; at most 1024, each 84 KiB, and more once in use */
	uint8_t trace_address
		[16]; /* with trace_port: at the same end; IPv6, or IPv4 mapped into it; all 0: any */
	/*
	 * Functions to be timed, each "NAME" or "MODULE:NAME", see stint_probes_read_functions(); to be kept by the
	 * caller.
	 */
	const char *const *functions;
	uint32_t functions_len;  /* at most STINT_PROBES_FUNCTIONS */
	uint32_t function_limit; /* at a time, each in each process; 0: STINT_PROBES_TIMED, and no more */
	/* With trace_sockets: those that are this descriptor of their process, from their first send on, full or not. */
	bool trace_by_fd;
	int32_t trace_fd;
	/* An iteration that goes on is told once it has taken so long, and as that doubles; 0: none is. */
	uint64_t hang_ns;
};

/* What this machine allows; each with a sentence for the user, in `why`, where it does not. */
struct stint_probes_support {
	bool btf, privileges, load, tcp_probe;
	char why[512];
};

/* What a descriptor is that a loop waits for: in an epoll set, in poll(), in select(), or by a request in a ring. */
enum stint_probes_role_kind {
	STINT_PROBES_ROLE_OTHER = 0,
	STINT_PROBES_ROLE_LISTENER,
	STINT_PROBES_ROLE_CLIENTS,  /* connections that were accepted on a port */
	STINT_PROBES_ROLE_UPSTREAM, /* connections that were made to an address */
	STINT_PROBES_ROLE_UDP,
	STINT_PROBES_ROLE_UNIX_LISTENER,
	STINT_PROBES_ROLE_UNIX,
	STINT_PROBES_ROLE_SOCKET,
	STINT_PROBES_ROLE_PIPE,
	STINT_PROBES_ROLE_TIMERFD,
	STINT_PROBES_ROLE_EVENTFD,
	STINT_PROBES_ROLE_SIGNALFD,
	STINT_PROBES_ROLE_INOTIFY,
	STINT_PROBES_ROLE_EPOLL,
	STINT_PROBES_ROLE_TERMINAL,
	STINT_PROBES_ROLE_FILE,   /* these two: in a ring */
	STINT_PROBES_ROLE_TIMEOUT /* of the ring itself */
};

/*
 * WAIT and SERVICE are inferred from the order of system calls: the turn of an event begins with the first one on its
 * descriptor after the wait, and goes on until there is one on another that was ready, or the next wait.
 * AGE is from the arrival in the kernel (TCP data; the end of the handshake, for a listener) to the return of the
 * first read (or accept) after the wait: the sum of the six that follow, of which those that took no time are not
 * counted.
 */
enum stint_probes_role_metric {
	STINT_PROBES_ROLE_WAIT = 0, /* from the wait's return to the turn */
	STINT_PROBES_ROLE_SERVICE, /* the turn, and what was done on that descriptor later in the iteration */
	STINT_PROBES_ROLE_AGE,
	STINT_PROBES_ROLE_LEFT,      /* to the return of the last wait but one: not asked for, or not read */
	STINT_PROBES_ROLE_BUSY,      /* the loop was busy, and not waiting */
	STINT_PROBES_ROLE_KERNEL,    /* to the wake-up of the waiting thread */
	STINT_PROBES_ROLE_SCHEDULER, /* to the thread being on a CPU */
	STINT_PROBES_ROLE_RETURN, /* to the wait's return; in a wait from before the probes, from the arrival on */
	STINT_PROBES_ROLE_QUEUE, /* to the return of the first read */
	STINT_PROBES_ROLE_METRICS
};

struct stint_probes_histogram {
	uint64_t count; /* with overflow */
	uint64_t sum_ns;
	uint64_t min_ns; /* UINT64_MAX if nothing was counted */
	uint64_t max_ns;
	uint64_t overflow;      /* beyond the histogram's range */
	const uint64_t *bucket; /* STINT_PROBES_BUCKETS counters */
};

/* Descriptors of one role, handled by one thread; the counters only grow, until the thread is over. */
struct stint_probes_role {
	uint64_t number; /* stint's own: never given twice by one stint_probes */
	bool is_over;    /* these are its last figures */
	uint32_t pid;
	uint32_t tid;
	enum stint_probes_role_kind kind;
	char name[96]; /* "clients of :6379"; threads have roles of the same name */
	struct stint_probes_histogram metric[STINT_PROBES_ROLE_METRICS];
};
typedef int (*stint_probes_role_visit)(void *ctx, const struct stint_probes_role *role);

/* Bad habits. `of` is what `count` is to be set against. */
enum stint_probes_finding_kind {
	STINT_PROBES_FINDING_IDLE_EPOLLOUT = 0, /* EPOLLOUT returned with no send after it; of: waits */
	STINT_PROBES_FINDING_NOT_DRAINED, /* EPOLLET, data left, and read on only when more came; cost: it lay */
	STINT_PROBES_FINDING_MAXEVENTS_FULL, /* waits that were full, and the next returned at once; of: waits */
	STINT_PROBES_FINDING_CTL_STORM,      /* changes of registrations; of: events */
	STINT_PROBES_FINDING_ZERO_TIMEOUT, /* polls with a timeout of 0 that returned nothing; of: all waits */
	STINT_PROBES_FINDING_BLOCKING,     /* calls on a blocking descriptor; cost: they blocked */
	/*
	 * Level-triggered, and returned by 128 waits in a row or more that did not sleep, with no system call on it of any
	 * thread of the process; of: waits; cost: its share of `idle_iterations`, from their waits' begin.
	 */
	STINT_PROBES_FINDING_LEFT_READY,
	/*
	 * Calls of the accept family that failed with EMFILE or ENFILE while connections were in the listener's queue;
	 * cost: from the first such call until the thread's next one that did not fail so.
	 */
	STINT_PROBES_FINDING_NO_DESCRIPTOR
};

struct stint_probes_finding {
	enum stint_probes_finding_kind kind;
	uint32_t pid;
	uint32_t tid;
	int32_t epfd;
	uint64_t loop; /* the number of its loop (struct stint_probes_loop) */
	int32_t fd;    /* the (worst) descriptor; -1: of the whole loop */
	char role[96]; /* of that descriptor; empty without one */
	uint64_t count;
	uint64_t of;              /* 0: does not apply */
	uint64_t cost_ns;         /* what it took in sum */
	uint64_t longest_ns;      /* 0: not known */
	uint64_t same;            /* CTL_STORM: changed nothing */
	uint64_t idle_iterations; /* IDLE_EPOLLOUT, LEFT_READY: in which nothing but such was ready */
};
typedef int (*stint_probes_finding_visit)(void *ctx, const struct stint_probes_finding *finding);

/*
 * A function that is timed in a process. A call is the outermost of the function in its thread: what it calls of itself
 * is part of it. Its duration is from behind the probe at its entry to before the one at its return, whatever its thread
 * did or waited for meanwhile, and with what other functions' probes took in it.
 */
struct stint_probes_function {
	uint32_t number; /* stint's own: never given twice by one stint_probes */
	bool is_over;    /* these are its last figures: its process has ended, or is another program */
	uint32_t pid;
	const char *asked;  /* as in the options */
	const char *name;   /* the symbol */
	const char *module; /* the file that it is in */
	uint64_t address;   /* in that file */
	uint64_t begun;
	uint64_t nested; /* calls begun within a call */
	uint64_t left;   /* of those begun: left without a return, as by longjmp(); seen at the next call */
	uint64_t unmatched; /* returns of calls whose beginning was not seen: it had begun before */
	uint64_t not_kept;  /* calls not timed: more than 1024 threads, or 64 calls deep */
	uint64_t
		cost_ns; /* by which each call is longer for being timed, measured at the start; 0: not known */
	uint64_t within_ns;                     /* of that: in the duration itself */
	struct stint_probes_histogram duration; /* of calls that have returned */
};
typedef int (*stint_probes_function_visit)(void *ctx, const struct stint_probes_function *function);

/* How much of the events the roles account for. */
struct stint_probes_attribution {
	uint64_t events; /* of iterations that are over */
	uint64_t
		not_attributed; /* of those: no system call on their descriptor, or beyond the first 64 of a batch */
};

int stint_probes_supported(struct stint_probes_support *ret);
int stint_probes_new(struct stint_probes **ret, const struct stint_probes_options *options,
		     const struct stint_probes_callbacks *callbacks, void *ctx);
int stint_probes_watch(struct stint_probes *probes, uint32_t pid);

/* Watches a process like one that is followed: nothing is told of it before it comes to a loop. -ENOSPC: too many. */
int stint_probes_follow(struct stint_probes *probes, uint32_t pid);

/* Whether any process is watched still, also one that nothing was told of yet. */
bool stint_probes_is_watching(const struct stint_probes *probes);

/*
 * Whether this user may look into a process, by the rules of ptrace(2): 0, -ESRCH, -EACCES or -EPERM. Capabilities
 * that the program's file lends do not count.
 */
int stint_probes_may_inspect(uint32_t pid);

/*
 * The number by which /proc tells of a process's memory, files and namespaces: its own; or, if its first thread has
 * left, for which these are nobody's, that of another thread. Its own, too, if there is none.
 */
uint32_t stint_probes_live_thread(uint32_t pid);

/*
 * How many loops a process seems to have by what /proc tells now: as many as it has epoll sets, or threads that wait in
 * epoll, poll(), select() or a ring, whichever are more; at least 1. For `loop_limit`.
 */
uint32_t stint_probes_expected_loops(uint32_t pid);

/* What it would take, or who refuses it, where that said -EACCES or -EPERM. */
const char *stint_probes_inspect_needs(void);

/*
 * To be called once all is attached that was asked for: gives up for good the privileges that are not needed to go on,
 * keeping those of `also` (bits of CAP_...), and any way to gain some by an exec. Processes to come are still followed.
 */
int stint_probes_drop_privileges(uint64_t also);

/* Waits and takes what is there, but for no longer than 0.1 s: 1 if more is left, so that the caller has its turn. */
int stint_probes_poll(struct stint_probes *probes, int timeout_ms);

/*
 * Has the write stalls told that are not over, as they are by now: the next stint_probes_poll() brings them. To be called
 * once, before the end. 0, or a negative errno.
 */
int stint_probes_tell_open(struct stint_probes *probes);

/*
 * From `time_ns` (CLOCK_MONOTONIC) on stint_probes_poll() returns after each record, so that stint_probes_stop() can be
 * called in time: a record may take tens of ms to deal with.
 */
void stint_probes_end_at(struct stint_probes *probes, uint64_t time_ns);

/*
 * What happens from now on is noted no more, and nothing can be watched any more. What was noted is there to be polled
 * and read, and so are the iterations that have not ended and are beyond the budget, as overruns that are `running`.
 * *ret_ns is the moment, by CLOCK_MONOTONIC; 0 if nothing was noted anyway. 0, or a negative errno: then those iterations
 * are not told.
 */
int stint_probes_stop(struct stint_probes *probes, uint64_t *ret_ns);

int stint_probes_read_loops(struct stint_probes *probes, stint_probes_loop_visit visit, void *ctx);

/* For each role, and each finding so far. -ENOMEM, or what `visit` returned if that was not 0. */
int stint_probes_read_roles(struct stint_probes *probes, stint_probes_role_visit visit, void *ctx);
int stint_probes_read_findings(struct stint_probes *probes, stint_probes_finding_visit visit, void *ctx);
void stint_probes_attribution(const struct stint_probes *probes, struct stint_probes_attribution *ret);

/*
 * Gives the room of loops, roles and timed functions that are over to others: of those whose last figures
 * stint_probes_read_loops(), stint_probes_read_roles() and stint_probes_read_functions() have told. They, and the findings
 * of the loops, are not told again. To be called after all is read, once a second or so: without it, there is room for
 * `loop_limit`, `role_limit` and `function_limit` in all. 0, or a negative errno.
 */
int stint_probes_release(struct stint_probes *probes);

/*
 * For each function that is or was timed, of each process, until it is released. What `visit` returned if that was not 0.
 */
int stint_probes_read_functions(struct stint_probes *probes, stint_probes_function_visit visit, void *ctx);

/*
 * Why function `number` of those that were asked for is timed in no process so far, in words; NULL: it is in one. They
 * are looked for as a process is watched, after an exec, and when it comes to its first loop, or one more.
 */
const char *stint_probes_function_missing(const struct stint_probes *probes, uint32_t number);

void stint_probes_losses(const struct stint_probes *probes, struct stint_probes_losses *ret);
uint64_t stint_probes_cost_ns(const struct stint_probes *probes); /* run time of the BPF programs, if known */
const char *stint_probes_error(const struct stint_probes *probes);
struct stint_probes *stint_probes_free(struct stint_probes *probes);

#endif
