/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_reason: what an older kernel lacks, out of what its verifier says of a program that it refused: the helper or the ability, and the
 * Linux that has it. What is not recognised stays the verifier's own line. */
#include "tf_object_impl.h"

#include <stdlib.h>

/* Helpers that our programs call and 5.8 has not, or not for our kinds of program. By number: a kernel that has not heard of a helper has no
 * name for it. */
static const struct {
	int id;
	const char *name, *since;
} helpers[] = {
	{107, "bpf_sk_storage_get", "5.11"},
	{126, "bpf_seq_write", "5.9"},
	{156, "bpf_task_storage_get", "5.12"},
	{158, "bpf_get_current_task_btf", "5.11"},
	{162, "bpf_sock_from_file", "5.11"},
	{164, "bpf_for_each_map_elem", "5.13"},
	{175, "bpf_task_pt_regs", "5.15"},
	{181, "bpf_loop", "5.17"},
	{191, "bpf_copy_from_user_task", "5.18"},
};

/* Other abilities, by words of the verifier's. */
static const struct {
	const char *said, *hook, *lacks;  /* hook: its beginning, NULL = any */
} lacks[] = {
	{"Sleepable programs can only use", "iter.s/", "sleepable iterators (Linux 5.18)"},
	{"type STRUCT is unsupported", NULL, "hooks of functions that are handed structures (Linux 6.0)"},
	{"mem access 'inv'", "tp_btf/", "the BPF helper bpf_get_current_task_btf (Linux 5.11)"},
	{"mem access 'inv'", "fexit/", "the BPF helper bpf_get_current_task_btf (Linux 5.11)"},
	{"number of funcs in func_info", NULL, "functions that helpers call back (Linux 5.13)"},
	{"back-edge from insn", NULL, "loops of this form (Linux 5.17, by the BPF helper bpf_loop)"},
	{"BPF program is too large", NULL, "loops whose body is checked once (Linux 5.17, by the BPF helper bpf_loop)"},
};

static bool explain_helper(const char *log, char *out, size_t size)
{
	const char *at = strstr(log, "unknown func "), *number;
	int id;

	at = at ? at : strstr(log, "invalid func unknown#");
	number = at ? strchr(at, '#') : NULL;
	id = number ? atoi(number + 1) : 0;
	for (size_t i = 0; i < sizeof(helpers) / sizeof(helpers[0]); i++)
		if (helpers[i].id == id) {
			snprintf(out, size, "this kernel has not the BPF helper %s for programs of this kind (Linux %s)", helpers[i].name,
				 helpers[i].since);
			return true;
		}
	return false;
}

bool tf_explain_lacking(const struct tf_program_spec *s, int rc, const char *log, char *out, size_t size)
{
	if (explain_helper(log, out, size))
		return true;
	for (size_t i = 0; i < sizeof(lacks) / sizeof(lacks[0]); i++)
		if (strstr(log, lacks[i].said) && (!lacks[i].hook || !strncmp(s->hook, lacks[i].hook, strlen(lacks[i].hook)))) {
			snprintf(out, size, "this kernel has not %s", lacks[i].lacks);
			return true;
		}
	if (rc == -EINVAL && !log[0] && !strcmp(s->hook, "syscall")) {
		snprintf(out, size, "this kernel has not programs that user space runs as a system call (Linux 5.14)");
		return true;
	}
	if (rc == -E2BIG || rc == -ENOSPC) { /* a log of a million steps does not fit */
		snprintf(out, size, "too much for this kernel's verifier: it has not loops whose body is checked once (Linux 5.17, by the BPF helper "
			 "bpf_loop)");
		return true;
	}
	return false;
}

void tf_add_next_step(int rc, char *msg, size_t msg_size)
{
	const size_t used = msg_size ? strlen(msg) : 0;

	if (rc == -EMFILE && used)
		snprintf(msg + used, msg_size - used, "; all domains together take some 600 descriptors and two more per CPU: raise the limit "
			 "(ulimit -n, RLIMIT_NOFILE)");
}
