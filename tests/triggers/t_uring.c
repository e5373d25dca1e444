// SPDX-License-Identifier: Apache-2.0
/* io_uring by raw system calls: a ring of 4 entries, then NOP, READ of descriptor 9 (/dev/null), OPENAT of argv[1] and CONNECT of descriptor 8
 * (UDP) to 127.0.0.2 port 9 in one io_uring_enter. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(0x7f000002) };
	struct io_uring_params p = { 0 };
	int ring = (int)syscall(SYS_io_uring_setup, 4, &p);
	struct io_uring_sqe *sqe;
	unsigned *tail, *array;
	static char to[16];
	char *sq;

	if (ring < 0 || argc < 2)
		return 1;
	sq = mmap(NULL, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	sqe = mmap(NULL, p.sq_entries * sizeof(*sqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	if (sq == MAP_FAILED || sqe == MAP_FAILED)
		return 2;
	tail = (unsigned *)(sq + p.sq_off.tail);
	array = (unsigned *)(sq + p.sq_off.array);
	memset(sqe, 0, 4 * sizeof(*sqe));
	sqe[0].opcode = IORING_OP_NOP;
	sqe[0].fd = -1;
	sqe[1].opcode = IORING_OP_READ;
	sqe[1].fd = dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), 9);
	sqe[1].addr = (unsigned long)to;
	sqe[1].len = sizeof(to);
	sqe[2].opcode = IORING_OP_OPENAT;
	sqe[2].fd = AT_FDCWD;
	sqe[2].addr = (unsigned long)argv[1];
	sqe[2].open_flags = O_RDONLY;
	sqe[3].opcode = IORING_OP_CONNECT;
	sqe[3].fd = dup2(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), 8);
	sqe[3].addr = (unsigned long)&peer;
	sqe[3].off = sizeof(peer);
	for (unsigned i = 0; i < 4; i++)
		array[i] = i;
	__atomic_store_n(tail, 4, __ATOMIC_RELEASE);
	return syscall(SYS_io_uring_enter, ring, 4, 4, IORING_ENTER_GETEVENTS, NULL, 0) != 4;
}
