// SPDX-License-Identifier: Apache-2.0
/* A flood: opens the file argv[1] as fast as it can, forks a child after each 50, until it is killed. How many of either it has made so far
 * is in the file argv[2], as two u64. Ends with its parent. */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	const int out = argc > 2 ? open(argv[2], O_RDWR | O_CREAT, 0600) : -1;
	volatile uint64_t *made;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (out < 0 || ftruncate(out, 16))
		return 96;
	made = mmap(NULL, 16, PROT_READ | PROT_WRITE, MAP_SHARED, out, 0);
	if (made == MAP_FAILED)
		return 97;
	for (uint64_t i = 1;; i++) {
		const int fd = open(argv[1], O_RDONLY);

		if (fd < 0 || close(fd))
			return 98;
		made[0]++;
		if (i % 50)
			continue;
		const pid_t child = fork();

		if (!child)
			_exit(0);
		if (child < 0 || waitpid(child, NULL, 0) != child)
			return 99;
		made[1]++;
	}
}
