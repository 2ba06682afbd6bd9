"""`.json` files: the elements of one array, found without holding the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from row_samples import Trickle, bad, good

from distilabel_endpoints.errors import InputError
from distilabel_endpoints.rows import BadReason, open_rows
from distilabel_endpoints.rows.lines import Oversize, frame_array

TRICKY: list[Any] = [
    {"prompt": 'quote " comma , bracket ] brace } backslash \\'},
    {"nested": [{"a": [1, 2, {"b": "]"}]}, []], "n": None},
    {},
    {"é": "\N{GRINNING FACE}\u2028", "nul": "\0"},
    {"ends": "\\"},
]


def array(path: Path, content: str) -> Path:
    path.write_bytes(content.encode())
    return path


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100_000])
@pytest.mark.parametrize("indent", [None, 2])
def test_every_cut_gives_the_same_elements(step: int, indent: int | None) -> None:
    """However the bytes arrive, the elements and their places are the same."""
    text = json.dumps(TRICKY, ensure_ascii=False, indent=indent).encode()
    frames = list(frame_array(Trickle(b" \n" + text + b"\n", step), 10_000))
    raws = [raw for _, _, raw in frames]
    assert [json.loads(raw) for raw in raws if isinstance(raw, bytes)] == TRICKY
    for line, offset, raw in frames:
        assert isinstance(raw, bytes)
        content = b" \n" + text
        assert content[offset : offset + len(raw)] == raw
        assert line == 1 + content.count(b"\n", 0, offset)


def test_rows_and_places(tmp_path: Path) -> None:
    """Rows of an indented file say the line and byte they start on."""
    path = array(tmp_path / "x.json", '[\n  {"a": 1},\n  {\n    "a": 2\n  }\n]\n')
    rows = list(open_rows(path))
    assert good(rows) == [{"a": 1}, {"a": 2}]
    assert [row.source for row in rows] == ["x.json:2, byte 4", "x.json:3, byte 16"]


@pytest.mark.parametrize("text", ["[]", " [ ] ", "\ufeff[]", "[\n]\n", ""])
def test_empty_arrays_have_no_rows(tmp_path: Path, text: str) -> None:
    """An empty array and an empty file are not errors."""
    assert list(open_rows(array(tmp_path / "x.json", text))) == []


@pytest.mark.parametrize(
    ("element", "message"),
    [
        ("1", "not a number"),
        ('"a, b"', "not a string"),
        ("[1, 2]", "not an array"),
        ("null", "not null"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": 1, "a": 2}', "appears twice"),
        ("{a: 1}", "not JSON"),
    ],
)
def test_bad_elements_do_not_end_the_array(tmp_path: Path, element: str, message: str) -> None:
    """An element that is not an object is a bad row; its neighbours are read."""
    path = array(tmp_path / "x.json", f'[{{"a":0}}, {element}, {{"a":9}}]')
    rows = list(open_rows(path))
    assert good(rows) == [{"a": 0}, {"a": 9}]
    assert message in bad(rows)[0].message
    assert bad(rows)[0].place.offset == 10


@pytest.mark.parametrize(
    "text",
    [
        '[{"a":1}',
        '[{"a":1',
        '[{"a":"1',
        '[{"a":1},',
        '[{"a":1},]',
        '[,{"a":1}]',
        '[{"a":1},,{"a":2}]',
        '[{"a":1}}]',
        '[{"a":1}] x',
        '[{"a":1}][{"a":2}]',
        "[",
    ],
)
def test_broken_arrays_are_errors(tmp_path: Path, text: str) -> None:
    """Where the array itself is broken, reading ends with an error: no row is lost silently."""
    path = array(tmp_path / "x.json", text)
    with pytest.raises(InputError, match=r"x\.json: not a JSON array at line 1, byte \d+: "):
        list(open_rows(path))


@pytest.mark.parametrize("step", [1, 5, 1000, 1_000_000])
def test_too_large_elements_are_weighed(step: int) -> None:
    """An element past the cap is skipped with its size, however it arrives."""
    large = json.dumps({"a": 'x\\"]' * 200_000}).encode()
    if step < 1000:
        large = json.dumps({"a": 'x\\"]' * 200}).encode()
    text = b'[{"a":1}, \n' + large + b' , {"a":2}]'
    frames = list(frame_array(Trickle(text, step), 100))
    assert [raw if isinstance(raw, bytes) else raw.size for _, _, raw in frames] == [
        b'{"a":1}',
        len(large),
        b'{"a":2}',
    ]
    assert [line for line, _, _ in frames] == [1, 2, 2]
    assert frames[1][1] == 11
    assert isinstance(frames[1][2], Oversize)


def test_too_large_rows_are_bad(tmp_path: Path) -> None:
    """The cap holds for `.json` as for every format."""
    path = array(tmp_path / "x.json", json.dumps([{"a": "x" * 500}, {"a": ""}]))
    rows = list(open_rows(path, max_row_bytes=100))
    assert [row.reason for row in bad(rows)] == [BadReason.TOO_LARGE]
    assert good(rows) == [{"a": ""}]


def test_json_lines_under_another_name(tmp_path: Path) -> None:
    """A `.json` file with an object on each line is read as JSON Lines."""
    path = array(tmp_path / "x.json", '\n{"a":1}\n{"a":2}\n')
    assert good(open_rows(path)) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("text", ["hello", '"text"', "{"])
def test_anything_else_is_an_error(tmp_path: Path, text: str) -> None:
    """Text, or no JSON at all, is refused as a whole."""
    with pytest.raises(InputError, match="an array of objects, or one object on each line"):
        list(open_rows(array(tmp_path / "x.json", text)))
