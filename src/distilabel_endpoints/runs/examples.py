"""The first answers of a finished output, for a look at what came out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from distilabel_endpoints.errors import DistilabelError
from distilabel_endpoints.rows import Row, open_rows
from distilabel_endpoints.runs.options import RunOptions

__all__ = ["Example", "first_answers"]

_LOOKED_AT = 200
"""Rows read at most, if the first ones failed."""


@dataclass(frozen=True, slots=True)
class Example:
    """A row that was answered."""

    ordinal: int
    prompt: str
    """The last message that was sent; empty if the output does not tell."""
    answer: str


def first_answers(output: Path, options: RunOptions, most: int = 3) -> list[Example]:
    """The first rows of `output` that have an answer; fewer if it cannot be read."""
    try:
        return list(islice(_answered(output, options), most))
    except (DistilabelError, OSError):
        return []


def _answered(output: Path, options: RunOptions) -> Iterator[Example]:
    rows = open_rows(str(output), max_row_bytes=options.max_row_bytes)
    for row in islice(rows, _LOOKED_AT):
        if isinstance(row, Row) and (answer := _answer(row, options.column_prefix)):
            yield Example(row.ordinal, _prompt(row, options), answer)


def _answer(row: Row, prefix: str) -> str | None:
    text = row.columns.get(f"{prefix}generation")
    several = row.columns.get(f"{prefix}generations")
    if text is None and isinstance(several, list | tuple):
        text = next((one for one in several if one), None)
    return text if isinstance(text, str) else None


def _prompt(row: Row, options: RunOptions) -> str:
    try:
        messages = options.conversations.bind(row.columns).prepare(row).messages
    except DistilabelError:
        return ""
    content = messages[-1].get("content") if messages else None
    return content if isinstance(content, str) else ""
