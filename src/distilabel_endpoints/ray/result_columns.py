"""Results in shards: which columns they fill, and how they are read from them again.

A row's result is what the output's columns hold of it, and why it failed. The lines of a batch file
have no columns: of these the whole result is kept, as a journal keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from distilabel_endpoints._store.journal.record import (
    decode,
    decode_failures,
    encode,
    encode_failures,
)
from distilabel_endpoints.errors import DamagedError
from distilabel_endpoints.ray.source import FAILURE
from distilabel_endpoints.records import Failure, Result
from distilabel_endpoints.rows import OutputColumns
from distilabel_endpoints.rows.arrow import pyarrow
from distilabel_endpoints.rows.columns import failure_code
from distilabel_endpoints.rows.tables import added_fields, added_values

__all__ = [
    "COUNTED",
    "RESULT",
    "added_to",
    "failures_column",
    "names_of",
    "result_of",
    "stored_failures",
]

RESULT: Final = "row_result"
"""The column of a shard that keeps the whole result of a line of a batch file, in JSON."""
COUNTED: Final = ("error", "error_code", "input_tokens", "output_tokens")
"""Our columns that every shard has."""


def names_of(columns: OutputColumns) -> tuple[str, ...]:
    """The columns of a run's shards that hold its results."""
    ours = (*COUNTED, RESULT) if columns.layout == "openai-batch" else columns.names
    return (*ours, FAILURE)


def added_to(block: Any, columns: OutputColumns, results: Sequence[Result]) -> Any:
    """The block (a `pyarrow.Table`) with the columns of its rows' results, but for `FAILURE`."""
    if columns.layout == "openai-batch":
        return _with_whole_results(block, results)
    arrays = added_values(columns, [columns.values(result) for result in results])
    for field, array in zip(added_fields(columns), arrays, strict=True):
        block = block.append_column(field, array)
    return block


def _with_whole_results(block: Any, results: Sequence[Result]) -> Any:
    pa = pyarrow("a Ray dataset")
    failures = [next(filter(None, result.failures), None) for result in results]
    values: dict[str, tuple[Any, list[Any]]] = {
        "error": (pa.string(), [failure and failure.describe() for failure in failures]),
        "error_code": (pa.string(), [failure and failure_code(failure) for failure in failures]),
        "input_tokens": (pa.int64(), [_sum(result, "input_tokens") for result in results]),
        "output_tokens": (pa.int64(), [_sum(result, "output_tokens") for result in results]),
        RESULT: (pa.binary(), [encode(result) for result in results]),
    }
    for name, (kind, cells) in values.items():
        block = block.append_column(name, pa.array(cells, type=kind))
    return block


def _sum(result: Result, name: str) -> int:
    return sum(getattr(usage, name) or 0 for usage in result.usages)


def failures_column(results: Sequence[Result]) -> Any:
    """The column `FAILURE` of these rows."""
    pa = pyarrow("a Ray dataset")
    kept = [
        encode_failures(result.failures) if any(result.failures) else None for result in results
    ]
    return pa.array(kept, type=pa.string())


def result_of(
    columns: OutputColumns, ordinal: int, cells: Mapping[str, Any], shard: Path
) -> Result:
    """The result that these cells of a shard hold.

    Raises:
        DamagedError: no run wrote them.
    """
    if columns.layout == "openai-batch":
        try:
            return decode(cells[RESULT])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DamagedError(f"{shard} holds a result that no run wrote.") from error
    text = cells.get(FAILURE)
    failures = () if text is None else stored_failures(shard, text)
    return columns.result(ordinal, cells, failures)


def stored_failures(shard: Path, text: str) -> tuple[Failure | None, ...]:
    """What the column `FAILURE` keeps of a failed row.

    Raises:
        DamagedError: no run wrote it.
    """
    try:
        return decode_failures(text)
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedError(f"{shard} holds a failure that no run wrote: {text[:60]!r}") from error
