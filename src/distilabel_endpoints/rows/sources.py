"""`open_rows`: any input to a `RowSource`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.rows import datasets_rows as hub
from distilabel_endpoints.rows.files import FileSource, find_files
from distilabel_endpoints.rows.intake import Intake, ReadOptions
from distilabel_endpoints.rows.lines import frame_lines
from distilabel_endpoints.rows.model import (
    MAX_ROW_BYTES,
    BadRow,
    OneShotSource,
    Place,
    Row,
    RowSource,
    Skip,
)
from distilabel_endpoints.rows.spool import SpooledSource

__all__ = ["open_rows"]


class IterableSource(RowSource):
    """The mappings of a Python iterable that can be iterated again."""

    def __init__(self, iterable: Iterable[Any], options: ReadOptions) -> None:
        self._iterable = iterable
        self._options = options

    def describe(self) -> str:
        return f"{type(self._iterable).__name__} object"

    @property
    def count_hint(self) -> int | None:
        length = getattr(self._iterable, "__len__", None)
        return length() if length is not None else None

    def rows(self, skip: Skip | None = None) -> Iterator[Row | BadRow]:
        return _mappings(self._iterable, Intake(self._options, skip), self.describe())


def _mappings(items: Iterable[Any], intake: Intake, name: str) -> Iterator[Row | BadRow]:
    for line, item in enumerate(items, 1):
        row = intake.mapping(item, Place(name, line))
        if row is not None:
            yield row


def open_rows(
    source: str | os.PathLike[str] | Iterable[Any],
    *,
    max_row_bytes: int = MAX_ROW_BYTES,
    reserved: Iterable[str] = (),
    spool: str | os.PathLike[str] | None = None,
) -> RowSource:
    """The rows of `source`, read as they are asked for.

    `source` is a `.jsonl`, `.json` or `.csv` file (each also `.gz` or `.zst`), a `.parquet` file,
    a folder or pattern of these, a folder that `Dataset.save_to_disk` made,
    `hf://datasets/OWNER/NAME[@REVISION][/CONFIG][:SPLIT]` (split: `train`), `-` for JSON Lines on
    standard input; or in Python a `datasets.Dataset` or `IterableDataset`, a `pyarrow.Table`, or
    any iterable of mappings. An iterator and standard input can be read once.

    Args:
        source: What to read.
        max_row_bytes: A larger row is a `BadRow`; JSON and CSV text of it is never held whole.
        reserved: Column names that make a row a `BadRow`: those the output adds.
        spool: A file to keep standard input in, so that it can be read again. Made anew,
            owner-only; the caller removes it.

    Raises:
        ConfigurationError: There is nothing there to read, or not in a format we know.
        InstallationError: The format needs a package that is not installed.
        InputError: A file is not what its name says.
    """
    options = ReadOptions(
        max_row_bytes=max_row_bytes,
        reserved=frozenset(reserved),
    )
    if isinstance(source, str | os.PathLike):
        return _open_path(os.fspath(source), options, spool)
    home = type(source).__module__.partition(".")[0]
    if home == "datasets":
        return hub.open_dataset(source, options)
    if home == "pyarrow" and hasattr(source, "to_batches"):
        return hub.open_table(source, options)
    if isinstance(source, bytes | bytearray | Mapping) or not hasattr(source, "__iter__"):
        kind = type(source).__name__
        raise ConfigurationError(f"rows are an iterable of mappings or a path, not {kind}")
    if isinstance(source, Iterator):
        name = type(source).__name__
        return OneShotSource(name, _mappings(source, Intake(options), name))
    return IterableSource(source, options)


def _open_path(
    source: str, options: ReadOptions, spool: str | os.PathLike[str] | None
) -> RowSource:
    if source == "-":
        name = "standard input"
        if spool is not None:
            return SpooledSource(name, sys.stdin.buffer, Path(spool), options)
        frames = frame_lines(sys.stdin.buffer, options.max_row_bytes)
        return OneShotSource(name, Intake(options).frames(frames, name))
    address = hub.hub_address(source)
    if address is not None:
        return hub.open_hub(source, address, options)
    if hub.is_saved(Path(source)):
        return hub.open_saved(Path(source), options)
    return FileSource(source, find_files(source), options)
