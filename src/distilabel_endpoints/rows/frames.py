"""Tables in memory: DataFrames of pandas and polars, `pyarrow` tables, whatever speaks Arrow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.rows.arrow import ArrowSource, pyarrow, rows_per_batch
from distilabel_endpoints.rows.intake import ReadOptions
from distilabel_endpoints.rows.json_text import quoted
from distilabel_endpoints.rows.model import RowSource

__all__ = ["is_frame", "open_frame"]


_WITH_COLUMNS: Final = frozenset({"pandas", "polars", "numpy", "pyarrow"})
"""Libraries whose single columns speak Arrow, too; these are lists."""


def is_frame(source: Any) -> bool:
    """Whether `source` is a table rather than an iterable of rows."""
    kind = type(source)
    home = kind.__module__.partition(".")[0]
    return (
        (home in {"pandas", "polars"} and kind.__name__ in {"DataFrame", "LazyFrame"})
        or (home == "pyarrow" and hasattr(source, "schema"))
        or (hasattr(source, "__arrow_c_stream__") and home not in _WITH_COLUMNS)
    )


def open_frame(frame: Any, options: ReadOptions) -> RowSource:
    """The rows of a table.

    Raises:
        ConfigurationError: It cannot be read again, or its columns have no names.
        InstallationError: `pyarrow` is not installed.
    """
    kind = type(frame).__name__
    home = type(frame).__module__.partition(".")[0]
    pa = pyarrow(f"a {kind}")
    if kind in {"LazyFrame", "RecordBatchReader"}:
        way = "collect() it" if kind == "LazyFrame" else "read it into a table"
        raise ConfigurationError(f"a {kind} holds no rows yet; {way} first")
    if home == "pyarrow" and not isinstance(frame, pa.Table | pa.RecordBatch):  # a Dataset
        name, count = f"{kind} object", frame.count_rows()
        return ArrowSource(name, frame.to_batches, options, schema=frame.schema, count=count)
    notes: tuple[str, ...] = ()
    if home == "pandas":
        frame, notes = _of_pandas(pa, frame)
    table = frame if isinstance(frame, pa.Table) else _table(pa, frame)
    size = rows_per_batch(table.nbytes, max(1, table.num_rows))

    def batches() -> Iterator[Any]:
        return iter(table.to_batches(max_chunksize=size))

    return ArrowSource(
        f"{kind} object",
        batches,
        options,
        schema=table.schema,
        count=table.num_rows,
        notes=notes,
    )


def _table(pa: Any, frame: Any) -> Any:
    if isinstance(frame, pa.RecordBatch):
        return pa.Table.from_batches([frame])
    # Arrow has no such type: what comes out of polars are addresses in memory.
    objects = [name for name, kind in _types(frame) if str(kind) == "Object"]
    if objects:
        raise ConfigurationError(
            f"column {quoted(objects)} of the DataFrame holds Python objects; drop it, or give its "
            "rows: frame.to_dicts()"
        )
    with _fitting(pa, "to_dicts()"):
        to_arrow = getattr(frame, "to_arrow", None)
        return to_arrow() if to_arrow is not None else pa.table(frame)


def _types(frame: Any) -> list[tuple[str, Any]]:
    is_polars = type(frame).__module__.partition(".")[0] == "polars"
    return list(frame.schema.items()) if is_polars else []


@contextmanager
def _fitting(pa: Any, rows: str) -> Iterator[None]:
    """Reports columns that Arrow has no type for."""
    try:
        yield
    except (pa.ArrowException, ValueError, TypeError) as error:
        reason = ": ".join(map(str, error.args[::-1]))  # Arrow names the column behind the reason
        raise ConfigurationError(
            f"the DataFrame does not fit a table: {reason.splitlines()[0].rstrip('.')}. "
            f"Give each column one common type, or its rows: frame.{rows}"
        ) from error


def _of_pandas(pa: Any, frame: Any) -> tuple[Any, tuple[str, ...]]:
    """The frame as a table. Its index is a column if it has a name."""
    notes: tuple[str, ...] = ()
    twice = {str(name) for name in frame.columns[frame.columns.duplicated()]}
    twice |= {str(name) for name in frame.index.names if name in frame.columns}
    if twice:
        raise ConfigurationError(
            f"the DataFrame has two columns {quoted(sorted(twice))} (a named index is a column, "
            "too); rename one, or reset_index(drop=True)"
        )
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    elif type(frame.index).__name__ != "RangeIndex":
        notes = ("the index of the DataFrame is not a column; reset_index() makes it one",)
    unnamed = [name for name in frame.columns if not isinstance(name, str)]
    if unnamed:
        raise ConfigurationError(
            f"columns {quoted(map(str, unnamed))} of the DataFrame have names that are not text; "
            "rename them: frame.columns = frame.columns.map(str)"
        )
    periods = [name for name, kind in frame.dtypes.items() if str(kind).startswith("period")]
    if periods:  # Arrow stores the number of months or days since 1970
        frame = frame.assign(**{name: frame[name].astype("string") for name in periods})
        notes += (f"periods in column {quoted(periods)} are text",)
    with _fitting(pa, 'to_dict("records")'):
        table = pa.Table.from_pandas(frame, preserve_index=False)
    nested = [field.name for field in table.schema if "struct<" in str(field.type)]
    if nested:
        notes += (f"a key that only some mappings of {quoted(nested)} have is null in others",)
    return table, notes
