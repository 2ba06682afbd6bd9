"""From whatever lies beside the output to a journal that is sound and belongs to this run.

Rules
- A journal appears under its name complete, by a rename: made new, or rebuilt from a damaged one.
- Only what passes its checksum is kept. A damaged file is kept too, under another name.
- A journal that cannot prove which run it belongs to is never resumed unless the user asks for it.
- The caller holds the lock.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from distilabel_endpoints._store.journal.database import Database, Note, fill, rollback_journal
from distilabel_endpoints._store.journal.header import (
    Header,
    is_sealed,
    refuse_other_spec,
    unreadable,
)
from distilabel_endpoints._store.journal.pages import Cell, cells
from distilabel_endpoints._store.journal.record import Record, intact
from distilabel_endpoints._store.lock import hold
from distilabel_endpoints._store.place import beside, identity, storage_errors, sync
from distilabel_endpoints.errors import DamagedError

__all__ = ["Repair", "make_sound", "repair"]


@dataclass(frozen=True, slots=True)
class Repair:
    """What a look at every record found."""

    damaged: int = 0
    """Records lost. After a rebuild an estimate: what is unreadable cannot be counted exactly."""
    rebuilt: bool = False
    """The file itself was broken and has been written anew."""


def make_sound(path: Path, expected: Header, *, fresh: bool = False) -> Repair:
    """Leave at `path` a journal whose structure, header and results are right.

    Args:
        path: the journal's.
        expected: the header of the run it must belong to.
        fresh: begin anew, whatever lies there.

    Raises:
        FingerprintError: it belongs to a run with another spec, and holds rows that are ok.
        DamagedError: it does not say to which.
    """
    exists = identity(path) is not None
    if not exists or fresh or not path.stat().st_size:
        _replace(path, expected, keep=fresh and not _readable(path))
        return Repair(rebuilt=exists and not fresh)
    _make_private(path)
    try:
        return Repair(_check(path, expected))
    except _BrokenError:
        lost = _rebuild(path, expected)
        return Repair(lost + _check(path, expected), rebuilt=True)


def repair(path: Path) -> None:
    """Rebuild a damaged journal for one who only reads it.

    Raises:
        LockedError: a run is writing it.
        DamagedError: it does not say which run it belongs to.
    """
    with hold(path):
        header = next(_headers(path), None)
        if header is None:
            raise unreadable(path)
        _rebuild(path, header)


class _BrokenError(DamagedError):
    """The file must be rebuilt from its pages."""


def _check(path: Path, expected: Header) -> int:
    """How many records had to be dropped from a file that is itself sound."""
    with ExitStack() as stack:
        try:
            database = stack.enter_context(closing(Database(path, writable=True)))
            database.check()
            headers = database.headers()
            damaged = list(_damaged(database))
        except DamagedError as error:
            raise _BrokenError(*error.args) from error
        # Dropped, so that their rows are sent again: the run asks only which rows have a result.
        if damaged:
            database.discard(damaged)
        header = next(filter(None, headers), None)
        if header and header.spec != expected.spec and not database.totals().ok:
            # Nothing was answered under the old settings, so nothing is lost with them.
            database.discard_failed(0)
            header, headers = expected, [None]
        header = _accepted(path, header, expected)
        if None in headers:
            database.write_header(header)
    return len(damaged)


def _damaged(database: Database) -> Iterator[int]:
    start = 0
    while records := database.records(start):
        yield from (record.ordinal for record in records if not intact(record))
        start = records[-1].ordinal + 1


def _accepted(path: Path, stored: Header | None, expected: Header) -> Header:
    if stored is None:
        raise unreadable(path)
    refuse_other_spec(stored, expected, path)
    return stored


def _rebuild(path: Path, expected: Header) -> int:
    """Write what can be read into a new file in place of the old one, which is kept."""
    header = _accepted(path, next(_headers(path), None), expected)
    notes = dict(_notes(path))
    lost = 0

    def kept() -> Iterator[Record]:
        nonlocal lost
        for cell in cells(path):
            record = _record(cell)
            if record is not None and intact(record):
                yield record
            elif record is not None or cell is None:
                lost += 1

    with storage_errors(path):
        _replace(path, header, kept(), notes, keep=True)
    return lost


def _notes(path: Path) -> Iterator[Note]:
    with storage_errors(path):
        for cell in cells(path):
            if cell is not None and len(cell[1]) == 3:
                name, value, checksum = cell[1]
                if isinstance(name, bytes) and is_sealed(value, checksum):
                    yield os.fsdecode(name), value


def _headers(path: Path) -> Iterator[Header]:
    with storage_errors(path):
        for cell in cells(path):
            if cell is not None and len(cell[1]) == 2 and (header := Header.decode(*cell[1])):
                yield header


def _record(cell: Cell | None) -> Record | None:
    """The record a row of a leaf page may be; its ordinal is the row id."""
    if cell is None:
        return None
    ordinal, columns = cell
    # An INTEGER PRIMARY KEY is null in the row, as it is the row id: fileformat2.html section 2.3.
    if len(columns) != len(Record._fields) or columns[0] is not None:
        return None
    return Record._make((ordinal, *columns[1:]))


def _replace(
    path: Path,
    header: Header,
    records: Iterable[Record] = (),
    notes: Mapping[str, bytes] = MappingProxyType({}),
    *,
    keep: bool = False,
) -> None:
    # Beside it: a rename is atomic within one file system only.
    draft = beside(path, ".new")
    try:
        fill(draft, header, records, notes.items())
        with storage_errors(path):
            # Left in place, it would be played back into the new file.
            rollback_journal(path).unlink(missing_ok=True)
            if keep:
                _keep(path)
            draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
    # The rename is durable when the folder is.
    sync(path.parent)


def _keep(path: Path) -> None:
    kept = beside(path, ".damaged")
    kept.unlink(missing_ok=True)
    # Without hard links it is not kept; what was readable has been taken over already.
    with suppress(OSError, NotImplementedError):
        os.link(path, kept, follow_symlinks=False)


def _readable(path: Path) -> bool:
    if identity(path) is None:
        return True
    try:
        with closing(Database(path, writable=True)) as database:
            return any(database.headers())
    except DamagedError:
        return False


def _make_private(path: Path) -> None:
    with storage_errors(path):
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
