"""Rows survive: any row through any format, any bytes through any reader, any cut of a stream."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distilabel_endpoints.errors import InputError
from distilabel_endpoints.records import Completion, Result
from distilabel_endpoints.rows import BadRow, OutputColumns, Row, RowSource, open_rows, open_writer
from distilabel_endpoints.rows.csv_rows import escape_formula
from distilabel_endpoints.rows.folders import TABLES
from distilabel_endpoints.rows.lines import Oversize, frame_array, frame_lines
from fuzzing import examples

OURS = OutputColumns("model", prefix="our_")

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ["\0", "\u2028", "\r\n", '"', "\\", "'=1", "\ufeff", "]", "},{"]
)
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
json_rows = st.lists(st.dictionaries(text, json_values, max_size=5), max_size=8)

few = settings(
    max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """One folder for all examples: each writes over the last one's files."""
    with TemporaryDirectory() as name:
        yield Path(name)


def written(source: RowSource, path: Path) -> RowSource:
    """All rows of `source`, answered, in a file; that file as a source."""
    with open_writer(path, OURS, source) as writer:
        for row in source:
            completion = Completion(text=f"\0é{row.ordinal}")
            writer.write(
                row, Result(ordinal=row.ordinal, completions=(completion,), failures=(None,))
            )
    return open_rows(path)


def inputs_of(source: RowSource) -> list[dict[str, Any]]:
    """The columns that are not ours."""
    rows = list(source)
    assert not [row for row in rows if isinstance(row, BadRow)]
    return [
        {name: value for name, value in row.columns.items() if not name.startswith("our_")}
        for row in rows
        if isinstance(row, Row)
    ]


@few
@given(rows=json_rows, ascii_only=st.booleans(), indent=st.none() | st.just(1))
def test_json_in_json_out(
    folder: Path, rows: list[Any], ascii_only: bool, indent: int | None
) -> None:
    """Any JSON rows come through JSON Lines, arrays and Python as they were."""
    options: dict[str, Any] = {"ensure_ascii": ascii_only}
    lines = "".join(json.dumps(row, **options) + "\n" for row in rows)
    (folder / "x.jsonl").write_bytes(lines.encode())
    (folder / "x.json").write_bytes(json.dumps(rows, indent=indent, **options).encode())
    for given_rows in (folder / "x.jsonl", folder / "x.json", rows):
        source = open_rows(given_rows)
        assert inputs_of(source) == rows
        for suffix in ("jsonl", "jsonl.gz", "ndjson.zst", "json", "json.xz"):
            assert inputs_of(written(source, folder / f"y.{suffix}")) == rows


@pytest.mark.parametrize("suffix", TABLES)
@few
@given(rows=json_rows)
def test_json_in_a_table_out(folder: Path, suffix: str, rows: list[Any]) -> None:
    """Any JSON rows fit a learnt schema: each value comes back, as itself or as JSON text."""
    source = open_rows(rows)
    back = inputs_of(written(source, folder / f"y{suffix}"))
    for before, after in zip(rows, back, strict=True):
        for name, value in before.items():
            assert same(value, after[name])


def same(before: Any, after: Any) -> bool:
    """Equal, but for numbers' types, keys that other rows have, and JSON text."""
    if before == after:
        return True
    if isinstance(after, str):
        return bool(json.loads(after) == before)
    if isinstance(before, dict) and isinstance(after, dict):
        added = after.keys() - before.keys()
        return not any(after[name] is not None for name in added) and all(
            same(value, after[name]) for name, value in before.items()
        )
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return all(same(one, two) for one, two in zip(before, after, strict=True))
    return False


typed_rows = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.none() | text,
            "n": st.none() | st.integers(-(2**63), 2**63 - 1),
            "x": st.none() | st.floats(allow_nan=False),
            "raw": st.none() | st.binary(max_size=20),
            "day": st.none() | st.dates(),
            "at": st.none() | st.datetimes(),
            "utc": st.none() | st.datetimes(timezones=st.just(dt.UTC)),
            "clock": st.none() | st.times(),
            "list": st.none() | st.lists(st.none() | text, max_size=3),
            "nested": st.none()
            | st.fixed_dictionaries({"a": st.booleans(), "b": st.none() | text}),
        }
    ),
    max_size=8,
)


@pytest.mark.parametrize("suffix", TABLES)
@few
@given(rows=typed_rows)
def test_typed_rows_keep_their_types(folder: Path, suffix: str, rows: list[Any]) -> None:
    """Python values of every type come back from any table, and from Parquet again."""
    assert inputs_of(written(open_rows(rows), folder / f"x{suffix}")) == rows
    first = written(open_rows(rows), folder / "y.parquet")
    assert inputs_of(first) == rows
    with open_writer(folder / "z.parquet", OutputColumns("m", prefix="again_"), first) as writer:
        for row in first:
            writer.write(row, Result(ordinal=row.ordinal, completions=(), failures=()))
    one, two = pq.read_table(folder / "y.parquet"), pq.read_table(folder / "z.parquet")
    assert two.select(one.schema.names).equals(one)


@few
@given(
    table=st.lists(st.lists(text, min_size=2, max_size=2), max_size=6),
    end=st.sampled_from(["\r\n", "\n"]),
)
def test_csv_in_csv_out(folder: Path, table: list[list[str]], end: str) -> None:
    """Any text comes through CSV as it was."""
    buffer = io.StringIO()
    # With another line end than CR LF this writer leaves a lone CR unquoted, which no one can read.
    csv.writer(buffer, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *table])
    (folder / "x.csv").write_bytes(buffer.getvalue().encode())
    rows = [{"a": one, "b": two} for one, two in table]
    source = open_rows(folder / "x.csv")
    assert inputs_of(source) == rows
    written(source, folder / "y.csv")
    assert inputs_of(open_rows(folder / "y.csv")) == rows
    assert inputs_of(written(source, folder / "y.parquet")) == rows


@pytest.mark.promise("S9")
@given(text)
def test_formulas_are_reversible(value: str) -> None:
    """One apostrophe is put before some texts, and which these are can be told afterwards."""
    escaped = escape_formula(value)
    assert escaped in (value, "'" + value)
    assert (escaped != value) == bool(re.match(r"'+[=+\-@\t\r\0]", escaped))


@few
@given(
    content=st.binary(max_size=200)
    | st.text('{}[]",:\\ a1é\n\r\0', max_size=100).map(str.encode)
    | json_rows.map(lambda rows: json.dumps(rows).encode()),
    suffix=st.sampled_from(["jsonl", "json", "csv", "jsonl.gz", "jsonl.zst", "parquet"]),
    cap=st.integers(1, 100),
)
def test_any_bytes_are_rows_or_an_input_error(
    folder: Path, content: bytes, suffix: str, cap: int
) -> None:
    """Whatever a file holds, reading gives rows and bad rows in order, or our error."""
    path = folder / f"any.{suffix}"
    path.write_bytes(content)
    rows: list[Row | BadRow] = []
    try:
        rows.extend(open_rows(path, max_row_bytes=cap))
    except InputError as error:
        assert path.name in str(error)  # noqa: PT017 - only some bytes are an error
    assert [row.ordinal for row in rows] == list(range(len(rows)))
    assert all(len(row.content_hash) == 16 for row in rows)


@given(content=st.text("ab \n\r", max_size=60).map(str.encode), cap=st.integers(1, 12))
def test_lines_are_framed_like_split(content: bytes, cap: int) -> None:
    """Lines, numbers, offsets and sizes are those of a plain split."""
    expected = []
    offset = 0
    for number, line in enumerate(content.split(b"\n"), 1):
        raw = line.strip(b" \t\r\n")
        if raw:
            expected.append((number, offset, raw))
        offset += len(line) + 1
    frames = list(frame_lines(io.BytesIO(content), cap))
    for frame, (number, start, raw) in zip(frames, expected, strict=True):
        assert frame[:2] == (number, start)
        if isinstance(frame[2], Oversize):
            # Blanks around a row may make its line too long to be told from a long row.
            assert frame[2].size == len(raw)
        else:
            assert frame[2] == raw
            assert len(raw) <= cap


class Trickle(io.BytesIO):
    """Gives what it holds a few bytes at a time."""

    step = 1

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self.step)


@few
@given(rows=st.lists(json_values, max_size=6), step=st.integers(1, 9), cap=st.integers(0, 60))
def test_array_elements_at_every_cut(rows: list[Any], step: int, cap: int) -> None:
    """The elements of an array are found however it arrives and whatever they hold."""
    raws = [json.dumps(row, ensure_ascii=False).encode() for row in rows]
    stream = Trickle(b"\n[ " + b" , ".join(raws) + b"\n]\n")
    stream.step = step
    frames = list(frame_array(stream, cap))
    for (_, _, content), raw in zip(frames, raws, strict=True):
        if isinstance(content, Oversize):
            assert content.size == len(raw) > cap
        else:
            assert content == raw
            assert len(raw) <= cap


@few
@given(
    values=st.lists(st.none() | text, min_size=1, max_size=50),
    groups=st.integers(1, 20),
    kept=st.sets(st.integers(0, 49)),
)
def test_arrow_cells_are_copied(
    folder: Path, values: list[str | None], groups: int, kept: set[int]
) -> None:
    """Any selection of rows of any row groups is written as it was."""
    table = pa.table({"a": pa.array(values, pa.large_string()), "n": range(len(values))})
    pq.write_table(table, folder / "x.parquet", row_group_size=groups)
    source = open_rows(folder / "x.parquet")
    with open_writer(folder / "y.parquet", OURS, source) as writer:
        for row in source:
            if row.ordinal in kept:
                writer.write(row, Result(ordinal=row.ordinal, completions=(), failures=()))
    after = pq.read_table(folder / "y.parquet").select(["a", "n"])
    assert after.equals(table.filter([n in kept for n in range(len(values))]))
