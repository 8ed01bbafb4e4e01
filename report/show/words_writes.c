/* SPDX-License-Identifier: MIT */
#include "report/show/words_writes.h"

#include "report/show/units.h"

/* Ends of "went by ...". */
static const char *const limit_words[MODEL_LIMITS] = {
	"the peer's receive window (it did not read)",
	"the congestion window (as much was on the way as the network is trusted with)",
	"recovering from loss (retransmission)",
	"the peer's silence (no segment came, whatever was sent)",
	"the way there and back (all was sent, ACKs outstanding)",
	"this machine itself (pacing, or a queue before the network)",
};

const char *const words_no_event_heads[MODEL_NO_EVENTS] = {"above 2/3", "unsent",    "not armed", "edge",
							   "replaced",  "loop busy", "other"};

const char *const words_no_event_meanings[MODEL_NO_EVENTS] = {
	"the queue was still above 2/3 of the buffer",
	"there was more unsent data than TCP_NOTSENT_LOWAT allows",
	"EPOLLOUT was not asked for",
	"edge-triggered, and the one event had been returned before",
	"sk_write_space was replaced (TLS, sockmap) and did not tell",
	"the event was delivered, and the loop did not come to it",
	"the kernel raised no event, or it reached nobody",
};

void words_limits(struct buffer *out, const struct stall_group *group)
{
	uint64_t sum_ns = group->sum_ns[STALL_ACK];
	bool first = true;

	for (int limit = 0; limit < MODEL_LIMITS; limit++) {
		/* A hundredth is not worth a word. */
		if (group->limit_ns[limit] == 0 || group->limit_ns[limit] < sum_ns / 100)
			continue;
		buffer_printf(out, "%s%s went by %s", first ? " Of the time before the ACK, " : ", ",
			      units_share(group->limit_ns[limit], sum_ns).text, limit_words[limit]);
		first = false;
	}
	if (!first)
		buffer_string(out, ".");
	if (group->by_lowat > 0)
		buffer_printf(out, " %s of the sends %s refused by TCP_NOTSENT_LOWAT, not by the buffer.",
			      units_count(group->by_lowat).text, group->by_lowat == 1 ? "was" : "were");
}

void words_alarm(struct buffer *out, words_escape escape, const struct model *model,
		 const struct model_alarm *alarm)
{
	uint64_t untold_ns = alarm->time_ns > alarm->opened_ns ? alarm->time_ns - alarm->opened_ns : 0;

	words_process(out, escape, alarm->process);
	buffer_printf(out, ", fd %d (", alarm->fd);
	escape(out, alarm->local);
	buffer_string(out, " to ");
	escape(out, alarm->remote);
	buffer_printf(out, ") could be written to from %.3f s on, and %s later nothing had been sent: %s",
		      model_seconds(model, alarm->opened_ns), units_ns(untold_ns).text,
		      words_no_event_meanings[alarm->why]);
	if (alarm->interest == MODEL_UNKNOWN)
		buffer_string(out, " (it is in no epoll set)");
	buffer_printf(out, ". %s of %s bytes of the buffer were in use.",
		      units_count(alarm->queued_bytes).text, units_count(alarm->sndbuf_bytes).text);
}
