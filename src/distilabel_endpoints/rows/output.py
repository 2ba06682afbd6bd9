"""`open_writer`: an output in the format its name asks for; `check_output`: before the start."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from distilabel_endpoints._store.atomic import BeforeRename, check_target, writing
from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.rows.arrow import pyarrow
from distilabel_endpoints.rows.batch_writer import BatchWriter, check_batch_output
from distilabel_endpoints.rows.columns import OutputColumns
from distilabel_endpoints.rows.compression import COMPRESSIONS, compressing
from distilabel_endpoints.rows.folders import format_of
from distilabel_endpoints.rows.model import RowSource
from distilabel_endpoints.rows.tables import TableWriter, learn_layout
from distilabel_endpoints.rows.writers import CsvWriter, JsonArrayWriter, JsonlWriter, ResultWriter

__all__ = ["check_output", "check_place", "column_names", "default_output", "open_writer"]

_TEXT_FORMATS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
_TABLE_FORMATS = (".parquet", ".arrow", ".feather")
_WRITTEN = (*_TEXT_FORMATS, *_TABLE_FORMATS)
_SUPPORTED = (
    f"{', '.join(_TEXT_FORMATS)} (each also {', '.join(COMPRESSIONS)}), "
    ".parquet, .arrow or .feather"
)


def column_names(source: RowSource) -> tuple[str, ...]:
    """Every column name of the source, in order of appearance; reads it if no schema says."""
    if source.schema is not None:
        return tuple(source.schema.names)
    names: dict[str, None] = {}
    for row in source:
        if not names.keys() >= row.columns.keys():
            names |= dict.fromkeys(row.columns)
    return tuple(names)


def default_output(source: str) -> Path:
    """Where the answers to `source` go by default: `prompts.answers.jsonl`, in this folder.

    Raises:
        ConfigurationError: It is standard input or `<(...)` of a shell, which have no name.
    """
    if source == "-":
        raise ConfigurationError("standard input has no name; say where to write: --output FILE")
    if source.startswith(("/dev/fd/", "/proc/self/fd/")):
        raise ConfigurationError(f"{source} is not a name; say where to write: --output FILE")
    path = PurePath(source.removeprefix("hf://"))
    known = format_of(path)
    if any(sign in path.name for sign in "*?[:@") or not path.name:
        return Path("dataset.answers.jsonl")
    if known is None:
        return Path(f"{path.name}.answers.jsonl")
    suffix, compression = known
    stem = path.name[: len(path.name) - len(suffix) - len(compression)]
    return Path(f"{stem}.answers{suffix if suffix in _WRITTEN else '.jsonl'}")


def _format(path: Path) -> tuple[str, str]:
    """The format and the compression that the output's name asks for."""
    suffix = path.suffix.lower()
    compression = suffix if suffix in COMPRESSIONS else ""
    suffix = path.with_suffix("").suffix.lower() if compression else suffix
    if suffix in _TEXT_FORMATS or (suffix in _TABLE_FORMATS and not compression):
        return suffix, compression
    raise ConfigurationError(f"cannot write {path}: give {_SUPPORTED}")


def check_place(path: Path) -> None:
    """Refuse a place where no output can be, whatever its rows.

    Raises:
        ConfigurationError: The format is unknown, or the place is not one for a file.
    """
    _format(path)
    check_target(path)


def check_output(path: str | os.PathLike[str], columns: OutputColumns, source: RowSource) -> None:
    """Everything about an output that can be known before the start.

    Raises:
        ConfigurationError: The format is unknown, the place is not one for a file, it is the
            input itself, or a column of the input has the name of one of ours.
        InstallationError: The format needs a package that is not installed.
    """
    target = Path(path)
    check_place(target)
    suffix, compression = _format(target)
    if _is_read(target, source):
        raise ConfigurationError(f"{target} is the input; give another output")
    if source.would_read(target):
        raise ConfigurationError(
            f"{target} would be a part of the input {source.describe()} when the run is resumed; "
            "choose an output outside of it"
        )
    if columns.error_file is not None:
        _check_batch(suffix, target, Path(columns.error_file), source)
    columns.refuse_clash(source.columns)
    if suffix in _TABLE_FORMATS or compression == ".zst":
        pyarrow(f"{suffix}{compression} output")


def _is_read(path: Path, source: RowSource) -> bool:
    """Whether a file is one of the source's, by whatever name."""
    files = [Path(file.path) for file in source.identity]
    return path.exists() and any(file.exists() and path.samefile(file) for file in files)


def _check_batch(suffix: str, output: Path, errors: Path, source: RowSource) -> None:
    check_batch_output(suffix, output, errors)
    check_target(errors)
    if source.would_read(errors) or _is_read(errors, source):
        raise ConfigurationError(f"{errors} is a part of the input; give another --error-file")


@contextmanager
def open_writer(
    path: str | os.PathLike[str],
    columns: OutputColumns,
    source: RowSource,
    *,
    before_rename: BeforeRename | None = None,
) -> Iterator[ResultWriter]:
    """A writer of rows of `source`, whose file appears under its name when the block ends well.

    Parquet and Arrow keep the source's schema as it is and add ours. A source without a schema
    is read once more, before anything is written, to learn one (for CSV: the column names).

    Args:
        path: `.jsonl`, `.ndjson`, `.json`, `.csv`, `.tsv` (each also compressed), `.parquet`,
            `.arrow` or `.feather`.
        columns: The columns to add.
        source: Where the rows come from.
        before_rename: Is given the complete file under its temporary name; may refuse it.

    Raises:
        ConfigurationError: As `check_output`.
        InstallationError: The format needs a package that is not installed.
        StorageError: The disk is full, gone or failing.
    """
    check_output(path, columns, source)
    target = Path(path)
    suffix, compression = _format(target)
    with ExitStack() as stack:
        make = _maker(suffix, columns, source, stack)
        file = stack.enter_context(writing(target, before_rename=before_rename))
        writer = make(stack.enter_context(_deflated(file, compression)))
        try:
            yield writer
            writer.close()
        except BaseException:
            writer.discard()
            raise


def _maker(
    suffix: str, columns: OutputColumns, source: RowSource, stack: ExitStack
) -> Callable[[Any], ResultWriter]:
    """What makes the writer of a file, once it is open."""
    if columns.error_file is not None:
        errors = stack.enter_context(writing(Path(columns.error_file)))
        return partial(BatchWriter, errors=errors, columns=columns)
    if suffix in _TABLE_FORMATS:
        layout = learn_layout(source)
        return partial(TableWriter, suffix=suffix, layout=layout, columns=columns)
    if suffix in {".csv", ".tsv"}:
        names, delimiter = column_names(source), "\t" if suffix == ".tsv" else ","
        return partial(CsvWriter, names=names, columns=columns, delimiter=delimiter)
    return partial(JsonArrayWriter if suffix == ".json" else JsonlWriter, columns=columns)


@contextmanager
def _deflated(file: BinaryIO, compression: str) -> Iterator[Any]:
    if not compression:
        yield file
        return
    out = compressing(file, compression)
    try:
        yield out
    except BaseException:
        with suppress(OSError, ValueError):
            out.close()
        raise
    out.close()
