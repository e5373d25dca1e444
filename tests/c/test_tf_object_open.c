/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object: opening that fails half way. With the sanitizers: what was freed is not looked at. Needs root; 77 = not permitted. */
#include "object_fixture.h"

#include <sys/resource.h>

/* Where the limit is met differs: maps, rings, parts. */
static void too_few_descriptors_are_told_and_nothing_is_left(void)
{
	const struct tf_object_opts opts = all_on();
	const int before = count_fds(NULL);
	struct rlimit was, few;
	struct tf_object *o;
	char msg[512];
	int failed = 0;

	CHECK(!getrlimit(RLIMIT_NOFILE, &was));
	for (int more = 20; more < 200; more += 10) {
		int rc;

		few = was;
		few.rlim_cur = (rlim_t)(before + more);
		CHECK(!setrlimit(RLIMIT_NOFILE, &few));
		rc = tf_object_open(&opts, &o, msg, sizeof(msg));
		CHECK(!setrlimit(RLIMIT_NOFILE, &was));
		if (!rc)
			tf_object_close(o);
		if (rc && (rc != -EMFILE || !strstr(msg, "RLIMIT_NOFILE")))
			printf("%d: %d %s\n", more, rc, msg);
		CHECK(!rc || (rc == -EMFILE && strstr(msg, "RLIMIT_NOFILE")));
		CHECK_EQ(count_fds(NULL), before);
		failed += rc != 0;
	}
	CHECK(failed > 5);
}

int main(void)
{
	struct tf_object_opts opts = all_on();

	tf_object_close(open_object(&opts)); /* not permitted: ends here */
	too_few_descriptors_are_told_and_nothing_is_left();
	return 0;
}
