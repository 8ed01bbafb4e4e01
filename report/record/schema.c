/* SPDX-License-Identifier: MIT */
#include "report/record/schema.h"

/* The assembler puts the file into the program as it is: the schema stays a file that SQL tools can read. */
__asm__(".pushsection .rodata\n"
	".global report_schema_sql\n"
	"report_schema_sql:\n"
	".incbin \"report/record/schema.sql\"\n"
	".byte 0\n"
	".popsection\n");
