/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_family: kinds of hook that a kernel may refuse as a whole, tried once with a program of two instructions: found out while a
 * part is loading, it would cost the load of all programs of the part. */
#include "tf_object_impl.h"

#include <unistd.h>

static const struct {
	const char *prefix;             /* of the hook */
	const char *btf_prefix;         /* of its function */
	enum bpf_prog_type type;
	enum bpf_attach_type attach;
	int same_as;                    /* fentry and fexit are one */
} families[] = {
	{"fentry/", "", BPF_PROG_TYPE_TRACING, BPF_TRACE_FENTRY, 0},
	{"fexit/", "", BPF_PROG_TYPE_TRACING, BPF_TRACE_FEXIT, 0},
	{"lsm/", "bpf_lsm_", BPF_PROG_TYPE_LSM, BPF_LSM_MAC, 2},
	{"kprobe/", NULL, BPF_PROG_TYPE_KPROBE, 0, 3},
	{"kretprobe/", NULL, BPF_PROG_TYPE_KPROBE, 0, 3},
};
#define FAMILIES ((int)(sizeof(families) / sizeof(families[0])))

static int row_of(const struct tf_program_spec *s)
{
	int row = FAMILIES - 1;

	while (row >= 0 && strncmp(s->hook, families[row].prefix, strlen(families[row].prefix)))
		row--;
	return row;
}

int tf_family_of(const struct tf_program_spec *s)
{
	const int row = row_of(s);

	return row < 0 ? row : families[row].same_as;
}

bool tf_refuses_family(int error)
{
	return error == -EPERM || error == -EOPNOTSUPP || error == -524; /* ENOTSUPP, which is the kernel's own */
}

/* Why none of a kind can be had, told of the kind: one was tried, and it is not to blame. */
void tf_explain_family(const struct tf_program_spec *s, int error, char *msg, size_t msg_size)
{
	char kind[64];

	snprintf(kind, sizeof(kind), "programs of this kind (%.*s)", (int)strcspn(s->hook, "/"), s->hook);
	if (error == -EPERM)
		tf_explain_eperm(kind, msg, msg_size);
	else
		snprintf(msg, msg_size, "this kernel refuses %s: %s", kind, strerror(-error));
}

/* 0 or -errno. */
static int try_hook(const struct btf *vmlinux, const struct tf_program_spec *s)
{
	const int family = row_of(s);
	const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = families[family].attach);
	char function[96];
	int id, fd;

	snprintf(function, sizeof(function), "%s%s", families[family].btf_prefix, strchr(s->hook, '/') + 1);
	id = btf__find_by_name_kind(vmlinux, function, BTF_KIND_FUNC);
	if (id < 0)
		return 0;
	opts.attach_btf_id = (__u32)id;
	fd = bpf_prog_load(families[family].type, "tf_family", "Dual BSD/GPL", insns, 2, &opts);
	if (fd >= 0)
		close(fd);
	return fd < 0 ? fd : 0;
}

static void refuse(struct tf_object *o, int family, const struct tf_program *first, int error)
{
	char reason[sizeof(first->info.reason)] = "";

	tf_explain_family(first->spec, error, reason, sizeof(reason));
	for (size_t i = 0; i < o->n_programs; i++) {
		struct tf_program *p = &o->programs[i];

		if (p->info.state == TF_P_LOADED && tf_family_of(p->spec) == family && !tf_has_better(o, p))
			tf_set_state(p, TF_P_LOAD_FAILED, error, reason);
	}
}

/* In the order of the table: what takes the place of a refused program is asked about after it. */
void tf_try_families(struct tf_object *o, const struct btf *vmlinux)
{
	for (int family = 0; family < FAMILIES; family++) {
		struct tf_program *first = NULL;
		int rc;

		for (size_t i = 0; i < o->n_programs && !first; i++) {
			struct tf_program *p = &o->programs[i];

			if (p->info.state == TF_P_LOADED && tf_family_of(p->spec) == family && !tf_has_better(o, p))
				first = p;
		}
		rc = first && families[family].btf_prefix ? try_hook(vmlinux, first->spec) : 0;
		if (tf_refuses_family(rc))
			refuse(o, family, first, rc);
	}
}
