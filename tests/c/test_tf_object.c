/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object: processes as the kernel reports them against what the test did itself. Needs root; 77 = not permitted. */
#include "object_fixture.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sys/prctl.h>

static struct tf_object *obj;
static struct tf_source *src;

static void drain(void) { read_all(src, keep); }

/* ---- exec, fork, exit ---- */

static void run_true(const char *exe, const char *const *argv)
{
	CHECK(!chdir("/tmp"));
	execv(exe, (char *const *)(uintptr_t)argv);
	_exit(126);
}

static void exec_fork_exit_say_what_happened(void)
{
	static const char args[] = "true\0first\0\0with space"; /* the last NUL is C's: not counted below */
	const char *argv[] = {"true", "first", "", "with space", NULL};
	const union any_row *fork_row, *exec, *exit_row;
	char exe[PATH_MAX];
	uint64_t before = tf_boot_ns();
	struct stat st;
	pid_t pid = fork();

	if (!pid)
		run_true("/bin/true", argv);
	CHECK(wait_for(pid) == 0);
	CHECK(realpath("/bin/true", exe) && !stat(exe, &st));
	forget_records();
	drain();
	fork_row = only_record(TF_K_PROCESS_FORK, (uint32_t)pid);
	exec = only_record(TF_K_PROCESS_EXEC, (uint32_t)pid);
	exit_row = only_record(TF_K_PROCESS_EXIT, (uint32_t)pid);
	CHECK_EQ(fork_row->process.target_pid, pid);
	CHECK_EQ(fork_row->h.ppid, getpid());
	CHECK_EQ(exec->h.ppid, getpid());
	CHECK_EQ(exec->process.target_pid, pid);
	CHECK_EQ(exec->process.exe_inode, st.st_ino);
	CHECK(!strcmp(exec->h.comm, "true"));
	CHECK(text_is(exec, sizeof(exec->process), &exec->process.exe, exe, strlen(exe)));
	CHECK(text_is(exec, sizeof(exec->process), &exec->process.cwd, "/tmp", 4));
	CHECK(text_is(exec, sizeof(exec->process), &exec->process.args, args, sizeof(args) - 1));
	CHECK_EQ(exec->h.flags & (TF_F_TRUNCATED | TF_F_PARTIAL), 0);
	CHECK_EQ(exit_row->process.exit_code, 0);
	CHECK(exit_row->h.start_ns == exec->h.start_ns && exec->h.start_ns == fork_row->h.start_ns);
	CHECK(exit_row->h.start_ns >= before && fork_row->h.ts_ns <= exec->h.ts_ns && exec->h.ts_ns <= exit_row->h.ts_ns);
	CHECK_EQ(exit_row->process.duration_ns, exit_row->h.ts_ns - exit_row->h.start_ns);
	CHECK(exec->h.cgroup_id == exit_row->h.cgroup_id && exec->h.cgroup_id);
	CHECK(exec->process.parent_start_ns && exec->process.parent_start_ns == fork_row->process.parent_start_ns);
	CHECK(!memcmp(&exec->h.weight, &(float){1}, 4));
}

static void every_exit_code_and_fatal_signal_is_told(void)
{
	pid_t pids[256 + 32];
	int n = 0, signals[32], sent = 0;

	drain();
	forget_records();
	for (; n < 256; n++) {
		pids[n] = fork();
		if (!pids[n])
			_exit(n);
		CHECK(WEXITSTATUS(wait_for(pids[n])) == n);
		if (n % 64 == 63)
			drain();
	}
	for (int sig = 1; sig < 32; sig++) {
		pid_t pid;

		if (sig == SIGCHLD || sig == SIGCONT || sig == SIGURG || sig == SIGWINCH || sig == SIGSTOP || sig == SIGTSTP ||
		    sig == SIGTTIN || sig == SIGTTOU)
			continue;
		pid = fork();
		if (!pid) {
			signal(sig, SIG_DFL);
			kill(getpid(), sig);
			_exit(1);
		}
		CHECK(WTERMSIG(wait_for(pid)) == sig);
		pids[n + sent] = pid;
		signals[sent++] = sig;
	}
	drain();
	for (int i = 0; i < n + sent; i++) {
		const struct tf_process *p = &only_record(TF_K_PROCESS_EXIT, (uint32_t)pids[i])->process;

		CHECK_EQ(p->exit_code, i < n ? i : 0);
		CHECK_EQ(p->signal, i < n ? 0 : signals[i - n]);
	}
	for (int i = 0; i < sent; i++) { /* kill(): subject = sender = target */
		const struct tf_process *p = &only_record(TF_K_PROCESS_SIGNAL, (uint32_t)pids[n + i])->process;

		CHECK_EQ(p->signal, signals[i]);
		CHECK_EQ(p->target_pid, pids[n + i]);
		CHECK_EQ(p->h.flags & TF_F_KERNEL_SENDER, 0);
	}
}

static void huge_argv_is_cut_and_keeps_its_true_length(void)
{
	enum { ARGS = 14, EACH = 128 * 1024 - 16 }; /* 1.8 MB */
	const char *argv[ARGS + 2] = {"true"};
	const union any_row *exec;
	pid_t pid = fork();

	if (!pid) {
		for (int i = 0; i < ARGS; i++) {
			char *arg = malloc(EACH + 1);

			memset(arg, 'a' + i, EACH);
			arg[EACH] = 0;
			argv[i + 1] = arg;
		}
		run_true("/bin/true", argv);
	}
	CHECK(wait_for(pid) == 0);
	forget_records();
	drain();
	exec = only_record(TF_K_PROCESS_EXEC, (uint32_t)pid);
	CHECK_EQ(exec->process.args.full_len, 4 + ARGS * (EACH + 1));
	CHECK_EQ(exec->process.args.len, TF_ARGS_CAP);
	CHECK(exec->h.flags & TF_F_TRUNCATED);
	CHECK(!memcmp(exec->bytes + sizeof(exec->process) + exec->process.args.offset, "true\0aaa", 8));
	CHECK_EQ(exec->bytes[sizeof(exec->process) + exec->process.args.offset + TF_ARGS_CAP - 1], 'a');
}

static void *exit_thread(void *ready)
{
	prctl(PR_SET_NAME, "worker");
	write(*(int *)ready, "x", 1);
	usleep(20000);
	return NULL;
}

/* Main thread gone first: the process ends with its last thread, once, under the leader's name and status. */
static void threads_make_no_records_of_their_own(void)
{
	const union any_row *row;
	pid_t pid;

	forget_records();
	pid = fork();
	if (!pid) {
		int fds[2];
		pthread_t t;

		prctl(PR_SET_NAME, "leader");
		if (pipe(fds) || pthread_create(&t, NULL, exit_thread, &fds[1]))
			_exit(9);
		pthread_exit(NULL);
	}
	CHECK(wait_for(pid) == 0);
	drain();
	only_record(TF_K_PROCESS_FORK, (uint32_t)pid);
	row = only_record(TF_K_PROCESS_EXIT, (uint32_t)pid);
	CHECK_EQ(row->h.tid, pid);
	CHECK(!strcmp(row->h.comm, "leader"));
	CHECK(row->process.duration_ns > 20000000);
}

static void rename_has_both_names(void)
{
	const union any_row *row;
	size_t at = 0;
	pid_t pid;

	forget_records();
	pid = fork();
	if (!pid) {
		prctl(PR_SET_NAME, "first-name");
		prctl(PR_SET_NAME, "second-name-cut-at-15");
		execl("/bin/true", "true", (char *)NULL);
		_exit(126);
	}
	CHECK(wait_for(pid) == 0);
	drain();
	CHECK(find_record(TF_K_PROCESS_RENAME, (uint32_t)pid, &at));
	row = find_record(TF_K_PROCESS_RENAME, (uint32_t)pid, &at);
	CHECK(!strcmp(row->h.comm, "first-name"));
	CHECK(text_is(row, sizeof(row->process), &row->process.args, "second-name-cut", TF_COMM_LEN - 1));
	CHECK(!find_record(TF_K_PROCESS_RENAME, (uint32_t)pid, &at)); /* the exec's own is not among them */
}

/* ---- paths ---- */

static void copy_file(const char *from, const char *to)
{
	char buf[65536];
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0755);
	ssize_t n;

	CHECK(in >= 0 && out >= 0);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		CHECK(write(out, buf, (size_t)n) == n);
	close(in);
	close(out);
}

/* A file that is gone by the time it runs, in a directory that is gone, too; and a path deeper than the walk. */
static void paths_of_deleted_and_deep_files(void)
{
	char dir[] = "/tmp/tf_object.XXXXXX", exe[64], want[96], deep[512];
	const struct tf_process *p;
	const union any_row *row;
	size_t len;
	pid_t pid;
	int fd;

	CHECK(mkdtemp(dir));
	snprintf(exe, sizeof(exe), "%s/program", dir);
	copy_file("/bin/true", exe);
	fd = open(exe, O_RDONLY | O_CLOEXEC);
	len = (size_t)snprintf(deep, sizeof(deep), "%s", dir);
	CHECK(!unlink(exe));
	for (int i = 0; i < 60; i++) {
		len += (size_t)snprintf(deep + len, sizeof(deep) - len, "/d%02d", i);
		CHECK(!mkdir(deep, 0700));
	}
	forget_records();
	pid = fork();
	if (!pid) {
		char *const argv[] = {"program", NULL};

		if (!chdir(deep))
			fexecve(fd, argv, (char *const[]){NULL});
		_exit(126);
	}
	CHECK(wait_for(pid) == 0);
	drain();
	row = only_record(TF_K_PROCESS_EXEC, (uint32_t)pid);
	p = &row->process;
	len = (size_t)snprintf(want, sizeof(want), "%s (deleted)", exe);
	CHECK(text_is(row, sizeof(*p), &p->exe, want, len));
	CHECK(p->h.flags & TF_F_TRUNCATED); /* by cwd: its last components are there */
	CHECK(p->cwd.full_len > p->cwd.len);
	CHECK(!memcmp(row->bytes + sizeof(*p) + p->cwd.offset + p->cwd.len - 8, "/d58/d59", 8));
	close(fd);
	for (int i = 0; i < 61; i++, deep[strrchr(deep, '/') - deep] = 0)
		CHECK(!rmdir(deep));
}

/* ---- life ---- */

static void a_forked_child_forgets_and_the_parent_goes_on(void)
{
	int before, rc;
	pid_t pid;

	CHECK(count_fds("anon_inode:bpf"));
	before = count_fds(NULL);
	pid = fork();
	if (!pid) {
		tf_object_forget(obj);
		_exit(count_fds("anon_inode:bpf") ? 1 : 0); /* maps, programs, links; libbpf's empty placeholders may stay */
	}
	rc = wait_for(pid);
	CHECK_EQ(rc, 0);
	CHECK_EQ(count_fds(NULL), before);
	forget_records();
	exec_fork_exit_say_what_happened();
}

/* ---- rules ---- */

static bool reported(pid_t pid)
{
	size_t at = 0;

	return find_record(TF_K_PROCESS_EXIT, (uint32_t)pid, &at);
}

/* root has a child before the rule is set and one after; a stranger has neither. */
static void descendants_old_and_new_are_followed(void)
{
	struct tf_rules_spec s = {.rules = {.flags = TF_R_DESCENDANTS, .follow = 1}, .n_follow = 1};
	int go[2], tell[2];
	pid_t root, ids[2], stranger;
	uint32_t root_id;

	CHECK(!pipe(go) && !pipe(tell));
	root = fork();
	if (!root) {
		pid_t old = fork(), young;
		char c;

		if (!old)
			_exit(read(go[0], &c, 1) == 1 ? 0 : 1);
		if (write(tell[1], &old, sizeof(old)) != sizeof(old) || read(go[0], &c, 1) != 1)
			_exit(1);
		young = fork();
		if (!young)
			_exit(0);
		_exit(write(tell[1], &young, sizeof(young)) == sizeof(young) && wait(NULL) > 0 && wait(NULL) > 0 ? 0 : 1);
	}
	CHECK(read(tell[0], &ids[0], sizeof(ids[0])) == sizeof(ids[0]));
	for (uint32_t kind = 0; kind < TF_KIND_MAX; kind++)
		s.rules.clauses[kind] = 1;
	root_id = (uint32_t)root;
	s.follow = &root_id;
	CHECK(tf_object_set_rules(obj, &s) > 0);
	drain();
	forget_records();
	stranger = fork();
	if (!stranger)
		_exit(0);
	wait_for(stranger);
	CHECK(write(go[1], "xx", 2) == 2);
	CHECK(read(tell[0], &ids[1], sizeof(ids[1])) == sizeof(ids[1]));
	CHECK_EQ(wait_for(root), 0);
	drain();
	CHECK(reported(root) && reported(ids[0]) && reported(ids[1]) && !reported(stranger));
	only_record(TF_K_PROCESS_FORK, (uint32_t)ids[1]);
	for (int i = 0; i < 2; i++)
		CHECK(!close(go[i]) && !close(tell[i]));
	s.rules.flags = 0;
	CHECK(tf_object_set_rules(obj, &s) > 0);
}

/* ---- all of it ---- */

static void print_programs(void)
{
	static struct tf_program_info info[256];
	size_t n = tf_object_programs(obj, info, 256);

	for (size_t i = 0; i < n; i++)
		printf("%-22s %-30s state %d insns %u %s\n", info[i].name, info[i].hook, info[i].state, info[i].insns, info[i].reason);
}

int main(void)
{
	struct tf_object_opts opts;
	uint64_t t0;
	int fds;

	setvbuf(stdout, NULL, _IOLBF, 0); /* children must not print our buffer again */
	own_network();
	fds = count_fds(NULL);
	opts = all_on();
	opts.no_snapshot = true;
	t0 = tf_boot_ns();
	obj = open_object(&opts);
	src = tf_object_source(obj);
	printf("open %.1f ms", (double)(tf_boot_ns() - t0) / 1e6);
	t0 = tf_boot_ns();
	attach_object(obj);
	printf(", attach %.1f ms\n", (double)(tf_boot_ns() - t0) / 1e6);
	print_programs();
	exec_fork_exit_say_what_happened();
	every_exit_code_and_fatal_signal_is_told();
	huge_argv_is_cut_and_keeps_its_true_length();
	threads_make_no_records_of_their_own();
	rename_has_both_names();
	paths_of_deleted_and_deep_files();
	descendants_old_and_new_are_followed();
	a_forked_child_forgets_and_the_parent_goes_on();
	tf_object_close(obj);
	CHECK_EQ(count_fds(NULL), fds);
	return 0;
}
