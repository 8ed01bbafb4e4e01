/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_KERNEL_H
#define STINT_PROBES_KERNEL_H

/*
 * The kernel's types, as far as the probes read them: each struct has just the fields in use, and
 * preserve_access_index makes the loader look up where the running kernel keeps them (CO-RE). So no
 * generated vmlinux.h is needed, and the build does not depend on the machine it runs on.
 * For eBPF programs only; checked against Linux 6.1, 6.12 and 6.18.
 */

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef short __s16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u8 u8;
typedef __u16 u16;
typedef __s16 s16;
typedef __u32 u32;
typedef __s32 s32;
typedef __u64 u64;
typedef __s64 s64;
typedef _Bool bool;

#define true 1
#define false 0
#define NULL ((void *)0)

enum bpf_map_type_in_use {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_QUEUE = 22,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum { BPF_ANY = 0, BPF_NOEXIST = 1, BPF_F_MMAPABLE = 1024 };
enum { BPF_RB_AVAIL_DATA = 0, BPF_RB_RING_SIZE = 1 };

#define AF_UNIX         1
#define AF_INET         2
#define AF_INET6        10
#define SOCK_DGRAM      2
#define IPPROTO_TCP     6
#define IPPROTO_UDP     17
#define TCP_ESTABLISHED 1
#define TCP_SYN_RECV    3
#define TCP_LISTEN      10
#define S_IFMT          0170000
#define S_IFSOCK        0140000
#define S_IFIFO         0010000
#define S_IFCHR         0020000
#define S_IFREG         0100000
#define O_NONBLOCK      04000
#define EAGAIN          11
#define EEXIST          17
#define NET_RX_SOFTIRQ  3
#define EPOLLIN         0x1u
#define EPOLLOUT        0x4u
#define EPOLLERR        0x8u
#define EPOLLHUP        0x10u
#define EPOLLWRNORM     0x100u
#define EPOLLONESHOT    (1u << 30)
#define EPOLLET         (1u << 31)
#define SOCK_NOSPACE    2 /* bit number in socket.flags, include/linux/net.h; the same since 2.6 */
#define TASK_RUNNING    0
#define TASK_WAKING     0x200       /* the same since 4.14 */
#define TASK_STOPPED    4           /* by a signal */
#define TASK_TRACED     8           /* by a tracer */
#define TASK_FROZEN     0x8000      /* by the old freezer; since 6.1 */
#define JOBCTL_FREEZE   (1ul << 23) /* its cgroup is frozen, and it is about to be; since 5.2 */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs,
		flags, sp;
};
#else
#error "stint's probes read x86-64 registers; other machines need their struct pt_regs here"
#endif

struct super_block {
	u32 s_dev;
};

struct inode {
	struct super_block *i_sb;
	unsigned short i_mode;
	unsigned long i_ino;
	s64 i_size;
};

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

struct list_head {
	struct list_head *next;
};

typedef struct {
	struct list_head head;
} wait_queue_head_t;

struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct qstr d_name;
};

struct path {
	struct dentry *dentry;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
	unsigned int f_flags;
	s64 f_pos;
	void *private_data;
	struct hlist_head *f_ep; /* the registrations of this file in epoll sets; since 5.11 */
	struct {
		s64 counter;
	} f_count; /* of references; before 6.13 */
};

struct file___6_13 {
	struct {
		struct {
			s64 counter;
		} refcnt;
	} f_ref;
};

/* Of the buffers in use: equal where it is empty. */
struct pipe_inode_info {
	unsigned int head;
	unsigned int tail;
};

/* One registration: a file in an epoll set. */
struct epitem {
	struct list_head rdllink; /* in the set's list of those that are ready; to itself: it is not */
	struct hlist_node fllink; /* in the file's f_ep */
	struct eventpoll *ep;     /* the set */
	struct epoll_event {
		__u32 events;
		__u64 data;
	} event;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

typedef struct {
	int counter;
} atomic_t;

struct files_struct {
	atomic_t count; /* of tasks that share it */
	struct fdtable *fdt;
};

typedef struct refcount_struct {
	atomic_t refs;
} refcount_t;

struct upid {
	int nr;
};

struct pid {
	struct upid numbers[1]; /* the first: as the initial namespace has it */
};

struct signal_struct {
	atomic_t live; /* threads of the process that have not exited */
};

/* A CPU's queue of runnable tasks. */
struct rq {
	u64 clock;
	u64 prev_steal_time_rq; /* the hypervisor's count for that CPU, as of `clock` */
};

/* A group's part of it. Which of the sums there are depends on the version: verdict.bpf.h. */
struct cfs_rq {
	struct rq *rq;
	struct task_group *tg;
	int throttle_count;
	u64 throttled_clock_self;
	u64 throttled_clock_self_time;
	u64 throttled_clock_pelt;
	u64 throttled_clock_pelt_time;
	u64 throttled_clock_task;
	u64 throttled_clock_task_time;
};

struct sched_entity {
	u64 exec_start;
	u64 sum_exec_runtime;
	struct cfs_rq *cfs_rq;
};

struct kernfs_node {
	u64 id;
};

struct cgroup_subsys_state {
	struct cgroup_subsys_state *parent;
};

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp; /* in the unified hierarchy */
};

/* The page that the kernel maps into a process for its uprobes. */
struct xol_area {
	unsigned long vaddr;
};

struct uprobes_state {
	struct xol_area *xol_area;
};

struct mm_struct {
	struct uprobes_state uprobes_state;
	unsigned long start_stack;
};

/* On x86-64. */
struct thread_struct {
	unsigned long fsbase;
};

struct io_uring_task {
	struct file *registered_rings[16];
};

/* Of a call that a signal has interrupted and that goes on: what it needs for that, by its kind. */
struct restart_block {
	union {
		struct {
			void *ufds;
			int nfds;
			int has_timeout;
		} poll;
	};
};

struct task_struct {
	unsigned int __state;
	unsigned long jobctl;
	struct restart_block restart_block;
	struct sched_entity se;
	bool throttled; /* since 6.18: before, only its queue is */
	int on_cpu;
	int pid;
	int tgid;
	unsigned long min_flt;
	unsigned long maj_flt;
	char comm[16];
	struct files_struct *files;
	struct signal_struct *signal;
	struct css_set *cgroups;
	struct mm_struct *mm;
	struct io_uring_task *io_uring;
	struct thread_struct thread;
};

/* What the program of an iterator over tasks is given. */
struct bpf_iter__task {
	struct task_struct *task;
};

struct io_uring {
	u32 head;
	u32 tail;
};

struct io_rings {
	struct io_uring cq;
};

struct io_ring_ctx {
	unsigned int flags;
	struct io_rings *rings;
	u32 *sq_array;
	struct io_uring_sqe *sq_sqes;
	unsigned int cached_sq_head; /* these two: how many were taken, and put there */
	unsigned int sq_entries;
	unsigned int cached_cq_tail;
};

struct io_uring_cqe {
	u64 user_data;
	s32 res;
	u32 flags;
};

struct io_cqe {
	u64 user_data;
};

/* A request. It begins with a union of its file and the operation's own, which begins with the file too. */
struct io_kiocb {
	struct file *file;
	u8 opcode;
	struct io_cqe cqe;
	struct io_ring_ctx *ctx;
};

struct io_sr_msg {
	u32 done_io; /* of a send that goes on: what was taken so far */
};

struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct netns_ipv4 {
	unsigned int sysctl_tcp_notsent_lowat;
};

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
	struct netns_ipv4 ipv4;
};

struct sock_common {
	possible_net_t skc_net;
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};

/* Begins with its struct sock. */
struct inet_sock {
	__be16 inet_sport;
};

struct socket_wq {
	wait_queue_head_t wait;
};

struct socket {
	unsigned long flags;
	struct file *file;
	struct sock *sk;
	struct socket_wq wq;
};

struct sk_buff_head {
	__u32 qlen;
};

struct sock {
	struct sock_common __sk_common;
	struct sk_buff_head sk_receive_queue;
	refcount_t sk_wmem_alloc;
	struct socket *sk_socket;
	int sk_wmem_queued;
	int sk_sndbuf;
	u16 sk_type;
	u16 sk_protocol;
	u32 sk_max_ack_backlog;
	struct pid *sk_peer_pid;
	struct {
		struct spinlock {
		} slock;   /* of who is amid the processing of a segment; begins with its state */
		int owned; /* by a system call */
	} sk_lock;
	void (*sk_write_space)(struct sock *sk);
	void *sk_user_data;
};

struct request_sock {
};

/* Begins with its struct request_sock. */
struct tcp_request_sock {
	u32 snt_isn; /* the number that its connection began with: by chance */
};

struct inet_connection_sock {
	struct {
		struct request_sock *rskq_accept_head;
	} icsk_accept_queue;      /* of a listener */
	const void *icsk_ulp_ops; /* of kernel TLS and the like */
	__u8 icsk_ca_state : 5;
	__u8 icsk_retransmits; /* timeouts in a row without progress */
	__u8 icsk_probes_out;  /* probes of a closed window without an answer */
};

struct tcp_sock {
	u32 data_segs_in;
	u32 copied_seq;
	u32 rcv_nxt;
	u32 snd_una;
	u32 snd_nxt;
	u32 write_seq;
	u32 snd_wnd;
	u32 snd_cwnd;
	u32 mss_cache;
	u32 packets_out;
	u32 sacked_out;
	u32 lost_out;
	u32 retrans_out;
	u32 notsent_lowat;
	u8 chrono_type : 2;
	u64 tcp_wstamp_ns;
};

/* `len` counts the family too. */
struct unix_address {
	int len;
	struct sockaddr_un {
		unsigned short sun_family;
		char sun_path[108];
	} name[];
};

struct unix_sock {
	struct unix_address *addr;
	struct sock *peer;
};

struct sk_buff {
	struct sock *sk; /* whose send it is of */
	unsigned int len;
	unsigned int truesize;
	char cb[48]; /* while TCP has it: a struct tcp_skb_cb */
};

struct tcp_skb_cb {
	__u32 seq;
	__u32 end_seq;
	__u32 ack_seq;
};

#pragma clang attribute pop

struct bpf_map; /* only its address is given to those who walk one */

/* User space's, of a fixed layout: not relocated. A struct timeval is the same to who asks whether it is 0. */
struct timespec64_user {
	s64 seconds;
	s64 nanoseconds;
};

struct pollfd_user {
	s32 fd;
	s16 events;
	s16 revents;
};

/* What io_uring_enter() is given with IORING_ENTER_EXT_ARG. */
struct io_uring_getevents_user {
	u64 sigmask;
	u32 sigmask_bytes;
	u32 min_wait_us;
	u64 timeout;
};

#endif
