"""What reading gives: rows and bad rows, and the source they come from.

A row's identity is its ordinal (0, 1, 2, ... over the whole input) and its content hash, so two
equal rows stay two rows, and appending rows keeps the identity of every earlier one. For JSON
text and CSV the hash is taken over the row's own bytes, which is the cheapest stable identity:
white space inside such a row counts as a change, white space around it does not. Other sources
hash a canonical JSON encoding. No value here shows a column's content in its `repr`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

__all__ = [
    "ArrowCells",
    "BadReason",
    "BadRow",
    "FileIdentity",
    "Place",
    "Row",
    "RowSource",
    "Skip",
]

Skip = Callable[[int, bytes], bool]
"""Called with ordinal and content hash; true passes a row over, unparsed if that is possible."""


class BadReason(StrEnum):
    """Why a row cannot be used. Found before anything is sent."""

    INPUT = "input"
    """Not JSON, not UTF-8, not an object, the wrong number of CSV fields, ..."""
    SURROGATE = "input_surrogate"
    r"""Text with a lone surrogate (`\ud800`), which UTF-8 cannot encode."""
    TOO_LARGE = "too_large"
    """More bytes than a row may have."""


class ArrowCells(NamedTuple):
    """A row as it stands in its Arrow record batch."""

    batch: Any
    position: int


class Place(NamedTuple):
    """Where a record stands in its source."""

    file: str
    """The file's name, or what the source calls itself."""
    line: int
    """The line it starts on, or its number in a source without lines; from 1."""
    offset: int | None = None
    """Where it starts in the file, in (decompressed) bytes."""

    def __str__(self) -> str:
        if self.offset is None:
            return f"{self.file}, row {self.line}"
        return f"{self.file}:{self.line}, byte {self.offset}"


@dataclass(frozen=True, slots=True)
class Row:
    """One input record. `columns` are the input's own, with their types."""

    ordinal: int
    columns: Mapping[str, Any] = field(repr=False)
    _: KW_ONLY
    content_hash: bytes
    """BLAKE2b, 16 bytes."""
    place: Place
    original: bytes | ArrowCells | None = field(default=None, repr=False, compare=False)
    """The row as its source holds it (JSON text, or Arrow cells): what an output copies exactly."""

    @property
    def source(self) -> str:
        """Where the row stands, for people: `prompts.jsonl:17, byte 2048`."""
        return str(self.place)


@dataclass(frozen=True, slots=True)
class BadRow:
    """An input record that cannot be used. Says where and why, never what it held."""

    ordinal: int
    reason: BadReason
    _: KW_ONLY
    message: str
    content_hash: bytes
    place: Place
    columns: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """What of the row can be read all the same: an output keeps it, its id above all."""
    original: ArrowCells | None = field(default=None, repr=False, compare=False)

    @property
    def source(self) -> str:
        """Where the row stands, for people: `prompts.jsonl:17, byte 2048`."""
        return str(self.place)

    def describe(self) -> str:
        """One line for a person: where, and why."""
        return f"{self.place}: {self.message}"


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What tells whether a file is still the one that was read."""

    path: str
    size: int
    _: KW_ONLY
    modified_ns: int
    changed_ns: int
    """When its content or its attributes last changed; no program can set this back."""
    inode: int

    @classmethod
    def of(cls, path: Path) -> FileIdentity:
        """As the file is now. Raises `OSError`."""
        status = path.stat()
        return cls(
            str(path),
            status.st_size,
            modified_ns=status.st_mtime_ns,
            changed_ns=status.st_ctime_ns,
            inode=status.st_ino,
        )


class RowSource(ABC):
    """Rows to iterate over, from the first one each time."""

    identity: tuple[FileIdentity, ...] = ()
    """The files behind the source, in reading order; empty if there are none."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of how the source is read, one sentence each."""
        return ()

    def __iter__(self) -> Iterator[Row | BadRow]:
        return self.rows()

    @abstractmethod
    def rows(self, skip: Skip | None = None) -> Iterator[Row | BadRow]:
        """Every row in order but those that `skip` answers true for; ordinals count all of them.

        Raises:
            InputError: A file is damaged so that nothing after that point can be read.
            StorageError: Reading failed.
        """

    @abstractmethod
    def describe(self) -> str:
        """The source's name for messages."""

    def would_read(self, path: Path) -> bool:  # noqa: ARG002 - for those that read files
        """Whether a file at `path`, if there were one, would be a part of this source."""
        return False

    @property
    def schema(self) -> Any:
        """The `pyarrow.Schema`, if the source has one; else `None`."""
        return None

    @property
    def count_hint(self) -> int | None:
        """How many rows there are, if that is known without reading them."""
        return None

    @property
    def columns(self) -> tuple[str, ...]:
        """The column names: the schema's, else those of the first good row; empty for no rows."""
        if self.schema is not None:
            return tuple(self.schema.names)
        return () if self.first is None else tuple(self.first.columns)

    @property
    def first(self) -> Row | None:
        """The first good row."""
        return next((row for row in self if isinstance(row, Row)), None)
