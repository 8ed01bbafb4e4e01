# SPDX-License-Identifier: MIT
#
# Medians (smallest..largest) of results.tsv, and each median over that of raw. ratios=1: the ratios alone, for
# the plot. An empty place is a workload that the backend cannot run.
BEGIN { FS = "\t"; names = split(backends, name, " ") }
{
	row = $1 "\t" $2
	if (!(row in seen)) { seen[row] = 1; order[++rows] = row }
	count[row, $3]++
	value[row, $3, count[row, $3]] = $4 + 0
}
function sort(row, who,    i, j, held, n) {
	n = count[row, who]
	for (i = 2; i <= n; i++) {
		held = value[row, who, i]
		for (j = i - 1; j >= 1 && value[row, who, j] > held; j--)
			value[row, who, j + 1] = value[row, who, j]
		value[row, who, j + 1] = held
	}
	return n
}
function median(row, who,    n) {
	n = count[row, who]
	return n % 2 ? value[row, who, (n + 1) / 2] : (value[row, who, n / 2] + value[row, who, n / 2 + 1]) / 2
}
END {
	if (ratios) {
		printf "workload"
		for (i = 2; i <= names; i++) printf "\t%s", name[i]
		print ""
	} else
		printf "%-28s %-21s %-9s %10s %22s %7s\n", "workload", "metric", "loop", "median", "smallest..largest", "/ raw"
	for (r = 1; r <= rows; r++) {
		split(order[r], part, "\t")
		if (ratios && part[2] !~ /^(ns_per|per_event)/) continue
		if (ratios) printf "\"%s\"", part[1]
		for (i = 1; i <= names; i++) {
			n = sort(order[r], name[i])
			if (i == 1) base = n ? median(order[r], name[1]) : 0
			if (ratios) {
				if (i > 1) printf "\t%s", n && base ? median(order[r], name[i]) / base : "?"
				continue
			}
			if (!n) continue
			printf "%-28s %-21s %-9s %10.1f %10.1f..%-10.1f %7.3f\n", part[1], part[2], name[i], \
				median(order[r], name[i]), value[order[r], name[i], 1], value[order[r], name[i], n], \
				base ? median(order[r], name[i]) / base : 0
		}
		print ""
	}
}
