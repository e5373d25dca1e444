/* SPDX-License-Identifier: Apache-2.0 */
/* tf_refine: DNS messages of network.dns_query and network.dns. */
#include "tf_refine.h"

#include <string.h>

#include "tf_dns.h"

bool tf_refine_is_raw(uint32_t kind)
{
	return kind == TF_K_NETWORK_DNS || kind == TF_K_NETWORK_DNS_QUERY;
}

static void decode(uint32_t kind, const uint8_t *row, const uint8_t *tail, uint8_t *out, struct tf_dns_result *r)
{
	struct tf_text raw;

	memcpy(&raw, row + offsetof(struct tf_network, name), sizeof(raw));
	tf_dns_decode(tail + raw.offset, raw.len, kind == TF_K_NETWORK_DNS, out, r);
}

uint32_t tf_refine_size(uint32_t kind, const uint8_t *row, const uint8_t *tail)
{
	struct tf_dns_result r;

	decode(kind, row, tail, NULL, &r);
	return r.len;
}

uint32_t tf_refine(uint32_t kind, uint8_t *row, const uint8_t *tail, uint8_t *out, uint32_t room)
{
	uint8_t text[TF_DNS_TEXT_CAP];
	struct tf_dns_result r;
	struct tf_network e;

	decode(kind, row, tail, text, &r);
	memcpy(&e, row, sizeof(e));
	if (r.len > room)
		r.len = room; /* the bytes changed since they were measured: the kernel does not do that, but a recorded image might */
	memcpy(out, text, r.len);
	e.dns_type = r.type;
	e.dns_rcode = kind == TF_K_NETWORK_DNS ? r.rcode : 0;
	e.name = (struct tf_text){.len = r.len, .full_len = r.full_len};
	if (!r.whole)
		e.h.flags |= TF_F_PARTIAL;
	if (r.len < r.full_len)
		e.h.flags |= TF_F_TRUNCATED;
	memcpy(row, &e, sizeof(e));
	return r.len;
}
