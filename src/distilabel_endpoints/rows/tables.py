"""Parquet and Arrow output: the input's columns with their Arrow types, then ours.

Row groups are cut by a fixed number of rows and of bytes, both counted from the rows alone; with
that, and a fixed pyarrow version, the same rows and results make the same bytes.

Rows and results as Arrow tables: the input's columns with their types, and ours.

Rows that came from Arrow are copied cell by cell in Arrow, so nothing Python cannot hold is lost.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, Final

from distilabel_endpoints.errors import InputError
from distilabel_endpoints.records import Result
from distilabel_endpoints.rows.arrow import pyarrow
from distilabel_endpoints.rows.columns import ColumnKind, OutputColumns, cell_text
from distilabel_endpoints.rows.datasets_rows import datasets_package
from distilabel_endpoints.rows.json_text import quoted
from distilabel_endpoints.rows.model import ArrowCells, BadRow, Row, RowSource
from distilabel_endpoints.rows.shapes import Shape
from distilabel_endpoints.rows.writers import ResultWriter

__all__ = [
    "MAPPED",
    "TableLayout",
    "TableWriter",
    "added_fields",
    "added_values",
    "given_table",
    "learn_layout",
    "map_dataset",
]


@dataclass(frozen=True, slots=True)
class TableLayout:
    """The Arrow schema of the input's columns, and how Python values fit it."""

    schema: Any
    shapes: dict[str, Shape] | None = None
    """What was learnt of each column; `None` if the source has its own schema."""
    _: KW_ONLY
    notes: tuple[str, ...] = ()


def learn_layout(source: RowSource) -> TableLayout:
    """The layout of a source's columns: its own schema, or one learnt by reading every row."""
    if source.schema is not None:
        return TableLayout(source.schema)
    pa = pyarrow("Parquet output")
    shapes: dict[str, Shape] = {}
    of_bad_rows: dict[str, Shape] = {}
    rows = 0
    for row in source:
        rows += isinstance(row, Row)
        _observe(shapes if isinstance(row, Row) else of_bad_rows, row.columns)
    # A row that is refused must not change the type of a column that the others have.
    shapes |= {name: of_bad_rows[name] for name in of_bad_rows if name not in shapes}
    schema = pa.schema([(name, shape.arrow_type()) for name, shape in shapes.items()])
    notes = [note for name, shape in shapes.items() for note in shape.notes(name)]
    padded = [name for name, shape in shapes.items() if shape.observed < rows]
    padded += [place for name, shape in shapes.items() for place in shape.padded(name)]
    if padded:
        notes.append(f"null stands for {quoted(padded)} in rows that do not have them")
    return TableLayout(schema, shapes, notes=tuple(notes))


def _observe(shapes: dict[str, Shape], columns: Mapping[str, Any]) -> None:
    for name, value in columns.items():
        if name not in shapes:
            shapes[name] = Shape()
        shapes[name].observe(value)


def given_table(layout: TableLayout, rows: Sequence[Row | BadRow]) -> Any:
    """The input's columns of `rows` as a `pyarrow.Table` with the layout's schema.

    Raises:
        InputError: A value does not fit its column's type.
    """
    pa = pyarrow("Parquet output")
    return pa.Table.from_batches(list(_batches(layout, rows)), schema=layout.schema)


def _batches(layout: TableLayout, rows: Sequence[Row | BadRow]) -> Iterator[Any]:
    """The input's columns of `rows`: runs of cells as they are, the rest from Python."""

    def run_of(numbered: tuple[int, Row | BadRow]) -> tuple[int, int] | None:
        """What neighbours share whose cells stand side by side in one batch."""
        index, row = numbered
        if layout.shapes is not None or not isinstance(row.original, ArrowCells):
            return None
        return id(row.original.batch), row.original.position - index

    for whole, run in groupby(enumerate(rows), key=run_of):
        members = [row for _, row in run]
        cells = members[0].original
        if whole is not None and isinstance(cells, ArrowCells):
            yield cells.batch.slice(cells.position, len(members))
        else:
            yield _from_python(layout, members)


def _from_python(layout: TableLayout, rows: Sequence[Row | BadRow]) -> Any:
    pa = pyarrow("Parquet output")
    records = [row.columns if isinstance(row, Row) else _fitting(layout, row) for row in rows]
    arrays = []
    for field in layout.schema:
        values = [columns.get(field.name) for columns in records]
        try:
            if layout.shapes is not None:
                values = layout.shapes[field.name].encode_all(values)
            arrays.append(pa.array(values, type=field.type))
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            span = f"rows {rows[0].ordinal} to {rows[-1].ordinal}"
            raise InputError(
                f"column {quoted([field.name])} of {span} does not fit {field.type}: "
                "did the input change since it was looked through?"
            ) from error
    return pa.RecordBatch.from_arrays(arrays, schema=layout.schema)


def _fitting(layout: TableLayout, row: BadRow) -> dict[str, Any]:
    """Those values of a refused row that fit their columns' types."""
    pa = pyarrow("Parquet output")
    fitting = {}
    for field in layout.schema:
        value = row.columns.get(field.name)
        shape = layout.shapes[field.name] if layout.shapes is not None else None
        with suppress(ValueError, TypeError, KeyError, OverflowError):
            pa.array([shape.encode(value) if shape is not None else value], type=field.type)
            fitting[field.name] = value
    return fitting


def added_fields(columns: OutputColumns) -> list[Any]:
    """Our columns as `pyarrow` fields, in order."""
    pa = pyarrow("Parquet output")
    fields = []
    for column in columns:
        kinds = {ColumnKind.COUNT: pa.int64(), ColumnKind.SHARE: pa.float64()}
        single = kinds.get(column.kind, pa.string())
        fields.append(pa.field(column.name, pa.list_(single) if column.many else single))
    return fields


def added_values(columns: OutputColumns, values: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Our columns as Arrow arrays, in order.

    Args:
        columns: which there are.
        values: what `OutputColumns.values` gave for each row.
    """
    pa = pyarrow("Parquet output")
    return [
        pa.array([cell_text(column, row[column.name]) for row in values], type=field.type)
        for column, field in zip(columns, added_fields(columns), strict=True)
    ]


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
        self._writer = _open_writer(pa, file, suffix, schema)
        self._known = frozenset(layout.schema.names)
        self._rows: list[Row | BadRow] = []
        self._ours: list[dict[str, Any]] = []
        self._bytes = 0

    def write(self, row: Row | BadRow, result: Result) -> None:
        if not self._known.issuperset(row.columns):
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
        table = given_table(self._layout, rows)
        arrays = [*table.combine_chunks().columns, *added_values(self._columns, ours)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))


def _open_writer(pa: Any, file: BinaryIO, suffix: str, schema: Any) -> Any:
    if suffix == ".parquet":
        return pa.parquet.ParquetWriter(file, schema, version="2.6", compression="zstd")
    if suffix == ".feather":  # what `read_feather` and `read_ipc` take: Arrow's file format
        return pa.ipc.new_file(file, schema)
    return pa.ipc.new_stream(file, schema)


def _row_size(row: Row | BadRow) -> int:
    """About how many bytes a row holds; the same for the same row."""
    match row.original:
        case bytes() as text:
            return len(text)
        case ArrowCells(batch, _):
            return int(batch.nbytes) // int(batch.num_rows)
        case None:
            return _size(row.columns)


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


MAPPED: Final = (".arrow", ".parquet")
"""Formats that `datasets` maps into memory."""


def map_dataset(path: str | os.PathLike[str]) -> Any:
    """A `.arrow` or `.parquet` output as a `datasets.Dataset`, memory-mapped.

    The `.arrow` file itself is mapped; of a `.parquet` file `datasets` keeps an Arrow copy in its
    cache.

    Raises:
        InputError: It holds a type that `datasets` has not.
        InstallationError: `datasets` is not installed.
    """
    datasets = datasets_package("a dataset object")
    file = Path(path)
    openers = {".arrow": datasets.Dataset.from_file, ".parquet": datasets.Dataset.from_parquet}
    try:
        return openers[file.suffix.lower()](str(file))
    except (OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"datasets cannot take {file}: {error}") from error
