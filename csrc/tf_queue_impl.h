/* SPDX-License-Identifier: Apache-2.0 */
/* tf_queue_impl: what only the pump may do with a queue. */
#ifndef TF_QUEUE_IMPL_H
#define TF_QUEUE_IMPL_H

#include "tf_queue.h"

/* Ends the queue and drops what is in it, counted as overflow: its consumer is gone. It can still be asked for stats. */
void tf_queue_abandon(struct tf_queue *q);
/* True when the policy lets the pump drop what waits longest. */
bool tf_queue_drop_oldest_allowed(const struct tf_queue *q);
/* In a forked child: closes the descriptor, touches no lock. */
void tf_queue_forget(struct tf_queue *q);

#endif
