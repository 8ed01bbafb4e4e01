/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_FILES_BPF_H
#define STINT_PROBES_FILES_BPF_H

static __always_inline u64 file_in(const struct fdtable *table, s32 fd)
{
	struct file **files, *file = NULL;

	if (fd < 0 || (u32)fd >= BPF_CORE_READ(table, max_fds))
		return 0;
	files = BPF_CORE_READ(table, fd);
	if (bpf_probe_read_kernel(&file, sizeof(file), files + fd) != 0)
		return 0;
	return (u64)file;
}

/* The descriptors of a task; 0: it has none any more. */
static __always_inline u64 table_of(const struct task_struct *task)
{
	return as_number((u64)BPF_CORE_READ(task, files, fdt));
}

/* The struct file behind a descriptor of the current task, or 0. */
static __noinline u64 fd_to_file(s32 fd)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return file_in(BPF_CORE_READ(task, files, fdt), fd);
}

/* The struct eventpoll behind a descriptor of the current process. */
static __always_inline u64 epoll_set(s32 fd)
{
	struct file *file = (struct file *)fd_to_file(fd);

	return file ? (u64)BPF_CORE_READ(file, private_data) : 0;
}

#endif
