/* SPDX-License-Identifier: MIT */
#ifndef REPORT_COMMANDS_H
#define REPORT_COMMANDS_H

/*
 * The commands of `stint`. argv[0] is the command's own name. They print what they have to say and return
 * the exit status: 0, 1 for what failed, 2 for a wrong call.
 */

int cmd_record(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_doctor(int argc, char **argv);

#endif
