"""Files as people have them: every ending, dialect, encoding and folder, or a word of why not."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from row_samples import bad, good, jsonl, write_all

from distilabel_endpoints.errors import ConfigurationError, InputError
from distilabel_endpoints.rows import open_rows
from distilabel_endpoints.rows.recognition import Dialect, sniff_dialect

ROWS = [{"id": "1", "prompt": "a\nb"}, {"id": "2", "prompt": "é"}]
LINES = '{"id": "1", "prompt": "a\\nb"}\n{"id": "2", "prompt": "é"}\n'


def _arrow(path: Path, make: Callable[..., Any]) -> None:
    table = pa.Table.from_pylist(ROWS)
    with make(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=1)


WRITERS: dict[str, Callable[[Path], Any]] = {
    "x.jsonl": lambda path: path.write_text(LINES),
    "x.ndjson": lambda path: path.write_text(LINES),
    "x.json": lambda path: path.write_text(f"[{LINES.strip().replace(chr(10), ',')}]"),
    "x.csv": lambda path: path.write_text('id,prompt\n1,"a\nb"\n2,é\n'),
    "x.tsv": lambda path: path.write_text('id\tprompt\n1\t"a\nb"\n2\té\n'),
    "x.jsonl.gz": lambda path: path.write_bytes(gzip.compress(LINES.encode())),
    "x.ndjson.bz2": lambda path: path.write_bytes(bz2.compress(LINES.encode())),
    "x.jsonl.xz": lambda path: path.write_bytes(lzma.compress(LINES.encode())),
    "x.JSONL.GZ": lambda path: path.write_bytes(gzip.compress(LINES.encode())),
    "x.parquet": lambda path: pq.write_table(pa.Table.from_pylist(ROWS), path),
    "x.feather": lambda path: pyarrow.feather.write_feather(pa.Table.from_pylist(ROWS), str(path)),
    "file.arrow": lambda path: _arrow(path, pa.ipc.new_file),
    "stream.arrow": lambda path: _arrow(path, pa.ipc.new_stream),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    """The rows of a file do not depend on how it is stored."""
    WRITERS[name](tmp_path / name)
    source = open_rows(tmp_path / name)
    assert good(source) == ROWS
    assert source.notes == ()
    assert list(source) == list(open_rows(tmp_path / name))


def test_lines_of_text_are_prompts(tmp_path: Path) -> None:
    """Each line of a .txt file that is not blank is a prompt, or a bad row if it is not UTF-8."""
    (tmp_path / "x.txt").write_bytes(b"\xef\xbb\xbfWhy?\r\n\n  {not json}\n\xff\n")
    source = open_rows(tmp_path / "x.txt", max_row_bytes=10_000)
    assert good(source) == [{"prompt": "Why?"}, {"prompt": "{not json}"}]
    (row,) = bad(source)
    assert "iconv -f WINDOWS-1252" in row.message
    assert row.columns == {"prompt": "\ufffd"}
    large, _ = bad(open_rows(tmp_path / "x.txt", max_row_bytes=5))
    assert large.columns == {"prompt": "{not json}"}


@pytest.mark.parametrize("content", [b"PAR1xxxx", b"ARROW1xxx", b"", b"x" * 30])
@pytest.mark.parametrize("suffix", ["arrow", "feather"])
def test_what_is_not_an_arrow_file(tmp_path: Path, content: bytes, suffix: str) -> None:
    """A file that is not Arrow, and one that is cut off, is our error with its name."""
    (tmp_path / f"x.{suffix}").write_bytes(content)
    with pytest.raises(InputError, match=f"x.{suffix}"):
        list(open_rows(tmp_path / f"x.{suffix}"))


def test_feather_of_version_1_is_named(tmp_path: Path) -> None:
    """The old Feather format is refused with what to do."""
    (tmp_path / "x.feather").write_bytes(b"FEA1" + b"\0" * 20)
    with pytest.raises(InputError, match="version 1; write it again as version 2"):
        list(open_rows(tmp_path / "x.feather"))


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("a,b\n1,2\n", Dialect()),
        ("a;b\n1;2,5\n", Dialect(";")),
        ("a\tb\n1, and\t2\n", Dialect("\t")),
        ("a|b|c\n1|2|3\n", Dialect("|")),
        ("prompt\nhello; how, are | you\n", Dialect()),
        ("prompt,b\nx;y,1\n", Dialect()),
        ('a,b\n"say \\"hi\\", please",2\n', Dialect(",", backslash=True)),
        ('a,b\n"a \\ b",2\n', Dialect()),
        ('a;b\n"x\n;y";2\n"cut', Dialect(";")),
        ("", Dialect()),
        ('a\tb\n1\t"not closed\n2\t"x\n', Dialect("\t", quotes=False)),
        ('a\tb\n1\t"x\ty"\n', Dialect("\t")),
        ('a, b\n1, "x, y"\n', Dialect(spaces=True)),
        ("sep=|\na|b\n1,2|3\n", Dialect("|")),
    ],
)
def test_dialects_are_sniffed(tmp_path: Path, text: str, dialect: Dialect) -> None:
    """The delimiter is the one that gives the rows as many fields as the header has."""
    assert sniff_dialect(text.encode()) == dialect


def test_a_dialect_is_reported(tmp_path: Path) -> None:
    """Anything but commas is said in one line, and the fields are as they were."""
    (tmp_path / "x.csv").write_bytes(b'\xef\xbb\xbfid;prompt\r\n1;"a;\r\nb"\r\n2;-0,5\r\n')
    source = open_rows(tmp_path / "x.csv")
    assert good(source) == [{"id": "1", "prompt": "a;\r\nb"}, {"id": "2", "prompt": "-0,5"}]
    assert source.notes == ("x.csv: read as CSV with semicolons between the fields",)
    (tmp_path / "y.csv").write_text('id,prompt\n1,"say \\"hi\\", please"\n')
    source = open_rows(tmp_path / "y.csv")
    assert good(source) == [{"id": "1", "prompt": 'say "hi", please'}]
    assert r"quotes in quotes as \"" in source.notes[0]
    (tmp_path / "z.csv").write_text('id, prompt\n1, "a, b"\n')
    source = open_rows(tmp_path / "z.csv")
    assert good(source) == [{"id": "1", "prompt": "a, b"}]
    assert source.notes[0].endswith("blanks after them left out")
    (tmp_path / "z.tsv").write_text('id\tprompt\n1\t"a\n2\tb\n')
    source = open_rows(tmp_path / "z.tsv")
    assert good(source) == [{"id": "1", "prompt": '"a'}, {"id": "2", "prompt": "b"}]
    assert source.notes[0].endswith("quotes as text")


OTHERS = {
    "utf-16": ('{"prompt": "a"}\n'.encode("utf-16"), "UTF-16; convert it: iconv -f UTF-16"),
    "utf-16 without a mark": ('{"prompt": "a"}\n'.encode("utf-16-le"), "UTF-16LE -t UTF-8"),
    "utf-16 of another order": ('{"prompt": "a"}\n'.encode("utf-16-be"), "UTF-16BE -t UTF-8"),
    "xml": (b'<?xml version="1.0"?>\n<rows/>', "XML"),
    "old Mac": (b'{"prompt": "a"}\r{"prompt": "b"}\r', r"tr '\\r' '\\n'|this is JSON"),
    "utf-32": ('{"prompt": "a"}\n'.encode("utf-32"), "UTF-32"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "page": (b"\n<!DOCTYPE html><html>", "web page"),
    "gzip": (gzip.compress(b"{}"), "add .gz"),
    "zip": (b"PK\x03\x04", "zip archive"),
    "parquet": (b"PAR1", "ending .parquet"),
    "arrow": (b"ARROW1", "ending .arrow"),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv", "txt"])
def test_files_that_are_something_else(tmp_path: Path, name: str, suffix: str) -> None:
    """A file that is not what its name says is refused as a whole, with what it is."""
    content, message = OTHERS[name]
    (tmp_path / f"x.{suffix}").write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(open_rows(tmp_path / f"x.{suffix}"))


@pytest.mark.parametrize("suffix", ["csv", "tsv", "txt"])
@pytest.mark.parametrize("text", ['{"prompt": "a"}\n{"prompt": "b"}\n', '[{"prompt": "a"}]'])
def test_json_under_another_name(tmp_path: Path, suffix: str, text: str) -> None:
    """JSON is neither a header row nor, if it is an object, a prompt."""
    (tmp_path / f"x.{suffix}").write_text(text)
    if suffix == "txt" and text.startswith("["):
        assert good(open_rows(tmp_path / "x.txt")) == [{"prompt": text}]
        return
    with pytest.raises(InputError, match=r"this is JSON; give it the ending \.jsonl"):
        list(open_rows(tmp_path / f"x.{suffix}"))


@pytest.mark.parametrize("suffix", ["csv", "txt"])
def test_line_ends_of_old_macs(tmp_path: Path, suffix: str) -> None:
    """Carriage returns alone are not line ends, so the whole file would be one row."""
    (tmp_path / f"x.{suffix}").write_bytes(b"prompt\ra\rb\r")
    with pytest.raises(InputError, match="carriage returns only"):
        list(open_rows(tmp_path / f"x.{suffix}"))


@pytest.mark.parametrize(
    "suffix", ["parquet", "arrow", "feather", "jsonl.gz", "csv.zst", "jsonl.xz", "txt.bz2"]
)
def test_pointers_of_git_lfs(tmp_path: Path, suffix: str) -> None:
    """A clone without its data is recognised whatever the files should hold."""
    (tmp_path / f"x.{suffix}").write_bytes(OTHERS["lfs"][0])
    with pytest.raises(InputError, match=r"a pointer of Git LFS.*git lfs pull"):
        _ = open_rows(tmp_path / f"x.{suffix}").first


@pytest.mark.parametrize("suffix", ["jsonl.gz", "jsonl.xz", "parquet"])
def test_text_under_the_name_of_other_bytes(tmp_path: Path, suffix: str) -> None:
    """Plain text is named as such."""
    (tmp_path / f"x.{suffix}").write_text('{"prompt": "a"}\n')
    with pytest.raises(InputError, match="this is text, not"):
        _ = open_rows(tmp_path / f"x.{suffix}").first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "a"},\n{"prompt": "b"},\n', "a comma follows the object"),
        ('{"prompt": "a"}{"prompt": "b"}\n', "several objects on one line"),
        ('"a"\n"b"\n', 'write {"prompt": ...}'),
    ],
)
def test_lines_that_are_not_json_lines(tmp_path: Path, text: str, message: str) -> None:
    """What is near to JSON Lines is named, with what to change."""
    (tmp_path / "x.jsonl").write_text(text)
    assert all(message in row.message for row in bad(open_rows(tmp_path / "x.jsonl")))


def test_files_that_were_put_together(tmp_path: Path) -> None:
    """`cat` of two files with a byte order mark leaves one in the middle."""
    (tmp_path / "x.jsonl").write_text('\ufeff{"prompt": "a"}\n\ufeff{"prompt": "b"}\n')
    assert good(open_rows(tmp_path / "x.jsonl")) == [{"prompt": "a"}, {"prompt": "b"}]


@pytest.mark.parametrize(
    "text", ['{\n "a": 1\n}\n', '{"data": [\n{"a": 1},\n{"a": 2}\n]}\n', '{\n "a": [1, 2']
)
def test_json_over_several_lines(tmp_path: Path, text: str) -> None:
    """One object that is spread over lines is refused; a bad first row is a bad row."""
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(InputError, match=r"over several lines.*jq -c"):
        list(open_rows(tmp_path / "x.jsonl"))
    (tmp_path / "y.jsonl").write_text('{"a": "cut\n{"a": 1}\n')
    assert len(bad(open_rows(tmp_path / "y.jsonl"))) == 1


def test_an_array_under_jsonl(tmp_path: Path) -> None:
    """One JSON array is read as what it is, and that is said."""
    (tmp_path / "x.jsonl").write_text('[\n{"a": 1},\n{"a": 2}\n]\n')
    source = open_rows(tmp_path / "x.jsonl")
    assert good(source) == [{"a": 1}, {"a": 2}]
    assert source.notes == ("x.jsonl: read as one JSON array",)


def test_a_clone_of_a_hub_repository(tmp_path: Path) -> None:
    """Its own files are left out with a word, and several splits are said to be read together."""
    for name in ("README.md", ".gitattributes", ".git/config", "LICENSE.txt", "_SUCCESS"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "dataset_infos.json").write_text('{\n"default": {}}')
    (tmp_path / "data").mkdir()
    jsonl(tmp_path / "data" / "train-00000.jsonl", [{"prompt": "a"}])
    ignored = ".git, .gitattributes, LICENSE.txt, README.md, _SUCCESS, dataset_infos.json"
    assert open_rows(tmp_path).notes == (f"not read in {tmp_path}: {ignored}",)
    jsonl(tmp_path / "data" / "test-00000.jsonl", [{"prompt": "b"}])
    source = open_rows(tmp_path)
    assert [row["prompt"] for row in good(source)] == ["b", "a"]
    assert "holds several splits (test, train), which are read together" in source.notes[1]


def test_many_ignored_files_are_counted(tmp_path: Path) -> None:
    """A note names the first ones and says how many more there are."""
    jsonl(tmp_path / "x.jsonl", [{"a": 1}])
    for n in range(20):
        (tmp_path / f"{n:02}.md").write_text("x")
    (note,) = open_rows(tmp_path).notes
    assert note.endswith("11.md and 8 more")


def test_a_folder_of_texts(tmp_path: Path) -> None:
    """Text files are rows if the folder has nothing else to read, licences left out."""
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "README.txt").write_text("x")
    assert [row["prompt"] for row in good(open_rows(tmp_path))] == ["one", "two"]
    jsonl(tmp_path / "b.jsonl", [{"prompt": "three"}])
    source = open_rows(tmp_path)
    assert [row["prompt"] for row in good(source)] == ["three"]
    assert source.notes == (f"not read in {tmp_path}: README.txt, a.txt",)


def test_linked_folders_are_followed(tmp_path: Path) -> None:
    """Links to folders and files are read; each folder once, also where links make a circle."""
    (tmp_path / "data").mkdir()
    (tmp_path / "other").mkdir()
    jsonl(tmp_path / "data" / "a.jsonl", [{"n": 1}])
    jsonl(tmp_path / "other" / "b.jsonl", [{"n": 2}])
    jsonl(tmp_path / "c.jsonl", [{"n": 3}])
    (tmp_path / "data" / "part2").symlink_to(tmp_path / "other")
    (tmp_path / "data" / "z.jsonl").symlink_to(tmp_path / "c.jsonl")
    (tmp_path / "other" / "back").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "data" / "pipe.jsonl")
    source = open_rows(tmp_path / "data")
    assert [row["n"] for row in good(source)] == [1, 2, 3]
    assert source.notes == (f"not read in {tmp_path / 'data'}: gone.jsonl, part2/back, pipe.jsonl",)


@pytest.mark.timeout(20)
def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    """What can be read only once is refused at once, whoever writes to it or does not."""
    os.mkfifo(tmp_path / "x.jsonl")
    for path in (tmp_path / "x.jsonl", Path("/dev/null")):
        with pytest.raises(ConfigurationError, match=r"read only once\. Give - as the input"):
            open_rows(path)


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "txt", "parquet", "feather"])
def test_folders_named_by_a_column(tmp_path: Path, suffix: str) -> None:
    """`key=value` folders add a column: numbers if all are, null for Hive's default."""
    folders = (
        "year=2024/lang=en",
        "year=2025/lang=d%20e",
        "year=2025/lang=__HIVE_DEFAULT_PARTITION__",
    )
    for folder in folders:
        path = tmp_path / folder / f"x.{suffix}"
        path.parent.mkdir(parents=True)
        if suffix in {"parquet", "feather"}:
            table = pa.table({"prompt": ["a"]})
            pq.write_table(table, path) if suffix == "parquet" else pyarrow.feather.write_feather(
                table, str(path)
            )
        else:
            text = {"jsonl": '{"prompt": "a"}\n{}\n', "csv": "prompt\na\n", "txt": "a\n"}
            path.write_text(text[suffix])
    source = open_rows(tmp_path)
    rows = [row for row in good(source) if row.get("prompt")]
    assert [(row["year"], row["lang"]) for row in rows] == [
        (2024, "en"),
        (2025, None),
        (2025, "d e"),
    ]
    assert not bad(source)
    hashes = [row.content_hash for row in source if row.columns.get("prompt")]
    assert suffix == "txt" or len(set(hashes)) == 3
    pattern = str(tmp_path / "year=202*" / "**" / f"*.{suffix}")
    assert good(open_rows(pattern))[0]["lang"] == "en"


def test_a_column_of_the_file_wins_over_its_folder(tmp_path: Path) -> None:
    """A row that has the column keeps its value; what only looks like a number stays text."""
    (tmp_path / "a=007").mkdir()
    jsonl(tmp_path / "a=007" / "x.jsonl", [{"a": 1}, {"b": 2}])
    assert good(open_rows(tmp_path)) == [{"a": 1}, {"b": 2, "a": "007"}]


def test_shards_of_different_tools(tmp_path: Path) -> None:
    """Text in two sizes, numbers and floats, dictionaries and plain text are one column each."""
    one = {
        "prompt": pa.array(["a"], pa.string()),
        "n": pa.array([1], pa.int64()),
        "tags": pa.array([["x"]], pa.list_(pa.string())),
        "kind": pa.array(["k"]).dictionary_encode(),
        "at": pa.array([0], pa.timestamp("ms")),
        "messages": pa.array([[{"role": "user", "content": "hi"}]]),
        "view": pa.array(["v"], pa.string_view()),
        "raw": pa.array([b"r"]),
    }
    two = {
        "prompt": pa.array(["b"], pa.large_string()),
        "n": pa.array([None], pa.float64()),
        "tags": pa.array([["y"]], pa.large_list(pa.large_string())),
        "kind": pa.array(["l"]),
        "at": pa.array([0], pa.timestamp("us")),
        "messages": pa.array([[{"role": "user", "content": "hi", "name": "me"}]]),
        "view": pa.array(["w"], pa.large_string()),
        "raw": pa.array([b"s"], pa.binary_view()),
    }
    for order in ((one, two), (two, one)):
        for index, columns in enumerate(order):
            pq.write_table(pa.table(columns), tmp_path / f"{index}.parquet")
        source = open_rows(tmp_path)
        rows = sorted(good(source), key=lambda row: str(row["prompt"]))
        assert [(row["prompt"], row["n"], row["tags"], row["kind"]) for row in rows] == [
            ("a", 1.0, ["x"], "k"),
            ("b", None, ["y"], "l"),
        ]
        assert rows[1]["messages"][0]["name"] == "me"
        assert [(row["view"], row["raw"]) for row in rows] == [("v", b"r"), ("w", b"s")]
        assert "do not store column" in source.notes[0]


def test_shards_that_differ_in_more(tmp_path: Path) -> None:
    """Columns without nulls that a shard lacks, decimals beside integers, and zones."""
    fields = [pa.field("prompt", pa.string(), nullable=False), pa.field("n", pa.int64(), False)]
    when = pa.array([0], pa.timestamp("us", tz="UTC"))
    whole = pa.table([["a"], [1]], schema=pa.schema(fields))
    pq.write_table(
        whole.append_column("d", pa.array([1])).append_column("at", when), tmp_path / "0.parquet"
    )
    other = pa.table(
        {
            "prompt": ["b"],
            "d": pa.array([Decimal("1.5")]),
            "at": when.cast(pa.timestamp("us", tz="Asia/Tokyo")),
        }
    )
    pq.write_table(other, tmp_path / "1.parquet")
    source = open_rows(tmp_path / "*.parquet")
    write_all(source, tmp_path / "out.arrow")
    first, second = good(open_rows(tmp_path / "out.arrow"))
    assert (first["n"], second["n"]) == (1, None)
    assert (first["d"], second["d"]) == (Decimal(1), Decimal("1.5"))
    assert first["at"] == second["at"]


def test_numbers_that_floats_cannot_hold(tmp_path: Path) -> None:
    """Widening never changes a number: one that would is an error that names column and file."""
    pq.write_table(pa.table({"n": [2**60 + 1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"n": [0.5]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"a\.parquet: column 'n' does not fit double"):
        list(open_rows(tmp_path))


def test_feather_is_what_other_tools_read(tmp_path: Path) -> None:
    """The output is Arrow's file format, and an input again."""
    write_all(ROWS, tmp_path / "y.feather")
    assert pyarrow.feather.read_table(str(tmp_path / "y.feather")).column("prompt").to_pylist() == [
        "a\nb",
        "é",
    ]
    assert [row["prompt"] for row in good(open_rows(tmp_path / "y.feather"))] == ["a\nb", "é"]


def test_settings_beside_rows(tmp_path: Path) -> None:
    """A `.json` file that is one object without a prompt is named, and is not a row."""
    jsonl(tmp_path / "a.jsonl", [{"prompt": "a"}])
    (tmp_path / "package.json").write_text('{\n "name": "x"\n}')
    (tmp_path / "one.json").write_text('{"prompt": "b"}')
    source = open_rows(tmp_path)
    assert good(source) == [{"prompt": "a"}, {"prompt": "b"}]
    assert source.notes == (f"not read in {tmp_path}: package.json",)


def test_a_pattern_passes_over_nothing_in_silence(tmp_path: Path) -> None:
    """Hidden files, as a shell's `*` has them, and folders are named."""
    for name in ("a.jsonl", "._a.jsonl", "part/b.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        jsonl(tmp_path / name, [{"prompt": name}])
    source = open_rows(tmp_path / "*")
    assert good(source) == [{"prompt": "a.jsonl"}]
    assert source.notes == (f"not read in {tmp_path}: ._a.jsonl, part/",)
    assert good(open_rows(tmp_path / "._*.jsonl")) == [{"prompt": "._a.jsonl"}]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x.zip", "unpack it"),
        ("x.tar.gz", "unpack it"),
        ("x.xlsx", "save the sheet as CSV"),
        ("x.pkl", "a pickle is not opened"),
    ],
)
def test_files_that_are_not_read(tmp_path: Path, name: str, message: str) -> None:
    """Each says what to do with it."""
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ConfigurationError, match=message):
        open_rows(tmp_path / name)


@pytest.mark.parametrize("source", ["", "https://example.org/a.jsonl", "s3://bucket/a.jsonl"])
def test_inputs_that_are_no_files(source: str) -> None:
    """An empty variable is not this folder, and an address is not a path."""
    with pytest.raises(ConfigurationError, match=r"empty text|download it first"):
        open_rows(source)


def test_columns_are_never_added_in_silence(tmp_path: Path) -> None:
    """Rows that get a column of other files, or of a folder's name, are spoken of; so is CSV."""
    (tmp_path / "shards").mkdir()
    for n, name in enumerate("xy"):
        table = pa.table({"prompt": ["a"], name: [1]})
        pq.write_table(table, tmp_path / "shards" / f"{n}.parquet")
    said = "null stands for 'y', 'x' in rows of files that do not have them"
    assert open_rows(tmp_path / "shards").notes == (said,)
    (tmp_path / "hive" / "lang=en").mkdir(parents=True)
    for name in ("lang=en/a.jsonl", "b.jsonl"):
        jsonl(tmp_path / "hive" / name, [{"prompt": "a"}])
    assert "null stands for 'lang'" in open_rows(tmp_path / "hive").notes[0]
    notes = write_all([{"id": 1, "prompt": "a"}, {"prompt": "b"}], tmp_path / "y.csv")
    assert notes == ("an empty cell stands for 'id' in rows that do not have them",)
