// SPDX-License-Identifier: Apache-2.0
/* Runs the load generator's BPF program from a C thread of the test's process, so many records a millisecond, whoever holds the GIL.
 * Compiled to a shared object by tests/test_memory.py. */
#define _GNU_SOURCE
#include <linux/bpf.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct args { /* tf_synth_args of bpf/include/tf_shared.h */
	uint32_t count, kind, text_len, stop_on_full;
	uint64_t first, tried, sent;
	uint32_t cpu, pad;
};

static struct {
	pthread_t thread;
	int prog_fd, error;
	uint32_t kind, per_ms, ms;
	uint64_t tried, sent;
} run;

static void *work(void *unused)
{
	struct timespec next;

	clock_gettime(CLOCK_MONOTONIC, &next);
	for (uint32_t i = 0; i < run.ms && !run.error; i++) {
		struct args a = { .count = run.per_ms, .kind = run.kind, .first = run.tried };
		union bpf_attr attr;

		memset(&attr, 0, sizeof(attr));
		attr.test.prog_fd = run.prog_fd;
		attr.test.ctx_in = (uint64_t)(uintptr_t)&a;
		attr.test.ctx_size_in = sizeof(a);
		run.error = syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attr, sizeof(attr)) || attr.test.retval;
		run.tried += a.tried;
		run.sent += a.sent;
		next.tv_nsec += 1000000;
		next.tv_sec += next.tv_nsec / 1000000000;
		next.tv_nsec %= 1000000000;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	}
	return unused;
}

int paced_start(int prog_fd, uint32_t kind, uint32_t per_ms, uint32_t ms)
{
	memset(&run, 0, sizeof(run));
	run.prog_fd = prog_fd;
	run.kind = kind;
	run.per_ms = per_ms;
	run.ms = ms;
	return pthread_create(&run.thread, NULL, work, NULL);
}

/* Waits for the end; how many records were tried and sent. */
int paced_wait(uint64_t *tried, uint64_t *sent)
{
	pthread_join(run.thread, NULL);
	*tried = run.tried;
	*sent = run.sent;
	return run.error;
}
