"""One writer per output: who gets the lock, who is named, and when it ends."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import IO

import pytest
from journals import BY_HAND, SPEC, hash_of, into, ok, stored

from distilabel_endpoints._store.journal import Journal
from distilabel_endpoints._store.lock import Holder, hold, holder_of
from distilabel_endpoints._store.place import journal_path
from distilabel_endpoints.errors import LockedError, StorageError

HOLD = """
import os, sys
from pathlib import Path
from distilabel_endpoints._store.lock import hold
with hold(Path(sys.argv[1])):
    if "fork" in sys.argv and os.fork() == 0:
        os.read(0, 1)
        os._exit(0)
    print("held", flush=True)
    os.read(0, 1)
"""


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The path of a journal; the lock needs no more."""
    return tmp_path / "out.jsonl.journal"


@contextmanager
def holder(journal: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until it is spoken to."""
    command = [sys.executable, "-c", HOLD, str(journal), *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert _stream(process.stdout).readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


@pytest.mark.promise("R11")
def test_second_process_is_told_who(tmp_path: Path) -> None:
    """A second writer leaves within a second, naming host, process and start; the first stays."""
    output = tmp_path / "out.jsonl"
    program = (
        "import sys; from pathlib import Path\n"
        "from distilabel_endpoints._store.journal import Journal\n"
        "from distilabel_endpoints.errors import LockedError\n"
        "try: Journal(Path(sys.argv[1]), {}, fresh=True)\n"
        "except LockedError as error: print(error)\n"
    )
    with Journal(output, SPEC, pace=BY_HAND) as journal:
        journal.append(ok(0), hash_of(0))
        done = subprocess.run(
            [sys.executable, "-c", program, str(output)], capture_output=True, text=True, check=True
        )
        assert f"process {os.getpid()} on {socket.gethostname()}, since 20" in done.stdout
        journal.append(ok(1), hash_of(1))
    assert stored(output) == {0: ok(0), 1: ok(1)}


def test_refusal_is_immediate(journal: Path) -> None:
    """Finding the lock taken takes no waiting, in the same process too."""
    with hold(journal):
        start = monotonic()
        with pytest.raises(LockedError, match=r"out\.jsonl is being written"), hold(journal):
            pass
        assert monotonic() - start < 1


def test_lock_dies_with_its_process(journal: Path) -> None:
    """After SIGKILL the next writer gets the lock at once, whatever the file still says."""
    with holder(journal) as process:
        assert holder_of(journal) == Holder(**json.loads(_lock_file(journal).read_text()))
        with pytest.raises(LockedError, match=f"process {process.pid} on"), hold(journal):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert _lock_file(journal).exists()
        assert holder_of(journal) is None
        with hold(journal):
            assert json.loads(_lock_file(journal).read_text())["pid"] == os.getpid()


def test_orphan_is_named_as_one(journal: Path) -> None:
    """Where a child of the dead writer keeps the lock, that is what is said."""
    with holder(journal, "fork") as process:
        process.kill()
        process.wait()
        with pytest.raises(LockedError, match="held by a child of process"), hold(journal):
            pass


def test_release_leaves_nothing(journal: Path) -> None:
    """The lock's file goes with the lock, after an error too."""
    with pytest.raises(KeyError), hold(journal):
        raise KeyError
    assert holder_of(journal) is None
    assert list(journal.parent.iterdir()) == []


def test_file_removed_between_open_and_lock(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever locked a file that its holder had just removed starts again with the new one."""
    real = fcntl.flock
    calls: list[int] = []

    def flock(descriptor: int, operation: int) -> None:
        if not calls:
            _lock_file(journal).unlink()
        calls.append(descriptor)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with hold(journal) as lock:
        lock.check()
    assert len(calls) == 2


def test_removed_lock_stops_the_writer(tmp_path: Path) -> None:
    """A writer whose lock's file was deleted stops at its next commit, and reports nothing."""
    told: list[int] = []
    output = tmp_path / "out.jsonl"
    journal = Journal(output, SPEC, on_committed=into(told), pace=BY_HAND)
    _lock_file(journal_path(output)).unlink()
    journal.append(ok(0), hash_of(0))
    with pytest.raises(StorageError, match="was removed"):
        journal.flush()
    with pytest.raises(StorageError, match="was removed"):
        journal.close()
    assert told == []


def test_lock_of_another_is_left(journal: Path) -> None:
    """A holder that lost its file does not remove the one of its successor."""
    with hold(journal):
        _lock_file(journal).unlink()
        with hold(journal):
            pass
        _lock_file(journal).write_text("successor")
    assert _lock_file(journal).read_text() == "successor"


def test_no_locks_on_this_file_system(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel cannot lock, the run does not begin, and the message says what to do."""

    def flock(descriptor: int, operation: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StorageError, match="file system with file locks"), hold(journal):
        pass


def test_unreadable_holder(journal: Path) -> None:
    """A holder that has not said who it is yet is still respected."""
    with hold(journal):
        _lock_file(journal).write_text("[]")
        assert holder_of(journal) is None
        with pytest.raises(LockedError, match="another process"), hold(journal):
            pass


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({}, False),
        ({"host": "elsewhere", "pid": 2**22 + 1}, False),
        ({"boot": "another"}, True),
        ({"pid": 2**22 + 1}, True),
    ],
    ids=["here", "elsewhere", "rebooted", "ended"],
)
def test_who_is_gone(change: dict[str, str | int], gone: bool) -> None:
    """A process is called gone only if that can be known from here."""
    here = Holder.here()
    fields = {"host": here.host, "pid": here.pid, "since": here.since, "boot": here.boot}
    assert Holder(**{**fields, **change}).gone() is gone  # type: ignore[arg-type]


def test_who_may_not_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's process is there, though it may not be signalled."""

    def kill(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", kill)
    assert not Holder.here().gone()


def test_system_without_boot_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system does not number its starts, the rest is said."""
    monkeypatch.setattr("distilabel_endpoints._store.lock._BOOT_ID", tmp_path / "none")
    assert Holder.here().boot == ""


def _lock_file(journal: Path) -> Path:
    return journal.with_name(journal.name + ".lock")
