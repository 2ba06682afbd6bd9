"""Parquet and Arrow output: the input's columns with their Arrow types, then ours.

Row groups are cut by a fixed number of rows and of bytes, both counted from the rows alone; with
that, and a fixed pyarrow version, the same rows and results make the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from distilabel_endpoints.errors import ConfigurationError, InputError
from distilabel_endpoints.records import Result
from distilabel_endpoints.rows.arrow import pyarrow
from distilabel_endpoints.rows.columns import OutputColumns
from distilabel_endpoints.rows.gathering import (
    TableLayout,
    added_fields,
    added_values,
    given_table,
    learn_layout,
)
from distilabel_endpoints.rows.hub import datasets_package
from distilabel_endpoints.rows.model import ArrowCells, BadRow, Row
from distilabel_endpoints.rows.writers import ResultWriter

__all__ = ["TableLayout", "TableWriter", "learn_layout", "to_dataset"]

_GROUP_ROWS = 8192
_GROUP_BYTES = 16 * 1024 * 1024


class TableWriter(ResultWriter):
    """Gathers rows to a row group and writes it."""

    def __init__(
        self, file: BinaryIO, suffix: str, layout: TableLayout, columns: OutputColumns
    ) -> None:
        pa = self._pa = pyarrow("Parquet output")
        self._layout = layout
        self._columns = columns
        self.notes = layout.notes
        self._schema = schema = pa.schema(
            [*layout.schema, *added_fields(columns)], metadata=layout.schema.metadata
        )
        self._writer = (
            pa.parquet.ParquetWriter(file, schema, version="2.6", compression="zstd")
            if suffix == ".parquet"
            else pa.ipc.new_stream(file, schema)
        )
        self._known = frozenset(layout.schema.names)
        self._rows: list[Row | BadRow] = []
        self._ours: list[dict[str, Any]] = []
        self._bytes = 0

    def write(self, row: Row | BadRow, result: Result) -> None:
        if isinstance(row, Row) and not self._known.issuperset(row.columns):
            raise InputError(f"{row.source}: a column appeared since the input was looked through")
        ours = self._columns.values(result)
        self._rows.append(row)
        self._ours.append(ours)
        self._bytes += _row_size(row) + _size(ours)
        if len(self._rows) == _GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        if self._rows:
            self._flush()
        self._writer.close()

    def discard(self) -> None:
        with suppress(OSError, ValueError):
            self._writer.close()
        if hasattr(self._writer, "is_open"):  # it would try again when it is collected
            self._writer.is_open = False

    def _flush(self) -> None:
        pa = self._pa
        rows, ours = self._rows, self._ours
        self._rows, self._ours, self._bytes = [], [], 0
        given = given_table(self._layout, rows)
        arrays = [*given.combine_chunks().columns, *added_values(self._columns, ours)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))


def _row_size(row: Row | BadRow) -> int:
    """About how many bytes a row holds; the same for the same row."""
    match row.original:
        case bytes() as text:
            return len(text)
        case ArrowCells(batch, _):
            return int(batch.nbytes) // int(batch.num_rows)
        case None:
            return _size(row.columns) if isinstance(row, Row) else 0


def _size(value: Any) -> int:
    total = 0
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, str | bytes):
            total += len(value)
        elif isinstance(value, Mapping):
            pending += value.values()
        elif isinstance(value, list | tuple):
            pending += value
        total += 8
    return total


def to_dataset(path: str | os.PathLike[str]) -> Any:
    """A `.arrow` or `.parquet` output as a `datasets.Dataset`, memory-mapped.

    The `.arrow` file itself is mapped; of a `.parquet` file `datasets` keeps an Arrow copy in its
    cache.

    Raises:
        ConfigurationError: The file has another format.
        InputError: It holds a type that `datasets` has not.
        InstallationError: `datasets` is not installed.
    """
    datasets = datasets_package("a dataset object")
    file = Path(path)
    openers = {".arrow": datasets.Dataset.from_file, ".parquet": datasets.Dataset.from_parquet}
    opener = openers.get(file.suffix.lower())
    if opener is None:
        raise ConfigurationError(f"cannot map {file}: write .arrow or .parquet")
    try:
        return opener(str(file))
    except (OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"datasets cannot take {file}: {error}") from error
