"""Rows that cannot be used keep what can be read of them: an output is joined by its ids."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from row_samples import MODEL, answered, bad, good, refused, write_all

from distilabel_endpoints.records import Completion, Failure, FailureKind, Result
from distilabel_endpoints.rows import OutputColumns, open_rows, open_writer
from distilabel_endpoints.rows.json_text import readable_columns, storable_columns

REFUSED = {
    "nan": ('{"id": 7, "prompt": "a", "score": NaN}', {"id": 7, "prompt": "a", "score": None}),
    "key twice": ('{"id": 7, "a": 1, "a": 2}', {"id": 7, "a": 2}),
    "surrogate": (r'{"id": 7, "a": "\ud800"}', {"id": 7, "a": "\ufffd"}),
    "text behind": ('{"id": 7} x', {"id": 7}),
    "cut in text": ('{"id": 7, "prompt": "abc', {"id": 7}),
    "cut in number": ('{"id": "x", "n": 12', {"id": "x"}),
    "cut in key": ('{"id": 7, "pro', {"id": 7}),
    "cut behind colon": ('{"id": 7, "prompt":', {"id": 7}),
    "no comma": ('{"id": 7 "prompt": "a"}', {"id": 7}),
    "single quotes": ("{'id': 7}", {}),
    "not an object": ("[1, 2]", {}),
    "nested": ('{"id": 7, "x": ' + "[" * 100_000, {"id": 7}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_json_row_keeps_what_can_be_read(tmp_path: Path, name: str) -> None:
    """NaN, a key twice, a row that was cut off: the output has the columns before the fault."""
    text, columns = REFUSED[name]
    # Not first: a file that begins with a bracket is an array of rows.
    (tmp_path / "x.jsonl").write_text('{"id": 8, "prompt": "b"}\n' + text + "\n")
    assert len(bad(open_rows(tmp_path / "x.jsonl"))) == 1
    write_all(tmp_path / "x.jsonl", tmp_path / "y.jsonl")
    first, second = good(open_rows(tmp_path / "y.jsonl"))
    assert {key: second[key] for key in second if key not in MODEL.names} == columns
    assert second["error_code"] == ("input_surrogate" if name == "surrogate" else "input")
    assert first["id"] == 8


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet", "arrow"])
def test_every_format_keeps_the_ids_of_bad_rows(tmp_path: Path, suffix: str) -> None:
    """The ids of an output are those of the input, in its order, whatever became of the rows."""
    (tmp_path / "x.jsonl").write_text('{"id": 7, "n": NaN}\n{"id": 8, "n": 1.5}\n{"id": 9, "p')
    write_all(tmp_path / "x.jsonl", tmp_path / f"y.{suffix}")
    if suffix == "arrow":
        with pa.ipc.open_stream(tmp_path / "y.arrow") as reader:
            ids = reader.read_all()["id"].to_pylist()
    else:
        ids = [row["id"] for row in good(open_rows(tmp_path / f"y.{suffix}"))]
    assert [int(number) for number in ids] == [7, 8, 9]


def test_csv_rows_with_other_fields_keep_theirs(tmp_path: Path) -> None:
    """A field too many, one too few, a broken quote, other bytes than UTF-8: the id is there."""
    content = b'id,prompt\n1,a,more\n2\n3,"b"x\n4,\xff\n5,c\n'
    (tmp_path / "x.csv").write_bytes(content)
    assert len(bad(open_rows(tmp_path / "x.csv"))) == 4
    write_all(tmp_path / "x.csv", tmp_path / "y.jsonl")
    rows = good(open_rows(tmp_path / "y.jsonl"))
    assert [row["id"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert rows[3]["prompt"] == "\ufffd"


def test_a_row_that_is_too_large_keeps_its_beginning(tmp_path: Path) -> None:
    """Of a row that was never held, the columns before the large one are in the output."""
    rows = [{"id": n, "prompt": "x" * 300_000} for n in range(2)]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "x.json").write_text(json.dumps(rows))
    (tmp_path / "x.csv").write_text(
        "id,prompt\n" + "".join(f"{n},{'x' * 300_000}\n" for n in (0, 1))
    )
    for suffix in ("jsonl", "json", "csv"):
        source = open_rows(tmp_path / f"x.{suffix}", max_row_bytes=1000)
        write_all(source, tmp_path / "y.jsonl")
        assert [int(row["id"]) for row in good(open_rows(tmp_path / "y.jsonl"))] == [0, 1]


def test_python_and_arrow_rows_keep_what_can_be_stored(tmp_path: Path) -> None:
    """A value that no file can hold, or no Python value can, takes no other column with it."""
    write_all([{"id": 1, "x": object()}, {"id": 2, "x": "ok"}], tmp_path / "y.jsonl")
    assert [row["id"] for row in good(open_rows(tmp_path / "y.jsonl"))] == [1, 2]
    days = pa.array([0, 10**8], pa.int32()).cast(pa.date32())
    table = pa.table({"id": [1, 2], "day": days})
    pq.write_table(table, tmp_path / "x.parquet")
    write_all(tmp_path / "x.parquet", tmp_path / "z.jsonl")
    assert [row["id"] for row in good(open_rows(tmp_path / "z.jsonl"))] == [1, 2]
    assert storable_columns({1: "x", "a\ud800": "b\ud800", "c": {1}}) == {"a\ufffd": "b\ufffd"}


def test_what_can_be_read_is_plain() -> None:
    """NaN stays a number for formats that have it; text is what UTF-8 can carry."""
    columns = readable_columns(b'{"n": NaN, "deep": [{"\\ud800": "\\ud800"}], "raw": "\xff"}')
    assert math.isnan(columns.pop("n"))
    assert columns == {"deep": [{"\ufffd": "\ufffd"}], "raw": "\ufffd"}


def test_the_text_of_a_refused_answer_is_kept(tmp_path: Path) -> None:
    """What was generated, and is not what was asked for, is in the output beside its reason."""
    failure = Failure(
        kind=FailureKind.CONTENT, code="schema", message="not on schema", text="nearly {"
    )
    result = Result(ordinal=0, completions=(None,), failures=(failure,))
    source = open_rows([{"prompt": "x"}])
    for suffix in ("jsonl", "csv", "parquet"):
        with open_writer(tmp_path / f"y.{suffix}", MODEL, source) as writer:
            for row in source:
                writer.write(row, result)
        (written,) = good(open_rows(tmp_path / f"y.{suffix}"))
        assert (written["error_code"], written["failed_generation"]) == ("schema", "nearly {")
        assert not written["generation"]


def _results(count: int, columns: OutputColumns) -> list[Result]:
    """Answers with nothing to report, and at the end one of everything that can be reported."""
    n = columns.num_generations
    failure = Failure(kind=FailureKind.CONTENT, code="schema", message="no", text="raw")
    said = Completion(text="a", reasoning="because", tool_calls=({"id": "1"},), logprobs=[{"p": 1}])
    last = Result(ordinal=count, completions=(said,) + (None,) * (n - 1), failures=(failure,) * n)
    return [*(answered(ordinal, n=n) for ordinal in range(count)), last]


@pytest.mark.parametrize("num_generations", [1, 2])
def test_json_lines_load_whatever_comes_late(tmp_path: Path, num_generations: int) -> None:
    """`datasets` takes types from the first 10 MB; columns that are filled later load too."""
    columns = OutputColumns("m", num_generations, tool_calls=True, logprobs=True)
    source = open_rows([{"id": n, "prompt": "x" * 60_000} for n in range(201)])
    with open_writer(tmp_path / "y.jsonl", columns, source) as writer:
        for row, result in zip(source, _results(200, columns), strict=True):
            writer.write(row, result)
    files: dict[str, Any] = {"data_files": str(tmp_path / "y.jsonl"), "split": "train"}
    loaded = datasets.load_dataset("json", cache_dir=str(tmp_path / "cache"), **files)
    first, last = loaded[0], loaded[200]
    none = "" if num_generations == 1 else ["", ""]
    for name in ("error", "error_code", "reasoning", "failed_generation", "tool_calls"):
        assert first[name] == none
        assert last[name] != none
    failed = last["error_code"] if num_generations == 1 else last["error_code"][0]
    assert failed == "schema"


def test_a_clash_in_a_bad_row_is_refused(tmp_path: Path) -> None:
    """A bad row's columns are the output's too, so they must not have the name of one of ours."""
    (tmp_path / "x.jsonl").write_text('{"id": 1, "error": NaN}\n')
    (row,) = open_rows(tmp_path / "x.jsonl")
    assert row.columns["id"] == 1
    with (
        pytest.raises(Exception, match="give a column prefix"),
        open_writer(tmp_path / "y.jsonl", MODEL, open_rows(tmp_path / "x.jsonl")) as writer,
    ):
        writer.write(row, refused(bad([row])[0]))
