/* SPDX-License-Identifier: Apache-2.0 */
/* tf_container_id: which container a control group belongs to, told by its path alone. Pure; any bytes may come. */
#ifndef TF_CONTAINER_ID_H
#define TF_CONTAINER_ID_H

#include "tf_base.h"

struct tf_container_name {
	uint32_t offset, len;           /* of the id inside the path; len 0 = none */
	enum tf_runtime runtime;
};

/* The innermost component that names a container decides; without one, a systemd unit's path is systemd's. */
struct tf_container_name tf_container_id(const uint8_t *path, size_t len);

/* Fills runtime and container_id of a copied tf_container row from its cgroup_path; offsets are those of the ring, inside `tail`. */
void tf_container_refine(uint8_t *row, const uint8_t *tail, size_t tail_len);

#endif
