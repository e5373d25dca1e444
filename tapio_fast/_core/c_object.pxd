# SPDX-License-Identifier: Apache-2.0
# The externs of tf_object.h, and what of tf_sample.h goes with them.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libcpp cimport bool as cbool
from tapio_fast._core._globs cimport tf_globs
from tapio_fast._core.c_engine cimport tf_source


cdef extern from "tf_sample.h" nogil:
    uint64_t tf_boot_ns()
    uint32_t tf_weight_bits(uint32_t threshold)

cdef extern from "tf_object.h" nogil:
    struct tf_object:
        pass
    struct tf_object_opts:
        uint64_t bulk_bytes
        cbool synth, follow
        uint64_t kind_mask[4]
        uint64_t syscalls[8]
        uint64_t by_process[4]
        uint64_t by_connection[4]
        uint32_t args_max, map_entries, netns, options, content_max, families
        uint64_t threshold_bytes, usage_ns
        const tf_globs *globs
        uint32_t pressure_us, pressure_window_us
        const char *pressure_path
        cbool old, plain, trace_self, no_snapshot, profile
        void (*log)(void *ctx, int level, const char *text) noexcept
        void *log_ctx
    struct tf_program_info:
        char name[64]
        char hook[64]
        char object[16]
        int state
        int error
        char cost[80]
        cbool more, replaced
        uint64_t kinds[4]
        char reason[512]
        uint32_t id, insns, verified
        uint64_t run_ns, run_count, recursion_misses
    struct tf_map_info:
        char name[20]
        uint32_t id, type, max_entries
        uint64_t bytes
    struct tf_set_key:
        uint64_t value
        uint32_t dim
        uint32_t _pad0
    struct tf_trie_key:
        uint32_t bits, dim
        uint8_t data[16]
    struct tf_prefix_key:
        uint32_t bits
        char text[248]
    struct tf_path_entry:
        tf_prefix_key key
        uint32_t clauses
    struct tf_set_entry:
        tf_set_key key
        uint32_t clauses
    struct tf_trie_entry:
        tf_trie_key key
        uint32_t clauses
    struct tf_rule_slot:
        uint16_t clauses[256]
        uint16_t others[16]
        uint32_t flags, tries, follow, not_follow
    struct tf_rules_spec:
        tf_rule_slot rules
        const tf_set_entry *set
        size_t n_set
        const tf_trie_entry *trie
        size_t n_trie
        const tf_path_entry *paths
        size_t n_paths
        const uint32_t *follow
        size_t n_follow
    struct tf_synth_args:
        uint32_t count, kind, text_len, stop_on_full
        uint64_t first, tried, sent
        uint32_t cpu
    struct tf_probe:
        int btf, ring_buffer, prog_load
        char reason[256]
    int tf_object_open(const tf_object_opts *o, tf_object **out, char *msg, size_t msg_size)
    int tf_object_attach(tf_object *o, char *msg, size_t msg_size)
    tf_source *tf_object_source(tf_object *o)
    size_t tf_object_programs(tf_object *o, tf_program_info *out, size_t cap)
    size_t tf_object_maps(tf_object *o, tf_map_info *out, size_t cap)
    void tf_object_program_stats(tf_object *o)
    int64_t tf_object_set_rules(tf_object *o, const tf_rules_spec *s)
    bint tf_object_is_old(const tf_object *o)
    int tf_object_set_rate(tf_object *o, uint32_t kind, uint32_t threshold, uint32_t weight_bits, uint64_t since_ns)
    int tf_object_set_throttle(tf_object *o, uint64_t rate, uint64_t burst)
    int tf_object_set_paths(tf_object *o, uint32_t bits, const char *path)
    uint32_t tf_object_tampered(tf_object *o, char *msg, size_t msg_size)
    int tf_object_synth(tf_object *o, tf_synth_args *args)
    void tf_object_reset_rings(tf_object *o)
    void tf_object_forget(tf_object *o)
    void tf_object_close(tf_object *o)
    void tf_probe_run(tf_probe *out)
