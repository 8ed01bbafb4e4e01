/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_SEND_BPF_H
#define STINT_PROBES_SEND_BPF_H

/*
 * How much a call had to send that takes it from a file (sendfile) or a pipe (splice): what was asked for, unless the
 * source ended before. Seen as the call returns, from what it has left. 0: not known, of other sources.
 */

static __noinline u64 file_requested(s32 fd, u64 offset_at, u64 count, u64 sent)
{
	struct file *file;
	s64 offset = 0, left;

	if (sent >= count)
		return count;
	file = (struct file *)fd_to_file(fd);
	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFREG)
		return 0;
	if (!offset_at)
		offset = BPF_CORE_READ(file, f_pos);
	else if (bpf_probe_read_user(&offset, sizeof(offset), (void *)offset_at) != 0)
		return 0;
	left = BPF_CORE_READ(file, f_inode, i_size) - offset;
	left = left > 0 ? left : 0;
	return sent + (u64)left < count ? sent + (u64)left : count;
}

/* Is there anything left in the pipe? */
static __noinline bool pipe_has_data(s32 fd)
{
	struct file *file = (struct file *)fd_to_file(fd);
	struct pipe_inode_info *pipe;

	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFIFO)
		return false;
	pipe = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(pipe, head) != BPF_CORE_READ(pipe, tail);
}

static __always_inline u64 requested_bytes(long number, const struct pt_regs *regs, long result)
{
	u64 sent = result > 0 ? (u64)result : 0;

	if (number == NR_sendfile)
		return file_requested((s32)regs->si, regs->dx, regs->r10, sent);
	if (number == NR_splice)
		return pipe_has_data((s32)regs->di) ? regs->r8 : sent;
	return send_requested(number, regs->si, regs->dx);
}

/* A splice that was refused because its pipe was empty: that says nothing of the socket. */
static __always_inline bool lacked_source(long number, const struct pt_regs *regs, long result)
{
	return number == NR_splice && result == -EAGAIN && !pipe_has_data((s32)regs->di);
}

#endif
