"""Parquet and Arrow output: schemas kept or learnt, cells copied, bytes the same."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import uuid
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from row_samples import MODEL, answered, bad, good, jsonl, write_all

from distilabel_endpoints.errors import ConfigurationError, InputError
from distilabel_endpoints.records import Completion, Result
from distilabel_endpoints.rows import (
    OutputColumns,
    Row,
    check_output,
    open_rows,
    open_writer,
    tables,
    to_dataset,
)
from distilabel_endpoints.rows.shapes import Shape

datasets.disable_progress_bars()

UTC = dt.UTC


def written(path: Path) -> list[dict[str, Any]]:
    """The input's columns of a Parquet output."""
    table = pq.read_table(path)
    rows: list[dict[str, Any]] = table.drop_columns(list(MODEL.names)).to_pylist()
    return rows


SCHEMA = pa.schema(
    [
        pa.field("prompt", pa.large_string(), nullable=False, metadata={"about": "text"}),
        ("at", pa.timestamp("ns", tz="Europe/Paris")),
        ("year", pa.date32()),
        ("price", pa.decimal256(50, 3)),
        ("raw", pa.large_binary()),
        ("fixed", pa.binary(3)),
        ("kind", pa.dictionary(pa.int8(), pa.string())),
        ("half", pa.float16()),
        ("small", pa.uint8()),
        ("map", pa.map_(pa.string(), pa.int32())),
        ("nested", pa.list_(pa.struct([("a", pa.int8()), ("b", pa.list_(pa.float32(), 2))]))),
        ("took", pa.duration("ns")),
        ("clock", pa.time64("ns")),
    ],
    metadata={"origin": "test"},
)


def exotic(count: int) -> pa.Table:
    """A table that Python values alone would not bring back."""
    rows = [
        {
            "prompt": f"é\0{n}",
            "at": 1_234_567_890_123_456_789 + n,
            "year": dt.date(2020, 1, 1),
            "price": decimal.Decimal("12345678901234567890123456789.125"),
            "raw": b"\x00\xff",
            "fixed": b"abc",
            "kind": "xyz"[n % 3],
            "half": np.float16(1.5),
            "small": n % 256,
            "map": [("k", n)],
            "nested": [{"a": n % 100, "b": [0.1, None]}, None],
            "took": 1_234_567_891,
            "clock": 1_234_567_891,
        }
        for n in range(count)
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_schema_and_cells_are_kept(tmp_path: Path, suffix: str) -> None:
    """Types, nullability, metadata and every cell are those of the input file."""
    pq.write_table(exotic(500), tmp_path / "x.parquet", row_group_size=77)
    before = pq.read_table(tmp_path / "x.parquet")
    path = tmp_path / f"y.{suffix}"
    assert write_all(tmp_path / "x.parquet", path) == ()
    if suffix == "parquet":
        after = pq.read_table(path)
    else:
        with pa.ipc.open_stream(path) as reader:
            after = reader.read_all()
    assert after.select(SCHEMA.names).equals(before)
    assert after.schema.metadata == before.schema.metadata
    for field in before.schema:
        kept = after.schema.field(field.name)
        assert (kept.type, kept.nullable) == (field.type, field.nullable)
        assert kept.metadata == field.metadata
    assert after.column("generation").to_pylist() == ["answer"] * 500


def test_a_selection_of_rows(tmp_path: Path) -> None:
    """Rows that are left out leave no trace; those written stand in the order they came."""
    source = open_rows(exotic(100))
    kept = [row for row in source if row.ordinal % 3 == 0]
    with open_writer(tmp_path / "y.parquet", MODEL, source) as writer:
        for row in kept:
            writer.write(row, answered(row.ordinal, str(row.ordinal)))
    after = pq.read_table(tmp_path / "y.parquet")
    assert after.select(SCHEMA.names).equals(exotic(100).take(list(range(0, 100, 3))))
    assert after.column("generation").to_pylist() == [str(n) for n in range(0, 100, 3)]


def test_bad_rows_keep_their_cells(tmp_path: Path) -> None:
    """A row that Python could not hold is still copied, with its error beside it."""
    days = pa.array([0, 10**8, 1], pa.int32()).cast(pa.date32())
    table = pa.table({"day": days, "prompt": ["a", "b", "c"]})
    write_all(table, tmp_path / "y.parquet")
    after = pq.read_table(tmp_path / "y.parquet")
    assert after.select(["day", "prompt"]).equals(table)
    assert [error is None for error in after.column("error").to_pylist()] == [True, False, True]


def test_our_columns(tmp_path: Path) -> None:
    """One type each, whatever the rows hold: JSON text for tool calls and log probabilities."""
    columns = OutputColumns("m", tool_calls=True, logprobs=True)
    several = OutputColumns("m", 2, tool_calls=True, logprobs=True)
    full = Completion(text="t", reasoning="r", tool_calls=({"id": "é"},), logprobs=[{"p": 1}])
    result = Result(ordinal=0, completions=(full, None), failures=(None, None))
    source = open_rows([{"a": 1}])
    (row,) = source
    for name, ours in {"one": columns, "two": several}.items():
        with open_writer(tmp_path / f"{name}.parquet", ours, source) as writer:
            writer.write(row, result)
    one = pq.read_table(tmp_path / "one.parquet")
    assert json.loads(one.column("tool_calls")[0].as_py()) == [{"id": "é"}]
    assert one.schema.field("logprobs").type == pa.string()
    two = pq.read_table(tmp_path / "two.parquet")
    assert two.column("tool_calls")[0].as_py() == ['[{"id": "é"}]', None]
    assert two.column("generations")[0].as_py() == ["t", None]
    assert two.column("error")[0].as_py() is None
    assert two.schema.field("error").type == pa.list_(pa.string())
    assert two.schema.field("input_tokens").type == pa.int64()


NOW = dt.datetime.fromisoformat("2020-01-01T12:30:00.123456")
PARIS = dt.timezone(dt.timedelta(hours=2))


@pytest.mark.parametrize(
    ("values", "kind", "stored"),
    [
        ([None, None], pa.string(), None),
        ([True, None], pa.bool_(), None),
        ([1, 2**63 - 1, -(2**63)], pa.int64(), None),
        ([1, 0.5, None], pa.float64(), [1.0, 0.5, None]),
        (["é\0", ""], pa.string(), None),
        ([b"\xff", None], pa.binary(), None),
        ([NOW.date(), None], pa.date32(), None),
        ([NOW, None], pa.timestamp("us"), None),
        (
            [NOW.replace(tzinfo=PARIS), NOW.replace(tzinfo=UTC)],
            pa.timestamp("us", tz="UTC"),
            [NOW.replace(hour=10, tzinfo=UTC), NOW.replace(tzinfo=UTC)],
        ),
        ([NOW.time()], pa.time64("us"), None),
        ([dt.timedelta(days=-1, microseconds=3)], pa.duration("us"), None),
        ([decimal.Decimal("1.50"), decimal.Decimal(-100)], pa.decimal128(5, 2), None),
        ([decimal.Decimal("1E+3"), decimal.Decimal(1)], pa.decimal128(4, 0), None),
        ([decimal.Decimal("0.001")], pa.decimal128(3, 3), None),
        ([decimal.Decimal(10) ** 40], pa.decimal256(41, 0), None),
        ([[1], [], None, [None]], pa.list_(pa.int64()), None),
        ([[], None], pa.list_(pa.string()), None),
        ([(1, 2)], pa.list_(pa.int64()), [[1, 2]]),
        (
            [{"a": 1}, {"b": "x"}, None],
            pa.struct([("a", pa.int64()), ("b", pa.string())]),
            [{"a": 1, "b": None}, {"a": None, "b": "x"}, None],
        ),
        (
            [[{"a": []}], [{"a": [0.5]}, None]],
            pa.list_(pa.struct([("a", pa.list_(pa.float64()))])),
            None,
        ),
        ([np.float32(0.5), np.array(2)], pa.float64(), [0.5, 2.0]),
        ([np.array([1, 2])], pa.list_(pa.int64()), [[1, 2]]),
        ([uuid.UUID(int=1)], pa.string(), ["00000000-0000-0000-0000-000000000001"]),
    ],
)
def test_types_are_learnt(tmp_path: Path, values: list[Any], kind: Any, stored: Any) -> None:
    """A column gets the one type that holds all its values, and gives them back."""
    notes = write_all([{"c": value} for value in values], tmp_path / "y.parquet")
    assert not [note for note in notes if not note.startswith("null stands for 'c.a', 'c.b' in")]
    assert pq.read_schema(tmp_path / "y.parquet").field("c").type == kind
    expected = values if stored is None else stored
    assert [row["c"] for row in written(tmp_path / "y.parquet")] == expected


@pytest.mark.parametrize(
    "values",
    [
        [1, "x"],
        [True, 1],
        ["x", None, [1]],
        [{"a": 1}, [1]],
        [1, 2**63],
        [2**53 + 1, 0.5],
        [0.5, 2**53 + 1],
        [{}, {}],
        [{f"k{n}": n for n in range(300)}],
        [[{"deep": 1}, 7]],
    ],
)
def test_what_no_type_holds_is_json(tmp_path: Path, values: list[Any]) -> None:
    """Mixed types, numbers that would lose digits, and shapeless mappings are text of JSON."""
    notes = write_all([{"ok": 1, "c": value} for value in values], tmp_path / "y.parquet")
    assert len(notes) == 1
    assert "column 'c" in notes[0]
    assert "written as JSON text" in notes[0]
    rows = [row["c"] for row in written(tmp_path / "y.parquet")]

    def parsed(value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value

    if values == [[{"deep": 1}, 7]]:
        rows = [[parsed(item) for item in row] for row in rows]
    assert [parsed(row) for row in rows] == values


@pytest.mark.parametrize("days", [[NOW, NOW.date()], [NOW, NOW.replace(tzinfo=UTC)]])
def test_mixed_times_are_json(tmp_path: Path, days: list[Any]) -> None:
    """Dates beside times, and times with and without a zone, stay told apart as text."""
    notes = write_all([{"c": day} for day in days], tmp_path / "y.parquet")
    assert len(notes) == 1
    rows = [json.loads(row["c"]) for row in written(tmp_path / "y.parquet")]
    assert rows == [day.isoformat() for day in days]


def test_odd_decimals_are_json(tmp_path: Path) -> None:
    """Decimals that are not a number, or too long for any decimal type, are text."""
    values = [decimal.Decimal("NaN"), decimal.Decimal("1e80"), decimal.Decimal("0.5")]
    assert len(write_all([{"c": value} for value in values], tmp_path / "y.parquet")) == 1
    rows = [json.loads(row["c"]) for row in written(tmp_path / "y.parquet")]
    assert rows == ["NaN", "1E+80", "0.5"]


def test_deep_values_are_json(tmp_path: Path) -> None:
    """Nesting past any use in a table becomes text on the way down."""
    value: Any = 7
    for _ in range(200):
        value = [value]
    assert len(write_all([{"c": value}], tmp_path / "y.parquet")) == 1
    shape = Shape()
    shape.observe(value)
    assert shape.kind == "list"


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet", "arrow"])
def test_deep_values_are_written(tmp_path: Path, suffix: str) -> None:
    """Nesting that could just be read can be written, NaN at its bottom included."""
    value: Any = float("nan")
    for _ in range(400):
        value = {"k": value}
    write_all([{"c": value}], tmp_path / f"y.{suffix}")
    assert (tmp_path / f"y.{suffix}").stat().st_size > 400


def test_columns_that_come_late(tmp_path: Path) -> None:
    """A column that only the last row has is there for all; a type that changes late holds all."""
    rows: list[dict[str, Any]] = [{"a": n} for n in range(20_000)]
    rows += [{"a": 0.5, "new": [{"x": None}]}]
    path = jsonl(tmp_path / "x.jsonl", rows)
    assert write_all(path, tmp_path / "y.parquet") == (
        "null stands for 'new' in rows that do not have them",
    )
    after = pq.read_table(tmp_path / "y.parquet")
    assert after.schema.field("a").type == pa.float64()
    assert after.column("a").to_pylist() == [row["a"] for row in rows]
    assert after.column("new").to_pylist() == [None] * 20_000 + [[{"x": None}]]
    assert pq.ParquetFile(tmp_path / "y.parquet").num_row_groups == 3


def test_input_that_changed_meanwhile(tmp_path: Path) -> None:
    """Rows that do not fit what was learnt from the source are an error, not a wrong cell."""
    learnt = open_rows([{"a": 1, "b": {"x": 1}}])
    for columns in ({"a": "text"}, {"b": {"x": 1, "y": 2}}, {"new": 1}):
        (row,) = open_rows([columns])
        with (
            pytest.raises(InputError, match=r"since (it|the input) was looked through"),
            open_writer(tmp_path / "y.parquet", MODEL, learnt) as writer,
        ):
            writer.write(row, answered(0))
        assert not (tmp_path / "y.parquet").exists()


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "jsonl", "csv"])
def test_same_rows_same_bytes(tmp_path: Path, suffix: str) -> None:
    """Two writings of the same rows and results are equal to the byte, from any source."""
    pq.write_table(exotic(3000), tmp_path / "x.parquet", row_group_size=700)
    jsonl(tmp_path / "x.jsonl", [{"prompt": f"p{n}", "n": [n]} for n in range(3000)])
    for name in ("x.parquet", "x.jsonl"):
        write_all(tmp_path / name, tmp_path / f"one.{suffix}")
        write_all(tmp_path / name, tmp_path / f"two.{suffix}")
        one, two = tmp_path / f"one.{suffix}", tmp_path / f"two.{suffix}"
        assert one.read_bytes() == two.read_bytes()


def test_row_groups_are_cut_by_rows_and_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group ends at a number of rows, or earlier at a number of bytes."""
    monkeypatch.setattr(tables, "_GROUP_ROWS", 100)
    monkeypatch.setattr(tables, "_GROUP_BYTES", 100_000)

    def groups() -> list[int]:
        meta = pq.ParquetFile(tmp_path / "y.parquet").metadata
        return [meta.row_group(index).num_rows for index in range(meta.num_row_groups)]

    write_all([{"a": n} for n in range(250)], tmp_path / "y.parquet")
    assert groups() == [100, 100, 50]
    for source in (
        [{"a": "x" * 30_000}] * 9,
        jsonl(tmp_path / "x.jsonl", [{"a": "x" * 30_000}] * 9),
        pa.table({"a": ["x" * 30_000] * 9}),
    ):
        write_all(source, tmp_path / "y.parquet")
        assert groups() == [4, 4, 1]


@pytest.mark.parametrize("rows", [[], [{}]])
def test_empty_outputs(tmp_path: Path, rows: list[Any]) -> None:
    """No rows, and rows without columns, make files that can be read."""
    jsonl(tmp_path / "x.jsonl", rows)
    for suffix in ("jsonl", "csv", "parquet", "arrow", "jsonl.zst"):
        source = open_rows(tmp_path / "x.jsonl")
        check_output(tmp_path / f"y.{suffix}", MODEL, source)
        write_all(source, tmp_path / f"y.{suffix}")
    for suffix in ("jsonl", "csv", "parquet", "jsonl.zst"):
        back = open_rows(tmp_path / f"y.{suffix}")
        assert [row["generation"] for row in good(back)] == ["answer"] * len(rows)
    empty = pa.table({"a": pa.array([], pa.int16())})
    write_all(empty, tmp_path / "z.parquet")
    assert pq.read_table(tmp_path / "z.parquet").schema.names == ["a", *MODEL.names]


def test_mixed_sources_are_learnt(tmp_path: Path) -> None:
    """A folder of Parquet and JSON Lines has no schema of its own; all rows fit one."""
    folder = tmp_path / "in"
    folder.mkdir()
    pq.write_table(pa.table({"a": pa.array([1], pa.int8()), "b": ["x"]}), folder / "1.parquet")
    jsonl(folder / "2.jsonl", [{"a": 0.5, "c": {"d": 1}}])
    write_all(folder, tmp_path / "y.parquet")
    assert written(tmp_path / "y.parquet") == [
        {"a": 1.0, "b": "x", "c": None},
        {"a": 0.5, "b": None, "c": {"d": 1}},
    ]


def test_surrogates_in_json_columns(tmp_path: Path) -> None:
    """Rows with lone surrogates are bad rows, and change no type of the other rows' columns."""
    (tmp_path / "x.jsonl").write_text('{"a":"\\ud800"}\n{"a":1}\n')
    source = open_rows(tmp_path / "x.jsonl")
    assert len(bad(source)) == 1
    write_all(source, tmp_path / "y.parquet")
    assert written(tmp_path / "y.parquet") == [{"a": None}, {"a": 1}]


@pytest.mark.parametrize("suffix", ["arrow", "parquet"])
def test_to_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    """An output becomes a dataset with the features of the input, and ours."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features(
        {"image": datasets.Image(decode=False), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    table = pa.Table.from_pylist(
        [{"image": {"bytes": b"\x89PNG", "path": None}, "label": 1}], schema=features.arrow_schema
    )
    write_all(datasets.Dataset(table), tmp_path / f"y.{suffix}")
    dataset = to_dataset(tmp_path / f"y.{suffix}")
    assert dataset.features["label"] == features["label"]
    assert dataset.features["image"] == features["image"]
    assert dataset[0]["image"] == {"bytes": b"\x89PNG", "path": None}
    assert dataset[0]["generation"] == "answer"
    assert dataset.cache_files


def test_what_is_no_dataset(tmp_path: Path) -> None:
    """A file that is not there, and types that `datasets` does not have, are refused."""
    with pytest.raises(ConfigurationError, match="no such file"):
        to_dataset(tmp_path / "y.jsonl")
    write_all(
        pa.table({"m": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8()))}),
        tmp_path / "y.arrow",
    )
    with pytest.raises(InputError, match="datasets cannot take"):
        to_dataset(tmp_path / "y.arrow")


def test_written_rows_are_read_back(tmp_path: Path) -> None:
    """An output is an input again: with a prefix, a second run adds beside the first."""
    write_all([{"prompt": "x"}], tmp_path / "y.parquet")
    second = OutputColumns("other", prefix="second_")
    write_all(tmp_path / "y.parquet", tmp_path / "z.parquet", second)
    (row,) = open_rows(tmp_path / "z.parquet")
    assert isinstance(row, Row)
    assert row.columns["generation"] == row.columns["second_generation"] == "answer"
    with pytest.raises(ConfigurationError, match="already has the column 'error', 'error_code'"):
        check_output(tmp_path / "w.parquet", MODEL, open_rows(tmp_path / "y.parquet"))
