/* SPDX-License-Identifier: MIT */

/*
 * A file server: GET and HEAD of the files below a directory, over HTTP/1.1 with connections that stay.
 *
 *	build/examples/file_server --port 8000 .
 *
 * What it teaches is how a file gets to a socket without the loop waiting for either:
 *
 *	disk -> reader -> stream -> peer
 *
 * The reader gives a chunk at a time, in place if the page cache has it, else by way of the pool. When the stream's
 * queue is above its high watermark (the peer is slow), the reader is paused, and when the queue has drained it goes
 * on: so a connection takes some chunks of memory, however large its file. With --send-file the kernel moves the
 * data by sendfile() instead: less copying, but what is not in the page cache is then waited for by the loop.
 *
 * The head of an answer is held until the file's first chunk is there, so that they are one send, and, if they are small,
 * one segment: each wakes the peer. By --send-file the stream does that, as it is told to coalesce.
 *
 * A peer that does nothing for a minute, neither asks nor takes what it has asked for, is disconnected: it holds
 * descriptors and memory.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <stint/stint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REQUEST_BYTES 8192
#define HEAD_BYTES    256
#define QUEUE_BYTES   262144 /* of a connection, from which on it is full */
#define SECOND_NS     UINT64_C(1000000000)

struct server {
	struct stint_loop *loop;
	struct stint_pool *pool;
	int root;
	bool send_file;
	uint64_t idle_ns; /* after which a connection on which nothing moves is ended */
	uint32_t accept_handler, read_handler, file_handler;
};

struct connection {
	struct server *server;
	struct stint_stream *stream;
	struct stint_file_reader *reader; /* of the answer that is being sent; NULL: there is none */
	size_t head_bytes;                /* of its head, which waits for the first chunk; 0: it is sent */
	char head[HEAD_BYTES];
	size_t bytes;
	char request[REQUEST_BYTES];
};

static void serve(struct connection *connection);

/* An answer, with its body if that is short; returns its length. */
static size_t format_answer(char ret[HEAD_BYTES], const char *status, uint64_t bytes, const char *body)
{
	return (size_t)snprintf(ret, HEAD_BYTES, "HTTP/1.1 %s\r\nContent-Length: %llu\r\n\r\n%s", status,
				(unsigned long long)bytes, body);
}

static int answer(struct connection *connection, const char *status, uint64_t bytes, const char *body)
{
	char head[HEAD_BYTES];

	return stint_stream_write(connection->stream, head, format_answer(head, status, bytes, body));
}

/* ---- the file's way ---- */

static int send_chunk(struct connection *connection, const void *data, size_t bytes)
{
	struct iovec parts[2] = {{connection->head, connection->head_bytes},
				 {(void *)(uintptr_t)data, bytes}};

	if (connection->head_bytes == 0)
		return stint_stream_write(connection->stream, data, bytes);
	connection->head_bytes = 0;
	return stint_stream_writev(connection->stream, parts, 2);
}

static void on_chunk(struct stint_file_reader *reader, const void *data, size_t bytes, uint64_t offset,
		     void *ctx)
{
	struct connection *connection = ctx;

	(void)offset;
	if (send_chunk(connection, data, bytes) < 0)
		return; /* `closed` follows, and frees the reader */
	if (stint_stream_full(connection->stream))
		stint_file_reader_pause(reader);
}

static void on_drained(struct stint_stream *stream, void *ctx)
{
	struct connection *connection = ctx;

	if (connection->reader) {
		stint_file_reader_resume(connection->reader);
		return;
	}
	stint_stream_resume(stream);
	serve(connection);
}

/* The file has been read; the next request may be served, though part of the answer is still queued. */
static void on_file_end(struct stint_file_reader *reader, int error, void *ctx)
{
	struct connection *connection = ctx;

	(void)reader;
	connection->reader = NULL;
	if (error < 0) {
		/* Once it was promised more, all that can be done is to end short of it. */
		if (connection->head_bytes)
			answer(connection, "500 Internal Server Error", 0, "");
		stint_stream_close(connection->stream);
		return;
	}
	stint_stream_resume(connection->stream);
	serve(connection);
}

/* Owns `fd`, as do the next two. Returns a negative errno if the connection cannot go on. */
static int send_file(struct connection *connection, int fd, uint64_t bytes)
{
	int error = answer(connection, "200 OK", bytes, "");

	if (error < 0) {
		close(fd);
		return error;
	}
	return stint_stream_send_file(connection->stream, fd, 0, bytes, NULL, NULL);
}

static int read_file(struct connection *connection, int fd, uint64_t bytes)
{
	static const struct stint_file_reader_callbacks callbacks = {.read = on_chunk, .end = on_file_end};
	struct stint_file_reader_options options = {.size = sizeof(options), .bytes = bytes};
	struct server *server = connection->server;
	int error;

	connection->head_bytes = format_answer(connection->head, "200 OK", bytes, "");
	error = stint_file_reader_new(&connection->reader, server->loop, server->pool, fd, &options,
				      server->file_handler, &callbacks, connection);
	if (error < 0) {
		close(fd);
		return error;
	}
	/* Requests that come meanwhile wait in the kernel. */
	return stint_stream_pause(connection->stream);
}

static int send_content(struct connection *connection, int fd, uint64_t bytes)
{
	if (connection->server->send_file)
		return send_file(connection, fd, bytes);
	return read_file(connection, fd, bytes);
}

/* ---- requests ---- */

/* Opens a file below the root, whatever dots and links are in its path. */
static int open_below(int root, const char *path)
{
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
			       .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
	long fd = syscall(SYS_openat2, root, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

static int refuse(struct connection *connection, bool head_only)
{
	static const char body[] = "no such file\n";

	return answer(connection, "404 Not Found", sizeof(body) - 1, head_only ? "" : body);
}

static int serve_file(struct connection *connection, const char *path, bool head_only)
{
	struct stat status;
	uint64_t bytes;
	int fd;

	fd = open_below(connection->server->root, path);
	if (fd < 0)
		return refuse(connection, head_only);
	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode)) {
		close(fd);
		return refuse(connection, head_only);
	}
	bytes = (uint64_t)status.st_size;
	if (!head_only && bytes > 0)
		return send_content(connection, fd, bytes);
	close(fd);
	return answer(connection, "200 OK", bytes, "");
}

/* `request` is the head of one, NUL-terminated. */
static int serve_request(struct connection *connection, char *request)
{
	bool get = strncmp(request, "GET /", 5) == 0, head = strncmp(request, "HEAD /", 6) == 0;
	char *path = request + (get ? 5 : 6);

	if (!get && !head) {
		answer(connection, "405 Method Not Allowed", 0, "");
		return -EPROTO;
	}
	path[strcspn(path, " ?\r\n")] = '\0';
	return serve_file(connection, path, head);
}

/*
 * Serves what has come, until an answer takes longer, or the peer does not read its answers; `serve` is called again when
 * that is over. Requests that come meanwhile wait in the kernel.
 */
static void serve(struct connection *connection)
{
	char *end;

	while (!connection->reader) {
		size_t used;

		if (stint_stream_full(connection->stream)) {
			stint_stream_pause(connection->stream);
			return;
		}

		connection->request[connection->bytes] = '\0';
		end = strstr(connection->request, "\r\n\r\n");
		if (!end)
			return;
		*end = '\0';
		if (serve_request(connection, connection->request) < 0) {
			stint_stream_close(connection->stream);
			return;
		}
		used = (size_t)(end + 4 - connection->request);
		connection->bytes -= used;
		memmove(connection->request, connection->request + used, connection->bytes);
	}
}

static void on_read(struct stint_stream *stream, const void *data, size_t bytes, void *ctx)
{
	struct connection *connection = ctx;

	if (bytes > REQUEST_BYTES - 1 - connection->bytes) {
		answer(connection, "431 Request Header Fields Too Large", 0, "");
		stint_stream_close(stream);
		return;
	}
	memcpy(connection->request + connection->bytes, data, bytes);
	connection->bytes += bytes;
	serve(connection);
}

static void on_closed(struct stint_stream *stream, int error, void *ctx)
{
	struct connection *connection = ctx;

	(void)stream;
	(void)error;
	stint_file_reader_free(connection->reader);
	free(connection);
}

static void on_accept(struct stint_listener *listener, int fd, const struct sockaddr *peer,
		      socklen_t peer_bytes, void *ctx)
{
	static const struct stint_stream_callbacks callbacks = {.read = on_read,
								.drained = on_drained,
								.closed = on_closed};
	struct server *server = ctx;
	struct stint_stream_options options = {.size = sizeof(options),
					       .high_bytes = QUEUE_BYTES,
					       .idle_ns = server->idle_ns,
					       .coalesce = server->send_file};
	struct connection *connection = calloc(1, sizeof(*connection));

	(void)listener;
	(void)peer;
	(void)peer_bytes;
	if (connection)
		connection->server = server;
	if (!connection || stint_stream_new(&connection->stream, server->loop, fd, &options,
					    server->read_handler, &callbacks, connection) < 0) {
		free(connection);
		close(fd);
		return;
	}
	/* A file that is queued holds its descriptor: no more than one for each connection. */
	if (server->send_file)
		stint_stream_set_watermarks(connection->stream, 0, 0);
}

/* ---- the server ---- */

static void on_signal(struct stint_signal *source, const struct stint_signal_info *info, void *ctx)
{
	(void)source;
	(void)info;
	stint_loop_stop(ctx);
}

static int watch_signals(struct stint_loop *loop)
{
	struct stint_signal *source;
	int error = stint_signal_new(&source, loop, SIGTERM, 0, on_signal, loop);

	return error < 0 ? error : stint_signal_new(&source, loop, SIGINT, 0, on_signal, loop);
}

static int open_server(struct server *server, const char *directory, uint16_t port, uint32_t threads)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(port),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct stint_pool_options pool = {.size = sizeof(pool), .threads = threads, .name = "file-server"};
	struct stint_loop_options loop = {.size = sizeof(loop), .name = "files"};
	struct stint_listener *listener;
	int error;

	server->root = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (server->root < 0)
		return -errno;
	error = stint_loop_new(&server->loop, &loop);
	if (error == 0)
		error = stint_pool_new(&server->pool, &pool);
	if (error == 0)
		error = watch_signals(server->loop);
	if (error < 0)
		return error;
	server->accept_handler = (uint32_t)stint_loop_handler(server->loop, "http.accept", 0);
	server->read_handler = (uint32_t)stint_loop_handler(server->loop, "http.read", 0);
	server->file_handler = (uint32_t)stint_loop_handler(server->loop, "http.file", 0);
	error = stint_listener_new(&listener, server->loop, (struct sockaddr *)&address, sizeof(address),
				   NULL, server->accept_handler, on_accept, server);
	if (error < 0)
		return error;
	printf("listening on 127.0.0.1:%d\n", stint_listener_port(listener));
	fflush(stdout);
	return 0;
}

static void usage(FILE *out)
{
	fputs("usage: file_server [--port N] [--threads N] [--idle N] [--send-file] [DIRECTORY]\n"
	      "\n"
	      "Serves the files below DIRECTORY (the current one) over HTTP on 127.0.0.1, until SIGTERM or SIGINT.\n"
	      "\n"
	      "  -p, --port N      0, the default: any; the first line of output says which\n"
	      "  -t, --threads N   for what is not in the page cache (4)\n"
	      "  -i, --idle N      seconds after which a connection on which nothing moves is ended (60; 0: never)\n"
	      "  -s, --send-file   by sendfile() instead of chunks\n"
	      "  -h, --help\n"
	      "\n"
	      "How the chunks fared: stint record --comm file_server -d 10 -o r.stint; stint report r.stint\n",
	      out);
}

static uint32_t number_or_die(const char *text, unsigned long most)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	if (!*text || *end || number > most) {
		fprintf(stderr, "file_server: not a number from 0 to %lu: %s\n", most, text);
		exit(2);
	}
	return (uint32_t)number;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"port", required_argument, NULL, 'p'},
						{"threads", required_argument, NULL, 't'},
						{"idle", required_argument, NULL, 'i'},
						{"send-file", no_argument, NULL, 's'},
						{"help", no_argument, NULL, 'h'},
						{NULL, 0, NULL, 0}};
	struct server server = {.root = -1, .idle_ns = 60 * SECOND_NS};
	uint32_t port = 0, threads = 0;
	int option, error;

	while ((option = getopt_long(argc, argv, "p:t:i:sh", options, NULL)) != -1) {
		if (option == 'p') {
			port = number_or_die(optarg, 65535);
		} else if (option == 't') {
			threads = number_or_die(optarg, 1024);
		} else if (option == 'i') {
			server.idle_ns = number_or_die(optarg, 86400) * SECOND_NS;
		} else if (option == 's') {
			server.send_file = true;
		} else {
			usage(option == 'h' ? stdout : stderr);
			return option == 'h' ? 0 : 2;
		}
	}
	error = open_server(&server, optind < argc ? argv[optind] : ".", (uint16_t)port, threads);
	if (error == 0)
		error = stint_loop_run(server.loop);
	if (error < 0)
		fprintf(stderr, "file_server: %s\n", strerror(-error));
	stint_loop_free(server.loop);
	stint_pool_free(server.pool);
	if (server.root >= 0)
		close(server.root);
	return error < 0;
}
