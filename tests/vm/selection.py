# SPDX-License-Identifier: Apache-2.0
"""Which live tests run in a machine: all (`make test-vm`), or the short selection of CI, which has every domain and every variant once.

Both are everything but what is named here with its reason: a new module or test runs in the machine unless somebody says why not.
"""
from __future__ import annotations

from pathlib import Path

from kernels import ROOT

# not in the machine at all
ELSEWHERE = {
    "tests/bpf/test_load_time.py": "its budgets are of a real machine",
    "tests/bpf/test_oracle.py": "bpftrace is not in the machine",
}
# too long for CI: modules and tests whose kernel side another one in the selection has too
LONG = {
    "tests/bpf/test_config_domains.py": "switches, a collector each",
    "tests/bpf/test_race.py": "thousands of calls",
    "tests/bpf/test_filter.py": "a collector for each setting of the gate, which is the same everywhere",
    "tests/bpf/test_comms.py": "a collector for each pattern; the matcher is the same everywhere",
    "tests/bpf/test_config_keys.py": "switches; what they switch is in the domains' own modules",
    "tests/bpf/test_tamper.py": "looks at maps, which are the same everywhere",
    "tests/bpf/test_sampling.py": "settings of the gate's sampler, which test_causes.py has",
    "tests/bpf/test_adaptive.py": "the controller runs in user space, and wants a machine that keeps up",
    "tests/bpf/test_estimate_live.py": "long loads; the draw is that of test_causes.py",
    "tests/bpf/test_secrets.py": "five hundred processes, judged in user space",
    "tests/bpf/test_throttle.py::test_a_flood_of_one_cgroup_does_not_hide_another": "a flood",
    "tests/bpf/test_throttle.py::test_cgroups_without_a_place_are_told_together": "a long load",
    "tests/bpf/test_pushdown_live.py::test_the_kernel_filters_what_is_certainly_false": "hundreds of filters; the look-ups are the same everywhere",
    **{f"tests/bpf/test_pushdown_live.py::test_connections_are_judged_where_they_are_made[{name}]": "comm and dest_ip are beside it"
       for name in ("uid", "dest_port", "source_port", "source_ip")},
    **{f"tests/bpf/test_pushdown_live.py::test_files_are_judged_by_their_path[{asked}]": "others are beside it, the same look-ups" for asked in (
        'path startswith "{there}/x"-False', 'path == "{there}/one"-True', 'path == "{there}/on"-False', 'path != "{there}/one"-False',
        'path in ("/nowhere", "{there}/one") and pid > 0-True', 'path startswith ("/nowhere/", "{there}") or pid == 1-True',
        'path startswith "/nowhere" or uid == 4294967294-False')},
    **{f"tests/bpf/test_keyed.py::{test}": "long loads; real connections are beside it" for test in (
        "test_a_process_is_kept_whole_or_not_at_all", "test_all_kinds_of_a_process_share_its_fate",
        "test_a_connection_is_kept_whole_or_not_at_all", "test_a_change_of_rate_leaves_the_fate_of_those_who_were_there",
        "test_keys_older_than_what_is_remembered_are_told", "test_who_begins_later_is_judged_by_the_rate_of_then")},
    "tests/bpf/test_file.py::test_hooks_of_the_kernels_own_paths_are_used_or_given_up": "test_hooks.py",
    "tests/bpf/test_paths.py::test_a_path_rewritten_during_the_call_is_never_taken_for_true": "thousands of calls",
    **{f"tests/bpf/test_paths.py::test_the_nearest_configured_directory_decides[chosen{n}-wanted{n}]": "other settings, the same code"
       for n in (0, 1, 2, 3, 5, 6, 7)},
    **{f"tests/bpf/test_runc.py::{test}": "another runtime is beside it" for test in (
        "test_start_and_stop_once_each[short-6]", "test_namespaces_and_group_are_those_of_proc[runc]", "test_its_control_groups[runc]")},
    **{f"tests/bpf/{test}": "another one is beside it, the same programs" for test in (
        "test_container.py::test_the_hosts_root_is_known_however_deep[1]", "test_process.py::test_by_cgroup_and_by_pid_the_same_is_found[pid]",
        "test_signal.py::test_signal_between_processes[tgkill]", "test_signal.py::test_signal_between_processes[sigqueue]",
        "test_udp.py::test_processes_that_share_a_socket[127.0.0.1]", "test_udp.py::test_a_connected_socket_that_sends_elsewhere[127.0.0.1]")},
    "tests/bpf/test_paths.py::test_without_a_gate_the_pump_decides_the_same": "judged in user space",
    "tests/bpf/test_runc.py::test_ordinary_work_is_no_escape": "a container each",
    "tests/bpf/test_runc.py::test_a_container_without_rights_tries": "a container each",
    "tests/bpf/test_runc.py::test_into_the_hosts_mount_namespace": "a container each",
    **{f"tests/bpf/test_attacks.py::{test}": "tables and sockets, the same on every kernel" for test in (
        "test_first_processes_do_not_push_each_other_out", "test_a_storm_of_threads_without_memory_is_counted",
        "test_what_a_former_client_accepts_comes_in", "test_dns_queries_in_the_same_memory")},
    "tests/bpf/test_gate.py": "long loads; test_causes.py has each refusal of the gate",
    "tests/bpf/test_ledger.py": "long loads, and no kernel side of its own",
    "tests/bpf/test_dns.py::test_hostile_answers_come_out_as_the_slow_decoder_says": "the decoder runs in user space",
    "tests/bpf/test_dns.py::test_a_full_table_is_counted_and_queries_are_still_recorded": "a hash table's limit, the same on every kernel",
    "tests/bpf/test_file.py::test_paths_that_cannot_be_read_are_counted": "test_causes.py",
    "tests/bpf/test_file_io.py::test_a_full_table_is_counted": "test_causes.py",
    "tests/bpf/test_file_io.py::test_a_very_high_descriptor_is_not_added_up": "a limit of ours",
    "tests/bpf/test_file_io.py::test_single_operations_and_their_content[0]": "the other one is beside it",
    **{f"tests/bpf/test_file_io.py::test_a_row_is_sent_when_the_descriptor_goes[{how}]": "the others are beside it" for how in ("dup", "range")},
    "tests/bpf/test_identity.py::test_many_are_all_there": "many processes",
    "tests/bpf/test_identity.py::test_one_alone": "switches",
    "tests/bpf/test_memory_events.py::test_reclaim": "the machine's memory runs short, and who frees it is the kernel's choice",
    "tests/bpf/test_memory_events.py::test_default_programs_are_rare_hooks_only": "switches",
    "tests/bpf/test_memory_events.py::test_pressure_threshold_that_the_kernel_refuses_is_explained": "no program runs",
    "tests/bpf/test_memory_events_mappings.py::test_the_entry_is_hooked_for_brk_only": "switches",
    "tests/bpf/test_container.py::test_a_domain_of_its_own_attaches_nothing_else": "switches",
    "tests/bpf/test_syscall.py::test_a_path_rewritten_during_the_call_stays_a_claim": "thousands of calls",
    "tests/bpf/test_syscall.py::test_the_default_attaches_neither_end_of_system_calls": "switches",
    "tests/bpf/test_usage.py::test_totals_never_fall_while_threads_come_and_go": "a long load",
    "tests/bpf/test_usage.py::test_an_idle_collector_stays_idle": "waits",
    "tests/bpf/test_network_events.py::test_an_address_rewritten_during_connect_never_changes_the_record": "thousands of calls",
    "tests/bpf/test_network_events.py::test_what_is_switched_off_attaches_nothing": "switches",
    "tests/bpf/test_network_events.py::test_binds_of_other_protocols_are_left_out": "switches",
    **{f"tests/bpf/test_network_events.py::test_with_all_events_on_nothing_else_appears[{which}]": "the other family or another call is beside it"
       for which in ("life-more0-counts0-::1", "refused-more1-counts1-127.0.0.1", "refused-more1-counts1-::1", "udp_talk-more2-counts2-127.0.0.1",
                     "udp_refused-more3-counts3-127.0.0.1")},
    **{f"tests/bpf/test_network_events.py::{test}[{host}]": "the other family is the same program" for test, host in (
        ("test_every_state_of_a_connection", "::1"), ("test_lost_segments_are_drops_and_retransmissions", "::1"),
        ("test_owners_of_lost_segments", "::1"), ("test_reset_of_a_connection", "127.0.0.1"), ("test_connection_to_a_closed_port", "::1"),
        ("test_round_trips_one_sample_a_second", "::1"), ("test_udp_flows", "False-127.0.0.1"), ("test_udp_flows", "False-::ffff:127.0.0.1"),
        ("test_udp_flows", "True-::1"), ("test_udp_flows", "True-::ffff:127.0.0.1"),
        ("test_single_udp_operations", "127.0.0.1"), ("test_udp_to_a_closed_port", "127.0.0.1"))},
    **{f"tests/bpf/test_dns.py::test_queries_and_answers[{which}]": "another one is beside it" for which in ("False-::1", "True-127.0.0.1")},
}


def modules(short: bool) -> list[str]:
    """Modules to run, by path."""
    there = ["tests/test_kernel_support.py", *(str(path.relative_to(ROOT)) for path in sorted(Path(ROOT, "tests/bpf").glob("test_*.py")))]
    return [name for name in there if name not in ELSEWHERE and not (short and name in LONG)]


def arguments(short: bool) -> list[str]:
    """Arguments for pytest."""
    left_out = [word for node in LONG if "::" in node for word in ("--deselect", node)] if short else []
    return ["-m", "not slow", *left_out, *modules(short)]


def silent(selected: list[str], passed: list[str]) -> list[str]:
    """Return the selected modules of which no test passed: not run, or wholly skipped."""
    spoke = {test.partition("::")[0].replace(".", "/") + ".py" for test in passed}
    return [name for name in selected if name not in spoke]
