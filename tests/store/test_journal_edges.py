"""Exact words, counts and borders of the journal, where a range or a type would hide a change."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import pytest
from journals import BY_HAND, SPEC, failed, hash_of, into, ok, stored, write

from distilabel_endpoints._store.journal import (
    Entry,
    Journal,
    Reader,
    Repair,
    Replay,
    RowStatus,
)
from distilabel_endpoints._store.journal.commit import Committer
from distilabel_endpoints._store.journal.database import Database, fill
from distilabel_endpoints._store.journal.header import FORMAT, Header, refuse_other_spec
from distilabel_endpoints._store.journal.record import Record, seal
from distilabel_endpoints._store.journal.recovery import _replace
from distilabel_endpoints._store.lock import hold, lock_path
from distilabel_endpoints._store.place import check_space, identity, journal_path, storage_errors
from distilabel_endpoints.errors import DamagedError, FingerprintError, StorageError
from distilabel_endpoints.records import Result, Usage

PAGE = 4096


@pytest.fixture
def output() -> Iterator[Path]:
    """An output nothing was written for, in memory where there is some: no test needs the disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as place:
        yield Path(place) / "out.jsonl"


@pytest.fixture
def path(output: Path) -> Path:
    """Where its journal is to lie."""
    return journal_path(output)


def records(results: Iterable[Result], damaged: Iterable[int] = ()) -> list[Record]:
    """Sealed results, of which some say that they ended otherwise."""
    whole = [seal(result, hash_of(result.ordinal)) for result in results]
    return [r._replace(attempts=99) if r.ordinal in {*damaged} else r for r in whole]


def made(path: Path, records: Iterable[Record]) -> None:
    """A journal of these records, whatever their checksums say."""
    fill(path, Header.new(SPEC), records)


# Damage: what is lost is counted exactly, wherever it lies.


def test_every_damaged_record_is_dropped_and_counted(output: Path, path: Path) -> None:
    """The first of all, the last of a chunk and the first of the next are looked at as well."""
    damaged = [0, 1023, 1024, 1099]
    made(path, records(map(ok, range(1100)), damaged))
    with Reader(output) as reader:
        whole = [record.ordinal for record in reader.results()]
        assert whole == sorted({*range(1100)} - {*damaged})
        assert reader.damaged == 4
    with Journal(output, SPEC) as journal:
        assert journal.repair == Repair(damaged=4)
    assert [*stored(output)] == whole


def test_what_a_rebuild_loses_is_counted(output: Path, path: Path) -> None:
    """A record that is wrong and a row that cannot be read are two lost; a header is not a loss."""
    made(path, records([ok(0), ok(1), ok(2, "x" * 30_000)], damaged=[1]))
    content = path.read_bytes()
    path.write_bytes(bytes(PAGE) + content[PAGE : 5 * PAGE] + bytes(len(content) - 5 * PAGE))
    with Journal(output, SPEC) as journal:
        assert journal.repair == Repair(damaged=2, rebuilt=True)
    assert stored(output) == {0: ok(0)}
    assert path.with_name(path.name + ".damaged").exists()


@pytest.mark.parametrize(
    "harm",
    [
        "DELETE FROM header",
        "INSERT INTO header SELECT * FROM header",
        "UPDATE header SET value = NULL",
        "UPDATE header_copy SET checksum = NULL",
    ],
)
def test_a_header_that_is_not_one_is_written_again(output: Path, path: Path, harm: str) -> None:
    """The other copy is believed, and afterwards both are there, once each."""
    write(output, [ok(0)])
    _execute(path, harm)
    with Journal(output, SPEC) as journal:
        assert journal.repair == Repair()
    with closing(Database(path, writable=True)) as store:
        first, second = store.headers()
        assert first == second
        assert first is not None
    assert stored(output) == {0: ok(0)}


def test_without_any_header_nothing_is_believed(output: Path, path: Path) -> None:
    """The error says which file, why, and both ways on, to a run and to a reader alike."""
    write(output, [ok(0)])
    _execute(path, "DELETE FROM header")
    _execute(path, "DELETE FROM header_copy")
    said = (
        f"{path} is not a journal, or does not show which run it belongs to, as it is damaged. "
        "So its results may not be this run's. Use --fresh to start over (the file is kept "
        "with '.damaged' added to its name), or write to another output."
    )
    for _ in ("sound", "broken"):
        for look in (lambda: Journal(output, SPEC), lambda: Reader(output)):
            with pytest.raises(DamagedError) as caught:
                look()
            assert str(caught.value) == said
        path.write_bytes(bytes(PAGE) + path.read_bytes()[PAGE:])


@pytest.mark.parametrize("reads", [0, 4])
def test_a_broken_file_that_cannot_be_read_is_named(
    output: Path, path: Path, reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the disk fails in the search for a header or in that for rows."""
    write(output, map(ok, range(50)))
    content = bytes(PAGE) + path.read_bytes()[PAGE:]
    path.write_bytes(content)
    real, calls = os.pread, [0]

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        calls[0] += 1
        if calls[0] > reads:
            raise OSError(5, "Input/output error")
        return real(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    for look in (lambda: Journal(output, SPEC), lambda: Reader(output)):
        calls[0] = 0
        with pytest.raises(StorageError) as caught:
            look()
        assert str(caught.value) == f"{path}: Input/output error."
    assert path.read_bytes() == content


def test_a_sound_journal_is_opened_without_a_write(output: Path, path: Path) -> None:
    """Nothing is repaired that is whole: its bytes stay as they are."""
    write(output, map(ok, range(50)))
    before = path.read_bytes()
    write(output, [])
    assert path.read_bytes() == before


STORE_CALLS: dict[str, Callable[[Database], object]] = {
    "check": lambda store: store.check(),
    "headers": lambda store: store.headers(),
    "write_header": lambda store: store.write_header(Header.new(SPEC)),
    "commit": lambda store: store.commit(records([ok(1)])),
    "discard": lambda store: store.discard([0]),
    "note": lambda store: store.note("n"),
    "entries": lambda store: store.entries(0),
    "records": lambda store: store.records(0),
    "totals": lambda store: store.totals(),
    "last": lambda store: store.last(),
}


@pytest.mark.parametrize("call", STORE_CALLS.values(), ids=STORE_CALLS)
def test_damage_is_named_whoever_meets_it(
    output: Path, path: Path, call: Callable[[Database], object]
) -> None:
    """Every access to a file that broke under its connection says which file it was, and how."""
    write(output, [ok(0)])
    with closing(Database(path, writable=True)) as store:
        store.totals()
        path.write_bytes(bytes(PAGE) + path.read_bytes()[PAGE:])
        with pytest.raises(DamagedError) as caught:
            call(store)
    assert str(caught.value) == f"{path} is damaged: file is not a database."


def test_a_file_that_is_no_journal_is_named(path: Path) -> None:
    """As soon as it is opened to be written."""
    path.write_bytes(b"x" * PAGE)
    with pytest.raises(DamagedError) as caught:
        Database(path, writable=True)
    assert str(caught.value) == f"{path} is damaged: file is not a database."


def test_how_a_journal_is_not_built_is_told(output: Path, path: Path) -> None:
    """What somebody added to it, or the first thing that SQLite finds wrong with it."""
    write(output, map(ok, range(300)))
    with path.open("r+b") as file:
        file.seek(2 * PAGE + 3)
        file.write(b"\x00\x01")
    with closing(Database(path, writable=True)) as store:
        with pytest.raises(DamagedError, match=rf"^{re.escape(str(path))} is damaged: "):
            store.check()
        store._db.execute("CREATE TABLE mine (x)")
        with pytest.raises(DamagedError) as caught:
            store.check()
    assert str(caught.value) == f"{path} is not built like a journal."


def test_a_row_that_comes_twice_is_damage(output: Path, path: Path) -> None:
    """It is handed out once; where the file may not be rebuilt now, that is said."""
    write(output, map(ok, range(4)))
    with path.open("r+b") as file:
        file.seek(2 * PAGE + 12)
        pointer = file.read(2)
        file.write(pointer)
    with hold(path), Reader(output) as reader:
        with pytest.raises(DamagedError) as caught:
            list(reader.results())
        said = f"{path} is damaged: its results are out of order. out.jsonl is being written by"
        assert str(caught.value).startswith(said)
        assert str(caught.value).endswith(
            "The next run on this output rebuilds it and keeps what is whole."
        )
    assert [*stored(output)] == [0, 1, 2]


def test_an_opened_reader_cannot_write(output: Path, path: Path) -> None:
    """Neither as it was opened, nor after the file was rebuilt under it."""
    write(output, map(ok, range(50)))
    with Reader(output) as reader:
        for damaged in (False, True):
            if damaged:
                path.write_bytes(bytes(PAGE) + path.read_bytes()[PAGE:])
            assert reader.statistics().ok == 50
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                reader._database._db.execute("DELETE FROM results")


# Fresh: what is dropped, and what is kept.


@pytest.mark.parametrize("there", [False, True])
def test_fresh_keeps_what_was_kept_before(output: Path, path: Path, there: bool) -> None:
    """A damaged file that was put aside stays, unless another takes its place."""
    kept = path.with_name(path.name + ".damaged")
    kept.write_bytes(b"earlier")
    if there:
        write(output, [ok(0)])
    Journal(output, SPEC, fresh=True).close()
    assert kept.read_bytes() == b"earlier"
    path.write_bytes(b"no journal")
    Journal(output, SPEC, fresh=True).close()
    assert kept.read_bytes() == b"no journal"


def test_fresh_after_a_kill_in_a_commit(output: Path, path: Path) -> None:
    """What a killed writer left is not damage: it goes, with its rollback journal."""
    write(output, map(ok, range(50)))
    crashed = output.parent / "crashed" / output.name
    crashed.parent.mkdir()
    with closing(Database(path, writable=True)) as store:
        store._db.execute("PRAGMA cache_size = 1")
        store._db.execute("BEGIN IMMEDIATE")
        store._db.execute("UPDATE results SET payload = zeroblob(2000)")
        for file in output.parent.glob(f"{output.name}.journal*"):
            shutil.copy(file, crashed.parent)
    assert len([*crashed.parent.iterdir()]) == 2
    with Journal(crashed, {"other": 1}, fresh=True) as journal:
        assert journal.repair == Repair()
    assert [file.name for file in crashed.parent.iterdir()] == ["out.jsonl.journal"]
    assert stored(crashed) == {}


@pytest.mark.parametrize("error", [PermissionError, NotImplementedError])
def test_a_damaged_file_that_cannot_be_kept(
    output: Path, path: Path, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a system without hard links says of them, the new journal takes its place."""

    def link(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(os, "link", link)
    path.write_bytes(b"no journal")
    Journal(output, SPEC, fresh=True).close()
    assert [file.name for file in output.parent.iterdir()] == ["out.jsonl.journal"]


# Writing: settings on which durability rests, and the words when it fails.


def test_a_writer_waits_for_the_disk(output: Path, path: Path) -> None:
    """Each commit is synced, into a rollback journal that stays; a busy file is waited for."""
    write(output, [])
    with closing(Database(path, writable=True)) as store:
        names = ("synchronous", "journal_mode", "busy_timeout", "trusted_schema", "cell_size_check")
        found = [store._db.execute(f"PRAGMA {name}").fetchone()[0] for name in names]
    assert found == [2, b"persist", 30_000, 0, 1]


def test_a_full_disk_is_named(output: Path, path: Path) -> None:
    """With what to do, and that nothing committed is lost."""
    write(output, [ok(0)])
    with closing(Database(path, writable=True)) as store:
        store._db.execute("PRAGMA max_page_count = 9")
        with pytest.raises(StorageError) as caught:
            store.commit(records([ok(1, "x" * 90_000)]))
    assert str(caught.value) == (
        f"{path}: database or disk is full (SQLITE_FULL). Free some space. "
        "What was committed is safe; run the same command again to resume."
    )
    assert stored(output) == {0: ok(0)}


@pytest.mark.parametrize(("synced", "name"), [(0, "out.jsonl.journal.new"), (1, "")])
def test_a_new_journal_that_cannot_be_made_durable_is_not_begun(
    output: Path, synced: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where its content cannot, nor where its name in the folder cannot."""
    real, calls = os.fsync, [0]

    def fsync(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] > synced:
            raise OSError(5, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError) as caught:
        Journal(output, SPEC)
    assert str(caught.value) == f"{output.parent / name}: Input/output error."
    assert not output.with_name("out.jsonl.journal.new").exists()


def test_a_new_journal_that_cannot_get_its_name_is_not_begun(
    output: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stood there stays, and no draft does."""
    path.write_bytes(b"")

    def rename(*_: object) -> Path:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "replace", rename)
    with pytest.raises(StorageError) as caught:
        Journal(output, SPEC)
    assert str(caught.value) == f"{path}: Input/output error."
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize(
    ("mode", "after"), [(0o604, 0o600), (0o610, 0o600), (0o600, 0o600), (0o700, 0o700)]
)
def test_a_journal_is_closed_to_others(output: Path, path: Path, mode: int, after: int) -> None:
    """Whatever others may do with it; what its owner may do is left alone."""
    write(output, [])
    path.chmod(mode)
    write(output, [])
    assert stat.S_IMODE(path.stat().st_mode) == after


def test_a_journal_that_cannot_be_closed_to_others_is_named(
    output: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where its owner is another user."""
    write(output, [])
    path.chmod(0o666)

    def chmod(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", chmod)
    with pytest.raises(StorageError) as caught:
        Journal(output, SPEC)
    assert str(caught.value) == f"{path}: Operation not permitted."


def test_a_new_file_that_cannot_be_written_is_named(path: Path) -> None:
    """And nothing of it is left, not even its draft."""
    wrong = Record._make(("first", *records([ok(0)])[0][1:]))
    with pytest.raises(StorageError) as caught:
        _replace(path, Header.new(SPEC), [wrong])
    assert str(caught.value) == (
        f"{path}.new: datatype mismatch (SQLITE_MISMATCH). "
        "What was committed is safe; run the same command again to resume."
    )
    assert [*path.parent.iterdir()] == []


def test_a_replaced_journal_is_named(output: Path, path: Path) -> None:
    """A commit to a file that lost its name says where its results are."""
    write(output, [])
    with closing(Database(path, writable=True)) as store:
        path.unlink()
        with pytest.raises(StorageError) as caught:
            store.commit(records([ok(0)]))
    assert str(caught.value) == (
        f"{path} was deleted or replaced while it was in use. "
        "What was committed there is in the file that was taken away."
    )
    with pytest.raises(StorageError) as caught:
        Database(path, writable=True)
    assert str(caught.value) == f"There is no journal at {path}."


def test_a_run_whose_journal_fails_is_told_and_lets_go(output: Path, path: Path) -> None:
    """Nothing is reported as committed, closing raises, and the next run gets the lock."""
    told: list[int] = []
    journal = Journal(output, SPEC, on_committed=into(told), pace=BY_HAND)
    lock_path(path).unlink()
    journal.append(ok(0), hash_of(0))
    with pytest.raises(StorageError) as caught:
        journal.close()
    assert isinstance(caught.value.__cause__, StorageError)
    assert told == []
    with hold(path):
        journal.close()


def nothing(*_: object) -> None:
    """A disk that is done at once."""


def test_the_writers_thread_is_named_and_does_not_hold_up_the_end() -> None:
    """A process whose main thread ends is not kept by a journal somebody forgot to close."""
    before = {*threading.enumerate()}
    committer = Committer(nothing, pace=BY_HAND)
    (thread,) = {*threading.enumerate()} - before
    assert (thread.name, thread.daemon) == ("journal", True)
    committer.close()
    assert not thread.is_alive()
    with pytest.raises(StorageError) as caught:
        committer.flush()
    assert str(caught.value) == "The journal is closed."


def test_a_writer_that_ended_otherwise_says_so() -> None:
    """A defect of ours is not called a failure of storage; who waits gets it, with its cause."""

    def commit(*_: object) -> None:
        raise KeyError

    committer = Committer(commit, pace=BY_HAND)
    committer.append(seal(ok(0), hash_of(0)))
    for call in (committer.flush, committer.close):
        with pytest.raises(RuntimeError) as caught:
            call()
        assert str(caught.value) == "The journal's writer ended unexpectedly."
        assert isinstance(caught.value.__cause__, KeyError)


def test_files_are_made_as_they_should_be(
    output: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never through a link, even one put there a moment ago, nor for children or others to have."""
    real, opened = os.open, []

    def note(file: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            opened.append((file, flags, mode))
        return real(file, flags, mode)

    monkeypatch.setattr(os, "open", note)
    before = os.umask(0)
    try:
        with Journal(output, SPEC):
            # Opened in one step that no interrupt can divide, so its flags are not seen here.
            assert stat.S_IMODE(lock_path(path).stat().st_mode) == 0o600
    finally:
        os.umask(before)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    assert opened == [(path.with_name(path.name + ".new"), flags, 0o600)]


# Headers, records and places: what exactly is stored and compared.


def test_a_header_is_stored_the_same_wherever_it_is_made() -> None:
    """Its bytes and their checksum are the format of the file."""
    header = Header(spec={"b": {"y": 1, "x": 2}, "a": 3}, created="now", versions={"v": "1"})
    value, checksum = header.encode()
    assert value == (
        b'{"created": "now", "format": 1, "spec": {"a": 3, "b": {"x": 2, "y": 1}},'
        b' "versions": {"v": "1"}}'
    )
    assert checksum == blake2b(value, digest_size=12).digest()
    assert Header.decode(value, checksum) == header
    assert Header.decode(value.decode(), checksum) is None
    assert Header.decode(value, checksum[:-1] + b"?") is None


def test_a_header_of_a_newer_format_is_refused() -> None:
    """With both numbers and both ways on."""
    newer = Header(spec={}, created="", versions={}, format=FORMAT + 1)
    with pytest.raises(StorageError) as caught:
        Header.decode(*newer.encode())
    assert str(caught.value) == (
        "The journal has format 2 and this version reads up to 1. "
        "Upgrade distilabel-endpoints, or write to another output."
    )


def test_a_new_header_says_when_and_by_what(monkeypatch: pytest.MonkeyPatch) -> None:
    """In UTC to the second, with the versions of the package and of Python."""
    installed = {"distilabel-endpoints": "1.2.3"}
    monkeypatch.setattr("distilabel_endpoints._store.journal.header.version", installed.__getitem__)
    header = Header.new({"a": (1, 2)})
    assert header.spec == {"a": [1, 2]}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", header.created)
    assert header.versions == {**installed, "python": platform.python_version()}


def test_specs_differ_in_values_not_in_their_order(path: Path) -> None:
    """What is nested in a field is compared whole, whatever the order it was given in."""
    one, other = (Header.new({"a": a, "b": 1}) for a in ({"x": 1, "y": 2}, {"y": 2, "x": 1}))
    refuse_other_spec(one, other, path)
    with pytest.raises(FingerprintError) as caught:
        refuse_other_spec(one, Header.new({"a": {"y": 3, "x": 1}}), path)
    assert caught.value.output == "out.jsonl"
    assert caught.value.differences == {
        "a": ('{"x": 1, "y": 2}', '{"x": 1, "y": 3}'),
        "b": ("1", "absent"),
    }


class Costs(NamedTuple):
    """Tokens of a record."""

    input_tokens: int
    output_tokens: int


@pytest.mark.parametrize(
    ("usages", "costs"),
    [
        ((), Costs(0, 0)),
        ((Usage(None, None),), Costs(0, 0)),
        ((Usage(3, 5), Usage(4, None), Usage(None, 6)), Costs(7, 11)),
        ((Usage(2**38, 2**38 + 1),), Costs(2**38, 2**38)),
        ((Usage(-1, 1),), Costs(0, 1)),
    ],
)
def test_tokens_of_a_record_are_its_requests(usages: tuple[Usage, ...], costs: Costs) -> None:
    """Their sum, without those the server did not count, and bounded."""
    record = seal(replace(ok(3), usages=usages), b"hash")
    assert (record.ordinal, record.ok, record.status, record.attempts) == (3, 1, "ok", 1)
    assert Costs(record.input_tokens, record.output_tokens) == costs
    assert len(record.checksum) == 12
    assert seal(failed(3), b"hash").status == "failed"


class Disk(NamedTuple):
    """What is asked of a disk."""

    free: int


def test_the_room_that_is_needed_is_told(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly as much as is expected is enough; where less is free, both are said in MB."""
    free = 2 * 10**15
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(free))
    check_space(output, free)
    with pytest.raises(StorageError) as caught:
        check_space(output, 3 * 10**15)
    assert str(caught.value) == (
        f"{output.parent} has 2,000,000,000 MB free and this run is expected to write "
        "3,000,000,000 MB. Free some space, or write to another disk."
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [(OSError(5, "Input/output error"), "Input/output error"), (OSError("odd"), "odd")],
)
def test_what_the_system_says_is_told_of_its_place(path: Path, error: OSError, said: str) -> None:
    """With a number or without one, and with the error it came from."""
    with pytest.raises(StorageError) as caught, storage_errors(path):
        raise error
    assert str(caught.value) == f"{path}: {said}."
    assert caught.value.__cause__ is error


def test_what_is_no_ordinary_file_is_named(path: Path) -> None:
    """What it is, or why that cannot be seen."""
    assert identity(path) is None
    path.mkdir()
    (link := path.with_name("link")).symlink_to(path)
    (file := path.with_name("file")).touch()
    for place, kind in ((path, "not an ordinary file"), (link, "a symbolic link")):
        with pytest.raises(StorageError) as caught:
            identity(place)
        said = f"{place} is {kind}. Move it away, or write to another output."
        assert str(caught.value) == said
    with pytest.raises(StorageError) as caught:
        identity(file / "in")
    assert str(caught.value) == f"{file / 'in'}: Not a directory."
    assert identity(file) == (file.stat().st_dev, file.stat().st_ino)


def test_a_folder_that_is_missing_is_named(output: Path) -> None:
    """Before the start, where the room is looked at."""
    with pytest.raises(StorageError) as caught:
        check_space(output / "out.jsonl", 1)
    assert str(caught.value) == f"{output}: No such file or directory."


# Reading: chunks meet without a gap, and without a row twice.


def test_entries_go_on_from_chunk_to_chunk(output: Path, path: Path) -> None:
    """The first row of all, and those on both sides of a border, come once each."""
    made(path, records(map(ok, range(5000))))
    with Reader(output) as reader:
        found = [*reader.entries()]
        assert [entry.ordinal for entry in found] == [*range(5000)]
        assert found[4096] == Entry(4096, 1, hash_of(4096))
        assert [entry.ordinal for entry in reader.entries(4999)] == [4999]
        assert [record.ordinal for record in reader.results(1023, 1025)] == [1023, 1024]


def test_reasons_are_gathered_over_all_chunks(output: Path, path: Path) -> None:
    """Every failed row is counted from the first on; the most frequent reason comes first."""
    odd = {0: 404, 1023: 500, 1024: 500}
    results = [failed(n, status=odd.get(n, 400)) for n in range(1500)]
    made(path, records([*results, failed(1500, status=409)]))
    with Reader(output) as reader:
        found = reader.statistics()
    assert (found.ok, found.failed, found.attempts) == (0, 1501, 3002)
    assert [(group.status, group.example_ordinal, group.count) for group in found.failures] == [
        (400, 1, 1497),
        (500, 1023, 2),
        (404, 0, 1),
        (409, 1500, 1),
    ]


def test_a_replay_reads_a_chunk_once() -> None:
    """Rows up to the last that was read need no second look, and gaps in them are absent."""
    reads: list[int] = []
    entries = [Entry(n, n % 2, hash_of(n)) for n in (0, 2, 3, 7)]

    def read(start: int) -> list[Entry]:
        reads.append(start)
        return [entry for entry in entries if entry.ordinal >= start][:2]

    replay = Replay(read, 7)
    found = [replay.find(n, hash_of(n)) for n in range(10)]
    absent, failed_, done = RowStatus.ABSENT, RowStatus.FAILED, RowStatus.OK
    assert found[:5] == [failed_, absent, failed_, done, absent]
    assert found[5:] == [absent, absent, done, absent, absent]
    assert reads == [0, 3]
    assert replay.find(1, hash_of(1)) is absent
    assert reads == [0, 3, 1]


def test_a_replay_of_rows_that_went_away() -> None:
    """Where the last rows were dropped meanwhile, all up to there are absent, in one look."""
    reads: list[int] = []

    def read(start: int) -> list[Entry]:
        reads.append(start)
        return []

    replay = Replay(read, 5)
    assert {replay.find(n, hash_of(n)) for n in range(8)} == {RowStatus.ABSENT}
    assert reads == [0]


def _execute(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(statement)
