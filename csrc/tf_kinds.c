/* SPDX-License-Identifier: Apache-2.0 */
/* tf_kinds: the table of tf_kinds.h as data, and what follows from a record's type: its row size and where its texts are. */
#include "tf_base.h"

#define KIND_ROW(id, t, s, text, l, sev) [TF_K_##id] = {.name = text, .type = t, .subtype = s, .lane = l, .severity = sev},
const struct tf_kind_info tf_kind_table[TF_KIND_COUNT] = {TF_KINDS(KIND_ROW)};
#undef KIND_ROW

#define SUBTYPES 64 /* a kind with a greater subtype does not compile: raise it then */
#define KIND_CELL(id, t, s, text, l, sev) [t][s] = TF_K_##id + 1,
static const uint16_t kind_plus_1[TF_TYPE_MAX][SUBTYPES] = {TF_KINDS(KIND_CELL)};
#undef KIND_CELL

_Static_assert(TF_KIND_COUNT <= TF_KIND_MAX, "the ledger has TF_KIND_MAX cells per CPU");

int tf_kind_of(uint8_t type, uint8_t subtype)
{
	return type < TF_TYPE_MAX && subtype < SUBTYPES ? kind_plus_1[type][subtype] - 1 : -1;
}

uint32_t tf_row_size(uint8_t domain)
{
	static const uint16_t size[TF_TYPE_MAX] = {
		[TF_PROCESS] = sizeof(struct tf_process),
		[TF_NETWORK] = sizeof(struct tf_network),
		[TF_SYSCALL] = sizeof(struct tf_syscall),
		[TF_FILE] = sizeof(struct tf_file),
		[TF_SECURITY] = sizeof(struct tf_security),
		[TF_CONTAINER] = sizeof(struct tf_container),
		[TF_MEMORY] = sizeof(struct tf_memory),
		[TF_CPU] = sizeof(struct tf_cpu),
		[TF_META] = sizeof(struct tf_meta),
	};
	return domain < TF_TYPE_MAX ? size[domain] : 0;
}

uint32_t tf_text_fields(uint8_t domain, const uint16_t **offsets)
{
	static const uint16_t process[] = {
		offsetof(struct tf_process, exe), offsetof(struct tf_process, cwd), offsetof(struct tf_process, args)};
	static const uint16_t network[] = {offsetof(struct tf_network, name)};
	static const uint16_t syscall[] = {offsetof(struct tf_syscall, path)};
	static const uint16_t file[] = {
		offsetof(struct tf_file, path), offsetof(struct tf_file, new_path), offsetof(struct tf_file, data)};
	static const uint16_t security[] = {offsetof(struct tf_security, path)};
	static const uint16_t container[] = {
		offsetof(struct tf_container, cgroup_path), offsetof(struct tf_container, container_id), offsetof(struct tf_container, path)};
	static const uint16_t meta[] = {
		offsetof(struct tf_meta, path), offsetof(struct tf_meta, path2), offsetof(struct tf_meta, data)};

	switch (domain) {
	case TF_PROCESS: *offsets = process; return 3;
	case TF_NETWORK: *offsets = network; return 1;
	case TF_SYSCALL: *offsets = syscall; return 1;
	case TF_FILE: *offsets = file; return 3;
	case TF_SECURITY: *offsets = security; return 1;
	case TF_CONTAINER: *offsets = container; return 3;
	case TF_META: *offsets = meta; return 3;
	default: *offsets = NULL; return 0;
	}
}
