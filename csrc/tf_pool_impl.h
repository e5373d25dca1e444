/* SPDX-License-Identifier: Apache-2.0 */
/* tf_pool_impl: what tf_batch.c asks of the pool; not for other files. */
#ifndef TF_POOL_IMPL_H
#define TF_POOL_IMPL_H

#include "tf_batch.h"

/* An arena of at least `size` bytes; *got is its true size. NULL when a limit or the system refuses. Adds a reference to p. */
uint8_t *tf_pool_take(struct tf_pool *p, size_t size, size_t *got);
void tf_pool_give(struct tf_pool *p, uint8_t *arena, size_t size, bool detached); /* drops that reference */
bool tf_pool_ever(const struct tf_pool *p, size_t size);    /* whether such an arena fits when nothing else is in use */
void tf_pool_move(struct tf_pool *p, size_t size);  /* from queued to detached */

#endif
