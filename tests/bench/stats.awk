# SPDX-License-Identifier: MIT
#
# What the other scripts share: results.tsv, a line for each run: workload, metric, who, value, round. Figures are
# medians; one that compares two is the median of what each round says, whose runs follow one another.
BEGIN { FS = "\t" }
function sorted(list, n,    i, j, held) {
	for (i = 2; i <= n; i++) {
		held = list[i]
		for (j = i - 1; j >= 1 && list[j] > held; j--) list[j + 1] = list[j]
		list[j + 1] = held
	}
}
function middle(list, n) {
	sorted(list, n)
	return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}
function note() {
	row = $1 FS $2
	if (!(row in seen)) { seen[row] = 1; order[++rows] = row }
	value[row, $3, $5] = $4 + 0
	if ($5 > rounds) rounds = $5
}
# Fills `list` with the values of `who`, and returns how many there are.
function values(row, who, list,    round, n) {
	for (round = 1; round <= rounds; round++)
		if ((row, who, round) in value) list[++n] = value[row, who, round]
	return n + 0
}
function median(row, who,    list, n) {
	n = values(row, who, list)
	return n ? middle(list, n) : ""
}
# The least of a round's values of several, separated by spaces.
function least(row, base, round,    i, n, name, low) {
	n = split(base, name, " ")
	for (i = 1; i <= n; i++)
		if ((row, name[i], round) in value && (low == "" || value[row, name[i], round] < low))
			low = value[row, name[i], round]
	return low
}
# "" where there is no round with both.
function ratio(row, who, base,    round, n, list, low) {
	for (round = 1; round <= rounds; round++) {
		low = least(row, base, round)
		if ((row, who, round) in value && low > 0) list[++n] = value[row, who, round] / low
	}
	return n ? middle(list, n) : ""
}
function difference(row, who, base,    round, n, list) {
	for (round = 1; round <= rounds; round++)
		if ((row, who, round) in value && (row, base, round) in value)
			list[++n] = value[row, who, round] - value[row, base, round]
	return n ? middle(list, n) : ""
}
