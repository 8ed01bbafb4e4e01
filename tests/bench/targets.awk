# SPDX-License-Identifier: MIT
#
# awk -f stats.awk -f targets.awk -v form=text|markdown targets.tsv results.tsv
#
# What is to be reached, beside what was measured: the median, the interval that holds the true one with 95 % confidence,
# and the same measure of raw epoll against itself. What differs from the limit by less than raw does from itself, or
# where the limit lies in the interval, is not told apart from it.
#
# targets.tsv: what, workload, metric, kind, who, base, limit, decimals. Kinds: see compared().
FILENAME ~ /targets.tsv$/ { if ($0 !~ /^#/) line[++lines] = $0; next }
{ note() }
# By how much raw epoll differs from itself.
function null_error(kind, row,    n, list, error) {
	n = kind == "value" ? 0 : compared(kind, row, "raw2", "raw", list)
	if (!n) return ""
	error = middle(list, n) - (kind == "over")
	return error < 0 ? -error : error
}
function verdict(got, low, limit, error) {
	if (got <= limit) return "yes"
	return low <= limit || error != "" && got - limit <= error ? "not told apart" : "no"
}
function with(number, decimals) {
	return number == "" ? "" : sprintf("%." decimals "f", number)
}
function show(what, limit, got, interval, error, reached) {
	if (form == "markdown") printf "| %s | %s | %s | %s | %s | %s |\n", what, limit, got, interval, error, reached
	else printf "%-66s %8s %9s %16s %15s  %s\n", what, limit, got, interval, error, reached
}
function show_target(f,    row, list, n, got, beyond, interval, error) {
	row = f[2] FS f[3]
	n = compared(f[4], row, f[5], f[6], list)
	if (!n) return
	got = middle(list, n)
	beyond = outside(n)
	interval = n < 6 ? "" : with(list[beyond + 1], f[8]) ".." with(list[n - beyond], f[8])
	error = null_error(f[4], row)
	show(f[1], with(f[7], f[8]), with(got, f[8]), interval, with(error, f[8]),
		verdict(got, n < 6 ? got : list[beyond + 1], f[7], error))
}
END {
	show("to reach", "at most", "measured", "95 % interval", "raw differs by", "reached")
	if (form == "markdown") print "|---|---:|---:|---:|---:|---|"
	for (i = 1; i <= lines; i++) {
		split(line[i], f, FS)
		show_target(f)
	}
}
