"""The lock within one process: exact words, who is asked, and what a release leaves."""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from distilabel_endpoints._store.lock import Holder, hold, holder_of, lock_path
from distilabel_endpoints.errors import LockedError, StorageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a journal; the lock needs no more."""
    return tmp_path / "out.jsonl.journal"


def test_the_lock_says_who_holds_it(path: Path) -> None:
    """Host, process, start of the machine and of the run, whatever stood in the file before."""
    lock_path(path).write_text("x" * 900)
    with hold(path):
        found = holder_of(path)
        assert found is not None
        assert (found.host, found.pid) == (socket.gethostname(), os.getpid())
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found.since)
        boot = Path("/proc/sys/kernel/random/boot_id")
        assert found.boot == (boot.read_text().strip() if boot.exists() else "")
        lock_path(path).write_text(json.dumps(asdict(replace(found, boot="another"))))
        assert holder_of(path) is None
    assert holder_of(path) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "being written by {}. Wait for it, stop it, or choose another output."),
        ({"boot": "x"}, "held by a child of {}. That process is gone; stop its children."),
        ({"pid": None}, "being written by another process. Wait for it, or stop it."),
    ],
    ids=["alive", "gone", "unknown"],
)
def test_who_has_the_lock_is_told(path: Path, change: dict[str, Any], words: str) -> None:
    """The refusal names output and holder, and what to do about this one."""
    with hold(path):
        here = replace(Holder.here(), **change)
        content = json.dumps(asdict(here)) if here.pid else "[]"
        lock_path(path).write_text(content)
        with pytest.raises(LockedError) as caught, hold(path):
            pass
    who = f"process {here.pid} on {here.host}, since {here.since}"
    assert str(caught.value) == f"out.jsonl is {words.format(who)}"


@pytest.mark.parametrize(
    ("change", "answer", "asked", "gone"),
    [
        ({}, None, True, False),
        ({}, ProcessLookupError, True, True),
        ({}, PermissionError, True, False),
        ({"host": "elsewhere"}, ProcessLookupError, False, False),
        ({"boot": "another"}, None, False, True),
    ],
    ids=["here", "ended", "another-users", "elsewhere", "rebooted"],
)
def test_a_holder_is_asked_without_harm(
    change: dict[str, Any],
    answer: type[OSError] | None,
    asked: bool,
    gone: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With signal 0, and only where its number means the same process as when it signed."""
    calls: list[tuple[int, int]] = []

    def kill(pid: int, number: int) -> None:
        calls.append((pid, number))
        if answer is not None:
            raise answer

    monkeypatch.setattr(os, "kill", kill)
    assert replace(Holder.here(), **change).gone() is gone
    assert calls == ([(os.getpid(), 0)] if asked else [])


def test_a_lock_that_was_taken_away_is_told(path: Path) -> None:
    """Its holder learns of it; what stands there at the release is somebody else's, and stays."""
    with hold(path) as lock:
        lock.check()
        lock_path(path).unlink()
        with pytest.raises(StorageError) as caught:
            lock.check()
        lock_path(path).mkdir()
    assert str(caught.value) == (
        f"{lock_path(path)} was removed while this run was writing, so another could have "
        "begun. What was committed is safe; run the same command again."
    )
    assert lock_path(path).is_dir()


def test_a_lock_removed_before_it_was_locked_is_taken_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder before may remove the file between our open and our lock."""
    flock, calls = fcntl.flock, [0]

    def remove_first(descriptor: int, operation: int) -> None:
        if not calls.pop():
            lock_path(path).unlink()
        calls.append(1)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    with hold(path) as lock:
        lock.check()


def test_a_file_system_without_locks_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run does not begin where nothing keeps a second one away."""

    def flock(descriptor: int, operation: int) -> None:
        assert operation == fcntl.LOCK_EX | fcntl.LOCK_NB
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StorageError) as caught, hold(path):
        pass
    assert str(caught.value) == (
        f"Cannot lock {lock_path(path)}: Function not implemented. A run needs a file system with "
        "file locks; write to another disk, or have this one mounted with them."
    )


def test_a_lock_that_cannot_be_signed_is_let_go(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk is full, or there is no folder, the error names the lock's file."""
    with pytest.raises(StorageError) as caught, hold(path / "none"):
        pass
    assert str(caught.value) == f"{lock_path(path / 'none')}: No such file or directory."

    def pwrite(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite)
        with pytest.raises(StorageError) as caught, hold(path):
            pass
    assert str(caught.value) == f"{lock_path(path)}: No space left on device."
    with hold(path):
        pass


def test_a_link_that_comes_between_the_look_and_the_open_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is made where it points to."""
    lstat, link, elsewhere = Path.lstat, lock_path(path), path.with_name("elsewhere")

    def put_a_link(self: Path) -> os.stat_result:
        try:
            return lstat(self)
        except FileNotFoundError:
            link.symlink_to(elsewhere)
            raise

    monkeypatch.setattr(Path, "lstat", put_a_link)
    with pytest.raises(StorageError, match="is a symbolic link"), hold(path):
        pass
    assert not elsewhere.exists()
