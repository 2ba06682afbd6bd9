"""Readers beside a writer: neither fails nor waits long, whatever happens to the file."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from journals import BY_HAND, SPEC, hash_of, ok, stored, varied, write

from distilabel_endpoints._store.journal import Journal, Pace, Reader, RowStatus
from distilabel_endpoints._store.place import journal_path
from distilabel_endpoints.errors import DamagedError, StorageError


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An output nothing was written for."""
    return tmp_path / "out.jsonl"


def test_readers_beside_a_writer(output: Path) -> None:
    """Readers in other threads see ever more whole results, and nobody meets a locked database."""
    journal = Journal(output, SPEC, pace=Pace(group=8, delay=0))
    ended = threading.Event()
    errors: list[BaseException] = []

    def read() -> None:
        seen = 0
        try:
            while not ended.is_set():
                with Reader(output) as reader:
                    found = [record.result for record in reader.results()]
                    assert found == [varied(n) for n in range(len(found))]
                    assert len(found) >= seen
                    seen = len(found)
                    assert reader.statistics().ok + reader.statistics().failed >= seen
                    assert reader.damaged == 0
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            errors.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    with journal:
        for ordinal in range(600):
            journal.append(varied(ordinal), hash_of(ordinal))
            if ordinal % 20 == 0:
                journal.flush()
    ended.set()
    for reader in readers:
        reader.join()
    assert errors == []
    assert len(stored(output)) == 600


def test_half_read_results_hold_no_lock(output: Path) -> None:
    """A reader that stops in the middle of its results does not keep the writer waiting."""
    write(output, map(ok, range(3000)))
    with Journal(output, SPEC, pace=BY_HAND) as journal, journal.reader() as reader:
        results = reader.results()
        next(results)
        journal.append(ok(9000), hash_of(9000))
        journal.flush()
        assert sum(1 for _ in results) == 3000


def test_what_a_killed_writer_left(output: Path) -> None:
    """A reader that comes first after a kill in a commit undoes it and reads the committed."""
    crashed = _killed_in_a_commit(output)
    assert stored(crashed) == {n: ok(n) for n in range(50)}
    write(crashed, [ok(50)])
    assert stored(crashed) == {n: ok(n) for n in range(51)}


def test_a_resume_after_a_killed_writer(output: Path) -> None:
    """So does the next writer."""
    crashed = _killed_in_a_commit(output)
    write(crashed, [])
    assert stored(crashed) == {n: ok(n) for n in range(50)}


def test_a_rollback_journal_without_its_journal(output: Path) -> None:
    """What a deleted journal's writer left is not played into the new one."""
    crashed = _killed_in_a_commit(output)
    journal_path(crashed).unlink()
    write(crashed, [ok(1)])
    assert stored(crashed) == {1: ok(1)}


def _killed_in_a_commit(output: Path) -> Path:
    """A copy of the files as they stand when results are written and not yet committed."""
    write(output, map(ok, range(50)))
    crashed = output.parent / "crashed" / output.name
    crashed.parent.mkdir()
    with Journal(output, SPEC) as journal:
        db = journal._database._db
        db.execute("PRAGMA cache_size = 1")
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE results SET payload = zeroblob(2000)")
        for path in output.parent.glob(f"{output.name}.journal*"):
            shutil.copy(path, crashed.parent)
        db.execute("ROLLBACK")
    hot = crashed.with_name(f"{output.name}.journal-journal").read_bytes()
    assert hot[:8] == b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
    return crashed


def test_reader_of_an_older_run(output: Path) -> None:
    """A reader does not mix two runs: when the output is begun anew, it says so."""
    write(output, map(ok, range(3000)))
    with Reader(output) as reader:
        results = reader.results()
        next(results)
        Journal(output, {"other": 1}, fresh=True).close()
        with pytest.raises(StorageError, match="started over"):
            list(results)


def test_reader_cannot_touch_a_successor(output: Path) -> None:
    """A reader of a replaced file does not play the new file's rollback journal into the old."""
    write(output, map(ok, range(50)))
    with Reader(output) as reader:
        crashed = _killed_in_a_commit(output.with_name("successor"))
        before = crashed.with_name("successor.journal-journal").read_bytes()
        for path in crashed.parent.glob("successor.journal*"):
            path.rename(output.parent / path.name.replace("successor", output.name))
        with pytest.raises(StorageError):
            reader._database.totals()
        assert (
            journal_path(output).with_name(f"{output.name}.journal-journal").read_bytes() == before
        )


def test_rebuilt_under_a_reader(output: Path) -> None:
    """A reader continues where it was after a damaged journal was rebuilt under it."""
    write(output, map(ok, range(3000)))
    with Reader(output) as reader:
        results = reader.results()
        first = next(results)
        _break(journal_path(output))
        Journal(output, SPEC).close()
        found = [first, *results]
    assert [record.result for record in found] == [ok(n) for n in range(3000)]


def test_reader_rebuilds_what_no_run_writes(output: Path) -> None:
    """Export and status work on a broken journal: it is rebuilt, and the broken one kept."""
    write(output, map(ok, range(100)))
    _break(journal_path(output))
    with Reader(output) as reader:
        assert reader.statistics().ok == 100
        assert reader.replay().find(7, hash_of(7)) is RowStatus.OK
    assert output.with_name("out.jsonl.journal.damaged").exists()


def test_reader_leaves_a_running_writer_alone(output: Path) -> None:
    """While a run writes it, a broken journal is reported and not touched."""
    write(output, map(ok, range(100)))
    with Journal(output, SPEC):
        _break(journal_path(output))
        broken = journal_path(output).read_bytes()
        with pytest.raises(DamagedError, match="next run on this output rebuilds"):
            stored(output)
        assert journal_path(output).read_bytes() == broken


def test_deleted_under_a_reader(output: Path) -> None:
    """A journal that was deleted is said to be missing."""
    write(output, map(ok, range(10)))
    with Reader(output) as reader:
        journal_path(output).unlink()
        with pytest.raises(StorageError, match="There is no journal"):
            reader.statistics()


def test_damaged_record_is_left_out(output: Path) -> None:
    """A result that fails its checksum is not handed out, and counted."""
    write(output, map(ok, range(10)))
    content = journal_path(output).read_bytes()
    assert content.count(b"answer 4") == 1
    journal_path(output).write_bytes(content.replace(b"answer 4", b"answer 5"))
    with Reader(output) as reader:
        assert [record.ordinal for record in reader.results()] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
        assert reader.damaged == 1


def _break(path: Path) -> None:
    """Destroy the root of the results' tree, without replacing the file."""
    with path.open("r+b") as file:
        file.seek(4096 * 2)
        file.write(b"\xff" * 4096)
