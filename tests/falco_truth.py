# SPDX-License-Identifier: Apache-2.0
"""What the rules of tests/rules/falco mean, by hand: name -> records that it must hit, records that it must not (near misses)."""
from __future__ import annotations

from typing import Any

from rules_support import exec_record as run

IN = {"container_id": "3ad7b26ded6d8e7b23da7d48fe889434573036c27ae5a74837233de441c3601e"}
OUT, BACK, READ, WRITE, BOTH, TRUNC = 1, 2, 0, 1, 2, 0o1000


def rec(kind: str, **more: Any) -> dict[str, Any]:
    """A record of a process "x" on the host."""
    return {"kind": kind, "comm": "x", "uid": 1000, "gid": 1000, "process_exe": "/usr/bin/x", "process_args": ["x"], "parent_comm": "bash",
            "container_id": "", "ancestor_comm": ["bash", "systemd"]} | more


def opened(path: str, how: int = WRITE, kind: str = "file.open", **more: Any) -> dict[str, Any]:
    """An open of a plain file that worked."""
    return rec(kind, path=path, file_flags=how, mode=0o100644, fd=3) | more


def net(kind: str, to: str, port: int, **more: Any) -> dict[str, Any]:
    """A TCP connection over IPv4 that goes out (ours is the source)."""
    return rec("network." + kind, source_ip="192.0.2.7", dest_ip=to, source_port=40000, dest_port=port, family=2, protocol=6, direction=OUT) | more


TRUTH: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "shell in container": ([run("bash", **IN), run("/bin/dash -c x", **IN)], [run("bash"), run("fish", **IN), rec("process.fork", comm="bash", **IN)]),
    "shell of a web server": ([run("sh", parent_comm="nginx")], [run("sh", parent_comm="nginx2"), run("ls", parent_comm="nginx")]),
    "download by curl with insecure flag": (
        [run("curl -k x"), run("/opt/curl --insecure x", "/usr/bin/curl"), run("curl x -sk-k")],
        [run("wget -k"), run("curl-k x", "/usr/bin/curl"), run("curl x --insecure"), run("curl -K x")]),
    "whole command line": ([run("id -u"), run("/usr/bin/id -u"), run("foo -u", "/usr/bin/id")], [run("id -un"), run("id"), run("id -u x"), run("xid -u")]),
    "command line begins with": ([run("nc -l 1"), run("/bin/nc -lp 1")], [run("ncat -l"), run("nc x -l"), run("nc")]),
    "program below tmp": ([run("/tmp/x"), run("/dev/shm/a/b")], [run("/tmpx/x"), run("/usr/tmp/x"), run("x /tmp/y")]),
    "argv zero differs": ([run("[kworker/0:1] x", "/opt/x")], [run("x [kworker", "/opt/x"), run("kworker", "/opt/x")]),
    "encoded payload": ([run("sh -c base64 -d"), run("base64 -D"), run("Base64", "/x/Base64"), run("/x/base64")], [run("base32 -d"), run("echo base64")]),
    "child of sshd": ([run("ls", ancestor_comm=["bash", "sshd"])],
                      [run("ls"), run("ls", ancestor_comm=["sshd", "apt"]), run("ls", ancestor_comm=["sshd"], uid=0), run("sshd"),
                       run("ls", ancestor_comm=["pacman", "sshd"])]),
    "root starts interpreter from home": (
        [run("python3 x", uid=0), run("python3.11", uid=0, cwd="/home")],
        [run("python3 x"), run("python3 x", uid=0, cwd="/homes/x"), run("python3 x", "/opt/python3", uid=0)]),
    "grandchild command": (
        [run("ls", parent_comm="cron", parent_args=["/usr/sbin/cron", "-f"]), run("ls", parent_comm="sh", parent_args=["sh", "-c", "cron -f"])],
        [run("cron", parent_comm="cron", parent_args=["cron", "-f"]), run("ls", parent_comm="crond", parent_args=["crond", "-f"])]),
    "fileless": ([run("x", "/memfd:x (deleted)")], [run("/memfd:x", "/usr/bin/x")]),
    "name by pattern": ([run("x", "/opt/kinsmd1", comm="kworkerd")], [run("x", "/opt/kinsmd1", comm="akworkerd"), run("x", "/opt/kinsmd1", comm="kd"),
                                                                     run("x", "/opt/x", comm="kworkerd")]),
    "privileges set": ([rec("process.setuid", new_uid=0)], [rec("process.setuid", new_uid=0, uid=0), rec("process.setuid", new_uid=5),
                                                           rec("process.setgid", new_uid=0)]),
    "program debugged": ([rec("security.ptrace", value=16), rec("security.ptrace", value=0x4206)],
                         [rec("security.ptrace", value=16, comm="gdb"), rec("security.ptrace", value=1), rec("security.bpf", value=16)]),
    "killed from a container": ([rec("process.signal", signal=9, **IN)], [rec("process.signal", signal=9), rec("process.signal", signal=15, **IN)]),
    "forks in container": ([rec("process.fork", comm="bash", **IN)], [rec("process.fork", comm="bash"), run("bash", **IN)]),
    "namespace joined": ([rec("security.namespace", action=25)], [rec("security.namespace", action=24), rec("security.namespace", action=25, comm="runc")]),
    "user namespace made": (
        [rec("security.namespace", action=24, value=0x10000000), rec("security.namespace", action=24, value=0x30020000)],
        [rec("security.namespace", action=24, value=0x20000000), rec("security.namespace", action=24, value=0x10000000, errno=1),
         rec("security.namespace", action=25, value=0x10000000)]),
    "write below etc": (
        [opened("/etc/x"), opened("/etc/a/b", BOTH, "file.create"), opened("/etc/ld.so.cache", comm="ld"), opened("/etc/passwd", comm="vi")],
        [opened("/etc/x", READ), opened("/etcx"), opened("/etc/x", parent_comm="apt"), opened("/etc/x", parent_comm="pacman"),
         opened("/etc/x", fd=-1, mode=0), opened("/etc/x", mode=0o040755), opened("/etc/ld.so.cache~", comm="ldconfig"),
         opened("/etc/mine/x", comm="my tool"), opened("/etc/a/resolv.conf"), opened("/etc/passwd", comm="useradd"),
         opened("/etc/x", process_exe="/opt/agent")]),
    "write to a binary directory": ([opened("/usr/bin/x"), opened("/bin/x")],
                                    [opened("/usr/bin/a/x"), opened("/usr/binx"), opened("/opt/usr/bin/x"), opened("/bin/x", ancestor_comm=["sh", "dpkg"])]),
    "read of secrets": (
        [opened("/etc/shadow", READ), opened("/x/id_rsa", READ), opened("/x/id_rsa.bak", BOTH), opened("/home/u/.aws/credentials", READ)],
        [opened("/etc/shadow"), opened("/etc/shadow-", READ), opened("/id_rsa/x", READ), opened("/x/my_id_rsa", READ), opened("/root/.aws/c", READ)]),
    "truncating open of a log": ([opened("/var/log/x", WRITE | TRUNC), opened("/var/app/log/x/y", WRITE | TRUNC), opened("/var/app/log", TRUNC)],
                                 [opened("/var/log/x"), opened("/var/logs/x", TRUNC), opened("/var/a/b/log", TRUNC), opened("/var/app/logs", TRUNC)]),
    "new executable": ([rec("file.create", path="/x", mode=0o100755, **IN)], [rec("file.create", path="/x", mode=0o100755),
                                                                             rec("file.create", mode=0o100644, **IN), rec("file.open", mode=0o755, **IN)]),
    "history removed": ([rec("file.delete", path="/root/.bash_history"), rec("file.rmdir", path="/.zsh_history")],
                        [rec("file.delete", path="/root/.bash_history.bak"), rec("file.open", path="/root/.bash_history")]),
    "renamed in binary directory": (
        [rec("file.rename", path="/usr/bin/x", new_path="/tmp/x"), rec("file.rename", path="/tmp/x", new_path="/usr/bin/x")],
        [rec("file.rename", path="/tmp/usr/bin/x", new_path="/usr/binx"), rec("file.link", path="/usr/bin/x")]),
    "set user id by chmod": ([rec("file.chmod", mode=0o104755), rec("file.chmod", mode=0o2755)],
        [rec("file.chmod", mode=0o755), rec("file.mkdir", mode=0o4755)]),
    "link to secret": ([rec("file.symlink", path="/tmp/l", new_path="/etc/shadow"), rec("file.link", path="/etc/shadow", new_path="/tmp/l")],
                       [rec("file.symlink", path="/etc/shadow", new_path="/tmp/l"), rec("file.link", path="/tmp/l", new_path="/etc/shadow")]),
    "directory hidden": ([rec("file.mkdir", path="/tmp/...")], [rec("file.mkdir", path="/tmp/..."[:-1]), rec("file.mkdir", path="/tmp/...", errno=17)]),
    "opening refused": ([opened("/root/x", errno=13, fd=-1), opened("/root/x", errno=1)],
                        [opened("/root/x"), opened("/root/x", errno=2), opened("/home/x", errno=13)]),
    "connection out": (
        [net("connect", "203.0.113.5", 443), net("connect", "2001:db8::1", 443, family=10, source_ip="2001:db8::2"),
         net("flow", "203.0.113.5", 53, protocol=17)],
        [net("connect", "10.1.2.3", 443), net("connect", "203.0.113.5", 443, errno=111), net("connect", "203.0.113.5", 443, comm="curl"),
         net("connect", "127.0.0.1", 80), net("close", "203.0.113.5", 443), net("flow", "203.0.113.5", 1), net("connect", "172.16.0.1", 1)]),
    "connection to a port of mining": (
        [net("connect", "203.0.113.5", 3333)],
        [net("connect", "203.0.113.5", 3334), net("accept", "203.0.113.5", 3333), net("connect", "1.1.1.1", 80, source_port=3333)]),
    "connection comes in": (
        [net("accept", "203.0.113.5", 999, source_port=4444, direction=BACK)],
        [net("accept", "192.0.2.1", 999, source_port=4444, direction=BACK), net("accept", "203.0.113.5", 4444, source_port=80, direction=BACK),
         net("accept", "127.0.0.1", 999, source_port=4444, source_ip="127.0.0.1"), net("connect", "203.0.113.5", 999, source_port=4444)]),
    "server of own": ([net("listen", "0.0.0.0", 0, source_port=80)],
        [net("listen", "0.0.0.0", 0, source_port=80, uid=0), net("listen", "::", 0, source_port=8080)]),
    "module loaded": ([rec("security.module_load", action=10)],
        [rec("security.module_load", action=11), rec("security.module_load", action=10, comm="modprobe")]),
    "bpf program loaded": ([rec("security.bpf", value=5)], [rec("security.bpf", value=1), rec("security.bpf", value=5, comm="systemd")]),
    "mount in container": ([rec("security.mount", action=16, **IN)], [rec("security.mount", action=16), rec("security.mount", action=17, **IN)]),
    "raw packets": ([rec("syscall.call", nr=41, arg0=17, **IN)], [rec("syscall.call", nr=41, arg0=2, **IN), rec("syscall.call", nr=49, arg0=17, **IN)]),
    "seldom call": ([rec("syscall.call", nr=167), rec("syscall.call", nr=168)], [rec("syscall.call", nr=167, comm="systemd"), rec("syscall.call", nr=165)]),
}
