# SPDX-License-Identifier: MIT
#
# What the other scripts share: results.tsv, a line for each run: workload, metric, who, value, and the number of the part
# of the round. Figures are medians; one that compares two is the median of what each part says, whose runs follow one
# another.
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
	if (!($5 in known)) { known[$5] = 1; number[++numbers] = $5 }
}
# Fills `list` with the values of `who`, and returns how many there are.
function values(row, who, list,    i, n) {
	for (i = 1; i <= numbers; i++)
		if ((row, who, number[i]) in value) list[++n] = value[row, who, number[i]]
	return n + 0
}
function median(row, who,    list, n) {
	n = values(row, who, list)
	return n ? middle(list, n) : ""
}
# The least of a part's values of several, separated by spaces.
function least(row, base, part,    i, n, name, low) {
	n = split(base, name, " ")
	for (i = 1; i <= n; i++)
		if ((row, name[i], part) in value && (low == "" || value[row, name[i], part] < low))
			low = value[row, name[i], part]
	return low
}
# Fills `list` with what each part says that has both: kind `over`: who over base (the best of them, if they are several);
# `minus`: the difference; `value`: who by itself. Returns how many there are.
function compared(kind, row, who, base, list,    i, n, low) {
	if (kind == "value") return values(row, who, list)
	for (i = 1; i <= numbers; i++) {
		low = least(row, base, number[i])
		if (!((row, who, number[i]) in value) || low == "" || low <= 0) continue
		list[++n] = kind == "over" ? value[row, who, number[i]] / low : value[row, who, number[i]] - low
	}
	return n + 0
}
# "" where no part has both.
function ratio(row, who, base,    n, list) {
	n = compared("over", row, who, base, list)
	return n ? middle(list, n) : ""
}
function difference(row, who, base,    n, list) {
	n = compared("minus", row, who, base, list)
	return n ? middle(list, n) : ""
}
# How many of n sorted values lie below the 95 % confidence interval of their median (and above it), by the normal
# approximation of the binomial distribution; 0 where n is too small for that.
function outside(n) {
	return n < 6 ? 0 : int((n - 1.96 * sqrt(n)) / 2)
}
