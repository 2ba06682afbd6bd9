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
from dataclasses import dataclass
from typing import Final

from distilabel_endpoints.errors import InputError
from distilabel_endpoints.rows.lines import BLANK, BOM

__all__ = ["Dialect", "refuse_other_content", "refuse_spread_object", "sniff_dialect"]

_SIGNATURES: Final = (
    (codecs.BOM_UTF32_LE, "text in UTF-32; convert it: iconv -f UTF-32 -t UTF-8"),
    (codecs.BOM_UTF32_BE, "text in UTF-32; convert it: iconv -f UTF-32 -t UTF-8"),
    (codecs.BOM_UTF16_LE, "text in UTF-16; convert it: iconv -f UTF-16 -t UTF-8"),
    (codecs.BOM_UTF16_BE, "text in UTF-16; convert it: iconv -f UTF-16 -t UTF-8"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the data; fetch it: git lfs pull"),
    (b"PAR1", "a Parquet file; give it the ending .parquet"),
    (b"ARROW1", "an Arrow file; give it the ending .arrow"),
    (b"\x1f\x8b", "compressed by gzip; add .gz to its name"),
    (b"\x28\xb5\x2f\xfd", "compressed by Zstandard; add .zst to its name"),
    (b"BZh", "compressed by bzip2; add .bz2 to its name"),
    (b"\xfd7zXZ", "compressed by xz; add .xz to its name"),
    (b"PK\x03\x04", "a zip archive; unpack it"),
)
_PAGE: Final = re.compile(rb"<(!doctype html|html|head)\b", re.IGNORECASE)
_DELIMITERS: Final = (",", ";", "\t", "|")
_NAMES: Final = {";": "semicolons", "\t": "tabs", "|": "vertical bars", ",": "commas"}
_RECORDS: Final = 50


def refuse_other_content(head: bytes) -> None:
    """Check that a text file is text.

    Raises:
        InputError: It is something else; the message says what, and what to do.
    """
    for signature, what in _SIGNATURES:
        if head.startswith(signature):
            raise InputError(f"this is {what}")
    start = head.removeprefix(BOM).lstrip(BLANK)
    if _PAGE.match(start):
        raise InputError("this is a web page, not the data; download the file itself")
    nuls = head[:400].count(b"\0")
    if nuls > 2 and nuls >= len(head[:400]) // 3:
        raise InputError("this looks like UTF-16 without a mark; convert it: iconv -f UTF-16LE")


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

    @property
    def note(self) -> str | None:
        """What the user should know; None for commas."""
        quotes = r", quotes in quotes as \"" if self.backslash else ""
        if self.delimiter == "," and not quotes:
            return None
        return f"read as CSV with {_NAMES[self.delimiter]} between the fields{quotes}"


def sniff_dialect(head: bytes, *, tabs: bool = False) -> Dialect:
    """The dialect that gives most of the first records as many fields as the header.

    Commas win unless the header has none of them between its names.

    Args:
        head: the beginning of the file.
        tabs: whether the file's name says that tabs are between the fields.
    """
    text = head.removeprefix(BOM).decode(errors="replace")
    best, most = Dialect("\t" if tabs else ","), 0.0
    for delimiter in ("\t",) if tabs else _DELIMITERS:
        for backslash in (False, True) if '\\"' in text else (False,):
            dialect = Dialect(delimiter, backslash)
            score = _agreement(text, dialect)
            if score > most:
                best, most = dialect, score
    return best


def _agreement(text: str, dialect: Dialect) -> float:
    """How many of the first records have the header's number of fields; 0 for one field."""
    counts = []
    lines = io.StringIO(text, newline="")
    reader = csv.reader(
        lines,
        delimiter=dialect.delimiter,
        escapechar="\\" if dialect.backslash else None,
        doublequote=not dialect.backslash,
        strict=True,
    )
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
