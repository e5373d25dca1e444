# SPDX-License-Identifier: Apache-2.0
# The externs of tf_filter.h and tf_facts.h.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libcpp cimport bool as cbool
from tapio_fast._core.c_engine cimport tf_batch, tf_rows


cdef extern from "tf_facts.h" nogil:
    struct tf_facts:
        pass
    struct tf_facts_opts:
        uint32_t processes, cgroups
        size_t text_bytes
    struct tf_facts_stats:
        uint64_t processes, cgroups, text_bytes, evicted_processes, evicted_cgroups, evicted_versions, refused
    int tf_facts_open(const tf_facts_opts *o, tf_facts **out)
    void tf_facts_close(tf_facts *f)
    void tf_facts_learn(tf_facts *f, const tf_batch *b)
    void c_facts_stats "tf_facts_stats"(const tf_facts *f, tf_facts_stats *out)


cdef extern from "tf_filter.h" nogil:
    struct tf_filter:
        pass
    struct tf_filter_scratch:
        pass
    struct tf_filter_error:
        uint32_t test, value
        size_t at
        char msg[192]
    int tf_filter_compile(const void *program, size_t len, tf_filter **out, tf_filter_error *err)
    tf_filter *tf_filter_ref(tf_filter *f)
    void tf_filter_unref(tf_filter *f)
    uint32_t tf_filter_rules(const tf_filter *f)
    cbool tf_filter_needs_facts(const tf_filter *f)
    size_t tf_filter_bytes(const tf_filter *f)
    int tf_filter_fate(const tf_filter *f, uint8_t domain)
    int tf_filter_scratch_open(tf_filter *f, tf_filter_scratch **out)
    void tf_filter_scratch_close(tf_filter_scratch *s)
    int tf_filter_run(const tf_filter *f, tf_filter_scratch *s, const tf_facts *facts, const tf_rows *r, uint8_t domain,
                      uint64_t *bits, uint64_t *rule_hits)
    int tf_filter_run_rules(const tf_filter *f, tf_filter_scratch *s, const tf_facts *facts, const tf_rows *r, uint8_t domain,
                            uint64_t *bits, uint64_t *rule_bits)
