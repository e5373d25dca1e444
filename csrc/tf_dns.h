/* SPDX-License-Identifier: Apache-2.0 */
/* tf_dns: a DNS message as text. The bytes are whatever the network sent: compression loops, cut messages and wrong lengths end the
 * decoding, never run it on; what was decoded until then is true. Pure: no allocation, no state. */
#ifndef TF_DNS_H
#define TF_DNS_H

#include "tf_base.h"

#define TF_DNS_TEXT_CAP 2048u           /* bytes of text: every name fits; answers that do not are left out, and counted in full_len */

struct tf_dns_result {
	uint32_t len;                   /* bytes of text, at most TF_DNS_TEXT_CAP */
	uint32_t full_len;              /* bytes that all of it would have had */
	uint16_t type;                  /* asked for, 0 = no question */
	uint8_t rcode;
	bool whole;                     /* false: the message is malformed or cut (by us, or as its server says) */
};

/* Writes the name asked for and, with answers, every A, AAAA and CNAME of the answer section, NUL between them. Names are dotted,
 * without the last dot ("." for the root), escaped as in zone files: backslash before . \ " ( ) ; @ $, \DDD for what is no visible
 * ASCII. Addresses as inet_ntop has them. out: TF_DNS_TEXT_CAP bytes, or NULL to learn the length only. */
void tf_dns_decode(const uint8_t *message, uint32_t len, bool answers, uint8_t *out, struct tf_dns_result *r);

#endif
