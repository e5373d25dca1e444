/* SPDX-License-Identifier: Apache-2.0 */
/* Life and death of a pump: nothing left behind after 200 cycles, batches that outlive it, a forked child. */
#include <dirent.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pump_fixture.h"

static unsigned entries_of(const char *dir)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	CHECK(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static unsigned maps(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned n = 0;
	int c;

	CHECK(f);
	while ((c = fgetc(f)) != EOF)
		n += c == '\n';
	fclose(f);
	return n;
}

static void one_cycle(struct tf_batch **keep)
{
	struct tf_cpu row = {.h = {.type = TF_CPU, .weight = 1}, .rss = 4711};
	struct rig g;
	bool ended;

	open_rig(&g, 2, 65536, (struct tf_pump_opts){0}, MIB, MIB, TF_DROP_OLDEST);
	tf_memsource_fill(g.m, 1, TF_K_CPU_USAGE, &row, sizeof(row), 300, true);
	CHECK(!tf_pump_start(g.pump) && !tf_pump_stop(g.pump, 1000));
	*keep = tf_queue_pop(g.user, 0, &ended);
	close_rig(&g);
	/* the batch outlives pump, queue, source and the owner's hold on the pool */
	CHECK(*keep && (*keep)->dom[TF_CPU].n == 300);
	CHECK(((struct tf_cpu *)(void *)(*keep)->dom[TF_CPU].rows)[299].rss == 4711);
}

static void test_cycles(unsigned cycles)
{
	struct tf_batch *keep;
	unsigned fds = 0, threads = 0, mapped = 0, mapped_now;

	for (unsigned i = 0; i < cycles; i++) {
		one_cycle(&keep);
		tf_batch_detach(keep);
		tf_batch_unref(keep);
		if (i == 9) {
			fds = entries_of("/proc/self/fd");
			threads = entries_of("/proc/self/task");
			mapped = maps();
		}
	}
	CHECK_EQ(entries_of("/proc/self/fd"), fds);
	CHECK_EQ(entries_of("/proc/self/task"), threads);
	mapped_now = maps();
#if defined(__SANITIZE_THREAD__)
	mapped_now = 0; /* its shadow memory is mapped piece by piece */
#endif
	CHECK(mapped_now <= mapped + 3); /* the allocator may keep a few arenas of its own */
}

static void test_fork(void)
{
	struct tf_cpu row = {.h = {.type = TF_CPU, .weight = 1}};
	struct rig g;
	struct seen x = {.next_seq = 1};
	int status;

	open_rig(&g, 1, MIB, (struct tf_pump_opts){0}, 8 * MIB, 4 * MIB, TF_BLOCK);
	CHECK(!tf_pump_start(g.pump));
	CHECK_EQ(tf_memsource_fill(g.m, 0, TF_K_CPU_USAGE, &row, sizeof(row), 1000, true), 1000);
	pid_t child = fork();
	CHECK(child >= 0);
	if (!child) {
		tf_pump_forget(g.pump);
		tf_pump_close(g.pump);
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	CHECK_EQ(tf_memsource_fill(g.m, 0, TF_K_CPU_USAGE, &row, sizeof(row), 1000, true), 1000);
	CHECK(!tf_pump_stop(g.pump, 5000));
	x.queue = g.user;
	consume(&x);
	CHECK(x.rows == 2000 && x.wrong == 0);
	close_rig(&g);
}

int main(void)
{
	CHECK(tf_pump_open(&(struct tf_pump_opts){0}, &(struct tf_pump *){NULL}) == -EINVAL);
	tf_pump_close(NULL);
	test_fork();
	test_cycles(200);
	puts("ok");
	return 0;
}
