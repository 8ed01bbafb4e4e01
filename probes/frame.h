/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_FRAME_H
#define STINT_PROBES_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#define STINT_FRAME_NAME_BYTES 128

/* Of a stack in user space. */
struct stint_frame {
	uint64_t pc;             /* a return address, but in the innermost frame */
	uint64_t function_start; /* what tells one function from another; 0: unknown */
	bool has_symbol;
	/* "function"; without a symbol "module+0xoffset" of where the function begins, or of pc if even that is unknown;
	 * outside of all modules "0xaddress". */
	char name[STINT_FRAME_NAME_BYTES];
	char module[64];    /* the file mapped there, without its folder; "" if none is */
	bool in_executable; /* that is the program's own file, no library */
	char file[96];      /* the source's end, "net/server.c", where there is debug information; else "" */
	uint32_t line;      /* 0: unknown */
};

#endif
