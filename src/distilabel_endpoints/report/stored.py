"""The rows of a run as they are stored, wherever that is: a journal, or shards of a run over Ray.

Rules
- Reading never writes, and needs neither the model nor the endpoint; a run may continue meanwhile.
- Memory: nine bytes a row at most, and what was asked for.
- A prompt is shown if the input still holds the row that was answered; else the reason is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from distilabel_endpoints._store.journal import Reader
from distilabel_endpoints._store.lock import holder_of
from distilabel_endpoints._store.place import journal_path
from distilabel_endpoints.errors import DistilabelError, InputError
from distilabel_endpoints.records import Result
from distilabel_endpoints.rows import (
    Conversations,
    ConversationSpec,
    OutputColumns,
    Row,
    RowSource,
    open_rows,
)
from distilabel_endpoints.run_state import Spent
from distilabel_endpoints.runs.paying import spent_in
from distilabel_endpoints.runs.status import open_input, open_reader

__all__ = [
    "AboutRun",
    "Index",
    "Prompt",
    "StoredRow",
    "StoredRows",
    "content_text",
    "conversations_of",
    "open_stored",
    "prompt_of",
]

_OPTIONS: Final = (
    "input_column",
    "system",
    "template",
    "format",
    "drop_last_assistant",
    "row_settings",
)
"""The fields of a run's spec that say how its rows become conversations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AboutRun:
    """What a run is, apart from its rows."""

    output: str
    spec: Mapping[str, Any]
    created: str
    """UTC, ISO 8601."""
    versions: Mapping[str, str]
    input: str | None
    total: int | None
    """Rows of the input; `None` while it is being looked at."""
    skipped: int
    running: str | None
    """Who is writing it now; `None` if it is not being written."""
    spent: Spent | None
    """By all its processes; `None` if it sent nothing."""

    @property
    def model(self) -> str:
        """What answered, as far as the run's settings name it."""
        named = self.spec.get("model") or self.spec.get("base_url")
        if isinstance(named, list):
            named = ", ".join(map(str, named))
        return str(named or "a model without a name")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRow:
    """A row's result, and what tells the row from another one."""

    ordinal: int
    identity: bytes = field(repr=False)
    result: Result = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a row said to the model."""

    messages: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Role and text of each message, or the name and text of each column."""
    missing: str | None = None
    """Why there is nothing to show."""


@dataclass(slots=True)
class Index:
    """Which rows have ended, in order of their ordinals."""

    ordinals: array[int] = field(default_factory=lambda: array("q"))
    failed: bytearray = field(default_factory=bytearray)

    def add(self, ordinal: int, *, failed: bool) -> None:
        """Add the row that comes next."""
        self.ordinals.append(ordinal)
        self.failed.append(failed)


class StoredRows(ABC):
    """The rows of one run. Close it, or use it in a `with` block."""

    about: AboutRun
    damaged: int = 0
    """Results that were passed over because they are not as they were written."""

    @abstractmethod
    def scan(self) -> Iterator[StoredRow]:
        """Every row that has ended, once, in any order."""

    @abstractmethod
    def index(self) -> Index:
        """Which rows have ended, as of now."""

    @abstractmethod
    def fetch(self, ordinals: Collection[int]) -> dict[int, StoredRow]:
        """These rows, as far as they are there."""

    @abstractmethod
    def prompts(self, rows: Collection[StoredRow]) -> dict[int, Prompt]:
        """What each of these rows said to the model, by its ordinal."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_stored(output: Path) -> StoredRows:
    """The rows of the run that writes `output`.

    Raises:
        ConfigurationError: there is no such run.
        StorageError: it cannot be read.
    """
    if output.is_dir() or not (output.suffix or journal_path(output).exists()):
        from distilabel_endpoints.report.shard_rows import ShardRows

        return ShardRows(output)
    return _JournalRows(output)


class _JournalRows(StoredRows):
    def __init__(self, output: Path) -> None:
        self._output = output
        self._reader: Reader = open_reader(output)
        note: Mapping[str, Any] = self._reader.note("run") or {}
        self._note = note
        self._limit: int | None = note.get("limit")
        header = self._reader.header
        holder = holder_of(journal_path(output))
        self.about = AboutRun(
            output=str(output),
            spec=header.spec,
            created=header.created,
            versions=header.versions,
            input=note.get("input"),
            total=note.get("total"),
            skipped=note.get("skipped") or 0,
            running=None if holder is None else f"process {holder.pid} on {holder.host}",
            spent=spent_in(self._reader),
        )

    def scan(self) -> Iterator[StoredRow]:
        for record in self._reader.results(stop=self._limit):
            yield StoredRow(
                ordinal=record.ordinal, identity=record.content_hash, result=record.result
            )
        self.damaged = self._reader.damaged

    def index(self) -> Index:
        index = Index()
        for entry in self._reader.entries():
            if self._limit is not None and entry.ordinal >= self._limit:
                break
            index.add(entry.ordinal, failed=not entry.ok)
        return index

    def fetch(self, ordinals: Collection[int]) -> dict[int, StoredRow]:
        rows: dict[int, StoredRow] = {}
        for ordinal in sorted(ordinals):
            for record in self._reader.results(ordinal, ordinal + 1):
                rows[ordinal] = StoredRow(
                    ordinal=ordinal, identity=record.content_hash, result=record.result
                )
        return rows

    def prompts(self, rows: Collection[StoredRow]) -> dict[int, Prompt]:
        wanted = {row.ordinal: row.identity for row in rows}
        if not wanted:
            return {}
        try:
            source = open_input(self._output, None, dict(self._note))
            shown = _from_input(source, wanted, self.about.spec)
        except (DistilabelError, KeyError) as error:
            shown = self._from_output(wanted)
            if not shown:
                why = f": {error}" if isinstance(error, DistilabelError) else ""
                return dict.fromkeys(wanted, Prompt(missing=f"The input cannot be read{why}"))
        lost = Prompt(missing="The input does not hold this row any more.")
        return {ordinal: shown.get(ordinal, lost) for ordinal in wanted}

    def _from_output(self, wanted: Collection[int]) -> dict[int, Prompt]:
        """The prompts of these rows out of the output, if it is the one that was written last."""
        columns = self._note.get("columns")
        if columns is None or not self._output_stands():
            return {}
        ordinals = self.index().ordinals
        places = {bisect_left(ordinals, ordinal): ordinal for ordinal in wanted}
        ours = set(OutputColumns(**columns).names)
        shown: dict[int, Prompt] = {}
        with suppress(DistilabelError):
            source = open_rows(str(self._output), max_row_bytes=self._note["max_row_bytes"])
            input_columns = [name for name in source.columns if name not in ours]
            conversations = conversations_of(self.about.spec, input_columns)
            for item in source.rows(lambda place, _: place not in places):
                if isinstance(item, Row):
                    kept = {name: v for name, v in item.columns.items() if name not in ours}
                    row = replace(item, columns=kept)
                    shown[places[item.ordinal]] = prompt_of(row, conversations)
        return shown

    def _output_stands(self) -> bool:
        exported = self._reader.note("exported") or {}
        try:
            status = self._output.stat()
        except OSError:
            return False
        written = exported.get("size"), exported.get("modified_ns")
        return written == (status.st_size, status.st_mtime_ns)

    def close(self) -> None:
        self._reader.close()


def _from_input(
    source: RowSource, wanted: Mapping[int, bytes], spec: Mapping[str, Any]
) -> dict[int, Prompt]:
    """The prompts of these rows, if the source has them as they were."""
    shown: dict[int, Prompt] = {}
    last = max(wanted)
    conversations = conversations_of(spec, source.columns)
    for item in source.rows(lambda ordinal, _: ordinal not in wanted):
        if item.ordinal > last:
            break
        if item.content_hash != wanted[item.ordinal]:
            shown[item.ordinal] = Prompt(missing="The input holds another row in this place now.")
        elif isinstance(item, Row):
            shown[item.ordinal] = prompt_of(item, conversations)
        else:
            shown[item.ordinal] = _columns(item.columns)
        if len(shown) == len(wanted):
            break
    return shown


def conversations_of(spec: Mapping[str, Any], columns: Collection[str]) -> Conversations | None:
    """How the run's rows become conversations; `None` if its settings do not say."""
    if not columns:
        return None
    with suppress(InputError, TypeError, KeyError):
        options = {name: spec[name] for name in _OPTIONS}
        return ConversationSpec(**options).bind(columns)
    return None


def prompt_of(row: Row, conversations: Conversations | None) -> Prompt:
    """What `row` says to the model; its columns if that is not known."""
    if conversations is None:
        return _columns(row.columns)
    try:
        messages = conversations.prepare(row).messages
    except InputError:
        return _columns(row.columns)
    return Prompt(messages=tuple((str(m.get("role")), content_text(m)) for m in messages))


def _columns(columns: Mapping[str, Any]) -> Prompt:
    if not columns:
        return Prompt(missing="Nothing of this row can be read.")
    return Prompt(messages=tuple((str(name), str(value)) for name, value in columns.items()))


def content_text(message: Mapping[str, Any]) -> str:
    """The text of a message; what is not text is named in brackets."""
    content = message.get("content")
    if content is None:
        calls = message.get("tool_calls")
        return f"[tool calls: {calls}]" if calls else ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return str(content)
    return "\n".join(_part_text(part) for part in content)


def _part_text(part: Any) -> str:
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        return str(part["text"])
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    return f"[{kind}]"
