// SPDX-License-Identifier: Apache-2.0
/* t_race WHAT TRIES: makes one system call again and again, while a thread on another CPU writes one byte of its path, name or address to
 * and fro (fchmod: puts one file and another behind its descriptor). After each call it finds out what the kernel really took. Prints a line of JSON: the truth of each try (0 or 1, and the inode
 * where there is one), how often memory said something else just after the call, and how often the byte was written. More tries are made
 * until that happened ENOUGH times: else nothing would be proven. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ENOUGH 10
#define CHECK(call) do { if ((call) == -1) { fprintf(stderr, "%s: %s\n", #call, strerror(errno)); exit(90); } } while (0)

static char name[64] __attribute__((aligned(64))) = "a";             /* what most calls are given */
static volatile char *spot = name;      /* the byte that changes, ... */
static char flip[2] = {'a', 'b'};       /* ... to and fro */
static volatile int stop;
static volatile unsigned long turns;
static int held[2];                     /* descriptors that are put behind number TURNED in turn, instead of a byte; 0: none */
#define TURNED 100

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu % (int)sysconf(_SC_NPROCESSORS_ONLN), &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void *rewrite(void *arg)
{
	pin(1);
	while (!stop) {
		if (held[0])
			dup2(held[turns & 1], TURNED);
		else
			*spot = flip[turns & 1];
		turns++;
	}
	return arg;
}

static const char *const names[2] = {"a", "b"};
static int sockets[2];                  /* receivers */
static struct sockaddr_in address = {.sin_family = AF_INET};
static char query[] = "\x12\x34\1\0\0\1\0\0\0\0\0\0\1a\4race\4test\0\0\1\0\1";
static char *arguments[] = {name, NULL};

/* What is behind the two names. */
struct look {
	unsigned long inode[2];
	unsigned mode[2], gid[2];
	long size[2], flags[2];
	char attr[2][16];
};

static void look(struct look *l)
{
	memset(l, 0, sizeof(*l));
	for (int i = 0; i < 2; i++) {
		struct stat s;

		if (lstat(names[i], &s))
			continue;
		l->inode[i] = s.st_ino;
		l->mode[i] = s.st_mode & 07777;
		l->gid[i] = s.st_gid;
		l->size[i] = s.st_size;
		getxattr(names[i], "user.race", l->attr[i], sizeof(l->attr[i]));
	}
}

static void make(const char *at)
{
	int fd = open(at, O_CREAT | O_EXCL | O_RDONLY, 0600);

	CHECK(fd);
	close(fd);
}

/* Which of two changed. */
#define DIFFERS(field, k) memcmp(&was.field[k], &is.field[k], sizeof(is.field[k]))
#define CHANGED(field) (DIFFERS(field, 0) ? 0 : DIFFERS(field, 1) ? 1 : -1)

/* The name of the file behind TURNED. */
static char turned(void)
{
	struct stat s, first;

	CHECK(fstat(TURNED, &s) | stat(names[0], &first));
	return flip[s.st_ino != first.st_ino];
}

/* One try of a call on a file's name: 0 or 1, and the inode that it was done to (or that it made). */
static int try_file(const char *what, int i, unsigned long *inode)
{
	struct look was, is;
	char text[16];
	int done, rc, is_new = !strcmp(what, "mkdir") || !strcmp(what, "symlink") || !strcmp(what, "link") || !strcmp(what, "into");

	look(&was);
	if (!strcmp(what, "chmod") || held[0]) {
		unsigned mode = 0600 + (unsigned)i % 8;

		while (mode == was.mode[0] || mode == was.mode[1])
			mode = 0600 + (mode + 1) % 8;
		rc = held[0] ? fchmod(TURNED, mode) : chmod(name, mode);
	} else if (!strcmp(what, "chown")) {
		rc = chown(name, (uid_t)-1, (gid_t)i + 1);
	} else if (!strcmp(what, "truncate")) {
		rc = truncate(name, i + 1);
	} else if (!strcmp(what, "setxattr")) {
		snprintf(text, sizeof(text), "%d", i);
		rc = setxattr(name, "user.race", text, strlen(text), 0);
	} else if (!strcmp(what, "unlink")) {
		rc = unlink(name);
	} else if (!strcmp(what, "rename")) {
		rc = rename(name, "c");
	} else if (!strcmp(what, "into")) {
		rc = rename("c", name);
	} else if (!strcmp(what, "link")) {
		rc = link("c", name);
	} else if (!strcmp(what, "symlink")) {
		rc = symlink("to", name);
	} else if (!strcmp(what, "mkdir")) {
		rc = mkdir(name, 0700);
	} else {
		rc = rmdir(name);
	}
	CHECK(rc);
	done = held[0] ? turned() : *spot;
	look(&is);
	rc = CHANGED(inode) >= 0 ? CHANGED(inode) : CHANGED(mode) >= 0 ? CHANGED(mode) : CHANGED(gid) >= 0 ? CHANGED(gid) :
	     CHANGED(size) >= 0 ? CHANGED(size) : CHANGED(attr);
	*inode = rc < 0 ? 0 : is_new ? is.inode[rc] : was.inode[rc];
	if (!strcmp(what, "unlink")) {
		make(names[rc]);
	} else if (!strcmp(what, "rename")) {
		make(names[rc]);
		unlink("c");
	} else if (!strcmp(what, "into")) {
		CHECK(link(names[rc], "c"));
		unlink(names[rc]);
	} else if (!strcmp(what, "rmdir")) {
		mkdir(names[rc], 0700);
	} else if (!strcmp(what, "mkdir")) {
		rmdir(names[rc]);
	} else if (is_new) {
		unlink(names[rc]);
	}
	return rc < 0 ? -1 : rc | (done != flip[rc]) << 1;
}

static void prepare_files(const char *what)
{
	if (!strcmp(what, "rmdir"))
		CHECK(mkdir("a", 0700) | mkdir("b", 0700));
	else if (!strcmp(what, "link") || !strcmp(what, "into"))
		make("c");
	else if (strcmp(what, "mkdir") && strcmp(what, "symlink"))
		make("a"), make("b");
	for (int i = 0; i < 2 && !strcmp(what, "fchmod"); i++)
		CHECK((held[i] = open(names[i], O_RDONLY)) | dup2(held[i], TURNED));
}

static int try_open(const char *what, int i, unsigned long *inode)
{
	int fd = open(name, strcmp(what, "device") ? O_WRONLY : O_RDONLY | O_NONBLOCK), said = *spot, rc;
	struct stat s, other;

	(void)i;
	if (!strcmp(what, "denied"))
		return fd < 0 && errno == EACCES ? (said == flip[1] ? 3 : 0) : -1; /* no truth: which was refused leaves no trace */
	CHECK(fd);
	fstat(fd, &s);
	close(fd);
	*inode = s.st_ino;
	stat(names[0], &other);
	rc = other.st_ino != s.st_ino;
	return rc | (said != flip[rc]) << 1;
}

/* The flags of the mount that was changed. */
static int try_mount(const char *what, int i, unsigned long *inode)
{
	static unsigned long last[2];
	unsigned long flags = (unsigned long)i % 8;
	struct statvfs s;
	int said, rc = -1;

	(void)what, (void)inode;
	while (flags == last[0] || flags == last[1])
		flags = (flags + 1) % 8;
	CHECK(mount(NULL, name, NULL, MS_REMOUNT | MS_BIND | flags << 1, NULL)); /* nosuid, nodev, noexec: the same bits in statvfs */
	said = *spot;
	for (int k = 0; k < 2; k++) {
		CHECK(statvfs(names[k], &s));
		if ((s.f_flag >> 1 & 7) != last[k])
			rc = k;
		last[k] = s.f_flag >> 1 & 7;
	}
	return rc < 0 ? -1 : rc | (said != flip[rc]) << 1;
}

static int try_bind(const char *what, int i, unsigned long *inode)
{
	struct sockaddr_in got;
	socklen_t len = sizeof(got);
	int fd = socket(AF_INET, SOCK_DGRAM, 0), said, rc;

	(void)what, (void)i;
	CHECK(bind(fd, (struct sockaddr *)&address, sizeof(address)));
	said = *spot;
	CHECK(getsockname(fd, (struct sockaddr *)&got, &len));
	close(fd);
	*inode = ntohs(got.sin_port);
	rc = ((char *)&got.sin_port)[1] != flip[0];
	return rc | (said != flip[rc]) << 1;
}

static int try_send(const char *what, int i, unsigned long *inode)
{
	static int from = -1;
	char text[64];
	int said, rc = -1;

	query[0] = (char)(i >> 8); /* the same transaction in the same memory at the same time is taken for one packet on its way */
	query[1] = (char)i;
	if (from < 0)
		CHECK(from = socket(AF_INET, SOCK_DGRAM, 0));
	if (!strcmp(what, "dns")) {
		CHECK(sendto(from, query, sizeof(query) - 1, 0, (struct sockaddr *)&address, sizeof(address)));
		said = *spot;
		CHECK(recv(sockets[0], text, sizeof(text), MSG_DONTWAIT));
		rc = text[13] != flip[0];
	} else {
		CHECK(sendto(from, "x", 1, 0, (struct sockaddr *)&address, sizeof(address)));
		said = *spot;
		for (int k = 0; k < 2; k++)
			if (recv(sockets[k], text, 1, MSG_DONTWAIT) == 1)
				rc = k;
		*inode = 0x7a30ul + (unsigned)rc;
	}
	return rc < 0 ? -1 : rc | (said != flip[rc]) << 1;
}

/* Its first argument is the end of its path and changes with it: the status says which program, and which argument it got. */
static int try_exec(const char *what, int i, unsigned long *inode)
{
	int status, said;
	pid_t pid = vfork();

	(void)what, (void)i;
	if (!pid) {
		execve(name, arguments, arguments + 1);
		_exit(127);
	}
	CHECK(pid);
	said = *spot;
	CHECK(waitpid(pid, &status, 0));
	status = WEXITSTATUS(status);
	if (status == 127)
		return -1;
	*inode = (unsigned long)status & 127;
	return status >> 7 | (said != flip[status >> 7]) << 1;
}

/* A program of few bytes: exit((argv[0][0] & 127) | id). */
static void tiny(int fd, unsigned char id)
{
	static const unsigned char code[] = {0x48, 0x8b, 0x7c, 0x24, 8, 0x0f, 0xb6, 0x3f, 0x83, 0xe7, 0x7f, /* argv[0][0] & 127 */
					     0x81, 0xcf, 0, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 5};           /* | id; exit */
	unsigned char elf[120 + sizeof(code)] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
	const unsigned long words[] = {0x400078, 64, 0};
	const unsigned long segment[] = {5ul << 32 | 1, 0, 0x400000, 0x400000, sizeof(elf), sizeof(elf), 0x1000};

	memcpy(elf + 16, (const unsigned short[]){2, 62, 1, 0}, 8);
	memcpy(elf + 24, words, 24);
	memcpy(elf + 52, (const unsigned short[]){64, 56, 1, 0, 0, 0}, 12);
	memcpy(elf + 64, segment, sizeof(segment));
	memcpy(elf + 120, code, sizeof(code));
	elf[120 + 13] = id;
	CHECK(write(fd, elf, sizeof(elf)));
}

static void prepare_exec(void)
{
	int fds[2] = {memfd_create("race", 0), open("plain", O_CREAT | O_RDWR | O_TRUNC, 0700)};

	CHECK(fds[0] | fds[1]);
	for (int i = 0; i < 2; i++)
		tiny(fds[i], (unsigned char)(i << 7));
	for (int i = 0; i < 2; i++) { /* one that is open for writing is not executed */
		char again[32];
		int fd;

		snprintf(again, sizeof(again), "/proc/self/fd/%d", fds[i]);
		CHECK(fd = open(again, O_RDONLY));
		CHECK(dup2(fd, 200 + i));
		close(fds[i]);
		close(fd);
	}
	strcpy(name, "/proc/self/fd/200");
	spot = name + 16;
	flip[0] = '0';
	flip[1] = '1';
	arguments[0] = name + 16;
}

static void prepare_net(const char *what)
{
	const int is_dns = !strcmp(what, "dns");

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port = htons(is_dns ? 53 : 0x7a30);
	for (int k = 0; k < 2 && strcmp(what, "bind"); k++) {
		struct sockaddr_in at = address;

		at.sin_port = htons(is_dns ? 53 + k : 0x7a30 + k);
		CHECK(sockets[k] = socket(AF_INET, SOCK_DGRAM, 0));
		CHECK(bind(sockets[k], (struct sockaddr *)&at, sizeof(at)));
	}
	if (is_dns) {
		spot = query + 13;
		return;
	}
	spot = (char *)&address.sin_port + 1;
	flip[0] = 0x30;
	flip[1] = 0x31;
}

static void prepare_mounts(void)
{
	CHECK(mkdir("a", 0700) | mkdir("b", 0700));
	for (int i = 0; i < 2; i++)
		CHECK(mount(names[i], names[i], NULL, MS_BIND, NULL));
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "";
	const int tries = argc > 2 ? atoi(argv[2]) : 0, room = tries * 20;
	int (*try)(const char *, int, unsigned long *) = try_file;
	unsigned long *inodes = calloc((size_t)room + 1, sizeof(*inodes)), after = 0, unknown = 0;
	int made = 0;
	char *truth = calloc((size_t)room + 1, 1);
	pthread_t thread;

	if (!strcmp(what, "exec"))
		prepare_exec(), try = try_exec;
	else if (!strcmp(what, "bind"))
		prepare_net(what), try = try_bind;
	else if (!strcmp(what, "send") || !strcmp(what, "dns"))
		prepare_net(what), try = try_send;
	else if (!strcmp(what, "mount"))
		prepare_mounts(), try = try_mount;
	else if (!strcmp(what, "open") || !strcmp(what, "denied") || !strcmp(what, "device"))
		try = try_open;
	else
		prepare_files(what);
	pin(0);
	CHECK(-pthread_create(&thread, NULL, rewrite, NULL));
	while (turns < 2)
		sched_yield();
	for (; made < tries || (after < ENOUGH && made < room); made++) {
		int rc = try(what, made, &inodes[made]);

		truth[made] = rc < 0 ? '?' : (char)('0' + (rc & 1));
		unknown += rc < 0;
		after += rc > 1;
	}
	stop = 1;
	pthread_join(thread, NULL);
	printf("{\"truth\": \"%s\", \"after\": %lu, \"unknown\": %lu, \"turns\": %lu, \"inodes\": [", truth, after, unknown, turns);
	for (int i = 0; i < made; i++)
		printf("%s%lu", i ? "," : "", inodes[i]);
	printf("]}\n");
	return 0;
}
