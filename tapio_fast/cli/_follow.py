# SPDX-License-Identifier: Apache-2.0
"""Running CMD so that nothing of it is missed: it is forked first, held on a pipe, and let go once the collector follows it.

Also: as whom CMD runs and who owns the store when sudo started us, and ending on Ctrl-C. Relies on the standard library; fork()
comes before the collector's threads exist.
"""
from __future__ import annotations

import errno
import os
import pwd
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

import typer

from tapio_fast.cli._exit import say
from tapio_fast.errors import PermissionDeniedError, TapioError

NOT_FOUND, NOT_EXECUTABLE = 127, 126
# Python ignores these; a command expects them as a shell would give them.
_RESTORED = tuple(number for name in ("SIGPIPE", "SIGXFSZ", "SIGINT", "SIGTERM")
                  if (number := getattr(signal, name, None)) is not None)


class Account:
    """A user: ids, groups and home."""

    def __init__(self, entry: pwd.struct_passwd) -> None:
        self.name, self.uid, self.gid, self.home = entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir

    def __repr__(self) -> str:
        return f"Account({self.name!r}, uid={self.uid}, gid={self.gid})"


def account_for(user: str | None, env: Mapping[str, str] = os.environ) -> Account | None:
    """Return who CMD runs as and the store belongs to: --user, else who called sudo; None is ourselves.

    Raises PermissionDeniedError when the user is another one and we are not root.
    """
    if user is None:
        if os.geteuid() != 0 or not env.get("SUDO_UID", "").isdigit() or env["SUDO_UID"] == "0":
            return None
        return _account(env["SUDO_UID"], env.get("SUDO_GID", ""))
    account = _account(user, "")
    if account.uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise PermissionDeniedError(f"cannot run as user {account.name!r}: only root may change the user; run with sudo")
    return account


def _account(user: str, group: str) -> Account:
    try:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        if user.isdigit() and group.isdigit():      # sudo from an account that only the host knows
            entry = pwd.struct_passwd((user, "x", int(user), int(group), "", "/", "/bin/sh"))
        else:
            raise typer.BadParameter(f"--user {user}: there is no such user on this machine") from None
    return Account(entry)


class Command:
    """A child that waits before its exec. Use as a context manager: what was never let go ends without having run."""

    def __init__(self, argv: list[str], account: Account | None = None) -> None:
        self.argv = argv
        self.status: int | None = None
        hold_read, self._hold = os.pipe()
        self._failed, failed_write = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._hold)
            _child(argv, account, hold_read, failed_write)
        os.close(hold_read)
        os.close(failed_write)

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        if self.status is None:
            self.wait()

    def _close(self) -> None:
        for name in ("_hold", "_failed"):
            if getattr(self, name) >= 0:
                os.close(getattr(self, name))
                setattr(self, name, -1)

    def release(self) -> None:
        """Let it run; returns once its exec has happened, or has failed (then `status` is 126 or 127 and stderr says why)."""
        os.write(self._hold, b"g")
        report = b""
        while chunk := os.read(self._failed, 16):
            report += chunk
        self._close()
        if report:
            number = int(report)
            self.wait()
            say(f"error: cannot run {self.argv[0]!r}: {os.strerror(number)} ({errno.errorcode.get(number, number)}); "
                "check its name and PATH")
            self.status = NOT_FOUND if number == errno.ENOENT else NOT_EXECUTABLE

    def poll(self) -> bool:
        """Say whether it has ended."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = _code(status)
        return self.status is not None

    def wait(self) -> int:
        """Wait for its end; return its exit code, or 128 and the number of the signal that killed it."""
        if self.status is None:
            self.status = _code(os.waitpid(self.pid, 0)[1])
        return self.status

    def signal(self, number: int) -> None:
        """Pass a signal on."""
        if self.status is None:
            os.kill(self.pid, number)


def _code(status: int) -> int:
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _child(argv: list[str], account: Account | None, hold: int, failed: int) -> None:
    """Wait for the word to go, become the user, exec. Never returns."""
    try:
        for number in _RESTORED:
            signal.signal(number, signal.SIG_DFL)
        if os.read(hold, 1) != b"g":
            os._exit(0)                 # the collector never came to follow us
        env = dict(os.environ)
        if account is not None:
            os.initgroups(account.name, account.gid) if not account.name.isdigit() else os.setgroups([account.gid])
            os.setgid(account.gid)
            os.setuid(account.uid)
            env.update(HOME=account.home, USER=account.name, LOGNAME=account.name)
        os.execvpe(argv[0], argv, env)
    except OSError as error:
        os.write(failed, str(error.errno or errno.EIO).encode())
    finally:
        os._exit(NOT_FOUND)


def check_pid(pid: int) -> None:
    """Raise TapioError when there is no such process to follow."""
    if not Path(f"/proc/{pid}").exists():
        raise TapioError(f"cannot follow process {pid}: there is no such process (ESRCH); check the id with ps")


def give_store(path: Path, account: Account | None) -> None:
    """Make a store that we have just made belong to the user; leave alone whatever was there before.

    Nobody but us can have put anything into a directory that is ours: that is what makes it safe to give its files away.
    """
    if account is None or not path.is_dir() or os.lstat(path).st_uid != os.geteuid():
        return
    for _, folders, files, here in os.fwalk(path, follow_symlinks=False):
        os.chown(here, account.uid, account.gid)
        for name in [*folders, *files]:
            os.chown(name, account.uid, account.gid, dir_fd=here, follow_symlinks=False)


class Interrupt:
    """Note Ctrl-C and SIGTERM instead of dying of them, so that the command can drain and report. A second Ctrl-C ends at once."""

    def __init__(self, command: Command | None = None) -> None:
        self.hit = False
        self._command = command
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self.hit and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.hit = True
        if number == signal.SIGTERM and self._command is not None:     # Ctrl-C reaches CMD through the terminal
            self._command.signal(signal.SIGTERM)
