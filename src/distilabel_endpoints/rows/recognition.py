"""What the beginning of a file shows: its encoding, its dialect, or that it is something else.

Pure: bytes in, an answer out. A file that is not what its name says is refused before the first
request, with the command that puts it right.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from distilabel_endpoints.errors import InputError
from distilabel_endpoints.rows.lines import BLANK, BOM

__all__ = [
    "Dialect",
    "names_delimiter",
    "refuse_json",
    "refuse_old_line_ends",
    "refuse_other_bytes",
    "refuse_other_content",
    "refuse_spread_object",
    "sniff_dialect",
]

_SIGNATURES: Final = (
    (codecs.BOM_UTF32_LE, "text in UTF-32; convert it: iconv -f UTF-32 -t UTF-8"),
    (codecs.BOM_UTF32_BE, "text in UTF-32; convert it: iconv -f UTF-32 -t UTF-8"),
    (codecs.BOM_UTF16_LE, "text in UTF-16; convert it: iconv -f UTF-16 -t UTF-8"),
    (codecs.BOM_UTF16_BE, "text in UTF-16; convert it: iconv -f UTF-16 -t UTF-8"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the data; fetch it: git lfs pull"),
    (b"PAR1", "a Parquet file; give it the ending .parquet"),
    (b"ARROW1", "an Arrow file; give it the ending .arrow"),
    (b"\x1f\x8b", "compressed by gzip; add .gz to its name, or run gunzip"),
    (b"\x28\xb5\x2f\xfd", "compressed by Zstandard; add .zst to its name, or run unzstd"),
    (b"BZh", "compressed by bzip2; add .bz2 to its name, or run bunzip2"),
    (b"\xfd7zXZ", "compressed by xz; add .xz to its name, or run unxz"),
    (b"PK\x03\x04", "a zip archive; unpack it"),
)
_PAGE: Final = re.compile(rb"<(!doctype html|html|head)\b", re.IGNORECASE)
_XML: Final = re.compile(rb"<\?xml\b")
_DELIMITERS: Final = (",", ";", "\t", "|")
_NAMES: Final = {";": "semicolons", "\t": "tabs", "|": "vertical bars", ",": "commas"}
# Enough to see the delimiter; a whole file would be read twice.
_RECORDS: Final = 50


def refuse_other_content(head: bytes) -> None:
    """Check that a text file is text.

    Raises:
        InputError: It is something else; the message says what, and what to do.
    """
    _refuse_signatures(head)
    nuls = head[:400].count(b"\0")
    if nuls > 2 and nuls >= len(head[:400]) // 3:
        order = "BE" if head.index(b"\0") % 2 == 0 else "LE"
        raise InputError(
            f"this looks like UTF-16 without a mark; convert it: iconv -f UTF-16{order} -t UTF-8"
        )


def _refuse_signatures(head: bytes) -> None:
    for signature, what in _SIGNATURES:
        if head.startswith(signature):
            raise InputError(f"this is {what}")
    start = head.removeprefix(BOM).lstrip(BLANK)
    if _PAGE.match(start):
        raise InputError("this is a web page, not the data; download the file itself")
    if _XML.match(start):
        raise InputError("this is XML, which is not read; convert it to JSON Lines")


_NESTED: Final = re.compile(rb"\{\s*\"|\[\s*[\[{\"]")


def refuse_json(head: bytes, ending: str) -> None:
    """Check that a CSV or text file does not hold JSON.

    Raises:
        InputError: It does. In a text file a first line that is a JSON object counts as such.
    """
    start = head.removeprefix(BOM).lstrip(BLANK)
    if not _NESTED.match(start):
        return
    if ending != ".txt":
        raise InputError("this is JSON; give it the ending .jsonl, or .json if it is one array")
    try:
        value = json.loads(start.split(b"\n", 1)[0])
    except (ValueError, RecursionError):
        return
    if isinstance(value, dict):
        raise InputError(
            "this is JSON; give it the ending .jsonl. If each line is a prompt as it stands: "
            "jq -Rc '{prompt: .}'"
        )


def refuse_old_line_ends(head: bytes) -> None:
    """Check that lines end with a line feed.

    Raises:
        InputError: They end with carriage returns alone.
    """
    if b"\n" not in head and b"\r" in head.rstrip(b"\r"):
        raise InputError(
            "the lines end with carriage returns only, as on old Macs; convert them: tr '\\r' '\\n'"
        )


_MAGIC: Final = {
    ".parquet": (b"PAR1", b"PARE"),
    ".gz": (b"\x1f\x8b",),
    ".zst": (b"\x28\xb5\x2f\xfd",),
    ".bz2": (b"BZh",),
    ".xz": (b"\xfd7zXZ",),
}


def refuse_other_bytes(head: bytes, ending: str) -> None:
    """Check that a table or a compressed file begins as its ending promises.

    Raises:
        InputError: It is something else: a pointer of Git LFS, a web page, plain text.
    """
    expected = _MAGIC.get(ending, ())
    if not head or head.startswith(expected or (b"ARROW1", b"FEA1", b"\xff\xff\xff\xff")):
        return
    _refuse_signatures(head)
    if expected and head.isascii():
        raise InputError(f"this is text, not {ending} data; give it the ending of what it is")


def refuse_spread_object(head: bytes) -> None:
    """Check that JSON Lines are not one object over several lines.

    Raises:
        InputError: They are.
    """
    text = head.removeprefix(BOM).decode(errors="replace").lstrip()
    first = text.split("\n", 1)[0].strip()
    if not text.startswith("{") or len(first) == len(text.strip()):
        return
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        pass
    else:
        return
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        end = len(text) if re.fullmatch(r"\{|\{\s*\"[^\"]*\":\s*[\[{]", first) else 0
    if "\n" in text[:end].strip():
        raise InputError(
            "JSON over several lines, but each row must be on one line; convert it: jq -c . "
            "(rows inside an object: jq -c '.data[]')"
        )


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the fields of a CSV file are separated."""

    delimiter: str = ","
    backslash: bool = False
    r"""Quotes inside quotes are written `\"` instead of `""`."""
    quotes: bool = True
    """Whether a quote at a field's beginning is more than a character."""
    spaces: bool = False
    """A blank follows each delimiter and is not a part of the field."""

    @property
    def note(self) -> str | None:
        """What the user should know; None for commas."""
        more = r", quotes in quotes as \"" if self.backslash else ""
        more += "" if self.quotes else ", quotes as text"
        more += ", blanks after them left out" if self.spaces else ""
        if self.delimiter == "," and not more:
            return None
        return f"read as CSV with {_NAMES[self.delimiter]} between the fields{more}"

    def reader(self, lines: Iterable[str], *, strict: bool = True) -> Any:
        """The fields of each record; broken quotes are errors if it is strict."""
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            escapechar="\\" if self.backslash else None,
            doublequote=not self.backslash,
            quoting=csv.QUOTE_MINIMAL if self.quotes else csv.QUOTE_NONE,
            skipinitialspace=self.spaces,
            strict=strict,
        )


_DELIMITER_LINE: Final = re.compile(r"sep=(?P<delimiter>[,;\t|])\r?\n")


def names_delimiter(fields: list[str]) -> bool:
    """Whether a record is the line `sep=;`, with which Excel names the delimiter."""
    return fields[0] == "sep=" and not any(fields[1:])


def sniff_dialect(head: bytes, *, tabs: bool = False) -> Dialect:
    """The dialect that gives most of the first records as many fields as the header.

    Commas win unless the header has none of them between its names.

    Args:
        head: the beginning of the file.
        tabs: whether the file's name says that tabs are between the fields.
    """
    text = head.removeprefix(BOM).decode(errors="replace")
    named = _DELIMITER_LINE.match(text)
    if named is not None:
        return Dialect(named["delimiter"])
    best, most = Dialect("\t" if tabs else ","), 0.0
    for delimiter in ("\t",) if tabs else _DELIMITERS:
        ways = [Dialect(delimiter)]
        if '\\"' in text:
            ways.append(Dialect(delimiter, backslash=True))
        if delimiter == "\t" and '"' in text:
            ways.append(Dialect(delimiter, quotes=False))
        for dialect in ways:
            score = _agreement(text, dialect)
            if score > most:
                best, most = dialect, score
    if best == Dialect("\t") and _quotes_are_text(text, best):
        best = replace(best, quotes=False)
    names: list[str] = next(best.reader(io.StringIO(text, newline=""), strict=False), [])
    spaced = len(names) > 1 and all(name.startswith(" ") for name in names[1:])
    return replace(best, spaces=True) if spaced else best


def _quotes_are_text(text: str, dialect: Dialect) -> bool:
    """Whether each line is a whole row although quotes would join some of them.

    Then quotes at the beginning of fields are text: two of them, in rows far from each other, would
    make one row of all between them. A text over several lines has lines without tabs.
    """
    reader = dialect.reader(io.StringIO(text, newline=""), strict=False)
    records = sum(1 for _ in islice(reader, _RECORDS))
    lines = list(islice(io.StringIO(text, newline=""), reader.line_num))
    if len(lines) > 1 and not lines[-1].endswith("\n"):
        lines.pop()  # it may be cut
    tabs = {line.count("\t") for line in lines}
    return reader.line_num > records and len(tabs) == 1 and tabs != {0}


def _agreement(text: str, dialect: Dialect) -> float:
    """How many of the first records have the header's number of fields; 0 for one field."""
    counts = []
    reader = dialect.reader(io.StringIO(text, newline=""))
    try:
        for fields in reader:
            if fields:
                counts.append(len(fields))
            if len(counts) == _RECORDS:
                break
    except csv.Error:
        counts.append(0)
    if 1 < len(counts) < _RECORDS and not text.endswith("\n"):
        counts.pop()  # the last one may be cut
    if not counts or counts[0] < 2:
        return 0.0
    return counts.count(counts[0]) / len(counts)
