# SPDX-License-Identifier: Apache-2.0
"""What this machine can do: is_supported() and probe(). They never raise, on any platform, with or without rights.

Relies on /proc and /sys, and on `_core._kernel` where it was built; everything about the kernel is asked of its BTF, not of its
version number, wherever BTF is there.
"""
from __future__ import annotations

import dataclasses
import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tapio_fast.errors import OFF_LINUX, UnsupportedPlatformError

if TYPE_CHECKING:
    from tapio_fast.config import Config

__all__ = ["PlatformReport", "ProgramVerdict", "is_supported", "probe"]

BTF_PATH = "/sys/kernel/btf/vmlinux"
LOCKDOWN_PATH = "/sys/kernel/security/lockdown"
_CAPS = {"CAP_BPF": 39, "CAP_PERFMON": 38}      # nothing can be collected without
_MORE_CAPS = {"CAP_NET_ADMIN": 12}              # some programs need it as well
_CAP_SYS_ADMIN = 21                     # since before 5.8, and still: stands for both
_RING_BUFFER_MARK = b"\0BPF_MAP_TYPE_RINGBUF\0"     # enumerator of bpf_map_type, in the strings of BTF
_RING_BUFFER_SINCE = (5, 8)
_PRESSURE_FOR_ALL_SINCE = (6, 4)        # before, writing a threshold took CAP_SYS_RESOURCE
_EPERM, _EACCES = 1, 13


@dataclasses.dataclass(frozen=True)
class ProgramVerdict:
    """What the kernel said to one BPF program.

    verdict : "ok", "missing" (no such hook, or too old a kernel), "unused" (a better variant fits) or "refused"
    kinds : names of the events it makes, such as "network.connect"
    more : it only makes records of other programs say more
    enabled : the configuration that was asked about loads it (the default one, unless probe() was given another)
    cost : how often it runs: "per packet"
    insns, verified : instructions after loading (as that configuration has it), and those the verifier walked through
    needs : capabilities it takes to load and attach it
    """

    name: str
    hook: str
    object: str
    verdict: str
    reason: str = ""
    insns: int = 0
    kinds: tuple[str, ...] = ()
    more: bool = False
    enabled: bool = False
    cost: str = ""
    verified: int = 0
    needs: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class PlatformReport:
    """What this machine, and this process on it, can do.

    supported : bool, this kernel and this build could collect live
    can_collect : bool, this process can, now: rights included
    capabilities : dict, name of a needed capability -> whether this process has it
    lockdown : str, "none", "integrity", "confidentiality", or "" where it cannot be read
    reason, next_step : str, why not and what to do; empty where can_collect
    programs : verdicts, empty where none could be tried
    needs : dict, capability -> the programs of this kernel that need it, by name; filled where programs could be tried
    enabled_needs : capabilities that the enabled programs need together, held or not
    """

    system: str
    kernel: str
    machine: str
    btf: bool
    ring_buffer: bool
    capabilities: dict[str, bool]
    lockdown: str
    supported: bool
    can_collect: bool
    reason: str = ""
    next_step: str = ""
    programs: tuple[ProgramVerdict, ...] = ()

    @property
    def needs(self) -> dict[str, tuple[str, ...]]:
        """Tell which capability which usable program needs."""
        usable = [program for program in self.programs if program.verdict == "ok"]
        names = sorted({name for program in usable for name in program.needs})
        return {name: tuple(program.name for program in usable if name in program.needs) for name in names}

    @property
    def enabled_needs(self) -> tuple[str, ...]:
        """Tell what the enabled programs need, those refused for the lack of it too."""
        return tuple(sorted({name for p in self.programs if p.enabled and p.verdict in ("ok", "refused") for name in p.needs}))

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists and values."""
        programs = [{name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(program).items()}
                    for program in self.programs]
        return {**dataclasses.asdict(self), "programs": programs, "needs": {name: list(of) for name, of in self.needs.items()},
                "enabled_needs": list(self.enabled_needs)}


def require_linux() -> None:
    """Raise UnsupportedPlatformError where nothing can be collected live."""
    if sys.platform != "linux":
        raise UnsupportedPlatformError(f"{OFF_LINUX}; this is {sys.platform}. Stores can be read "
                                       "everywhere: tapio_fast.RawStore")


def is_supported() -> bool:
    """Say whether this kernel could collect live, rights aside. Never raises."""
    return not _unsupported(_btf(), _ring_buffer())[0]


def probe(config: Config | None = None) -> PlatformReport:
    """Find out what this machine can do; load every program for a moment where the rights allow it. Never raises.

    config : whose programs are marked `enabled`, with their cost; None is the default configuration
    """
    system, kernel, machine = _uname()
    btf, ring_buffer, lockdown, have = _btf(), _ring_buffer(), _lockdown(), _capabilities()
    reason, step = _unsupported(btf, ring_buffer)
    supported = not reason
    programs: tuple[ProgramVerdict, ...] = ()
    if supported:
        reason, step = _not_permitted(have, lockdown)
        if not reason:
            programs, reason, step = _try_programs(config)
    return PlatformReport(system, kernel, machine, btf, ring_buffer, have, lockdown, supported, supported and not reason, reason, step,
                          programs)


def _uname() -> tuple[str, str, str]:
    try:
        name = os.uname()
        return name.sysname, name.release, name.machine
    except (AttributeError, OSError):       # Windows has no uname
        return {"win32": "Windows"}.get(sys.platform, sys.platform), "", ""


def _read(path: str, most: int = 1 << 16) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(most)
    except OSError:
        return b""


def _btf() -> bool:
    return sys.platform.startswith("linux") and len(_read(BTF_PATH, 4)) == 4


def _ring_buffer() -> bool:
    if not sys.platform.startswith("linux"):
        return False
    blob = _read(BTF_PATH, 1 << 26)
    return _RING_BUFFER_MARK in blob if blob else _version() >= _RING_BUFFER_SINCE


def _version() -> tuple[int, int]:
    numbers = _uname()[1].replace("-", ".").split(".")[:2]
    try:
        return int(numbers[0]), int(numbers[1])
    except (ValueError, IndexError):
        return 0, 0


def _lockdown() -> str:
    """Return the mode in brackets of "none [integrity] confidentiality"."""
    text = _read(LOCKDOWN_PATH).decode("ascii", "replace")
    return text.partition("[")[2].partition("]")[0]


def _capabilities() -> dict[str, bool]:
    """Read the effective set; inside a user namespace it does not count for bpf(2)."""
    mask = 0
    for line in _read("/proc/self/status").splitlines():
        if line.startswith(b"CapEff:"):
            try:
                mask = int(line.split()[1], 16)
            except (ValueError, IndexError):
                mask = 0
    if not _initial_user_namespace():
        mask = 0
    admin = bool(mask >> _CAP_SYS_ADMIN & 1)
    return {name: admin or bool(mask >> bit & 1) for name, bit in (_CAPS | _MORE_CAPS).items()}


def _initial_user_namespace() -> bool:
    words = _read("/proc/self/uid_map").split()
    return not words or words == [b"0", b"0", b"4294967295"]


def _has_core() -> bool:
    try:
        return find_spec("tapio_fast._core._kernel") is not None
    except (ImportError, ValueError):
        return False


def _unsupported(btf: bool, ring_buffer: bool) -> tuple[str, str]:
    """Return why nobody could collect live here, and the next step; two empty texts if somebody could."""
    if not sys.platform.startswith("linux"):
        return f"{OFF_LINUX}, and this is {_uname()[0]}", "collect on a Linux machine; stores can be replayed, queried and exported here"
    if not _has_core():
        return ("this build of tapio_fast has no BPF part", "install a Linux wheel, or build again without TAPIO_FAST_NO_BPF")
    if not ring_buffer:
        return (f"kernel {_uname()[1]} has no BPF ring buffer", "use kernel 5.8 or later")
    if not btf:
        return (f"kernel {_uname()[1]} shows no type information at {BTF_PATH}",
                "use a kernel with CONFIG_DEBUG_INFO_BTF=y (as Debian 11 and later have), and mount /sys in containers")
    return "", ""


def _not_permitted(have: dict[str, bool], lockdown: str) -> tuple[str, str]:
    missing = [name for name in _CAPS if not have[name]]
    if missing and not _initial_user_namespace():
        return ("this process is in a user namespace, where capabilities do not count for bpf(2)",
                "run in the initial user namespace: outside of rootless containers, or with a host user mapping")
    if missing:
        lower = ",".join(name.lower() for name in missing)
        return (f"this process lacks {' and '.join(missing)}",
                f"run with sudo, or `setcap {lower}+ep` on a copy of the Python binary, or add {', '.join(missing)} to the container")
    if lockdown == "confidentiality":
        return ("the kernel is locked down (confidentiality), which forbids BPF to read kernel memory",
                "boot with lockdown=integrity or none")
    return "", ""


def _try_programs(config: Config | None) -> tuple[tuple[ProgramVerdict, ...], str, str]:
    """Load every program once; return verdicts, and why live collection cannot work if it cannot."""
    from tapio_fast.errors import PermissionDeniedError
    try:
        found, enabled = _load_all(config)
    except PermissionDeniedError as error:
        return (), f"bpf(2) is refused although the capabilities are there ({error})", \
            "let the seccomp profile or security module of this container allow bpf(2)"
    except Exception as error:      # a probe reports, whatever happens below it
        return (), str(error), "please report this with the output of `tapio-fast doctor --json`"
    verdicts = tuple(_verdict(program, program["name"] in enabled) for program in found)
    if any(verdict.verdict == "ok" for verdict in verdicts):
        return verdicts, "", ""
    if any(program["errno"] in (_EPERM, _EACCES) for program in found):
        return verdicts, "bpf(2) is refused although the capabilities are there", \
            "let the seccomp profile or security module of this container allow bpf(2)"
    return verdicts, "the kernel took none of the programs", "please report this with the output of `tapio-fast doctor --json`"


def _load_all(config: Config | None) -> tuple[list[dict[str, Any]], set[str]]:
    """Load all programs, then those of a configuration alone: those are smaller; return all of them, and which ones the latter are."""
    from tapio_fast import schema
    from tapio_fast._core import _kernel
    from tapio_fast.config import Config
    from tapio_fast.enabled import enabled_kinds, kernel_options

    config = Config.default() if config is None else config
    kinds = enabled_kinds(config)
    every = _kernel.probe_programs([kind.number for kind in schema.KINDS], 0)
    alone = _kernel.probe_programs([kind.number for kind in schema.KINDS if kind.name in kinds], kernel_options(config)) if kinds else []
    enabled = {program["name"]: program for program in alone if program["state"] != "not_wanted"}
    return [enabled.get(program["name"], program) for program in every], set(enabled)


def _needs(program: dict[str, Any]) -> tuple[str, ...]:
    """Return what loading and attaching takes: control group programs belong to the network's administrator as well."""
    if program["hook"].startswith("cgroup/"):
        return "CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"
    if program["name"] == "tf_memory_pressure" and _version() < _PRESSURE_FOR_ALL_SINCE:
        return "CAP_BPF", "CAP_PERFMON", "CAP_SYS_RESOURCE"
    return "CAP_BPF", "CAP_PERFMON"


def _verdict(program: dict[str, Any], enabled: bool) -> ProgramVerdict:
    from tapio_fast import schema

    kinds = tuple(schema.KINDS[number].name for number in program.get("kinds", ()))
    known = {"attached": "ok", "loaded": "ok", "missing_hook": "missing", "not_wanted": "unused"}
    return ProgramVerdict(program["name"], program["hook"], program["object"], known.get(program["state"], "refused"), program["reason"],
                          program.get("insns", 0), kinds, program.get("more", False), enabled, program.get("cost", ""),
                          program.get("verified", 0), _needs(program))
