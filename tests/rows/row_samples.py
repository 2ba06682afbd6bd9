"""Rows, results and files for the tests of `distilabel_endpoints.rows`."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from distilabel_endpoints.records import Completion, Failure, FailureKind, Result, Usage
from distilabel_endpoints.rows import (
    BadRow,
    OutputColumns,
    Row,
    RowSource,
    open_rows,
    open_writer,
)

MODEL = OutputColumns("model")


def answered(ordinal: int, text: str = "answer", n: int = 1) -> Result:
    """A row that got `n` completions."""
    completions = tuple(
        Completion(text=f"{text}{index or ''}", finish_reason="stop") for index in range(n)
    )
    return Result(
        ordinal=ordinal,
        completions=completions,
        failures=(None,) * n,
        usages=(Usage(input_tokens=3, output_tokens=4),),
    )


def refused(row: BadRow) -> Result:
    """A row that was never sent."""
    failure = Failure(kind=FailureKind.ROW, message=row.message, code=row.reason)
    return Result(ordinal=row.ordinal, completions=(None,), failures=(failure,))


def write_all(
    source: Any, path: Path, columns: OutputColumns = MODEL, **options: Any
) -> tuple[str, ...]:
    """Every row of `source` to `path`, answered or refused; the writer's notes."""
    rows = source if isinstance(source, RowSource) else open_rows(source)
    with open_writer(path, columns, rows, **options) as writer:
        for row in rows:
            result = answered(row.ordinal) if isinstance(row, Row) else refused(row)
            writer.write(row, result)
    return writer.notes


def good(rows: Iterable[Row | BadRow]) -> list[dict[str, Any]]:
    """The columns of the good rows."""
    return [dict(row.columns) for row in rows if isinstance(row, Row)]


def bad(rows: Iterable[Row | BadRow]) -> list[BadRow]:
    """The bad rows."""
    return [row for row in rows if isinstance(row, BadRow)]


def jsonl(path: Path, rows: Iterable[Any]) -> Path:
    """A JSON Lines file of `rows`."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class Trickle(io.BytesIO):
    """A stream that gives at most `step` bytes for each read, so that every cut is tried."""

    def __init__(self, content: bytes, step: int) -> None:
        super().__init__(content)
        self._step = step

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self._step)
