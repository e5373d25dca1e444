/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_probe: what this kernel can do and what we may do, each "no" with its reason and the next step. */
#include "tf_object_impl.h"

#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "tf_blobs.h"

#define VMLINUX_BTF "/sys/kernel/btf/vmlinux"
#define CAP_NET_ADMIN 12
#define CAP_SYS_ADMIN 21
#define CAP_PERFMON 38
#define CAP_BPF 39

static uint64_t effective_capabilities(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long long caps = 0;
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "CapEff: %llx", &caps) == 1)
			break;
	if (f)
		fclose(f);
	return caps;
}

static bool in_lockdown_confidentiality(void)
{
	FILE *f = fopen("/sys/kernel/security/lockdown", "re");
	char line[256] = "";
	bool yes = f && fgets(line, sizeof(line), f) && strstr(line, "[confidentiality]");

	if (f)
		fclose(f);
	return yes;
}

/* Why the kernel said EPERM, as far as one can tell from outside. */
void tf_explain_eperm(const char *doing, char *msg, size_t msg_size)
{
	const uint64_t caps = effective_capabilities();
	const bool all = caps >> CAP_SYS_ADMIN & 1, bpf = all || caps >> CAP_BPF & 1, perfmon = all || caps >> CAP_PERFMON & 1;

	if (in_lockdown_confidentiality())
		snprintf(msg, msg_size, "cannot load %s (EPERM): the kernel is locked down (confidentiality), which forbids programs that "
			 "read kernel memory; boot with lockdown=integrity or without Secure Boot's lockdown", doing);
	else if (!bpf || !perfmon)
		snprintf(msg, msg_size, "cannot load %s (EPERM): needs CAP_BPF and CAP_PERFMON, missing %s%s%s; run as root or grant them",
			 doing, bpf ? "" : "CAP_BPF", !bpf && !perfmon ? " and " : "", perfmon ? "" : "CAP_PERFMON");
	else
		snprintf(msg, msg_size, "cannot load %s (EPERM) although this process has CAP_BPF and CAP_PERFMON: a user namespace, seccomp "
			 "or a security module forbids it; run it in the host's user namespace and look at the audit log", doing);
}

void tf_explain_refused(const struct tf_program_spec *s, char *msg, size_t msg_size)
{
	const uint64_t caps = effective_capabilities();

	if (!strncmp(s->hook, "cgroup/", 7) && !((caps >> CAP_SYS_ADMIN | caps >> CAP_NET_ADMIN) & 1))
		snprintf(msg, msg_size, "cannot load %s (EPERM): control group programs need CAP_NET_ADMIN beside CAP_BPF and CAP_PERFMON; "
			 "run as root or grant it", s->name);
	else
		tf_explain_eperm(s->name, msg, msg_size);
}

static int try_ring_buffer(void)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "tf_probe", 0, 0, (uint32_t)sysconf(_SC_PAGESIZE), NULL);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

/* By trial, not by version: a program of five instructions that adds to its own stack. */
bool tf_has_fetch_atomics(void)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_ST | BPF_MEM | BPF_DW, .dst_reg = BPF_REG_10, .off = -8},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_1, .imm = 1},
		{.code = BPF_STX | BPF_ATOMIC | BPF_DW, .dst_reg = BPF_REG_10, .src_reg = BPF_REG_1, .off = -8, .imm = BPF_ADD | BPF_FETCH},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_SOCKET_FILTER, "tf_atomics", "GPL", insns, sizeof(insns) / sizeof(insns[0]), NULL);

	if (fd >= 0)
		close(fd);
	return fd != -EINVAL; /* anything else, such as no rights, says nothing of the kernel */
}

int tf_explain_missing(char *msg, size_t msg_size)
{
	struct utsname name = {0};
	int rc;

	uname(&name);
	if (access(VMLINUX_BTF, R_OK)) {
		snprintf(msg, msg_size, "the kernel %s shows no BTF at " VMLINUX_BTF " (%s): use a kernel built with "
			 "CONFIG_DEBUG_INFO_BTF=y, and mount /sys", name.release, strerror(errno));
		return -ENOTSUP;
	}
	rc = try_ring_buffer();
	if (rc == -EPERM)
		tf_explain_eperm("BPF maps", msg, msg_size);
	else if (rc == -EINVAL || rc == -ENOSYS) {
		snprintf(msg, msg_size, "the kernel %s has no BPF ring buffer: Linux 5.8 or newer is needed", name.release);
		rc = -ENOTSUP;
	} else if (rc)
		snprintf(msg, msg_size, "cannot make a BPF map: %s", strerror(-rc));
	return rc;
}

/* Loads the base object's tp_btf program alone, without its maps. */
static int try_program(void)
{
	struct bpf_object *obj = NULL;
	struct bpf_program *prog;
	struct bpf_map *map;
	int rc;

	for (size_t i = 0; i < tf_blob_count && !obj; i++)
		if (!strcmp(tf_blobs[i].name, "base"))
			obj = bpf_object__open_mem(tf_blobs[i].data, tf_blobs[i].size, NULL);
	if (!obj)
		return errno ? -errno : -ENOENT;
	bpf_object__for_each_map(map, obj)
		bpf_map__set_autocreate(map, false);
	bpf_object__for_each_program(prog, obj)
		bpf_program__set_autoload(prog, !strcmp(bpf_program__name(prog), "tf_probe_tracing"));
	rc = bpf_object__load(obj);
	bpf_object__close(obj);
	return rc;
}

void tf_probe_run(struct tf_probe *out)
{
	int rc;

	memset(out, 0, sizeof(*out));
	tf_log_begin(NULL);
	out->btf = !access(VMLINUX_BTF, R_OK);
	rc = try_ring_buffer();
	out->ring_buffer = !rc ? 1 : rc == -EINVAL || rc == -ENOSYS ? 0 : rc;
	if (tf_explain_missing(out->reason, sizeof(out->reason))) {
		out->prog_load = out->ring_buffer < 0 ? out->ring_buffer : 0;
	} else {
		rc = try_program();
		out->prog_load = rc ? rc : 1;
		if (rc == -EPERM)
			tf_explain_eperm("a tracing program", out->reason, sizeof(out->reason));
		else if (rc)
			snprintf(out->reason, sizeof(out->reason), "a tracing program does not load: %s (%s)", strerror(-rc),
				 tf_log_last_warning());
	}
	tf_log_end();
}
