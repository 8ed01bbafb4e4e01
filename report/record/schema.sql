-- SPDX-License-Identifier: MIT
--
-- A recording: one SQLite file that anyone can query. Times are ns of CLOCK_MONOTONIC; a `second` counts
-- from the recording's start. NULL means that nobody knows, never zero. Names come from the process
-- under watch and are stored as they are: who shows them escapes them.

PRAGMA application_id = 1400139380; -- 'Stnt': tells a recording from other SQLite files
PRAGMA user_version = 5;

-- Facts about the recording, one a row: schema, stint_version, kernel, host, clock, start_ns (monotonic),
-- start_realtime_ns, end_ns (missing after a kill), budget_ns, epollout_rule, probes ('yes', or why not),
-- trace_socket (which sockets were to be traced: '80', '127.0.0.1:80', 'fd:7', 'stalled'; missing: none),
-- recorder_pid, recorder_cpu_ns, bpf_ns, watchdog_stacks_skipped (watchdogs take but so many a second).
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;

-- What was lost, by what lost it ('ring_full', 'meter_overruns', ...), summed over the recording. Not lost, but stacks that
-- are incomplete: 'stacks_cut', 'watchdog_stacks'.
CREATE TABLE loss (name TEXT PRIMARY KEY, count INTEGER NOT NULL, meaning TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE process (
	id INTEGER PRIMARY KEY,
	pid INTEGER NOT NULL,
	command TEXT NOT NULL,
	exited_ns INTEGER,                     -- NULL: still ran at the end
	-- when it came to its first loop, if it was followed; NULL: there from the start
	appeared_ns INTEGER,
	inside_pid INTEGER,                    -- its number in its own namespace; NULL: it has no other
	inside_netns INTEGER                   -- its network namespace; NULL: that of the recorder
);

-- A loop: a thread and what it waits in (epfd: its epoll set or ring), by which it is named where only the kernel
-- tells of it: 'epoll fd 5', 'poll', 'select', 'io_uring fd 7'. Sets that a thread closes and makes again under the same
-- number are one loop. source 'meter' (told by the program) or 'probes' (by the kernel).
CREATE TABLE loop (
	id INTEGER PRIMARY KEY,
	process INTEGER NOT NULL REFERENCES process(id),
	tid INTEGER NOT NULL,
	epfd INTEGER,
	name TEXT NOT NULL,
	source TEXT NOT NULL CHECK (source IN ('meter', 'probes')),
	iterations INTEGER NOT NULL DEFAULT 0, -- these three: within the recording
	-- of iterations that ended, whole; without an end_ns, also of one under way (source 'meter': of its present
	-- dispatch)
	busy_ns INTEGER NOT NULL DEFAULT 0,
	poll_ns INTEGER NOT NULL DEFAULT 0     -- with its part of the polls that began before it, or had not ended
);

-- A handler: named by the program ('meter'), or found by the stack where it overran ('probes', inferred).
CREATE TABLE handler (
	id INTEGER PRIMARY KEY,
	process INTEGER NOT NULL REFERENCES process(id),
	name TEXT NOT NULL,
	source TEXT NOT NULL CHECK (source IN ('meter', 'probes')),
	budget_ns INTEGER NOT NULL,
	overruns INTEGER NOT NULL DEFAULT 0,   -- these four: within the recording
	over_ns INTEGER NOT NULL DEFAULT 0,
	blame_ns INTEGER NOT NULL DEFAULT 0,
	victims INTEGER NOT NULL DEFAULT 0,
	UNIQUE (process, name, source)
);

-- What else is counted of a handler, if there is any, within the recording: 'jobs_refused' (the pool's queue was full),
-- 'file_reads_cached' (chunks of files that the page cache had), 'file_reads_missed' (those that a thread read).
CREATE TABLE handler_count (
	handler INTEGER NOT NULL REFERENCES handler(id),
	name TEXT NOT NULL,
	count INTEGER NOT NULL,
	PRIMARY KEY (handler, name)
) WITHOUT ROWID;

-- The values that fall into each bucket. low <= value < high; mid is what a percentile is reported as.
CREATE TABLE bucket (bucket INTEGER PRIMARY KEY, low INTEGER NOT NULL, high INTEGER NOT NULL, mid INTEGER NOT NULL);

-- Histograms as rows, one for each bucket that grew in that second (several where a handler runs on several
-- loops: add them up). Exactly one owner is not NULL.
-- metric of a handler: 'service', 'wait', 'write_stall', and of work that it gave to a pool of threads 'work_queue',
-- 'work_run', 'work_return'; of a loop: 'busy', 'poll', 'batch' (a count), 'lateness'.
CREATE TABLE histogram (
	handler INTEGER REFERENCES handler(id),
	loop INTEGER REFERENCES loop(id),
	metric TEXT NOT NULL,
	second INTEGER NOT NULL,
	bucket INTEGER NOT NULL REFERENCES bucket(bucket),
	count INTEGER NOT NULL,
	CHECK ((handler IS NULL) <> (loop IS NULL))
);
CREATE INDEX histogram_handler ON histogram (handler, metric) WHERE handler IS NOT NULL;
CREATE INDEX histogram_loop ON histogram (loop, metric) WHERE loop IS NOT NULL;

-- What buckets cannot tell, for the whole recording: exact sum, extremes, and what was beyond the range.
-- min and max are exact where they fell within the recording, else the bounds of the outermost bucket.
CREATE TABLE total (
	handler INTEGER REFERENCES handler(id),
	loop INTEGER REFERENCES loop(id),
	metric TEXT NOT NULL,
	unit TEXT NOT NULL CHECK (unit IN ('ns', 'count', 'bytes')),
	count INTEGER NOT NULL,
	sum INTEGER NOT NULL,
	min INTEGER,
	max INTEGER,
	overflow INTEGER NOT NULL,
	CHECK ((handler IS NULL) <> (loop IS NULL)),
	UNIQUE (handler, loop, metric)
);

-- A dispatch ('meter') or an iteration ('probes') beyond its budget. Where both saw the same one there is
-- one row, source 'both': duration_ns is the dispatch's, iteration_ns the kernel's view of the iteration.
CREATE TABLE overrun (
	id INTEGER PRIMARY KEY,
	process INTEGER NOT NULL REFERENCES process(id),
	handler INTEGER REFERENCES handler(id),
	source TEXT NOT NULL CHECK (source IN ('meter', 'probes', 'both')),
	-- 1: it had not ended: no histogram has it, nor, of a dispatch, the handler's counts
	running INTEGER NOT NULL DEFAULT 0,
	-- 1: it was under way when stint came, at start_ns: it was longer; inferred
	began_before INTEGER NOT NULL DEFAULT 0,
	tid INTEGER NOT NULL,
	fd INTEGER,
	role TEXT,                             -- what fd is; inferred, of iterations
	start_ns INTEGER NOT NULL,
	duration_ns INTEGER NOT NULL,
	iteration_ns INTEGER,
	on_cpu_ns INTEGER,                     -- known from the probes
	runnable_ns INTEGER,
	blocked_ns INTEGER,
	cpu_min_ns INTEGER,                    -- known without them: bounds
	cpu_max_ns INTEGER,
	victims INTEGER NOT NULL,
	blame_ns INTEGER NOT NULL,
	ready_events INTEGER,
	syscall_count INTEGER,
	stack_kind TEXT CHECK (stack_kind IN ('computed', 'blocked'))
);
CREATE TABLE overrun_syscall (
	overrun INTEGER NOT NULL REFERENCES overrun(id),
	rank INTEGER NOT NULL,                 -- 0: the longest
	name TEXT NOT NULL,
	fd INTEGER,
	start_ns INTEGER NOT NULL,
	duration_ns INTEGER NOT NULL
);
CREATE TABLE overrun_frame (
	overrun INTEGER NOT NULL REFERENCES overrun(id),
	depth INTEGER NOT NULL,                -- 0: the outermost
	name TEXT NOT NULL,
	module TEXT,                           -- the file that it is in
	file TEXT,                             -- these two: where there is debug information
	line INTEGER,
	kernel INTEGER NOT NULL DEFAULT 0      -- a function of the kernel: those follow the program's
);
CREATE TABLE overrun_segment (
	overrun INTEGER NOT NULL REFERENCES overrun(id),
	off_ns INTEGER NOT NULL,
	runnable_ns INTEGER NOT NULL,
	on_ns INTEGER NOT NULL
);

-- On what an overrun was spent: a dispatch, or an iteration of a program that does not tell its dispatches. No row: that is
-- not known. The six parts add up to overrun.duration_ns: on a CPU in user space or in the kernel; runnable, so waiting for
-- a CPU; throttled by its cgroup; blocked in a system call or a page fault, or stopped; stolen by the hypervisor. `verdict`
-- is the largest.
CREATE TABLE overrun_verdict (
	overrun INTEGER PRIMARY KEY REFERENCES overrun(id),
	verdict TEXT CHECK (verdict IN ('user', 'kernel', 'runnable', 'throttled', 'blocked', 'stolen')),
	iteration TEXT CHECK (iteration IN ('one handler', 'many handlers', 'system')), -- whose fault it is; inferred
	user_ns INTEGER NOT NULL,
	kernel_ns INTEGER NOT NULL,
	runnable_ns INTEGER NOT NULL,
	throttled_ns INTEGER,                  -- NULL: this kernel does not tell
	blocked_ns INTEGER NOT NULL,
	stolen_ns INTEGER,                     -- NULL: the hypervisor does not tell
	kernel_sampled_ns INTEGER NOT NULL,    -- of kernel_ns: page faults and interrupts, estimated by samples
	faulted_ns INTEGER NOT NULL,           -- of kernel_ns, beside those: page faults that were timed
	fault_blocked_ns INTEGER NOT NULL,     -- of blocked_ns: in page faults
	stopped_ns INTEGER NOT NULL,           -- of blocked_ns: stopped by a tracer or a signal, or with its cgroup
	minor_faults INTEGER NOT NULL,         -- page faults: memory was there, or was made
	major_faults INTEGER NOT NULL,         -- and had to be read from a file or from swap
	samples INTEGER NOT NULL,              -- ticks while it was on a CPU and over budget
	kernel_samples INTEGER NOT NULL,       -- of those: in the kernel, but in no system call
	user_samples INTEGER NOT NULL,
	block_ns INTEGER,                      -- from here on: the longest time that it was blocked
	blocked_on TEXT,                       -- a lock, a file, the ends of a socket
	-- 1: what its number stood for later, as the overrun was told, or the call ended
	blocked_on_inferred INTEGER,
	waker TEXT,                            -- the task that woke it; NULL: an interrupt did
	waker_pid INTEGER,
	waker_what TEXT,                       -- the kernel's function that asked for it
	waker_inferred INTEGER,
	-- the system call, or 'a stop by a signal' or 'by a tracer', 'a frozen cgroup'; NULL: a page fault
	blocked_in TEXT
);

-- Who ran on the CPU that the thread wanted, as seen at the switches. pid 0: nobody, the CPU was asleep.
CREATE TABLE overrun_rival (
	overrun INTEGER NOT NULL REFERENCES overrun(id),
	rank INTEGER NOT NULL,                 -- 0: had it longest
	pid INTEGER NOT NULL,
	comm TEXT NOT NULL,
	duration_ns INTEGER NOT NULL
);

-- Whose events had to wait for the slow one, inferred from the order of system calls: those that waited longest.
CREATE TABLE overrun_victim (
	overrun INTEGER NOT NULL REFERENCES overrun(id),
	rank INTEGER NOT NULL,                 -- 0: waited longest
	fd INTEGER NOT NULL,
	name TEXT,                             -- what it is
	-- 1: what its number stood for as the overrun was told; else noted while it waited
	name_inferred INTEGER,
	wait_ns INTEGER NOT NULL               -- from the wait's return to its first system call
);

-- From a send that found the buffer full, or left too little room for a write event that the program then waited for, to
-- the next send on that socket (not one that was refused before anything had opened the buffer), or as long as it lasted
-- without one. The five stages add up; of a stall without a next send, the last of its time is in the stage that it had come
-- to.
CREATE TABLE write_stall (
	id INTEGER PRIMARY KEY,
	process INTEGER NOT NULL REFERENCES process(id),
	tid INTEGER NOT NULL,
	fd INTEGER NOT NULL,
	socket INTEGER NOT NULL,               -- stint's own number of the socket
	local TEXT NOT NULL,
	remote TEXT NOT NULL,
	start_ns INTEGER NOT NULL,
	duration_ns INTEGER NOT NULL,
	ack_ns INTEGER NOT NULL,
	kernel_ns INTEGER NOT NULL,
	scheduler_ns INTEGER NOT NULL,
	loop_ns INTEGER NOT NULL,
	queue_ns INTEGER NOT NULL,
	queued_bytes INTEGER NOT NULL,
	sndbuf_bytes INTEGER NOT NULL,
	threshold_bytes INTEGER NOT NULL,
	acks INTEGER NOT NULL,
	acked_bytes INTEGER NOT NULL,
	cause_ns INTEGER,                      -- when the ACK arrived that opened the buffer
	raise_inferred INTEGER NOT NULL,
	snd_wnd_min_bytes INTEGER NOT NULL,
	retransmits INTEGER NOT NULL,
	-- What ack_ns went by; together they are ack_ns, but for what was not seen.
	receive_window_ns INTEGER NOT NULL,    -- the next segment did not fit into the window that the peer gave
	congestion_window_ns INTEGER NOT NULL, -- as many packets were on the way as the congestion control allows
	retransmission_ns INTEGER NOT NULL,    -- the kernel was recovering from loss
	silent_ns INTEGER NOT NULL,            -- three timers or more went off between two segments from the peer
	network_ns INTEGER NOT NULL,           -- all was sent, and the ACKs were on the way
	host_ns INTEGER NOT NULL,              -- both windows had room: pacing, or a queue of this machine
	peer_reads_ns INTEGER NOT NULL,        -- of a unix socket: the peer had not read enough
	-- The largest of these (host_ns with kernel_ns), 'runnable' (waiting for a CPU: scheduler_ns and
	-- runnable_later_ns), 'own_loop' (the rest of loop_ns and queue_ns), or 'unknown'.
	cause TEXT NOT NULL,
	unsent_bytes INTEGER NOT NULL,         -- as the write event was raised
	lowat_bytes INTEGER,                   -- TCP_NOTSENT_LOWAT; NULL: none
	by_lowat INTEGER NOT NULL,             -- that refused the send, though the buffer had room
	alarm TEXT,                            -- as write_alarm.why, if one was given
	by_queue INTEGER NOT NULL,             -- the same by the length of a unix peer's queue (net.unix.max_dgram_qlen)
	-- 'sent': by the next send. 'closed': no send came any more, as the socket was closed, shut down or reset, or its
	-- process exited. 'open': it went on as the recording ended; not told by a recorder that was killed.
	ending TEXT NOT NULL CHECK (ending IN ('sent', 'closed', 'open')),
	runnable_later_ns INTEGER NOT NULL     -- of loop_ns and queue_ns: the thread waited for a CPU
);

-- What became of each ACK in the stalls of a socket, until the recording's end: acks = told + the sum of the others.
CREATE TABLE write_ack (
	process INTEGER NOT NULL REFERENCES process(id),
	socket INTEGER NOT NULL,               -- as in write_stall
	fd INTEGER NOT NULL,
	local TEXT NOT NULL,
	remote TEXT NOT NULL,
	acks INTEGER NOT NULL,
	told INTEGER NOT NULL,                 -- it made a write event that a registration asked for
	above INTEGER NOT NULL,                -- the queue was still above 2/3 of the buffer
	unsent INTEGER NOT NULL,               -- unsent data, doubled, was not below TCP_NOTSENT_LOWAT
	not_armed INTEGER NOT NULL,            -- no registration asked for EPOLLOUT
	edge INTEGER NOT NULL,                 -- edge-triggered, and its one event had been returned before
	replaced INTEGER NOT NULL,             -- sk_write_space was replaced (TLS, sockmap) and did not tell
	loop_busy INTEGER NOT NULL,            -- delivered, and the thread had been busy beyond its budget
	already_told INTEGER NOT NULL,         -- an ACK before it made the event, and the owner had not sent yet
	other INTEGER NOT NULL,                -- the kernel raised none, by a rule that stint does not know
	PRIMARY KEY (process, socket)
) WITHOUT ROWID;

-- A socket in a stall that could be written to, while its owner was told nothing for a second.
CREATE TABLE write_alarm (
	process INTEGER NOT NULL REFERENCES process(id),
	tid INTEGER NOT NULL,
	fd INTEGER NOT NULL,
	socket INTEGER NOT NULL,               -- as in write_stall
	local TEXT NOT NULL,
	remote TEXT NOT NULL,
	time_ns INTEGER NOT NULL,
	start_ns INTEGER NOT NULL,             -- of the stall
	opened_ns INTEGER NOT NULL,            -- since when it could be written to
	why TEXT NOT NULL,                     -- a column of write_ack
	interest INTEGER,                      -- epoll events that it was registered for; NULL: in no epoll set
	queued_bytes INTEGER NOT NULL,
	sndbuf_bytes INTEGER NOT NULL,
	unsent_bytes INTEGER NOT NULL
);

-- Moments in the life of a traced socket. source 'probes' sees each ACK in the kernel; 'meter' is what the
-- process saw of itself: its 'ack' is one a send, when its last byte was acknowledged, with the bytes
-- acknowledged until then. kind: 'open', 'send', 'send_short' (the buffer was full), 'ack', 'write_event'
-- (raised by the kernel), 'woken' (the thread is on a CPU), 'returned' (the wait returned it), 'retransmit',
-- 'window_closed' (the peer allows nothing more), 'window_opened', 'sample', 'close'; of sockets asked for by port
-- also 'connecting' (SYN sent), 'established', 'accepted', 'fin_sent', 'fin_received', 'read_event' (of the FIN), 'closed'.
-- Of a unix socket, an 'ack' is a read of the peer that ended a message; the last three figures do not apply.
CREATE TABLE socket_event (
	process INTEGER NOT NULL REFERENCES process(id),
	source TEXT NOT NULL CHECK (source IN ('meter', 'probes')),
	socket INTEGER,                        -- as in write_stall; NULL from the meter
	tid INTEGER,
	fd INTEGER NOT NULL,
	local TEXT,
	remote TEXT,
	time_ns INTEGER NOT NULL,
	kind TEXT NOT NULL,
	requested_bytes INTEGER,
	done_bytes INTEGER,
	queued_before_bytes INTEGER,
	queued_bytes INTEGER,
	sndbuf_bytes INTEGER,
	unacked_bytes INTEGER,
	snd_wnd_bytes INTEGER,
	snd_cwnd INTEGER,
	cause INTEGER NOT NULL DEFAULT 0       -- the ACK that opened the buffer
);
CREATE INDEX socket_event_time ON socket_event (time_ns);

-- What the descriptors of a process are, for a program that nothing is known of: 'clients of :6379', 'timerfd'. kind:
-- 'listener', 'clients', 'upstream', 'other' (everything else).
CREATE TABLE role (
	id INTEGER PRIMARY KEY,
	process INTEGER NOT NULL REFERENCES process(id),
	name TEXT NOT NULL,
	kind TEXT NOT NULL,
	UNIQUE (process, name)
);

-- As histogram and total, in ns. metric: 'service' and 'wait' (from the wait's return), inferred from the order of system
-- calls; 'age', from the arrival in the kernel to the return of the first read, and the stages that it is the sum of:
-- 'left' (waits returned, and it was not asked for or not read; recordings of before it was told have it in 'busy'), 'busy'
-- (the loop was not waiting), 'kernel' (to the wake-up), 'scheduler' (to a CPU), 'return' (to the wait's return), 'queue'
-- (to the read's). A stage that took no time is not counted.
CREATE TABLE role_histogram (
	role INTEGER NOT NULL REFERENCES role(id),
	metric TEXT NOT NULL,
	second INTEGER NOT NULL,
	bucket INTEGER NOT NULL REFERENCES bucket(bucket),
	count INTEGER NOT NULL
);
CREATE INDEX role_histogram_role ON role_histogram (role, metric);
CREATE TABLE role_total (
	role INTEGER NOT NULL REFERENCES role(id),
	metric TEXT NOT NULL,
	count INTEGER NOT NULL,
	sum INTEGER NOT NULL,
	min INTEGER,
	max INTEGER,
	overflow INTEGER NOT NULL,
	PRIMARY KEY (role, metric)
) WITHOUT ROWID;

-- Bad habits of a loop, or of a descriptor in it. kind: 'idle_epollout', 'not_drained', 'maxevents_full', 'ctl_storm',
-- 'zero_timeout', 'blocking', 'left_ready', 'no_descriptor'. probes.h says what count and cost_ns are of each. Of sets that
-- were closed and made again under one number there is a row each. As of the last reading: what is no habit any more is not
-- here.
CREATE TABLE finding (
	process INTEGER NOT NULL REFERENCES process(id),
	tid INTEGER NOT NULL,
	epfd INTEGER NOT NULL,
	fd INTEGER NOT NULL,                   -- -1: of the whole loop
	kind TEXT NOT NULL,
	role TEXT,                             -- what the descriptor is
	count INTEGER NOT NULL,
	of INTEGER NOT NULL,                   -- what count is set against; 0: nothing
	cost_ns INTEGER NOT NULL,
	longest_ns INTEGER NOT NULL,           -- 0: not known
	same INTEGER NOT NULL,                 -- ctl_storm: changed nothing
	idle_iterations INTEGER NOT NULL,      -- idle_epollout, left_ready: nothing else was ready
	-- the recorder's own, of the loop: tells apart those of sets that had one number
	loop_number INTEGER NOT NULL,
	PRIMARY KEY (process, loop_number, tid, epfd, fd, kind)
) WITHOUT ROWID;

-- A function that was timed because it was asked for, in a process: one row for each program that the process was. Its
-- figures are those of struct stint_probes_function in probes.h. A call is the outermost of the function in its thread.
CREATE TABLE function (
	id INTEGER PRIMARY KEY,
	process INTEGER NOT NULL REFERENCES process(id),
	asked TEXT NOT NULL,                   -- as it was asked for: 'processCommand', 'libc:epoll_wait'
	name TEXT NOT NULL,                    -- its symbol
	module TEXT NOT NULL,                  -- the file that it is in
	address INTEGER NOT NULL,              -- there
	cost_ns INTEGER,                       -- by which each call is longer for being timed; NULL: not known
	within_ns INTEGER,                     -- of that: in the duration itself
	begun INTEGER NOT NULL DEFAULT 0,      -- calls
	nested INTEGER NOT NULL DEFAULT 0,     -- calls of it within these, in the same thread: a part of them
	left_behind INTEGER NOT NULL DEFAULT 0,-- of those begun: left without a return, as by longjmp()
	unmatched INTEGER NOT NULL DEFAULT 0,  -- returns of calls that had begun before it was timed
	not_kept INTEGER NOT NULL DEFAULT 0    -- calls for which a table had no room
);

-- As histogram and total, in ns. metric: 'duration', of calls that have returned.
CREATE TABLE function_histogram (
	function INTEGER NOT NULL REFERENCES function(id),
	metric TEXT NOT NULL,
	second INTEGER NOT NULL,
	bucket INTEGER NOT NULL REFERENCES bucket(bucket),
	count INTEGER NOT NULL
);
CREATE INDEX function_histogram_function ON function_histogram (function, metric);
CREATE TABLE function_total (
	function INTEGER NOT NULL REFERENCES function(id),
	metric TEXT NOT NULL,
	count INTEGER NOT NULL,
	sum INTEGER NOT NULL,
	min INTEGER,
	max INTEGER,
	overflow INTEGER NOT NULL,
	PRIMARY KEY (function, metric)
) WITHOUT ROWID;

-- Which of them ran in an iteration that is an overrun, or holds one.
CREATE TABLE overrun_function (
	overrun INTEGER NOT NULL REFERENCES overrun(id),
	asked TEXT NOT NULL,
	calls INTEGER NOT NULL,                -- that ended in it
	running INTEGER NOT NULL,              -- that went on beyond it
	duration_ns INTEGER NOT NULL           -- the parts of these that lie in it
);
