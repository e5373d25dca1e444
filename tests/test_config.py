# SPDX-License-Identifier: Apache-2.0
"""config.py: every key with its name, default, a value it takes and one it refuses; presets, files, environment, precedence."""
from __future__ import annotations

import dataclasses
import pickle
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from support import ROOT
from tapio_fast._config_sections import SENSITIVE_PATHS
from tapio_fast._config_sources import ENV_NOT_SETTINGS, keys_of
from tapio_fast.config import PRESETS, Config, load, not_active
from tapio_fast.errors import ConfigError

ALL = ("TCP", "UDP", "ICMP")
# key, default, a valid other value (and its normal form, where that differs), an invalid one
KEYS: list[tuple[Any, ...]] = [
    ("name", "tapio", "node-7", "a\nb"),
    ("enabled", True, False, 1),
    ("event_buffer_size", 10000, 50, 0),
    ("programs.network.enabled", True, False, "yes"),
    ("programs.network.events", (), (["dns", "bind"], ("dns", "bind")), ["http"]),
    ("programs.network.track_connections", True, False, None),
    ("programs.network.monitor_dns", True, False, 0),
    ("programs.network.capture_packets", False, True, "true"),
    ("programs.network.snaplen", 256, ("1KiB", 1024), 70000),
    ("programs.network.protocols", ALL, (["tcp"], ("TCP",)), ["SCTP"]),
    ("programs.network.aggregate", True, False, 1),
    ("programs.network.sampling_rate", 1.0, 0.5, 0),
    ("programs.network.sampling_key", "record", "connection", "socket"),
    ("programs.process.enabled", True, False, "on"),
    ("programs.process.events", (), (["all"], ("all",)), ["run"]),
    ("programs.process.track_exec", True, False, 2),
    ("programs.process.track_fork_exit", True, False, []),
    ("programs.process.monitor_syscalls", (), (["openat", "59"], ("openat", "59")), ["open at"]),
    ("programs.process.syscall_durations", False, True, 1),
    ("programs.process.track_usage", False, True, "1"),
    ("programs.process.usage_interval", 1.0, ("50ms", 0.05), 0.01),
    ("programs.process.exclude_comms", (), (["systemd-*"], ("systemd-*",)), "systemd-*"),
    ("programs.process.args_max_bytes", 4096, 0, 4097),
    ("programs.process.sampling_rate", 1.0, 1e-3, 1.5),
    ("programs.process.sampling_key", "record", "process", "connection"),
    ("programs.file.enabled", False, True, 1.0),
    ("programs.file.events", (), (["open"], ("open",)), ["opened"]),
    ("programs.file.monitor_paths", (), (["/etc"], ("/etc",)), ["etc"]),
    ("programs.file.exclude_paths", ("/proc", "/sys"), ([], ()), [""]),
    ("programs.file.capture_content", False, True, "x"),
    ("programs.file.aggregate", True, False, 0),
    ("programs.file.content_max_bytes", 256, 1, 0),
    ("programs.file.sampling_rate", 1.0, 0.25, -0.1),
    ("programs.file.sampling_key", "record", "process", 1),
    ("programs.memory.enabled", True, False, "off"),
    ("programs.memory.events", (), (["limit"], ("limit",)), "brk"),
    ("programs.memory.track_oom", True, False, 0),
    ("programs.memory.monitor_mmap", False, True, 1),
    ("programs.memory.track_page_faults", False, True, 1),
    ("programs.memory.track_allocations", False, True, 1),
    ("programs.memory.threshold_mb", 1024, ("2GB", 2048), "1KB"),
    ("programs.memory.pressure_ms", 150, 20, 0),
    ("programs.memory.pressure_window_ms", 2000, 1000, 400),
    ("programs.memory.pressure_path", "/proc/pressure/memory", "/a/memory.pressure", "/a/cpu.pressure"),
    ("programs.security.enabled", False, True, "1"),
    ("programs.security.events", (), (["bpf"], ("bpf",)), ["hack"]),
    ("programs.security.sensitive_paths", SENSITIVE_PATHS, (["/srv/keys"], ("/srv/keys",)), ["keys"]),
    ("programs.container.enabled", False, True, "1"),
    ("programs.container.events", (), (["start"], ("start",)), ["begin"]),
    ("dual_path.enabled", False, True, "1"),
    ("dual_path.raw_storage_enabled", True, False, "0"),
    ("dual_path.raw_storage_path", "/var/lib/tapio/ebpf/raw", "here", ""),
    ("dual_path.raw_retention_hours", 24, 0.5, 0),
    ("dual_path.raw_max_mb", 0, 1024, -1),
    ("dual_path.raw_keep_free_mb", 0, 512, "much"),
    ("dual_path.semantic_enabled", True, False, "0"),
    ("dual_path.correlation_enabled", True, False, "0"),
    ("dual_path.importance_threshold", 0.7, 0.0, 1.01),
    ("dual_path.redact", True, False, "0"),
    ("dual_path.redact_patterns", (), (["id-[0-9]+"], ("id-[0-9]+",)), ["id-[0-9+"]),
    ("performance.ring_buffer_size_mb", 16, ("32MB", 32), 2049),
    ("performance.event_rate_limit", 10000, 5000, 0),
    ("performance.burst_size", 1000, 1, 1.5),
    ("performance.cpu_limit", 2.0, 1.5, 0),
    ("performance.memory_limit_mb", 512, 256, True),
    ("performance.sampling_interval", 0.1, ("250ms", 0.25), "soon"),
    ("performance.adaptive_sampling", False, True, "yes"),
    ("performance.map_entries_limit", 10000, 64, 63),
    ("performance.overflow_policy", "auto", "drop_newest", "drop"),
    ("performance.batch_pool_mb", 64, 32, 0),
    ("performance.durability", "fast", "fast", "safe"),
    ("filtering.min_severity", "debug", ("medium", "warning"), "loud"),
    ("filtering.namespace_filter", (), (["prod"], ("prod",)), "prod"),
    ("filtering.container_filter", (), (["app-*"], ("app-*",)), [1]),
    ("filtering.process_filter", (), (["nginx"], ("nginx",)), [""]),
    ("filtering.rules", (), ([{"type": "network"}], ({"type": "network"},)), [{"typ": "network"}]),
    ("filtering.adaptive_sampling.enabled", False, True, 1),
    ("filtering.adaptive_sampling.base_rate", 0.1, 0.01, 0.0),
    ("filtering.adaptive_sampling.importance_boost", 10.0, 100, 0.5),
    ("filtering.adaptive_sampling.burst_protection", True, False, 1),
    ("filtering.adaptive_sampling.burst_threshold", 10000, 1, 0),
    ("integration.tapio_server", "", "tapio-server:9090", "tapio-server"),
    ("integration.stream_batch_size", 100, 1, 0),
    ("integration.stream_timeout", 1.0, ("2s", 2.0), 0),
    ("integration.enable_tls", True, False, "no"),
    ("integration.ca_file", "", "ca.pem", 3),
    ("integration.cert_file", "", None, 3),
    ("integration.key_file", "", None, 3),
    ("integration.server_name", "", "tapio", "a\x1bb"),
    ("debug.enabled", False, True, 1),
    ("debug.log_level", "info", "trace", "chatty"),
    ("debug.dump_programs", False, True, 1),
    ("debug.dump_maps", False, True, 1),
    ("debug.trace_events", False, True, 1),
    ("debug.profile_enabled", False, True, 1),
    ("outputs", (), ([{"type": "nats", "url": "x"}], ({"type": "nats", "url": "x"},)), [{"url": "x"}]),
    ("metrics.enabled", False, True, 1),
    ("metrics.listen", "127.0.0.1:9478", ":9000", "9000"),
    ("log.format", "text", "json", "xml"),
    ("log.file", "", "/var/log/tapio", 1),
]


def nested(key: str, value: Any) -> dict[str, Any]:
    *path, name = key.split(".")
    out: dict[str, Any] = {name: value}
    for part in reversed(path):
        out = {part: out}
    return out


def value_at(config: Config, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def test_the_table_above_has_every_key() -> None:
    assert [row[0] for row in KEYS if row[0] in keys_of(Config)] == [row[0] for row in KEYS]
    assert {row[0] for row in KEYS} == set(keys_of(Config))


@pytest.mark.parametrize(("key", "default", "valid", "invalid"), KEYS, ids=[row[0] for row in KEYS])
def test_key(key: str, default: Any, valid: Any, invalid: Any) -> None:
    assert value_at(Config.default(), key) == default
    if valid is not None:       # cert_file and key_file only come as a pair: tested below
        given, normal = valid if isinstance(valid, tuple) and len(valid) == 2 else (valid, valid)
        assert value_at(Config.default().replace(**nested(key, given)), key) == normal
    with pytest.raises(ConfigError) as caught:
        Config.default().replace(**nested(key, invalid))
    assert caught.value.key == key
    assert key in str(caught.value) and "allowed: " in str(caught.value)


@pytest.mark.parametrize(("key", "value", "says"), [
    ("programs.process.events", ["exce"], 'did you mean "exec"?'), ("programs.network.protocols", ["TPC"], 'did you mean "TCP"?'),
    ("performance.overflow_policy", "blok", 'did you mean "block"?'), ("filtering.min_severity", "xyz", "one of the known words;"),
    ("programs.file.sampling_rate", 0, "must be above 0;"), ("performance.ring_buffer_size_mb", 0, "the least is 1 MiB"),
])
def test_a_wrong_value_is_told_what_was_meant(key: str, value: Any, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.default().replace(**nested(key, value))
    assert says in str(caught.value)


def test_replace_leaves_the_original_alone_and_nests() -> None:
    before = Config.default()
    after = before.replace(performance={"ring_buffer_size_mb": 32}, programs={"process": {"track_exec": False}})
    assert (before.performance.ring_buffer_size_mb, after.performance.ring_buffer_size_mb) == (16, 32)
    assert not after.programs.process.track_exec and after.programs.process.track_fork_exit
    assert after.replace(performance=before.performance).performance == before.performance


def test_everything_is_frozen() -> None:
    config = Config.default()
    for owner, name in ((config, "name"), (config.performance, "burst_size"), (config.programs.file, "enabled")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(owner, name, 1)


def test_sections_check_themselves_and_survive_pickle() -> None:
    with pytest.raises(ConfigError, match="performance.burst_size"):
        type(Config.default().performance)(burst_size=0)
    with pytest.raises(ConfigError, match="is not a section object"):
        Config(performance={"burst_size": 1})  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(Config.security())) == Config.security()


@pytest.mark.parametrize(("change", "near"), [
    ({"performance": {"ring_bufer_size_mb": 1}}, "performance.ring_buffer_size_mb"),
    ({"ring_buffer_size_mb": 1}, "performance.ring_buffer_size_mb"),
    ({"performence": {}}, "performance"), ({"programs": {"netwrk": {}}}, "programs.network"),
])
def test_unknown_keys_are_refused_with_the_nearest_known_one(change: dict[str, Any], near: str) -> None:
    with pytest.raises(ConfigError, match=rf"did you mean {re.escape(near)}\?"):
        Config.default().replace(**change)


# section, event, keys that switch it off; what is said of them: key, value, step
SWITCHED_OFF = [
    *(("memory", name, {}, "monitor_mmap", "false", "set programs.memory.monitor_mmap = true, or leave it out of events")
      for name in ("mmap", "munmap", "mprotect", "brk")),
    ("memory", "page_fault", {}, "track_page_faults", "false", "set programs.memory.track_page_faults = true"),
    ("memory", "oom_kill", {"track_oom": False}, "track_oom", "false", "set programs.memory.track_oom = true"),
    ("process", "exec", {"track_exec": False}, "track_exec", "false", "set programs.process.track_exec = true"),
    ("process", "exit", {"track_fork_exit": False}, "track_fork_exit", "false", "set programs.process.track_fork_exit = true"),
    ("network", "rtt", {"track_connections": False}, "track_connections", "false", "set programs.network.track_connections = true"),
    ("network", "dns", {"monitor_dns": False}, "monitor_dns", "false", "set programs.network.monitor_dns = true"),
    ("network", "connect", {"protocols": ["UDP"]}, "protocols", '["UDP"]', 'add "TCP" to programs.network.protocols'),
    ("network", "flow", {"protocols": ["TCP"]}, "protocols", '["TCP"]', 'add "UDP" to programs.network.protocols'),
    ("network", "drop", {"protocols": []}, "protocols", "[]", "name a protocol in programs.network.protocols"),
    ("security", "sensitive_file", {"sensitive_paths": []}, "sensitive_paths", "[]", "name a path in programs.security.sensitive_paths"),
]


@pytest.mark.parametrize(("change", "key", "says"), [
    ({"performance": {"ring_buffer_size_mb": 1024}}, "performance.memory_limit_mb", "batch_pool_mb"),
    ({"performance": {"memory_limit_mb": 64}}, "performance.memory_limit_mb", "rings"),
    ({"performance": {"durability": "ring"}}, "performance.durability", "nothing is stored"),
    ({"programs": {"file": {"monitor_paths": ["/sys"]}}}, "programs.file.monitor_paths", "exclude_paths"),
    ({"integration": {"cert_file": "c.pem"}}, "integration.cert_file", "key_file"),
    ({"integration": {"key_file": "k.pem"}}, "integration.key_file", "cert_file"),
    ({"integration": {"enable_tls": False, "ca_file": "ca.pem"}}, "integration.enable_tls", "ignored"),
    ({"performance": 3}, "performance", "[performance]"),
    ({"programs": {"memory": {"pressure_ms": 2001}}}, "programs.memory.pressure_ms", "programs.memory.pressure_window_ms (2000)"),
    *(({"programs": {section: {"enabled": True, "events": ["privilege_escalation", name] if section == "security" else [name], **off}}},
       f"programs.{section}.events", f"asks for {name}, which programs.{section}.{key} = {value} switches off; {step}")
      for section, name, off, key, value, step in SWITCHED_OFF),
])
def test_contradictions_are_refused(change: dict[str, Any], key: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.default().replace(**change)
    assert caught.value.key == key and says in str(caught.value)


def test_pairs_that_fit_are_taken() -> None:
    config = Config.default().replace(integration={"cert_file": "c", "key_file": "k"}, dual_path={"enabled": True},
                                      performance={"durability": "ring"})
    assert config.integration.key_file == "k" and config.performance.durability == "ring"


@pytest.mark.parametrize("programs", [
    {"memory": {"events": ["mmap", "page_fault"], "monitor_mmap": True, "track_page_faults": True}},
    {"memory": {"events": ["all"]}}, {"process": {"track_exec": False}}, {"network": {"events": ["dns"], "protocols": ["TCP"]}},
    {"memory": {"enabled": False, "events": ["mmap"]}},
    {"process": {"events": ["exec"], "track_exec": False, "monitor_syscalls": ["getpid"]}},
    {"process": {"events": ["exec"], "track_exec": False, "track_usage": True}}, {"memory": {"pressure_ms": 2000}},
])
def test_events_that_their_section_allows_are_taken(programs: dict[str, Any]) -> None:
    """"all" and the empty list are what is left by the other keys; a section that is off collects nothing anyway; and
    system calls or usage may be wanted alone."""
    Config.default().replace(programs=programs)


@pytest.mark.parametrize("value", [True, False])
def test_tls_skip_verify_is_refused_whatever_its_value(value: bool) -> None:
    with pytest.raises(ConfigError, match="pose as the server.*ca_file"):
        Config.default().replace(integration={"tls_skip_verify": value})


def test_presets_are_as_promised() -> None:
    assert Config() == Config.default()
    fast = Config.high_performance()
    assert (fast.performance.ring_buffer_size_mb, fast.performance.batch_pool_mb, fast.performance.adaptive_sampling) == (64, 256, True)
    assert fast.programs == Config().programs
    watch = Config.security()
    assert watch.programs.security.enabled and watch.programs.container.enabled and watch.programs.file.enabled
    assert {"execve", "ptrace", "setns", "bpf", "mount", "memfd_create"} <= set(watch.programs.process.monitor_syscalls)
    assert watch.programs.security.sensitive_paths and not watch.performance.adaptive_sampling
    assert {watch.programs.process.sampling_rate, watch.programs.network.sampling_rate, watch.programs.file.sampling_rate} == {1.0}


@pytest.mark.parametrize("preset", PRESETS)
def test_toml_out_is_toml_in(preset: str, tmp_path: Path) -> None:
    config = load(preset=preset, env={}, etc=tmp_path).config.replace(
        name='a "quoted" \\ ü', filtering={"rules": [{"name": "x", "conditions": {"dest_port": [22, 443]}}]}, outputs=[{"type": "nats"}])
    file = tmp_path / "x.toml"
    file.write_text(config.to_toml())
    assert Config.from_file(file) == config
    assert tomllib.loads(config.to_toml()) == config.to_dict()


@pytest.mark.parametrize(("text", "says"), [
    ("name = ", "not valid TOML"), ("[performance]\nburst_size = 0\n", "performance.burst_size = 0"),
    ("[performance]\nburst = 1\n", "did you mean performance.burst_size"), ("\xff", "not valid TOML"),
])
def test_a_wrong_file_is_named_with_what_is_wrong(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        Config.from_file(file)
    assert says in str(caught.value) and "wrong.toml" in str(caught.value)


def test_a_missing_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ENOENT"):
        Config.from_file(tmp_path / "none.toml")


def test_environment_sets_values_of_every_kind() -> None:
    config = Config.from_env({
        "TAPIO_FAST_NAME": "n", "TAPIO_FAST_PERFORMANCE__RING_BUFFER_SIZE_MB": "32", "TAPIO_FAST_PERFORMANCE__CPU_LIMIT": "1.5",
        "TAPIO_FAST_PERFORMANCE__SAMPLING_INTERVAL": "50ms", "TAPIO_FAST_PROGRAMS__FILE__ENABLED": "yes",
        "TAPIO_FAST_PROGRAMS__NETWORK__PROTOCOLS": "tcp, udp", "TAPIO_FAST_PROGRAMS__FILE__MONITOR_PATHS": '["/a,b"]',
        "TAPIO_FAST_FILTERING__RULES": '[{"type": "network"}]', "TAPIO_FAST_DEBUG": "1", "UNRELATED": "x"})
    assert (config.name, config.performance.ring_buffer_size_mb, config.performance.cpu_limit) == ("n", 32, 1.5)
    assert config.performance.sampling_interval == 0.05 and config.programs.file.enabled
    assert config.programs.network.protocols == ("TCP", "UDP") and config.programs.file.monitor_paths == ("/a,b",)
    assert config.filtering.rules == ({"type": "network"},)


@pytest.mark.parametrize(("variable", "value", "says"), [
    ("TAPIO_FAST_PERFORMANCE__RING_BUFFER_SIZE_MB", "much", "performance.ring_buffer_size_mb"),
    ("TAPIO_FAST_PERFORMANCE__RING_SIZE_MB", "1", "did you mean"), ("TAPIO_FAST_ENABLED", "maybe", "true or false"),
    ("TAPIO_FAST_PROGRAMS__NETWORK__PROTOCOLS", "[TCP", "JSON"), ("TAPIO_FAST_INTEGRATION__TLS_SKIP_VERIFY", "1", "ca_file"),
])
def test_a_wrong_variable_is_named(variable: str, value: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_env({variable: value})
    assert variable in str(caught.value) and says in str(caught.value)


def test_variables_of_build_and_tests_are_not_taken_for_settings() -> None:
    sources = [ROOT / "Makefile", ROOT / "setup.py", *(ROOT / "scripts").rglob("*"), *(ROOT / ".ci").rglob("*"),
               *(ROOT / "tests").glob("*.py")]
    text = "".join(file.read_text(errors="replace") for file in sources if file.is_file() and file.name != "test_config.py")
    known = {key.upper() for key in keys_of(Config)}
    used = {name for name in re.findall(r"TAPIO_FAST_([A-Z][A-Z_]*[A-Z])\b", text) if "__" not in name and name not in known}
    assert used <= ENV_NOT_SETTINGS


def test_precedence_and_origins(tmp_path: Path) -> None:
    etc, home, given = tmp_path / "etc", tmp_path / "xdg", tmp_path / "given.toml"
    (etc / "conf.d").mkdir(parents=True)
    (home / "tapio-fast").mkdir(parents=True)
    # each layer sets its own key and all the keys of the stronger ones
    names = ["burst_size", "map_entries_limit", "event_rate_limit", "cpu_limit", "memory_limit_mb", "batch_pool_mb"]
    layers = {etc / "config.toml": 0, etc / "conf.d" / "10.toml": 1, home / "tapio-fast" / "config.toml": 2, given: 3}
    for file, place in layers.items():
        file.write_text("[performance]\n" + "".join(f"{name} = {200 + place}\n" for name in names[place:]))
    env = {"XDG_CONFIG_HOME": str(home), "TAPIO_FAST_PERFORMANCE__MEMORY_LIMIT_MB": "999", "TAPIO_FAST_PERFORMANCE__BATCH_POOL_MB": "99"}
    config, origins = load({"performance": {"batch_pool_mb": 50}}, given, "high-performance", env, etc)
    performance = config.performance
    assert [getattr(performance, name) for name in names] == [200, 201, 202, 203, 999, 50]
    assert performance.ring_buffer_size_mb == 64 and performance.durability == "fast"
    at = {name: origins[f"performance.{name}"] for name in [*names, "ring_buffer_size_mb", "durability"]}
    assert list(at.values()) == [*(str(file) for file in layers), "environment TAPIO_FAST_PERFORMANCE__MEMORY_LIMIT_MB", "command line",
                                 "preset high_performance", "default"]
    assert "# preset high_performance" in config.to_toml(origins)


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="default, high_performance, security"):
        load(preset="fast", env={})
    with pytest.raises(ConfigError, match="did you mean security\\?"):
        load(preset="secure", env={})


@pytest.mark.parametrize(("change", "expected"), [
    ({}, []),
    ({"performance": {"ring_buffer_size_mb": 8, "overflow_policy": "block", "event_rate_limit": 5}}, []),
    ({"name": "x", "debug": {"enabled": True, "log_level": "debug", "trace_events": True}}, ["debug.log_level"]),
    ({"debug": {"enabled": True, "dump_maps": True}}, []),
    ({"programs": {"memory": {"enabled": False}, "network": {"monitor_dns": False, "protocols": ["TCP"]}}}, []),
    ({"programs": {"network": {"protocols": ["UDP"], "aggregate": False, "events": ["all"]}, "container": {"enabled": True}}}, []),
    ({"programs": {"network": {"capture_packets": True, "snaplen": 64}}}, ["programs.network.capture_packets", "programs.network.snaplen"]),
    ({"programs": {"memory": {"monitor_mmap": True, "threshold_mb": 1, "pressure_ms": 500, "track_allocations": True}}},
     ["programs.memory.track_allocations"]),
    ({"programs": {"file": {"enabled": True, "aggregate": False}}}, []),
    ({"programs": {"file": {"enabled": True, "sampling_rate": 0.5, "monitor_paths": ["/etc"], "capture_content": True}}}, []),
    ({"dual_path": {"enabled": True, "semantic_enabled": False, "correlation_enabled": False, "raw_storage_path": "x"}}, []),
    ({"dual_path": {"enabled": True}}, ["dual_path.semantic_enabled", "dual_path.correlation_enabled"]),
    ({"dual_path": {"importance_threshold": 0.1}, "performance": {"cpu_limit": 1, "burst_size": 5}},
     ["dual_path.importance_threshold"]),
    ({"performance": {"adaptive_sampling": True, "sampling_interval": 1.0}, "filtering": {"adaptive_sampling": {"enabled": True}}}, []),
    ({"integration": {"tapio_server": "a:1"}, "outputs": [{"type": "x"}], "metrics": {"enabled": True}},
     ["integration.tapio_server", "outputs", "metrics.enabled"]),
])
def test_not_active_lists_what_is_asked_in_vain(change: dict[str, Any], expected: list[str]) -> None:
    assert not_active(Config.default().replace(**change)) == expected


def test_the_page_on_configuration_lists_every_key_with_its_default() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    from tapio_fast._config_sources import toml_value
    for key, spec in keys_of(Config).items():
        section, _, name = key.rpartition(".")
        allowed = spec.metadata["kind"].allowed.replace("|", chr(92) + "|")
        row = f"| `{name}` | `{toml_value(spec.default)}` | {allowed} | {spec.metadata['doc']} |"
        assert row in page, f"docs/configuration.md lacks or has changed: [{section}] {row}"
