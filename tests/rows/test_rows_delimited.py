"""CSV: RFC 4180 in, bad records found, formulas taken back."""

from __future__ import annotations

from pathlib import Path

import pytest
from row_samples import bad, good

from distilabel_endpoints.errors import InputError
from distilabel_endpoints.rows import BadReason, open_rows
from distilabel_endpoints.rows.csv_rows import escape_formula


def table(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_fields_are_text(tmp_path: Path) -> None:
    """Every field is text as it stands; quotes, commas and line breaks are RFC 4180's."""
    text = '\ufeffid,prompt\r\n007,"a ""b"", c"\r\n\r\n2,"line\r\nbreak"\r\n3,\r\n'
    rows = list(open_rows(table(tmp_path / "x.csv", text)))
    assert good(rows) == [
        {"id": "007", "prompt": 'a "b", c'},
        {"id": "2", "prompt": "line\r\nbreak"},
        {"id": "3", "prompt": ""},
    ]
    assert [row.source for row in rows] == [
        "x.csv:2, byte 14",
        "x.csv:4, byte 34",
        "x.csv:6, byte 51",
    ]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"1", "1 field, but the header has 2"),
        (b"1,2,3", "3 fields, but the header has 2"),
        (b'1,"2"x', "not CSV"),
        (b"1\r,2", "a carriage return stands outside quotes"),
        (b"1,\xff", "not UTF-8"),
        (b'"1\n\xff",2', "not UTF-8"),
    ],
)
def test_bad_records(tmp_path: Path, record: bytes, message: str) -> None:
    """A broken record is a bad row at its own place; the next record is read."""
    path = table(tmp_path / "x.csv", b"a,b\n0,0\n" + record + b"\n9,9\n")
    rows = list(open_rows(path))
    assert good(rows) == [{"a": "0", "b": "0"}, {"a": "9", "b": "9"}]
    assert (bad(rows)[0].ordinal, bad(rows)[0].place.line, bad(rows)[0].place.offset) == (1, 3, 8)
    assert message in bad(rows)[0].message


def test_quote_that_never_closes(tmp_path: Path) -> None:
    """A quote left open costs its own line; the rows behind it are read at their places."""
    rows = list(open_rows(table(tmp_path / "x.csv", 'a,b\n1,"2\n3,4\n5,"6"\n7,"8\n')))
    assert good(rows) == [{"a": "3", "b": "4"}, {"a": "5", "b": "6"}]
    assert [row.place.line for row in rows] == [2, 3, 4, 5]
    assert [row.place.offset for row in rows] == [4, 9, 13, 19]
    assert all("not CSV" in row.message for row in bad(rows))


def test_quote_that_takes_in_more_than_a_row_may_have(tmp_path: Path) -> None:
    """The rows behind it are read also if they are together larger than a row may be."""
    rows = "".join(f"row {n},{n}\n" for n in range(100))
    path = table(tmp_path / "x.csv", f'a,b\n1,"2\n\n{rows}7,"8"\n')
    read = list(open_rows(path, max_row_bytes=100))
    assert [row["b"] for row in good(read)] == [*map(str, range(100)), "8"]
    assert [row.message for row in bad(read)] == ["not CSV: a quote is not closed"]
    assert (read[1].place.line, read[1].place.offset) == (4, 10)


def test_line_that_names_the_delimiter(tmp_path: Path) -> None:
    """Excel's first line `sep=;` is not a header."""
    path = table(tmp_path / "x.csv", "sep=;\r\na;b;c\r\n1,5;2;3\r\n")
    assert good(open_rows(path)) == [{"a": "1,5", "b": "2", "c": "3"}]


@pytest.mark.parametrize(
    "record",
    [
        b'1,"' + b"x" * 300 + b'"',
        b'1,"' + b'x""\n' * 100 + b'"',
        b'1,"' + b"x\n" * 400_000 + b'"',
        b"1," + b"x" * 800_000,
    ],
)
def test_too_large_records(tmp_path: Path, record: bytes) -> None:
    """A record past the cap is weighed and skipped to its real end, quoted lines included."""
    path = table(tmp_path / "x.csv", b"a,b\n" + record + b'\n"7","8"\n')
    rows = list(open_rows(path, max_row_bytes=100))
    assert [row.reason for row in bad(rows)] == [BadReason.TOO_LARGE]
    assert f"{len(record):,} bytes" in bad(rows)[0].message
    assert good(rows) == [{"a": "7", "b": "8"}]
    assert rows[1].place.offset == 4 + len(record) + 1
    assert rows[1].place.line == 3 + record.count(b"\n")


def test_large_fields(tmp_path: Path) -> None:
    """A field of a megabyte is read: the csv module's own limit is lower."""
    path = table(tmp_path / "x.csv", "a\n" + "x" * 1_000_000 + "\n")
    assert good(open_rows(path)) == [{"a": "x" * 1_000_000}]


def test_header_belongs_to_the_identity(tmp_path: Path) -> None:
    """The same record under other column names is another row."""
    first = next(iter(open_rows(table(tmp_path / "x.csv", "a,b\n1,2\n"))))
    second = next(iter(open_rows(table(tmp_path / "y.csv", "a,c\n1,2\n"))))
    again = next(iter(open_rows(table(tmp_path / "z.csv", "a,b\r\n1,2"))))
    assert first.content_hash != second.content_hash
    assert first.content_hash == again.content_hash


@pytest.mark.parametrize("text", ["", "\n\n", "a,b\n", "\ufeff"])
def test_tables_without_records(tmp_path: Path, text: str) -> None:
    """A header alone, or nothing, has no rows."""
    assert list(open_rows(table(tmp_path / "x.csv", text))) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b,a\n1,2,3\n", "appear twice: 'a'"),
        (b"\xff,b\n1,2\n", "not UTF-8"),
        (b'"a"x,b\n', "the header row is not CSV"),
    ],
)
def test_broken_headers_are_errors(tmp_path: Path, content: bytes, message: str) -> None:
    """Without a header nothing in the file has a meaning."""
    with pytest.raises(InputError, match=rf"x\.csv: line 1: .*{message}"):
        list(open_rows(table(tmp_path / "x.csv", content)))


def test_nul_in_a_field(tmp_path: Path) -> None:
    """NUL is a character like others."""
    assert good(open_rows(table(tmp_path / "x.csv", "a\nx\0y\n"))) == [{"a": "x\0y"}]


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@x",
        "\tx",
        "\rx",
        "\0x",
        "'=1",
        "''=1",
        "'",
        "'plain",
        "plain",
        "",
        "a=1",
    ],
)
def test_formulas_are_escaped_reversibly(text: str) -> None:
    """No escaped text starts like a formula, and at most an apostrophe is put before it."""
    escaped = escape_formula(text)
    assert not escaped.startswith(("=", "+", "-", "@", "\t", "\r", "\0"))
    assert escaped in (text, "'" + text)


def test_quotes_that_are_text_do_not_join_rows(tmp_path: Path) -> None:
    """In a file with tabs, two quotes in different rows do not swallow the rows between them."""
    path = table(tmp_path / "x.tsv", b'id\tprompt\n1\t"Never" is\n2\t"so it begins\n3\tthe end"\n')
    assert [row["prompt"] for row in good(open_rows(path))] == [
        '"Never" is',
        '"so it begins',
        'the end"',
    ]
    path = table(tmp_path / "y.tsv", b'id\tprompt\n1\t"so it begins\n2\tthe end"\n')
    source = open_rows(path)
    assert [row["prompt"] for row in good(source)] == ['"so it begins', 'the end"']
    assert "quotes as text" in source.notes[0]


@pytest.mark.parametrize(
    "text", ["line one\nline two", "one\n\ntwo", "tab\tin it\nand a line", 'say ""hi""\nthere']
)
def test_a_quoted_text_over_lines_is_one_field(tmp_path: Path, text: str) -> None:
    """As pandas writes a column with line breaks."""
    path = table(tmp_path / "x.tsv", f'id\tprompt\n1\t"{text}"\n2\tb\n'.encode())
    assert good(open_rows(path))[0]["prompt"] == text.replace('""', '"')
    path = table(tmp_path / "one.tsv", f'prompt\n"{text}"\n'.encode())
    assert [row["prompt"] for row in good(open_rows(path))] == [text.replace('""', '"')]
