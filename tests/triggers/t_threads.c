// SPDX-License-Identifier: Apache-2.0
/* Threads: `many N` makes and joins N threads; `exec PROGRAM ARGS...` executes it from a second thread, whose id it prints before;
 * `leader` ends the first thread before the second. Prints tids as decimal lines. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *idle(void *arg)
{
	return arg;
}

static void *run(void *arg)
{
	char **argv = arg, *none[] = { NULL };

	dprintf(1, "%ld\n", (long)syscall(SYS_gettid));
	execve(argv[0], argv, none);
	_exit(97);
}

static void *last(void *arg)
{
	pthread_join(*(pthread_t *)arg, NULL);
	dprintf(1, "%ld\n", (long)syscall(SYS_gettid));
	exit(7); /* the process ends here, long after its leader */
}

int main(int argc, char **argv)
{
	static pthread_t first;
	pthread_t t;

	first = pthread_self();
	if (argc > 2 && !strcmp(argv[1], "many"))
		for (int i = atoi(argv[2]); i > 0; i--)
			if (pthread_create(&t, NULL, idle, NULL) || pthread_join(t, NULL))
				return 96;
	if (argc > 2 && !strcmp(argv[1], "exec")) {
		if (pthread_create(&t, NULL, run, argv + 2))
			return 96;
		pthread_join(t, NULL);
	}
	if (argc > 1 && !strcmp(argv[1], "leader")) {
		if (pthread_create(&t, NULL, last, &first))
			return 96;
		pthread_exit(NULL);
	}
	return 0;
}
