/* SPDX-License-Identifier: Apache-2.0 */
/* Container ids and runtimes by control group path: every form of every runtime, near misses, and any bytes at all. */
#include "tf_container_id.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define A16 "0123456789abcdef"
#define ID A16 A16 A16 A16
#define POD "pod12345678_1234_1234_1234_123456789abc"

static int failures;

static const struct {
	const char *path, *id;
	enum tf_runtime runtime;
} cases[] = {
	{"", "", TF_RT_NONE},
	{"/", "", TF_RT_NONE},
	{"/init.scope", "", TF_RT_SYSTEMD},
	{"/system.slice/ssh.service", "", TF_RT_SYSTEMD},
	{"/user.slice/user-1000.slice/session-3.scope", "", TF_RT_SYSTEMD},
	{"/docker/" ID, ID, TF_RT_DOCKER},
	{"/docker/" ID "/init", ID, TF_RT_DOCKER},
	{"/system.slice/docker-" ID ".scope", ID, TF_RT_DOCKER},
	{"/system.slice/docker-" ID ".scope/child", ID, TF_RT_DOCKER},
	/* docker in docker: the inner one */
	{"/docker/" ID "/docker/" "f" A16 A16 A16 "123456789abcdef", "f" A16 A16 A16 "123456789abcdef", TF_RT_DOCKER},
	{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-" POD ".slice/cri-containerd-" ID ".scope", ID, TF_RT_CONTAINERD},
	{"/kubepods.slice/kubepods-" POD ".slice/crio-" ID ".scope", ID, TF_RT_CRIO},
	{"/kubepods.slice/kubepods-" POD ".slice/docker-" ID ".scope", ID, TF_RT_DOCKER},
	{"/kubepods/besteffort/" POD "/" ID, ID, TF_RT_CONTAINERD},
	{"/kubepods/" POD "/crio-" ID, ID, TF_RT_CRIO},
	{"/kubepods/besteffort/" POD, "", TF_RT_NONE},
	{"/machine.slice/libpod-" ID ".scope", ID, TF_RT_PODMAN},
	{"/machine.slice/libpod-" ID ".scope/container", ID, TF_RT_PODMAN},
	{"/libpod_parent/libpod-" ID, ID, TF_RT_PODMAN},
	{"/system.slice/web.service/libpod-payload-" ID, ID, TF_RT_PODMAN},
	{"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" ID ".scope/container", ID, TF_RT_PODMAN},
	{"/machine.slice/machine-libpod_pod_" ID ".slice/libpod-" ID ".scope", ID, TF_RT_PODMAN},
	{"/system.slice/nerdctl-" ID ".scope", ID, TF_RT_CONTAINERD},
	{"/system.slice/containerd.service/kubepods-burstable-" POD ".slice:cri-containerd:" ID, ID, TF_RT_CONTAINERD},
	{"/system.slice/crio.service/kubepods-" POD ".slice:crio:" ID "/container", ID, TF_RT_CRIO},
	{"/system.slice:docker:" ID, ID, TF_RT_DOCKER},
	{"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-" POD ".slice/crio-" ID ".scope/container", ID, TF_RT_CRIO},
	{"/kubepods/burstable/" POD "/crio-" ID, ID, TF_RT_CRIO},
	{"/somewhere/" ID, ID, TF_RT_OTHER},
	{"/runc/web-1", "web-1", TF_RT_RUNC},
	{"/a/runc/web_1/inside", "web_1", TF_RT_RUNC},
	{"/system.slice/runc-web.scope", "web", TF_RT_RUNC},
	{"/lxc/box", "box", TF_RT_LXC},
	{"/lxc.payload.box", "box", TF_RT_LXC},
	{"/lxc.payload/box/system.slice", "box", TF_RT_LXC},
	/* near misses; conmon is the monitor outside of the container */
	{"/machine.slice/libpod-conmon-" ID ".scope", "", TF_RT_SYSTEMD},
	{"/kubepods.slice/crio-conmon-" ID ".scope", "", TF_RT_SYSTEMD},
	{":docker:" ID "0", "", TF_RT_NONE},
	{"docker:" ID, "", TF_RT_NONE},
	{"a:docker" ID, "", TF_RT_NONE},
	{"a:crio-:" ID, "", TF_RT_NONE},
	{"/runc", "", TF_RT_NONE},
	{"/runc/", "", TF_RT_NONE},
	{"/runc/..", "", TF_RT_NONE},
	{"/runc/a b", "", TF_RT_NONE},
	{"/lxc.payload.", "", TF_RT_NONE},
	{"/runc-.scope", "", TF_RT_SYSTEMD},
	{"/docker", "", TF_RT_NONE},
	{"/docker-.scope", "", TF_RT_SYSTEMD},
	{"/docker-" ID "0.scope", "", TF_RT_SYSTEMD},
	{"/docker-" A16 A16 A16 "0123456789abcdeF.scope", "", TF_RT_SYSTEMD},
	{"/docker/" A16 A16 A16 "0123456789abcde", "", TF_RT_NONE},
	{"docker-", "", TF_RT_NONE},
	{"//docker//" ID "//", ID, TF_RT_DOCKER},
	{"/.scope", "", TF_RT_SYSTEMD},
};

static void check(const char *path, size_t len, const char *id, enum tf_runtime runtime)
{
	uint8_t *copy = malloc(len + 1); /* exactly as long as it is: a sanitizer sees a read past the end */
	struct tf_container_name got;

	copy = realloc(copy, len ? len : 1);
	memcpy(copy, path, len);
	got = tf_container_id(copy, len);
	if (got.runtime != runtime || got.len != strlen(id) || (got.len && memcmp(copy + got.offset, id, got.len))) {
		printf("%.*s: runtime %d (want %d), id %.*s (want %s)\n", (int)len, path, got.runtime, runtime, (int)got.len,
		       (const char *)copy + got.offset, id);
		failures++;
	}
	free(copy);
}

/* Every prefix of every case, and bytes put together at random from the words that mean something. */
static void any_bytes(int rounds)
{
	static const char *const words[] = {"/", "docker", "docker-", ID, ".scope", "runc", "lxc", "lxc.payload.", "kubepods", ".slice", "crio-", ":", "crio", "nerdctl-", "\0x", "\xff", ".."};
	uint32_t seed = 12345;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t n = 0; n < strlen(cases[i].path); n++) {
			uint8_t *copy = malloc(n ? n : 1);
			struct tf_container_name got;

			memcpy(copy, cases[i].path, n);
			got = tf_container_id(copy, n);
			failures += got.offset > n || got.len > n - got.offset;
			free(copy);
		}
	for (int r = 0; r < rounds; r++) {
		uint8_t text[2048];
		struct tf_container_name got;
		uint8_t *copy;
		size_t n = 0;

		while (n < 1900 && (seed = seed * 1664525 + 1013904223) >> 28) {
			const char *w = words[(seed >> 8) % (sizeof(words) / sizeof(words[0]))];
			size_t len = *w ? strlen(w) : 2;

			memcpy(text + n, w, len);
			n += len;
		}
		copy = malloc(n ? n : 1);
		memcpy(copy, text, n);
		got = tf_container_id(copy, n);
		failures += got.offset > n || got.len > n - got.offset || got.runtime > TF_RT_SYSTEMD ||
			    (got.len != 0) != (got.runtime != TF_RT_NONE && got.runtime != TF_RT_SYSTEMD);
		free(copy);
	}
}

/* A row whose texts lie: left alone. A right one: the id is a part of the path. */
static void rows(void)
{
	static const char tail[] = "..../docker/" ID;
	struct tf_container e = {.cgroup_path = {4, sizeof(tail) - 5, sizeof(tail) - 5}}, was;

	tf_container_refine((uint8_t *)&e, (const uint8_t *)tail, sizeof(tail) - 1);
	failures += e.runtime != TF_RT_DOCKER || e.container_id.offset != 12 || e.container_id.len != 64 || e.container_id.full_len != 64;
	e.cgroup_path.len++;
	was = e;
	tf_container_refine((uint8_t *)&e, (const uint8_t *)tail, sizeof(tail) - 1);
	failures += memcmp(&e, &was, sizeof(e)) != 0;
	e.cgroup_path = was.cgroup_path = (struct tf_text){0xffffffff, 0xffffffff, 0};
	tf_container_refine((uint8_t *)&e, (const uint8_t *)tail, sizeof(tail) - 1);
	failures += memcmp(&e, &was, sizeof(e)) != 0;
}

int main(void)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check(cases[i].path, strlen(cases[i].path), cases[i].id, cases[i].runtime);
	any_bytes(200000);
	rows();
	printf("%d failures\n", failures);
	return failures != 0;
}
