/* SPDX-License-Identifier: MIT */
#include "capture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT_S         20
#define PCAP_NS         0xa1b23c4d /* in this machine's order of bytes, with nanoseconds */
#define LINK_ETHERNET   1
#define ETHERNET_HEADER 14
#define OFFSET_TRIES    32
#define OPTIONS_MAX     40

struct pcap_header {
	uint32_t magic;
	uint16_t version[2];
	uint32_t zone[2];
	uint32_t snaplen;
	uint32_t link;
};

struct pcap_packet {
	uint32_t s;
	uint32_t ns;
	uint32_t captured_bytes;
	uint32_t bytes;
};

/* The fields of IPv4 and TCP that matter here. */
struct segment {
	uint8_t protocol;
	uint16_t source;
	uint16_t destination;
	uint32_t sequence;
	uint32_t acknowledges;
	uint16_t window;
	uint8_t flags;
	uint32_t data_bytes;
	uint8_t options_len;
	uint8_t options[OPTIONS_MAX];
};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* CLOCK_REALTIME - CLOCK_MONOTONIC, by the reading that was interrupted least. */
static uint64_t realtime_offset_ns(void)
{
	uint64_t offset_ns = 0, shortest_ns = UINT64_MAX;

	for (int i = 0; i < OFFSET_TRIES; i++) {
		uint64_t before_ns = clock_ns(CLOCK_MONOTONIC), real_ns = clock_ns(CLOCK_REALTIME);
		uint64_t took_ns = clock_ns(CLOCK_MONOTONIC) - before_ns;

		if (took_ns >= shortest_ns)
			continue;
		shortest_ns = took_ns;
		offset_ns = real_ns - before_ns - took_ns / 2;
	}
	return offset_ns;
}

void capture_start(struct capture *capture)
{
	capture_start_on(capture, "lo", "127.0.0.1");
}

void capture_start_on(struct capture *capture, const char *device, const char *address)
{
	const char *argv[] = {"/usr/bin/tcpdump",
			      "-i",
			      device,
			      "-n",
			      "-s",
			      "128",
			      "-B",
			      "16384",
			      "-U",
			      "-Z",
			      "root",
			      "--immediate-mode",
			      "--time-stamp-precision=nano",
			      "-w",
			      NULL,
			      "tcp or udp port 9",
			      NULL};
	char line[256];

	memset(capture, 0, sizeof(*capture));
	assert_int_equal(inet_pton(AF_INET, address, &capture->marked), 1);
	if (access(argv[0], X_OK) < 0) {
		printf("skipped: there is no tcpdump\n");
		skip();
	}
	snprintf(capture->directory, sizeof(capture->directory), "/tmp/stint-capture-XXXXXX");
	assert_non_null(mkdtemp(capture->directory));
	snprintf(capture->path, sizeof(capture->path), "%s/pcap", capture->directory);
	argv[14] = capture->path;
	command_start(&capture->tcpdump, argv);
	command_line(&capture->tcpdump, "listening on", line, sizeof(line));
}

static void read_file(struct capture *capture)
{
	FILE *file = fopen(capture->path, "r");
	long bytes;

	assert_non_null(file);
	assert_int_equal(fseek(file, 0, SEEK_END), 0);
	bytes = ftell(file);
	rewind(file);
	assert_true(bytes >= 0);
	free(capture->file);
	capture->file = malloc((size_t)bytes + 1);
	assert_non_null(capture->file);
	capture->file_len = fread(capture->file, 1, (size_t)bytes, file);
	fclose(file);
}

static bool parse_segment(struct segment *ret, const uint8_t *bytes, size_t len)
{
	const uint8_t *ip = bytes + ETHERNET_HEADER, *tcp;
	uint16_t port;

	memset(ret, 0, sizeof(*ret));
	if (len < ETHERNET_HEADER + 20 || ip[0] >> 4 != 4)
		return false;
	ret->protocol = ip[9];
	tcp = ip + (size_t)(ip[0] & 0xf) * 4;
	if (ret->protocol != IPPROTO_TCP || tcp + 20 > bytes + len)
		return ret->protocol == IPPROTO_UDP;
	memcpy(&port, tcp, sizeof(port));
	ret->source = ntohs(port);
	memcpy(&port, tcp + 2, sizeof(port));
	ret->destination = ntohs(port);
	memcpy(&ret->sequence, tcp + 4, sizeof(ret->sequence));
	ret->sequence = ntohl(ret->sequence);
	memcpy(&ret->acknowledges, tcp + 8, sizeof(ret->acknowledges));
	ret->acknowledges = ntohl(ret->acknowledges);
	memcpy(&ret->window, tcp + 14, sizeof(ret->window));
	ret->window = ntohs(ret->window);
	ret->flags = tcp[13];
	ret->options_len = (uint8_t)((tcp[12] >> 4) * 4 - 20);
	if (ret->options_len > OPTIONS_MAX || tcp + 20 + ret->options_len > bytes + len)
		return false;
	memcpy(ret->options, tcp + 20, ret->options_len);
	memcpy(&port, ip + 2, sizeof(port));
	ret->data_bytes = ntohs(port) - (uint32_t)(tcp - ip) - 20u - ret->options_len;
	return true;
}

static bool has_same_options(const struct segment *a, const struct segment *b)
{
	return a->options_len == b->options_len && memcmp(a->options, b->options, a->options_len) == 0;
}

/* The next packet from `at` on that is a whole one and of these protocols; false: there is none yet. */
static bool next_segment(const struct capture *capture, size_t *at, struct segment *ret, uint64_t *real_ns)
{
	struct pcap_packet packet;

	while (capture->file_len - *at >= sizeof(packet)) {
		const uint8_t *bytes = capture->file + *at + sizeof(packet);

		memcpy(&packet, capture->file + *at, sizeof(packet));
		if (packet.captured_bytes > capture->file_len - *at - sizeof(packet))
			return false;
		*at += sizeof(packet) + packet.captured_bytes;
		*real_ns = packet.s * UINT64_C(1000000000) + packet.ns;
		if (parse_segment(ret, bytes, packet.captured_bytes))
			return true;
	}
	return false;
}

static bool has_marker(const struct capture *capture)
{
	size_t at = sizeof(struct pcap_header);
	struct segment segment;
	uint64_t real_ns;

	if (capture->file_len < at)
		return false;
	while (next_segment(capture, &at, &segment, &real_ns))
		if (segment.protocol == IPPROTO_UDP)
			return true;
	return false;
}

/* Packets are written in their order: once a datagram that is sent now is in the file, all before are. */
static void await_marker(struct capture *capture)
{
	const struct sockaddr_in discard = {.sin_family = AF_INET,
					    .sin_port = htons(9),
					    .sin_addr = capture->marked};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	time_t limit = time(NULL) + LIMIT_S;

	assert_return_code(sendto(fd, "x", 1, 0, (const struct sockaddr *)&discard, sizeof(discard)), errno);
	close(fd);
	for (;;) {
		const struct timespec pause = {.tv_nsec = 10000000};

		read_file(capture);
		if (has_marker(capture))
			return;
		if (time(NULL) > limit)
			fail_msg("the capture does not come to its end");
		nanosleep(&pause, NULL);
	}
}

void capture_stop(struct capture *capture)
{
	char output[1024];

	await_marker(capture);
	command_end(&capture->tcpdump, SIGINT, output, sizeof(output));
	capture->tcpdump.pid = 0;
	assert_non_null(strstr(output, "\n0 packets dropped by kernel"));
}

size_t capture_acks(const struct capture *capture, uint16_t sender_port, uint16_t peer_port,
		    struct captured_ack *ret, size_t max)
{
	uint64_t offset_ns = realtime_offset_ns(), real_ns;
	struct segment segment, previous = {0};
	struct pcap_header header;
	size_t at = sizeof(header), len = 0;
	bool shaken = false, alike = true;
	uint32_t acknowledged = 0;

	assert_true(capture->file_len >= sizeof(header));
	memcpy(&header, capture->file, sizeof(header));
	assert_int_equal(header.magic, PCAP_NS);
	assert_int_equal(header.link, LINK_ETHERNET);
	while (next_segment(capture, &at, &segment, &real_ns)) {
		int32_t more;

		if (segment.source != peer_port || segment.destination != sender_port ||
		    !(segment.flags & CAPTURED_ACK))
			continue;
		more = shaken ? (int32_t)(segment.acknowledges - acknowledged) : 0;
		alike = alike && has_same_options(&segment, &previous);
		previous = segment;
		if (shaken && more <= 0)
			continue;
		acknowledged = segment.acknowledges;
		if (shaken) {
			assert_true(len < max);
			ret[len++] = (struct captured_ack){.time_ns = real_ns - offset_ns,
							   .bytes = (uint32_t)more,
							   .like_previous = alike};
		}
		shaken = true;
		alike = true;
	}
	return len;
}

static struct captured_segment as_captured(const struct segment *segment, uint64_t time_ns)
{
	return (struct captured_segment){.time_ns = time_ns,
					 .flags = segment->flags,
					 .sequence = segment->sequence,
					 .data_bytes = segment->data_bytes,
					 .window = segment->window};
}

size_t capture_segments(const struct capture *capture, uint16_t from_port, uint16_t to_port,
			struct captured_segment *ret, size_t max)
{
	uint64_t offset_ns = realtime_offset_ns(), real_ns;
	size_t at = sizeof(struct pcap_header), len = 0;
	struct segment segment;

	while (next_segment(capture, &at, &segment, &real_ns)) {
		if (segment.protocol != IPPROTO_TCP || segment.source != from_port ||
		    segment.destination != to_port)
			continue;
		assert_true(len < max);
		ret[len++] = as_captured(&segment, real_ns - offset_ns);
	}
	return len;
}

struct captured_segment capture_first(const struct capture *capture, uint16_t from_port, uint16_t to_port,
				      uint8_t flags, bool data)
{
	uint64_t offset_ns = realtime_offset_ns(), real_ns;
	size_t at = sizeof(struct pcap_header);
	struct segment segment;

	while (next_segment(capture, &at, &segment, &real_ns))
		if (segment.protocol == IPPROTO_TCP && segment.source == from_port &&
		    segment.destination == to_port && (segment.flags & flags) == flags &&
		    (!data || segment.data_bytes > 0))
			return as_captured(&segment, real_ns - offset_ns);
	fail_msg("no segment from %u to %u with flags %x was captured", from_port, to_port, flags);
	return (struct captured_segment){0};
}

void capture_free(struct capture *capture)
{
	char output[64];

	if (capture->tcpdump.pid > 0)
		command_end(&capture->tcpdump, SIGKILL, output, sizeof(output));
	if (capture->path[0])
		unlink(capture->path);
	if (capture->directory[0])
		rmdir(capture->directory);
	free(capture->file);
	memset(capture, 0, sizeof(*capture));
}
