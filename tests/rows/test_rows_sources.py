"""`open_rows`: which files are meant, in which order, and Python's own iterables."""

from __future__ import annotations

import subprocess
import sys
from collections import UserDict, deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from row_samples import bad, good, jsonl

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.rows import BadReason, Row, open_rows


def test_folder_order_and_selection(tmp_path: Path) -> None:
    """Files of a folder come by their path as text; hidden and foreign ones are in a note."""
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
    ignored = ".git, .hidden.jsonl, _skip.jsonl, notes.txt, x.jsonl.part"
    assert source.notes == (f"not read in {tmp_path}: {ignored}",)


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
        ("notes.md", "give .jsonl, .ndjson, .json, .csv"),
        ("x.parquet.gz", "give .jsonl, .ndjson, .json, .csv"),
        ("empty", "no input files in"),
        ("*.md", "cannot read"),
    ],
)
def test_nothing_to_read(tmp_path: Path, name: str, message: str) -> None:
    """What is not there or not in a known format is refused with what is."""
    (tmp_path / "notes.md").write_text("x")
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
    assert source.count_hint == 2
    for _ in range(2):
        assert [row.columns for row in source if isinstance(row, Row)] == list(items)
    assert source.columns == ("a",)
    assert next(iter(source)).source == f"{kind.__name__} object, row 1"


def test_what_comes_only_once_is_refused() -> None:
    """An iterator and standard input cannot be gone through twice; the way on is named."""
    for source in (iter([{"a": 1}]), (row for row in [{"a": 1}]), "-"):
        with pytest.raises(ConfigurationError, match="can be read only once; "):
            open_rows(source)


class Odd:
    """Something that has no place in a row."""


@pytest.mark.parametrize(
    ("item", "reason", "message"),
    [
        (None, BadReason.INPUT, "not NoneType"),
        ({1: "a"}, BadReason.INPUT, "column names are text, not int"),
        ({"a": Odd()}, BadReason.INPUT, "column 'a': a Odd cannot be stored"),
        ({"b": 1, "a": [{"x": {1, 2}}]}, BadReason.INPUT, "column 'a': a set cannot be stored"),
        ({"a": {1: 2, "x": 3}}, BadReason.INPUT, "keys of a mapping"),
        ({"a": "\ud800"}, BadReason.SURROGATE, "column 'a' holds a lone surrogate"),
        ({"a": {"\udc00": 1}}, BadReason.SURROGATE, "column 'a'"),
        ({"\ud800": 1}, BadReason.SURROGATE, "lone surrogate"),
        ({"a": "x" * 2000}, BadReason.TOO_LARGE, "at most 1,000"),
    ],
)
def test_items_that_are_no_rows(item: Any, reason: BadReason, message: str) -> None:
    """Each is a bad row by itself; the next item is read."""
    first, second = open_rows([item, {"a": 1}], max_row_bytes=1000)
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


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"a": [1, 2]}, "one dict is not a list of rows; .*Dataset.from_dict"),
        (b"x.jsonl", "not a bytes"),
        (7, "rows are a path, a dataset, a DataFrame or a list of mappings, not a int"),
        (None, "not a NoneType"),
        ({"one", "two"}, "a set has no order; give a list"),
        ([1, 2], "row 1 of list object is a int; give mappings of columns, texts"),
        ([Path("x.jsonl")], "row 1 of list object is a PosixPath"),
        ([{"role": "user", "content": "hi"}], "one conversation; give a list of conversations"),
    ],
)
def test_what_is_not_a_source(source: Any, message: str) -> None:
    """Other kinds of things than rows are refused before the first row, with what to give."""
    with pytest.raises(ConfigurationError, match=message):
        open_rows(source)


def test_a_list_of_file_names_is_not_a_list_of_prompts(tmp_path: Path) -> None:
    """Names of files that are there are refused; other texts are prompts."""
    path = jsonl(tmp_path / "x.jsonl", [{"prompt": "a"}])
    with pytest.raises(ConfigurationError, match="is a file; give a folder or a pattern"):
        open_rows([str(path), str(path)])
    assert good(open_rows(["x.jsonl"])) == [{"prompt": "x.jsonl"}]


def test_lists_of_prompts_and_conversations() -> None:
    """A list of texts is a list of prompts, a list of lists one of conversations."""
    assert good(open_rows(["a", np.str_("b")])) == [{"prompt": "a"}, {"prompt": "b"}]
    assert good(open_rows(np.array(["a", "b"]))) == [{"prompt": "a"}, {"prompt": "b"}]
    talk = [{"role": "user", "content": "hi"}]
    assert good(open_rows([talk, tuple(talk)])) == [{"messages": talk}] * 2


def test_importing_loads_nothing_heavy() -> None:
    """pyarrow, datasets, jinja2 and NumPy are loaded where they are needed, not on import."""
    script = (
        "import sys, distilabel_endpoints.rows; "
        "print({'pyarrow', 'datasets', 'jinja2', 'numpy', 'pandas'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert run.stdout == "set()\n"


def test_a_link_to_a_file_that_is_read_anyway(tmp_path: Path) -> None:
    """`latest.jsonl -> 1.jsonl` beside `1.jsonl` adds no rows; two links to a file elsewhere do."""
    folder = tmp_path / "rows"
    folder.mkdir()
    jsonl(folder / "1.jsonl", [{"n": 1}])
    (folder / "latest.jsonl").symlink_to("1.jsonl")
    for place in (folder, f"{folder}/*.jsonl"):
        source = open_rows(place)
        assert good(source) == [{"n": 1}]
        assert source.notes == (f"not read in {folder}: latest.jsonl",)
    elsewhere = jsonl(tmp_path / "blob", [{"n": 2}])
    for name in ("a", "b"):
        (folder / f"{name}.jsonl").symlink_to(elsewhere)
    for place in (folder, f"{folder}/*.jsonl"):
        source = open_rows(place)
        assert good(source) == [{"n": 1}, {"n": 2}, {"n": 2}]
        assert source.notes[1] == (
            "a.jsonl, b.jsonl are links to one file, whose rows are read 2 times"
        )
