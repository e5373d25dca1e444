/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_log: takes libbpf's messages and remembers which program the last warning was about. */
#include "tf_object_impl.h"

#include <stdarg.h>
#include <stdlib.h>

/* libbpf's print function is one per process and has no context argument, so the thread says whose turn it is. */
static _Thread_local struct {
	struct tf_object *object;
	char program[64];
	char warning[256];
	bool no_descriptor;
} now;

static void note_warning(const char *text)
{
	const char *at = strstr(text, "prog '"), *end;

	now.no_descriptor |= strstr(text, "-EMFILE") || strstr(text, strerror(EMFILE));
	snprintf(now.warning, sizeof(now.warning), "%.*s", (int)strcspn(text, "\n"), text);
	if (!at)
		return;
	at += strlen("prog '");
	end = strchr(at, '\'');
	if (end && (size_t)(end - at) < sizeof(now.program))
		snprintf(now.program, sizeof(now.program), "%.*s", (int)(end - at), at);
}

static int print(enum libbpf_print_level level, const char *format, va_list args)
{
	char text[1024];

	if (level == LIBBPF_DEBUG)
		return 0;
	vsnprintf(text, sizeof(text), format, args);
	if (level == LIBBPF_WARN && !strstr(text, "BEGIN PROG LOAD LOG"))
		note_warning(strncmp(text, "libbpf: ", 8) ? text : text + 8);
	text[strcspn(text, "\n")] = 0; /* a verifier's log is kept elsewhere: its first line says what it is */
	/* A refused program is tried without: what libbpf warns of is information until we have judged it. */
	tf_object_say(now.object, level == LIBBPF_WARN ? 20 : 10, text);
	return 0;
}

void tf_log_begin(struct tf_object *o)
{
	libbpf_set_print(print);
	memset(&now, 0, sizeof(now));
	now.object = o;
}

void tf_log_end(void)
{
	now.object = NULL;
}

const char *tf_log_failed_program(void)
{
	return now.program;
}

const char *tf_log_last_warning(void)
{
	return now.warning;
}

/* A map that gets none is tried again without BTF: the last error is then another one. */
bool tf_log_no_descriptor(void)
{
	return now.no_descriptor;
}

void tf_object_say(struct tf_object *o, int level, const char *text)
{
	if (o && o->opts.log)
		o->opts.log(o->opts.log_ctx, level, text);
}
