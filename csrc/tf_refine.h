/* SPDX-License-Identifier: Apache-2.0 */
/* tf_refine: rows whose text the kernel sends raw, because no BPF program could write it: made into what their fields are defined to
 * be while they are copied from a ring into a batch. From there on (store, replay) they are never raw. */
#ifndef TF_REFINE_H
#define TF_REFINE_H

#include "tf_base.h"

/* Whether the text of this kind comes raw. */
bool tf_refine_is_raw(uint32_t kind);
/* Bytes of text that tf_refine will write for this row; `tail` has every text of the row inside. */
uint32_t tf_refine_size(uint32_t kind, const uint8_t *row, const uint8_t *tail);
/* Writes the text to `out` (as many bytes as tf_refine_size said) and sets the row's fields; offsets are from `out`. `row` is the
 * copy. Returns the bytes written. */
uint32_t tf_refine(uint32_t kind, uint8_t *row, const uint8_t *tail, uint8_t *out, uint32_t room);

#endif
