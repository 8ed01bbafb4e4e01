/* SPDX-License-Identifier: MIT */
#ifndef STINT_METER_FILE_H
#define STINT_METER_FILE_H

/*
 * The layout of the meter's mapped file: all that a program built on libstint publishes, and all that the
 * recorder reads of it. One file per process, mode 0600, in the runtime directory (stint_runtime_dir()).
 *
 *   header | metric table | handler table | loop table | a region for each loop
 *   a region: loop histograms | overrun ring | socket ring | stack ring | handler blocks
 *
 * Every place in the file follows from offsets, strides and limits in the header, so a reader of this
 * version can walk a file whose tables are larger or whose metrics are more than it knows of. A reader
 * trusts none of it: each offset, index, length and name is checked against the file's size.
 *
 * Order of publication: a table entry is filled, then its table's count is raised (store-release). The
 * header's `ready` is set last. Counters have one writer, the loop's thread (the watchdog's for the ring of stacks
 * and what it counts), and are stored relaxed.
 *
 * The file is sparse: a handler that a loop has never dispatched costs no memory. Blocks are backed by
 * fallocate() when they are handed out, so that a full file system is an error code and not a SIGBUS.
 *
 * Times are ns of CLOCK_MONOTONIC, the clock of bpf_ktime_get_ns().
 */

#include <stdint.h>
#include <stint/histogram.h>

#define STINT_METER_MAGIC       0x3172657465546e53ull /* "SnTeter1", little endian */
#define STINT_METER_VERSION     3u
#define STINT_METER_FILE_SUFFIX ".meter"

#define STINT_METER_NAME_BYTES      56
#define STINT_METER_STACK_REGISTERS 17
#define STINT_METER_STACK_BYTES     16384

enum stint_meter_clock { STINT_METER_CLOCK_GETTIME = 0, STINT_METER_CLOCK_TSC = 1 };

enum stint_meter_unit { STINT_METER_UNIT_NS = 0, STINT_METER_UNIT_COUNT = 1, STINT_METER_UNIT_BYTES = 2 };

/* Where a metric's histogram lives: in every loop's region, or in every handler block. */
enum stint_meter_scope { STINT_METER_SCOPE_LOOP = 0, STINT_METER_SCOPE_HANDLER = 1 };

/* Indexes into the loop histograms, in the order of the metric table's loop entries. */
enum stint_meter_loop_metric {
	STINT_METER_LOOP_BUSY = 0, /* iteration length without the poll, ns */
	STINT_METER_LOOP_POLL,     /* time in the poll, ns */
	STINT_METER_LOOP_BATCH,    /* events that one poll returned, count */
	STINT_METER_LOOP_LATENESS, /* timers: due to start of the handler, ns */
	STINT_METER_LOOP_METRICS
};

/* Indexes into a handler block's histograms, in the order of the metric table's handler entries. */
enum stint_meter_handler_metric {
	STINT_METER_HANDLER_SERVICE = 0, /* length of one dispatch, ns */
	STINT_METER_HANDLER_WAIT,        /* known ready to start of the handler, ns (a lower bound) */
	STINT_METER_HANDLER_WRITE_STALL, /* short send to the next send on that stream, ns */
	/* From here on, only handlers that offload work have memory behind theirs; others read as empty. */
	STINT_METER_HANDLER_WORK_QUEUE,  /* a job's submission to its start in a thread, ns */
	STINT_METER_HANDLER_WORK_RUN,    /* how long it ran there, ns */
	STINT_METER_HANDLER_WORK_RETURN, /* the end of that to the start of the handler, ns */
	STINT_METER_HANDLER_METRICS
};

/* Describes one histogram, so that a reader can show a metric that it has never heard of. */
struct stint_meter_file_metric {
	char name[24];
	uint32_t scope; /* enum stint_meter_scope */
	uint32_t unit;  /* enum stint_meter_unit */
	uint32_t index; /* which of its scope's histograms */
	uint32_t reserved;
};

/* A named handler. Entry 0 is always "other": what did not fit into the table. */
struct stint_meter_file_handler {
	char name[STINT_METER_NAME_BYTES]; /* NUL-terminated */
	uint64_t budget_ns;
};

struct stint_meter_file_header {
	uint64_t magic;
	uint32_t version;
	uint32_t ready; /* 1 once all of the header is in place; store-release */
	uint64_t file_bytes;
	uint32_t pid;
	uint32_t clock;               /* enum stint_meter_clock */
	uint64_t process_start_ticks; /* /proc/PID/stat field 22: tells a reused pid */
	uint64_t created_ns;          /* CLOCK_MONOTONIC */
	uint64_t created_realtime_ns; /* CLOCK_REALTIME at the same moment */
	char command[32];             /* comm of the process, NUL-terminated */

	uint32_t histogram_bytes; /* sizeof(struct stint_histogram) of the writer */
	uint32_t histogram_buckets;
	uint32_t metric_count;
	uint32_t metric_stride;
	uint64_t metrics_offset;

	uint32_t handler_limit;
	uint32_t handler_stride;
	uint64_t handlers_offset;
	uint32_t handler_count;    /* store-release; entry 0 counts */
	uint32_t handlers_refused; /* registrations that went to "other" */

	uint32_t loop_limit;
	uint32_t loop_stride;
	uint64_t loops_offset;
	uint32_t loop_count;    /* store-release */
	uint32_t loops_refused; /* beyond the limit, or without room in the file system: nobody sees them */
	uint32_t
		locked; /* 1: its process holds flock() on it, so one whose lock can be had is a dead one's */
	uint32_t reserved;
};

/*
 * One loop (one thread). Offsets count from the start of the file.
 * A ring's slot i % slots holds entry i; `written` is raised (store-release) after the slot is filled, so
 * entries [written - slots, written) are there, the oldest of which may be being overwritten just now: a
 * reader reads the slot, then `written` again, and drops what was overtaken, counting it as lost.
 */
struct stint_meter_file_loop {
	char name[STINT_METER_NAME_BYTES];
	uint32_t tid;
	uint32_t closed; /* 1 once the loop was freed; its figures stay */

	uint64_t iterations;
	uint64_t events;            /* dispatches of any kind */
	uint64_t busy_ns;           /* time outside the poll, iterations that ended */
	uint64_t poll_ns;           /* polls that ended */
	uint64_t poll_begin_ns;     /* of the poll under way, 0 if there is none */
	uint64_t dispatch_begin_ns; /* start of the handler that runs now, 0 if none does */
	uint32_t dispatch_handler;  /* which one */
	int32_t dispatch_fd;        /* its descriptor, -1 if it has none */
	uint64_t watchdog_hits;     /* dispatches that the watchdog found late */

	uint64_t histograms_offset; /* STINT_METER_LOOP_METRICS histograms */
	uint64_t blocks_offset;     /* handler_limit handler blocks */
	uint64_t block_stride;

	uint64_t overruns_offset;
	uint32_t overrun_slots;
	uint32_t overrun_stride;
	uint64_t overruns_written;

	uint64_t sockets_offset;
	uint32_t socket_slots;
	uint32_t socket_stride;
	uint64_t sockets_written;

	uint64_t stacks_offset;
	uint32_t stack_slots;
	uint32_t stack_stride;
	uint64_t stacks_written;
	uint64_t stacks_missed;  /* that could not be taken */
	uint64_t stacks_skipped; /* beyond the watchdog's limit of so many a second */
};

/*
 * What one loop knows of one handler. Blame and victims, and all of a histogram but its buckets, are up to date once
 * the loop has gone through its batch of events. The histograms follow, metric by metric, at this struct's end.
 */
struct stint_meter_file_block {
	uint64_t used; /* 1 once backed by memory: reading an unused block shows zeros */
	uint64_t overruns;
	uint64_t over_ns;  /* sum of the time beyond the budget */
	uint64_t blame_ns; /* service time, once for every event that had to wait for it */
	uint64_t victims;
	uint64_t jobs_refused;      /* the pool's queue was full */
	uint64_t file_reads_cached; /* chunks of files that the page cache had */
	uint64_t file_reads_missed; /* chunks, and ends, that a thread of the pool looked for */
	__extension__ struct stint_histogram histogram[]; /* an extension in C++ */
};

/* A dispatch beyond its budget. */
struct stint_meter_file_overrun {
	uint64_t start_ns;
	uint64_t duration_ns;
	uint64_t budget_ns;
	uint64_t cpu_min_ns; /* the thread's CPU time in it is known to lie between these two: reading the */
	uint64_t cpu_max_ns; /* CPU clock at every dispatch would cost more than the dispatch */
	uint32_t handler;
	int32_t fd;       /* -1 if it has none */
	uint64_t victims; /* events that were ready and waited for it */
	uint64_t iteration;
};

/*
 * Registers and the top of the stack of a loop's thread, taken by the watchdog in a dispatch that was late. To be
 * unwound by the reader, by the program's .eh_frame.
 */
struct stint_meter_file_stack {
	uint64_t begin_ns; /* of the dispatch: the start_ns of its overrun, if it ends */
	uint64_t time_ns;  /* when it was taken */
	uint32_t handler;
	int32_t fd;
	uint32_t machine; /* whose registers: the ELF constant EM_X86_64 */
	uint32_t blocked; /* 1: in the kernel; of the registers only sp and pc are known, the others are 0 */
	uint64_t reg
		[STINT_METER_STACK_REGISTERS]; /* DWARF's order: rax rdx rcx rbx rsi rdi rbp rsp r8-r15 rip */
	uint32_t stack_bytes;                  /* of `stack`: from the stack pointer up */
	uint32_t reserved;
	uint8_t stack[STINT_METER_STACK_BYTES];
};

enum stint_meter_socket_kind {
	STINT_METER_SOCKET_OPEN = 0,    /* tracing began */
	STINT_METER_SOCKET_SEND,        /* a send that took all it was given */
	STINT_METER_SOCKET_SEND_SHORT,  /* a send that took less, or none (EAGAIN) */
	STINT_METER_SOCKET_ACK,         /* SO_TIMESTAMPING: the last byte of a send was acknowledged */
	STINT_METER_SOCKET_WRITE_EVENT, /* the poll returned EPOLLOUT */
	STINT_METER_SOCKET_SAMPLE,      /* the buffer's fill, sampled by a timer */
	STINT_METER_SOCKET_CLOSE
};

/* One moment in the life of a traced socket, as the process itself can see it. */
struct stint_meter_file_socket {
	uint64_t time_ns;
	uint32_t kind; /* enum stint_meter_socket_kind */
	int32_t fd;
	uint64_t requested_bytes; /* SEND*: what the call was given */
	uint64_t done_bytes;      /* SEND*: what it took; ACK: bytes acknowledged so far, of this socket */
	uint64_t queued_bytes;    /* SK_MEMINFO_WMEM_QUEUED: memory of the write queue */
	uint64_t sndbuf_bytes;    /* SK_MEMINFO_SNDBUF */
	uint64_t unacked_bytes;   /* SIOCOUTQ: bytes sent or queued and not yet acknowledged */
};

#endif
