/* SPDX-License-Identifier: Apache-2.0 */
/* Which mounts are asked, by tables of mounts of every sort of host; and the kernel's answers about real groups, where we may ask. */
#include "tf_cgroup_name.h"

#include "ring_fixture.h"

#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/tf-cgroup-XXXXXX";

/* Opens by a table in which %s is our directory. */
static struct tf_cgroup_names opened(const char *format)
{
	struct tf_cgroup_names n;
	char path[64], table[2048];
	FILE *f;

	snprintf(path, sizeof(path), "%s/mountinfo", dir);
	snprintf(table, sizeof(table), format, dir, dir, dir, dir);
	f = fopen(path, "w");
	CHECK(f && fputs(table, f) >= 0 && !fclose(f));
	CHECK(!tf_cgroup_names_open(&n, path));
	CHECK(!unlink(path));
	return n;
}

static void test_which_mounts(void)
{
	struct tf_cgroup_names n = opened("1 2 0:1 / %s/two rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
	char at[64], pids[64];

	snprintf(at, sizeof(at), "%s/memory", dir);
	snprintf(pids, sizeof(pids), "%s/pids", dir);
	CHECK(n.v2.fd >= 0 && n.v1.fd < 0 && !strcmp(n.v2.root, "/"));
	tf_cgroup_names_close(&n);
	n = opened("1 2 0:1 / %s/pids rw - cgroup cgroup rw,pids\n1 2 0:1 /docker/x %s/memory rw - cgroup cgroup rw,memory\n"
		   "1 2 0:1 / %s/pids rw - cgroup cgroup rw,pids\n");
	CHECK(n.v2.fd < 0 && !strcmp(n.v1.at, at) && !strcmp(n.v1.root, "/docker/x"));
	tf_cgroup_names_close(&n);
	n = opened("1 2 0:1 / %s/pids rw - cgroup cgroup rw,pids\n1 2 0:1 / %s/two rw - cgroup cgroup rw,cpuset_memory\n");
	CHECK(!strcmp(n.v1.at, pids));
	tf_cgroup_names_close(&n);
	tf_cgroup_names_close(&n); /* twice is fine */
	n = opened("1 2 0:1 / %s/gone rw - cgroup2 none rw\nnonsense\n - \n1 2 - cgroup2\n1 2 3 4 %s/two rw - tmpfs memory memory\n\n");
	CHECK(n.v2.fd < 0 && n.v1.fd < 0);
	CHECK(tf_cgroup_name(&n, 1, false, (char[TF_CGROUP_PATH]){0}) == -ENOENT);
	CHECK(tf_cgroup_names_open(&n, "/nonexistent/mountinfo") == -ENOENT);
}

/* A group of our own, found by its inode; gone, it is not found. */
static void test_the_kernels_answers(void)
{
	struct tf_cgroup_names n;
	char made[400], path[TF_CGROUP_PATH], want[64];
	struct stat st;
	bool v1;
	int len;

	CHECK(!tf_cgroup_names_open(&n, "/proc/self/mountinfo"));
	v1 = n.v1.fd >= 0;
	if (geteuid() || (n.v1.fd < 0 && n.v2.fd < 0) || strcmp(v1 ? n.v1.root : n.v2.root, "/") != 0) {
		tf_cgroup_names_close(&n);
		return;
	}
	snprintf(want, sizeof(want), "/tf-name-%d", getpid());
	snprintf(made, sizeof(made), "%s%s", v1 ? n.v1.at : n.v2.at, want);
	if (mkdir(made, 0755)) { /* a read-only mount, as in a container */
		tf_cgroup_names_close(&n);
		return;
	}
	CHECK(!stat(made, &st));
	len = tf_cgroup_name(&n, st.st_ino, v1, path);
	CHECK(len == -EPERM || (len == (int)strlen(want) && !memcmp(path, want, (size_t)len)));
	CHECK(!stat(v1 ? n.v1.at : n.v2.at, &st));
	len = tf_cgroup_name(&n, st.st_ino, v1, path);
	CHECK(len == -EPERM || (len == 1 && path[0] == '/'));
	CHECK(!stat(made, &st) && !rmdir(made));
	CHECK(tf_cgroup_name(&n, st.st_ino, v1, path) < 0);
	CHECK(tf_cgroup_name(&n, UINT64_MAX, v1, path) < 0);
	tf_cgroup_names_close(&n);
}

int main(void)
{
	static const char *const names[] = {"two", "memory", "pids"};
	char path[64];

	CHECK(mkdtemp(dir));
	for (unsigned i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		CHECK(!mkdir(path, 0700));
	}
	test_which_mounts();
	test_the_kernels_answers();
	for (unsigned i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		CHECK(!rmdir(path));
	}
	CHECK(!rmdir(dir));
	return 0;
}
