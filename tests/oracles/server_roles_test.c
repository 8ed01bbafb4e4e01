/* SPDX-License-Identifier: MIT */

/*
 * Descriptors by role of servers as the distribution has them: what they are is known from how the servers are
 * configured, and how many events each has, from the requests that were made.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "server.h"
#include "watched_roles.h"
#include "watching.h"

#define REQUESTS 40
#define CLIENTS  8

static struct watching watching;
static struct server server, upstream;
static int clients[CLIENTS + 1], clients_len;

static int set_up(void **state)
{
	(void)state;
	memset(&watching, 0, sizeof(watching));
	memset(&server, 0, sizeof(server));
	memset(&upstream, 0, sizeof(upstream));
	clients_len = 0;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	while (clients_len > 0)
		close(clients[--clients_len]);
	server_stop(&server);
	server_stop(&upstream);
	watching_close(&watching);
	return 0;
}

static int connect_client(struct server *to)
{
	return clients[clients_len++] = server_connect(to);
}

static void ask(int client, const char *request, const char *end)
{
	for (int i = 0; i < REQUESTS; i++)
		server_ask(client, request, strlen(request), end);
}

/* "clients of :80", with the port of `of`. */
static const struct stint_probes_role *role_of(const struct server *of, const char *begins)
{
	char name[64];

	snprintf(name, sizeof(name), "%s:%d", begins, of->port);
	return watched_role(name);
}

/* Of all its events that had a turn: the last one may be served still. */
static uint64_t events(const struct stint_probes_role *role)
{
	return role->metric[STINT_PROBES_ROLE_WAIT].count;
}

/* Some kernels do not run the programs for each segment: what that lacks is counted, of all roles together. */
static void assert_ages(uint64_t expected)
{
	struct stint_probes_losses losses;

	stint_probes_losses(watching.probes, &losses);
	for (size_t i = 0; i < watched_roles_len(); i++) {
		watched_role_adds_up(watched_role_at(i));
		losses.arrivals_unseen += watched_role_at(i)->metric[STINT_PROBES_ROLE_AGE].count;
	}
	assert_int_equal(losses.arrivals_unseen, expected);
}

static int add_busy(void *ctx, const struct stint_probes_loop *loop)
{
	*(uint64_t *)ctx += loop->busy_sum_ns;
	return 0;
}

/* Only one handler runs at a time. */
static void assert_all_service_is_within_the_loops_time(void)
{
	uint64_t busy_ns = 0, service_ns = 0;

	for (size_t i = 0; i < watched_roles_len(); i++)
		service_ns += watched_role_at(i)->metric[STINT_PROBES_ROLE_SERVICE].sum_ns;
	assert_int_equal(stint_probes_read_loops(watching.probes, add_busy, &busy_ns), 0);
	assert_in_range(service_ns, 1, busy_ns);
}

#define NGINX                                                                                  \
	"daemon off; worker_processes 1; pid @DIR@/pid; error_log @DIR@/error.log;\n"          \
	"events { worker_connections 64; }\n"                                                  \
	"http { access_log off;\n"                                                             \
	"client_body_temp_path @DIR@/a; proxy_temp_path @DIR@/b; fastcgi_temp_path @DIR@/c;\n" \
	"uwsgi_temp_path @DIR@/d; scgi_temp_path @DIR@/e;\n"

static void start_nginx(struct server *of, const char *configuration)
{
	const char *argv[] = {"/usr/sbin/nginx", "-p", "@DIR@", "-c", "nginx.conf", "-e", "error.log", NULL};

	server_file(of, "nginx.conf", configuration);
	server_start(of, argv);
	server_go(of);
	connect_client(of); /* so it is up */
}

static void start_proxy(void)
{
	char configuration[2048];

	server_prepare(&upstream);
	start_nginx(&upstream, NGINX "server { listen 127.0.0.1:@PORT@; listen unix:@DIR@/socket;\n"
				     "location / { return 200 'upstream'; } } }\n");
	server_prepare(&server);
	snprintf(configuration, sizeof(configuration),
		 NGINX "server { listen 127.0.0.1:@PORT@; location / { return 200 'itself'; }\n"
		       "location /tcp { proxy_pass http://127.0.0.1:%d; }\n"
		       "location /unix { proxy_pass http://unix:%s/socket:/; } } }\n",
		 upstream.port, upstream.directory);
	start_nginx(&server, configuration);
}

static void nginx_has_an_event_for_each_request_and_two_for_each_connection_to_its_upstream(void **state)
{
	int client;

	(void)state;
	watching_or_skip();
	start_proxy();
	watching_open(&watching, NULL);
	watching_add(&watching, server_child(&server));
	client = connect_client(&server);
	ask(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "itself");
	ask(client, "GET /tcp HTTP/1.1\r\nHost: a\r\n\r\n", "upstream");
	ask(client, "GET /unix HTTP/1.1\r\nHost: a\r\n\r\n", "upstream");
	watched_roles_read(&watching);
	assert_int_equal(events(role_of(&server, "listener ")), 1);
	assert_int_equal(events(role_of(&server, "clients of ")), 3 * REQUESTS);
	assert_int_equal(events(role_of(&upstream, "upstream 127.0.0.1")),
			 2 * REQUESTS); /* connected; answered */
	assert_int_equal(events(watched_role("unix sockets")),
			 REQUESTS); /* a connect to those need not be waited for */
	assert_int_equal(watched_roles_len(), 4);
	assert_ages(1 + 3 * REQUESTS + REQUESTS); /* accepted; asked; answered by TCP */
	assert_all_service_is_within_the_loops_time();
}

/* Each connection is served by one of four threads, to which the main one hands it over. */
static void memcached_has_an_event_for_each_command(void **state)
{
	static const char get[] = "get k\r\n", stats[] = "stats\r\n";
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
			      "4",
			      NULL};

	(void)state;
	watching_or_skip();
	server_prepare(&server);
	server_start(&server, argv);
	server_go(&server);
	connect_client(&server); /* so it is up */
	watching_open(&watching, NULL);
	watching_add(&watching, server.pid);
	for (int i = 0; i < CLIENTS; i++)
		ask(connect_client(&server), get, "END\r\n");
	server_ask(clients[CLIENTS], stats, sizeof(stats) - 1, "END\r\n");
	watched_roles_read(&watching);
	assert_int_equal(events(role_of(&server, "listener ")), CLIENTS);
	assert_int_equal(events(role_of(&server, "clients of ")), CLIENTS * REQUESTS + 1);
	assert_ages(CLIENTS + CLIENTS * REQUESTS + 1);
	assert_all_service_is_within_the_loops_time();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			nginx_has_an_event_for_each_request_and_two_for_each_connection_to_its_upstream,
			set_up, tear_down),
		cmocka_unit_test_setup_teardown(memcached_has_an_event_for_each_command, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
