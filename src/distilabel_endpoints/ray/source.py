"""Any input of this package as a `ray.data.Dataset`, each row with its own identity.

A row's id is its ordinal in the input and the hash of its content, so that two equal rows stay two
rows, and the same file gives the same ids in every run. The input is read by one task, in order:
that is what makes ordinals; it is read far faster than any endpoint answers.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, Final

from distilabel_endpoints.config import MAX_ROW_MB
from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.ray.originals import ORIGINAL, originals
from distilabel_endpoints.ray.package import ray_package
from distilabel_endpoints.rows import BadRow, Row, RowSource, open_rows
from distilabel_endpoints.rows.arrow import pyarrow
from distilabel_endpoints.rows.batch_lines import LINE_COLUMNS
from distilabel_endpoints.rows.json_text import json_text
from distilabel_endpoints.rows.model import BadReason, FileIdentity, Place, Skip
from distilabel_endpoints.rows.tables import TableLayout, given_table, learn_layout

__all__ = [
    "ADDED",
    "FAILURE",
    "PLACE",
    "PROBLEM",
    "ROW_ID",
    "RowFile",
    "look_through",
    "ordinal_of",
    "read_place",
    "read_problem",
    "read_rows",
    "row_id",
]

ROW_ID: Final = "row_id"
"""The column with a row's identity: `<ordinal, 12 digits>-<content hash, 32 hex digits>`."""
PROBLEM: Final = "row_problem"
"""The column that says in JSON why a row of the input cannot be used; null for all others."""
FAILURE: Final = "row_failures"
"""The column of a shard that keeps why a row failed, in JSON; null for all others."""
PLACE: Final = "row_place"
"""The column of a job's tables that says in JSON where each row stands."""
ADDED: Final = (ROW_ID, PROBLEM, ORIGINAL, PLACE)
"""The columns that a table of rows has besides those of the input."""
_FORM: Final = re.compile(r"(\d{12,})-[0-9a-f]{32}")
_CHUNK: Final = 1024
# Reading waits for the disk: a whole CPU would keep an actor from starting on a small machine.
_CPUS: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFile:
    """An input that was looked through: what a worker needs to read it again."""

    path: str
    layout: TableLayout
    limit: int | None
    max_row_bytes: int
    first: Row | None
    """The first good row."""
    count: int
    """Rows, the bad ones included."""
    digest: str
    """Of all rows' contents, in order."""
    earlier_digest: str | None
    """The same of the first rows, as many as were asked for; None if there are fewer."""
    is_batch: bool = False
    """Whether its rows are lines of a batch file."""
    is_exact: bool = True
    """Whether the layout holds all values as they are."""
    identity: tuple[FileIdentity, ...] = ()
    """The files, as they were when the rows were looked through."""
    has_places: bool = False
    """Whether tables say where rows stand, so that workers can name the place."""
    only: frozenset[int] | None = None
    """The rows that `tables` gives, by their places; None for all."""
    halt: Path | None = None
    """Once this file is there, `tables` gives no more rows: the job does not send them."""

    def is_unchanged(self) -> bool:
        """Whether the files are still those that were looked through, as far as is known."""
        return self.source().identity == self.identity

    def ids(self) -> Iterator[str]:
        """The ids of all rows, read anew."""
        for row in self.rows():
            yield row_id(row)

    def rows(self) -> Iterator[Row | BadRow]:
        """The rows, read anew."""
        return islice(self.source(), self.limit)

    def source(self) -> RowSource:
        """All rows, opened anew."""
        return open_rows(self.path, max_row_bytes=self.max_row_bytes)

    def tables(self) -> Iterator[Any]:
        """The rows as `pyarrow.Table`s with ids and problems."""
        rows = self.rows()
        if self.only is not None:
            rows = (row for row in rows if row.ordinal in self.only)
        while chunk := list(islice(rows, _CHUNK)):
            if self.halt is not None and self.halt.exists():
                return
            yield self._table(chunk)

    def _table(self, rows: list[Row | BadRow]) -> Any:
        pa = pyarrow("a Ray dataset")
        ids = [row_id(row) for row in rows]
        if self.is_batch:
            rows = [_with_text_of_body(row) for row in rows]
        problems = [_problem(row) if isinstance(row, BadRow) else None for row in rows]
        table = given_table(self.layout, rows)
        table = table.append_column(ROW_ID, pa.array(ids, type=pa.string()))
        if self.has_places:
            places = [json.dumps(row.place) for row in rows]
            table = table.append_column(PLACE, pa.array(places, type=pa.string()))
        if not self.is_exact:
            table = table.append_column(ORIGINAL, originals(rows))
        return table.append_column(PROBLEM, pa.array(problems, type=pa.string()))


def row_id(row: Row | BadRow) -> str:
    """What tells the row from all others, in this run and the next."""
    return f"{row.ordinal:012d}-{row.content_hash.hex()}"


def _with_text_of_body(row: Row | BadRow) -> Row | BadRow:
    """A line of a batch file with its body as text: a column of tables would give it more keys."""
    columns = {field.name: row.columns.get(field.name) for field in _batch_layout().schema}
    if isinstance(columns["body"], Mapping):
        columns["body"] = json_text(columns["body"])
    return replace(row, columns=columns, original=None)


def _batch_layout() -> TableLayout:
    pa = pyarrow("a Ray dataset")
    return TableLayout(pa.schema([(name, pa.string()) for name in LINE_COLUMNS]))


class _Watched(RowSource):
    """A source that is looked through once, up to a limit, counted and hashed meanwhile."""

    def __init__(self, source: RowSource, limit: int | None, earlier: int) -> None:
        self._source = source
        self._limit = limit
        self._earlier = earlier
        self._hash = blake2b(digest_size=16)
        self.count = 0
        self.earlier_digest: str | None = None if earlier else self.digest

    @property
    def digest(self) -> str:
        """Of the contents so far."""
        return self._hash.hexdigest()

    def rows(self, skip: Skip | None = None) -> Iterator[Row | BadRow]:
        for item in islice(self._source.rows(skip), self._limit):
            self.count += 1
            self._hash.update(item.content_hash)
            if self.count == self._earlier:
                self.earlier_digest = self.digest
            yield item

    def describe(self) -> str:
        return self._source.describe()


def look_through(
    path: str,
    *,
    limit: int | None = None,
    earlier: int = 0,
    max_row_bytes: int = MAX_ROW_MB << 20,
    is_batch: bool = False,
) -> RowFile:
    """Read the input once: its columns' types, how many rows there are, and which.

    Args:
        path: see `read_rows`.
        limit: only the first N rows.
        max_row_bytes: a larger row is a bad row.
        earlier: `earlier_digest` is that of the first N rows.
        is_batch: the rows are lines of a batch file, which was checked.

    Raises:
        ConfigurationError: there is nothing there to read, it can be read only once, or it has a
            column with one of our names.
        InputError: a file is not what its name says.
    """
    if path == "-":
        raise ConfigurationError("standard input cannot be read by workers; save it as a file.")
    source = open_rows(path, max_row_bytes=max_row_bytes)
    watched = _Watched(source, limit, earlier)
    if source.schema is None and not is_batch:
        layout = learn_layout(watched)
    else:
        layout = _batch_layout() if is_batch else TableLayout(source.schema)
        deque(watched, maxlen=0)
    clash = {*ADDED, FAILURE}.intersection(layout.schema.names)
    if clash:
        raise ConfigurationError(
            f"the input has the column {min(clash)!r}, a name that a run over Ray uses for its "
            "own; rename it."
        )
    return RowFile(
        path=path,
        layout=replace(layout, notes=(*source.notes, *layout.notes)),
        limit=limit,
        max_row_bytes=max_row_bytes,
        first=None if source.first is None else replace(source.first, original=None),
        count=watched.count,
        digest=watched.digest,
        earlier_digest=watched.earlier_digest,
        is_batch=is_batch,
        is_exact=not layout.notes,
        identity=source.identity,
    )


def read_rows(
    path: str | RowFile, *, limit: int | None = None, max_row_mb: int = MAX_ROW_MB
) -> Any:
    """An input as a `ray.data.Dataset`, with a `row_id` and a `row_problem` for each row.

    Where the columns' types cannot hold all values as they are, `row_original` has them as JSON.

    Args:
        path: what `distilabel-endpoints generate` takes but `-`: a file, a folder, a pattern, a
            saved dataset, or one of the Hub. Local paths must be there on the workers too.
        limit: only the first N rows.
        max_row_mb: a larger row is a bad row.

    Raises:
        ConfigurationError: as `look_through` says.
        InputError: a file is not what its name says.
        InstallationError: `ray` is not installed.
    """
    ray = ray_package("read_rows")
    file = (
        path
        if isinstance(path, RowFile)
        else look_through(path, limit=limit, max_row_bytes=max_row_mb << 20)
    )
    from distilabel_endpoints.ray.datasource import RowDatasource

    # One block: several would be read side by side, and ordinals need the order.
    return ray.data.read_datasource(RowDatasource(file), num_cpus=_CPUS, override_num_blocks=1)


def _problem(row: BadRow) -> str:
    return json.dumps([row.reason, row.message, *row.place])


def read_place(text: str | None, ordinal: int) -> Place:
    """The place that `row_place` tells of; else that of a row of the input."""
    try:
        return Place(*json.loads(text or ""))
    except (ValueError, TypeError):  # none, or a column of the user's own
        return Place("the input", ordinal + 1)


def read_problem(text: str, ordinal: int, content_hash: bytes) -> BadRow:
    """The bad row that `row_problem` tells of; it may have been written by other hands."""
    try:
        reason, message, file, line, offset = json.loads(text)
        place = Place(file, line, offset)
        known = BadReason(reason)
    except (ValueError, TypeError):
        known, message, place = BadReason.INPUT, text, Place("the input", ordinal + 1)
    return BadRow(ordinal, known, message=message, content_hash=content_hash, place=place)


def ordinal_of(identity: Any, content_hash: bytes) -> int:
    """The number that seeds count from: a row's ordinal, else one drawn from its id or content."""
    if isinstance(identity, str) and (match := _FORM.fullmatch(identity)):
        return int(match[1])
    if isinstance(identity, int) and identity >= 0:
        return identity
    if identity is not None:
        content_hash = blake2b(str(identity).encode(), digest_size=16).digest()
    return int.from_bytes(content_hash[:4])
