# SPDX-License-Identifier: MIT
# gnuplot -e "data='ratios.dat'; picture='bench.svg'" plot.gp
set terminal svg size 1500,800 font 'sans,13' background 'white'
set output picture
set datafile separator tab
set datafile missing '?'
set title 'Cost over raw epoll (1 = the limit, written by hand); less is better' noenhanced
set style data histogram
set style histogram clustered gap 1
set style fill solid 0.9 noborder
set logscale y
set ytics (0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10, 20, 40)
set yrange [0.8:*]
set ylabel 'median over the median of raw'
set grid y
set xtics rotate by -35 noenhanced
set key outside top horizontal noenhanced
stats data skip 1 using 2 nooutput
columns = int(system("head -1 ".data." | tr '\\t' '\\n' | wc -l"))
plot 1 notitle lc black, for [i=2:columns] data using i:xtic(1) title columnheader(i)
