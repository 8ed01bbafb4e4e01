/* SPDX-License-Identifier: MIT */
#ifndef REPORT_COMMANDS_H
#define REPORT_COMMANDS_H

/*
 * The subcommands of `stint`. argv[0] is the subcommand's name. Each returns the exit status: 0; 1 if something
 * failed, after one line on standard error that says what; 2 for wrong usage.
 */

int cmd_record(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_doctor(int argc, char **argv);

#endif
