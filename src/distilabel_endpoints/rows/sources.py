"""`open_rows`: any input to a `RowSource`."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path, PurePath
from typing import Any, Final

from distilabel_endpoints.config import MAX_ROW_MB
from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.rows.datasets_rows import is_saved, open_dataset, open_saved
from distilabel_endpoints.rows.files import FileSource
from distilabel_endpoints.rows.folders import find_files, format_of
from distilabel_endpoints.rows.frames import is_frame, open_frame
from distilabel_endpoints.rows.hub_datasets import hub_name, open_hub
from distilabel_endpoints.rows.intake import Intake, ReadOptions
from distilabel_endpoints.rows.model import BadRow, Place, Row, RowSource, Skip

__all__ = ["IterableSource", "as_columns", "open_rows", "refuse_other_objects"]

_PAGE: Final = re.compile(
    r"https://(www\.)?(huggingface\.co|hf\.co)/datasets/(?P<name>[^/]+/[^/?#]+)"
)
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*://")


class IterableSource(RowSource):
    """The items of a Python iterable that can be iterated again."""

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
        intake, name = Intake(self._options, skip), self.describe()
        for line, item in enumerate(self._iterable, 1):
            row = intake.mapping(as_columns(item), Place(name, line))
            if row is not None:
                yield row


def as_columns(item: Any) -> Any:
    """An item of an iterable as a row's columns: text is a prompt, a list its messages."""
    if isinstance(item, str):
        return {"prompt": str(item)}
    if isinstance(item, list | tuple):
        return {"messages": list(item)}
    return item


def open_rows(
    source: str | os.PathLike[str] | Iterable[Any] | Any,
    *,
    max_row_bytes: int = MAX_ROW_MB << 20,
) -> RowSource:
    """The rows of `source`, read as they are asked for.

    `source` is a file, a folder or a pattern of files (`folders.READ` has the formats), a folder
    that `Dataset.save_to_disk` made, or a dataset of the Hub: `OWNER/NAME` or
    `hf://datasets/OWNER/NAME[@REVISION][/CONFIG or FILE][:SPLIT]`, with a slice behind the split
    (`train[:100]`). In Python also a `datasets` object, a DataFrame of pandas or polars, a
    `pyarrow` table, or a list (anything that can be iterated again) of mappings, of prompts, or
    of conversations.

    Args:
        source: What to read.
        max_row_bytes: A larger row is a `BadRow`; JSON and CSV text of it is never held whole.

    Raises:
        ConfigurationError: There is nothing there to read, not in a format we know, or it can be
            read only once.
        InstallationError: The format needs a package that is not installed.
        InputError: A file is not what its name says.
    """
    options = ReadOptions(max_row_bytes=max_row_bytes)
    if isinstance(source, str | os.PathLike):
        return _open_path(os.fspath(source), options)
    home = type(source).__module__.partition(".")[0]
    if home == "datasets" and (isinstance(source, dict) or hasattr(source, "column_names")):
        return open_dataset(source, options)
    if is_frame(source):
        return open_frame(source, options)
    if home == "pyarrow" and hasattr(source, "to_pylist"):
        source = source.to_pylist()
    refuse_other_objects(source)
    if isinstance(source, Iterator):
        kind = type(source).__name__
        raise ConfigurationError(f"a {kind} can be read only once; give a list, or save it")
    rows = IterableSource(source, options)
    _refuse_other_items(rows, source)
    return rows


def refuse_other_objects(source: Any) -> None:
    """Check that an object can be a list of rows.

    Raises:
        ConfigurationError: It is something else; the message says what to give.
    """
    kind = type(source).__name__
    if isinstance(source, Mapping):
        raise ConfigurationError(
            f"one {kind} is not a list of rows; give a list of mappings, or columns as "
            "datasets.Dataset.from_dict(...)"
        )
    if isinstance(source, AbstractSet):
        raise ConfigurationError(f"a {kind} has no order; give a list")
    if isinstance(source, io.IOBase):
        raise ConfigurationError(
            f"an open file ({kind}) was given, whose lines would be prompts; give its path"
        )
    if isinstance(source, bytes | bytearray) or not hasattr(source, "__iter__"):
        raise ConfigurationError(
            f"rows are a path, a dataset, a DataFrame or a list of mappings, not a {kind}"
        )


def _refuse_other_items(rows: IterableSource, source: Iterable[Any]) -> None:
    """Check the first item: who gives the wrong kind of thing gives it in every row."""
    first = next(iter(source), None)
    if isinstance(first, list | tuple) and first and not isinstance(first[0], Mapping):
        raise ConfigurationError(
            f"row 1 of {rows.describe()} is a {type(first).__name__} that begins with a "
            f"{type(first[0]).__name__}, not a message; give mappings of columns, as "
            'to_dict("records") of a DataFrame does'
        )
    if first is None or isinstance(as_columns(first), Mapping):
        if isinstance(first, str) and format_of(PurePath(first)) and Path(first).exists():
            raise ConfigurationError(
                f"a list of texts is a list of prompts, and {first} is a file; give a folder or a "
                "pattern to read several files"
            )
        if isinstance(first, Mapping) and {"role", "content"} == set(first):
            raise ConfigurationError(
                f"{rows.describe()} is one conversation; give a list of conversations: [messages]"
            )
        return
    raise ConfigurationError(
        f"row 1 of {rows.describe()} is a {type(first).__name__}; give mappings of columns, texts "
        "(prompts) or lists of messages"
    )


def _open_path(source: str, options: ReadOptions) -> RowSource:
    if not source:
        raise ConfigurationError("the input has no name: it is empty text")
    if source == "-":
        raise ConfigurationError("standard input can be read only once; save it as a file")
    scheme = _SCHEME.match(source)
    if scheme is not None and scheme[0] != "hf://" and not Path(source).exists():
        page = _PAGE.match(source)
        if page is not None:
            raise ConfigurationError(
                f"{source} is a page of the Hub; give the dataset's name: {page['name']}"
            )
        raise ConfigurationError(
            f"{source} is an address, and files are read from this machine only; download it first"
        )
    if hub_name(source) is not None:
        return open_hub(source, options)
    if is_saved(Path(source)):
        return open_saved(Path(source), options)
    return FileSource(source, find_files(source), options)
