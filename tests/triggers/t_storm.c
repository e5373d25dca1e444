// SPDX-License-Identifier: Apache-2.0
/* A storm of threads: argv[2] of them, all alive at once, each opens and closes the file argv[1] once. */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static pthread_barrier_t all;
static const char *path;

static void *once(void *failed)
{
	const int fd = open(path, O_RDONLY);

	if (fd < 0 || close(fd))
		*(int *)failed = 1;
	pthread_barrier_wait(&all);
	return NULL;
}

int main(int argc, char **argv)
{
	const int n = argc > 2 ? atoi(argv[2]) : 0;
	static int failed;
	pthread_attr_t small;
	pthread_t t;

	path = argv[1];
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 << 10);
	pthread_barrier_init(&all, NULL, (unsigned)n + 1);
	for (int i = 0; i < n; i++)
		if (pthread_create(&t, &small, once, &failed))
			_exit(96);
	pthread_barrier_wait(&all);
	return failed;
}
