// SPDX-License-Identifier: Apache-2.0
/* Ends as told: exit CODE | kill SIGNAL | hold (says a byte when it runs, ends when its input does). Further arguments are ignored. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct rlimit none = { 0, 0 };
	struct { void *handler; unsigned long flags, restorer, mask; } fresh = { SIG_DFL, 0, 0, 0 }; /* the kernel's sigaction */
	unsigned long unblock = 0;
	char byte = '!';
	int n = argc > 2 ? atoi(argv[2]) : 0;

	if (argc > 1 && !strcmp(argv[1], "exit"))
		_exit(n);
	if (argc > 1 && !strcmp(argv[1], "kill")) {
		setrlimit(RLIMIT_CORE, &none);
		/* Whatever was inherited as ignored or blocked; fails for those that always are default. By system call: glibc refuses
		 * its own 32 and 33, and a shell or make may have ignored them. */
		syscall(SYS_rt_sigaction, n, &fresh, NULL, sizeof(unblock));
		syscall(SYS_rt_sigprocmask, SIG_SETMASK, &unblock, NULL, sizeof(unblock));
		syscall(SYS_kill, getpid(), n);
		_exit(98);
	}
	if (write(1, &byte, 1) == 1)
		while (read(0, &byte, 1) > 0)
			;
	_exit(0);
}
