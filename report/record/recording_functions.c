/* SPDX-License-Identifier: MIT */
#include "report/record/recording_row.h"

int64_t recording_function(struct recording *recording, int64_t process,
			   const struct stint_probes_function *function)
{
	bool known = function->cost_ns > 0;
	struct row row = row_begin(recording, FUNCTION);

	put_id(&row, process);
	put_text(&row, function->asked);
	put_text(&row, function->name);
	put_text(&row, function->module);
	put_number(&row, function->address);
	put_known(&row, known ? function->cost_ns : RECORDING_UNKNOWN);
	put_known(&row, known ? function->within_ns : RECORDING_UNKNOWN);
	return row_end(&row);
}

void recording_function_counts(struct recording *recording, int64_t id,
			       const struct stint_probes_function *function)
{
	struct row row = row_begin(recording, FUNCTION_COUNTS);

	put_number(&row, function->begun);
	put_number(&row, function->nested);
	put_number(&row, function->left);
	put_number(&row, function->unmatched);
	put_number(&row, function->not_kept);
	put_id(&row, id);
	row_end(&row);
}

void recording_overrun_functions(struct recording *recording, int64_t overrun,
				 const struct stint_probes_overrun *probed)
{
	for (int i = 0; i < STINT_PROBES_FUNCTIONS; i++) {
		const struct stint_probes_function_part *part = &probed->functions[i];
		struct row row;

		if (!part->asked || !(part->calls || part->running))
			continue;
		row = row_begin(recording, OVERRUN_FUNCTION);
		put_id(&row, overrun);
		put_text(&row, part->asked);
		put_number(&row, part->calls);
		put_number(&row, part->running);
		put_number(&row, part->duration_ns);
		row_end(&row);
	}
}
