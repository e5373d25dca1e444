// SPDX-License-Identifier: Apache-2.0
/* System calls by the 32-bit interface, which works from 64-bit programs too (int 0x80). argv[1]: `regain` gives the effective user up and
 * takes it back; `files` makes, writes beyond 4 GiB, cuts, hands over, renames and removes a file in the working directory; `link` changes the
 * mode of "link" there to 0640; `foreign` makes 7 calls that have no counterpart; `umount` fails to unmount, by the form that has flags and the one
 * that has none. Ends with 77 where the kernel has no such calls. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static long call(long nr, long b, long c, long d, long si, long di)
{
	__asm__ volatile("int $0x80" : "+a"(nr) : "b"(b), "c"(c), "d"(d), "S"(si), "D"(di) : "memory", "r8", "r9", "r10", "r11");
	return nr;
}

/* What 32 bits can address. */
static long low(const char *text)
{
	char *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	return at == MAP_FAILED ? 0 : (long)strcpy(at, text);
}

static int files(void)
{
	const long one = low("one"), two = low("two"), here = low(".");
	const long fd = call(5, one, 0100102 /* O_RDWR, O_CREAT, O_LARGEFILE */, 0640, 0, 0);

	if (fd < 0)
		return 1;
	if (call(181, fd, two, 3, 7, 1) != 3)                  /* pwrite64: position 1 << 32 | 7 */
		return 2;
	if (call(194, fd, 5, 2, 0, 0))                         /* ftruncate64: 2 << 32 | 5 */
		return 3;
	if (call(182, one, 0xffff, 12, 0, 0))                  /* chown, of 16-bit ids: the user stays */
		return 4;
	if (call(6, fd, 0, 0, 0, 0) || call(38, one, two, 0, 0, 0) || call(301, -100, two, 0, 0, 0))
		return 5;
	return call(5, here, 2, 0, 0, 0) == -21 ? 0 : 6;       /* EISDIR */
}

int main(int argc, char **argv)
{
	if (argc < 2 || call(20, 0, 0, 0, 0, 0) != getpid())
		return 77;
	if (!strcmp(argv[1], "files"))
		return files();
	if (!strcmp(argv[1], "link"))
		return call(15, low("link"), 0640, 0, 0, 0) ? 8 : 0;
	if (!strcmp(argv[1], "umount"))
		return call(52, low("none"), 2, 0, 0, 0) == -2 && call(22, low("none"), 7, 0, 0, 0) == -2 ? 0 : 9; /* ENOENT */
	if (!strcmp(argv[1], "foreign")) {
		for (int i = 0; i < 7; i++)
			if (call(102, 99, 0, 0, 0, 0) != -22)  /* socketcall */
				return 7;
		return 0;
	}
	return setresuid(-1, 1000, 0) || call(208, -1, 0, -1, 0, 0) || geteuid(); /* setresuid32 */
}
