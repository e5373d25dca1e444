// SPDX-License-Identifier: Apache-2.0
/* Renames: the first thread by prctl to argv[1], then by /proc/self/comm to argv[2]; a second one by prctl to argv[3]. Prints that one's
 * tid. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *second(void *name)
{
	prctl(PR_SET_NAME, name);
	dprintf(1, "%ld\n", (long)syscall(SYS_gettid));
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t t;
	int fd;

	if (argc < 4)
		return 95;
	prctl(PR_SET_NAME, argv[1]);
	fd = open("/proc/self/comm", O_WRONLY);
	if (fd < 0 || write(fd, argv[2], strlen(argv[2])) < 0)
		return 94;
	close(fd);
	return pthread_create(&t, NULL, second, argv[3]) || pthread_join(t, NULL);
}
