"""Output columns, JSON Lines, CSV, and the file that appears whole or not at all."""

from __future__ import annotations

import csv
import datetime as dt
import decimal
import errno
import gzip
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from row_samples import MODEL, answered, good, jsonl, refused, write_all

from distilabel_endpoints.errors import ConfigurationError, InputError, StorageError
from distilabel_endpoints.records import Completion, Failure, FailureKind, Result, Usage
from distilabel_endpoints.rows import (
    BadReason,
    BadRow,
    OutputColumns,
    Place,
    Row,
    check_output,
    open_rows,
    open_writer,
)
from distilabel_endpoints.rows.output import column_names

OURS = {
    "generation": "answer",
    "model_name": "model",
    "finish_reason": "stop",
    "input_tokens": 3,
    "output_tokens": 4,
    "error": None,
    "error_code": None,
    "reasoning": None,
    "failed_generation": None,
}
IN_JSONL = {name: "" if value is None else value for name, value in OURS.items()}
"""The same in JSON Lines, whose columns keep one type."""


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def test_columns_for_one_generation() -> None:
    """Text, name, reason, cost and error; the optional ones where they are asked for."""
    assert OutputColumns("model").values(answered(0)) == OURS
    every = OutputColumns("m", prefix="my_", tool_calls=True, logprobs=True)
    completion = Completion(
        text="t",
        finish_reason="stop",
        reasoning="r",
        tool_calls=({"id": "1"},),
        logprobs=[{"p": 1}],
    )
    result = Result(ordinal=0, completions=(completion,), failures=(None,))
    assert every.values(result) == {
        "my_generation": "t",
        "my_model_name": "m",
        "my_finish_reason": "stop",
        "my_input_tokens": None,
        "my_output_tokens": None,
        "my_error": None,
        "my_error_code": None,
        "my_reasoning": "r",
        "my_failed_generation": None,
        "my_tool_calls": [{"id": "1"}],
        "my_logprobs": [{"p": 1}],
    }
    assert every.names == tuple(every.values(result))


def test_columns_for_several_generations() -> None:
    """Lists with one entry each; costs are summed; errors are null where there is none."""
    columns = OutputColumns("m", 3, tool_calls=True)
    assert columns.values(answered(0, n=3)) == {
        "generations": ["answer", "answer1", "answer2"],
        "model_name": "m",
        "finish_reason": ["stop"] * 3,
        "input_tokens": 3,
        "output_tokens": 4,
        "error": None,
        "error_code": None,
        "reasoning": [None] * 3,
        "failed_generation": None,
        "tool_calls": [None] * 3,
    }
    failure = Failure(kind=FailureKind.TRANSIENT, message="it broke", status=500, attempts=5)
    partly = Result(
        ordinal=0,
        completions=(Completion(text="a"), None, Completion(text="c", finish_reason="length")),
        failures=(None, failure, None),
        usages=(Usage(1, 2), Usage(10, None), Usage()),
    )
    values = columns.values(partly)
    assert values["generations"] == ["a", None, "c"]
    assert values["finish_reason"] == [None, None, "length"]
    assert values["error"] == [None, "transient 500: it broke (after 5 attempts)", None]
    assert values["error_code"] == [None, "transient", None]
    assert (values["input_tokens"], values["output_tokens"]) == (11, 2)


def test_a_row_that_was_never_sent() -> None:
    """Too few completions are filled up with null."""
    failure = Failure(kind=FailureKind.ROW, message="bad")
    result = Result(ordinal=0, completions=(), failures=(failure,))
    assert OutputColumns("m").values(result)["generation"] is None
    assert OutputColumns("m").values(result)["error"] == "row: bad"
    assert OutputColumns("m", 2).values(result)["generations"] == [None, None]
    assert OutputColumns("m", 2).values(result)["error"] == ["row: bad", None]


def test_names_that_clash(tmp_path: Path) -> None:
    """An input column with the name of one of ours is refused before the start, with a way out."""
    source = open_rows(jsonl(tmp_path / "x.jsonl", [{"prompt": "a", "error": 1, "generation": 2}]))
    with pytest.raises(ConfigurationError, match="column 'error', 'generation'; give a column pre"):
        check_output(tmp_path / "y.jsonl", MODEL, source)
    check_output(tmp_path / "y.jsonl", OutputColumns("m", prefix="new_"), source)
    rows = list(source)
    other = open_rows([{"prompt": "a"}])
    for suffix in ("jsonl", "parquet", "csv"):
        with (
            pytest.raises((ConfigurationError, InputError), match="column"),
            open_writer(tmp_path / f"z.{suffix}", MODEL, other) as writer,
        ):
            writer.write(rows[0], answered(0))
        assert not (tmp_path / f"z.{suffix}").exists()


def test_json_lines_keep_the_row_to_the_byte(tmp_path: Path) -> None:
    """A row's own text is copied: number forms, key order, escapes and spaces stay."""
    rows = [
        b'{"b":1.10, "a":1E400,"\\u0061b":"\\u00e9\\/" }',
        b"{}",
        b"{  }",
        b'{"n":12345678901234567890123,"e":1e5}',
    ]
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\r\n".join(rows))
    write_all(path, tmp_path / "y.jsonl")
    written = (tmp_path / "y.jsonl").read_bytes().splitlines()
    for before, after in zip(rows, written, strict=True):
        assert after.startswith(before.rstrip(b"}").rstrip())
        assert json.loads(after) == {**json.loads(before), **IN_JSONL}


def test_rows_of_an_indented_array(tmp_path: Path) -> None:
    """Line breaks between the tokens of a `.json` element become spaces."""
    rows: list[dict[str, Any]] = [{"a": "x\ny", "b": [1, {"c": None}]}, {"a": "\r"}]
    (tmp_path / "x.json").write_text(json.dumps(rows, indent=2).replace("\n", "\r\n"))
    write_all(tmp_path / "x.json", tmp_path / "y.jsonl")
    assert lines(tmp_path / "y.jsonl") == [{**row, **IN_JSONL} for row in rows]


def test_values_json_has_no_type_for(tmp_path: Path) -> None:
    """Dates are ISO 8601, durations seconds, decimals text, bytes base64, NaN null."""
    row = {
        "day": dt.date(2020, 2, 29),
        "at": dt.datetime(2020, 1, 1, 12, 0, 0, 5, tzinfo=dt.UTC),
        "time": dt.time(1, 2),
        "took": dt.timedelta(minutes=1, microseconds=5),
        "price": decimal.Decimal("1.50"),
        "image": {"bytes": b"\x00\xff", "path": None},
        "nan": float("nan"),
        "nested": [{"inf": float("inf")}, 0.5, ("t",)],
    }
    expected = {
        "day": "2020-02-29",
        "at": "2020-01-01T12:00:00.000005+00:00",
        "time": "01:02:00",
        "took": 60.000005,
        "price": "1.50",
        "image": {"bytes": "AP8=", "path": None},
        "nan": None,
        "nested": [{"inf": None}, 0.5, ["t"]],
    }
    write_all([row], tmp_path / "y.jsonl")
    assert lines(tmp_path / "y.jsonl") == [{**expected, **IN_JSONL}]


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "csv", "csv.gz", "parquet", "arrow"])
def test_lone_surrogates_of_a_model(tmp_path: Path, suffix: str) -> None:
    """What a model says is written whatever it is: U+FFFD stands for a lone surrogate."""
    source = open_rows([{"prompt": "x"}])
    path = tmp_path / f"y.{suffix}"
    with open_writer(path, MODEL, source) as writer:
        for row in source:
            writer.write(row, answered(0, "a\ud800b\0"))
    if suffix == "arrow":
        with pa.ipc.open_stream(path) as reader:
            texts = reader.read_all().column("generation").to_pylist()
    else:
        texts = [row["generation"] for row in good(open_rows(path))]
    assert texts == ["a\ufffdb\0"]


def test_bad_rows_stand_in_their_place(tmp_path: Path) -> None:
    """A row that could not be read at all has its error and nothing else."""
    (tmp_path / "x.jsonl").write_text('{"prompt":"a"}\nnope\n{"prompt":"b"}\n')
    for suffix in ("jsonl", "csv", "parquet"):
        write_all(tmp_path / "x.jsonl", tmp_path / f"y.{suffix}")
        rows = good(open_rows(tmp_path / f"y.{suffix}"))
        assert [row.get("prompt") or None for row in rows] == ["a", None, "b"]
        assert "not JSON" in rows[1]["error"]
        assert not rows[1]["generation"]


def test_csv_output(tmp_path: Path) -> None:
    """RFC 4180 with a header; null is empty, nested values are JSON, booleans are words."""
    rows = [
        {"prompt": 'say "hi",\nplease', "n": 1.5, "ok": True, "tags": ["a", {"b": None}]},
        {"late": dt.date(2020, 1, 1), "prompt": None, "ok": False, "raw": b"\xfb"},
    ]
    write_all(rows, tmp_path / "y.csv")
    with (tmp_path / "y.csv").open(newline="") as file:
        records = list(csv.DictReader(file, strict=True))
    assert [list(record.values())[:6] for record in records] == [
        ['say "hi",\nplease', "1.5", "true", '["a", {"b": null}]', "", ""],
        ["", "", "false", "", "2020-01-01", "+w=="],
    ]
    assert records[0]["generation"] == "answer"
    assert (tmp_path / "y.csv").read_bytes().startswith(b"prompt,n,ok,tags,late,raw,generation,")
    assert (tmp_path / "y.csv").read_bytes().endswith(b",3,4,,,,\r\n")


FORMULAS = ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\0x", "'=1", "'", "plain", "é", ""]


@pytest.mark.promise("S9")
def test_csv_formulas(tmp_path: Path) -> None:
    """Where that is asked for no cell starts like a formula, and one apostrophe is all there is."""
    source = [{"=prompt": text, "-5": -5} for text in FORMULAS]
    write_all(source, tmp_path / "y.csv", OutputColumns("model", escape_formulas=True))
    with (tmp_path / "y.csv").open(newline="") as file:
        cells = [cell for record in csv.reader(file) for cell in record]
    assert not [cell for cell in cells if cell.startswith(tuple("=+@\t\r\0"))]
    assert [cell for cell in cells if cell.startswith("-")] == ["-5"] * len(FORMULAS)
    back = [row["'=prompt"] for row in good(open_rows(tmp_path / "y.csv"))]
    assert [re.sub(r"^'(?='*[-=+@\t\r\0])", "", text) for text in back] == FORMULAS


def test_csv_cells_are_written_as_they_are(tmp_path: Path) -> None:
    """Numbers, phone numbers, handles and lists come out as they went in, names included."""
    cells = [*FORMULAS, "-0.5", "+49 30 123", "@bob", "- one\n- two", "=1"]
    write_all([{"=prompt": text} for text in cells], tmp_path / "y.csv")
    assert [row["=prompt"] for row in good(open_rows(tmp_path / "y.csv"))] == cells


def test_nul_in_csv_is_noted(tmp_path: Path) -> None:
    """NUL is written as it is, and the user is told."""
    notes = write_all([{"a": "x\0"}], tmp_path / "y.csv")
    assert notes == ("some cells hold NUL characters, which many CSV readers do not take",)
    assert good(open_rows(tmp_path / "y.csv"))[0]["a"] == "x\0"
    assert write_all([{"a": "x"}], tmp_path / "y.csv") == ()


def test_csv_needs_every_column_beforehand(tmp_path: Path) -> None:
    """The header has the columns of all rows; a column that appears later is an error."""
    source = open_rows(jsonl(tmp_path / "x.jsonl", [{"a": 1}, {"b": 2, "a": 3}, {"c": 4}]))
    assert column_names(source) == ("a", "b", "c")
    rows = list(open_rows([{"a": 1}, {"new": 1}]))
    with (
        pytest.raises(InputError, match="a column appeared since the input was looked through"),
        open_writer(tmp_path / "y.csv", MODEL, open_rows([{"a": 1}])) as writer,
    ):
        writer.write(rows[1], answered(1))
    assert list(tmp_path.glob("y.csv*")) == []


@pytest.mark.parametrize("suffix", ["jsonl.gz", "csv.gz", "jsonl.zst", "csv.zst"])
def test_compressed_output(tmp_path: Path, suffix: str) -> None:
    """Compressed outputs hold what the plain one holds, in the same bytes each time."""
    source = [{"prompt": f"p{n}"} for n in range(1000)]
    for name in ("one", "two"):
        write_all(source, tmp_path / f"{name}.{suffix}")
    one, two = tmp_path / f"one.{suffix}", tmp_path / f"two.{suffix}"
    assert one.read_bytes() == two.read_bytes()
    assert [row["prompt"] for row in good(open_rows(one))] == [f"p{n}" for n in range(1000)]
    if suffix == "jsonl.gz":
        assert one.read_bytes()[4:8] == bytes(4)  # where gzip keeps the time of writing
        write_all(source, tmp_path / "plain.jsonl")
        assert gzip.decompress(one.read_bytes()) == (tmp_path / "plain.jsonl").read_bytes()


@pytest.mark.promise("S14")
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet", "arrow", "jsonl.gz"])
def test_owner_only_and_nothing_left(tmp_path: Path, suffix: str) -> None:
    """The file is the owner's alone, also over an older one, and no other file stays."""
    path = tmp_path / f"y.{suffix}"
    path.write_text("old")
    path.chmod(0o644)
    write_all([{"prompt": "x"}], path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet", "arrow", "jsonl.zst"])
def test_a_failure_leaves_the_old_file(tmp_path: Path, suffix: str) -> None:
    """Until the end the name holds what it held; a failure leaves no part behind."""
    path = tmp_path / f"y.{suffix}"
    path.write_text("old")
    source = open_rows([{"prompt": "x"}])
    (row,) = source

    def fail() -> None:
        with open_writer(path, MODEL, source) as writer:
            writer.write(row, answered(0))
            assert path.read_text() == "old"
            assert (tmp_path / f"y.{suffix}.part").exists()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_part_left_by_a_crash_is_replaced(tmp_path: Path) -> None:
    """A part of another run, or a link in its place, does not matter."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "y.jsonl.part").symlink_to(victim)
    write_all([{"prompt": "x"}], tmp_path / "y.jsonl")
    assert victim.read_text() == "precious"
    assert not (tmp_path / "y.jsonl").is_symlink()
    (tmp_path / "z.jsonl.part").write_text("half a row")
    write_all([{"prompt": "x"}], tmp_path / "z.jsonl")
    assert len(lines(tmp_path / "z.jsonl")) == 1


@pytest.mark.promise("S10")
def test_a_link_put_in_place_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that someone else makes just before we do is not written through."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    unlink = os.unlink

    def and_link(path: str, *, dir_fd: int) -> None:
        monkeypatch.setattr(os, "unlink", unlink)
        (tmp_path / path).symlink_to(victim)

    monkeypatch.setattr(os, "unlink", and_link)
    with pytest.raises(StorageError):
        write_all([{"prompt": "x"}], tmp_path / "y.jsonl")
    assert victim.read_text() == "precious"
    assert not (tmp_path / "y.jsonl").exists()


@pytest.mark.promise("S10")
def test_outputs_that_are_refused(tmp_path: Path) -> None:
    """Links, folders, devices, unknown formats, missing folders and the input itself."""
    source = open_rows(jsonl(tmp_path / "x.jsonl", [{"prompt": "a"}]))
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "x.jsonl")
    (tmp_path / "dangling.jsonl").symlink_to(tmp_path / "none")
    (tmp_path / "folder.jsonl").mkdir()
    os.mkfifo(tmp_path / "pipe.jsonl")
    os.link(tmp_path / "x.jsonl", tmp_path / "same.jsonl")
    for name, message in {
        "link.jsonl": "is a symbolic link",
        "dangling.jsonl": "is a symbolic link",
        "folder.jsonl": "is not a file",
        "pipe.jsonl": "is not a file",
        "none/y.jsonl": "no such folder",
        "x.jsonl/y.jsonl": "no such folder",
        "y.txt": r"give \.jsonl, \.ndjson",
        "y.parquet.gz": r"give \.jsonl, \.ndjson",
        "x.jsonl": "is the input",
        "same.jsonl": "is the input",
    }.items():
        with pytest.raises(ConfigurationError, match=message):
            check_output(tmp_path / name, MODEL, source)
        with (
            pytest.raises(ConfigurationError, match=message),
            open_writer(tmp_path / name, MODEL, source),
        ):
            pass
    assert len(good(source)) == 1


@pytest.mark.promise("S10")
def test_content_never_becomes_a_path(tmp_path: Path) -> None:
    """Rows full of paths write one file, under the name that was given."""
    inside = tmp_path / "in"
    inside.mkdir()
    evil = [{"prompt": "../../x", "../name": "/etc/passwd", "file": "a/../../b"}]
    for suffix in ("jsonl", "csv", "parquet", "arrow"):
        write_all(evil, inside / f"y.{suffix}")
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "in",
        "y.arrow",
        "y.csv",
        "y.jsonl",
        "y.parquet",
    ]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet", "jsonl.gz"])
def test_a_full_disk_is_a_storage_error(tmp_path: Path, suffix: str) -> None:
    """A failing write ends as our error with its number, and nothing appears."""
    source = open_rows([{"prompt": "x"}])
    path = tmp_path / f"y.{suffix}"
    with pytest.raises(StorageError) as caught, open_writer(path, MODEL, source):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.errno == errno.ENOSPC
    assert str(path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.promise("R13")
def test_a_failing_flush_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk does not confirm the bytes, the file does not appear."""

    def fsync(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError) as caught:
        write_all([{"prompt": "x"}], tmp_path / "y.jsonl")
    assert caught.value.errno == errno.EIO
    assert list(tmp_path.iterdir()) == []


def test_flushed_before_it_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is flushed, then renamed, then the folder is flushed."""
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def logged_fsync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        steps.append("flush folder" if is_folder else "flush file")
        fsync(descriptor)

    def logged_replace(*args: Any, **kwargs: Any) -> None:
        steps.append("rename")
        replace(*args, **kwargs)

    monkeypatch.setattr(os, "fsync", logged_fsync)
    monkeypatch.setattr(os, "replace", logged_replace)
    write_all([{"prompt": "x"}], tmp_path / "y.jsonl")
    assert steps == ["flush file", "rename", "flush folder"]


def test_rows_of_a_refused_result(tmp_path: Path) -> None:
    """A bad row's result tells reason and place to the writer."""
    row = BadRow(
        0,
        BadReason.INPUT,
        message="not JSON",
        content_hash=b"",
        place=Place("x.jsonl", 3, 17),
    )
    source = open_rows([{"prompt": "x"}])
    with open_writer(tmp_path / "y.jsonl", MODEL, source) as writer:
        writer.write(row, refused(row))
        for good_row in source:
            assert isinstance(good_row, Row)
            writer.write(good_row, answered(0))
    assert [line["error"] for line in lines(tmp_path / "y.jsonl")] == ["row: not JSON", ""]
