# SPDX-License-Identifier: Apache-2.0
"""The C tables of records, kinds and ledger columns, as Python data. Relies on tf_layout.h, tf_kinds.h."""
from libc.stdint cimport int16_t, uint8_t, uint16_t


cdef extern from "tf_layout.h" nogil:
    struct tf_field:
        const char *name
        const char *c_name
        char kind
        uint16_t offset, size
    struct tf_record_layout:
        const char *struct_name
        const char *domain_name
        uint8_t domain
        uint16_t size, n_fields
        const tf_field *fields
    const tf_record_layout tf_layouts[]
    const size_t tf_layout_count
    struct tf_kind_info:
        const char *name
        uint8_t type, subtype, lane, severity
    const tf_kind_info tf_kind_table[]
    enum: TF_KIND_COUNT
    struct tf_sysno_info:
        const char *name
        int16_t x86_64, arm64
    const tf_sysno_info tf_sysno_table[]
    const size_t tf_sysno_count
    enum: TF_KIND_MAX
    int tf_layout_check(const void *btf, size_t btf_size, const char *const *required, char *msg, size_t msg_size)

KIND_MAX = TF_KIND_MAX
# Columns of a ledger row, in the order of enum tf_ledger_index.
LEDGER = ("seen", "submitted", "k_filtered", "k_throttled", "k_sampled", "k_ring_full", "k_fault", "k_too_big", "k_map_full",
          "k_busy", "k_aggregated", None, None, None, None, None, "consumed", "u_bad", "u_filtered", "u_sampled", "routed")


def layouts():
    """Return [(domain name, struct name, domain number, row bytes, [(name, C name, kind, offset, bytes), ...]), ...]."""
    cdef size_t i
    cdef const tf_record_layout *r
    out = []
    for i in range(tf_layout_count):
        r = &tf_layouts[i]
        fields = [(r.fields[j].name.decode(), r.fields[j].c_name.decode(), chr(r.fields[j].kind), r.fields[j].offset, r.fields[j].size)
                  for j in range(r.n_fields)]
        out.append((r.domain_name.decode(), r.struct_name.decode(), r.domain, r.size, fields))
    return out


def kinds():
    """Return [(name, type, subtype, lane, severity), ...]; the place in the list is the dense number of the kind."""
    cdef int i
    return [(tf_kind_table[i].name.decode(), tf_kind_table[i].type, tf_kind_table[i].subtype, tf_kind_table[i].lane,
             tf_kind_table[i].severity) for i in range(TF_KIND_COUNT)]


def syscalls():
    """Return [(name, number on x86-64, number on arm64), ...]; -1 = that machine has no such call."""
    return [(tf_sysno_table[i].name.decode(), tf_sysno_table[i].x86_64, tf_sysno_table[i].arm64) for i in range(tf_sysno_count)]


def check_btf(const unsigned char[::1] btf, required=()):
    """Compare the records that a BTF blob describes with the C table; return "" or the sentence that names the first difference."""
    cdef char msg[256]
    cdef const char *names[17]
    cdef int rc
    keep = [name.encode() for name in required][:16]
    for i, name in enumerate(keep):
        names[i] = name
    names[len(keep)] = NULL
    msg[0] = 0
    rc = tf_layout_check(&btf[0] if btf.shape[0] else NULL, btf.shape[0], names, msg, sizeof(msg))
    if rc == 0:
        return ""
    return msg.decode("utf-8", "replace") or f"BTF cannot be read (errno {-rc})"
