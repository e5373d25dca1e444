// SPDX-License-Identifier: Apache-2.0
/* Becomes root by a way that no 64-bit handler sees: gives its effective user up by setresuid(2), takes it back by a 32-bit system call
 * (int 0x80, setresuid32), in a child if argv[1] is `fork`, and executes argv[2]. Ends with 77 where the kernel has no such calls. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	long result = 208;
	char *args[] = { "t", NULL };

	if (argc < 3 || setresuid(-1, 1000, 0))
		return 1;
	__asm__ volatile("int $0x80" : "+a"(result) : "b"(-1), "c"(0), "d"(-1) : "memory", "r8", "r9", "r10", "r11");
	if (result || geteuid())
		return 77;
	if (!strcmp(argv[1], "fork")) {
		pid_t pid = fork();

		if (pid)
			return waitpid(pid, NULL, 0) != pid;
	}
	execv(argv[2], args);
	return 2;
}
