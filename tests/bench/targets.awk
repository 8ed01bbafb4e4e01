# SPDX-License-Identifier: MIT
#
# awk -f stats.awk -f targets.awk -v form=text|markdown targets.tsv results.tsv
#
# What is to be reached, beside what was measured, and beside that by how much two runs of raw epoll differ in the same
# measure: what differs by less is equal.
#
# targets.tsv: what, workload, metric, kind, who, base, limit, decimals. Kinds: `over`, the ratio of who and base (the
# best of them in each round, if they are several); `minus`, the difference; `value`.
FILENAME ~ /targets.tsv$/ { if ($0 !~ /^#/) line[++lines] = $0; next }
{ note() }
function measured(kind, row, who, base) {
	if (kind == "over") return ratio(row, who, base)
	if (kind == "minus") return difference(row, who, base)
	return median(row, who)
}
# By how much raw epoll differs from itself, in the same measure.
function null_error(kind, row,    round, n, list, one, two) {
	for (round = 1; round <= rounds; round++) {
		one = value[row, "raw", round]
		two = value[row, "raw2", round]
		if (!one || !two) continue
		list[++n] = kind == "over" ? two / one - 1 : two - one
		if (list[n] < 0) list[n] = -list[n]
	}
	return n && kind != "value" ? middle(list, n) : ""
}
function verdict(got, limit, error) {
	if (got <= limit) return "yes"
	return error != "" && got - limit <= error ? "within what raw differs" : "no"
}
function with(number, decimals) {
	return number == "" ? "" : sprintf("%." decimals "f", number)
}
function show(what, limit, got, error, reached) {
	if (form == "markdown") printf "| %s | %s | %s | %s | %s |\n", what, limit, got, error, reached
	else printf "%-66s %8s %9s %15s  %s\n", what, limit, got, error, reached
}
END {
	show("to reach", "at most", "measured", "raw differs by", "reached")
	if (form == "markdown") print "|---|---:|---:|---:|---|"
	for (i = 1; i <= lines; i++) {
		split(line[i], f, FS)
		row = f[2] FS f[3]
		got = measured(f[4], row, f[5], f[6])
		if (got == "") continue
		error = null_error(f[4], row)
		show(f[1], with(f[7], f[8]), with(got, f[8]), with(error, f[8]), verdict(got, f[7], error))
	}
}
