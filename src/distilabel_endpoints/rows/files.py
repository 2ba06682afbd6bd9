"""Which files an input path, folder or pattern means, and how each is read.

Order is fixed: a folder's files by their relative path, a pattern's by their path, both as plain
text, so `part-10` comes before `part-2`. In a folder, hidden files and folders, those that start
with an underscore, and files with another suffix are passed over. A `.json` file holds one array
of objects; JSON Lines under that name are read as such.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from distilabel_endpoints.errors import ConfigurationError, InputError
from distilabel_endpoints.rows.arrow import parquet_count, parquet_rows, parquet_schema, unified
from distilabel_endpoints.rows.compression import COMPRESSIONS, open_input, reading
from distilabel_endpoints.rows.csv_rows import read_csv
from distilabel_endpoints.rows.intake import Intake, ReadOptions
from distilabel_endpoints.rows.json_text import BadInputError, columns_of
from distilabel_endpoints.rows.lines import BLANK, BOM, Oversize, frame_array, frame_lines
from distilabel_endpoints.rows.model import BadRow, FileIdentity, Row, RowSource, Skip

__all__ = ["FileSource", "InputFile", "find_files"]

Format = Literal[".jsonl", ".json", ".csv", ".parquet"]
_FORMATS: tuple[Format, ...] = (".jsonl", ".json", ".csv", ".parquet")
_SUPPORTED = ".jsonl, .json or .csv (each also .gz or .zst) or .parquet"
_MAGIC = "*?["


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file to read."""

    path: Path
    name: str
    """What rows say they come from: the path below the folder that was given."""
    _: KW_ONLY
    format: Format
    compression: str = ""


def _input_file(path: Path, name: str) -> InputFile | None:
    compression = path.suffix.lower() if path.suffix.lower() in COMPRESSIONS else ""
    bare = path.with_suffix("") if compression else path
    suffix = bare.suffix.lower()
    for known in _FORMATS:
        if suffix == known and not (known == ".parquet" and compression):
            return InputFile(path, name, format=known, compression=compression)
    return None


def find_files(source: str) -> tuple[InputFile, ...]:
    """The files that a path, folder or pattern means, in reading order.

    Raises:
        ConfigurationError: There are none, or one has a format we do not read.
    """
    path = Path(source)
    if path.is_dir():
        found = _in_folder(path)
        if not found:
            raise ConfigurationError(f"no input files in {path}: give {_SUPPORTED}")
        return found
    if not path.exists() and any(character in source for character in _MAGIC):
        root = Path(path.anchor)
        pattern = path.relative_to(path.anchor).as_posix()
        matches = sorted(root.glob(pattern), key=str)
        files = [_required(match) for match in matches if match.is_file()]
        if not files:
            raise ConfigurationError(f"no file matches {source}")
        return tuple(files)
    if not path.exists():
        raise ConfigurationError(f"no such file: {path}")
    return (_required(path),)


def _required(path: Path) -> InputFile:
    file = _input_file(path, path.name)
    if file is None:
        raise ConfigurationError(f"cannot read {path}: give {_SUPPORTED}")
    return file


def _in_folder(folder: Path) -> tuple[InputFile, ...]:
    found = []
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if path.is_file() and not any(part[0] in "._" for part in relative.parts):
            file = _input_file(path, relative.as_posix())
            if file is not None:
                found.append(file)
    return tuple(sorted(found, key=lambda file: file.name))


def _matches(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Whether a path fits a pattern, of which `**` stands for any number of folders."""
    if not pattern or not parts:
        return not pattern and not parts
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or _matches(parts[1:], pattern)
    return fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


class FileSource(RowSource):
    """The rows of files, one file after the other."""

    def __init__(self, name: str, files: Sequence[InputFile], options: ReadOptions) -> None:
        self._name = name
        self._files = tuple(files)
        self._options = options
        self.identity = tuple(_identity(file.path) for file in self._files)

    def describe(self) -> str:
        return self._name

    def would_read(self, path: Path) -> bool:
        if _input_file(path, path.name) is None:
            return False
        root, file = Path(self._name).absolute(), path.absolute()
        if not root.is_dir():
            return _matches(file.parts, root.parts)
        root, file = root.resolve(), file.parent.resolve() / file.name
        if not file.is_relative_to(root):
            return False
        return not any(part[0] in "._" for part in file.relative_to(root).parts)

    @cached_property
    def _schema(self) -> Any:
        if any(file.format != ".parquet" for file in self._files):
            return None
        schemas = []
        for file in self._files:
            with reading(file.path):
                schemas.append((file.path, parquet_schema(file.path)))
        return unified(schemas)

    @property
    def schema(self) -> Any:
        return self._schema

    @property
    def count_hint(self) -> int | None:
        if self._schema is None:
            return None
        return sum(parquet_count(file.path) for file in self._files)

    def rows(self, skip: Skip | None = None) -> Iterator[Row | BadRow]:
        intake = Intake(self._options, skip)
        for file in self._files:
            with reading(file.path):
                yield from self._rows(file, intake)

    def _rows(self, file: InputFile, intake: Intake) -> Iterator[Row | BadRow]:
        if file.format == ".parquet":
            schema = self._schema if self._schema is not None else parquet_schema(file.path)
            yield from parquet_rows(file.path, schema, intake, file.name)
            return
        with open_input(file.path, file.compression) as stream:
            if file.format == ".csv":
                yield from read_csv(stream, intake, file.name)
            elif file.format == ".json":
                yield from _read_json(stream, intake, file.name)
            else:
                cap = self._options.max_row_bytes
                yield from intake.frames(frame_lines(stream, cap), file.name)


def _identity(path: Path) -> FileIdentity:
    with reading(path):
        return FileIdentity.of(path)


def _opens_array(stream: io.BufferedReader) -> bool:
    """Whether the first byte that is not blank is `[`; leaves the stream where it is."""
    head = stream.peek().removeprefix(BOM).lstrip(BLANK)
    return head.startswith(b"[")


def _read_json(stream: BinaryIO, intake: Intake, name: str) -> Iterator[Row | BadRow]:
    cap = intake.options.max_row_bytes
    buffered = cast("io.BufferedReader", stream)
    if _opens_array(buffered):
        return intake.frames(frame_array(stream, cap), name)
    frames = frame_lines(stream, cap)
    first = next(frames, None)
    if first is None:
        return iter(())
    if not isinstance(first[2], Oversize):
        try:
            columns_of(first[2])
        except BadInputError as error:
            raise InputError(
                "a .json file holds an array of objects, or one object on each line; "
                f"line {first[0]}: {error.message}"
            ) from None
    return intake.frames(itertools.chain([first], frames), name)
