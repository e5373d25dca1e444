# SPDX-License-Identifier: Apache-2.0
"""The kernel as a source: BPF objects, rules, the load generator. Relies on tf_object.h (the only user of libbpf)."""
import os

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from tapio_fast._core._engine cimport Source
from tapio_fast._core._globs cimport Globs
from tapio_fast._core._log cimport Log
from tapio_fast._core.c_engine cimport tf_source
from tapio_fast._core.c_object cimport (
    tf_map_info, tf_object, tf_object_attach, tf_object_close, tf_object_forget, tf_object_is_old,
    tf_object_maps, tf_object_open, tf_object_opts, tf_object_program_stats, tf_object_programs, tf_object_reset_rings, tf_object_set_paths,
    tf_object_set_rate, tf_object_set_rules, tf_object_set_throttle, tf_object_source, tf_object_synth, tf_object_tampered, tf_probe,
    tf_boot_ns, tf_path_entry, tf_probe_run, tf_program_info, tf_rules_spec, tf_set_entry, tf_synth_args, tf_trie_entry, tf_weight_bits)
from tapio_fast._core.c_pump cimport tf_log_push

from tapio_fast.errors import ClosedError, ConfigError, FilterError, LayoutError, ProgramLoadError, error_for


STATES = ("attached", "not_wanted", "missing_hook", "load_failed", "attach_failed", "loaded")
HOOKS = ("tracepoint", "fentry", "lsm", "kprobe")       # bits of tf_family


cdef int raise_for(int rc, str doing, bytes msg) except -1:
    text = msg.decode("utf-8", "backslashreplace")
    if rc == -74:               # EBADMSG: the object's records are not ours
        raise LayoutError(text or doing)
    if text and rc not in (-1, -13, -95):
        raise ProgramLoadError(text)
    raise error_for(-rc, doing, cause=text or None)


cdef void set_mask(uint64_t *mask, kinds):
    memset(mask, 0, 32)
    for kind in kinds:
        mask[<int>kind // 64] |= <uint64_t>1 << (<int>kind % 64)


cdef class KernelObject:
    """Loaded BPF objects. `source()` hands the rings to a pump; `gone()` says that the pump has closed them."""
    cdef tf_object *c
    cdef Log log
    cdef bint handed            # a pump owns the source, hence the object

    def __init__(self, Log log, *, uint64_t bulk_bytes, kinds, bint synth=False, bint follow=False, syscalls=(), uint32_t args_max=0,
                 uint32_t map_entries=0, uint32_t netns=0, uint32_t options=0, uint32_t content_max=0, uint64_t threshold_bytes=0,
                 hooks=(), by_process=(), by_connection=(), Globs globs=None, uint64_t usage_ns=0, uint32_t pressure_ms=0, uint32_t pressure_window_ms=0,
                 bytes pressure_path=b"", bint old=False, bint plain=False, bint trace_self=False, bint snapshot=True, bint profile=False):
        cdef tf_object_opts o
        cdef char msg[1024]
        cdef int rc
        memset(&o, 0, sizeof(o))
        o.bulk_bytes = bulk_bytes
        o.synth = synth
        o.follow = follow
        set_mask(o.kind_mask, kinds)
        for nr in syscalls:
            o.syscalls[<int>nr // 64] |= <uint64_t>1 << (<int>nr % 64)
        o.options = options
        set_mask(o.by_process, by_process)
        set_mask(o.by_connection, by_connection)
        o.content_max = content_max
        o.threshold_bytes = threshold_bytes
        o.globs = globs.c if globs is not None else NULL
        o.usage_ns = usage_ns
        o.pressure_us = pressure_ms * 1000
        o.pressure_window_us = pressure_window_ms * 1000
        if pressure_path:
            o.pressure_path = pressure_path
        for family in hooks:
            o.families |= <uint32_t>1 << HOOKS.index(family)
        o.args_max = args_max
        o.map_entries = map_entries
        o.netns = netns
        o.old = old
        o.plain = plain
        o.trace_self = trace_self
        o.no_snapshot = not snapshot
        o.profile = profile
        o.log = tf_log_push
        o.log_ctx = log.c
        self.log = log
        msg[0] = 0
        with nogil:
            rc = tf_object_open(&o, &self.c, msg, sizeof(msg))
        if rc < 0:
            self.c = NULL
            raise_for(rc, "load BPF programs", msg)

    def __dealloc__(self):
        if self.c and not self.handed:
            tf_object_close(self.c)

    cdef tf_object *object(self) except NULL:
        if self.c is NULL:
            raise ClosedError("the BPF programs were closed with their collector")
        return self.c

    def attach(self):
        """Attach what was loaded."""
        cdef char msg[1024]
        cdef int rc
        cdef tf_object *o = self.object()
        msg[0] = 0
        with nogil:
            rc = tf_object_attach(o, msg, sizeof(msg))
        if rc < 0:
            raise_for(rc, "attach BPF programs", msg)

    def source(self):
        """Return the source for a pump. Call once."""
        cdef Source s = Source.__new__(Source)
        s.c = tf_object_source(self.object())
        s.keep = self
        self.handed = True
        return s

    def judges_ids_only(self):
        """Whether the gate leaves all but ids to user space, whatever it was loaded for: the programs for kernels before 5.12 do."""
        return tf_object_is_old(self.object())

    def gone(self):
        """The pump has closed the object."""
        self.c = NULL

    def programs(self, bint stats=False):
        """Return a list of dicts, one per program, with its state and reason."""
        cdef tf_object *o = self.object()
        cdef size_t n, i
        cdef tf_program_info *p
        if stats:
            tf_object_program_stats(o)
        n = tf_object_programs(o, NULL, 0)
        p = <tf_program_info *>calloc(n + 1, sizeof(tf_program_info))
        if p is NULL:
            raise MemoryError()
        try:
            tf_object_programs(o, p, n)
            return [{"name": p[i].name.decode(), "hook": p[i].hook.decode(), "object": p[i].object.decode(),
                     "state": STATES[p[i].state], "errno": -p[i].error, "reason": p[i].reason.decode("utf-8", "backslashreplace"),
                     "more": bool(p[i].more), "replaced": bool(p[i].replaced),
                     "cost": p[i].cost.decode("ascii"), "kinds": [k for k in range(256) if p[i].kinds[k // 64] >> (k % 64) & 1],
                     "id": p[i].id, "insns": p[i].insns, "verified": p[i].verified, "run_ns": p[i].run_ns, "run_count": p[i].run_count,
                     "recursion_misses": p[i].recursion_misses} for i in range(n)]
        finally:
            free(p)

    def maps(self):
        """Return a list of dicts, one per map."""
        cdef tf_object *o = self.object()
        cdef size_t n = tf_object_maps(o, NULL, 0), i
        cdef tf_map_info *m = <tf_map_info *>calloc(n + 1, sizeof(tf_map_info))
        if m is NULL:
            raise MemoryError()
        try:
            n = min(n, tf_object_maps(o, m, n))
            return [{"name": m[i].name.decode(), "id": m[i].id, "type": m[i].type, "max_entries": m[i].max_entries,
                     "bytes": m[i].bytes} for i in range(n)]
        finally:
            free(m)

    def set_rules(self, plan):
        """Fill the next rule slot by a plan (filtering._push.Plan) and switch to it; return the generation."""
        cdef tf_object *o = self.object()
        cdef tf_rules_spec s
        cdef int64_t rc
        cdef size_t i
        cdef const unsigned char[::1] raw
        memset(&s, 0, sizeof(s))
        for kind, mask in plan.clauses.items():
            s.rules.clauses[<uint32_t>kind] = mask
        for i, mask in enumerate(plan.tables.others):
            s.rules.others[i] = mask
        s.rules.flags, s.rules.tries = plan.flags, plan.tables.tries
        s.rules.follow, s.rules.not_follow = plan.follow, plan.not_follow
        roots = list(plan.roots) if plan.roots is not None else []
        s.n_set, s.n_trie, s.n_paths, s.n_follow = len(plan.tables.entries), len(plan.tables.prefixes), len(plan.tables.paths), len(roots)
        cdef tf_set_entry *entries = <tf_set_entry *>calloc(s.n_set + 1, sizeof(tf_set_entry))
        cdef tf_trie_entry *prefixes = <tf_trie_entry *>calloc(s.n_trie + 1, sizeof(tf_trie_entry))
        cdef tf_path_entry *paths = <tf_path_entry *>calloc(s.n_paths + 1, sizeof(tf_path_entry))
        cdef uint32_t *pids = <uint32_t *>calloc(len(roots) + 1, sizeof(uint32_t))
        try:
            if entries is NULL or prefixes is NULL or paths is NULL or pids is NULL:
                raise MemoryError()
            for i, (dim, value, mask) in enumerate(plan.tables.entries):
                entries[i].key.dim, entries[i].key.value, entries[i].clauses = dim, value, mask
            for i, (dim, bits, data, mask) in enumerate(plan.tables.prefixes):
                prefixes[i].key.bits, prefixes[i].key.dim, prefixes[i].clauses = bits, dim, mask
                raw = data
                memcpy(prefixes[i].key.data, &raw[0], 16)
            for i, (bits, data, mask) in enumerate(plan.tables.paths):
                paths[i].key.bits, paths[i].clauses = bits, mask
                raw = data
                memcpy(paths[i].key.text, &raw[0], min(<size_t>raw.shape[0], sizeof(paths[i].key.text)))
            for i, pid in enumerate(roots):
                pids[i] = pid
            s.set, s.trie, s.paths, s.follow = entries, prefixes, paths, pids
            with nogil:
                rc = tf_object_set_rules(o, &s)
        finally:
            free(entries)
            free(prefixes)
            free(paths)
            free(pids)
        if rc == -7:            # E2BIG
            raise FilterError(f"the filter has {s.n_set + s.n_trie + s.n_follow} ids, more than performance.map_entries_limit; raise that limit")
        if rc == -3:            # ESRCH
            raise FilterError(f"cannot follow {', '.join(map(str, roots))}: one of them is not a living process (ESRCH); "
                              "check the process ids")
        if rc < 0:
            raise error_for(-rc, "set rules")
        return rc

    def set_paths(self, uint32_t bits, path):
        """Put a directory or file into the kernel's sets (bits of enum tf_path_set); return 0 or -errno."""
        cdef bytes raw = os.fsencode(path)
        return tf_object_set_paths(self.object(), bits, raw)

    def set_rate(self, uint32_t kind, uint32_t threshold):
        """Sample a dense kind in the kernel: keep when hash < threshold (of 2^32). Once there is a pump, by the pump: it tells the stream."""
        cdef int rc = tf_object_set_rate(self.object(), kind, threshold, tf_weight_bits(threshold), tf_boot_ns())
        if rc < 0:
            raise error_for(-rc, "set sampling rate")

    def set_throttle(self, uint64_t rate, uint64_t burst):
        """Allow each cgroup `rate` records a second, `burst` at once; rate 0 = no throttle."""
        cdef int rc = tf_object_set_throttle(self.object(), rate, burst)
        if rc == -95:           # EOPNOTSUPP: the gate was loaded without one
            raise ConfigError("this collector has no throttle; start it with filtering.adaptive_sampling.enabled and .burst_protection",
                              key="filtering.adaptive_sampling.burst_protection")
        if rc < 0:
            raise error_for(-rc, "set throttle")

    def synth(self, uint32_t kind, uint32_t count, uint64_t first=0, uint32_t text_len=0, bint stop_on_full=False):
        """Run the generator once on this thread's CPU; return (tried, sent, cpu)."""
        cdef tf_object *o = self.object()
        cdef tf_synth_args a
        cdef int rc
        memset(&a, 0, sizeof(a))
        a.kind = kind
        a.count = count
        a.first = first
        a.text_len = text_len
        a.stop_on_full = stop_on_full
        with nogil:
            rc = tf_object_synth(o, &a)
        if rc < 0:
            raise error_for(-rc, "run the load generator")
        return a.tried, a.sent, a.cpu

    def tampered(self):
        """Return (how many things that decide about records are not as we left them, the first one as a sentence)."""
        cdef char msg[160]
        cdef tf_object *o = self.object()
        cdef uint32_t n = tf_object_tampered(o, msg, sizeof(msg))
        return n, msg.decode()

    def reset_rings(self):
        """Throw away what is in the bulk rings (a yardstick of the benchmarks)."""
        tf_object_reset_rings(self.object())

    def forget(self):
        """In a forked child: close descriptors, leave the parent's links alone."""
        if self.c:
            tf_object_forget(self.c)
            self.c = NULL


def probe():
    """Return {btf, ring_buffer, prog_load: 1, 0 or -errno, reason}."""
    cdef tf_probe p
    with nogil:
        tf_probe_run(&p)
    return {"btf": p.btf, "ring_buffer": p.ring_buffer, "prog_load": p.prog_load, "reason": p.reason.decode("utf-8", "backslashreplace")}


def probe_programs(kinds, options):
    """Load (not attach) every program for a moment and return its dict; raises what loading raises."""
    log = Log()
    k = KernelObject(log, bulk_bytes=1 << 19, kinds=kinds, options=options)
    return k.programs()
