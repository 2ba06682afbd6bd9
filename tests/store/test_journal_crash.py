"""What a journal keeps when its process is killed, its disk is full, or a write or fsync fails.

The work is done by `journal_crash.py` in a process of its own, which forks a child per case and
checks after each that every row the child was told is committed is there, whole.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from journals import BY_HAND, SPEC, hash_of, into, ok, stored

from distilabel_endpoints._store.journal import Journal, Record
from distilabel_endpoints._store.journal.database import Database
from distilabel_endpoints._store.journal.record import seal
from distilabel_endpoints._store.place import journal_path
from distilabel_endpoints.errors import StorageError

HERE = Path(__file__).parent
SCRIPT = HERE / "journal_crash.py"


@pytest.fixture
def quick_disk() -> Iterator[Path]:
    """A directory in memory where there is one: kills need no real fsync, and there are many."""
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def faulty_disk(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The library that makes calls to the disk fail, compiled here."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("faults") / "disk_faults.so"
    source = HERE / "disk_faults.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return str(library)


def crash(mode: str, directory: Path, *options: int, preload: str = "") -> dict[str, int]:
    """What `journal_crash.py` found."""
    command = [sys.executable, str(SCRIPT), mode, str(directory), *map(str, options)]
    environment = {**os.environ, "LD_PRELOAD": preload} if preload else None
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.mark.promise("R1")
def test_killed_at_random(quick_disk: Path) -> None:
    """Thirty SIGKILLs and resumes lose no committed row and write none twice."""
    found = crash("kill", quick_disk, 30, 1)
    assert found["killed"] == 30
    assert found["finished"] > 2


@pytest.mark.promise("R1")
@pytest.mark.prove
@pytest.mark.parametrize("seed", range(10))
def test_killed_often(quick_disk: Path, seed: int) -> None:
    """So do five hundred."""
    assert crash("kill", quick_disk, 50, 100 + seed)["killed"] == 50


@pytest.mark.promise("R13")
@pytest.mark.promise("R12")
@pytest.mark.parametrize(
    ("mode", "stride", "strikes"),
    [
        ("writes-once", 29, 10),
        ("writes-on", 29, 10),
        ("writes-short", 29, 10),
        ("syncs-once", 7, 10),
        ("syncs-on", 7, 10),
        ("die", 17, 20),
    ],
)
def test_struck(quick_disk: Path, faulty_disk: str, mode: str, stride: int, strikes: int) -> None:
    """A call to the disk that fails ends the writer, and what was told before it is there."""
    assert crash(mode, quick_disk, stride, preload=faulty_disk)["strikes"] >= strikes


@pytest.mark.promise("R13")
@pytest.mark.promise("R12")
@pytest.mark.prove
@pytest.mark.parametrize(
    "mode", ["writes-once", "writes-on", "writes-short", "syncs-once", "syncs-on", "die"]
)
def test_struck_everywhere(quick_disk: Path, faulty_disk: str, mode: str) -> None:
    """Whichever call it is, from the first to the last of a journal's life."""
    assert crash(mode, quick_disk, 1, preload=faulty_disk)["strikes"] > 70


@pytest.mark.promise("R12")
def test_starved(quick_disk: Path) -> None:
    """A file that may not grow any more ends the writer, at whatever size."""
    assert crash("starve", quick_disk, 30_000)["strikes"] > 5


@pytest.mark.promise("R12")
@pytest.mark.prove
def test_starved_at_every_size(quick_disk: Path) -> None:
    """In steps of an eighth of a page."""
    assert crash("starve", quick_disk, 512)["strikes"] > 500


@pytest.mark.promise("R12")
def test_disk_really_full(tmp_path: Path) -> None:
    """On a disk of one megabyte the writer ends when it is full; what was told can be read."""
    mount = 'mount -t tmpfs -o size=1m,mode=700 none "$0" && exec "$@"'
    isolated = ["unshare", "--mount", "sh", "-c", mount, str(tmp_path)]
    if not shutil.which("unshare") or subprocess.run([*isolated, "true"], check=False).returncode:
        pytest.skip("may not mount a small disk here")
    command = [*isolated, sys.executable, str(SCRIPT), "fill", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["told"] > 20


@pytest.mark.parametrize("what", ["journal", "directory", "replaced", "linked"])
def test_taken_away(tmp_path: Path, what: str) -> None:
    """Deleted or replaced under the writer, the journal is missed at the next commit."""
    output = tmp_path / "here" / "out.jsonl"
    output.parent.mkdir()
    told: list[int] = []
    journal = Journal(output, SPEC, on_committed=into(told), pace=BY_HAND)
    journal.append(ok(0), hash_of(0))
    journal.flush()
    path = journal_path(output)
    match what:
        case "journal":
            path.unlink()
        case "directory":
            shutil.rmtree(output.parent)
        case "replaced":
            Path(shutil.copy(path, tmp_path / "copy")).rename(path)
        case _:
            path.rename(tmp_path / "moved")
            path.symlink_to(tmp_path / "moved")
    journal.append(ok(1), hash_of(1))
    for call in (journal.flush, journal.flush, journal.close):
        with pytest.raises(StorageError, match=r"deleted or replaced|is a symbolic link"):
            call()
    assert told == [0]


def test_taken_away_in_a_commit(tmp_path: Path) -> None:
    """So it is in the middle of a commit, which then counts for nothing."""
    output = tmp_path / "out.jsonl"
    Journal(output, SPEC).close()

    def records() -> Iterator[Record]:
        yield seal(ok(0), hash_of(0))
        journal_path(output).unlink()

    with (
        closing(Database(journal_path(output), writable=True)) as store,
        pytest.raises(StorageError, match="deleted or replaced"),
    ):
        store.commit(records())


def test_locked_by_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that holds the database for too long ends the writer, not its data."""
    monkeypatch.setattr("distilabel_endpoints._store.journal.database._BUSY_SECONDS", 0.01)
    output = tmp_path / "out.jsonl"
    with Journal(output, SPEC, pace=BY_HAND) as first:
        for ordinal in range(9):
            first.append(ok(ordinal), hash_of(ordinal))
    journal = Journal(output, SPEC, pace=BY_HAND)
    with journal.reader() as reader:
        cursor = reader._database._db.execute("SELECT * FROM results")
        cursor.fetchone()
        journal.append(ok(9), hash_of(9))
        with pytest.raises(StorageError, match="Another program held it"):
            journal.flush()
        cursor.close()
    with pytest.raises(StorageError, match="SQLITE_BUSY"):
        journal.close()
    assert stored(output) == {n: ok(n) for n in range(9)}
