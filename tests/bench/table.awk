# SPDX-License-Identifier: MIT
#
# awk -f stats.awk -f table.awk -v backends="raw raw2 ..." -v form=text|markdown|details|ratios [-v of=near|far] results.tsv
#
# text, markdown: each workload in a line: medians, in brackets the ratio over raw, and last what the meter adds. details:
# a line for each loop, with smallest and largest. ratios: for the plot, of=near or of=far. An empty place is a workload that the loop cannot
# run.
BEGIN {
	names = split(backends, name, " ")
	title["raw"] = "raw epoll"; title["raw2"] = "raw again"; title["stint-off"] = "stint, meter off"
	for (i = 1; i <= names; i++) if (!(name[i] in title)) title[name[i]] = name[i]
}
{ note() }
function figure(number) {
	return sprintf(number < 100 ? "%.1f" : "%.0f", number)
}
function cell(row, who,    middle_value, over) {
	middle_value = median(row, who)
	if (middle_value == "") return ""
	over = row ~ /bytes/ || who == "raw" ? "" : ratio(row, who, "raw")
	return figure(middle_value) (over == "" ? "" : sprintf(" (%.2f)", over))
}
# What the meter adds, where a workload is of dispatches.
function meter(row) {
	return row ~ /ns_per_(event|request)/ ? with_sign(difference(row, "stint", "stint-off")) : ""
}
function with_sign(number) {
	return number == "" ? "" : sprintf("%+.1f", number)
}
function unit(metric) {
	return metric == "per_event" ? "instructions" : metric
}
function line_of_text(row, part,    i) {
	printf "%-35s %-20s", part[1], unit(part[2])
	for (i = 1; i <= names; i++) printf " %16s", cell(row, name[i])
	printf " %10s\n", meter(row)
}
function line_of_markdown(row, part,    i) {
	printf "| %s | %s |", part[1], unit(part[2])
	for (i = 1; i <= names; i++) printf " %s |", cell(row, name[i])
	printf " %s |\n", meter(row)
}
function lines_of_details(row, part,    i, n, list, over) {
	for (i = 1; i <= names; i++) {
		delete list
		n = values(row, name[i], list)
		if (!n) continue
		sorted(list, n)
		over = ratio(row, name[i], "raw")
		printf "%-35s %-20s %-9s %10.1f %10.1f..%-10.1f %s\n", part[1], part[2], name[i],
			median(row, name[i]), list[1], list[n], over == "" ? "" : sprintf("%7.3f", over)
	}
	print ""
}
function line_of_ratios(row, part,    i, over) {
	if (part[2] !~ /^(ns_per|per_event)/ || ratio(row, "stint", "raw") == "") return
	if ((part[1] ~ /^(ring|dispatch|echo)/) != (of == "near")) return
	printf "\"%s\"", part[1]
	for (i = 2; i <= names; i++) {
		over = ratio(row, name[i], "raw")
		printf "\t%s", over == "" ? "?" : over
	}
	print ""
}
function head(    i) {
	if (form == "text") printf "%-35s %-20s", "workload", "ns, or what is said"
	if (form == "markdown") printf "| workload | ns, or what is said |"
	if (form == "ratios") printf "workload"
	if (form == "details") {
		printf "%-35s %-20s %-9s %10s %22s %7s\n", "workload", "metric", "loop", "median", "smallest..largest", "/ raw"
		return
	}
	for (i = form == "ratios" ? 2 : 1; i <= names; i++)
		printf form == "text" ? " %16s" : form == "markdown" ? " %s |" : "\t%s", title[name[i]]
	print form == "text" ? "  the meter" : form == "markdown" ? " the meter |" : ""
	if (form != "markdown") return
	printf "|---|---|---:|"
	for (i = 1; i <= names; i++) printf "---:|"
	print ""
}
END {
	head()
	for (r = 1; r <= rows; r++) {
		split(order[r], part, FS)
		if (form == "text") line_of_text(order[r], part)
		if (form == "markdown") line_of_markdown(order[r], part)
		if (form == "details") lines_of_details(order[r], part)
		if (form == "ratios") line_of_ratios(order[r], part)
	}
}
