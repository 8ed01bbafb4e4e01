# SPDX-License-Identifier: MIT
#
# gnuplot -e "near='near.dat'; far='far.dat'; picture='bench'" plot.gp: draws bench.svg and bench.png, a mark for each
# loop in the line of each workload: where all are close to raw epoll on a scale of its own, the rest logarithmic.
set datafile separator tab
set datafile missing '?'
columns = int(system("head -1 ".near." | tr '\t' '\n' | wc -l"))
rows(file) = int(system("grep -c . ".file)) - 1
array shape[8] = [2, 7, 6, 9, 5, 13, 11, 15]
array colour[8] = [0x888888, 0xc00000, 0xe08030, 0x2060b0, 0x209050, 0x8040a0, 0x000000, 0x606060]
set grid
set ytics noenhanced
set tmargin 4
set bmargin 4
do for [format in "svg png"] {
	if (format eq 'svg') {
		set terminal svg size 1300,640 font 'sans,13' background 'white'
	} else {
		set terminal pngcairo size 1300,640 font 'sans,10' background 'white'
	}
	set output picture.'.'.format
	set multiplot layout 1,2 title 'Cost over raw epoll written by hand (1); less is better'
	set lmargin 28
	set rmargin 2
	set xlabel 'ratio, median of the rounds'
	unset key
	set xrange [*<0.9:1.5<*]
	set yrange [rows(near):-1]
	set arrow 1 from 1, graph 0 to 1, graph 1 nohead lc black
	plot for [i=2:columns] near using i:0:ytic(1) with points pt shape[i - 1] ps 1.4 lc rgb colour[i - 1] title columnheader(i)
	set key outside top center horizontal noenhanced
	set xrange [*<0.5:*]
	set logscale x
	set xtics (0.5, 1, 1.5, 2, 3, 5, 10, 20, 40)
	set yrange [rows(far):-1]
	plot for [i=2:columns] far using i:0:ytic(1) with points pt shape[i - 1] ps 1.4 lc rgb colour[i - 1] title columnheader(i)
	unset logscale
	set xtics autofreq
	unset multiplot
}
