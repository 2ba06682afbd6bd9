"""The journal at rest and in good health: what is kept, what is refused, what is answered."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
from journals import BY_HAND, SPEC, failed, hash_of, ok, stored, write

from distilabel_endpoints._store.journal import Journal, Reader, Record, Repair, RowStatus
from distilabel_endpoints._store.journal.header import FORMAT, Header
from distilabel_endpoints._store.journal.record import seal
from distilabel_endpoints._store.journal.recovery import _replace
from distilabel_endpoints._store.place import check_space, journal_path
from distilabel_endpoints.errors import DamagedError, FingerprintError, StorageError
from distilabel_endpoints.records import Completion, Failure, FailureKind, Result, Usage


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An output nothing was written for."""
    return tmp_path / "out.jsonl"


def test_resume_finds_what_was_written(output: Path) -> None:
    """Results come back as they were, in input order, over any number of resumes."""
    write(output, [ok(2), failed(0)])
    write(output, [ok(1)])
    assert stored(output) == {0: failed(0), 1: ok(1), 2: ok(2)}
    assert list(stored(output)) == [0, 1, 2]


def test_told_after_the_commit(output: Path) -> None:
    """A row is reported once, in order, and what is reported is already on the disk."""
    told: list[int] = []

    def committed(records: list[Record]) -> None:
        assert {record.ordinal for record in records} <= set(stored(output))
        told.extend(record.ordinal for record in records)

    with Journal(output, SPEC, on_committed=committed, pace=BY_HAND) as journal:
        for ordinal in (5, 3, 4):
            journal.append(ok(ordinal), hash_of(ordinal))
        assert journal.backlog == 3
        assert told == []
        journal.flush()
        assert (told, journal.backlog) == ([5, 3, 4], 0)
        journal.append(ok(9), hash_of(9))
    assert told == [5, 3, 4, 9]


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (ok(1, "a"), ok(1, "b"), ok(1, "a")),
        (ok(1), failed(1), ok(1)),
        (failed(1), ok(1), ok(1)),
        (failed(1, "old"), failed(1, "new"), failed(1, "new")),
    ],
)
@pytest.mark.parametrize("apart", [True, False], ids=["two commits", "one commit"])
def test_precedence(output: Path, first: Result, second: Result, kept: Result, apart: bool) -> None:
    """`ok` beats `failed`, the first `ok` stays, the last `failed` counts."""
    with Journal(output, SPEC, pace=BY_HAND) as journal:
        journal.append(first, hash_of(1))
        if apart:
            journal.flush()
        journal.append(second, hash_of(1))
    assert stored(output) == {1: kept}


@pytest.mark.parametrize("second", [ok(1, "new"), failed(1)])
def test_other_content_replaces(output: Path, second: Result) -> None:
    """A result for another content at the same place takes the place of the old one."""
    write(output, [ok(1, "old")])
    with Journal(output, SPEC) as journal:
        journal.append(second, b"another row")
    assert stored(output) == {1: second}


def test_other_spec_is_refused(output: Path) -> None:
    """Each field that differs is named with both values, shortened, and both ways on are said."""
    write(output, [ok(0)])
    with pytest.raises(FingerprintError) as caught:
        Journal(output, {"temperature": 0.7, "stop": ["x" * 100]})
    assert caught.value.differences == {
        "model_id": ('"some/model"', "absent"),
        "stop": ("absent", f'["{"x" * 100}"]'),
        "temperature": ("0.5", "0.7"),
    }
    text = str(caught.value)
    assert text.startswith("out.jsonl was started with other settings")
    assert "temperature: 0.5 -> 0.7" in text
    assert "x" * 61 not in text
    assert "--fresh" in text
    assert "another output" in text
    assert stored(output) == {0: ok(0)}


def test_same_spec_whatever_its_types(output: Path) -> None:
    """Tuples and lists, and any order of fields, are the same spec; `True` is not `1`."""
    spec: dict[str, Any] = {"a": (1, 2), "b": {"x": True}}
    Journal(output, spec).close()
    Journal(output, {"b": {"x": True}, "a": [1, 2]}).close()
    with pytest.raises(FingerprintError, match="b: "):
        Journal(output, {"b": {"x": 1}, "a": [1, 2]})


@pytest.mark.parametrize("rows", [None, 0, 5])
def test_fresh_begins_anew(output: Path, rows: int | None) -> None:
    """`fresh` drops results and spec, if there are any."""
    if rows is not None:
        write(output, map(ok, range(rows)))
    with Journal(output, {"other": 1}, fresh=True) as journal:
        journal.append(ok(7), hash_of(7))
    assert stored(output) == {7: ok(7)}
    with Reader(output) as reader:
        assert reader.header.spec == {"other": 1}
        assert set(reader.header.versions) == {"distilabel-endpoints", "python"}


@pytest.mark.parametrize("content", [b"my own notes\n", b"SQLite format 3\0" + b"\xff" * 9000])
def test_foreign_file_is_refused(output: Path, content: bytes) -> None:
    """A file that is not a journal is left as it is; `fresh` keeps it under another name."""
    path = journal_path(output)
    path.write_bytes(content)
    with pytest.raises(DamagedError, match="--fresh"):
        Journal(output, SPEC)
    assert path.read_bytes() == content
    Journal(output, SPEC, fresh=True).close()
    assert path.with_name("out.jsonl.journal.damaged").read_bytes() == content
    assert stored(output) == {}


def test_foreign_database_is_refused(output: Path) -> None:
    """A database that is not ours is not resumed either."""
    db = sqlite3.connect(journal_path(output))
    db.execute("CREATE TABLE results (ordinal INTEGER PRIMARY KEY)")
    db.close()
    with pytest.raises(DamagedError, match="is not a journal"):
        Journal(output, SPEC)


def test_empty_file_is_nothing(output: Path) -> None:
    """A journal of no bytes has nothing to protect; that there was one is said."""
    journal_path(output).touch()
    with Journal(output, SPEC) as journal:
        assert journal.repair == Repair(rebuilt=True)
        journal.append(ok(1), hash_of(1))
    assert stored(output) == {1: ok(1)}


def test_newer_format_is_refused(output: Path) -> None:
    """A journal this version could misread is left alone, with the way to fix it."""
    header = Header(spec=SPEC, created="", versions={}, format=FORMAT + 1)
    _replace(journal_path(output), header)
    with pytest.raises(StorageError, match="Upgrade"):
        Journal(output, SPEC)


@pytest.mark.promise("S14")
def test_owner_only(output: Path) -> None:
    """Every file beside the output is for its owner only, from when it is made."""

    def records() -> Iterator[Record]:
        modes.update(_modes(output))
        yield seal(ok(0), hash_of(0))

    modes: dict[str, int] = {}
    before = os.umask(0)
    try:
        _replace(journal_path(output), Header.new(SPEC), records())
        with Journal(output, SPEC) as journal:
            journal.append(ok(1), hash_of(1))
            journal.flush()
            modes.update(_modes(output))
    finally:
        os.umask(before)
    suffixes = ("", "-journal", ".lock", ".new")
    assert modes == {f"out.jsonl.journal{suffix}": 0o600 for suffix in suffixes}


@pytest.mark.promise("S14")
def test_opened_up_and_closed(output: Path) -> None:
    """A journal somebody opened up to others is closed again."""
    write(output, [ok(0)])
    journal_path(output).chmod(0o664)
    Journal(output, SPEC).close()
    assert _modes(output) == {"out.jsonl.journal": 0o600}


def _modes(output: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in output.parent.iterdir()}


@pytest.mark.promise("S10")
@pytest.mark.parametrize("suffix", [".journal", ".journal.lock"])
@pytest.mark.parametrize("fresh", [True, False])
def test_links_are_refused(output: Path, suffix: str, fresh: bool) -> None:
    """Where a symbolic link stands in the way, nothing is written through it."""
    target = output.with_name("target")
    write(target, [ok(0)])
    before = journal_path(target).read_bytes()
    output.with_name(output.name + suffix).symlink_to(journal_path(target))
    with pytest.raises(StorageError, match="is a symbolic link"):
        Journal(output, SPEC, fresh=fresh)
    assert journal_path(target).read_bytes() == before


@pytest.mark.promise("S10")
def test_link_to_nowhere_is_refused(output: Path) -> None:
    """Nor is a file made where a dangling link points."""
    target = output.with_name("target")
    journal_path(output).symlink_to(target)
    with pytest.raises(StorageError, match="is a symbolic link"):
        Journal(output, SPEC)
    with pytest.raises(StorageError, match="is a symbolic link"):
        Reader(output)
    assert not target.exists()


def test_directory_in_the_way(output: Path) -> None:
    """A directory of that name is said to be one."""
    journal_path(output).mkdir()
    with pytest.raises(StorageError, match="not an ordinary file"):
        Journal(output, SPEC)


def test_directory_links_are_followed(tmp_path: Path) -> None:
    """The output's directory may be a link, as homes on clusters are."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link" / "out.jsonl", [ok(0)])
    assert stored(tmp_path / "real" / "out.jsonl") == {0: ok(0)}


@pytest.mark.parametrize("name", ["a b.jsonl", "a?mode=ro#%41.jsonl", "ü.jsonl", "\udcff.jsonl"])
def test_any_name(tmp_path: Path, name: str) -> None:
    """An output may have any name the file system takes."""
    output = tmp_path / name
    write(output, [ok(0)])
    assert stored(output) == {0: ok(0)}
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.journal"]


def test_no_directory(tmp_path: Path) -> None:
    """Where there is no directory the error names the path."""
    output = tmp_path / "none" / "out.jsonl"
    with pytest.raises(StorageError, match="No such file"):
        Journal(output, SPEC)
    with pytest.raises(StorageError, match="There is no journal"):
        Reader(output)


def test_made_durable_in_order(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new journal is on the disk before it gets its name, and then so is the name."""
    synced: list[tuple[str, bool]] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        kind = "directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        synced.append((kind, journal_path(output).exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    Journal(output, SPEC).close()
    assert synced == [("file", False), ("directory", True)]


def test_left_over_draft(output: Path) -> None:
    """A journal that was being made when its process died is made anew."""
    output.with_name("out.jsonl.journal.new").write_bytes(b"half")
    output.with_name("out.jsonl.journal-journal").write_bytes(b"\xd9\xd5\x05\xf9 \xa1c\xd7" * 600)
    write(output, [ok(0)])
    assert stored(output) == {0: ok(0)}
    assert [path.name for path in output.parent.iterdir()] == ["out.jsonl.journal"]


def test_replay(output: Path) -> None:
    """Each input row is new, done, failed or another than it was; asked in order or not."""
    write(output, [ok(0), failed(2), *map(ok, range(10, 5000))])
    with Reader(output) as reader:
        replay = reader.replay()
        asked = {ordinal: replay.find(ordinal, hash_of(ordinal)) for ordinal in range(5010)}
        assert asked[0] is RowStatus.OK
        assert asked[2] is RowStatus.FAILED
        assert {asked[n] for n in range(10, 5000)} == {RowStatus.OK}
        assert {asked[n] for n in (1, *range(3, 10), *range(5000, 5010))} == {RowStatus.ABSENT}
        assert replay.find(2, b"other") is RowStatus.ABSENT
        assert replay.find(4999, b"other") is RowStatus.CHANGED
        assert [entry.ordinal for entry in reader.entries(4990)] == [*range(4990, 5000)]


def test_ranges_of_results(output: Path) -> None:
    """A part of the results can be asked for; what is large does not come all at once."""
    text = "x" * 1_500_000
    write(output, [ok(n, text) for n in range(8)])
    with Reader(output) as reader:
        assert [record.ordinal for record in reader.results(2, 6)] == [2, 3, 4, 5]
        assert len(reader._database.records(0)) == 3
        assert [record.status for record in reader.results(7)] == ["ok"]


def test_statistics(output: Path) -> None:
    """Counts and tokens, and the reasons of failed rows with the first row of each."""
    filtered = Failure(kind=FailureKind.CONTENT, message="no", code="content_filter")
    half = Result(
        ordinal=8,
        completions=(Completion(text="x"), None),
        failures=(None, filtered),
        usages=(Usage(7, None), Usage(2**70, -5)),
        attempts=3,
    )
    write(output, [ok(0), ok(1), half, *(failed(n, f"{n} tokens") for n in (5, 4, 6))])
    with Reader(output) as reader:
        found = reader.statistics()
    assert (found.ok, found.failed, found.attempts) == (2, 4, 11)
    assert (found.input_tokens, found.output_tokens) == (6 + 2**38, 10)
    first, other = found.failures
    assert (first.example_ordinal, first.count, first.message) == (4, 3, "4 tokens")
    assert (other.example_ordinal, other.count, other.code) == (8, 1, "content_filter")


def test_notes(output: Path) -> None:
    """A note is durable after a flush, and replaces the last one of its name."""
    with Journal(output, SPEC, pace=BY_HAND) as journal, journal.reader() as reader:
        assert reader.note("export") is None
        journal.write_note("export", {"rows": 1})
        journal.write_note("input", "ü")
        journal.flush()
        journal.write_note("export", {"rows": 2})
    Journal(output, SPEC).close()
    with Reader(output) as reader:
        assert reader.note("export") == {"rows": 2}
        assert reader.note("input") == "ü"


def test_what_cannot_be_stored(output: Path) -> None:
    """A value that is not JSON is the caller's error, and the journal stays usable."""
    with Journal(output, SPEC) as journal:
        broken = Result(ordinal=0, completions=(Completion(text="", logprobs={1j}),), failures=())
        with pytest.raises(TypeError, match="set"):
            journal.append(broken, hash_of(0))
        journal.append(ok(1), hash_of(1))
    assert stored(output) == {1: ok(1)}


def test_closed(output: Path) -> None:
    """After `close` nothing is taken and only the journal is left; `close` may come again."""
    journal = Journal(output, SPEC)
    journal.close()
    journal.close()
    with pytest.raises(StorageError, match="closed"):
        journal.append(ok(0), hash_of(0))
    assert [path.name for path in output.parent.iterdir()] == ["out.jsonl.journal"]


def test_closed_reader(output: Path) -> None:
    """A closed reader is a mistake of the caller, and no fault of the disk."""
    write(output, [])
    with Reader(output) as reader:
        pass
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        reader.statistics()


def test_run_from_a_folder(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that was not installed has no version, and its journals say so."""

    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("distilabel_endpoints._store.journal.header.version", version)
    write(output, [])
    with Reader(output) as reader:
        assert reader.header.versions["distilabel-endpoints"] == "unknown"


def test_space_is_checked(output: Path) -> None:
    """A disk without the room is refused before the start; so is one that is not there."""
    check_space(output, 1000)
    with pytest.raises(StorageError, match="Free some space"):
        check_space(output, 10**18)
    with pytest.raises(StorageError, match="No such file"):
        check_space(output / "none" / "out.jsonl", 1)


def test_failed_rows_are_forgotten_from_a_row_on(tmp_path: Path) -> None:
    """Those before it, and all that were answered, stay."""
    output = tmp_path / "out.jsonl"
    write(output, [failed(0), ok(1), failed(2), ok(3), failed(4)])
    with Journal(output, SPEC) as journal:
        journal.forget_failed(2)
    assert [*stored(output)] == [0, 1, 3]


def test_one_row_is_read_by_its_place(tmp_path: Path) -> None:
    """Its result, or nothing if it has none."""
    output = tmp_path / "out.jsonl"
    write(output, [ok(1)])
    with Reader(output) as reader:
        assert (reader.result(1), reader.result(0)) == (ok(1), None)


def test_settings_may_change_while_nothing_was_answered(tmp_path: Path) -> None:
    """Failures alone bind a run to no settings: they are dropped with the old ones."""
    output = tmp_path / "out.jsonl"
    write(output, [failed(0)])
    changed = {**SPEC, "temperature": 0.7}
    with Journal(output, changed) as journal:
        journal.append(ok(0), hash_of(0))
    assert stored(output) == {0: ok(0)}
    with pytest.raises(FingerprintError), Journal(output, SPEC):
        pass
