/* SPDX-License-Identifier: Apache-2.0 */
/* tf_facts: the table that the stream fills. Nothing is learned yet: only what rows say of themselves is known. */
#include "tf_facts.h"

#include <stdlib.h>

struct tf_facts {
	struct tf_facts_opts o;
};

int tf_facts_open(const struct tf_facts_opts *o, struct tf_facts **out)
{
	struct tf_facts *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->o = *o;
	*out = f;
	return 0;
}

void tf_facts_close(struct tf_facts *f)
{
	free(f);
}

void tf_facts_learn(struct tf_facts *f, const struct tf_batch *b)
{
	(void)f;
	(void)b;
}

void tf_facts_stats(const struct tf_facts *f, struct tf_facts_stats *out)
{
	(void)f;
	memset(out, 0, sizeof(*out));
}
