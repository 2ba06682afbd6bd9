"""Which files an input path, folder or pattern means, and what in a folder is not read.

Order is fixed: a folder's files by their relative path, a pattern's by their path, both as plain
text, so `part-10` comes before `part-2`. Linked folders are followed. Nothing is passed over in
silence: hidden files, those of other formats and a clone's own files (`README.md`,
`dataset_infos.json`) are named in a note. Folders named `key=value` add a column `key`.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Final
from urllib.parse import unquote

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.rows.compression import COMPRESSIONS

__all__ = [
    "READ",
    "TABLES",
    "TEXTS",
    "FoundFiles",
    "InputFile",
    "find_files",
    "format_of",
    "would_find",
]

TABLES: Final = (".parquet", ".arrow", ".feather")
TEXTS: Final = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt")
READ: Final = (
    f"{', '.join(TEXTS)} (each also {', '.join(COMPRESSIONS)}), .parquet, .arrow or .feather"
)
_MAGIC: Final = "*?["
_OTHERS: Final[Mapping[str, str]] = {
    ".zip": "unpack it, and ",
    ".tar": "unpack it, and ",
    ".tgz": "unpack it, and ",
    ".tar.gz": "unpack it, and ",
    ".xlsx": "save the sheet as CSV, and ",
    ".xls": "save the sheet as CSV, and ",
    ".pkl": "a pickle is not opened, as it can run code; ",
    ".pickle": "a pickle is not opened, as it can run code; ",
}
_OF_A_CLONE: Final = frozenset(
    {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json"}
)
_NOT_PROMPTS: Final = re.compile(
    r"(readme|licen[cs]e|copying|notice|requirements|changelog)\b", re.IGNORECASE
)
_SPLITS: Final = re.compile(r"(?<![a-z])(train|test|validation|valid|val|dev)(?![a-z])")
_PARTITION: Final = re.compile(r"(?P<key>[^=]+)=(?P<value>.*)")
_NO_VALUE: Final = "__HIVE_DEFAULT_PARTITION__"
_WHOLE: Final = re.compile(r"-?(0|[1-9]\d{0,17})")
_SHOWN: Final = 12
_LARGEST_SETTINGS: Final = 1 << 20
_PROMPTS: Final = frozenset(
    {"messages", "prompt", "instruction", "conversations", "conversation", "text", "question"}
)


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file to read."""

    path: Path
    name: str
    """What rows say they come from: the path below the folder that was given."""
    _: KW_ONLY
    format: str
    alias: str | None = None
    """What errors call it, if the user does not know its path."""
    compression: str = ""
    partition: Mapping[str, str | int | None] = field(default_factory=dict)
    """Columns that its folders' names give."""


_Listed = tuple[InputFile, Path]
"""A file, and its path below what was given."""


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """Files in reading order, and what the user should know."""

    files: tuple[InputFile, ...]
    notes: tuple[str, ...] = ()


def format_of(path: PurePath) -> tuple[str, str] | None:
    """Format and compression by a file's name; None for one that is not read."""
    last = path.suffix.lower()
    compression = last if last in COMPRESSIONS else ""
    suffix = path.with_suffix("").suffix.lower() if compression else last
    if suffix in TEXTS or (suffix in TABLES and not compression):
        return suffix, compression
    return None


def find_files(source: str) -> FoundFiles:
    """The files that a path, folder or pattern means, in reading order.

    Raises:
        ConfigurationError: There are none, one has a format we do not read, or it is a pipe.
    """
    path = Path(source)
    if path.is_dir():
        return _in_folder(path)
    if not path.exists() and any(character in source for character in _MAGIC):
        return _matching(source)
    if not path.exists():
        raise ConfigurationError(f"no such file: {path}{_nearest(path)}")
    return FoundFiles((_required(path),))


def _nearest(path: Path) -> str:
    """The name beside it that was probably meant, as the end of a sentence."""
    try:
        names = [file.name for file in path.parent.iterdir()]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, names, 1, 0.7)
    return f". Did you mean {path.with_name(near[0])}?" if near else ""


def would_find(source: str, path: Path) -> bool:
    """Whether `find_files(source)` would give a file at `path`, if there were one."""
    if format_of(path) is None:
        return False
    root, file = Path(source).absolute(), path.absolute()
    if not root.is_dir():
        return _fits(file.parts, root.parts)
    root, file = root.resolve(), file.parent.resolve() / file.name
    if not file.is_relative_to(root):
        return False
    return not any(part[0] in "._" for part in file.relative_to(root).parts)


def _fits(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Whether a path fits a pattern, of which `**` stands for any number of folders."""
    if not pattern or not parts:
        return not pattern and not parts
    if pattern[0] == "**":
        return _fits(parts, pattern[1:]) or _fits(parts[1:], pattern)
    return fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _matching(pattern: str) -> FoundFiles:
    path = Path(pattern)
    parts = path.parts
    wild = next(i for i, part in enumerate(parts) if any(c in part for c in _MAGIC))
    root = Path(*parts[:wild])
    matches = sorted(root.glob(str(Path(*parts[wild:]))), key=str)
    hidden_too = any(part.startswith(".") for part in parts[wild:])
    files: list[_Listed] = []
    ignored: list[str] = []
    for match in matches:
        relative = match.relative_to(root)
        if not hidden_too and any(part.startswith(".") for part in relative.parts):
            ignored.append(relative.as_posix())  # a shell's * does not match them either
        elif match.is_file():
            files.append((_required(match), relative))
        elif "**" not in parts:
            ignored.append(f"{relative.as_posix()}/")
    files, dropped = _without_links(files)
    ignored += dropped
    if not files:
        raise ConfigurationError(f"no file matches {pattern}")
    notes = [_ignored(root, ignored)] if ignored else []
    notes += _same_files(files)
    return FoundFiles(_partitioned(files), tuple(notes))


def _required(path: Path) -> InputFile:
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise ConfigurationError(
            f"{path} is a pipe or a device, which can be read only once. "
            "Give - as the input and pipe JSON lines into it, or save them as a file."
        )
    known = format_of(path)
    if known is None:
        way = next((way for ending, way in _OTHERS.items() if path.name.endswith(ending)), "")
        raise ConfigurationError(f"cannot read {path}: {way}give {READ}")
    return InputFile(path, path.name, format=known[0], compression=known[1])


def _in_folder(folder: Path) -> FoundFiles:
    files: list[_Listed] = []
    ignored: list[str] = []
    for relative, is_file in _walk(folder):
        known = format_of(relative)
        if not is_file or known is None or relative.name in _OF_A_CLONE:
            ignored.append(relative.as_posix())
        else:
            name = relative.as_posix()
            file = InputFile(folder / relative, name, format=known[0], compression=known[1])
            files.append((file, relative))
    files.sort(key=lambda pair: pair[0].name)
    for without in (_without_notices, _without_settings, _without_links):
        files, dropped = without(files)
        ignored += dropped
    if not files:
        raise ConfigurationError(f"no input files in {folder}: give {READ}")
    notes = [_ignored(folder, sorted(ignored))] if ignored else []
    splits = sorted({match[1] for file, _ in files for match in _SPLITS.finditer(file.name)})
    if len(splits) > 1:
        notes.append(
            f"{folder} holds several splits ({', '.join(splits)}), which are read together. "
            f"To read one of them, give a pattern: '{folder}/**/*{splits[0]}*'."
        )
    notes += _same_files(files)
    return FoundFiles(_partitioned(files), tuple(notes))


def _without_notices(files: list[_Listed]) -> tuple[list[_Listed], list[str]]:
    """Text files are rows only if they are all there is, and no licence."""
    tables = any(file.format != ".txt" for file, _ in files)
    dropped = {
        file.name
        for file, relative in files
        if file.format == ".txt" and (tables or _NOT_PROMPTS.match(relative.name))
    }
    return [pair for pair in files if pair[0].name not in dropped], sorted(dropped)


def _without_links(files: list[_Listed]) -> tuple[list[_Listed], list[str]]:
    """A link to a file that is read anyway is left out, as in `latest.jsonl -> 12.jsonl`."""
    links = {file.path for file, _ in files if file.path.is_symlink()}
    read = {file.path.resolve() for file, _ in files if file.path not in links} if links else set()
    dropped = {path for path in links if path.resolve() in read}
    kept = [pair for pair in files if pair[0].path not in dropped]
    return kept, sorted(relative.as_posix() for file, relative in files if file.path in dropped)


def _same_files(files: list[_Listed]) -> list[str]:
    """A sentence for each file that several links lead to.

    A cache of the Hub has one file for equal shards, so it is read for each of them.
    """
    names: dict[Path, list[str]] = {}
    for file, relative in files:
        if file.path.is_symlink():
            names.setdefault(file.path.resolve(), []).append(relative.as_posix())
    return [
        f"{', '.join(same)} are links to one file, whose rows are read {len(same)} times"
        for same in names.values()
        if len(same) > 1
    ]


def _without_settings(files: list[_Listed]) -> tuple[list[_Listed], list[str]]:
    """A `.json` file that is one object without a prompt is not data beside files of rows."""
    if all(file.format == ".json" for file, _ in files):
        return files, []
    dropped = {
        file.name
        for file, _ in files
        if file.format == ".json" and not file.compression and _is_settings(file.path)
    }
    return [pair for pair in files if pair[0].name not in dropped], sorted(dropped)


def _is_settings(path: Path) -> bool:
    try:
        if path.stat().st_size > _LARGEST_SETTINGS:
            return False
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(value, dict) and not _PROMPTS & value.keys()


def _ignored(folder: Path, names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"not read in {folder}: {', '.join(names[:_SHOWN])}{more}"


def _walk(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Everything below `folder`, and whether it is a file to look at; each folder once."""
    seen = {folder.resolve()}
    for root, folders, files in os.walk(folder, followlinks=True):
        here = Path(root).relative_to(folder)
        for name in sorted(folders):
            below = (Path(root) / name).resolve()
            if name[0] in "._" or below in seen:
                folders.remove(name)
                yield here / name, False
            seen.add(below)
        for name in files:
            is_file = (Path(root) / name).is_file()
            yield here / name, is_file and name[0] not in "._"


def _partitioned(listed: Iterable[_Listed]) -> tuple[InputFile, ...]:
    """The files with the columns that `key=value` folders give."""
    values = [_partition(relative) for _, relative in listed]
    keys = list(dict.fromkeys(key for partition in values for key in partition))
    whole = {
        key for key in keys if all(_WHOLE.fullmatch(p[key] or "0") for p in values if key in p)
    }
    files = []
    for (file, _), partition in zip(listed, values, strict=True):
        columns: dict[str, str | int | None] = {}
        for key in keys:
            value = partition.get(key)
            columns[key] = int(value) if value is not None and key in whole else value
        files.append(replace(file, partition=columns))
    return tuple(files)


def _partition(relative: Path) -> dict[str, str | None]:
    pairs = [_PARTITION.fullmatch(part) for part in relative.parts[:-1]]
    return {
        unquote(pair["key"]): None if pair["value"] == _NO_VALUE else unquote(pair["value"])
        for pair in pairs
        if pair is not None
    }
