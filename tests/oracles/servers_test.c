/* SPDX-License-Identifier: MIT */

/*
 * Servers as the distribution has them, each with a stall that it, or its client, measures too: the two must agree.
 * Each stalls several times, as the machine may add to one of them on either side, but not to each.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "server.h"
#include "watching.h"

#define MS         UINT64_C(1000000)
#define TIMES      6
#define TIMES_TEXT "6" /* in scripts */

static struct watching watching;
static struct server server;
static int client = -1;

static int set_up(void **state)
{
	(void)state;
	memset(&watching, 0, sizeof(watching));
	memset(&server, 0, sizeof(server));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (client >= 0)
		close(client);
	client = -1;
	server_stop(&server);
	watching_close(&watching);
	return 0;
}

static void prepare(void)
{
	watching_or_skip();
	server_prepare(&server);
}

/* From before its first instruction, and until its end. */
static void watch_whole(const char *const *argv)
{
	int pid;

	server_start(&server, argv);
	watching_open(&watching, NULL);
	pid = server.pid;
	watching_add(&watching, pid);
	server_go(&server);
	watching_until_exit(&watching, pid);
	server_wait(&server);
}

static uint64_t apart(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

/* By its whole length: a loop that looks at the clock on the wall is no longer for having had no CPU. */
static const struct stint_probes_overrun *whole_overrun(uint64_t least_ns, size_t i)
{
	for (size_t at = 0; at < watching.overruns_len; at++)
		if (watching.overruns[at].is.duration_ns >= least_ns && i-- == 0)
			return &watching.overruns[at].is;
	return NULL;
}

/* What else says how long each of the stalls of at least `least_ns` was, in order, is right to `exact_ns` once. */
static void assert_agrees(const uint64_t *other_ns, uint64_t least_ns, uint64_t exact_ns)
{
	uint64_t least_apart_ns = UINT64_MAX;

	assert_overruns_consistent(&watching);
	for (size_t i = 0; i < TIMES; i++) {
		const struct stint_probes_overrun *overrun = whole_overrun(least_ns, i);
		uint64_t apart_ns;

		assert_non_null(overrun);
		apart_ns = apart(other_ns[i], overrun->duration_ns);
		if (apart_ns < least_apart_ns)
			least_apart_ns = apart_ns;
	}
	assert_null(whole_overrun(least_ns, TIMES));
	if (least_apart_ns > exact_ns)
		fail_msg("they are %.3f ms apart at least", (double)least_apart_ns / 1e6);
}

static void assert_blocked_in(const char *call, uint64_t least_ns)
{
	for (size_t i = 0; i < TIMES; i++) {
		const struct watched_overrun *overrun = watching_overrun(&watching, least_ns, i);

		assert_true(overrun->is.syscalls_len >= 1);
		assert_string_equal(overrun->is.syscalls[0].name, call);
		assert_true(overrun->is.blocked_ns >= least_ns - MS);
	}
}

/* The numbers in a text, one a line that begins with `key`, times `scale`. */
static void read_numbers(uint64_t *ret, const char *text, const char *key, double scale)
{
	size_t len = 0;

	for (const char *at = strstr(text, key); at && len < TIMES; at = strstr(at + 1, key))
		ret[len++] = (uint64_t)(strtod(at + strlen(key), NULL) * scale);
	if (len != TIMES)
		fail_msg("%zu lines of '%s' in: %s", len, key, text);
}

/* A busy loop of 80 ms: node's own clock around it, and its delay of the event loop. What it says of it takes long, too. */
static void node_and_its_event_loop_delay(void **state)
{
	static const char script[] =
		"const { monitorEventLoopDelay } = require('perf_hooks');\n"
		"const delay = monitorEventLoopDelay({ resolution: 1 });\n"
		"let times = 0, busy;\n"
		"function stall() {\n"
		"	const start = performance.now();\n"
		"	while (performance.now() - start < 80);\n"
		"	busy = performance.now() - start;\n"
		"	setTimeout(tell, 50);\n"
		"}\n"
		"function tell() {\n"
		"	console.log('busy ' + busy + '\\ndelay ' + delay.max / 1e6);\n"
		"	delay.reset();\n"
		"	if (++times < " TIMES_TEXT ") setTimeout(stall, 20); else delay.disable();\n"
		"}\n"
		"setTimeout(() => { delay.enable(); setTimeout(() => { delay.reset(); stall(); }, 20); }, 100);\n";
	const char *argv[] = {"/usr/bin/node", "stall.js", NULL};
	uint64_t other_ns[TIMES];

	(void)state;
	prepare();
	server_file(&server, "stall.js", script);
	watch_whole(argv);
	read_numbers(other_ns, server_text(&server, "out"), "busy ", 1e6);
	assert_agrees(other_ns, 79 * MS, 2 * MS);
	/* A timer each ms, and when it came: late by the stall, less up to one period. */
	read_numbers(other_ns, server_text(&server, "out"), "delay ", 1e6);
	assert_agrees(other_ns, 79 * MS, 3 * MS);
	for (size_t i = 0; i < TIMES; i++)
		assert_true(whole_overrun(79 * MS, i)->blocked_ns <= 10 * MS);
}

/* time.sleep() in a callback, and the complaint of asyncio's own debug mode. */
static void asyncio_and_its_log_of_slow_callbacks(void **state)
{
	static const char script[] = "import asyncio, logging, time\n"
				     "logging.basicConfig(level=logging.WARNING)\n"
				     "async def main():\n"
				     "    loop = asyncio.get_running_loop()\n"
				     "    loop.slow_callback_duration = 0.03\n"
				     "    for i in range(" TIMES_TEXT "):\n"
				     "        loop.call_later(0.05, time.sleep, 0.05)\n"
				     "        await asyncio.sleep(0.2)\n"
				     "asyncio.run(main(), debug=True)\n";
	const char *argv[] = {"/usr/bin/python3", "stall.py", NULL};
	uint64_t other_ns[TIMES];

	(void)state;
	prepare();
	server_file(&server, "stall.py", script);
	watch_whole(argv);
	read_numbers(other_ns, server_text(&server, "out"), " took ", 1e9);
	assert_agrees(other_ns, 49 * MS, 5 * MS); /* it is told to the ms, and telling takes some */
	assert_blocked_in("clock_nanosleep", 49 * MS);
}

/*
 * A watch of `pid`, requests that make it stall, and their times as the client sees them. `least_ns` 0: half the
 * shortest of those.
 */
static void ask_and_compare(int pid, const char *request, size_t bytes, const char *end, uint64_t least_ns,
			    uint64_t exact_ns)
{
	uint64_t other_ns[TIMES], shortest_ns = UINT64_MAX;

	watching_open(&watching, NULL);
	watching_add(&watching, pid);
	for (int i = 0; i < TIMES; i++) {
		other_ns[i] = server_ask(client, request, bytes, end);
		shortest_ns = other_ns[i] < shortest_ns ? other_ns[i] : shortest_ns;
		usleep(20000);
		watching_take(&watching);
	}
	server_stop(&server);
	watching_take(&watching);
	assert_agrees(other_ns, least_ns ? least_ns : shortest_ns / 2, exact_ns);
}

/*
 * A handler in Perl that sleeps, as the client sees it. Not as nginx does: its $request_time is 0 then, as it reads the
 * clock when its wait returns and at no other time.
 */
static void nginx_and_its_client(void **state)
{
	static const char configuration[] =
		"load_module /usr/lib/nginx/modules/ngx_http_perl_module.so;\n"
		"daemon off; worker_processes 1; pid @DIR@/pid; error_log @DIR@/error.log;\n"
		"events { worker_connections 16; }\n"
		"http { access_log off;\n"
		"client_body_temp_path @DIR@/a; proxy_temp_path @DIR@/b; fastcgi_temp_path @DIR@/c;\n"
		"uwsgi_temp_path @DIR@/d; scgi_temp_path @DIR@/e;\n"
		"server { listen 127.0.0.1:@PORT@; location / { perl 'sub { my $r = shift;\n"
		"select(undef, undef, undef, 0.05); $r->send_http_header(\"text/plain\");\n"
		"$r->print(\"slept\"); return 0; }'; } } }\n";
	static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
	const char *argv[] = {"/usr/sbin/nginx", "-p", "@DIR@", "-c", "nginx.conf", "-e", "error.log", NULL};

	(void)state;
	prepare();
	if (access("/usr/lib/nginx/modules/ngx_http_perl_module.so", R_OK) != 0) {
		printf("skipped: libnginx-mod-http-perl is not installed (make deps)\n");
		skip();
	}
	server_file(&server, "nginx.conf", configuration);
	server_start(&server, argv);
	server_go(&server);
	client = server_connect(&server);
	ask_and_compare(server_child(&server), request, sizeof(request) - 1, "slept\r\n0\r\n\r\n", 49 * MS,
			3 * MS);
	assert_blocked_in("pselect6", 49 * MS);
}

/* A service in Lua that waits for a command, as the client sees it. */
static void haproxy_and_its_client(void **state)
{
	static const char configuration[] =
		"global\n\tnbthread 1\n\tlua-load @DIR@/stall.lua\n"
		"defaults\n\tmode http\n\ttimeout client 30s\n\ttimeout server 30s\n"
		"\ttimeout connect 30s\n"
		"frontend stall\n\tbind 127.0.0.1:@PORT@\n"
		"\thttp-request use-service lua.stall\n";
	static const char script[] = "core.register_service('stall', 'http', function(applet)\n"
				     "	os.execute('sleep 0.05')\n"
				     "	applet:set_status(200)\n"
				     "	applet:add_header('content-length', '5')\n"
				     "	applet:start_response()\n"
				     "	applet:send('slept')\n"
				     "end)\n";
	static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
	const char *argv[] = {"/usr/sbin/haproxy", "-db", "-f", "haproxy.cfg", NULL};

	(void)state;
	prepare();
	server_file(&server, "haproxy.cfg", configuration);
	server_file(&server, "stall.lua", script);
	server_start(&server, argv);
	server_go(&server);
	client = server_connect(&server);
	ask_and_compare(server.pid, request, sizeof(request) - 1, "slept", 49 * MS, 3 * MS);
	assert_blocked_in("wait4", 49 * MS);
}

/* One request for very many keys, as the client sees it: nothing but computing. */
static void memcached_and_its_client(void **state)
{
	enum { KEYS = 60000, KEY_BYTES = 2 };
	static const char set[] = "set k 0 0 1\r\nx\r\n";
	static char request[4 + KEYS * KEY_BYTES + 2];
	const char *argv[] = {"/usr/bin/memcached",
			      "-u",
			      "nobody",
			      "-l",
			      "127.0.0.1",
			      "-p",
			      "@PORT@",
			      "-U",
			      "0",
			      "-t",
			      "1",
			      NULL};
	size_t len = 0;

	(void)state;
	prepare();
	memcpy(request, "get ", 4);
	for (len = 4; len < sizeof(request) - 2; len += KEY_BYTES)
		memcpy(request + len, "k ", KEY_BYTES);
	memcpy(request + len - 1, "\r\n", 2);
	server_start(&server, argv);
	server_go(&server);
	client = server_connect(&server);
	server_ask(client, set, sizeof(set) - 1, "STORED\r\n");
	ask_and_compare(server.pid, request, len + 1, "END\r\n", 0, 10 * MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(node_and_its_event_loop_delay, set_up, tear_down),
		cmocka_unit_test_setup_teardown(asyncio_and_its_log_of_slow_callbacks, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nginx_and_its_client, set_up, tear_down),
		cmocka_unit_test_setup_teardown(haproxy_and_its_client, set_up, tear_down),
		cmocka_unit_test_setup_teardown(memcached_and_its_client, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
