/* SPDX-License-Identifier: Apache-2.0 */
/* tf_container_id: container runtimes' names for control groups. */
#include "tf_container_id.h"

#include <string.h>

#define HEX_ID 64       /* characters of docker's, containerd's, cri-o's and podman's ids */
#define LXC_NAME_MAX 255

struct span {
	const uint8_t *at;
	size_t len;
};

static bool equals(struct span s, const char *word)
{
	return s.len == strlen(word) && !memcmp(s.at, word, s.len);
}

static bool begins(struct span s, const char *word)
{
	return s.len >= strlen(word) && !memcmp(s.at, word, strlen(word));
}

static bool ends(struct span s, const char *word)
{
	return s.len >= strlen(word) && !memcmp(s.at + s.len - strlen(word), word, strlen(word));
}

static bool is_hex_id(struct span s)
{
	if (s.len != HEX_ID)
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (!(s.at[i] >= '0' && s.at[i] <= '9') && !(s.at[i] >= 'a' && s.at[i] <= 'f'))
			return false;
	return true;
}

/* runc's rule for the name of a container: [A-Za-z0-9_+.-]+, not . or .. */
static bool is_plain_name(struct span s)
{
	if (!s.len || s.len > LXC_NAME_MAX || equals(s, ".") || equals(s, ".."))
		return false;
	for (size_t i = 0; i < s.len; i++) {
		const uint8_t c = s.at[i];

		if (!(c >= '0' && c <= '9') && !((c | 0x20) >= 'a' && (c | 0x20) <= 'z') && c != '_' && c != '+' && c != '.' && c != '-')
			return false;
	}
	return true;
}

/* "PREFIX-<id>.scope" (systemd driver) or "PREFIX-<id>" (cgroupfs driver): the id, len 0 = it is not that. */
static struct span scope_id(struct span s, const char *prefix)
{
	struct span id = {s.at + strlen(prefix), s.len - strlen(prefix)};

	if (!begins(s, prefix))
		return (struct span){s.at, 0};
	if (ends(id, ".scope"))
		id.len -= strlen(".scope");
	return is_hex_id(id) ? id : (struct span){s.at, 0};
}

/* "ANYTHING:PREFIX:<id>", the prefix without its "-": the id, len 0 = it is not that. */
static struct span colon_id(struct span s, const char *prefix)
{
	const size_t word = strlen(prefix) - 1, len = word + HEX_ID + 2;
	const struct span none = {s.at, 0};
	struct span id;

	if (s.len < len || s.at[s.len - len] != ':' || s.at[s.len - HEX_ID - 1] != ':' || memcmp(s.at + s.len - len + 1, prefix, word))
		return none;
	id = (struct span){s.at + s.len - HEX_ID, HEX_ID};
	return is_hex_id(id) ? id : none;
}

/* One component, and the one above it (empty at the top). */
static enum tf_runtime judge(struct span s, struct span above, bool in_pods, struct span *id)
{
	static const struct {
		const char *prefix;
		enum tf_runtime runtime;
	} scopes[] = {
		{"docker-", TF_RT_DOCKER}, {"cri-containerd-", TF_RT_CONTAINERD}, {"nerdctl-", TF_RT_CONTAINERD}, {"crio-", TF_RT_CRIO},
		{"libpod-payload-", TF_RT_PODMAN}, {"libpod-", TF_RT_PODMAN}, /* payload: --cgroups=split, as Quadlet's services have it */
	};

	for (size_t i = 0; i < sizeof(scopes) / sizeof(scopes[0]); i++) {
		*id = scope_id(s, scopes[i].prefix);
		if (id->len)
			return scopes[i].runtime;
	}
	/* "SLICE:PREFIX:<id>": what the systemd driver was to make, made by a runtime that only knows cgroupfs */
	for (size_t i = 0; i < sizeof(scopes) / sizeof(scopes[0]); i++) {
		*id = colon_id(s, scopes[i].prefix);
		if (id->len)
			return scopes[i].runtime;
	}
	*id = s;
	if (is_hex_id(s))
		return equals(above, "docker") ? TF_RT_DOCKER : equals(above, "libpod_parent") ? TF_RT_PODMAN : in_pods ? TF_RT_CONTAINERD : TF_RT_OTHER;
	if (equals(above, "runc") && is_plain_name(s))
		return TF_RT_RUNC;
	if ((equals(above, "lxc") || equals(above, "lxc.payload")) && is_plain_name(s))
		return TF_RT_LXC;
	if (begins(s, "lxc.payload.") && is_plain_name(s)) {
		*id = (struct span){s.at + strlen("lxc.payload."), s.len - strlen("lxc.payload.")};
		return id->len ? TF_RT_LXC : TF_RT_NONE;
	}
	if (begins(s, "runc-") && ends(s, ".scope") && s.len > strlen("runc-.scope") && is_plain_name(s)) {
		*id = (struct span){s.at + strlen("runc-"), s.len - strlen("runc-.scope")};
		return TF_RT_RUNC;
	}
	return TF_RT_NONE;
}

struct tf_container_name tf_container_id(const uint8_t *path, size_t len)
{
	struct tf_container_name found = {0};
	struct span above = {path, 0};
	bool in_pods = false, systemd = false;

	for (size_t at = 0; at < len;) {
		const uint8_t *slash = memchr(path + at, '/', len - at);
		struct span s = {path + at, slash ? (size_t)(slash - path) - at : len - at}, id;
		enum tf_runtime runtime;

		at += s.len + 1;
		if (!s.len)
			continue;
		in_pods |= begins(s, "kubepods");
		systemd |= ends(s, ".slice") || ends(s, ".scope") || ends(s, ".service");
		runtime = judge(s, above, in_pods, &id);
		if (runtime != TF_RT_NONE)
			found = (struct tf_container_name){(uint32_t)(id.at - path), (uint32_t)id.len, runtime};
		above = s;
	}
	if (found.runtime == TF_RT_NONE && systemd)
		found.runtime = TF_RT_SYSTEMD;
	return found;
}

void tf_container_refine(uint8_t *row, const uint8_t *tail, size_t tail_len)
{
	struct tf_container_name name;
	struct tf_container e;

	memcpy(&e, row, sizeof(e));
	if (e.cgroup_path.offset > tail_len || e.cgroup_path.len > tail_len - e.cgroup_path.offset)
		return;
	name = tf_container_id(tail + e.cgroup_path.offset, e.cgroup_path.len);
	e.runtime = name.runtime;
	e.container_id = (struct tf_text){name.len ? e.cgroup_path.offset + name.offset : 0, name.len, name.len};
	memcpy(row, &e, sizeof(e));
}
