/* SPDX-License-Identifier: MIT */
#include "report/show/css.h"

/* The assembler puts the file into the program as it is, as schema.c does. */
__asm__(".pushsection .rodata\n"
	".global report_css\n"
	"report_css:\n"
	".incbin \"report/show/report.css\"\n"
	".byte 0\n"
	".popsection\n");
