"""The one door to pyarrow: Parquet files and Arrow record batches in, rows out.

A batch is as large as a few mebibytes allow, judged by the file's own metadata, so memory does
not grow with the file. Values become Python's with their types; each row keeps its Arrow cells,
so that Parquet output copies them exactly, whatever Python can or cannot hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from distilabel_endpoints.errors import InputError, InstallationError
from distilabel_endpoints.rows.intake import Intake, hashed
from distilabel_endpoints.rows.json_text import BadInputError, quoted
from distilabel_endpoints.rows.model import ArrowCells, BadReason, BadRow, Place, Row

__all__ = [
    "arrow_rows",
    "parquet_count",
    "parquet_rows",
    "parquet_schema",
    "pyarrow",
    "rows_per_batch",
    "unified",
]

_BATCH_BYTES = 4 * 1024 * 1024
_BATCH_ROWS = 2048


def pyarrow(purpose: str) -> Any:
    """The pyarrow package.

    Raises:
        InstallationError: It is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError:
        raise InstallationError(
            f"{purpose} needs pyarrow, which is not installed: "
            'pip install "distilabel-endpoints[datasets]"'
        ) from None
    return pa


def _parquet(path: Path) -> Any:
    pa = pyarrow("a Parquet file")
    try:
        return pa.parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 16)
    except pa.ArrowInvalid as error:
        raise InputError(f"not a Parquet file: {error}") from None


def parquet_schema(path: Path) -> Any:
    """The Arrow schema of a Parquet file.

    Raises:
        InputError: It is not a Parquet file, or names a column twice.
    """
    with _parquet(path) as file:
        schema = file.schema_arrow
    twice = {name for name in schema.names if schema.names.count(name) > 1}
    if twice:
        raise InputError(f"column names appear twice: {quoted(sorted(twice))}")
    return schema


def parquet_count(path: Path) -> int:
    """How many rows the file says it has."""
    with _parquet(path) as file:
        return int(file.metadata.num_rows)


def unified(schemas: Sequence[tuple[Path, Any]]) -> Any:
    """The one schema of several files: every column of any of them, in order of appearance.

    Raises:
        InputError: Two files give a column different types.
    """
    pa = pyarrow("a Parquet file")
    first, whole = schemas[0]
    for path, schema in schemas[1:]:
        try:
            whole = pa.unify_schemas([whole, schema])
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise InputError(f"{path} and {first} do not have the same columns: {error}") from None
    return whole


def rows_per_batch(size: int, count: int) -> int:
    """How many of `count` rows with `size` bytes together are read at once."""
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES * count // max(size, 1)))


def parquet_rows(path: Path, schema: Any, intake: Intake, name: str) -> Iterator[Row | BadRow]:
    """The rows of one Parquet file, with the columns of `schema` in its order."""
    pa = pyarrow("a Parquet file")
    line = 1
    with _parquet(path) as file:
        meta = file.metadata
        groups = [meta.row_group(index) for index in range(meta.num_row_groups)]
        sizes = [rows_per_batch(group.total_byte_size, group.num_rows) for group in groups]
        for index, size in enumerate(sizes):
            try:
                for batch in file.iter_batches(size, row_groups=[index], use_threads=False):
                    yield from arrow_rows(_conformed(batch, schema), intake, name, line)
                    line += batch.num_rows
            except pa.ArrowInvalid as error:
                raise InputError(f"damaged after row {line - 1}: {error}") from None


def _conformed(batch: Any, schema: Any) -> Any:
    """The batch with the schema's columns: missing ones are null, null ones get their type."""
    if batch.schema.equals(schema, check_metadata=True):
        return batch
    pa = pyarrow("a Parquet file")
    present = set(batch.schema.names)
    columns = [
        batch.column(field.name).cast(field.type)
        if field.name in present
        else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def arrow_rows(batch: Any, intake: Intake, name: str, line: int) -> Iterator[Row | BadRow]:
    """The rows of one record batch, whose first is row `line` of the source."""
    for index, columns in enumerate(_python_rows(batch)):
        cells = ArrowCells(batch, index)
        place = Place(name, line + index)
        if isinstance(columns, BadInputError):
            digest = hashed(batch.slice(index, 1).serialize().to_pybytes())
            kept = _expressible(batch, index)
            row: Row | BadRow | None = intake.bad(
                columns, digest, place, columns=kept, original=cells
            )
        else:
            row = intake.mapping(columns, place, cells)
        if row is not None:
            yield row


def _python_rows(batch: Any) -> Iterable[dict[str, Any] | BadInputError]:
    try:
        rows: list[dict[str, Any]] = batch.to_pylist()
    except _INEXPRESSIBLE:
        return [_python_row(batch, index) for index in range(batch.num_rows)]
    return rows


# Out-of-range dates, invalid UTF-8 (both ValueError), and types Python has nothing for.
_INEXPRESSIBLE = (ValueError, OverflowError, NotImplementedError, KeyError)


def _python_row(batch: Any, index: int) -> dict[str, Any] | BadInputError:
    row = _expressible(batch, index)
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name not in row:
            kind = f"a value of type {column.type} that Python cannot hold"
            return BadInputError(BadReason.INPUT, f"column {quoted([name])} has {kind}")
    return row


def _expressible(batch: Any, index: int) -> dict[str, Any]:
    """The cells of a row that Python can hold."""
    row = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        with suppress(*_INEXPRESSIBLE):
            row[name] = column[index].as_py()
    return row
