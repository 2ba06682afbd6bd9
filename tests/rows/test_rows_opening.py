"""`open_rows`: which files are meant, in which order, and Python's own iterables."""

from __future__ import annotations

import io
import subprocess
import sys
from collections import UserDict, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from row_samples import bad, good, jsonl

from distilabel_endpoints.errors import ConfigurationError, StorageError
from distilabel_endpoints.rows import BadReason, Row, open_rows


def test_folder_order_and_selection(tmp_path: Path) -> None:
    """Files of a folder come by their path as text; hidden and foreign files do not come."""
    for name in ("b.jsonl", "a/z.jsonl", "part-10.jsonl", "part-2.jsonl", "c.JSONL", "a.csv"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("name\n" + name if name.endswith("csv") else f'{{"name": "{name}"}}')
    for name in (".hidden.jsonl", "_skip.jsonl", "notes.txt", ".git/x.jsonl", "x.jsonl.part"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    source = open_rows(tmp_path)
    expected = ["a.csv", "a/z.jsonl", "b.jsonl", "c.JSONL", "part-10.jsonl", "part-2.jsonl"]
    assert [row["name"] for row in good(source)] == expected
    assert [row.place.file for row in source] == expected
    assert [Path(file.path).name for file in source.identity] == [Path(x).name for x in expected]


def test_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern gives its files by path, relative or absolute, also into folders."""
    for name in ("p-2.jsonl", "p-1.jsonl", "q.jsonl", "sub/p-3.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        jsonl(tmp_path / name, [{"n": name}])
    assert [r["n"] for r in good(open_rows(str(tmp_path / "p-*.jsonl")))] == [
        "p-1.jsonl",
        "p-2.jsonl",
    ]
    monkeypatch.chdir(tmp_path)
    assert [r["n"] for r in good(open_rows("**/p-[23].jsonl"))] == ["p-2.jsonl", "sub/p-3.jsonl"]


def test_file_with_a_pattern_in_its_name(tmp_path: Path) -> None:
    """A file that is there is taken by its name, whatever the name looks like."""
    path = jsonl(tmp_path / "what[1]?.jsonl", [{"a": 1}])
    assert good(open_rows(path)) == [{"a": 1}]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.jsonl", "no such file"),
        ("none-*.jsonl", "no file matches"),
        ("notes.txt", "give .jsonl, .json or .csv"),
        ("x.parquet.gz", "give .jsonl, .json or .csv"),
        ("empty", "no input files in"),
        ("*.txt", "cannot read"),
    ],
)
def test_nothing_to_read(tmp_path: Path, name: str, message: str) -> None:
    """What is not there or not in a known format is refused with what is."""
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "x.parquet.gz").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match=message):
        open_rows(str(tmp_path / name))


def test_identity_tells_a_changed_file(tmp_path: Path) -> None:
    """Path, size and time of change are what they are on disk."""
    path = jsonl(tmp_path / "x.jsonl", [{"a": 1}])
    before = open_rows(path).identity
    assert (before[0].path, before[0].size) == (str(path), path.stat().st_size)
    assert open_rows(path).identity == before
    jsonl(path, [{"a": 1}, {"a": 2}])
    assert open_rows(path).identity != before


@pytest.mark.parametrize("kind", [list, tuple, deque])
def test_iterables_can_be_read_again(kind: Any) -> None:
    """A collection of mappings gives its own mappings, each time."""
    items = kind([{"a": 1}, UserDict(a=2)])
    source = open_rows(items)
    assert source.reiterable
    assert source.count_hint == 2
    for _ in range(2):
        assert [row.columns for row in source if isinstance(row, Row)] == list(items)
    assert source.columns == ("a",)
    assert next(iter(source)).source == f"{kind.__name__} object, row 1"


def test_generators_are_read_once_and_lazily() -> None:
    """An iterator is not read ahead, can show its columns, and then is read only once."""
    taken = []

    def generate() -> Iterator[dict[str, int]]:
        for n in range(10):
            taken.append(n)
            yield {"n": n}

    source = open_rows(generate())
    assert not source.reiterable
    assert taken == []
    assert source.columns == ("n",)
    assert source.columns == ("n",)
    assert taken == [0]
    rows = source.rows(lambda ordinal, _: ordinal < 2)
    assert next(rows).ordinal == 2
    assert taken == [0, 1, 2]
    assert len(list(rows)) == 7
    with pytest.raises(ConfigurationError, match="can be read only once"):
        iter(source)


def test_columns_of_a_generator_without_good_rows() -> None:
    """Looking for columns keeps the bad rows that are passed on the way."""
    source = open_rows(iter([1, 2]))
    assert source.columns == ()
    assert len(bad(source)) == 2
    assert source.columns == ()


class Odd:
    """Something that has no place in a row."""


@pytest.mark.parametrize(
    ("item", "reason", "message"),
    [
        ("text", BadReason.INPUT, "not str"),
        (None, BadReason.INPUT, "not NoneType"),
        ([("a", 1)], BadReason.INPUT, "not list"),
        ({1: "a"}, BadReason.INPUT, "column names are text, not int"),
        ({"a": Odd()}, BadReason.INPUT, "column 'a': a Odd cannot be stored"),
        ({"b": 1, "a": [{"x": {1, 2}}]}, BadReason.INPUT, "column 'a': a set cannot be stored"),
        ({"a": {1: 2, "x": 3}}, BadReason.INPUT, "keys of a mapping"),
        ({"a": "\ud800"}, BadReason.SURROGATE, "column 'a' holds a lone surrogate"),
        ({"a": {"\udc00": 1}}, BadReason.SURROGATE, "column 'a'"),
        ({"\ud800": 1}, BadReason.SURROGATE, "lone surrogate"),
        ({"a": "x" * 2000}, BadReason.TOO_LARGE, "at most 1,000"),
        ({"error": 1}, BadReason.CLASH, "'error'"),
    ],
)
def test_items_that_are_no_rows(item: Any, reason: BadReason, message: str) -> None:
    """Each is a bad row by itself; the next item is read."""
    first, second = open_rows([item, {"a": 1}], max_row_bytes=1000, reserved=["error"])
    assert bad([first])[0].reason is reason
    assert message in bad([first])[0].message
    assert (first.ordinal, second.ordinal) == (0, 1)
    assert good([second]) == [{"a": 1}]


def test_items_that_hold_themselves_or_too_much() -> None:
    """Cycles and bottomless nesting end as bad rows."""
    cycle: list[Any] = []
    cycle.append(cycle)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    rows = bad(open_rows([{"a": cycle}, {"a": deep}]))
    assert [row.message for row in rows] == [
        "a value holds itself, or a number has too many digits",
        "nested too deeply",
    ]
    while deep:  # taken apart by hand, for not every Python frees it without recursion
        deep = deep[0]


def test_numpy_values_are_values() -> None:
    """NumPy scalars and arrays count as numbers and lists."""
    first, second = open_rows(
        [{"a": np.float32(0.5), "b": np.array([1, 2])}, {"a": 0.5, "b": [1, 2]}]
    )
    assert first.content_hash == second.content_hash


@pytest.mark.parametrize("source", [{"a": 1}, b"x.jsonl", 7, None])
def test_what_is_no_source(source: Any) -> None:
    """Bytes, one mapping and numbers are no rows and no path."""
    with pytest.raises(ConfigurationError, match="rows are an iterable of mappings or a path"):
        open_rows(source)


class Stdin:
    """Standard input, as far as it is looked at."""

    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` is JSON Lines on standard input, read once."""
    monkeypatch.setattr(sys, "stdin", Stdin(b'{"a":1}\nnope\n{"a":2}'))
    source = open_rows("-")
    assert source.describe() == "standard input"
    assert source.columns == ("a",)
    rows = list(source)
    assert good(rows) == [{"a": 1}, {"a": 2}]
    assert bad(rows)[0].source == "standard input:2, byte 8"


def test_spooled_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a spool, passes over standard input can stop, start again, and go on."""
    content = b"".join(b'{"a":%d}\n' % n for n in range(50)) + b'{"a":"' + b"x" * 300 + b'"}\n{}'
    stdin = Stdin(content)
    monkeypatch.setattr(sys, "stdin", stdin)
    spool = tmp_path / "spool"
    source = open_rows("-", spool=spool, max_row_bytes=100)
    assert source.reiterable
    assert source.columns == ("a",)
    assert stdin.buffer.tell() < 20
    first, second = source.rows(), source.rows()
    for _ in range(5):
        assert next(first) == next(second)
    third = source.rows()
    for ahead in range(5, 10):
        assert next(first).ordinal == ahead
        assert next(third).ordinal == ahead - 5
    assert [next(second).ordinal for _ in range(5)] == list(range(5, 10))
    whole = list(source)
    assert [row.ordinal for row in whole] == list(range(52))
    assert [*range(50)] == [row["a"] for row in good(whole)[:50]]
    assert bad(whole)[0].reason is BadReason.TOO_LARGE
    assert [row.ordinal for row in first] == list(range(10, 52))
    assert list(source) == whole
    source.close()  # type: ignore[attr-defined]
    assert spool.read_bytes() == content
    assert spool.stat().st_mode & 0o777 == 0o600


def test_spool_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The spool replaces a link and leaves its target alone; without a folder it is refused."""
    monkeypatch.setattr(sys, "stdin", Stdin(b"{}"))
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "spool").symlink_to(target)
    source = open_rows("-", spool=tmp_path / "spool")
    assert len(list(source)) == 1
    source.close()  # type: ignore[attr-defined]
    assert target.read_text() == "precious"
    with pytest.raises(StorageError, match="cannot keep standard input"):
        open_rows("-", spool=tmp_path / "none" / "spool")


def test_importing_loads_nothing_heavy() -> None:
    """pyarrow, datasets, jinja2 and NumPy are loaded where they are needed, not on import."""
    script = (
        "import sys, distilabel_endpoints.rows; "
        "print({'pyarrow', 'datasets', 'jinja2', 'numpy', 'pandas'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert run.stdout == "set()\n"
