"""JSON Lines: what is a row, what is a bad row, and where each stands."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import pyarrow as pa
import pytest
from row_samples import bad, good, jsonl

from distilabel_endpoints.errors import InputError, StorageError
from distilabel_endpoints.rows import BadReason, BadRow, Row, open_rows
from distilabel_endpoints.rows.lines import Oversize, frame_lines


def lines_of(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_places_are_lines_and_bytes(tmp_path: Path) -> None:
    """Line numbers count blank lines, offsets count every byte, line ends and BOM included."""
    content = b'\xef\xbb\xbf{"a":1}\r\n\n   \n  {"a":2} \n{"a":3}'
    rows = list(open_rows(lines_of(tmp_path / "x.jsonl", content)))
    assert [(row.ordinal, row.place.line, row.place.offset) for row in rows] == [
        (0, 1, 0),
        (1, 4, 17),
        (2, 5, 28),
    ]
    assert good(rows) == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert rows[1].source == "x.jsonl:4, byte 17"


@pytest.mark.parametrize("step", [b"\n", b"\r\n", b"\n\n \n"])
def test_line_ends_do_not_matter(tmp_path: Path, step: bytes) -> None:
    """The same rows with other line ends have the same identities."""
    rows = [b'{"prompt":"a"}', b'{"prompt":"b"}']
    path = lines_of(tmp_path / "x.jsonl", step.join(rows))
    assert [row.content_hash for row in open_rows(path)] == [
        blake2b(row, digest_size=16).digest() for row in rows
    ]


def test_appending_keeps_identities(tmp_path: Path) -> None:
    """A row's ordinal and hash survive rows appended behind it, even after a missing newline."""
    path = lines_of(tmp_path / "x.jsonl", b'{"a":1}\n{"a":2}')
    before = [(row.ordinal, row.content_hash) for row in open_rows(path)]
    lines_of(path, path.read_bytes() + b'\n{"a":3}\n')
    after = [(row.ordinal, row.content_hash) for row in open_rows(path)]
    assert after[:2] == before
    assert len(after) == 3


def test_equal_rows_stay_two(tmp_path: Path) -> None:
    """Duplicate rows share a hash and differ in their ordinal."""
    first, second = open_rows(jsonl(tmp_path / "x.jsonl", [{"id": 7}, {"id": 7}]))
    assert first.content_hash == second.content_hash
    assert (first.ordinal, second.ordinal) == (0, 1)


@pytest.mark.parametrize(
    ("line", "reason", "message"),
    [
        (b"{", BadReason.INPUT, "not JSON"),
        (b'{"a":}', BadReason.INPUT, "not JSON"),
        (b'{"a":1} {"b":2}', BadReason.INPUT, "several objects on one line"),
        (b"[1]", BadReason.INPUT, "not an array"),
        (b'"text"', BadReason.INPUT, "not a string"),
        (b"17", BadReason.INPUT, "not a number"),
        (b"1.5", BadReason.INPUT, "not a number"),
        (b"true", BadReason.INPUT, "not a boolean"),
        (b"null", BadReason.INPUT, "not null"),
        (b'{"a":NaN}', BadReason.INPUT, "NaN is not JSON"),
        (b'{"a":[-Infinity]}', BadReason.INPUT, "-Infinity is not JSON"),
        (b'{"a":1,"a":2}', BadReason.INPUT, "key 'a' appears twice"),
        (b'{"m":{"r":1,"r":1}}', BadReason.INPUT, "key 'r' appears twice"),
        (b'{"a":"\xff"}', BadReason.INPUT, "not UTF-8 at byte 6"),
        (b'{"a":"\xed\xa0\x80"}', BadReason.INPUT, "not UTF-8 at byte 6"),
        (b'{"a":"\x00"}', BadReason.INPUT, "not JSON"),
        (b'{"a":' + b"9" * 5000 + b"}", BadReason.INPUT, "too many digits"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", BadReason.INPUT, "too deeply"),
        (b'{"a":"\\ud800"}', BadReason.SURROGATE, "column 'a' holds a lone surrogate"),
        (b'{"a":"\\uDC00 x"}', BadReason.SURROGATE, "lone surrogate"),
        (b'{"m":[{"content":"\\ud83d"}]}', BadReason.SURROGATE, "column 'm'"),
        (b'{"\\udfff":1}', BadReason.SURROGATE, "lone surrogate"),
    ],
)
def test_bad_rows_say_why(tmp_path: Path, line: bytes, reason: BadReason, message: str) -> None:
    """A line that is not a strict JSON object is a bad row; the rows around it are good."""
    path = lines_of(tmp_path / "x.jsonl", b'{"a":0}\n' + line + b'\n{"a":9}\n')
    first, second, third = open_rows(path)
    assert isinstance(first, Row)
    assert isinstance(third, Row)
    assert isinstance(second, BadRow)
    assert (second.ordinal, second.place.line, second.place.offset) == (1, 2, 8)
    assert second.reason is reason
    assert message in second.message
    assert second.describe() == f"x.jsonl:2, byte 8: {second.message}"
    assert len(second.message) < 200


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"\\u0000"', "\0"),
        ('"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
        ('"\\\\ud800"', "\\ud800"),
        ('"é\u2028\N{GRINNING FACE}"', "é\u2028\N{GRINNING FACE}"),
        ("12345678901234567890123", 12345678901234567890123),
        ("1e400", float("inf")),
        ("[]", []),
    ],
)
def test_unusual_values_are_good(tmp_path: Path, text: str, value: object) -> None:
    """NUL, surrogate pairs, escaped backslashes and large numbers are what JSON says they are."""
    path = lines_of(tmp_path / "x.jsonl", b'{"a":' + text.encode() + b"}\n")
    assert good(open_rows(path)) == [{"a": value}]


def test_content_stays_out_of_reprs(tmp_path: Path) -> None:
    """Neither a row's nor a bad row's repr shows what the row holds."""
    path = lines_of(tmp_path / "x.jsonl", b'{"a":"canary"}\n{"a":"canary}\n{"a":"canary\\ud800"}\n')
    rows = list(open_rows(path))
    assert len(bad(rows)) == 2
    assert "canary" not in repr(rows) + "".join(row.describe() for row in bad(rows))


@pytest.mark.parametrize("end", [b"\n", b"", b'\n{"a":2}\n'])
@pytest.mark.parametrize("size", [101, 102, 103, 104, 500, 700_000])
def test_too_large_rows_are_skipped(tmp_path: Path, size: int, end: bytes) -> None:
    """A row past the cap is a bad row with its size; what follows it is read."""
    large = b'{"a":"' + b"x" * (size - 8) + b'"}'
    path = lines_of(tmp_path / "x.jsonl", b'{"a":1}\n' + large + end)
    rows = list(open_rows(path, max_row_bytes=100))
    assert isinstance(rows[1], BadRow)
    assert rows[1].reason is BadReason.TOO_LARGE
    assert f"{size:,} bytes; at most 100" in rows[1].message
    assert rows[1].content_hash == blake2b(large, digest_size=16).digest()
    assert len(rows) == (3 if end.startswith(b"\n{") else 2)
    if len(rows) == 3:
        assert rows[2].place.offset == 8 + size + 1
        assert rows[2].place.line == 3


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_row_of_exactly_the_cap_is_read(tmp_path: Path, start: bytes) -> None:
    """The cap itself is allowed, with and without a byte order mark and line ends."""
    row = b'{"a":"' + b"x" * 92 + b'"}'
    assert len(row) == 100
    for end in (b"", b"\n", b"\r\n"):
        path = lines_of(tmp_path / "x.jsonl", start + row + end)
        assert len(good(open_rows(path, max_row_bytes=100))) == 1


class Counted(io.BytesIO):
    """A stream that remembers the longest piece it was asked for."""

    longest = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        self.longest = max(self.longest, len(line))
        return line


def test_large_line_is_never_held() -> None:
    """Of a line of 50 MB no more than the cap and a chunk is read at once."""
    stream = Counted(b"x" * 50_000_000 + b"\n{}\n")
    frames = list(frame_lines(stream, 1000))
    assert isinstance(frames[0][2], Oversize)
    assert frames[0][2].size == 50_000_000
    assert frames[1] == (2, 50_000_001, b"{}")
    assert stream.longest <= 256 * 1024


def test_white_space_at_the_end_is_not_size() -> None:
    """The size and hash of an overlong row leave out blanks around it, however they are cut."""
    row = b"x" * 400_000
    for blanks in (b"", b" ", b"\r", b" " * 100_000):
        (frame,) = frame_lines(io.BytesIO(b"  " + row + blanks + b"\n"), 10)
        assert isinstance(frame[2], Oversize)
        assert (frame[2].size, frame[2].content_hash) == (
            400_000,
            blake2b(row, digest_size=16).digest(),
        )
        assert row.startswith(frame[2].head[:1000])


def test_blank_lines_of_any_length_are_no_rows() -> None:
    """A line of blanks is passed over and counted, even where it is longer than a row may be."""
    frames = list(frame_lines(io.BytesIO(b" " * 700 + b"\n{}\n" + b"\t" * 700), 100))
    assert frames == [(2, 701, b"{}")]


def test_skipped_rows_are_not_parsed(tmp_path: Path) -> None:
    """`skip` sees every identity, passes rows over before they are parsed, and keeps ordinals."""
    path = lines_of(tmp_path / "x.jsonl", b'{"a":1}\nnot json\n{"a":3}\n')
    seen = []

    def skip(ordinal: int, digest: bytes) -> bool:
        seen.append((ordinal, digest))
        return ordinal < 2

    rows = list(open_rows(path).rows(skip))
    assert [row.ordinal for row in rows] == [2]
    assert seen == [(row.ordinal, row.content_hash) for row in open_rows(path)]


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


@pytest.mark.parametrize(("suffix", "deflate"), [(".gz", gzip.compress), (".zst", zstd)])
def test_compressed_files(tmp_path: Path, suffix: str, deflate: Callable[[bytes], bytes]) -> None:
    """Compressed files give the rows, places and identities of the plain file; members add up."""
    content = b"".join(b'{"a":%d}\n' % index for index in range(1000))
    plain = lines_of(tmp_path / "x.jsonl", content)
    packed = lines_of(
        tmp_path / f"y.jsonl{suffix}", deflate(content[:500]) + deflate(content[500:])
    )
    ours, theirs = list(open_rows(packed)), list(open_rows(plain))
    assert good(ours) == good(theirs)
    assert [(row.content_hash, row.place.line, row.place.offset) for row in ours] == [
        (row.content_hash, row.place.line, row.place.offset) for row in theirs
    ]


@pytest.mark.parametrize(("suffix", "deflate"), [(".gz", gzip.compress), (".zst", zstd)])
@pytest.mark.parametrize("damage", ["cut", "garbage"])
def test_damaged_compressed_files(
    tmp_path: Path, suffix: str, deflate: Callable[[bytes], bytes], damage: str
) -> None:
    """A cut or foreign compressed file is an input error that names the file."""
    whole = deflate(b'{"a":"xyz"}\n' * 20_000)
    content = whole[: len(whole) // 2] if damage == "cut" else b"\xf0 no archive at all"
    path = lines_of(tmp_path / f"x.jsonl{suffix}", content)
    with pytest.raises(InputError, match=r"x\.jsonl.* is damaged"):
        list(open_rows(path))


@pytest.mark.parametrize("content", [b"", b"\n", b"  \r\n\n", b"\xef\xbb\xbf"])
def test_empty_files_have_no_rows(tmp_path: Path, content: bytes) -> None:
    """An empty or blank file is not an error; it has no rows and no columns."""
    source = open_rows(lines_of(tmp_path / "x.jsonl", content))
    assert list(source) == []
    assert source.columns == ()


def test_columns_are_those_of_the_first_good_row(tmp_path: Path) -> None:
    """Bad rows do not hide the columns."""
    path = lines_of(tmp_path / "x.jsonl", b'nope\n{"b":1,"a":2}\n{"c":3}\n')
    assert open_rows(path).columns == ("b", "a")


def test_vanished_file_is_a_storage_error(tmp_path: Path) -> None:
    """A file that goes away before it is read ends reading with our error."""
    path = jsonl(tmp_path / "x.jsonl", [{"a": 1}])
    source = open_rows(path)
    path.unlink()
    with pytest.raises(StorageError, match="cannot read"):
        list(source)


def test_one_megabyte_cells(tmp_path: Path) -> None:
    """Large cells within the cap are read whole."""
    rows = [{"prompt": "é" * 500_000, "n": index} for index in range(3)]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    assert good(open_rows(path)) == rows
