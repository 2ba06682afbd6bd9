"""The one door to pyarrow: Parquet and Arrow files and record batches in, rows out.

A batch is as large as a few mebibytes allow, judged by the file's own metadata, so memory does
not grow with the file. Values become Python's with their types; each row keeps its Arrow cells,
so that Parquet output copies them exactly, whatever Python can or cannot hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from distilabel_endpoints.errors import InputError, InstallationError
from distilabel_endpoints.rows.intake import Intake, ReadOptions, hashed
from distilabel_endpoints.rows.json_text import BadInputError, quoted
from distilabel_endpoints.rows.model import (
    ArrowCells,
    BadReason,
    BadRow,
    Place,
    Row,
    RowSource,
    Skip,
)

__all__ = [
    "ArrowSource",
    "arrow_rows",
    "pyarrow",
    "rows_per_batch",
    "table_count",
    "table_rows",
    "table_schema",
    "unified",
]

_BATCH_BYTES = 4 * 1024 * 1024
_BATCH_ROWS = 2048


def pyarrow(purpose: str, *, extra: str = "datasets") -> Any:
    """The pyarrow package.

    Args:
        purpose: what needs it, for the message.
        extra: which of ours brings it.

    Raises:
        InstallationError: It is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError:
        raise InstallationError(
            f"{purpose} needs pyarrow, which is not installed: "
            f'pip install "distilabel-endpoints[{extra}]"'
        ) from None
    return pa


def _parquet(path: Path) -> Any:
    pa = pyarrow("a Parquet file")
    try:
        return pa.parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 16)
    except pa.ArrowInvalid as error:
        raise InputError(f"not a Parquet file: {error}") from None


@contextmanager
def _arrow_file(path: Path) -> Iterator[Any]:
    """A reader of an Arrow file or stream; Feather is the file format."""
    pa = pyarrow("an Arrow file")
    with pa.memory_map(str(path)) as mapped:
        magic = mapped.read(6)
        mapped.seek(0)
        if magic[:4] == b"FEA1":
            raise InputError("a Feather file of version 1; write it again as version 2")
        try:
            is_file = magic == b"ARROW1"
            yield pa.ipc.open_file(mapped) if is_file else pa.ipc.open_stream(mapped)
        except pa.ArrowInvalid as error:
            raise InputError(f"not a whole Arrow file: {error}") from None


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def table_schema(path: Path) -> Any:
    """The Arrow schema of a Parquet or Arrow file.

    Raises:
        InputError: It is not such a file, or names a column twice.
    """
    if _is_parquet(path):
        with _parquet(path) as file:
            schema = file.schema_arrow
    else:
        with _arrow_file(path) as reader:
            schema = reader.schema
    twice = {name for name in schema.names if schema.names.count(name) > 1}
    if twice:
        raise InputError(
            f"column names appear twice: {quoted(sorted(twice))}; give each column its own name"
        )
    return schema


def table_count(path: Path) -> int | None:
    """How many rows the file says it has; None for an Arrow stream, which does not say."""
    if _is_parquet(path):
        with _parquet(path) as file:
            return int(file.metadata.num_rows)
    with _arrow_file(path) as reader:
        count = getattr(reader, "num_record_batches", None)
        return None if count is None else sum(reader.get_batch(n).num_rows for n in range(count))


def unified(schemas: Sequence[tuple[Path, Any]]) -> Any:
    """The one schema of several files: every column of any of them, in order of appearance.

    Files of one dataset that different tools wrote differ in how they store the same: text in two
    sizes, whole numbers in one and floats in the next. The wider type holds both.

    Raises:
        InputError: Two files give a column types that have nothing in common.
    """
    pa = pyarrow("a Parquet file")
    first, whole = schemas[0]
    for path, schema in schemas[1:]:
        if schema.equals(whole, check_metadata=False):
            continue
        try:
            both = [_beside(pa, whole, schema), _beside(pa, schema, whole)]
            whole = pa.unify_schemas(both, promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise InputError(
                f"{path} and {first} do not have the same columns: {error}. Give the column one "
                "type in both, or run the files one at a time"
            ) from None
    return whole


def _beside(pa: Any, schema: Any, other: Any) -> Any:
    """`schema` with types that can be joined with those of `other`, and nulls everywhere."""
    for index, field in enumerate(schema):
        theirs = other.field(field.name).type if field.name in other.names else None
        own = _joinable(pa, field.type, theirs)
        schema = schema.set(index, pa.field(field.name, own, metadata=field.metadata))
    return schema


def _joinable(pa: Any, own: Any, theirs: Any) -> Any:
    """A type, or the nearest one that Arrow can widen to hold `theirs`, too."""
    types = pa.types
    if theirs is None:
        return _with_nulls(pa, own)
    if types.is_dictionary(own) and own != theirs:
        return own.value_type
    if own in (pa.string_view(), pa.binary_view()) and own != theirs:
        return pa.string() if own == pa.string_view() else pa.binary()
    if types.is_integer(own) and types.is_decimal(theirs):
        return pa.decimal128(20, 0)
    zones = [kind.tz for kind in (own, theirs) if types.is_timestamp(kind)]
    if len(zones) == 2 and None not in zones and zones[0] != zones[1]:
        return pa.timestamp(own.unit, tz="UTC")
    return _with_nulls(pa, own)


def _with_nulls(pa: Any, kind: Any) -> Any:
    """The type with fields that may be null: another file need not have them."""
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _with_nulls(pa, field.type)) for field in kind])
    if pa.types.is_large_list(kind):
        return pa.large_list(_with_nulls(pa, kind.value_type))
    if pa.types.is_list(kind):
        return pa.list_(pa.field(kind.value_field.name, _with_nulls(pa, kind.value_type)))
    return kind


def rows_per_batch(size: int, count: int) -> int:
    """How many of `count` rows with `size` bytes together are read at once."""
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES * count // max(size, 1)))


def table_rows(
    path: Path, schema: Any, intake: Intake, name: str, constants: Mapping[str, Any]
) -> Iterator[Row | BadRow]:
    """The rows of one Parquet or Arrow file, with the columns of `schema` in its order.

    Args:
        path: the file.
        schema: of all files that are read together.
        intake: what counts the rows.
        name: what they say they come from.
        constants: columns that have one value in the whole file.
    """
    pa = pyarrow("a Parquet file")
    line = 1
    try:
        for batch in _file_batches(path):
            rows = _conformed(batch, schema, constants)
            yield from arrow_rows(rows, intake, name, line)
            line += batch.num_rows
    except pa.ArrowInvalid as error:
        raise InputError(f"damaged after row {line - 1}: {error}") from None


def _file_batches(path: Path) -> Iterator[Any]:
    if not _is_parquet(path):
        with _arrow_file(path) as reader:
            count = getattr(reader, "num_record_batches", None)
            batches = reader if count is None else map(reader.get_batch, range(count))
            for batch in batches:
                yield from _cut(batch)
        return
    with _parquet(path) as file:
        meta = file.metadata
        groups = [meta.row_group(index) for index in range(meta.num_row_groups)]
        sizes = [rows_per_batch(group.total_byte_size, group.num_rows) for group in groups]
        for index, size in enumerate(sizes):
            yield from file.iter_batches(size, row_groups=[index], use_threads=False)


def _cut(batch: Any) -> Iterator[Any]:
    size = rows_per_batch(batch.nbytes, batch.num_rows)
    for start in range(0, batch.num_rows, size):
        yield batch.slice(start, size)


def _conformed(batch: Any, schema: Any, constants: Mapping[str, Any]) -> Any:
    """The batch with the schema's columns: missing ones are null, others get the common type.

    Raises:
        InputError: A value does not fit the type that the files have in common.
    """
    if batch.schema.equals(schema, check_metadata=True):
        return batch
    pa = pyarrow("a Parquet file")
    columns = []
    for field in schema:
        if field.name in batch.schema.names:
            try:
                columns.append(batch.column(field.name).cast(field.type))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise InputError(
                    f"column {quoted([field.name])} does not fit {field.type}, the type "
                    f"that it has in other files: {error}"
                ) from None
        else:
            value = pa.scalar(constants.get(field.name), field.type)
            columns.append(pa.repeat(value, batch.num_rows))
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


class ArrowSource(RowSource):
    """Rows of Arrow record batches that can be made anew for each pass."""

    def __init__(
        self,
        name: str,
        batches: Callable[[], Iterator[Any]],
        options: ReadOptions,
        *,
        schema: Any = None,
        count: int | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self._name = name
        self._batches = batches
        self._options = options
        self._schema = schema
        self._count = count
        self._notes = notes

    def describe(self) -> str:
        return self._name

    @property
    def schema(self) -> Any:
        return self._schema

    @property
    def notes(self) -> tuple[str, ...]:
        return self._notes

    @property
    def count_hint(self) -> int | None:
        return self._count

    def rows(self, skip: Skip | None = None) -> Iterator[Row | BadRow]:
        intake = Intake(self._options, skip)
        line = 1
        for batch in self._batches():
            yield from arrow_rows(batch, intake, self._name, line)
            line += batch.num_rows
