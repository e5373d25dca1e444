# SPDX-License-Identifier: Apache-2.0
"""errors.py: the tree is as promised, and every errno from C becomes the right class with a sentence that helps."""
from __future__ import annotations

import errno
import os
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio_fast import errors
from tapio_fast.errors import error_for

TREE = {
    "UnsupportedPlatformError": ("TapioError", RuntimeError), "PermissionDeniedError": ("TapioError", PermissionError),
    "ProgramLoadError": ("TapioError", RuntimeError), "LayoutError": ("TapioError", RuntimeError),
    "ConfigError": ("TapioError", ValueError), "FilterError": ("TapioError", ValueError), "StoreError": ("TapioError", OSError),
    "CorruptStoreError": ("StoreError", OSError), "StoreLockedError": ("StoreError", OSError),
    "OutOfMemoryError": ("TapioError", MemoryError), "ClosedError": ("TapioError", ValueError), "OutputError": ("TapioError", OSError),
    "MissingExtraError": ("TapioError", ImportError),
}
CASES = [
    (errno.EPERM, "load", errors.PermissionDeniedError), (errno.EACCES, "open store", errors.PermissionDeniedError),
    (errno.EBADMSG, "read segment", errors.CorruptStoreError), (errno.ENOMEM, "allocate rings", errors.OutOfMemoryError),
    (errno.ENOTSUP, "open the kernel source", errors.UnsupportedPlatformError), (errno.ENOSYS, "load", errors.UnsupportedPlatformError),
    (errno.ENOSPC, "append", errors.StoreError), (errno.EDQUOT, "write", errors.StoreError), (errno.EIO, "append to store",
                                                                                              errors.StoreError),
    (errno.ENOENT, "open", errors.StoreError), (errno.ELOOP, "open", errors.StoreError),
    (errno.EAGAIN, "lock store", errors.StoreLockedError), (errno.EBADF, "read", errors.ClosedError),
    (errno.EINVAL, "attach", errors.ProgramLoadError), (errno.ESRCH, "follow process", errors.TapioError),
]


def test_every_class_has_its_promised_bases() -> None:
    for name, (parent, builtin) in TREE.items():
        cls = getattr(errors, name)
        assert issubclass(cls, getattr(errors, parent)) and issubclass(cls, builtin), name
    assert set(errors.__all__) == {*TREE, "TapioError", "error_for"}


def test_the_tree_drawn_on_top_names_every_class() -> None:
    drawn = errors.__doc__ or ""
    assert all(name in drawn for name in TREE)


@pytest.mark.parametrize(("value", "doing", "expected"), CASES, ids=lambda v: getattr(v, "__name__", str(v)))
def test_errno_becomes_its_class(value: int, doing: str, expected: type[errors.TapioError]) -> None:
    for sign in (1, -1):
        error = error_for(sign * value, doing, "thing")
        assert type(error) is expected
        assert error.errno == value
        assert f"cannot {doing} thing: " in str(error) and f"({errno.errorcode[value]})" in str(error)


def test_loading_without_rights_names_the_capabilities() -> None:
    text = str(error_for(-errno.EPERM, "load", "process.bpf.o"))
    assert "CAP_BPF" in text and "CAP_PERFMON" in text and "doctor" in text


def test_a_refused_path_does_not_talk_of_capabilities() -> None:
    text = str(error_for(-errno.EACCES, "open", "/root/x"))
    assert "CAP_" not in text and "owner" in text


def test_a_plain_ring_error_is_not_a_store_error() -> None:
    assert not isinstance(error_for(errno.EIO, "read ring"), errors.StoreError)


def test_bad_bytes_are_what_the_caller_says() -> None:
    assert type(error_for(-errno.EBADMSG, "compare records", bad=errors.LayoutError)) is errors.LayoutError


def test_a_cause_from_below_replaces_strerror() -> None:
    text = str(error_for(-errno.EINVAL, "load", "x", cause="R1 type=scalar expected=fp."))
    assert "R1 type=scalar expected=fp (EINVAL)" in text and os.strerror(errno.EINVAL) not in text


def test_a_whole_sentence_from_below_is_the_message() -> None:
    assert str(error_for(-errno.EPERM, "load", cause="cannot load BPF maps (EPERM): needs CAP_BPF; run as root")) == (
        "cannot load BPF maps (EPERM): needs CAP_BPF; run as root")


@given(st.integers(min_value=1, max_value=4096), st.sampled_from(["load", "drain ring", "append to store", "x"]))
def test_any_errno_gives_one_sentence_and_an_error_of_the_tree(value: int, doing: str) -> None:
    error = error_for(-value, doing)
    assert isinstance(error, errors.TapioError) and error.errno == value and "\n" not in str(error)


@given(st.binary(max_size=40))
def test_what_is_named_cannot_drive_a_terminal(name: bytes) -> None:
    assert str(error_for(-errno.EIO, "read", name)).isprintable()


@pytest.mark.parametrize("error", [error_for(-1, "load"), errors.ConfigError("x", key="a.b"), errors.FilterError("x", position=3),
                                   errors.StoreError("gone")], ids=lambda e: type(e).__name__)
def test_errors_survive_pickle(error: errors.TapioError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error) and vars(again) == vars(error)
