/* SPDX-License-Identifier: Apache-2.0 */
/* tf_dns: DNS messages (RFC 1035 section 4) to text. */
#include "tf_dns.h"

#include <arpa/inet.h>
#include <string.h>

#define HEADER 12u
#define NAME_MAX_WIRE 255u              /* bytes of a name on the wire, uncompressed */
#define TYPE_A 1
#define TYPE_CNAME 5
#define TYPE_AAAA 28
#define CLASS_IN 1
#define TC 0x02                         /* of byte 2: the server cut it */

struct text {
	uint8_t *out;                   /* NULL: count only */
	uint32_t len, full;             /* bytes kept, bytes that there are */
};

struct message {
	const uint8_t *at;
	uint32_t len;
};

static uint16_t load16(const struct message *m, uint32_t at)
{
	return (uint16_t)(m->at[at] << 8 | m->at[at + 1]);
}

static void put(struct text *t, char c)
{
	if (t->out && t->full < TF_DNS_TEXT_CAP)
		t->out[t->full] = (uint8_t)c;
	t->full++;
}

static void put_escaped(struct text *t, uint8_t c)
{
	if (c <= ' ' || c > '~') {
		put(t, '\\');
		put(t, (char)('0' + c / 100));
		put(t, (char)('0' + c / 10 % 10));
		put(t, (char)('0' + c % 10));
		return;
	}
	if (strchr(".\\\"();@$", c))
		put(t, '\\');
	put(t, (char)c);
}

/* Writes the name at `at`. Returns where what follows it begins, 0 = malformed. Each pointer must lead to before where the part of the
 * name that it ends began, so that there is no loop. */
static uint32_t put_name(struct text *t, const struct message *m, uint32_t at)
{
	uint32_t after = 0, began = at, wire = 1;

	for (;;) {
		uint32_t n;

		if (at >= m->len)
			return 0;
		n = m->at[at];
		if (n >= 0xc0) {
			uint32_t to;

			if (at + 1 >= m->len)
				return 0;
			to = load16(m, at) & 0x3fffu;
			if (to >= began)
				return 0;
			after = after ? after : at + 2;
			at = began = to;
			continue;
		}
		if (n > 63 || n > m->len - at - 1)
			return 0;
		if (!n)
			break;
		wire += n + 1;
		if (wire > NAME_MAX_WIRE)
			return 0;
		if (wire > n + 2)
			put(t, '.');
		for (uint32_t i = 1; i <= n; i++)
			put_escaped(t, m->at[at + i]);
		at += n + 1;
	}
	if (wire == 1)
		put(t, '.');
	return after ? after : at + 1;
}

static uint32_t skip_name(const struct message *m, uint32_t at)
{
	struct text nowhere = {0};

	return put_name(&nowhere, m, at);
}

/* What was written counts if it is right and all of it fits; else the text ends where it began. */
static void settle(struct text *t, uint32_t began, bool right)
{
	if (!right)
		t->full = began;
	else if (t->full <= TF_DNS_TEXT_CAP && t->len == began)
		t->len = t->full;
}

static void put_address(struct text *t, int family, const uint8_t *bytes)
{
	char s[INET6_ADDRSTRLEN];

	inet_ntop(family, bytes, s, sizeof(s));
	for (const char *c = s; *c; c++)
		put(t, *c);
}

/* One answer with `n` bytes of data at `at`. False: malformed. */
static bool put_answer(struct text *t, const struct message *m, uint16_t type, uint32_t at, uint32_t n)
{
	const uint32_t began = t->full;
	bool right = true;

	put(t, 0);
	if (type == TYPE_CNAME) {
		right = put_name(t, m, at) == at + n;
	} else if (n == (type == TYPE_A ? 4u : 16u)) {
		put_address(t, type == TYPE_A ? AF_INET : AF_INET6, m->at + at);
	} else {
		right = false;
	}
	settle(t, began, right);
	return right;
}

static bool put_answers(struct text *t, const struct message *m, uint32_t at, uint32_t count)
{
	bool whole = true;

	for (; count; count--) {
		uint16_t type, n;

		at = skip_name(m, at);
		if (!at || at > m->len || m->len - at < 10)
			return false;
		type = load16(m, at);
		n = load16(m, at + 8);
		if (n > m->len - at - 10)
			return false;
		if (load16(m, at + 2) == CLASS_IN && (type == TYPE_A || type == TYPE_AAAA || type == TYPE_CNAME))
			whole &= put_answer(t, m, type, at + 10, n);
		at += 10u + n;
	}
	return whole;
}

void tf_dns_decode(const uint8_t *bytes, uint32_t len, bool answers, uint8_t *out, struct tf_dns_result *r)
{
	const struct message m = {bytes, len};
	struct text t = {.out = out};
	uint32_t at = HEADER, questions;

	memset(r, 0, sizeof(*r));
	if (len < HEADER)
		return;
	r->rcode = bytes[3] & 15;
	r->whole = !(bytes[2] & TC);
	questions = load16(&m, 4);
	for (uint32_t i = 0; i < questions; i++) {
		const uint32_t began = t.full;

		at = i ? skip_name(&m, at) : put_name(&t, &m, at);
		if (!i)
			settle(&t, began, at);
		if (!at || at > len || len - at < 4) {
			r->whole = false;
			goto out;
		}
		if (!i)
			r->type = load16(&m, at);
		at += 4;
	}
	if (answers && !put_answers(&t, &m, at, load16(&m, 6)))
		r->whole = false;
out:
	r->len = t.len;
	r->full_len = t.full;
}
