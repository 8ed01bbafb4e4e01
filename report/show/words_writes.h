/* SPDX-License-Identifier: MIT */
#ifndef REPORT_WORDS_WRITES_H
#define REPORT_WORDS_WRITES_H

/* What held writers back, in plain words: the same in the terminal and in HTML, as words.h. */

#include "report/model/stalls.h"
#include "report/show/words.h"

/* "Of the time before the ACK, 98 % went by the peer's receive window." Nothing if there was none. */
void words_limits(struct buffer *out, const struct stall_group *group);

/* "Still open at the end: 2, the longest for 8.31 s (fd 7 to ...): ...". Nothing if all ended with a send. */
void words_not_sent(struct buffer *out, words_escape escape, const struct stall_group *group);

/* What a traced socket's timeline shows beside its stalls: handshake, retransmissions, closed windows, FIN. */
void words_life(struct buffer *out, const struct model *model, const struct trace *trace);

/* Says that sockets were asked for and that the kernel's side has nothing of any, if that is so: then true. */
bool words_none_traced(struct buffer *out, words_escape escape, const struct model *model);

/* Why an ACK made no event, as a column's head, and as the end of a sentence. */
extern const char *const words_no_event_heads[MODEL_NO_EVENTS];
extern const char *const words_no_event_meanings[MODEL_NO_EVENTS];

/* "fd 7 (A to B) could be written to from 1.2 s on, and its owner was told nothing for a second: ..." */
void words_alarm(struct buffer *out, words_escape escape, const struct model *model,
		 const struct model_alarm *alarm);

/* Says that some sends could not be seen, if that is so: then true. */
bool words_sends_unseen(struct buffer *out, const struct model *model);

/* What a headline says of a process' alarms, and of its write stalls. False, and nothing, if there are none. */
bool words_alarms(struct buffer *out, const struct model *model, const struct model_process *process);
bool words_stalled(struct buffer *out, const struct model *model, const struct model_process *process);

#endif
