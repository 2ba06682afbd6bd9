"""Parquet, Arrow tables and `datasets` in: types kept, order kept, bad cells found."""

from __future__ import annotations

import datetime as dt
import decimal
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from row_samples import bad, good, jsonl

from distilabel_endpoints.errors import ConfigurationError, InputError, InstallationError
from distilabel_endpoints.rows import BadReason, open_rows
from distilabel_endpoints.rows.arrow import rows_per_batch

datasets.disable_progress_bars()


def parquet(path: Path, rows: list[dict[str, Any]], **options: Any) -> Path:
    pq.write_table(pa.Table.from_pylist(rows, schema=options.pop("schema", None)), path, **options)
    return path


def test_types_are_kept(tmp_path: Path) -> None:
    """Dates, decimals, bytes and nested values come as Python's own."""
    row = {
        "prompt": "é\0",
        "day": dt.date(2020, 2, 29),
        "at": dt.datetime(2020, 1, 1, 12, tzinfo=dt.UTC),
        "price": decimal.Decimal("1.50"),
        "image": {"bytes": b"\x00\xff", "path": None},
        "messages": [{"role": "user", "content": "hi"}],
        "none": None,
        "n": 2**60,
    }
    source = open_rows(parquet(tmp_path / "x.parquet", [row] * 3))
    assert good(source) == [row] * 3
    assert source.count_hint == 3
    assert source.columns == tuple(row)
    assert source.schema.field("price").type == pa.decimal128(3, 2)
    assert [r.source for r in source] == [f"x.parquet, row {n}" for n in (1, 2, 3)]


def test_batches_do_not_change_rows(tmp_path: Path) -> None:
    """Ordinals, numbers and hashes run through all row groups and batches."""
    rows = [{"prompt": f"{n} " + "x" * 5000} for n in range(5000)]
    whole = open_rows(parquet(tmp_path / "a.parquet", rows))
    pieces = open_rows(parquet(tmp_path / "b.parquet", rows, row_group_size=100))
    first = [(row.ordinal, row.place.line, row.content_hash) for row in whole]
    second = [(row.ordinal, row.place.line, row.content_hash) for row in pieces]
    assert first == second
    assert [ordinal for ordinal, _, _ in first] == list(range(5000))
    assert [line for _, line, _ in first] == list(range(1, 5001))


@pytest.mark.parametrize(
    ("size", "count", "rows"),
    [(0, 0, 1), (100, 10, 2048), (4 * 2**20 * 10, 100, 10), (10**12, 1, 1), (10**9, 1000, 4)],
)
def test_batches_are_bounded_in_bytes(size: int, count: int, rows: int) -> None:
    """A batch holds about four mebibytes, and at least a row."""
    assert rows_per_batch(size, count) == rows


def test_hash_is_of_the_values(tmp_path: Path) -> None:
    """The order of columns and the file around a row do not change its hash; a value does."""
    one = next(iter(open_rows(parquet(tmp_path / "a.parquet", [{"a": 1, "b": "x"}]))))
    two = next(iter(open_rows(parquet(tmp_path / "b.parquet", [{"b": "x", "a": 1}]))))
    three = next(iter(open_rows(parquet(tmp_path / "c.parquet", [{"b": "x", "a": 2}]))))
    listed = next(iter(open_rows([{"a": 1, "b": "x"}])))
    assert one.content_hash == two.content_hash == listed.content_hash
    assert one.content_hash != three.content_hash


def test_folder_of_parquet_has_one_schema(tmp_path: Path) -> None:
    """Files with more or fewer columns, or a column of nulls, are read with all columns."""
    parquet(tmp_path / "1.parquet", [{"a": 1, "b": None}])
    parquet(tmp_path / "2.parquet", [{"b": "x", "a": 2}])
    parquet(tmp_path / "3.parquet", [{"c": 0.5}])
    source = open_rows(tmp_path)
    assert good(source) == [
        {"a": 1, "b": None, "c": None},
        {"a": 2, "b": "x", "c": None},
        {"a": None, "b": None, "c": 0.5},
    ]
    assert source.columns == ("a", "b", "c")
    assert source.schema.field("b").type == pa.string()
    assert source.count_hint == 3


def test_files_that_contradict_each_other(tmp_path: Path) -> None:
    """A column with two types is an error that names both files."""
    parquet(tmp_path / "1.parquet", [{"a": 1}])
    parquet(tmp_path / "2.parquet", [{"a": "x"}])
    with pytest.raises(InputError, match=r"2\.parquet and .*1\.parquet do not have the same"):
        _ = open_rows(tmp_path).schema


def test_mixed_folder(tmp_path: Path) -> None:
    """Formats can be mixed; ordinals go on from file to file."""
    parquet(tmp_path / "b.parquet", [{"a": 2}])
    jsonl(tmp_path / "a.jsonl", [{"a": 1}])
    (tmp_path / "c.csv").write_text("a\n3\n")
    source = open_rows(tmp_path)
    assert [(row.ordinal, row.place.file) for row in source] == [
        (0, "a.jsonl"),
        (1, "b.parquet"),
        (2, "c.csv"),
    ]
    assert good(source) == [{"a": 1}, {"a": 2}, {"a": "3"}]
    assert source.schema is None
    assert source.count_hint is None


def test_no_parquet_file(tmp_path: Path) -> None:
    """Garbage under the name is an input error, which names the file once."""
    (tmp_path / "x.parquet").write_bytes(b"PAR1 nothing of the kind")
    with pytest.raises(InputError, match=r"x\.parquet: not a Parquet file") as caught:
        list(open_rows(tmp_path / "x.parquet"))
    assert str(caught.value).count("x.parquet") == 1


def test_damaged_pages(tmp_path: Path) -> None:
    """A file that breaks in its middle is an input error, after the rows that could be read."""
    path = parquet(
        tmp_path / "x.parquet", [{"a": f"{n}" * 50} for n in range(20_000)], row_group_size=5000
    )
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20_000] = b"\xa5" * 20_000
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"x\.parquet.*damaged"):
        list(open_rows(path))


def test_columns_that_appear_twice(tmp_path: Path) -> None:
    """A mapping cannot hold two columns of one name."""
    table = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(InputError, match="column names appear twice: 'a'"):
        list(open_rows(tmp_path / "x.parquet"))


def test_cells_python_cannot_hold(tmp_path: Path) -> None:
    """A cell beyond Python's types makes its row bad, and keeps its cells; others are good."""
    days = pa.array([0, 10**8, 1], pa.int32()).cast(pa.date32())
    text = pa.Array.from_buffers(
        pa.string(),
        3,
        [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xffc")],
    )
    source = open_rows(pa.table({"day": days, "text": ["a", "b", "c"]}))
    rows = list(source)
    assert [row.reason for row in bad(rows)] == [BadReason.INPUT]
    assert "'day' has a value of type date32" in bad(rows)[0].message
    assert bad(rows)[0].original is not None
    assert [row["text"] for row in good(rows)] == ["a", "c"]
    rows = list(open_rows(pa.table({"text": text})))
    assert [row.ordinal for row in bad(rows)] == [1]
    assert good(rows) == [{"text": "a"}, {"text": "c"}]


def test_too_large_rows_keep_their_cells() -> None:
    """The cap holds for tables, and output can still copy the row."""
    rows = list(open_rows(pa.table({"a": ["x" * 500, "y"]}), max_row_bytes=100))
    assert [row.reason for row in bad(rows)] == [BadReason.TOO_LARGE]
    assert bad(rows)[0].original is not None


def test_skip_sees_every_row() -> None:
    """Rows are passed over by identity, and ordinals count them."""
    source = open_rows(pa.table({"a": [1, 2, 3]}))
    kept = list(source.rows(lambda ordinal, _: ordinal != 1))
    assert [row.ordinal for row in kept] == [1]


def dataset(count: int = 10) -> datasets.Dataset:
    return datasets.Dataset.from_list(
        [{"prompt": f"p{n}", "messages": [{"role": "user", "content": "x"}]} for n in range(count)]
    )


def test_dataset_objects() -> None:
    """A dataset, a selection of one, and a stream of one give their rows in their order."""
    whole = dataset()
    source = open_rows(whole)
    assert source.count_hint == 10
    assert good(source) == list(whole)
    assert good(source) == list(whole)
    assert source.describe() == "Dataset object"
    picked = whole.select([7, 2])
    assert [row["prompt"] for row in good(open_rows(picked))] == ["p7", "p2"]
    assert open_rows(picked).count_hint == 2
    stream = open_rows(whole.to_iterable_dataset())
    assert good(stream) == list(whole)
    assert stream.count_hint is None
    assert stream.columns == ("prompt", "messages")


def test_images_stay_bytes() -> None:
    """Images are not decoded: a row holds the bytes that are stored."""
    features = datasets.Features({"image": datasets.Image(), "prompt": datasets.Value("string")})
    stored = {"image": {"bytes": b"\x89PNG", "path": None}, "prompt": "what is this?"}
    pictures = datasets.Dataset(pa.Table.from_pylist([stored], schema=features.arrow_schema))
    assert good(open_rows(pictures)) == [stored]


def test_saved_dataset(tmp_path: Path) -> None:
    """A folder that `save_to_disk` made is read as a dataset, memory-mapped."""
    dataset().save_to_disk(tmp_path / "saved")
    source = open_rows(tmp_path / "saved")
    assert good(source) == list(dataset())
    assert source.count_hint == 10
    assert source.describe() == str(tmp_path / "saved")


def test_saved_splits_must_be_chosen(tmp_path: Path) -> None:
    """A folder with several splits is refused with the folders to choose from."""
    datasets.DatasetDict(train=dataset(1), test=dataset(2)).save_to_disk(tmp_path / "all")
    with pytest.raises(ConfigurationError, match=r"all/test, .*all/train"):
        open_rows(tmp_path / "all")
    assert open_rows(tmp_path / "all" / "test").count_hint == 2
    with pytest.raises(ConfigurationError, match=r"choose one: \['test'\], \['train'\]"):
        open_rows(datasets.DatasetDict(train=dataset(1), test=dataset(2)))


def test_broken_saved_dataset(tmp_path: Path) -> None:
    """A saved folder with a missing file is an input error."""
    dataset().save_to_disk(tmp_path / "saved")
    next((tmp_path / "saved").glob("*.arrow")).unlink()
    with pytest.raises(InputError, match="not a whole saved dataset"):
        list(open_rows(tmp_path / "saved"))


TEN = slice(None, 10)


def test_stream_that_fails_on_its_way() -> None:
    """A stream that breaks is an input error with its name."""

    def generate() -> Any:
        yield {"a": 1}
        raise OSError("connection lost")

    source = open_rows(datasets.IterableDataset.from_generator(generate))
    with pytest.raises(InputError, match="IterableDataset object cannot be read to its end"):
        list(source)


@pytest.mark.parametrize("module", ["pyarrow", "datasets"])
def test_missing_packages_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    """Without pyarrow or datasets the error says what to install."""
    path = parquet(tmp_path / "x.parquet", [{"a": 1}])
    dataset(1).save_to_disk(tmp_path / "saved")
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(InstallationError, match=r'pip install "distilabel-endpoints\[datasets\]"'):
        list(open_rows(path if module == "pyarrow" else tmp_path / "saved"))
