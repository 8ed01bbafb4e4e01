/* SPDX-License-Identifier: MIT */
#ifndef REPORT_MODEL_H
#define REPORT_MODEL_H

/*
 * A recording in memory, as plain data for whoever presents it.
 *
 * The file may be hostile: what has the wrong type or sign is unknown, references that lead nowhere lead to
 * a process named "?", text is cut at a few hundred bytes, and how much is loaded is bounded. Where a bound
 * cut something off, `*_total` says how much there is. Texts are not escaped.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_UNKNOWN UINT64_MAX

#define MODEL_PROCESSES 1024
#define MODEL_LOOPS     1024
#define MODEL_HANDLERS  4096
#define MODEL_OVERRUNS  10000 /* the longest */
#define MODEL_STALLS    100000
#define MODEL_EVENTS    200000
#define MODEL_ACKS      10000
#define MODEL_ALARMS    10000
#define MODEL_FACTS     256
#define MODEL_ROLES     1024
#define MODEL_FINDINGS  1024
#define MODEL_SYSCALLS  8
#define MODEL_FRAMES    128
#define MODEL_FUNCTIONS 1024

struct model_bucket {
	uint32_t bucket; /* as in stint/histogram.h */
	uint64_t count;
};

/* One histogram over the whole recording. */
struct model_metric {
	bool known; /* false: the recording has nothing on it */
	uint64_t count;
	uint64_t sum;
	uint64_t min; /* these two may be unknown */
	uint64_t max;
	uint64_t overflow;
	struct model_bucket *buckets; /* ascending, none empty */
	size_t buckets_len;
};

struct model_process {
	int64_t id;
	uint64_t pid;
	char *command;
	uint64_t exited_ns;
	uint64_t
		appeared_ns; /* these may be unknown: it was there from the start; it is in no namespaces of its own */
	uint64_t inside_pid;
	uint64_t inside_netns;
	int shared_epfd; /* an epoll set that several of its threads wait in, by turns or together; -1: none */
};

enum model_source { MODEL_METER, MODEL_PROBES, MODEL_BOTH };

enum model_loop_metric { MODEL_BUSY, MODEL_POLL, MODEL_BATCH, MODEL_LATENESS, MODEL_LOOP_METRICS };

struct model_loop {
	int64_t id;
	const struct model_process *process;
	uint64_t tid;
	int epfd; /* -1: unknown */
	char *name;
	enum model_source source;
	uint64_t iterations;
	uint64_t busy_ns;
	uint64_t poll_ns;
	uint64_t running_ns; /* of its last iteration, if that had not ended: it is in no other figure */
	/*
	 * It waits in a set that other threads wait in too: what it sleeps as it is not wanted is part of its iterations,
	 * so its busy share says nothing.
	 */
	bool is_shared;
	struct model_metric metrics[MODEL_LOOP_METRICS];
};

enum model_handler_metric {
	MODEL_SERVICE,
	MODEL_WAIT,
	MODEL_WRITE_STALL,
	MODEL_WORK_QUEUE,
	MODEL_WORK_RUN,
	MODEL_WORK_RETURN,
	MODEL_HANDLER_METRICS
};

struct model_handler {
	int64_t id;
	const struct model_process *process;
	char *name;
	enum model_source source; /* MODEL_PROBES: the handler was inferred from stacks */
	uint64_t budget_ns;
	uint64_t overruns;
	uint64_t over_ns;
	uint64_t blame_ns; /* these two are unknown where no loop of its process told its batches */
	uint64_t victims;
	uint64_t jobs_refused;
	uint64_t file_reads_cached; /* chunks that the page cache had */
	uint64_t file_reads_missed; /* those that a thread of a pool read */
	struct model_metric metrics[MODEL_HANDLER_METRICS];
};

struct model_syscall {
	char *name; /* NULL: there is none of this rank */
	int fd;
	uint64_t start_ns;
	uint64_t duration_ns;
};

/* The parts of an iteration, by the verdict that stands for each. */
enum model_verdict_kind {
	MODEL_USER,
	MODEL_KERNEL,
	MODEL_RUNNABLE,
	MODEL_THROTTLED,
	MODEL_BLOCKED,
	MODEL_STOLEN,
	MODEL_VERDICTS /* how many; as a verdict: none */
};

enum model_iteration { MODEL_ITERATION_UNKNOWN, MODEL_ONE_HANDLER, MODEL_MANY_HANDLERS, MODEL_SYSTEM };

#define MODEL_RIVALS  8
#define MODEL_VICTIMS 8

struct model_rival {
	char *comm; /* NULL: there is none of this rank */
	uint64_t pid;
	uint64_t duration_ns;
	bool is_recorder; /* stint itself */
	bool is_own;      /* a thread of the process that waited: `comm` is its name */
};

struct model_victim {
	bool known; /* there is one of this rank */
	int fd;
	char *name;         /* NULL: unknown */
	bool name_inferred; /* looked up later */
	uint64_t wait_ns;
};

/* On what an iteration was spent: the one that an overrun is, or that it was part of. */
struct model_verdict {
	enum model_verdict_kind verdict;
	enum model_iteration iteration;
	uint64_t parts_ns[MODEL_VERDICTS]; /* THROTTLED and STOLEN may be unknown */
	uint64_t whole_ns;                 /* their sum */
	uint64_t kernel_sampled_ns;
	uint64_t faulted_ns;
	uint64_t fault_blocked_ns;
	uint64_t stopped_ns;
	uint64_t minor_faults;
	uint64_t major_faults;
	uint64_t samples;
	uint64_t kernel_samples;
	uint64_t user_samples;
	uint64_t block_ns; /* unknown: it was not blocked for long; then so is all of the block */
	char *blocked_in;  /* these four: NULL if unknown */
	char *blocked_on;
	char *waker;
	char *waker_what;
	uint64_t waker_pid;
	bool waker_inferred;
	bool blocked_on_inferred;                /* looked up later */
	struct model_rival rivals[MODEL_RIVALS]; /* who had the CPU longest first */
	size_t rivals_len;
	struct model_victim victims[MODEL_VICTIMS]; /* who waited longest first */
	size_t victims_len;
};

/* Where a function is, beside its name in the stack. */
struct model_place {
	char *module; /* these two: NULL if unknown */
	char *file;
	uint64_t line; /* may be unknown */
	bool kernel;
};

/* What one of the functions that were timed had of an iteration. */
struct model_function_part {
	char *asked;
	uint64_t calls;   /* that ended in it */
	uint64_t running; /* that went on beyond it */
	uint64_t duration_ns;
};

#define MODEL_FUNCTION_PARTS 8

enum model_stack { MODEL_STACK_NONE, MODEL_STACK_COMPUTED, MODEL_STACK_BLOCKED };

struct model_overrun {
	int64_t id;
	const struct model_process *process;
	const struct model_handler *handler; /* NULL: unknown */
	enum model_source source;
	bool running;      /* it had not ended: duration_ns is how long it had run */
	bool began_before; /* it was under way when stint came: it was longer; inferred */
	uint64_t tid;
	int fd;     /* -1: unknown */
	char *role; /* what that is, inferred; NULL: unknown */
	uint64_t start_ns;
	uint64_t duration_ns;
	uint64_t iteration_ns; /* from here to cpu_max_ns any may be unknown */
	uint64_t on_cpu_ns;
	uint64_t runnable_ns;
	uint64_t blocked_ns;
	uint64_t cpu_min_ns;
	uint64_t cpu_max_ns;
	uint64_t victims; /* as of its handler */
	uint64_t blame_ns;
	uint64_t ready_events; /* these two may be unknown */
	uint64_t syscall_count;
	enum model_stack stack_kind;
	struct model_syscall syscalls[MODEL_SYSCALLS]; /* longest first */
	size_t syscalls_len;
	char **frames; /* outermost first; the kernel's last, each with "[k] " before its name */
	size_t frames_len;
	struct model_place *places;    /* one for each of them; NULL if there are none */
	struct model_verdict *verdict; /* NULL: unknown */
	struct model_function_part functions[MODEL_FUNCTION_PARTS];
	size_t functions_len;
};

/* What a sender with a full buffer waited for, and what a stall was mostly. */
enum model_limit {
	MODEL_LIMIT_RECEIVE_WINDOW,
	MODEL_LIMIT_CONGESTION_WINDOW,
	MODEL_LIMIT_RETRANSMISSION,
	MODEL_LIMIT_SILENT,
	MODEL_LIMIT_NETWORK,
	MODEL_LIMIT_HOST,
	MODEL_LIMIT_PEER_READS,
	MODEL_LIMITS
};

enum model_cause { MODEL_CAUSE_RUNNABLE = MODEL_LIMITS, MODEL_CAUSE_OWN_LOOP, MODEL_CAUSE_UNKNOWN };

/* How a stall ended. */
enum model_ending { MODEL_STALL_SENT, MODEL_STALL_CLOSED, MODEL_STALL_OPEN };

/* Why an ACK made no event for the owner of the socket. */
enum model_no_event {
	MODEL_NO_EVENT_ABOVE,
	MODEL_NO_EVENT_UNSENT,
	MODEL_NO_EVENT_NOT_ARMED,
	MODEL_NO_EVENT_EDGE,
	MODEL_NO_EVENT_REPLACED,
	MODEL_NO_EVENT_LOOP_BUSY,
	MODEL_NO_EVENT_TOLD,
	MODEL_NO_EVENT_OTHER,
	MODEL_NO_EVENTS
};

struct model_stall {
	const struct model_process *process;
	uint64_t tid;
	int fd;
	uint64_t socket;
	char *local;
	char *remote;
	uint64_t start_ns;
	uint64_t duration_ns;
	uint64_t ack_ns;
	uint64_t kernel_ns;
	uint64_t scheduler_ns;
	uint64_t loop_ns;
	uint64_t queue_ns;
	uint64_t runnable_later_ns; /* of these two */
	uint64_t queued_bytes;
	uint64_t sndbuf_bytes;
	uint64_t threshold_bytes;
	uint64_t acks;
	uint64_t acked_bytes;
	uint64_t cause_ns; /* may be unknown */
	bool raise_inferred;
	uint64_t snd_wnd_min_bytes;
	uint64_t retransmits;
	uint64_t limit_ns[MODEL_LIMITS]; /* what ack_ns went by */
	enum model_cause cause;          /* or an enum model_limit */
	uint64_t unsent_bytes;           /* these two may be unknown */
	uint64_t lowat_bytes;
	bool by_lowat;
	bool by_queue;
	enum model_ending ending;
	int alarm; /* enum model_no_event; MODEL_NO_EVENTS: none was given */
};

/* What became of the ACKs in all stalls of a socket. */
struct model_acks {
	const struct model_process *process;
	uint64_t socket;
	int fd;
	char *local;
	char *remote;
	uint64_t acks;
	uint64_t told;
	uint64_t no_event[MODEL_NO_EVENTS];
};

/* A socket that could be written to, while its owner was told nothing. */
struct model_alarm {
	const struct model_process *process;
	uint64_t tid;
	int fd;
	uint64_t socket;
	char *local;
	char *remote;
	uint64_t time_ns;
	uint64_t start_ns;
	uint64_t opened_ns;
	enum model_no_event why;
	uint64_t interest; /* epoll events; unknown if it is in no epoll set */
	uint64_t queued_bytes;
	uint64_t sndbuf_bytes;
	uint64_t unsent_bytes;
};

enum model_event_kind {
	MODEL_OPEN,
	MODEL_SEND,
	MODEL_SEND_SHORT,
	MODEL_ACK,
	MODEL_WRITE_EVENT,
	MODEL_WOKEN,
	MODEL_RETURNED,
	MODEL_RETRANSMIT,
	MODEL_CONNECTING,
	MODEL_ESTABLISHED,
	MODEL_ACCEPTED,
	MODEL_WINDOW_CLOSED,
	MODEL_WINDOW_OPENED,
	MODEL_FIN_SENT,
	MODEL_FIN_RECEIVED,
	MODEL_READ_EVENT,
	MODEL_CLOSED,
	MODEL_SAMPLE,
	MODEL_CLOSE
};

/* A moment of a traced socket. Every figure may be unknown. */
struct model_event {
	const struct model_process *process;
	enum model_source source;
	enum model_event_kind kind;
	uint64_t socket; /* the kernel's cookie */
	int fd;
	char *local; /* NULL: unknown */
	char *remote;
	uint64_t time_ns;
	uint64_t requested_bytes;
	uint64_t done_bytes;
	uint64_t queued_before_bytes;
	uint64_t queued_bytes;
	uint64_t sndbuf_bytes;
	uint64_t unacked_bytes;
	bool cause;
};

/* As STINT_PROBES_ROLE_* has them. */
enum model_role_metric {
	MODEL_ROLE_WAIT,
	MODEL_ROLE_SERVICE,
	MODEL_ROLE_AGE,
	MODEL_ROLE_LEFT, /* this one and those after it: the stages that the age is the sum of */
	MODEL_ROLE_BUSY,
	MODEL_ROLE_KERNEL,
	MODEL_ROLE_SCHEDULER,
	MODEL_ROLE_RETURN,
	MODEL_ROLE_QUEUE,
	MODEL_ROLE_METRICS
};

/* What descriptors of a process are. WAIT and SERVICE are inferred. */
struct model_role {
	int64_t id;
	const struct model_process *process;
	char *name;
	char *kind;
	struct model_metric metrics[MODEL_ROLE_METRICS];
};

enum model_finding_kind {
	MODEL_IDLE_EPOLLOUT,
	MODEL_NOT_DRAINED,
	MODEL_MAXEVENTS_FULL,
	MODEL_CTL_STORM,
	MODEL_ZERO_TIMEOUT,
	MODEL_BLOCKING,
	MODEL_LEFT_READY,
	MODEL_NO_DESCRIPTOR,
	MODEL_FINDINGS_KINDS
};

/* A bad habit of a loop, or of a descriptor in it: as struct stint_probes_finding. */
struct model_finding {
	const struct model_process *process;
	uint64_t tid;
	int fd; /* -1: of the whole loop */
	enum model_finding_kind kind;
	char *role; /* NULL: none */
	uint64_t count;
	uint64_t of;
	uint64_t cost_ns;
	uint64_t longest_ns;
	uint64_t same;
	uint64_t idle_iterations;
};

/* A function that was timed on request, as struct stint_probes_function. */
struct model_function {
	int64_t id;
	const struct model_process *process;
	char *asked;
	char *name;
	char *module;
	uint64_t address;
	uint64_t cost_ns; /* these two may be unknown */
	uint64_t within_ns;
	uint64_t begun;
	uint64_t nested;
	uint64_t left_behind;
	uint64_t unmatched;
	uint64_t not_kept;
	struct model_metric duration;
};

struct model_meta {
	char *key;
	char *value;
	uint64_t number; /* the value as a number, if it is one, else unknown */
};

struct model_loss {
	char *name;
	uint64_t count;
	char *meaning;
	bool of_stacks; /* not lost: stacks without their beginning, or not to be had */
};

struct model {
	struct model_meta *meta;
	size_t meta_len, meta_total;
	struct model_loss *losses;
	size_t losses_len, losses_total;
	struct model_process *processes;
	size_t processes_len, processes_total;
	struct model_loop *loops;
	size_t loops_len, loops_total;
	struct model_handler *handlers;
	size_t handlers_len, handlers_total;
	struct model_overrun *overruns; /* longest first */
	size_t overruns_len, overruns_total;
	struct model_stall *stalls; /* by time */
	size_t stalls_len, stalls_total;
	struct model_acks *acks; /* most without an event first */
	size_t acks_len, acks_total;
	struct model_alarm *alarms; /* by time */
	size_t alarms_len, alarms_total;
	struct model_role *roles;
	size_t roles_len, roles_total;
	struct model_finding *findings; /* what cost most first */
	size_t findings_len, findings_total;
	struct model_function *functions; /* by process; most time in sum first */
	size_t functions_len, functions_total;
	struct model_event *events; /* by time */
	size_t events_len, events_total;
	uint64_t start_ns;
	uint64_t duration_ns; /* to the end, or to the last thing seen if there is no end */
	bool ended;           /* false: the recorder was killed, or still runs */
	struct model_process nobody;
};

/*
 * Loads the recording at `path`. If the recorder was killed amid a write, what it began is rolled back in the
 * file, which needs write permission; nothing else is written, and no file is made.
 * On failure returns a negative errno, with the reason as one sentence in `error`, and sets nothing.
 */
int model_new(struct model **ret, const char *path, char *error, size_t error_size);

/* NULL is allowed. Returns NULL. */
struct model *model_free(struct model *model);

/* Text of a fact of the recording, NULL if it is not there. */
const char *model_meta_text(const struct model *model, const char *key);
uint64_t model_meta_number(const struct model *model, const char *key);

/* What was lost, and the stacks that are incomplete, which are not among it. */
uint64_t model_lost(const struct model *model);
uint64_t model_stacks_incomplete(const struct model *model);

/*
 * The value of rank ceil(permyriad / 10000 * count): the middle of its bucket, held within the exact min and
 * max; max if that rank is beyond the histogram's range. Unknown if nothing was counted.
 */
uint64_t model_percentile(const struct model_metric *metric, unsigned permyriad);

/* The exact maximum, or where that is not known the middle of the last bucket. */
uint64_t model_maximum(const struct model_metric *metric);

/* Unknown if nothing was counted. */
double model_mean(const struct model_metric *metric, bool *known);

/* Of a loop, how long it was in iterations, over or not; and the same with its waits. */
uint64_t model_busy_ns(const struct model_loop *loop);
uint64_t model_whole_ns(const struct model_loop *loop);

/* Seconds from the start of the recording. */
double model_seconds(const struct model *model, uint64_t time_ns);

#endif
