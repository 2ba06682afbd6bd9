"""Every format that is written is read back, and what a format adds to the rows is said."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from row_samples import MODEL, good, write_all

from distilabel_endpoints.errors import InputError
from distilabel_endpoints.rows import open_rows, to_dataset, to_pandas
from fuzzing import examples

FORMATS = [
    *(
        f"{text}{compression}"
        for text in ("jsonl", "ndjson", "json", "csv", "tsv")
        for compression in ("", ".gz", ".bz2", ".xz", ".zst")
    ),
    "parquet",
    "arrow",
    "feather",
]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["=1", "-0.5", "a;b", "tab\\t", "\r\n", '"', "\\", "|", "[{", "\ufeff"]
)


@pytest.mark.parametrize("suffix", FORMATS)
@settings(max_examples=examples(15), deadline=None)
@given(rows=st.lists(st.tuples(texts, texts), max_size=5))
def test_what_is_written_is_read_back(suffix: str, rows: list[tuple[str, str]]) -> None:
    """Any texts come through any output, which is an input again, with our columns behind them."""
    given_rows = [{"id": one, "prompt": two} for one, two in rows]
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"y.{suffix}"
        write_all(given_rows, path)
        back = good(open_rows(path))
    assert [{"id": row["id"], "prompt": row["prompt"]} for row in back] == given_rows
    assert all(row["generation"] == "answer" for row in back)
    assert not back or tuple(back[0])[-len(MODEL.names) :] == MODEL.names


def test_columns_that_some_rows_do_not_have(tmp_path: Path) -> None:
    """A table has every column and key in every row: which ones are padded is said."""
    rows = [
        {"id": 1, "m": [{"role": "a"}]},
        {"id": 2, "b": None, "m": [{"role": "a", "name": "x"}]},
    ]
    notes = write_all(rows, tmp_path / "y.parquet")
    assert notes == ("null stands for 'b', 'm[].name' in rows that do not have them",)
    assert write_all(rows, tmp_path / "y.jsonl") == ()
    assert write_all([{"id": 1, "b": None}], tmp_path / "y.parquet") == ()


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet", "feather"])
def test_columns_that_only_later_rows_have(tmp_path: Path, suffix: str) -> None:
    """A table in memory has every column of the file, whichever row has it first."""
    path = tmp_path / f"y.{suffix}"
    write_all([{"prompt": "a"}, {"prompt": "b", "late": "x"}], path)
    assert to_dataset(path)[1]["late"] == "x"
    assert list(to_pandas(path)["late"])[1] == "x"


def test_columns_that_no_table_can_hold(tmp_path: Path) -> None:
    """JSON Lines may mix types in a column: a dataset of them is refused in our words."""
    write_all([{"prompt": "a", "n": 1}, {"prompt": "b", "n": "x"}], tmp_path / "y.jsonl")
    with pytest.raises(InputError, match=r"no type in common.*Write Parquet"):
        to_dataset(tmp_path / "y.jsonl")
    assert list(to_pandas(tmp_path / "y.jsonl")["n"]) == [1, "x"]
