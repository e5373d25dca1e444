// SPDX-License-Identifier: Apache-2.0
/* Signals to a process and thread: kill | tgkill | sigqueue TARGET SIGNAL; `segv` makes the kernel send one to ourselves; `ignored SIGNAL`
 * sends ourselves one that is ignored; `alarm` lets a timer of ours expire. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

static void crash(void)
{
	struct rlimit none = { 0, 0 };
	volatile int *nowhere = NULL;

	setrlimit(RLIMIT_CORE, &none);
	*nowhere = 1;
}

int main(int argc, char **argv)
{
	int target = argc > 2 ? atoi(argv[2]) : 0, sig = argc > 3 ? atoi(argv[3]) : 0;
	struct itimerval soon = { { 0, 0 }, { 0, 1000 } };
	union sigval value = { .sival_int = 42 };

	if (argc < 2)
		return 93;
	if (!strcmp(argv[1], "kill"))
		return kill(target, sig) != 0;
	if (!strcmp(argv[1], "tgkill"))
		return syscall(SYS_tgkill, target, target, sig) != 0;
	if (!strcmp(argv[1], "sigqueue"))
		return sigqueue(target, sig, value) != 0;
	if (!strcmp(argv[1], "segv"))
		crash();
	if (!strcmp(argv[1], "ignored")) {
		signal(target, SIG_IGN);
		return kill(getpid(), target) != 0;
	}
	if (!strcmp(argv[1], "alarm")) {
		signal(SIGALRM, SIG_DFL);
		setitimer(ITIMER_REAL, &soon, NULL);
		for (;;)
			pause();
	}
	return 92;
}
