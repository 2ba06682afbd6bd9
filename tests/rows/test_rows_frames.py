"""Tables and objects in memory: DataFrames, Arrow, transforms, streams without types, NumPy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pytest
from row_samples import bad, good, jsonl, write_all

from distilabel_endpoints.errors import ConfigurationError, InputError
from distilabel_endpoints.rows import ConversationSpec, Row, open_rows
from distilabel_endpoints.rows.json_text import json_line

ROWS = [{"id": 1, "prompt": "a"}, {"id": 2, "prompt": None}, {"id": 3, "prompt": "c"}]


class Speaker:
    """A table of another library: all it has is Arrow's stream protocol."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


TABLE = pa.Table.from_pylist(ROWS)
FRAMES = {
    "pandas": pd.DataFrame(ROWS),
    "table": TABLE,
    "batch": TABLE.to_batches()[0],
    "dataset": pa.dataset.dataset(TABLE),
    "another library": Speaker(TABLE),
    "datasets": datasets.Dataset.from_list(ROWS),
    "datasets in pandas' format": datasets.Dataset.from_list(ROWS).with_format("pandas"),
    "list": ROWS,
}


@pytest.mark.parametrize("name", FRAMES)
def test_every_table_gives_its_rows(name: str) -> None:
    """The rows of a table are those of a list, each time, with their number."""
    source = open_rows(FRAMES[name])
    assert good(source) == good(source) == ROWS
    assert source.count_hint == 3
    assert source.notes == ()


def test_single_columns_are_prompts() -> None:
    """A column of pandas, pyarrow, NumPy or `datasets` is a list of prompts."""
    texts = ["a", "b"]
    for column in (
        pd.Series(texts),
        pa.array(texts),
        pa.chunked_array([["a"], ["b"]]),
        np.array(texts),
        datasets.Dataset.from_dict({"prompt": texts})["prompt"],
    ):
        assert good(open_rows(column)) == [{"prompt": "a"}, {"prompt": "b"}]


def test_periods_of_a_data_frame() -> None:
    """A column of months is these as text, not their number since 1970."""
    months = pd.PeriodIndex(["2020-01", None], freq="M", name="month")
    source = open_rows(pd.DataFrame({"prompt": ["a", "b"]}, index=months))
    assert good(source)[0] == {"month": "2020-01", "prompt": "a"}
    assert good(source)[1]["month"] is None
    assert source.notes == ("periods in column 'month' are text",)


@pytest.mark.parametrize(
    "rows",
    [
        pd.DataFrame({"prompt": ["a"]}).to_numpy().tolist(),
        list(pd.DataFrame({"prompt": ["a"]}).itertuples()),
        pd.DataFrame({"prompt": ["a"]}).groupby("prompt"),
        list(zip(["a"], ["b"], strict=True)),
    ],
)
def test_tuples_are_not_conversations(rows: Any) -> None:
    """Rows without names of columns are refused before the first request, with what to give."""
    with pytest.raises(ConfigurationError, match=r"not a message; give mappings of columns"):
        open_rows(rows)


def test_the_index_of_a_data_frame(tmp_path: Path) -> None:
    """An index with a name is a column; another one is left out with a word."""
    frame = pd.DataFrame({"prompt": ["a", "b", "c"]})
    named = frame.set_index(pd.Index([7, 8, 9], name="id"))
    assert good(open_rows(named))[0] == {"id": 7, "prompt": "a"}
    chosen = open_rows(frame.iloc[[1, 2, 0]])
    assert good(chosen) == [{"prompt": "b"}, {"prompt": "c"}, {"prompt": "a"}]
    assert "reset_index() makes it one" in chosen.notes[0]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({1: ["a"]}), "columns '1' of the DataFrame have names that are not text"),
        (pd.DataFrame({"a": ["x", 1, b"z"]}), 'its rows: frame.to_dict."records"'),
        (pd.DataFrame({"a": [1j]}), "column a with type complex128: .*one common type"),
        (pd.DataFrame({"a": pd.arrays.SparseArray([0])}), "column a. not supported. Give each"),
        (pd.DataFrame([["x", "y"]], columns=["a", "a"]), "has two columns 'a'"),
        (pd.DataFrame({"a": ["x"]}, index=pd.Index([1], name="a")), "has two columns 'a'"),
        (TABLE.to_reader(), "RecordBatchReader holds no rows yet; read it into a table"),
    ],
)
def test_frames_that_are_no_tables(frame: Any, message: str) -> None:
    """What has no types, no names or no rows yet is refused with what to do."""
    with pytest.raises(ConfigurationError, match=message):
        open_rows(frame)


def test_a_transform_is_obeyed() -> None:
    """The rows are those that iterating the dataset gives, written with the types they have."""
    ds = datasets.Dataset.from_dict({"prompt": ["a", "b"]})
    asked = ds.with_transform(lambda batch: {"prompt": [f"Say {text}" for text in batch["prompt"]]})
    source = open_rows(asked)
    assert good(source) == list(asked) == [{"prompt": "Say a"}, {"prompt": "Say b"}]
    assert source.count_hint == 2


def test_chosen_columns_are_obeyed() -> None:
    """A format with some of the columns shows only these."""
    ds = datasets.Dataset.from_dict({"prompt": ["a"], "secret": ["b"]})
    assert good(open_rows(ds.with_format("numpy", columns=["prompt"]))) == [{"prompt": "a"}]
    every = ds.with_format("numpy", columns=["prompt"], output_all_columns=True)
    assert good(open_rows(every)) == [{"prompt": "a", "secret": "b"}]


def test_a_stream_without_types(tmp_path: Path) -> None:
    """A column that is null at first and text, a number or a list later is read as it comes."""

    def rows() -> Iterator[dict[str, Any]]:
        for n in range(300):
            late = n == 299
            yield {"n": n, "note": "late" if late else None, "tags": ["x"] if late else []}

    source = open_rows(datasets.IterableDataset.from_generator(rows).map(lambda row: row))
    assert [row["note"] for row in good(source)] == [None] * 299 + ["late"]
    for suffix in ("jsonl", "parquet"):
        write_all(source, tmp_path / f"y.{suffix}")
        assert good(open_rows(tmp_path / f"y.{suffix}"))[299]["tags"] == ["x"]


def test_a_stream_with_types_and_late_values(tmp_path: Path) -> None:
    """Types that a stream was given are those of the output, whatever comes late."""

    def rows() -> Iterator[dict[str, Any]]:
        for n in range(3):
            yield {"prompt": str(n), "more": {"k": n} if n == 2 else None}

    kinds = {"prompt": datasets.Value("string"), "more": {"k": datasets.Value("int8")}}
    stream = datasets.IterableDataset.from_generator(rows, features=datasets.Features(kinds))
    source = open_rows(stream)
    assert [row["more"] for row in good(source)] == [None, None, {"k": 2}]
    write_all(source, tmp_path / "y.parquet")
    assert pa.parquet.read_schema(tmp_path / "y.parquet").field("more").type.field("k").type == (
        pa.int8()
    )


@pytest.mark.parametrize("join", [datasets.interleave_datasets, datasets.concatenate_datasets])
def test_streams_of_several_datasets_are_read_as_iterating_shows_them(join: Any) -> None:
    """Datasets that were put together need not have the same columns: those of all are there."""
    first = datasets.Dataset.from_list([{"prompt": "a"}, {"prompt": "b"}]).to_iterable_dataset()
    more = [{"prompt": "x", "k": 1}, {"prompt": "y", "k": 2}]
    joined = join([first, datasets.Dataset.from_list(more).to_iterable_dataset()])
    for stream in (joined, joined.filter(lambda _: True), joined.take(3)):
        source = open_rows(stream)
        assert good(source) == list(stream)
        assert source.schema.names == ["prompt", "k"]


def test_splits_are_chosen_by_the_user() -> None:
    """A dictionary of splits is refused with how to take one."""
    splits = datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)})
    with pytest.raises(ConfigurationError, match=r"choose one: \['train'\]"):
        open_rows(splits)


def test_times_of_pandas_in_one_cell() -> None:
    """A column or index of times as one value is a list of them, null for none."""
    times = pd.to_datetime(["2020-01-01", None])
    waits = pd.Series([pd.Timedelta(minutes=5)])
    (row,) = open_rows([{"prompt": "a", "at": pd.Series(times), "index": times, "wait": waits}])
    assert isinstance(row, Row)
    assert json.loads(json_line(row.columns)) == {
        "prompt": "a",
        "at": ["2020-01-01T00:00:00", None],
        "index": ["2020-01-01T00:00:00", None],
        "wait": [300.0],
    }


def test_values_of_pandas_and_numpy_in_rows(tmp_path: Path) -> None:
    """NA, NaT and NaN are nulls; NumPy's times are text to the nanosecond, wherever rows go."""
    moment = np.datetime64("2020-01-01T00:00:00.000000001")
    rows = [
        {
            "prompt": "a",
            "n": pd.NA,
            "at": pd.NaT,
            "when": moment,
            "took": np.timedelta64(1500, "ms"),
        },
        {"prompt": "b", "n": 3, "at": pd.Timestamp("2020-01-01"), "when": None, "took": None},
    ]
    source = open_rows(rows)
    assert len(good(source)) == 2
    for suffix in ("jsonl", "parquet"):
        write_all(source, tmp_path / f"y.{suffix}")
        first, second = good(open_rows(tmp_path / f"y.{suffix}"))
        assert (first["n"], first["at"], second["n"]) == (None, None, 3)
        assert (first["when"], first["took"]) == ("2020-01-01T00:00:00.000000001", 1.5)


def test_an_open_file_is_no_list_of_prompts(tmp_path: Path) -> None:
    """The lines of a file that is open would be sent as they are: its path is asked for."""
    path = jsonl(tmp_path / "x.jsonl", [{"prompt": "a"}])
    with path.open() as file, pytest.raises(ConfigurationError, match="give its path"):
        open_rows(file)


def test_a_stream_without_types_that_fails() -> None:
    """What a stream raises on its way is our error, with the stream's name."""

    def rows() -> Iterator[dict[str, Any]]:
        yield {"n": 1}
        raise ValueError("no more")

    source = open_rows(datasets.IterableDataset.from_generator(rows))
    with pytest.raises(InputError, match="IterableDataset object cannot be read to its end"):
        list(source)


def _array(*items: Any) -> Any:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


MESSAGE = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    "messages",
    [
        _array(MESSAGE),
        (MESSAGE,),
        [{"role": np.str_("user"), "content": np.str_("hi")}],
        _array({"role": "user", "content": _array({"type": "text", "text": "hi"})}),
    ],
)
def test_messages_of_numpy(messages: Any) -> None:
    """Arrays and tuples of messages, as pandas gives them, are lists of messages."""
    (row,) = open_rows([{"messages": messages}])
    assert isinstance(row, Row)
    (message,) = ConversationSpec().bind(["messages"]).prepare(row).messages
    assert message["role"] == "user"
    assert message["content"] in ("hi", [{"type": "text", "text": "hi"}])
    assert type(message["content"]) in {str, list, np.str_}


def test_rows_of_pandas_read_from_parquet(tmp_path: Path) -> None:
    """`to_dict("records")` of a frame with lists gives rows that can be sent and written."""
    talk = pd.DataFrame({"id": [1], "messages": [[MESSAGE]]})
    talk.to_parquet(tmp_path / "x.parquet")
    rows = pd.read_parquet(tmp_path / "x.parquet").to_dict("records")
    source = open_rows(rows)
    assert not bad(source)
    write_all(source, tmp_path / "y.jsonl")
    assert good(open_rows(tmp_path / "y.jsonl"))[0]["messages"] == [MESSAGE]
    assert good(open_rows(talk)) == [{"id": 1, "messages": [MESSAGE]}]
