-- SPDX-License-Identifier: MIT
--
-- Rows for every table of a recording, as stint writes them: what tests damage.

INSERT OR REPLACE INTO meta VALUES ('start_ns', 1000000000000), ('end_ns', 1003000000000), ('start_realtime_ns', 1700000000000000000),
	('budget_ns', 1000000), ('kernel', '6.1.0'), ('host', 'box'), ('stint_version', '0.1.0'), ('clock', 'tsc'),
	('epollout_rule', 'two thirds'), ('probes', 'yes'), ('recorder_cpu_ns', 20000000), ('bpf_ns', 10000000),
	('watchdog_stacks_skipped', 2);
INSERT INTO loss VALUES ('ring_full', 3, 'events that found the ring full'), ('map_full', 0, 'sockets beyond the table');
INSERT INTO process VALUES (1, 71, 'server', NULL, NULL, NULL, NULL), (2, 72, 'redis-server *:6379', 1002000000000, 1000500000000, 7, 4026);
INSERT INTO loop VALUES (1, 1, 71, NULL, 'main', 'meter', 900, 800000000, 2000000000),
	(2, 1, 71, 5, 'epoll fd 5', 'probes', 900, 810000000, 1990000000), (3, 2, 72, 6, 'epoll fd 6', 'probes', 70, 60000000, 900000000);
INSERT INTO handler VALUES (1, 1, 'http.read', 'meter', 1000000, 2, 9000000, 12000000, 4), (2, 1, 'sweep', 'meter', 500000, 0, 0, 0, 0),
	(3, 2, 'readQueryFromClient', 'probes', 1000000, 1, 50000000, 7000000, 1);
INSERT INTO handler_count VALUES (1, 'jobs_refused', 3), (1, 'file_reads_cached', 24), (1, 'file_reads_missed', 6);
INSERT OR IGNORE INTO bucket VALUES (100, 100, 101, 100), (700, 130048, 131072, 130560), (900, 1000000, 1008000, 1004000);
INSERT INTO histogram SELECT h, NULL, m, s, b, 3 + s + b % 7
	FROM (SELECT 1 AS h UNION SELECT 2 UNION SELECT 3), (SELECT 'service' AS m UNION SELECT 'wait' UNION SELECT 'write_stall'
	UNION SELECT 'work_queue' UNION SELECT 'work_run' UNION SELECT 'work_return'), (SELECT 0 AS s UNION SELECT 1 UNION SELECT 2),
	(SELECT 100 AS b UNION SELECT 700 UNION SELECT 900);
INSERT INTO histogram SELECT NULL, l, m, s, b, 2 + s
	FROM (SELECT 1 AS l UNION SELECT 2 UNION SELECT 3), (SELECT 'busy' AS m UNION SELECT 'poll' UNION SELECT 'batch'
	UNION SELECT 'lateness'), (SELECT 0 AS s UNION SELECT 1 UNION SELECT 2), (SELECT 100 AS b UNION SELECT 700 UNION SELECT 900);
INSERT INTO total SELECT handler, loop, metric, 'ns', sum(count) + 1, sum(count) * 90000, 90, 50000000, 1 FROM histogram
	GROUP BY handler, loop, metric;
INSERT INTO overrun VALUES
	(1, 1, 1, 'both', 0, 0, 71, 9, 'clients of :80', 1001000000000, 6000000, 6100000, 200000, 300000, 5600000, NULL, NULL, 3, 9000000, 4, 8, 'blocked'),
	(2, 1, 1, 'meter', 0, 0, 71, NULL, NULL, 1001500000000, 3000000, NULL, NULL, NULL, NULL, 2000000, 2500000, 1, 3000000, NULL, NULL, NULL),
	(3, 2, 3, 'probes', 1, 1, 72, 11, 'timerfd', 1001900000000, 51000000, 51000000, 50000000, 700000, 300000, NULL, NULL, 1, 7000000, 2, 5, 'computed'),
	(4, 1, NULL, 'meter', 1, 0, 71, NULL, NULL, 1002500000000, 9000000, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, NULL, NULL, NULL);
INSERT INTO overrun_syscall VALUES (1, 0, 'fsync', 9, 1001000100000, 5000000), (1, 1, 'write', 11, 1001005200000, 600000),
	(3, 0, 'madvise', NULL, 1001900100000, 100000);
INSERT INTO overrun_frame VALUES (1, 0, 'main', 'server', 'src/main.c', 12, 0), (1, 1, 'on_read', 'server', 'src/http.c', 99, 0),
	(1, 2, 'fsync', 'libc.so.6', NULL, NULL, 0), (1, 3, 'ext4_sync_file', 'kernel', NULL, NULL, 1), (3, 0, 'aeMain', 'redis-server', NULL, NULL, 0);
INSERT INTO overrun_segment VALUES (1, 100000, 200000, 300000), (3, 0, 700000, 50000000);
INSERT INTO overrun_verdict VALUES
	(1, 'blocked', 'one handler', 100000, 100000, 300000, 0, 5600000, 0, 20000, 30000, 100000, 400000, 3, 1, 4, 1, 3, 5000000, '/var/db', 1, 'kworker', 33,
	 'end_bio', 1, 'fsync'),
	(3, 'user', 'many handlers', 49000000, 1000000, 700000, NULL, 300000, NULL, 0, 0, 0, 0, 9, 0, 40, 2, 38, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO overrun_rival VALUES (1, 0, 44, 'stress', 200000), (1, 1, 0, 'swapper', 100000), (3, 0, 45, 'cc1', 600000);
INSERT INTO overrun_victim VALUES (1, 0, 12, '127.0.0.1:80 - 127.0.0.1:9', 0, 5000000), (1, 1, 13, NULL, NULL, 4000000), (3, 0, 14, 'timerfd', 1, 1);
INSERT INTO write_stall VALUES
	(1, 1, 71, 12, 5, '127.0.0.1:80', '127.0.0.1:4242', 1001200000000, 19000000, 18900000, 3000, 20000, 7000, 70000, 666827, 1048576,
	 699050, 3, 400000, 1001218900000, 0, 0, 2, 18000000, 100000, 200000, 300000, 200000, 100000, 0, 'receive_window', 1000, NULL, 0, NULL, 0, 'sent', 100),
	(2, 1, 71, 12, 5, '127.0.0.1:80', '127.0.0.1:4242', 1001300000000, 5000000, 4000000, 3000, 20000, 7000, 970000, 600000, 1048576,
	 699050, 2, 300000, NULL, 1, 4096, 0, 0, 4000000, 0, 0, 0, 0, 0, 'congestion_window', 500000, 131072, 1, 'unsent', 0, 'open', 0),
	(3, 2, 72, 15, 6, '[::1]:6379', '[::1]:999', 1001400000000, 1000, 0, 0, 0, 0, 1000, 10, 20000, 13333, 1, 1, NULL, 0, 1, 0, 0, 0, 0, 0,
	 0, 0, 0, 'own_loop', 0, NULL, 0, NULL, 1, 'closed', 7);
INSERT INTO write_ack VALUES (1, 5, 12, '127.0.0.1:80', '127.0.0.1:4242', 30, 3, 9, 2, 3, 4, 5, 2, 1, 1),
	(2, 6, 15, '[::1]:6379', '[::1]:999', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0);
INSERT INTO write_alarm VALUES (1, 71, 12, 5, '127.0.0.1:80', '127.0.0.1:4242', 1002300000000, 1001200000000, 1001300000000, 'not_armed',
	1, 500000, 1048576, 1000);
INSERT INTO socket_event (process, source, socket, tid, fd, local, remote, time_ns, kind, requested_bytes, done_bytes,
	queued_before_bytes, queued_bytes, sndbuf_bytes, unacked_bytes, snd_wnd_bytes, snd_cwnd, cause) VALUES
	(1, 'probes', 5, 71, 12, '127.0.0.1:80', '127.0.0.1:4242', 1001199000000, 'established', 0, 0, 0, 0, 1048576, 0, 65536, 10, 0),
	(1, 'probes', 5, 71, 12, '127.0.0.1:80', '127.0.0.1:4242', 1001200000000, 'send_short', 2097152, 1047728, 0, 1048000, 1048576, 9, 65536, 10, 0),
	(1, 'probes', 5, 71, 12, '127.0.0.1:80', '127.0.0.1:4242', 1001210000000, 'ack', NULL, 249375, NULL, 798625, 1048576, 9, 65536, 10, 0),
	(1, 'probes', 5, 71, 12, NULL, NULL, 1001215000000, 'retransmit', NULL, 1448, NULL, 798625, 1048576, 9, 65536, 10, 0),
	(1, 'probes', 5, 71, 12, NULL, NULL, 1001216000000, 'window_closed', NULL, NULL, NULL, 798625, 1048576, 9, 0, 10, 0),
	(1, 'probes', 5, 71, 12, NULL, NULL, 1001217000000, 'window_opened', NULL, NULL, NULL, 798625, 1048576, 9, 100, 10, 0),
	(1, 'probes', 5, 71, 12, '127.0.0.1:80', '127.0.0.1:4242', 1001218900000, 'ack', NULL, 131798, NULL, 666827, 1048576, 9, 65536, 10, 1),
	(1, 'probes', 5, 71, 12, '127.0.0.1:80', '127.0.0.1:4242', 1001218903000, 'write_event', NULL, NULL, NULL, 666827, 1048576, 9, 65536, 10, 0),
	(1, 'probes', 5, 71, 12, '127.0.0.1:80', '127.0.0.1:4242', 1001218923000, 'woken', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0),
	(1, 'probes', 5, 71, 12, '127.0.0.1:80', '127.0.0.1:4242', 1001218930000, 'returned', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0),
	(1, 'probes', 5, 71, 12, '127.0.0.1:80', '127.0.0.1:4242', 1001219000000, 'send', 1049424, 1049424, 666827, 900000, 1048576, 9, 65536, 10, 0),
	(1, 'probes', 5, 71, 12, NULL, NULL, 1001300000000, 'fin_sent', NULL, NULL, NULL, 0, 1048576, 0, 65536, 10, 0),
	(1, 'meter', NULL, 71, 12, '127.0.0.1:80', '127.0.0.1:4242', 1001199000000, 'open', NULL, NULL, NULL, 0, 1048576, 0, NULL, NULL, 0),
	(1, 'meter', NULL, 71, 12, NULL, NULL, 1001200000500, 'send_short', 2097152, 1047728, 0, 1048000, 1048576, NULL, NULL, NULL, 0),
	(1, 'meter', NULL, 71, 12, NULL, NULL, 1001219000500, 'send', 1049424, 1049424, 666827, 900000, 1048576, NULL, NULL, NULL, 0),
	(1, 'meter', NULL, 71, 12, NULL, NULL, 1001400000000, 'close', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0);
INSERT INTO role VALUES (1, 2, 'clients of :6379', 'clients'), (2, 2, 'timerfd', 'other');
INSERT INTO role_histogram SELECT r, m, 0, b, 5 FROM (SELECT 1 AS r UNION SELECT 2), (SELECT 'service' AS m UNION SELECT 'wait' UNION SELECT 'age'
	UNION SELECT 'busy' UNION SELECT 'kernel' UNION SELECT 'scheduler' UNION SELECT 'return' UNION SELECT 'queue'),
	(SELECT 100 AS b UNION SELECT 700 UNION SELECT 900);
INSERT INTO role_total SELECT role, metric, sum(count), sum(count) * 400000, 100, 1004000, 0 FROM role_histogram GROUP BY role, metric;
INSERT INTO finding VALUES (2, 72, 6, 14, 'idle_epollout', 'clients of :6379', 9, 0, 800000, 0, 0, 3, 1),
	(2, 72, 6, 15, 'not_drained', NULL, 9, 0, 800000, 700000, 0, 0, 1), (2, 72, 6, -1, 'maxevents_full', NULL, 9, 100, 800000, 0, 0, 0, 1),
	(2, 72, 6, -1, 'ctl_storm', NULL, 900, 100, 800000, 0, 800, 0, 1), (2, 72, 6, -1, 'zero_timeout', NULL, 90, 100, 800000, 0, 0, 0, 1),
	(2, 72, 6, 16, 'blocking', 'upstream', 9, 0, 800000, 100000, 0, 0, 1);
