/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Calls by the 32-bit interface of x86 (int 0x80 works from 64-bit programs too): T(its number, the name of the same call here), from the
 * kernel's arch/x86/entry/syscalls/syscall_32.tbl. The 16-bit, 32-bit and 64-bit forms of a call are the same call. Numbers from 424 on are
 * the same everywhere. Left out is what has no single counterpart: socketcall, ipc, the mmap and select that take a structure, signals of
 * the first kind. */
#ifndef TF_COMPAT_H
#define TF_COMPAT_H

#define TF_COMPAT_SAME 424   /* from here on numbers agree */
#define TF_COMPAT_CALLS(T) \
	T(0, restart_syscall) T(1, exit) T(2, fork) T(3, read) T(4, write) T(5, open) T(6, close) T(8, creat) T(9, link) T(10, unlink) \
	T(11, execve) T(12, chdir) T(13, time) T(14, mknod) T(15, chmod) T(16, lchown) T(19, lseek) T(20, getpid) T(21, mount) \
	T(22, umount2) T(23, setuid) T(24, getuid) T(26, ptrace) T(27, alarm) T(29, pause) T(30, utime) T(33, access) T(36, sync) \
	T(37, kill) T(38, rename) T(39, mkdir) T(40, rmdir) T(41, dup) T(42, pipe) T(43, times) T(45, brk) T(46, setgid) T(47, getgid) \
	T(49, geteuid) T(50, getegid) T(51, acct) T(52, umount2) T(54, ioctl) T(55, fcntl) T(57, setpgid) T(60, umask) T(61, chroot) \
	T(62, ustat) T(63, dup2) T(64, getppid) T(65, getpgrp) T(66, setsid) T(67, rt_sigaction) T(70, setreuid) T(71, setregid) \
	T(74, sethostname) T(75, setrlimit) T(76, getrlimit) T(77, getrusage) T(78, gettimeofday) T(79, settimeofday) T(80, getgroups) \
	T(81, setgroups) T(83, symlink) T(85, readlink) T(86, uselib) T(87, swapon) T(88, reboot) T(91, munmap) T(92, truncate) \
	T(93, ftruncate) T(94, fchmod) T(95, fchown) T(96, getpriority) T(97, setpriority) T(99, statfs) T(100, fstatfs) \
	T(101, ioperm) T(103, syslog) T(104, setitimer) T(105, getitimer) T(106, stat) T(107, lstat) T(108, fstat) T(110, iopl) \
	T(111, vhangup) T(114, wait4) T(115, swapoff) T(116, sysinfo) T(118, fsync) T(120, clone) T(121, setdomainname) T(122, uname) \
	T(123, modify_ldt) T(124, adjtimex) T(125, mprotect) T(127, create_module) T(128, init_module) T(129, delete_module) \
	T(130, get_kernel_syms) T(131, quotactl) T(132, getpgid) T(133, fchdir) T(135, sysfs) T(136, personality) T(137, afs_syscall) \
	T(138, setfsuid) T(139, setfsgid) T(141, getdents) T(142, select) T(143, flock) T(144, msync) T(145, readv) T(146, writev) \
	T(147, getsid) T(148, fdatasync) T(149, _sysctl) T(150, mlock) T(151, munlock) T(152, mlockall) T(153, munlockall) \
	T(154, sched_setparam) T(155, sched_getparam) T(156, sched_setscheduler) T(157, sched_getscheduler) T(158, sched_yield) \
	T(159, sched_get_priority_max) T(160, sched_get_priority_min) T(161, sched_rr_get_interval) T(162, nanosleep) T(163, mremap) \
	T(164, setresuid) T(165, getresuid) T(167, query_module) T(168, poll) T(169, nfsservctl) T(170, setresgid) T(171, getresgid) \
	T(172, prctl) T(173, rt_sigreturn) T(174, rt_sigaction) T(175, rt_sigprocmask) T(176, rt_sigpending) T(177, rt_sigtimedwait) \
	T(178, rt_sigqueueinfo) T(179, rt_sigsuspend) T(180, pread64) T(181, pwrite64) T(182, chown) T(183, getcwd) T(184, capget) \
	T(185, capset) T(186, sigaltstack) T(187, sendfile) T(188, getpmsg) T(189, putpmsg) T(190, vfork) T(191, getrlimit) \
	T(192, mmap) T(193, truncate) T(194, ftruncate) T(195, stat) T(196, lstat) T(197, fstat) T(198, lchown) T(199, getuid) \
	T(200, getgid) T(201, geteuid) T(202, getegid) T(203, setreuid) T(204, setregid) T(205, getgroups) T(206, setgroups) \
	T(207, fchown) T(208, setresuid) T(209, getresuid) T(210, setresgid) T(211, getresgid) T(212, chown) T(213, setuid) \
	T(214, setgid) T(215, setfsuid) T(216, setfsgid) T(217, pivot_root) T(218, mincore) T(219, madvise) T(220, getdents64) \
	T(221, fcntl) T(224, gettid) T(225, readahead) T(226, setxattr) T(227, lsetxattr) T(228, fsetxattr) T(229, getxattr) \
	T(230, lgetxattr) T(231, fgetxattr) T(232, listxattr) T(233, llistxattr) T(234, flistxattr) T(235, removexattr) \
	T(236, lremovexattr) T(237, fremovexattr) T(238, tkill) T(239, sendfile) T(240, futex) T(241, sched_setaffinity) \
	T(242, sched_getaffinity) T(243, set_thread_area) T(244, get_thread_area) T(245, io_setup) T(246, io_destroy) \
	T(247, io_getevents) T(248, io_submit) T(249, io_cancel) T(250, fadvise64) T(252, exit_group) T(253, lookup_dcookie) \
	T(254, epoll_create) T(255, epoll_ctl) T(256, epoll_wait) T(257, remap_file_pages) T(258, set_tid_address) \
	T(259, timer_create) T(260, timer_settime) T(261, timer_gettime) T(262, timer_getoverrun) T(263, timer_delete) \
	T(264, clock_settime) T(265, clock_gettime) T(266, clock_getres) T(267, clock_nanosleep) T(268, statfs) T(269, fstatfs) \
	T(270, tgkill) T(271, utimes) T(273, vserver) T(274, mbind) T(275, get_mempolicy) T(276, set_mempolicy) T(277, mq_open) \
	T(278, mq_unlink) T(279, mq_timedsend) T(280, mq_timedreceive) T(281, mq_notify) T(282, mq_getsetattr) T(283, kexec_load) \
	T(284, waitid) T(286, add_key) T(287, request_key) T(288, keyctl) T(289, ioprio_set) T(290, ioprio_get) T(291, inotify_init) \
	T(292, inotify_add_watch) T(293, inotify_rm_watch) T(294, migrate_pages) T(295, openat) T(296, mkdirat) T(297, mknodat) \
	T(298, fchownat) T(299, futimesat) T(300, newfstatat) T(301, unlinkat) T(302, renameat) T(303, linkat) T(304, symlinkat) \
	T(305, readlinkat) T(306, fchmodat) T(307, faccessat) T(308, pselect6) T(309, ppoll) T(310, unshare) T(311, set_robust_list) \
	T(312, get_robust_list) T(313, splice) T(314, sync_file_range) T(315, tee) T(316, vmsplice) T(317, move_pages) T(318, getcpu) \
	T(319, epoll_pwait) T(320, utimensat) T(321, signalfd) T(322, timerfd_create) T(323, eventfd) T(324, fallocate) \
	T(325, timerfd_settime) T(326, timerfd_gettime) T(327, signalfd4) T(328, eventfd2) T(329, epoll_create1) T(330, dup3) \
	T(331, pipe2) T(332, inotify_init1) T(333, preadv) T(334, pwritev) T(335, rt_tgsigqueueinfo) T(336, perf_event_open) \
	T(337, recvmmsg) T(338, fanotify_init) T(339, fanotify_mark) T(340, prlimit64) T(341, name_to_handle_at) \
	T(342, open_by_handle_at) T(343, clock_adjtime) T(344, syncfs) T(345, sendmmsg) T(346, setns) T(347, process_vm_readv) \
	T(348, process_vm_writev) T(349, kcmp) T(350, finit_module) T(351, sched_setattr) T(352, sched_getattr) T(353, renameat2) \
	T(354, seccomp) T(355, getrandom) T(356, memfd_create) T(357, bpf) T(358, execveat) T(359, socket) T(360, socketpair) \
	T(361, bind) T(362, connect) T(363, listen) T(364, accept4) T(365, getsockopt) T(366, setsockopt) T(367, getsockname) \
	T(368, getpeername) T(369, sendto) T(370, sendmsg) T(371, recvfrom) T(372, recvmsg) T(373, shutdown) T(374, userfaultfd) \
	T(375, membarrier) T(376, mlock2) T(377, copy_file_range) T(378, preadv2) T(379, pwritev2) T(380, pkey_mprotect) \
	T(381, pkey_alloc) T(382, pkey_free) T(383, statx) T(384, arch_prctl) T(385, io_pgetevents) T(386, rseq) T(393, semget) \
	T(394, semctl) T(395, shmget) T(396, shmctl) T(397, shmat) T(398, shmdt) T(399, msgget) T(400, msgsnd) T(401, msgrcv) \
	T(402, msgctl) T(403, clock_gettime) T(404, clock_settime) T(405, clock_adjtime) T(406, clock_getres) T(407, clock_nanosleep) \
	T(408, timer_gettime) T(409, timer_settime) T(410, timerfd_gettime) T(411, timerfd_settime) T(412, utimensat) T(413, pselect6) \
	T(414, ppoll) T(416, io_pgetevents) T(417, recvmmsg) T(418, mq_timedsend) T(419, mq_timedreceive) T(420, semtimedop) \
	T(421, rt_sigtimedwait) T(422, futex) T(423, sched_rr_get_interval)

#endif
